"""`tenfold ui`: Dagster and MLflow on 127.0.0.1 until Ctrl-C."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from filelock import FileLock, Timeout

from tenfold.core import atomic
from tenfold.core.errors import TenfoldError, UsageError
from tenfold.ops import home
from tenfold.ops.settings import Settings, load

# the servers are local: a proxy of the environment must not be asked for them
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Servers = dict[str, subprocess.Popen[bytes]]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `ui`."""
    parser.add_argument("--port", type=port_number, help="Dagster's port (default 3000, or TENFOLD_PORT)")
    parser.add_argument("--mlflow-port", type=port_number, help="MLflow's port (default 5000, or TENFOLD_MLFLOW_PORT)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1; neither server asks for a login)")
    parser.add_argument("--timeout", type=float, default=180, metavar="S", help="seconds to wait until both answer (default 180)")


def port_number(text: str) -> int:
    """A port that one can ask for."""
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no port: ports go from 1 to 65535")
    return number


def main(args: argparse.Namespace) -> int:
    """Start both servers, wait until both answer, print both addresses, stop both on Ctrl-C, SIGTERM or a closed terminal."""
    began = time.monotonic()
    settings = load()
    ports = {"dagster": args.port or settings.port, "mlflow": args.mlflow_port or settings.mlflow_port}
    addresses = {name: f"http://{args.host}:{port}" for name, port in ports.items()}
    home.ensure(settings)
    servers: Servers = {}
    with alone(settings), interruptible():
        refuse_taken(args.host, ports["dagster"], ports["mlflow"])
        try:
            print("starting Dagster and MLflow ...", flush=True)
            atomic.write_json(settings.home / "ui.json", addresses)
            home.ensure_mlflow(settings)
            servers["MLflow"] = start(mlflow_command(settings, args.host, ports["mlflow"]), settings, "mlflow.log")
            servers["Dagster"] = start(dagster_command(settings, args.host, ports["dagster"]), settings, "dagster.log")
            end_dead_runs(settings)
            health = {"MLflow": f"{addresses['mlflow']}/health", "Dagster": f"{addresses['dagster']}/server_info"}
            wait(health, servers, args.timeout, settings)
            for problem in load_errors(addresses["dagster"]):
                print(f"The code location does not load; correct it, then press Reload definitions:\n{problem}\n", flush=True)
            print(
                f"Dagster  {addresses['dagster']}/asset-groups\nMLflow   {addresses['mlflow']}/#/experiments\n\n"
                f"Both answer after {time.monotonic() - began:.0f} s. After an edit of params.yaml or of the code: Deployment > tenfold > "
                "Reload definitions.\nCtrl-C stops both.",
                flush=True,
            )
            while True:
                check_alive(servers, settings, "ended by itself")
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("\nstopping ...", flush=True)
            return 0
        finally:
            stop(servers.values())
            (settings.home / "ui.json").unlink(missing_ok=True)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """One `tenfold ui` a home: two Dagster daemons on one instance would launch everything twice."""
    try:
        with FileLock(settings.locks / "ui.lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(f"another `tenfold ui` runs on {settings.home}{where(settings)}. Use that one, or stop it first.") from None


def where(settings: Settings) -> str:
    """The addresses of the one that runs, if it has written them."""
    written = settings.home / "ui.json"
    return f" (Dagster at {settings.dagster_url}, MLflow at {settings.mlflow_url})" if written.is_file() else ""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, SIGHUP and SIGINT end in the same orderly way, also where a shell handed SIGINT down as ignored.

    Handlers, unlike ignored signals, are not inherited: the servers start with the defaults. While stopping, further signals wait.
    """

    def interrupted(signum: int, frame: FrameType | None) -> None:
        for name in kept:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    kept = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for name, handler in kept.items():
        # a SIGHUP that is ignored was ignored on purpose (nohup)
        if not (name == signal.SIGHUP and handler == signal.SIG_IGN):
            signal.signal(name, interrupted)
    try:
        yield
    finally:
        for name, handler in kept.items():
            signal.signal(name, handler)


def refuse_taken(host: str, dagster_port: int, mlflow_port: int) -> None:
    """Raises UsageError for a port that somebody listens on, before anything is started."""
    if dagster_port == mlflow_port:
        raise UsageError(f"Dagster and MLflow cannot both have port {dagster_port}. Choose two with --port and --mlflow-port.")
    for name, option, port in (("Dagster", "--port", dagster_port), ("MLflow", "--mlflow-port", mlflow_port)):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, port)) == 0:
                raise UsageError(
                    f"port {port}, meant for {name}, is in use by another program. Stop that one, or choose another with {option}."
                )


def end_dead_runs(settings: Settings) -> None:
    """While the servers start; until it is done, the daemon queues everything behind runs that no longer exist."""
    from pipelines.recovery import end_dead_runs as end

    for line in end(settings):
        print(line, flush=True)


def dagster_command(settings: Settings, host: str, port: int) -> list[str]:
    """The code server, the webserver and the daemon."""
    return [sys.executable, "-m", "dagster", "dev", "-w", str(settings.root / "workspace.yaml"), "-h", host, "-p", str(port)]


def mlflow_command(settings: Settings, host: str, port: int) -> list[str]:
    """The tracking server over the home's database and artifacts."""
    return [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--backend-store-uri", settings.mlflow_tracking_uri, "--artifacts-destination", settings.mlflow_artifacts,
    ]  # fmt: skip


def start(command: Sequence[str], settings: Settings, log: str) -> subprocess.Popen[bytes]:
    """A server in a process group of its own, so that Ctrl-C reaches us alone and stopping reaches all of it."""
    environment = {**os.environ, **settings.exports()}
    with (settings.home / "logs" / log).open("wb") as stream:
        return subprocess.Popen(
            command, cwd=settings.root, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )  # fmt: skip


def wait(urls: Mapping[str, str], servers: Servers, timeout: float, settings: Settings) -> None:
    """Until every address answers."""
    deadline = time.monotonic() + timeout
    waiting = dict(urls)
    while waiting:
        check_alive(servers, settings, "did not start")
        waiting = {name: url for name, url in waiting.items() if not answers(url)}
        if waiting and time.monotonic() > deadline:
            raise TenfoldError(
                f"{' and '.join(waiting)} did not answer within {timeout:.0f} s. On a slow machine use --timeout. "
                f"{last_words(next(iter(waiting)), settings)}"
            )
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether a server is ready there."""
    try:
        with _DIRECT.open(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def load_errors(dagster: str) -> list[str]:
    """What keeps a code location from loading: the server answers all the same, and shows no assets."""
    error = "... on PythonError{message errorChain{error{message}}}"
    query = f"{{workspaceOrError{{... on Workspace{{locationEntries{{locationOrLoadError{{{error}}}}}}} {error}}}}}"
    request = urllib.request.Request(f"{dagster}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
    with _DIRECT.open(request, timeout=60) as answer:
        found = json.load(answer)["data"]["workspaceOrError"]
    places = [found, *(entry["locationOrLoadError"] or {} for entry in found.get("locationEntries", []))]
    # the last of the chain is our own message, what is around it is Dagster's
    return [
        [place["message"], *(link["error"]["message"] for link in place["errorChain"])][-1].strip()
        for place in places
        if "message" in place
    ]


def check_alive(servers: Servers, settings: Settings, what: str) -> None:
    """Raises TenfoldError with the end of the log of a server that is gone."""
    for name, server in servers.items():
        if server.poll() is not None:
            raise TenfoldError(f"{name} {what}. {last_words(name, settings)}")


def last_words(name: str, settings: Settings, lines: int = 15) -> str:
    """The end of a server's log."""
    path = settings.home / "logs" / f"{name.lower()}.log"
    return "\n".join([f"The end of {path}:", *path.read_text(errors="replace").splitlines()[-lines:]])


def stop(servers: Iterable[subprocess.Popen[bytes]], patience: float = 30) -> None:
    """SIGTERM to each group, SIGKILL to what is left of it, also where the leader is already gone."""
    groups = [server for server in servers if signalled(server, signal.SIGTERM)]
    deadline = time.monotonic() + patience
    while groups and time.monotonic() < deadline:
        time.sleep(0.1)
        groups = [server for server in groups if signalled(server, 0)]
    for server in groups:
        signalled(server, signal.SIGKILL)
        server.wait()


def signalled(server: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to the server's whole group (0: only look); False if nobody is left in it."""
    server.poll()  # a leader that ended but was not waited for would still count
    try:
        os.killpg(server.pid, number)
    except ProcessLookupError:
        return False
    return True

"""`tenfold ui`: Dagster and MLflow on 127.0.0.1 until Ctrl-C."""

import argparse
import signal
import socket
import sys
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from pipelines.keeper import Keeper, direct
from pipelines.leash import GRACE_S, Leash
from tenfold.core import atomic
from tenfold.core.errors import TenfoldError, UsageError
from tenfold.ops import home
from tenfold.ops.settings import Settings, load


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
    """Start both servers, print both addresses, keep both running; stop both on Ctrl-C, SIGTERM or a closed terminal."""
    began = time.monotonic()
    settings = load()
    ports = {"dagster": args.port or settings.port, "mlflow": args.mlflow_port or settings.mlflow_port}
    addresses = {name: f"http://{args.host}:{port}" for name, port in ports.items()}
    home.ensure(settings)
    commands = {
        "MLflow": mlflow_command(settings, args.host, ports["mlflow"]),
        "Dagster": dagster_command(settings, args.host, ports["dagster"]),
    }
    with alone(settings), interruptible():
        await_servers(settings)
        refuse_taken(args.host, ports["dagster"], ports["mlflow"])
        leash = Leash(servers_lock(settings))
        servers = Keeper(settings, leash, commands, addresses["dagster"])
        try:
            print("starting Dagster and MLflow ...", flush=True)
            atomic.write_json(settings.home / "ui.json", addresses)
            home.ensure_mlflow(settings)
            servers.start("MLflow")
            servers.start("Dagster")
            end_dead_runs(settings)
            wait({"MLflow": f"{addresses['mlflow']}/health", "Dagster": f"{addresses['dagster']}/server_info"}, servers, args.timeout)
            for problem in servers.problems().values():
                print(
                    f"The code location does not load; correct it, then press Reload definitions:\n{problem['message'].strip()}\n",
                    flush=True,
                )
            print(
                f"Dagster  {addresses['dagster']}/asset-groups\nMLflow   {addresses['mlflow']}/#/experiments\n\n"
                f"Both answer after {time.monotonic() - began:.0f} s. After an edit of params.yaml or of the code: Deployment > tenfold > "
                "Reload definitions.\nCtrl-C stops both.",
                flush=True,
            )
            while True:
                servers.keep()
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("\nstopping ...", flush=True)
            return 0
        finally:
            servers.stop()
            leash.release()
            (settings.home / "ui.json").unlink(missing_ok=True)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """One `tenfold ui` a home: two Dagster daemons on one instance would launch everything twice."""
    try:
        with FileLock(settings.locks / "ui.lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(f"another `tenfold ui` runs on {settings.home}{where(settings)}. Use that one, or stop it first.") from None


def servers_lock(settings: Settings) -> Path:
    """Held while servers run, or are being ended after their `tenfold ui` was killed."""
    return settings.locks / "servers.lock"


def await_servers(settings: Settings) -> None:
    """Until the servers of a `tenfold ui` that was killed have ended."""
    lock = FileLock(servers_lock(settings))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("the last `tenfold ui` was killed: its servers are being ended ...", flush=True)
        try:
            lock.acquire(timeout=GRACE_S + 10)
        except Timeout:
            raise TenfoldError(f"the servers of the last `tenfold ui` on {settings.home} do not end. See `ps`.") from None
    lock.release()


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


def wait(urls: Mapping[str, str], servers: Keeper, timeout: float) -> None:
    """Until every address answers."""
    deadline = time.monotonic() + timeout
    waiting = dict(urls)
    while waiting:
        servers.check_alive("did not start")
        waiting = {name: url for name, url in waiting.items() if not answers(url)}
        if waiting and time.monotonic() > deadline:
            raise TenfoldError(
                f"{' and '.join(waiting)} did not answer within {timeout:.0f} s. On a slow machine use --timeout. "
                f"{servers.last_words(next(iter(waiting)))}"
            )
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether a server is ready there."""
    try:
        with direct.open(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False

"""`tenfold ui`: Dagster and MLflow on 127.0.0.1 until Ctrl-C."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from tenfold.core import atomic
from tenfold.core.errors import TenfoldError, UsageError
from tenfold.ops import home
from tenfold.ops.settings import Settings, load


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `ui`."""
    parser.add_argument("--port", type=int, help="Dagster's port (default 3000)")
    parser.add_argument("--mlflow-port", type=int, help="MLflow's port (default 5000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1; neither server asks for a login)")
    parser.add_argument("--timeout", type=float, default=180, help="seconds to wait until both answer")


def main(args: argparse.Namespace) -> int:
    """Start both servers, wait until both answer, print both addresses, stop both on Ctrl-C or SIGTERM."""
    settings = load()
    dagster_port, mlflow_port = args.port or settings.port, args.mlflow_port or settings.mlflow_port
    for name, port in (("Dagster", dagster_port), ("MLflow", mlflow_port)):
        if taken(args.host, port):
            option = "--port" if name == "Dagster" else "--mlflow-port"
            raise UsageError(
                f"port {port}, meant for {name}, is in use, perhaps by another `tenfold ui`. Stop that one, or choose another with {option}."
            )
    home.ensure(settings)
    home.ensure_mlflow(settings)
    from pipelines.recovery import end_dead_runs

    for line in end_dead_runs(settings):
        print(line)
    addresses = {"dagster": f"http://{args.host}:{dagster_port}", "mlflow": f"http://{args.host}:{mlflow_port}"}
    environment = {**os.environ, **settings.exports()}
    ui_file = settings.home / "ui.json"
    logs = settings.home / "logs"
    servers = {
        "MLflow": start(mlflow_command(settings, args.host, mlflow_port), settings.root, environment, logs / "mlflow.log"),
        "Dagster": start(dagster_command(settings, args.host, dagster_port), settings.root, environment, logs / "dagster.log"),
    }
    try:
        signal.signal(signal.SIGTERM, interrupted)
        atomic.write_json(ui_file, addresses)
        print("starting Dagster and MLflow ...", flush=True)
        wait({"MLflow": f"{addresses['mlflow']}/health", "Dagster": f"{addresses['dagster']}/server_info"}, servers, args.timeout, logs)
        print(f"Dagster  {addresses['dagster']}/asset-groups\nMLflow   {addresses['mlflow']}/#/experiments\n")
        print("After an edit of params.yaml or of the code: Deployment > tenfold > Reload definitions.\nCtrl-C stops both.", flush=True)
        while all(server.poll() is None for server in servers.values()):
            time.sleep(0.5)
        dead = next(name for name, server in servers.items() if server.poll() is not None)
        raise TenfoldError(f"{dead} ended by itself; its last words are in {logs / (dead.lower() + '.log')}.")
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
        return 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop(servers.values())
        ui_file.unlink(missing_ok=True)


def interrupted(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends like Ctrl-C."""
    raise KeyboardInterrupt


def dagster_command(settings: Settings, host: str, port: int) -> list[str]:
    """The code server, the webserver and the daemon."""
    return [sys.executable, "-m", "dagster", "dev", "-w", str(settings.root / "workspace.yaml"), "-h", host, "-p", str(port)]


def mlflow_command(settings: Settings, host: str, port: int) -> list[str]:
    """The tracking server over the home's database and artifacts."""
    return [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--backend-store-uri", settings.mlflow_tracking_uri, "--artifacts-destination", settings.mlflow_artifacts,
    ]  # fmt: skip


def start(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A server in a process group of its own, so that Ctrl-C reaches us alone and stopping reaches all of it."""
    log.parent.mkdir(parents=True, exist_ok=True)

    def default_signals() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=default_signals,
        )  # fmt: skip


def wait(urls: Mapping[str, str], servers: Mapping[str, subprocess.Popen[bytes]], timeout: float, logs: Path) -> None:
    """Until every address answers."""
    deadline = time.monotonic() + timeout
    waiting = dict(urls)
    while waiting:
        for name, url in list(waiting.items()):
            if servers[name].poll() is not None:
                raise TenfoldError(f"{name} did not start; its last words:\n{tail(logs / (name.lower() + '.log'))}")
            try:
                with urllib.request.urlopen(url, timeout=5):
                    del waiting[name]
            except (urllib.error.URLError, OSError):
                continue
        if time.monotonic() > deadline:
            raise TenfoldError(
                f"{' and '.join(waiting)} did not answer within {timeout:.0f} s; see {logs}. On a slow machine use --timeout."
            )
        time.sleep(0.3)


def stop(servers: Iterable[subprocess.Popen[bytes]], patience: float = 45) -> None:
    """SIGTERM to each group, SIGKILL to what is left."""
    running = [server for server in servers if server.poll() is None]
    for server in running:
        os.killpg(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    for server in running:
        try:
            server.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def taken(host: str, port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def tail(path: Path, lines: int = 15) -> str:
    """The end of a log."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

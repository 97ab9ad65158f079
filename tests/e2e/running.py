"""Commands and servers on a root of the test's own, from start to end."""

import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from support import environment

PARTITION = "crossmodal_anomaly.demo.biscuit"
PATIENCE_S = 240
# a mark in the environment of everything that a command starts, by which what it leaves behind is found
MARK = "TENFOLD_E2E_MARK"


@dataclass(frozen=True)
class Ui:
    """A running `tenfold ui`."""

    dagster: str
    mlflow: str
    root: Path
    seconds: float


def tenfold(*words: str) -> list[str]:
    """The command line of `tenfold`, in this interpreter."""
    return [sys.executable, "-m", "pipelines.cli", *words]


def command(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `tenfold` on a root to its end."""
    done = subprocess.run(tenfold(*words), env=environment(root), cwd=root, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def start_ui(root: Path, log: Path, *words: str, mark: str = "") -> subprocess.Popen[bytes]:
    """Start `tenfold ui`; the caller waits with `until_up` and ends it."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            tenfold("ui", *words), env=environment(root, **{MARK: mark}), cwd=root, stdout=stream, stderr=stream, start_new_session=True
        )  # fmt: skip


def until_up(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until both servers answer."""
    deadline = time.monotonic() + PATIENCE_S
    while "Ctrl-C stops both" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def left_behind(mark: str) -> list[str]:
    """Command lines of living processes that carry the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline())[:150])
        except psutil.Error:
            continue
    return found

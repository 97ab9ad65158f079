"""One tiny root that ran the demo through the real command; every other test works on a copy of it."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import copy_of, lay_out, tenfold

# In every Python process of the run, children included: name whatever is not loopback.
AUDIT = """
import os, sys

def note(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.bind"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else ""
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host and host not in ("localhost", "::1") and not str(host).startswith("127."):
        descriptor = os.open(os.environ["NET_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{event} {host} {sys.argv}\\n".encode())
        os.close(descriptor)

sys.addaudithook(note)
os.close(os.open(os.path.join(os.environ["NET_LOG"] + ".d", str(os.getpid())), os.O_CREAT))
"""


@dataclass(frozen=True)
class Demo:
    """The root, what the command said, what it asked of the network, how many processes were watched."""

    root: Path
    done: subprocess.CompletedProcess[str]
    network: str
    watched: int


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`tenfold run` in a fresh root, its network watched."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "audit").mkdir()
    (folder / "audit" / "sitecustomize.py").write_text(AUDIT)
    log = folder / "network"
    (folder / "network.d").mkdir()
    root = lay_out(folder / "root")
    done = tenfold(root, "run", PYTHONPATH=str(folder / "audit"), NET_LOG=str(log))
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(root, done, log.read_text() if log.exists() else "", len(list((folder / "network.d").iterdir())))


@pytest.fixture
def copied(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the demo's root of this test alone, which the environment names as TENFOLD_ROOT."""
    return at_home(copy_of(demo.root, tmp_path / "root"), monkeypatch.setenv)


def at_home(root: Path, setenv: Callable[[str, str], None]) -> Path:
    setenv("TENFOLD_ROOT", str(root))
    setenv("TENFOLD_HOME", str(root / ".tenfold"))
    setenv("DAGSTER_HOME", str(root / ".tenfold" / "dagster"))
    return root

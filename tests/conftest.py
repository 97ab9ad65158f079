"""Fixtures of all tests: a tiny root of one's own, and one tiny root that ran the demo, of which tests take copies."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support import CHECKOUT, Demo, copy_of, lay_out, tenfold

from tenfold.ops.quiet import quiet

quiet()

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


def pytest_configure(config: pytest.Config) -> None:
    # Dagster marks checks per partition, code references and its condition tester as young
    config.addinivalue_line("filterwarnings", "ignore:.*is currently in (preview|beta)")


HEAVY = ("e2e", "pipelines", "faults", "growth")
# what takes long to start is started once: one worker runs all that use it
SHARED = {"tests/growth/test_compose.py", "tests/growth/test_login.py", "tests/growth/test_public_view.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, so that two workers end together."""
    items.sort(key=lambda item: item.path.relative_to(CHECKOUT / "tests").parts[0] not in HEAVY)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together and in order. (xdist's own groups are without effect from pytest 9.2 on.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "a browser" if file.startswith("tests/e2e/") else "a deployment" if file in SHARED else file

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Handlers as in a foreground process, whatever started the tests and whatever Dagster leaves behind in this one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tiny root of this test alone, which the environment names as TENFOLD_ROOT."""
    root = lay_out(tmp_path / "root")
    monkeypatch.setenv("TENFOLD_ROOT", str(root))
    monkeypatch.setenv("TENFOLD_HOME", str(root / ".tenfold"))
    monkeypatch.setenv("DAGSTER_HOME", str(root / ".tenfold" / "dagster"))
    yield root


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Demo:
    """`tenfold run` in a fresh root, its network watched. Whichever worker comes first runs it, for all."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "demo"
    written = folder / "demo.json"
    with FileLock(f"{folder}.lock"):
        if not written.exists():
            written.write_text(json.dumps(ran(folder)))
    told = json.loads(written.read_text())
    assert told["code"] == 0, told["out"] + told["errors"]
    done = subprocess.CompletedProcess(["tenfold", "run"], told["code"], told["out"], told["errors"])
    return Demo(folder / "root", done, told["network"], told["watched"])


def ran(folder: Path) -> dict[str, object]:
    (folder / "audit").mkdir(parents=True)
    (folder / "audit" / "sitecustomize.py").write_text(AUDIT)
    log = folder / "network"
    (folder / "network.d").mkdir()
    done = tenfold(lay_out(folder / "root"), "run", PYTHONPATH=str(folder / "audit"), NET_LOG=str(log))
    return {
        "code": done.returncode, "out": done.stdout, "errors": done.stderr,
        "network": log.read_text() if log.exists() else "", "watched": len(list((folder / "network.d").iterdir())),
    }  # fmt: skip


@pytest.fixture
def copied(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the demo's root of this test alone, which the environment names as TENFOLD_ROOT."""
    return at_home(copy_of(demo.root, tmp_path / "root"), monkeypatch.setenv)


def at_home(root: Path, setenv: Callable[[str, str], None]) -> Path:
    setenv("TENFOLD_ROOT", str(root))
    setenv("TENFOLD_HOME", str(root / ".tenfold"))
    setenv("DAGSTER_HOME", str(root / ".tenfold" / "dagster"))
    return root

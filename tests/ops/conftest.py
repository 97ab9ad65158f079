"""A home with MLflow's tables, copied from one made once: the tables take a second to create."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tenfold.ops import home
from tenfold.ops.quiet import quiet
from tenfold.ops.settings import Settings

quiet()


def settings_in(folder: Path) -> Settings:
    """Settings whose root and home lie in `folder`."""
    return Settings(root=folder, home=folder / "home")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow database."""
    settings = settings_in(tmp_path_factory.mktemp("mlflow"))
    home.ensure_mlflow(settings)
    return settings.home / "mlflow" / "mlflow.db"


@pytest.fixture
def settings(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a home of this test's own."""
    for name in ("TENFOLD_MLFLOW_TRACKING_URI", "TENFOLD_MLFLOW_ARTIFACTS", "TENFOLD_ROOT", "TENFOLD_HOME"):
        monkeypatch.delenv(name, raising=False)
    made = settings_in(tmp_path)
    (made.home / "mlflow").mkdir(parents=True)
    shutil.copy(database, made.home / "mlflow" / "mlflow.db")
    return made


@pytest.fixture
def port() -> int:
    """A port nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def serve() -> Callable[[Settings, int], AbstractContextManager[None]]:
    """`mlflow server` on a home's database at a port, for as long as the `with` lasts."""
    return mlflow_server


@contextmanager
def mlflow_server(settings: Settings, port: int) -> Iterator[None]:
    """`mlflow server` on the home's database, in a process group of its own."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", settings.mlflow_tracking_uri, "--artifacts-destination", settings.mlflow_artifacts]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=settings.home)
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None and time.monotonic() < deadline, "mlflow server did not start"
                time.sleep(0.3)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

"""A home with MLflow's tables, copied from one made once: the tables take a second to create."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mlflow_server import free_port, mlflow_server

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
    return free_port()


@pytest.fixture
def serve() -> Callable[[Settings, int], AbstractContextManager[None]]:
    """`mlflow server` on a home's database at a port, for as long as the `with` lasts."""
    return mlflow_server

"""Where things are."""

import json
import os
import sys
from pathlib import Path

import pytest

from tenfold.core.errors import UsageError
from tenfold.ops import settings as module
from tenfold.ops.settings import Settings, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TENFOLD_"):
            monkeypatch.delenv(name)


def test_defaults_follow_the_checkout() -> None:
    settings = load()
    assert (settings.root / "params.yaml").is_file()
    assert settings.home == settings.root / ".tenfold"
    assert settings.mlflow_tracking_uri == f"sqlite:///{settings.home}/mlflow/mlflow.db"
    assert settings.mlflow_artifacts == (settings.home / "mlflow" / "artifacts").as_uri()


def test_the_environment_moves_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_ROOT", str(tmp_path))
    monkeypatch.setenv("TENFOLD_PORT", "3333")
    settings = load()
    assert settings.home == tmp_path / ".tenfold"
    assert settings.dagster_url == "http://127.0.0.1:3333"


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_PORT", "high")
    with pytest.raises(UsageError, match="TENFOLD_PORT.*high"):
        load()


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "mysql://db/mlflow"])
def test_stores_that_are_not_supported_are_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UsageError, match="sqlite:///"):
        load()


def test_postgresql_uses_the_driver_that_is_installed(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, mlflow_tracking_uri="postgresql://u:secret@db/mlflow")
    assert settings.mlflow_tracking_uri == "postgresql+psycopg2://u:secret@db/mlflow"


def test_links_follow_the_running_ui_and_the_server(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    assert settings.mlflow_url == "http://127.0.0.1:5000"
    settings.home.mkdir()
    (settings.home / "ui.json").write_text(json.dumps({"dagster": "http://127.0.0.1:3001/", "mlflow": "http://127.0.0.1:5001"}))
    assert (settings.dagster_url, settings.mlflow_url) == ("http://127.0.0.1:3001", "http://127.0.0.1:5001")
    (settings.home / "ui.json").write_text("{")
    assert settings.dagster_url == "http://127.0.0.1:3000"
    served = Settings(root=tmp_path, mlflow_tracking_uri="https://me:secret@mlflow.example:8443/base/")
    assert served.mlflow_url == "https://mlflow.example:8443/base"


def test_exports_put_this_interpreter_first(tmp_path: Path) -> None:
    exports = Settings(root=tmp_path).exports()
    assert exports["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert exports["DAGSTER_HOME"] == str(tmp_path / ".tenfold" / "dagster")
    assert exports["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_nothing_found_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "site-packages" / "tenfold" / "ops" / "settings.py"))
    with pytest.raises(UsageError, match="TENFOLD_ROOT"):
        module.checkout()

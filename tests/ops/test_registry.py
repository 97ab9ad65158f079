"""Versions, aliases and the served model, with a paper that fits in ten lines."""

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

import tenfold
from tenfold.core.errors import Corrupt, TenfoldError, UsageError
from tenfold.core.store import digest_folder
from tenfold.ops import predictors, registry
from tenfold.ops.gate import Decision
from tenfold.ops.registry import Registered
from tenfold.ops.settings import Settings
from tenfold.ops.tracking import Tracking

NAME = "dummy_paper.demo.part"
YES, NO = Decision(True, ""), Decision(False, "")
EXAMPLE = pd.DataFrame({"image": [b"\x00\xff1234"]})
PREDICT = """
import json, pathlib
import pandas as pd

class Predictor:
    def __init__(self, weight):
        self.weight = weight

    @classmethod
    def load(cls, folder):
        return cls(json.loads((pathlib.Path(folder) / "predictor.json").read_text())["weight"])

    def predict(self, frame, params=None):
        assert all(isinstance(value, bytes) for value in frame["image"])
        return pd.DataFrame({"score": [len(value) * self.weight for value in frame["image"]]})
"""


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`tenfold.dummy_paper` exists while a test runs."""
    import sys

    folder = tmp_path / "package" / "dummy_paper"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "predict.py").write_text(PREDICT)
    monkeypatch.setattr(tenfold, "__path__", [*tenfold.__path__, str(folder.parent)])
    monkeypatch.setattr(registry, "requirements", lambda paper: ["mlflow"])
    yield
    for name in [name for name in sys.modules if name.startswith("tenfold.dummy_paper")]:
        del sys.modules[name]


def register(settings: Settings, key: str, weight: float = 1.0, run_id: str | None = None) -> Registered:
    folder = settings.root / f"trained-{key}" / "predictor"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictor.json").write_text(f'{{"weight": {weight}}}')
    return registry.register(settings, NAME, folder, EXAMPLE, run_id, key, {"dvc.md5": "d" * 32})


def test_nothing_registered_is_no_error(settings: Settings, tmp_path: Path) -> None:
    assert registry.peek(settings, NAME) is None
    assert registry.champion(settings, NAME) is None
    assert registry.champions(settings, "dummy_paper") == []
    fresh = settings.model_copy(update={"mlflow_tracking_uri": f"sqlite:///{tmp_path}/absent.db"})
    assert registry.peek(fresh, NAME) is None and not (tmp_path / "absent.db").exists()
    (tmp_path / "empty.db").touch()
    assert registry.peek(settings.model_copy(update={"mlflow_tracking_uri": f"sqlite:///{tmp_path}/empty.db"}), NAME) is None


@pytest.mark.usefixtures("paper")
def test_a_key_is_registered_once_and_promotion_converges(settings: Settings) -> None:
    with Tracking(settings).run("dummy_paper", "demo.part", "k1", tags={}, params={}) as run:
        pass
    first = register(settings, "k1", 2.0, run.run_id)
    assert first == Registered(NAME, "1", "k1", new=True)
    # killed here, before any alias; run again:
    again = register(settings, "k1", 2.0, run.run_id)
    assert again == Registered(NAME, "1", "k1", new=False)
    for _ in range(2):
        registry.promote(settings, again, YES)
    client = MlflowClient(settings.mlflow_tracking_uri)
    assert client.get_registered_model(NAME).aliases == {"challenger": 1, "champion": 1}
    version = client.get_model_version(NAME, "1")
    files = digest_folder(settings.root / "trained-k1" / "predictor")
    assert version.tags == {"tenfold.key": "k1", "tenfold.files": files, "dvc.md5": "d" * 32} and version.run_id == run.run_id
    registry.promote(settings, register(settings, "k2", 3.0), NO)
    assert client.get_registered_model(NAME).aliases == {"challenger": 2, "champion": 1}
    # what peek reads from the tables is what the client says
    for alias in ("champion", "challenger"):
        told = client.get_model_version_by_alias(NAME, alias)
        assert registry.peek(settings, NAME, alias) == (str(told.version), told.tags["tenfold.key"])
    assert registry.champions(settings, "dummy_paper") == [NAME]
    champion = registry.champion(settings, NAME)
    assert champion is not None and (champion.version, champion.key) == ("1", "k1")
    assert predictors.load("dummy_paper", champion.folder).predict(EXAMPLE)["score"].tolist() == [12.0]


@pytest.mark.usefixtures("paper")
def test_a_copy_that_was_changed_is_not_used(settings: Settings) -> None:
    registry.promote(settings, register(settings, "k1", 2.0), YES)
    champion = registry.champion(settings, NAME)
    assert champion is not None
    (champion.folder / "predictor.json").write_text('{"weight": 3.0}')
    with pytest.raises(Corrupt, match=rf"No copy of {NAME} version 1 is what was registered.*tenfold reproduce"):
        registry.champion(settings, NAME)
    assert not (settings.home / "models" / NAME / "1").exists()
    kept = settings.home / "store" / "dummy_paper" / "model" / "k1" / "predictor"
    shutil.copytree(settings.root / "trained-k1" / "predictor", kept)
    champion = registry.champion(settings, NAME)
    assert champion is not None and champion.folder == kept


@pytest.mark.usefixtures("paper")
def test_the_served_model_takes_bytes_and_no_paths(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import mlflow

    monkeypatch.setattr(sys, "path", list(sys.path))
    registry.promote(settings, register(settings, "k1", 2.0), YES)
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    served = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert [(column.name, column.type.name) for column in served.metadata.signature.inputs] == [("image", "binary")]
    assert served.predict(EXAMPLE)["score"].tolist() == [12.0]
    text = base64.b64encode(b"12345").decode()
    assert served.predict(pd.DataFrame({"image": [text]}))["score"].tolist() == [10.0]
    for path in (str(settings.home / "mlflow" / "mlflow.db"), "../secret.png"):
        with pytest.raises(ValueError, match="row 0, column 'image'.*not a path"):
            served.predict(pd.DataFrame({"image": [path]}))


@pytest.mark.usefixtures("paper")
def test_a_predictor_that_cannot_answer_is_not_registered(settings: Settings) -> None:
    folder = settings.root / "broken"
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        registry.register(settings, NAME, folder, EXAMPLE, None, "k1", {})
    assert MlflowClient(settings.mlflow_tracking_uri).search_model_versions(f"name = '{NAME}'") == []


@pytest.mark.usefixtures("paper")
def test_a_model_whose_files_are_gone_is_read_from_the_store(settings: Settings) -> None:
    import shutil

    registry.promote(settings, register(settings, "k1", 2.0), YES)
    shutil.rmtree(settings.home / "mlflow" / "artifacts")
    stored = settings.home / "store" / "dummy_paper" / "model" / "k1" / "predictor"
    shutil.copytree(settings.root / "trained-k1" / "predictor", stored)
    champion = registry.champion(settings, NAME)
    assert champion is not None and champion.folder == stored


def test_names_are_checked_before_anything_is_imported_or_asked(settings: Settings) -> None:
    for name in ("crossmodal_anomaly", "x/y.demo", "X.demo", "a.b' or '1"):
        with pytest.raises(UsageError, match="registered model"):
            registry.register(settings, name, settings.root, EXAMPLE, None, "k", {})
    for paper in ("os.path", "../x", "Dummy", ""):
        with pytest.raises(UsageError, match="not a paper's name"):
            predictors.load(paper, settings.root)


def test_a_registry_that_does_not_answer_is_named(settings: Settings, port: int) -> None:
    away = settings.model_copy(update={"mlflow_tracking_uri": f"http://127.0.0.1:{port}"})
    for ask in (lambda: registry.peek(away, NAME), lambda: registry.champions(away, "p"), lambda: register(away, "k1")):
        with pytest.raises(TenfoldError, match=str(port)):
            ask()


def test_requirements_are_the_imports_of_the_code_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenfold.core import code

    (tmp_path / "predict.py").write_text(
        "import json\nimport numpy.linalg\nfrom tenfold.core import errors\n\ndef f():\n    import tifffile, yaml\n"
    )
    monkeypatch.setattr(code, "modules", lambda entry: {entry: tmp_path / "predict.py"})
    found = {line.partition("==")[0].lower() for line in registry.requirements("any_paper")}
    assert found == {"mlflow", "numpy", "pandas", "pyyaml", "tifffile", "imagecodecs"}
    assert all("+" not in line and line.partition("==")[2] for line in registry.requirements("any_paper"))


@pytest.mark.slow
@pytest.mark.usefixtures("paper")
def test_the_same_over_http(settings: Settings, serve: Callable[[Settings, int], AbstractContextManager[None]], port: int) -> None:
    remote = settings.model_copy(update={"mlflow_tracking_uri": f"http://127.0.0.1:{port}"})
    with serve(settings, port):
        assert registry.peek(remote, NAME) is None and registry.champions(remote, "dummy_paper") == []
        made = register(remote, "k1", 2.0)
        assert registry.peek(remote, NAME) is None  # registered, not promoted
        registry.promote(remote, made, YES)
        assert register(remote, "k1", 2.0) == Registered(NAME, "1", "k1", new=False)
        assert registry.peek(remote, NAME) == registry.peek(settings, NAME) == ("1", "k1")
        assert registry.champions(remote, "dummy_paper") == registry.champions(settings, "dummy_paper") == [NAME]
        champion = registry.champion(remote, NAME)
        assert champion is not None and champion.folder.is_relative_to(settings.home / "models")
        assert predictors.load("dummy_paper", champion.folder).predict(EXAMPLE)["score"].tolist() == [12.0]

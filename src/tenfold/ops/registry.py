"""The registry: versions with their content key, the gate, and the aliases `challenger` and `champion`."""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from tenfold.core.errors import TenfoldError, UsageError
from tenfold.ops import mlflow_store, predictors, registry_read
from tenfold.ops.gate import Decision, decide
from tenfold.ops.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Champion", "Decision", "Registered", "champion", "champions", "decide", "locked", "peek", "promote", "register", "requirements"]

CHAMPION = "champion"
CHALLENGER = "challenger"
KEY = "tenfold.key"
# imported by a library only when a file needs it
_COMPANIONS = {"tifffile": "imagecodecs"}
_NAME = re.compile(r"[a-z][a-z0-9_]*\.[A-Za-z0-9_.-]+")

peek = registry_read.peek
champions = registry_read.champions


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; `new` is False if this key was registered before."""

    name: str
    version: str
    key: str
    new: bool


@dataclass(frozen=True)
class Champion:
    """A version with its weights in a local `folder` that `Predictor.load` reads."""

    name: str
    version: str
    key: str
    folder: Path


@contextmanager
def locked(settings: Settings, name: str) -> Iterator[None]:
    """Hold while reading a champion, comparing with it and promoting, so that two runs cannot both beat the same one."""
    _check(name)
    settings.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.locks / f"registry-{name}.lock"):
        yield


def register(
    settings: Settings,
    name: str,
    folder: Path,
    example: "pd.DataFrame",
    run_id: str | None,
    key: str,
    metadata: Mapping[str, str],
    params: Mapping[str, Any] | None = None,
) -> Registered:
    """Log the predictor in `folder` as a model and register it under `name` (`<paper>.<partition>`).

    `example` is a request of one or a few rows (bytes in cells, no paths); the answer to it gives the signature, so a
    predictor that cannot answer is not registered. `params` are the options a request may carry, with their defaults.
    A version with this `key` is returned as it is. Raises TenfoldError when the registry does not answer.
    """
    _check(name)
    paper = name.partition(".")[0]
    with _talking(settings) as mlflow_client:
        found = _version_of(mlflow_client, name, key)
        if found is not None:
            return Registered(name, found, key, new=False)
    answer = predictors.load(paper, folder).predict(example, dict(params or {}))
    tags = {**metadata, KEY: key}
    with _talking(settings) as mlflow_client:
        experiment = mlflow_store.experiment(settings, mlflow_client, paper)
        model_id = _log(settings, name, folder, example, answer, run_id, experiment, tags, params)
        if not mlflow_client.search_registered_models(f"name = '{name}'"):
            mlflow_client.create_registered_model(name)
        # version and tag in one call: there is never a version whose key is unknown
        made = mlflow_client.create_model_version(name, f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id)
        return Registered(name, str(made.version), key, new=True)


def promote(settings: Settings, registered: Registered, decision: Decision) -> None:
    """Name the version `challenger` and, if the gate decided so, `champion`. Done again, it ends the same."""
    with _talking(settings) as mlflow_client:
        aliases = mlflow_client.get_registered_model(registered.name).aliases
        for alias, wanted in ((CHALLENGER, True), (CHAMPION, decision.promote)):
            if wanted and str(aliases.get(alias)) != registered.version:
                mlflow_client.set_registered_model_alias(registered.name, alias, registered.version)


def champion(settings: Settings, name: str, alias: str = CHAMPION) -> Champion | None:
    """The version that has the alias, its weights fetched if the registry is elsewhere; None if there is none."""
    found = peek(settings, name, alias)
    if found is None:
        return None
    version, key = found
    with _talking(settings) as mlflow_client:
        folder = _local(mlflow_client, name, version) or _stored(settings, name, key) or _fetched(settings, name, version)
    return Champion(name, version, key, folder)


def requirements(paper: str) -> list[str]:
    """What serving the paper needs, pinned to what is installed: the imports of its code, found by reading it."""
    import sys

    from tenfold.core import code

    wanted = {"mlflow", "pandas"}
    for path in {**code.modules(predictors.module(paper)), **code.modules("tenfold.ops.serving")}.values():
        wanted |= _imported(path)
    wanted |= {companion for package, companion in _COMPANIONS.items() if package in wanted}
    owners = importlib.metadata.packages_distributions()
    names = {
        # several distributions may fill one package; the one of the same name is meant
        package if package in owners[package] else owners[package][0]
        for package in wanted - sys.stdlib_module_names - {"tenfold"}
        if package in owners
    }
    return sorted(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names)


def _imported(path: Path) -> set[str]:
    import ast

    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _log(
    settings: Settings,
    name: str,
    folder: Path,
    example: "pd.DataFrame",
    answer: "pd.DataFrame",
    run_id: str | None,
    experiment: str,
    metadata: Mapping[str, str],
    params: Mapping[str, Any] | None,
) -> str:
    """Log the model; return its id."""
    import sys

    import mlflow
    from mlflow.models import Model, infer_signature

    source = Path(__file__).resolve().parents[1]
    paper = name.partition(".")[0]
    blobs = [str(column) for column in example.columns if any(isinstance(value, bytes) for value in example[column])]
    # MLflow's model logging knows this process's tracking server and experiment only
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    mlflow.set_experiment(experiment_id=experiment)
    before = list(sys.path)
    try:
        info = Model.log(
            artifact_path=None,
            name=name.replace(".", "-"),
            flavor=mlflow.pyfunc,
            run_id=run_id,
            python_model=str(source / "ops" / "serving.py"),
            code_paths=[str(source)],
            model_config={"paper": paper, "bytes": blobs},
            artifacts={"predictor": str(folder)},
            signature=infer_signature(example, answer, dict(params) if params else None),
            input_example=example,
            pip_requirements=requirements(paper),
            metadata=dict(metadata),
        )
    finally:
        # trying the example put the model's own copy of the code first
        sys.path[:] = before
    return str(info.model_id)


def _version_of(mlflow_client: "MlflowClient", name: str, key: str) -> str | None:
    found = mlflow_client.search_model_versions(f"name = '{name}' and tags.`{KEY}` = '{key}'")
    ready: list[ModelVersion] = [version for version in found if version.status == "READY"]
    return str(min(int(version.version) for version in ready)) if ready else None


def _local(mlflow_client: "MlflowClient", name: str, version: str) -> Path | None:
    """The predictor's folder where the registry keeps its files on this machine."""
    parts = urlsplit(mlflow_client.get_model_version_download_uri(name, version))
    folder = Path(unquote(parts.path)) / "artifacts"
    return _predictor(folder) if parts.scheme in ("", "file") and folder.is_dir() else None


def _stored(settings: Settings, name: str, key: str) -> Path | None:
    """The same weights in the store, where training left them."""
    folder = settings.home / "store" / name.partition(".")[0] / "model" / key / "predictor"
    return folder if folder.is_dir() else None


def _fetched(settings: Settings, name: str, version: str) -> Path:
    """The predictor's folder, downloaded once; versions do not change."""
    import mlflow

    from tenfold.core import atomic

    folder = settings.home / "models" / name / version
    if not folder.is_dir():
        with atomic.new_folder(folder) as temporary:
            uri = f"models:/{name}/{version}"
            mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(temporary), tracking_uri=settings.mlflow_tracking_uri)
    return _predictor(folder / "artifacts")


def _predictor(folder: Path) -> Path:
    """The one folder that the model was logged with."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    if len(inside) != 1:
        raise TenfoldError(f"{folder} should hold one predictor, it holds {len(inside)}. Register the model again: materialize `champion`.")
    return inside[0]


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not the name of a registered model: it must be <paper>.<partition>.")


@contextmanager
def _talking(settings: Settings) -> Iterator["MlflowClient"]:
    """A client; what MLflow and the network raise becomes one error that says what to do."""
    import sqlite3

    from mlflow.exceptions import MlflowException

    try:
        yield mlflow_store.client(settings)
    except (MlflowException, OSError, sqlite3.Error) as error:
        where = mlflow_store.shown(settings.mlflow_tracking_uri)
        raise TenfoldError(f"The registry at {where} failed: {str(error).strip()[:500]}. Once it answers, run `champion` again.") from error

"""The registry: versions with their content key, the gate, and the aliases `challenger` and `champion`."""

import importlib.metadata
import logging
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from tenfold.core import disk
from tenfold.core.errors import Corrupt, TenfoldError, Unwritable, UsageError
from tenfold.core.store import digest_folder
from tenfold.ops import mlflow_store, predictors, registry_read
from tenfold.ops.gate import Decision, decide
from tenfold.ops.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "Champion", "Decision", "Registered", "champion", "champions", "decide", "known", "locked", "peek", "promote", "register", "requirements",
    "stored",
]  # fmt: skip

_log = logging.getLogger(__name__)

CHAMPION = "champion"
CHALLENGER = "challenger"
KEY = "tenfold.key"
FILES = "tenfold.files"  # digest of the predictor's files
# imported by a library only when a file needs it
_COMPANIONS = {"tifffile": "imagecodecs"}
_SOURCE = Path(__file__).resolve().parents[1]
# a registry that is busy, or an answer that was lost, is asked again after so many seconds
_WAITS_S = (1.0, 3.0, None)
_PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "RESOURCE_ALREADY_EXISTS")
_OBJECT_STORES = ("boto3", "botocore", "s3transfer")
_T = TypeVar("_T")
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
    found = _asked(settings, lambda client: _version_of(client, name, key))
    if found is not None:
        return Registered(name, found, key, new=False)
    import mlflow

    # MLflow's own registry looks a logged model up where its process is set to
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    answer = predictors.load(paper, folder).predict(example, dict(params or {}))
    tags = {**metadata, KEY: key, FILES: digest_folder(folder)}

    def add(client: "MlflowClient") -> str:
        made = _version_of(client, name, key)  # by an attempt whose answer was lost
        if made is not None:
            return made
        experiment = mlflow_store.experiment(settings, client, paper)
        model = _model(client, name, run_id, experiment, tags)
        if model.status != "READY":
            _upload(client, model.model_id, paper, folder, example, answer, run_id, tags, params)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        # version and tag in one call: there is never a version whose key is unknown
        return str(
            client.create_model_version(name, f"models:/{model.model_id}", run_id=run_id, tags=tags, model_id=model.model_id).version
        )

    return Registered(name, _asked(settings, add), key, new=True)


def promote(settings: Settings, registered: Registered, decision: Decision) -> None:
    """Name the version `challenger` and, if the gate decided so, `champion`. Done again, it ends the same."""

    def set_aliases(client: "MlflowClient") -> None:
        aliases = client.get_registered_model(registered.name).aliases
        for alias, wanted in ((CHALLENGER, True), (CHAMPION, decision.promote)):
            if wanted and str(aliases.get(alias)) != registered.version:
                client.set_registered_model_alias(registered.name, alias, registered.version)

    _asked(settings, set_aliases)


def known(settings: Settings, name: str) -> bool:
    """Whether the registry holds any version of `name`: a new registry holds none."""
    return _asked(settings, lambda client: bool(client.search_registered_models(f"name = '{name}'")))


def champion(settings: Settings, name: str, alias: str = CHAMPION) -> Champion | None:
    """The version that has the alias, its weights fetched if the registry is elsewhere; None if there is none.

    Where the registry's copy is damaged, the store's is taken. Raises Corrupt if no copy is what was registered.
    """
    found = peek(settings, name, alias)
    if found is None:
        return None
    version, key = found

    def locate(client: "MlflowClient") -> Path:
        wanted = client.get_model_version(name, version).tags.get(FILES)
        copies = (
            lambda: _local(client, name, version),
            lambda: stored(settings, name, key),
            lambda: _fetched(settings, client, name, version),
        )
        for copy in copies:
            folder = copy()
            if folder is not None and wanted in (None, digest_folder(folder)):
                return folder
            if folder is not None:
                _log.warning("%s is not what was registered as %s version %s: it is not used", folder, name, version)
        shutil.rmtree(settings.home / "models" / name / version, ignore_errors=True)  # the next attempt downloads it again
        raise Corrupt(
            f"No copy of {name} version {version} is what was registered: a file was changed or damaged. Try again once. Then "
            f"`tenfold run {name} --to model` makes it anew, if code and data are what they were (`tenfold reproduce {name}` tells); "
            "else delete the alias in MLflow."
        )

    return Champion(name, version, key, _asked(settings, locate))


def requirements(paper: str) -> list[str]:
    """What serving the paper needs, pinned to what is installed: the imports of its code, found by reading it."""
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


def _model(client: "MlflowClient", name: str, run_id: str | None, experiment: str, tags: Mapping[str, str]) -> "LoggedModel":
    """The logged model of this key: one that an interrupted attempt left is used, so that none stays behind unused."""
    logged_as = name.replace(".", "-")
    found = client.search_logged_models([experiment], f"name = '{logged_as}' and tags.`{KEY}` = '{tags[KEY]}'", max_results=1)
    if found:
        return found[0]
    params = client.get_run(run_id).data.params if run_id else {}
    return client.create_logged_model(experiment, logged_as, source_run_id=run_id, tags=dict(tags), params=params)


def _upload(
    client: "MlflowClient",
    model_id: str,
    paper: str,
    folder: Path,
    example: "pd.DataFrame",
    answer: "pd.DataFrame",
    run_id: str | None,
    metadata: Mapping[str, str],
    params: Mapping[str, Any] | None,
) -> None:
    """Fill the logged model, tie it to its run and call it ready; every step may be done again."""
    import mlflow
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model, infer_signature

    blobs = [str(column) for column in example.columns if any(isinstance(value, bytes) for value in example[column])]
    location = client.get_logged_model(model_id).artifact_location
    about = Model(artifact_path=location, run_id=run_id, model_uuid=model_id, model_id=model_id, metadata=dict(metadata))
    before = list(sys.path)
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "model"
        try:
            mlflow.pyfunc.save_model(
                made,
                mlflow_model=about,
                python_model=str(_SOURCE / "ops" / "serving.py"),
                code_paths=[str(_SOURCE)],
                model_config={"paper": paper, "bytes": blobs},
                artifacts={"predictor": str(folder)},
                signature=infer_signature(example, answer, dict(params) if params else None),
                input_example=example,
                pip_requirements=requirements(paper),
            )
        finally:
            # trying the example put the model's own copy of the code first
            sys.path[:] = before
        for cache in made.rglob("__pycache__"):
            shutil.rmtree(cache)
        mlflow_store.require_room(location, made)
        client.log_model_artifacts(model_id, str(made))
    if run_id:
        run = client.get_run(run_id)
        outputs = run.outputs.model_outputs if run.outputs else []
        if all(output.model_id != model_id for output in outputs):
            client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        # the run's final numbers, on the model's page
        points = [point for name in run.data.metrics for point in client.get_metric_history(run_id, name) if point.step == 0]
        shown = [Metric(p.key, p.value, p.timestamp, p.step, model_id=model_id, run_id=run_id) for p in points if p.model_id is None]
        client.log_batch(run_id, metrics=shown)
    client.finalize_logged_model(model_id, "READY")


def _version_of(mlflow_client: "MlflowClient", name: str, key: str) -> str | None:
    found = mlflow_client.search_model_versions(f"name = '{name}' and tags.`{KEY}` = '{key}'")
    ready: list[ModelVersion] = [version for version in found if version.status == "READY"]
    return str(min(int(version.version) for version in ready)) if ready else None


def _local(mlflow_client: "MlflowClient", name: str, version: str) -> Path | None:
    """The predictor's folder where the registry keeps its files on this machine."""
    parts = urlsplit(mlflow_client.get_model_version_download_uri(name, version))
    folder = Path(unquote(parts.path)) / "artifacts"
    return _predictor(folder) if parts.scheme in ("", "file") and folder.is_dir() else None


def stored(settings: Settings, name: str, key: str) -> Path | None:
    """The weights of network `key` in the store, where training left them; None if they are not there."""
    folder = settings.home / "store" / name.partition(".")[0] / "model" / key / "predictor"
    return folder if folder.is_dir() else None


def _fetched(settings: Settings, client: "MlflowClient", name: str, version: str) -> Path:
    """The predictor's folder, downloaded once; versions do not change."""
    import mlflow

    from tenfold.core import atomic

    folder = settings.home / "models" / name / version
    if not folder.is_dir():
        with atomic.new_folder(folder) as temporary:
            # not models:/<name>/<version>, which asks the registry that this process is set to
            uri = f"{client.get_model_version_download_uri(name, version).rstrip('/')}/artifacts"
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


def _asked(settings: Settings, ask: Callable[["MlflowClient"], _T]) -> _T:
    """The registry's answer, asked for again if it was busy or the answer was lost: so every `ask` looks before it makes.

    What MLflow, its database, the network and the object store raise becomes one error that says what to do.
    """
    for wait in _WAITS_S:
        try:
            return ask(mlflow_store.client(settings))
        except Unwritable:
            raise
        except Exception as error:
            if problem := disk.unwritable(error, settings.home):
                raise problem from error
            if not _theirs(error):
                raise
            if wait is None or getattr(error, "error_code", "") not in _PASSING:
                where = mlflow_store.shown(settings.mlflow_tracking_uri)
                why = mlflow_store.cause(settings, error)
                raise TenfoldError(f"The registry at {where} failed: {why}. Once it answers, run `champion` again.") from error
            time.sleep(wait)
    raise AssertionError  # the last wait is None


def _theirs(error: Exception) -> bool:
    """Whether MLflow, its database, the network or the object store raised it."""
    import sqlite3

    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException | OSError | sqlite3.Error) or type(error).__module__.partition(".")[0] in _OBJECT_STORES

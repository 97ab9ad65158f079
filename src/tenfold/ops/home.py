"""The home folder: made once, behind a lock. Fresh databases do not survive two processes that start together."""

import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from tenfold.core import atomic
from tenfold.ops.settings import Settings

# one run at a time on the GPU, one DVC stage at a time; raise with `dagster instance concurrency set`
POOLS = {"gpu": 1, "dvc": 1}


def ensure(settings: Settings) -> None:
    """Make the folders and Dagster's instance. Later calls compare one marker file and import nothing."""
    for folder in (settings.home / "store", settings.home / "current", settings.home / "work", settings.home / "logs", settings.spool):
        folder.mkdir(parents=True, exist_ok=True)
    settings.locks.mkdir(parents=True, exist_ok=True)
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    marker = settings.dagster_home / ".ready"
    if _link(settings) and _reads(marker) == _dagster_state(settings):
        return
    with FileLock(settings.locks / "dagster.lock"):
        _link(settings, repair=True)
        state = _dagster_state(settings)
        if _reads(marker) != state:
            _make_dagster(settings)
            atomic.write_text(marker, state)


def ensure_mlflow(settings: Settings) -> None:
    """Create MLflow's tables once. Nothing to do where a server owns them."""
    scheme = urlsplit(settings.mlflow_tracking_uri).scheme
    if scheme in ("http", "https"):
        return
    folder = settings.home / "mlflow"
    marker = folder / ".ready"
    database = Path(settings.mlflow_tracking_uri.removeprefix("sqlite:///")) if scheme == "sqlite" else None
    state = _digest("mlflow", importlib.metadata.version("mlflow"), settings.mlflow_tracking_uri)
    if _reads(marker) == state and (database is None or database.is_file()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
    settings.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.locks / "mlflow.lock"):
        if _reads(marker) == state and (database is None or database.is_file()):
            return
        if database is not None and not database.exists():
            # cut off between two of its migrations, it would never open again
            with atomic.new_file(database) as temporary:
                _make_mlflow(f"sqlite:///{temporary}")
        else:
            _make_mlflow(settings.mlflow_tracking_uri)
        atomic.write_text(marker, state)


def _make_mlflow(uri: str) -> None:
    from mlflow import MlflowClient

    MlflowClient(uri).search_experiments(max_results=1)


def _make_dagster(settings: Settings) -> None:
    from dagster import DagsterInstance

    # dagster.yaml names its folder by this variable
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        storage = instance.event_log_storage
        limited = {pool.name for pool in storage.get_pool_limits() if not pool.from_default}
        for pool, slots in POOLS.items():
            if pool not in limited:
                storage.set_concurrency_slots(pool, slots)


def _link(settings: Settings, repair: bool = False) -> bool:
    """Whether Dagster reads the checkout's dagster.yaml; a file of the user's own in its place is left alone."""
    source, link = settings.root / "dagster.yaml", settings.dagster_home / "dagster.yaml"
    if link.is_file() and not link.is_symlink():
        return True
    if not source.is_file():
        return link.is_file() or not link.is_symlink()
    if link.is_symlink() and link.readlink() == source:
        return True
    if repair:
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    return repair


def _dagster_state(settings: Settings) -> str:
    config = settings.dagster_home / "dagster.yaml"
    text = config.read_text() if config.is_file() else ""
    # deploy/dagster.postgres.yaml leaves the address to the environment
    database = os.environ.get("TENFOLD_DAGSTER_DB", "")
    return _digest("dagster", importlib.metadata.version("dagster"), str(settings.dagster_home), text, database, json.dumps(POOLS))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _reads(marker: Path) -> str:
    try:
        return marker.read_text(errors="replace")
    except FileNotFoundError:
        return ""

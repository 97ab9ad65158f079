"""Which stored output is in which MLflow run: a small file each, so that a cache hit links to it without MLflow."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from tenfold.core import atomic
from tenfold.ops.settings import Settings

_WAIT_S = 15.0


def _marker(settings: Settings, paper: str, asset: str, key: str) -> Path:
    # a run of one tracking server means nothing to another; a home that was moved is still the same one
    server = hashlib.sha256(settings.mlflow_tracking_uri.replace(str(settings.home), "").encode()).hexdigest()[:8]
    return settings.home / "mlflow" / "logged" / server / paper / asset / f"{key}.json"


def note(settings: Settings, paper: str, asset: str, key: str, run_id: str | None, experiment_id: str | None) -> None:
    """The output has been handed to MLflow; during an outage the spool holds it and the run has no id yet."""
    atomic.write_json(_marker(settings, paper, asset, key), {"run_id": run_id or "", "experiment_id": experiment_id or ""})


def read(settings: Settings, paper: str, asset: str, key: str) -> dict[str, str] | None:
    """{run_id, experiment_id}; None if the output was never handed to MLflow, or what says so is damaged: then it is handed over again."""
    try:
        found = json.loads(_marker(settings, paper, asset, key).read_bytes())
        return {name: str(found[name]) for name in ("run_id", "experiment_id")}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def known(settings: Settings, paper: str, asset: str, key: str) -> bool:
    """Whether the output was handed to the MLflow of these settings, and a database on this machine still has its run.

    A server is not asked: that it was emptied under its old address, only `<home>/mlflow/logged` can be told, by deleting it.
    """
    found = read(settings, paper, asset, key)
    if found is None or not found["run_id"] or urlsplit(settings.mlflow_tracking_uri).scheme != "sqlite":
        return found is not None
    path = Path(settings.mlflow_tracking_uri.removeprefix("sqlite:///"))
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)) as database:
            return database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (found["run_id"],)).fetchone() is not None
    except sqlite3.Error:  # locked, or no tables yet: the spool and `replay` tell what is the matter
        return True


def link(settings: Settings, paper: str, asset: str, key: str) -> str | None:
    """Address of the run's artifact page on the server that is running now."""
    found = read(settings, paper, asset, key)
    if not found or not found["run_id"]:
        return None
    return f"{settings.mlflow_url}/#/experiments/{found['experiment_id']}/runs/{found['run_id']}/artifacts"

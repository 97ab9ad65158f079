"""Which stored output is in which MLflow run: a small file each, so that a cache hit links to it without MLflow."""

import hashlib
import json
from pathlib import Path

from tenfold.core import atomic
from tenfold.ops.settings import Settings


def _marker(settings: Settings, paper: str, asset: str, key: str) -> Path:
    # a run of one tracking server means nothing to another; a home that was moved is still the same one
    server = hashlib.sha256(settings.mlflow_tracking_uri.replace(str(settings.home), "").encode()).hexdigest()[:8]
    return settings.home / "mlflow" / "logged" / server / paper / asset / f"{key}.json"


def note(settings: Settings, paper: str, asset: str, key: str, run_id: str | None, url: str | None) -> None:
    """The output has been handed to MLflow; during an outage the spool holds it and the run has no id yet."""
    experiment = (url or "").partition("/experiments/")[2].partition("/")[0]
    atomic.write_json(_marker(settings, paper, asset, key), {"run_id": run_id or "", "experiment_id": experiment})


def read(settings: Settings, paper: str, asset: str, key: str) -> dict[str, str] | None:
    """{run_id, experiment_id}; None if the output was never handed to MLflow."""
    try:
        found: dict[str, str] = json.loads(_marker(settings, paper, asset, key).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found


def link(settings: Settings, paper: str, asset: str, key: str) -> str | None:
    """Address of the run's artifact page on the server that is running now."""
    found = read(settings, paper, asset, key)
    if not found or not found["run_id"]:
        return None
    return f"{settings.mlflow_url}/#/experiments/{found['experiment_id']}/runs/{found['run_id']}/artifacts"

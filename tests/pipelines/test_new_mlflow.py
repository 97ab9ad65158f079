"""A new MLflow, empty, for a home that has everything: one command fills it from the store and computes nothing."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support import tenfold

PAPER, TARGET = "crossmodal_anomaly", "crossmodal_anomaly.demo.biscuit"

pytestmark = pytest.mark.slow


def seen(uri: str) -> dict[str, Any]:
    """What MLflow has of the partition: the runs with their curves, and the registry."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(PAPER).experiment_id
    every = client.search_runs([experiment])
    parents = {run.info.run_id for run in every if run.data.tags.get("tenfold.partition") == "demo.biscuit"}
    runs = [run for run in every if run.info.run_id in parents or run.data.tags.get("mlflow.parentRunId") in parents]
    (version,) = client.search_model_versions(f"name = '{TARGET}'")
    return {
        "status": {run.info.run_name: run.info.status for run in runs},
        "points": {
            run.info.run_name: {
                name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
                if "pixels_per_s" not in name  # measured, not stored
            }
            for run in runs
        },
        "params": {run.info.run_name: run.data.params for run in runs if run.info.run_id in parents},
        "artifacts": {run.info.run_name: sorted(a.path for a in client.list_artifacts(run.info.run_id)) for run in runs},
        "inputs": {run.info.run_name: [d.dataset.digest for d in run.inputs.dataset_inputs] for run in runs},
        "version": (version.tags, client.get_registered_model(TARGET).aliases, version.run_id in parents),
    }


def test_one_command_fills_a_new_mlflow(copied: Path, tmp_path: Path) -> None:
    known = seen(f"sqlite:///{copied}/.tenfold/mlflow/mlflow.db")
    store = sorted((copied / ".tenfold" / "store" / PAPER / "model").iterdir())
    new = f"sqlite:///{tmp_path}/new/mlflow.db"
    where = {"TENFOLD_MLFLOW_TRACKING_URI": new, "TENFOLD_MLFLOW_ARTIFACTS": str(tmp_path / "new" / "artifacts")}
    done = tenfold(copied, "run", TARGET, **where)
    assert done.returncode == 0, done.stdout + done.stderr
    found = seen(new)
    for what, wanted in known.items():
        assert found[what] == wanted, what
    assert sorted((copied / ".tenfold" / "store" / PAPER / "model").iterdir()) == store

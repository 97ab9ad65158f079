"""Stopped or killed in the middle of training: the next run ends with the same bits, and nothing stays open."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from support import copy_of, read_until, start, tenfold

from tenfold.core.store import Store

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PEG = "crossmodal_anomaly.demo.peg"
WORDS = ["run", PEG, "--to", "model", "--set", "model.epochs=12"]
MIDDLE = "full seed 1: epoch 4/12"


def weights(root: Path) -> dict[str, str]:
    _, manifest = Store(root / ".tenfold").open("crossmodal_anomaly", "demo.peg", "model")
    assert manifest.block["epochs"] == 12
    return {name: entry["sha256"] for name, entry in manifest.files.items() if name.endswith(".safetensors")}


def mlflow_statuses(root: Path) -> set[str]:
    with closing(sqlite3.connect(root / ".tenfold" / "mlflow" / "mlflow.db")) as database:
        return {row[0] for row in database.execute("SELECT status FROM runs")}


@pytest.fixture(scope="module")
def uninterrupted(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    root = copy_of(demo.root, tmp_path_factory.mktemp("uninterrupted") / "root")
    done = tenfold(root, *WORDS)
    assert done.returncode == 0, done.stderr
    yield weights(root)


def test_sigterm_saves_says_so_and_is_gone_on_with(copied: Path, uninterrupted: dict[str, str]) -> None:
    process = start(copied, *WORDS)
    read_until(process, MIDDLE)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "Run the same command again" in errors and "Traceback" not in errors
    assert "stopped" in out and "not finished" in out
    assert mlflow_statuses(copied) == {"FINISHED", "KILLED"}
    with dg.DagsterInstance.get() as instance:
        (stopped,) = instance.get_runs(limit=1)
    assert stopped.tags["dagster/retry_on_asset_or_op_failure"] == "true", "a daemon that comes back would not go on with it"
    again = tenfold(copied, *WORDS)
    assert again.returncode == 0, again.stderr
    assert "full seed 0: epoch" not in again.stderr and "epoch 4/12" not in again.stderr, "work that was finished is not done again"
    assert weights(copied) == uninterrupted
    assert mlflow_statuses(copied) == {"FINISHED"}


def test_sigterm_outside_training_stops_too(copied: Path) -> None:
    process = start(copied, "run", PEG, "--set", "prepared.plane_draws=210")
    read_until(process, "demo.peg prepare 0/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "the same command goes on from here" in errors and "Traceback" not in errors


def test_a_killed_run_is_ended_and_gone_on_with(copied: Path, uninterrupted: dict[str, str]) -> None:
    process = start(copied, *WORDS)
    read_until(process, MIDDLE)
    process.kill()
    process.communicate(timeout=60)
    with dg.DagsterInstance.get() as instance:
        (dead,) = instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        again = tenfold(copied, *WORDS)
        assert again.returncode == 0, again.stderr
        assert f"ended run {dead.run_id}" in again.stderr and "full seed 0: epoch" not in again.stderr
        ended = instance.get_run_by_id(dead.run_id)
        assert ended is not None and ended.status == dg.DagsterRunStatus.FAILURE
        assert [instance.event_log_storage.get_concurrency_info(pool).claimed_slots for pool in ("gpu", "dvc")] == [[], []]
    assert weights(copied) == uninterrupted
    assert mlflow_statuses(copied) == {"FINISHED"}

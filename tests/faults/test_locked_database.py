"""Databases of Dagster and MLflow that another process holds: nobody fails, and no event is lost.

The short form holds them for longer than Dagster alone would have waited (5 s); TENFOLD_LOCK_S=25 is the long one.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from locking import locked
from support import read_until, start

from tenfold.core.store import Store
from tenfold.ops import home, tracking
from tenfold.ops.settings import Settings

pytestmark = pytest.mark.slow
LOCK_S = float(os.environ.get("TENFOLD_LOCK_S", "7"))
PAPER = "crossmodal_anomaly"
TO_MODEL = ["dataset", "prepared", "features", "model"]


def test_every_database_of_dagster_is_waited_for(tiny: Path) -> None:
    home.ensure(Settings())
    folder = tiny / ".tenfold" / "dagster"

    @dg.job(name="made_up")
    def job() -> None: ...

    with dg.DagsterInstance.get() as instance:
        storage = instance.schedule_storage
        assert storage is not None
        run = instance.create_run_for_job(job)
        key = dg.AssetKey("thing")
        writes: list[Callable[[], object]] = [
            lambda: instance.add_run_tags(run.run_id, {"late": "yes"}),
            lambda: storage.add_instigator_state(sensor_state()),
            lambda: instance.report_runless_asset_event(dg.AssetMaterialization(key)),
        ]
        files = [folder / "history" / "runs.db", folder / "schedules" / "schedules.db", folder / "history" / "runs" / "index.db"]

        def timed(write: Callable[[], object]) -> float:
            began = time.monotonic()
            write()
            return time.monotonic() - began

        with locked(LOCK_S, *files), ThreadPoolExecutor(len(writes)) as pool:
            waited = list(pool.map(timed, writes))
        assert min(waited) > LOCK_S / 2, "each was held up"
        assert instance.get_run_by_id(run.run_id).tags["late"] == "yes"
        assert len(instance.all_instigator_state()) == 1
        assert instance.get_latest_materialization_event(key) is not None


def sensor_state() -> InstigatorState:
    place = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="m"), location_name="l")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "r"), "s")
    return InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED)


@pytest.mark.dag
def test_a_run_survives_locks_on_all_of_them_and_loses_no_event(copied: Path) -> None:
    dagster, database = copied / ".tenfold" / "dagster", copied / ".tenfold" / "mlflow" / "mlflow.db"
    process = start(copied, "run", f"{PAPER}.demo.peg", "--to", "model", "--set", "model.epochs=12")
    read_until(process, "full seed 0: epoch 2/12")
    with locked(LOCK_S, dagster / "history" / "runs.db", dagster / "history" / "runs" / "index.db", database):
        said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    _, manifest = Store(copied / ".tenfold").open(PAPER, "demo.peg", "model")
    run = manifest.made_by["run_id"]
    with dg.DagsterInstance.get() as instance:
        assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.SUCCESS
        for asset in TO_MODEL:
            event = instance.get_latest_materialization_event(dg.AssetKey([PAPER, asset]))
            assert event is not None and event.run_id == run, f"the materialization of {asset} is not known to the asset's page"
    # what a short training could not send before its end waits on the disk: `tenfold doctor` and the next run do this
    tracking.replay(Settings())
    with closing(sqlite3.connect(database)) as mlflow:
        (ours,) = mlflow.execute("SELECT run_uuid FROM tags WHERE key = 'tenfold.key' AND value = ?", (manifest.key,)).fetchall()
        assert mlflow.execute("SELECT status FROM runs WHERE run_uuid = ?", ours).fetchall() == [("FINISHED",)]
        steps = mlflow.execute("SELECT step FROM metrics WHERE run_uuid = ? AND key = 'train/loss' ORDER BY step", ours).fetchall()
    assert [step for (step,) in steps] == list(range(1, 13)), "every epoch, once"
    assert not list((copied / ".tenfold" / "spool").glob("*.jsonl"))

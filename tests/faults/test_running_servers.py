"""`tenfold ui` with its daemon: a run, its code server, the daemon, the whole machine are killed; code is edited under a run."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from servers import SIX, Servers, until

from tenfold.core import code
from tenfold.core.store import Manifest, Store

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PAPER = "crossmodal_anomaly"
TO_MODEL = ["dataset", "prepared", "features", "model"]
EPOCHS = 60


@pytest.fixture(scope="module")
def servers(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(demo.root, tmp_path_factory.mktemp("servers"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def in_training(servers: Servers, lr: float) -> tuple[str, int]:
    """A run whose network has a checkpoint but is far from its end, and its process."""
    before = set(servers.home.glob(f"work/{PAPER}/model/*/scratch"))

    def begun() -> bool:
        fresh = set(servers.home.glob(f"work/{PAPER}/model/*/scratch")) - before
        return any(True for folder in fresh for _ in folder.rglob("checkpoint.pt"))

    run = servers.launch(PAPER, "demo.peg", TO_MODEL, model={"epochs": EPOCHS, "seeds": [0], "lr": lr})
    worker = servers.worker(run)
    until(begun, say=lambda: servers.story(run))
    return run, worker


def goes_on(servers: Servers, dead: str, lr: float) -> None:
    """The dead run has FAILED, its retry went on from the checkpoint, no slot is taken, MLflow has one run and it is FINISHED."""
    assert servers.finished(dead) == "FAILURE"
    again = servers.retry_of(dead)
    assert servers.finished(again) == "SUCCESS", servers.story(again)
    first = f"epoch 1/{EPOCHS},"
    assert first in servers.story(dead) and first not in servers.story(again), "it began at the start"
    assert slots(servers) == [[], []]
    _, manifest = Store(servers.home).open(PAPER, "demo.peg", "model")
    assert manifest.block["lr"] == lr and manifest.made_by["run_id"] == again
    assert mlflow_statuses(servers.home, manifest.key) == ["FINISHED"]


def slots(servers: Servers) -> list[Any]:
    """Who holds `gpu` and `dvc`."""
    with servers.instance() as instance:
        return [instance.event_log_storage.get_concurrency_info(pool).claimed_slots for pool in ("gpu", "dvc")]


def mlflow_statuses(home: Path, key: str) -> list[str]:
    """Of the runs with this model's key, without those of its single networks."""
    query = "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE key = 'tenfold.key' AND value = ?"
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        return [row[0] for row in database.execute(query, (key,))]


def computed(servers: Servers) -> list[str]:
    """Partitions of the light asset in the order in which their science was called."""
    log = servers.home / "computed"
    return log.read_text().split() if log.exists() else []


def test_a_killed_run_is_retried_from_its_checkpoint(servers: Servers) -> None:
    run, worker = in_training(servers, 1.1e-3)
    os.kill(worker, signal.SIGKILL)
    goes_on(servers, run, 1.1e-3)


def test_a_run_that_died_with_its_code_server_is_retried(servers: Servers) -> None:
    run = servers.launch("light", "six.a", work={"seconds": 6.5})
    worker = servers.worker(run)
    until(lambda: computed(servers))
    for process in servers.processes("api grpc"):
        process.kill()
    os.kill(worker, signal.SIGKILL)
    assert servers.finished(run) == "FAILURE" and "its process is gone" in servers.story(run)
    again = servers.retry_of(run)
    assert servers.finished(again) == "SUCCESS", servers.story(again)
    assert "the server of the code location light is gone and is started again" in servers.log.read_text()


def test_two_runs_of_one_partition_at_once_compute_it_once(servers: Servers) -> None:
    before = len(computed(servers))
    both = [servers.launch("light", "six.d", work={"seconds": 4.5}) for _ in range(2)]
    assert [servers.finished(run) for run in both] == ["SUCCESS", "SUCCESS"]
    assert computed(servers)[before:] == ["six.d"]
    with servers.instance() as instance:
        records = instance.fetch_materializations(dg.AssetKey(["light", "work"]), limit=2).records
    caches = sorted(str(record.asset_materialization.metadata["cache"].value) for record in records)  # type: ignore[union-attr]
    assert {record.run_id for record in records} == set(both)
    assert caches == ["hit: nothing was recomputed", "made in this run"]


def answered(servers: Servers, partition: str) -> tuple[str, Manifest]:
    folder, manifest = Store(servers.home).open("light", partition, "work")
    return (folder / "answer").read_text(), manifest


def test_an_edit_and_a_reload_under_a_run_leave_it_the_code_it_began_with(servers: Servers) -> None:
    module = servers.code / "tenfold" / "light" / "answer.py"
    entry, source = "tenfold.light.work", servers.code
    old = code.content(entry, source)
    count = len(computed(servers))
    running = servers.launch("light", "six.b", work={"seconds": 6.0})
    until(lambda: len(computed(servers)) > count)
    # the module is imported after the seconds have passed
    module.write_text("ANSWER = 2\n")
    new = code.content(entry, source)
    servers.reload("light")
    after = servers.launch("light", "six.c", work={"seconds": 0.1})
    assert [servers.finished(run) for run in (running, after)] == ["SUCCESS", "SUCCESS"]
    answer, manifest = answered(servers, "six.b")
    assert (answer, manifest.code) == ("1", old), "what is recorded is what ran"
    answer, manifest = answered(servers, "six.c")
    assert (answer, manifest.code) == ("2", new)
    again = servers.launch("light", "six.b", work={"seconds": 0.2})
    assert servers.finished(again) == "SUCCESS"
    assert answered(servers, "six.b")[0] == "2", "the old answer is no hit for the new code"


def test_a_backfill_goes_on_when_its_daemon_was_killed_every_partition_once(servers: Servers) -> None:
    before = len(computed(servers))
    backfill = servers.backfill(["light", "work"], SIX)
    until(lambda: len(computed(servers)) >= before + 2)
    (daemon,) = servers.processes("dagster._daemon")
    daemon.kill()

    def status() -> str | None:
        with servers.instance() as instance:
            found = str(instance.get_backfill(backfill).status.value)
        return found if found.startswith("COMPLETED") else None

    def states() -> str:
        with servers.instance() as instance:
            runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/backfill": backfill}))
        return "\n".join([f"{run.tags['dagster/partition']} {run.run_id} {run.status.value}" for run in runs] + [servers.log.read_text()])

    # a run that the killed daemon was about to launch waits for its start timeout
    assert until(status, patience_s=300, say=states) == "COMPLETED_SUCCESS"
    assert sorted(computed(servers)[before:]) == SIX
    with servers.instance() as instance:
        runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/backfill": backfill}))
        events = instance.fetch_materializations(dg.AssetKey(["light", "work"]), limit=100).records
    assert sorted(run.tags["dagster/partition"] for run in runs if run.status == dg.DagsterRunStatus.SUCCESS) == SIX
    made = [record.partition_key for record in events if record.run_id in {run.run_id for run in runs}]
    assert sorted(made) == SIX
    assert "Dagster ended by itself and is started again" in servers.log.read_text()


def test_a_power_loss_is_cleaned_up_by_the_next_start(servers: Servers) -> None:
    run, _ = in_training(servers, 1.2e-3)
    servers.power_loss()
    assert servers.processes() == []
    with servers.instance() as instance:
        assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.STARTED
    assert [slot.run_id for slot in slots(servers)[0]] == [run], "the dead run holds the GPU"
    servers.start()
    assert f"ended run {run}" in servers.log.read_text()
    goes_on(servers, run, 1.2e-3)

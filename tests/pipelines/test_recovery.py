"""Which unfinished runs are ended: those of this machine whose process is gone, and no other."""

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus

from pipelines import cli, launcher, recovery
from pipelines.launcher import Launcher
from tenfold.ops import home
from tenfold.ops.settings import Settings


def gone() -> int:
    """A process id that nobody has."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def started(instance: dg.DagsterInstance, pid: int | None, tags: dict[str, str]) -> str:
    """A run that is STARTED, on behalf of that process."""

    @dg.job(name="made_up")
    def job() -> None: ...

    run = instance.create_run_for_job(job, tags=tags)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", "made_up", message="started"), run.run_id)
    if pid is not None:
        data = EngineEventData.in_process(pid)
        instance.report_engine_event("executing", run, data)
    return run.run_id


@pytest.fixture
def settings(tiny: Path) -> Settings:
    made = Settings()
    home.ensure(made)
    return made


def test_only_dead_runs_of_this_machine_are_ended(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = recovery.owner_tags(), {recovery.HOST_TAG: "another-machine"}
    other_server = {recovery.GRPC_TAG: '{"host": "code-server", "port": 4000}'}
    same_server = {recovery.GRPC_TAG: '{"host": "localhost", "socket": "/tmp/x"}'}
    with dg.DagsterInstance.get() as instance:
        dead = {started(instance, gone(), here), started(instance, gone(), {}), started(instance, gone(), same_server)}
        kept = {
            started(instance, os.getpid(), here),
            started(instance, gone(), elsewhere),
            started(instance, gone(), other_server),
            started(instance, None, here),
        }
        lines = recovery.end_dead_runs(settings)
        assert len(lines) == 3
        assert all(instance.get_run_by_id(run).status == dg.DagsterRunStatus.FAILURE for run in dead)
        assert all(instance.get_run_by_id(run).status == dg.DagsterRunStatus.STARTED for run in kept)
        monkeypatch.setattr(recovery, "PATIENCE_S", 0)
        assert len(recovery.end_dead_runs(settings)) == 1, "one that never got a process"


def test_doctor_ends_them_and_says_so(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with dg.DagsterInstance.get() as instance:
        run = started(instance, gone(), {})
        assert instance.event_log_storage.claim_concurrency_slot("gpu", run, "step").is_claimed
        assert cli.main(["doctor"]) == 0
        assert f"dead runs          ended run {run} of made_up" in capsys.readouterr().out
        assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("gpu").claimed_slots == []


def test_run_monitoring_asks_for_the_process(settings: Settings) -> None:
    with dg.DagsterInstance.get() as instance:
        ours = instance.run_launcher
        assert isinstance(ours, Launcher) and ours.supports_check_run_worker_health
        dead, alive = (instance.get_run_by_id(started(instance, pid, recovery.owner_tags())) for pid in (gone(), os.getpid()))
        assert instance.event_log_storage.claim_concurrency_slot("gpu", dead.run_id, "step").is_claimed
        assert ours.check_run_worker_health(dead).status == WorkerStatus.FAILED
        assert instance.event_log_storage.get_concurrency_info("gpu").claimed_slots == []
        assert ours.check_run_worker_health(alive).status == WorkerStatus.RUNNING


def test_a_run_whose_code_server_is_gone_ends_when_there_is_one_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {recovery.GRPC_TAG: '{"host": "localhost", "socket": "/tmp/tenfold-nobody"}'}
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(started(instance, gone(), nobody))
        assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        monkeypatch.setattr(launcher, "PATIENCE_S", 0)
        assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.FAILED, "but not for ever"


def test_a_number_that_was_given_to_another_process_does_not_count() -> None:
    assert recovery.alive(os.getpid(), time.time())
    assert not recovery.alive(os.getpid(), time.time() - 10 * 365 * 86400)
    assert not recovery.alive(gone(), time.time())

"""A run that waits for a pool: asleep, stopped at once, not kept waiting by the dead."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from support import environment, read_until, start

from pipelines.waiting import Waiting

pytestmark = [pytest.mark.dag, pytest.mark.slow]
WORDS = ["run", "crossmodal_anomaly.demo.peg", "--to", "features"]

# a run of this process that has the pool and never ends
HOLDER = """
import os, sys, time
import dagster as dg
from dagster._core.events import EngineEventData
from pipelines import recovery

@dg.job
def holder(): ...

os.environ["DAGSTER_HOME"] = sys.argv[1]
with dg.DagsterInstance.get() as instance:
    run = instance.create_run_for_job(holder, tags=recovery.owner_tags())
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", "holder", message="started"), run.run_id)
    instance.report_engine_event("executing", run, EngineEventData.in_process(os.getpid()))
    assert instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, "step").is_claimed
    print(run.run_id, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(copied: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process whose run has the GPU, and that run."""
    command = [sys.executable, "-c", HOLDER, str(copied / ".tenfold" / "dagster")]
    process = subprocess.Popen(command, env=environment(copied), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_waiting_run_sleeps_and_stops_at_once(copied: Path, holder: tuple[subprocess.Popen[str], str]) -> None:
    process = start(copied, *WORDS)
    said = read_until(process, "waiting for the pool `gpu`")
    assert f"which run {holder[1][:8]} of holder has" in said
    before = sum(psutil.Process(process.pid).cpu_times()[:2])
    time.sleep(3)
    assert sum(psutil.Process(process.pid).cpu_times()[:2]) - before < 1, "it keeps a core busy"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and time.monotonic() - began < 15, errors
    assert "the same command goes on from here" in errors and "stopped" in out and "Traceback" not in errors
    with dg.DagsterInstance.get() as instance:
        pool = instance.event_log_storage.get_concurrency_info("gpu")
        assert {claim.run_id for claim in [*pool.claimed_slots, *pool.pending_steps]} == {holder[1]}, "it still stands in the queue"
        assert instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.FAILURE


def test_a_holder_that_dies_meanwhile_is_ended_and_the_run_goes_on(copied: Path, holder: tuple[subprocess.Popen[str], str]) -> None:
    process = start(copied, *WORDS)
    read_until(process, "waiting for the pool `gpu`")
    holder[0].kill()
    holder[0].wait()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(holder[1])
        assert run is not None and run.status == dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("gpu").claimed_slots == []


def test_dagster_still_takes_it() -> None:
    from dagster._core.executor import in_process

    from pipelines.definitions import defs

    defs()
    assert in_process.InstanceConcurrencyContext is Waiting  # type: ignore[attr-defined]

"""Runs that died with their machine stay STARTED for ever and keep their slots: end them, free the slots."""

import json
import os
import platform
import time
from typing import Any

from tenfold.ops.settings import Settings

HOST_TAG = "tenfold/host"
GRPC_TAG = ".dagster/grpc_info"
PATIENCE_S = 300
"""A run that has no process after this long never will."""


def owner_tags() -> dict[str, str]:
    """Tags of a run that this process executes: other machines that share the home leave it alone."""
    return {HOST_TAG: platform.node()}


def end_dead_runs(settings: Settings) -> list[str]:
    """End every unfinished run of the home whose process is gone; a line each. Runs of other machines are left alone."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        return end_dead(instance)


def end_dead(instance: Any) -> list[str]:
    """The same for an instance at hand."""
    import dagster as dg

    lines = []
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=unfinished)):
        run = record.dagster_run
        # the process may have finished the run between the question and the look
        if not is_gone(instance, record) or instance.get_run_by_id(run.run_id).is_finished:
            continue
        instance.report_run_failed(
            run,
            message="The process of this run is gone (the machine was switched off, or it was killed). Run it again: finished work is found.",
        )
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        name = " ".join(word for word in (run.job_name, run.tags.get("dagster/partition", "")) if word)
        lines.append(f"ended run {run.run_id} of {name}: its process is gone; its slots are free again")
    return lines


def is_gone(instance: Any, record: Any) -> bool:
    """Whether an unfinished run of this machine has no process, and is not about to get one."""
    run = record.dagster_run
    if not is_ours(run.tags):
        return False
    started = record.start_time or record.create_timestamp.timestamp()
    pid = process_of(instance, run.run_id)
    if pid is None:
        return bool(time.time() - started >= PATIENCE_S)
    return not alive(pid, started)


def is_ours(tags: Any) -> bool:
    """Whether the run's process is, or was, on this machine: the command line names its host, the daemon its code server's."""
    if HOST_TAG in tags:
        return bool(tags[HOST_TAG] == platform.node())
    server = json.loads(tags[GRPC_TAG]).get("host") if GRPC_TAG in tags else None
    return server in (None, "localhost", "127.0.0.1", platform.node())


def alive(pid: int, started: float) -> bool:
    """Whether the process is running and no other one that got its number later (`started`: the run's start, seconds)."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= started + 1)
    except psutil.NoSuchProcess:
        return False


def process_of(instance: Any, run_id: str) -> int | None:
    """The process id that Dagster's last engine event names, if any."""
    import dagster as dg

    pid = None
    for record in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        metadata = record.dagster_event.engine_event_data.metadata
        if "pid" in metadata:
            pid = int(metadata["pid"].value)
    return pid

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
    """End every unfinished run whose process is gone; a line each. Runs of other machines are left alone."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    import dagster as dg

    lines = []
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    with dg.DagsterInstance.get() as instance:
        for record in instance.get_run_records(filters=dg.RunsFilter(statuses=unfinished)):
            run = record.dagster_run
            started = record.start_time or record.create_timestamp.timestamp()
            pid = process_of(instance, run.run_id)
            young = pid is None and time.time() - started < PATIENCE_S
            if young or not is_ours(run.tags) or (pid is not None and alive(pid, started)):
                continue
            instance.report_run_failed(
                run,
                message="The process of this run is gone (the machine was switched off, or it was killed). Run it again: finished work is found.",
            )
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            name = " ".join(word for word in (run.job_name, run.tags.get("dagster/partition", "")) if word)
            lines.append(f"ended run {run.run_id} of {name}: its process is gone; its slots are free again")
    return lines


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
    pid = None
    for record in instance.all_logs(run_id):
        event = record.dagster_event
        if event is not None and event.is_engine_event and "pid" in event.engine_event_data.metadata:
            pid = int(event.engine_event_data.metadata["pid"].value)
    return pid

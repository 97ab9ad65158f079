"""Runs that died with their machine stay STARTED for ever and keep their slots: end them, free the slots."""

import os
import time

from tenfold.ops.settings import Settings

ALIVE_TAG = "tenfold/pid"


def end_dead_runs(settings: Settings) -> list[str]:
    """End every unfinished run whose process is gone; a line each. Runs of other machines are left alone."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    import dagster as dg
    import psutil

    lines = []
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    with dg.DagsterInstance.get() as instance:
        for record in instance.get_run_records(filters=dg.RunsFilter(statuses=unfinished)):
            run = record.dagster_run
            pid = process_of(instance, run.run_id)
            started = record.start_time or record.create_timestamp.timestamp()
            if pid is None and time.time() - started < 300:
                continue
            if pid is not None and psutil.pid_exists(pid) and psutil.Process(pid).create_time() <= (record.start_time or time.time()) + 1:
                continue
            instance.report_run_failed(
                run,
                message="The process of this run is gone (the machine was switched off, or it was killed). Run it again: finished work is found.",
            )
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            lines.append(
                f"ended run {run.run_id} of {run.job_name} {run.tags.get('dagster/partition', '')}: its process is gone; its slots are free again"
            )
    return lines


def process_of(instance: "object", run_id: str) -> int | None:
    """The process id that Dagster's engine events name, if any."""
    for record in instance.all_logs(run_id):  # type: ignore[attr-defined]
        event = record.dagster_event
        if event is not None and event.is_engine_event:
            for name, value in event.engine_event_data.metadata.items():
                if name == "pid":
                    return int(value.value)
    return None

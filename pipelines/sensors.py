"""New data, failed runs, a fresh scoreboard. Off until they are switched on in the UI."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Self

import dagster as dg

from tenfold.core.errors import Corrupt
from tenfold.core.params import split_partition
from tenfold.core.store import MANIFEST, Manifest, Store
from tenfold.ops import dvc
from tenfold.ops.settings import load


def dvc_versions(modules: dict[str, ModuleType], jobs: list[Any]) -> dg.SensorDefinition:
    """One sensor for all papers: a dataset whose md5 in `dvc.lock` differs from the one that was used is run again."""

    @dg.sensor(
        name="dvc_versions", jobs=jobs, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.STOPPED,
        description="After `dvc repro` or `dvc pull`: run the partitions whose dataset has another version than the one in use.",
    )  # fmt: skip
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        settings = load()
        store = Store(settings.home)
        seen = Seen.read(context.cursor)
        asked = 0
        for paper, module in modules.items():
            for partition in module.PARTS.get_partition_keys():
                stage = f"{paper}@{split_partition(partition)[0]}"
                locked = dvc.locked(stage, settings.root)
                if locked is None:
                    continue
                times = seen.times(stage, locked)
                if (version_in_use(store, paper, partition) or locked) != locked:
                    asked += 1
                    yield dg.RunRequest(
                        run_key=f"{locked}-{partition}-{times}",
                        job_name=paper,
                        partition_key=partition,
                        tags={"tenfold/trigger": "dvc", "dvc.md5": locked},
                    )
        context.update_cursor(seen.text())
        if not asked:
            yield dg.SkipReason("every dataset in use has the version of dvc.lock")

    return sensor


class Seen:
    """Which version each stage had at the last tick, and how many it had before: the same version again, later, is asked for again.

    Kept in the sensor's cursor, which Dagster stores after the tick: one that was cut off asks with the same keys once more.
    """

    def __init__(self, stages: dict[str, tuple[str, int]]) -> None:
        self._stages = stages

    @classmethod
    def read(cls, cursor: str | None) -> Self:
        return cls({stage: (str(md5), int(times)) for stage, (md5, times) in json.loads(cursor or "{}").items()})

    def times(self, stage: str, md5: str) -> int:
        """How many versions the stage has had up to this one."""
        before, times = self._stages.get(stage, ("", 0))
        if before != md5:
            self._stages[stage] = md5, times + 1
        return self._stages[stage][1]

    def text(self) -> str:
        return json.dumps(self._stages, sort_keys=True)


def version_in_use(store: Store, paper: str, partition: str) -> str | None:
    """md5 of the data that the partition's current dataset was taken from; None if it was never made or is gone."""
    pointer = store.current(paper, partition, "dataset")
    if pointer is None:
        return None
    try:
        return str(Manifest.read(store.folder(paper, "dataset", pointer.key) / MANIFEST).facts["dvc_md5"])
    except (FileNotFoundError, Corrupt):
        return None


def failures() -> dg.SensorDefinition:
    """Writes each failed run to `<home>/logs/failures.jsonl` and calls `TENFOLD_WEBHOOK` if one is set."""

    @dg.run_failure_sensor(
        name="run_failures", default_status=dg.DefaultSensorStatus.STOPPED,
        description="Notes each failed run in logs/failures.jsonl and posts it to TENFOLD_WEBHOOK, if set.",
    )  # fmt: skip
    def sensor(context: dg.RunFailureSensorContext) -> None:
        report_failure(
            context.dagster_run.run_id,
            context.dagster_run.job_name,
            context.dagster_run.tags.get("dagster/partition"),
            context.failure_event.message or "",
        )

    return sensor


def report_failure(run_id: str, job: str, partition: str | None, message: str) -> None:
    """One JSON line in the log, then the webhook; a webhook that does not answer is noted, never raised."""
    settings = load()
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "run_id": run_id, "job": job, "partition": partition, "message": message,
        "link": f"{settings.dagster_url}/runs/{run_id}",
    }  # fmt: skip
    log = settings.home / "logs" / "failures.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    if settings.webhook:
        body = json.dumps({"text": f"tenfold: run {run_id} of {job} {partition or ''} failed: {message}", **record}).encode()
        try:
            request = urllib.request.Request(settings.webhook, data=body, headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                record["webhook"] = str(answer.status)
        except (OSError, ValueError) as error:  # nobody there; no address
            record["webhook"] = f"not delivered: {error}"
    with log.open("a") as stream:
        stream.write(json.dumps(record) + "\n")


def scoreboard_follows() -> dg.AutomationConditionSensorDefinition:
    """Runs the scoreboard's automation condition."""
    return dg.AutomationConditionSensorDefinition(
        "scoreboard_follows", target=dg.AssetSelection.assets(["scoreboard"]), default_status=dg.DefaultSensorStatus.STOPPED,
        description="Gather the scoreboard again after any new evaluation.",
    )  # fmt: skip

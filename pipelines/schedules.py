"""Weekly retraining. Off until it is switched on in the UI."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import dagster as dg


def weekly(paper: str, module: ModuleType, job: Any) -> dg.ScheduleDefinition:
    """Materializes every partition; DVC looks at the sources, and what is unchanged is a cache hit."""

    @dg.schedule(
        name=f"{paper}_weekly", job=job, cron_schedule="0 3 * * 0", execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Every Sunday 03:00 UTC: look at every dataset again and retrain what changed.",
    )  # fmt: skip
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        moment = context.scheduled_execution_time
        for partition in module.PARTS.get_partition_keys():
            yield dg.RunRequest(run_key=f"{moment:%Y-%m-%d}-{partition}", partition_key=partition, tags={"tenfold/trigger": "weekly"})

    return schedule

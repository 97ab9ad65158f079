"""How a run waits for a slot of a pool (`gpu`, `dvc`): asleep, open to Ctrl-C, and not for a holder that is dead.

Dagster's own executor asks in a loop that keeps a core busy, and hears no signal until the slot is free.
"""

import time
from collections.abc import Callable
from typing import Any

from dagster import DagsterInstance, DagsterRun
from dagster._core.errors import raise_execution_interrupts
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from assets import shared
from pipelines import recovery
from tenfold.core.progress import Event

NAP_S = 1.0
LOOK_FOR_DEAD_S = 10.0


class Waiting(InstanceConcurrencyContext):
    """The claims of one run on pools."""

    def __init__(self, instance: DagsterInstance, dagster_run: DagsterRun, sleep: Callable[[float], object] = time.sleep) -> None:
        super().__init__(instance, dagster_run)
        self._partition = dagster_run.tags.get("dagster/partition", "")
        self._sleep = sleep
        self._looked = float("-inf")
        self._told: set[str] = set()

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the step may start now. A slot of a run whose process is gone is freed here: nobody else may be there to do it."""
        claimed = super().claim(concurrency_key, step_key, step_priority)
        if claimed:
            return True
        if time.monotonic() - self._looked >= LOOK_FOR_DEAD_S:
            recovery.end_dead(self._instance)
            self._looked = time.monotonic()
        if step_key not in self._told:
            self._told.add(step_key)
            self._say(concurrency_key, step_key)
        return False

    def interval_to_next_pending_claim_check(self) -> float:
        """Called when nothing can run: sleeps here, where a signal raises DagsterExecutionInterruptedError at once."""
        due = min(self._pending_timeouts.values(), default=0.0) - time.time()
        with raise_execution_interrupts():
            self._sleep(min(max(due, 0.05), NAP_S))
        return 0.0

    def _say(self, pool: str, step_key: str) -> None:
        slots = self._instance.event_log_storage.get_concurrency_info(pool).claimed_slots
        runs = [run for slot in slots if (run := self._instance.get_run_by_id(slot.run_id)) is not None]
        holders = " and ".join(f"run {run.run_id[:8]} of {run.tags.get('dagster/partition', run.job_name)}" for run in runs)
        held = f", which {holders} has" if holders else ""
        stage = f"{self._partition} {step_key.split('__')[-1]}"
        for sink in shared.progress_sinks:
            sink(Event(stage, 0, None, 0.0, None, f"{stage}: waiting for the pool `{pool}`{held}"))


def install() -> None:
    """Let runs of this process wait so; Dagster has no setting for it."""
    from dagster._core.executor import in_process

    executor: Any = in_process
    executor.InstanceConcurrencyContext = Waiting

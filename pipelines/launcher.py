"""Dagster's launcher, which can also tell whether a run's process lives. `dagster.yaml` names it.

Without that, a run whose code server died with it stays STARTED for ever and keeps its slots; with it the daemon's
run monitoring ends such a run within its interval, and `run_retries` starts it again.
"""

import time

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClassData

from pipelines import recovery

PATIENCE_S = 60
"""How long a code server may take to come back."""


class Launcher(DefaultRunLauncher):
    """Launches runs on the code servers of the workspace, and watches their processes on this machine."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._gone: dict[str, float] = {}

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: run monitoring asks."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED if the process is gone, also that of a `tenfold run`; its slots hold nothing then and are freed."""
        record = self._instance.get_run_record_by_id(run.run_id)
        if record is None or record.dagster_run.is_finished or not recovery.is_gone(self._instance, record):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        self._instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        # a retry that finds no code server is given up for good: so the run ends when there is one again
        since = self._gone.setdefault(run.run_id, time.monotonic())
        if not self._answers(run.run_id) and time.monotonic() - since < PATIENCE_S:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._gone[run.run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone")

    def _answers(self, run_id: str) -> bool:
        """Whether the run's code server is there. A `tenfold run` has none, and is not started again."""
        client = self._get_grpc_client_for_termination(run_id)
        if client is None:
            return True
        try:
            client.ping("")
        except DagsterUserCodeUnreachableError:
            return False
        return True

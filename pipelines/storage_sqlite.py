"""Dagster's SQLite files, all with the patience of its event log. `dagster.yaml` names it.

Dagster waits 30 s for a locked event log, but only 5 s for its tables of runs and of ticks: a backup or a slow disk
that held one of those for longer made a run fail that had nothing wrong with it.
"""

import atexit
import os
import shutil
import tempfile
from typing import Any, Self

from dagster import Field, StringSource
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData

_PATIENT = f"?timeout={SQLITE_BUSY_TIMEOUT_SECONDS}"


class _Runs(SqliteRunStorage):
    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string + _PATIENT, inst_data)


class _Schedules(SqliteScheduleStorage):
    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string + _PATIENT, inst_data)


class Sqlite(DagsterSqliteStorage):
    """The same files in the same places as without it."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._run_storage = _Runs.from_local(_runs_directory(base_dir))
        self._event_log_storage = SqliteEventLogStorage(_event_logs_directory(base_dir))
        self._schedule_storage = _Schedules.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data
        # what the parent's own constructor would do, but for its storages
        super(DagsterSqliteStorage, self).__init__()

    @classmethod
    def config_type(cls) -> Any:
        """`base_dir`; without it DAGSTER_HOME."""
        return {"base_dir": Field(StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """From the block in `dagster.yaml`."""
        return cls(config_value.get("base_dir") or os.environ.get("DAGSTER_HOME") or _for_this_command(), inst_data)


def _for_this_command() -> str:
    """A folder that goes with the process, as Dagster makes one where DAGSTER_HOME is not set; its children see the same."""
    folder = tempfile.mkdtemp(prefix="dagster-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["DAGSTER_HOME"] = folder
    return folder

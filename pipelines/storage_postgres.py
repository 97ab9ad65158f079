"""Dagster's storage on PostgreSQL, with the patience to wait while the database restarts. `deploy/dagster.postgres.yaml` names it.

Dagster gives up after some ten seconds: the event that it could not write is lost, and the run with it.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
import sqlalchemy as sa
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection

from tenfold.core.errors import TenfoldError

_log = logging.getLogger("tenfold.postgres")
PATIENCE_S = 60
_EVERY_S = 0.5
_REMEDY = "Once it answers, run the same command again: what was made is found in the store, and its events are written then."


class Postgres(DagsterPostgresStorage):
    """The same tables. Waits up to `patience_s` for a connection, counted from the first that failed; then raises TenfoldError."""

    def __init__(
        self, postgres_url: str, patience_s: float, should_autocreate_tables: bool, inst_data: ConfigurableClassData | None
    ) -> None:
        # SQLAlchemy reads plain postgresql:// as psycopg 3, which is not installed
        url = postgres_url.replace("postgresql://", "postgresql+psycopg2://", 1)
        waiting = _Waiting(url, patience_s)
        probe = sa.create_engine(url, poolclass=sa.NullPool)
        waiting.watch(probe)
        probe.connect().close()
        super().__init__(url, should_autocreate_tables, inst_data)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            waiting.watch(storage._engine)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """`postgres_url` and how long to wait."""
        return {
            "postgres_url": dg.Field(dg.StringSource),
            "patience_s": dg.Field(dg.IntSource, is_required=False, default_value=PATIENCE_S),
            "should_autocreate_tables": dg.Field(bool, is_required=False, default_value=True),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Called by Dagster with the checked configuration."""
        return cls(
            pg_url_from_config(config_value), float(config_value["patience_s"]), bool(config_value["should_autocreate_tables"]), inst_data
        )


class _Waiting:
    """One outage, seen by all connections of an instance."""

    def __init__(self, url: str, patience_s: float) -> None:
        self._where = sa.make_url(url).set(username=None, password=None, query={}).render_as_string()
        self._patience_s = patience_s
        self._since: float | None = None

    def watch(self, engine: sa.Engine) -> None:
        """Have the engine's connections made here."""
        sa.event.listen(engine, "do_connect", self._connect)
        sa.event.listen(engine, "handle_error", self._broken)

    def _connect(self, dialect: Dialect, record: object, arguments: list[Any], options: dict[str, Any]) -> DBAPIConnection:
        """SQLAlchemy takes the answer instead of connecting itself."""
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                self._wait(error)
            else:
                self._since = None
                return connection

    def _broken(self, context: ExceptionContext) -> None:
        """Whether a statement that was cut off has been carried out is unknown: it is not sent again."""
        if context.is_disconnect:
            raise TenfoldError(f"Dagster's database {self._where} broke off ({_cause(context.original_exception)}). {_REMEDY}")

    def _wait(self, error: Exception) -> None:
        if self._since is None:
            self._since = time.monotonic()
            _log.warning("Dagster's database %s: %s. Waiting up to %.0f s.", self._where, _cause(error), self._patience_s)
        elif time.monotonic() - self._since > self._patience_s:
            waited = f"has not taken a connection for {self._patience_s:.0f} s ({_cause(error)})"
            raise TenfoldError(f"Dagster's database {self._where} {waited}. {_REMEDY}") from error
        time.sleep(_EVERY_S)


def _cause(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""Journal entries into MLflow: finds or makes runs, never sends a step twice. Every call may raise."""

import json
import os
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from tenfold.ops import home
from tenfold.ops.settings import Settings
from tenfold.ops.spool import Entry, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PORTS = {"http": 80, "https": 443, "postgresql+psycopg2": 5432}
_PROBE_S = 4.0
_LOCK_S = 60.0
_POINTS_AT_ONCE = 1000
_NAMES_AT_ONCE = 100
_COLUMN_TYPES = {"bool": "boolean", "float": "float", "double": "double", "int32": "integer", "int64": "long", "binary": "binary"}
_T = TypeVar("_T")


def client(settings: Settings) -> "MlflowClient":
    """A client of the store that the settings name; its tables exist. Raises at once when nobody answers."""
    reach(settings.mlflow_tracking_uri)
    home.ensure_mlflow(settings)
    from mlflow import MlflowClient

    return MlflowClient(settings.mlflow_tracking_uri)


def experiment(settings: Settings, mlflow: "MlflowClient", paper: str) -> str:
    """Id of the paper's experiment, made once, with its artifacts where the settings want them."""
    with FileLock(settings.locks / "mlflow.lock", timeout=_LOCK_S):
        found = mlflow.get_experiment_by_name(paper)
        if found is None:
            # a server decides itself where artifacts go
            remote = urlsplit(settings.mlflow_tracking_uri).scheme in ("http", "https")
            return str(mlflow.create_experiment(paper, artifact_location=None if remote else f"{settings.mlflow_artifacts}/{paper}"))
        if found.lifecycle_stage == "deleted":
            mlflow.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def reach(uri: str) -> None:
    """Raise OSError or sqlite3.Error within seconds if `uri` cannot be used; MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        path = Path(uri.removeprefix("sqlite:///"))
        if path.exists():
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_PROBE_S)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                raise PermissionError(f"{path.parent} is not writable")
    else:
        address = (parts.hostname or "127.0.0.1", parts.port or PORTS[parts.scheme])
        with socket.create_connection(address, timeout=_PROBE_S):
            return


def shown(uri: str) -> str:
    """The address without its password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def metric_name(name: str) -> str:
    """`name` with what MLflow refuses in a metric's name replaced by `-`."""
    return re.sub(r"[^\w\-. :/]", "-", name)


def text(value: object) -> str:
    """A tag's or parameter's value: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


class Sender:
    """Sends one journal. `run_id` and `experiment_id` are known once its first entry went through."""

    def __init__(self, settings: Settings, journal: Spool, say: Callable[[str], None]) -> None:
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        self._settings = settings
        self._journal = journal
        self._say = say
        self._networks: dict[str, str] = {}
        self._trains = False
        # steps that MLflow has, per run and metric; filled from its history for runs that we found
        self._steps: dict[tuple[str, str], set[int]] = {}
        self._found: set[str] = set()

    def drain(self) -> int:
        """Send all that is not confirmed yet; return the number of entries."""
        entries = self._journal.read()
        if not entries:
            return 0
        reach(self._settings.mlflow_tracking_uri)
        epochs: list[Entry] = []
        for number, (entry, position) in enumerate(entries):
            last = number == len(entries) - 1
            if entry["op"] == "epoch":
                epochs.append(entry)
                if not last:
                    continue
            if epochs:
                self._guarded(self._send_epochs, epochs)
                epochs = []
            if entry["op"] != "epoch":
                self._guarded(self._send, entry)
            self._journal.confirm(position)
        return len(entries)

    @cached_property
    def _mlflow(self) -> "MlflowClient":
        return client(self._settings)

    def _guarded(self, send: Callable[[_T], None], what: _T) -> None:
        """What MLflow refuses for good is named and left out: it would hold up all that follows."""
        from mlflow.exceptions import MlflowException

        try:
            send(what)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            self._say(f"MLflow refused an entry of {self._journal.path.name} and goes without it: {str(error).strip()[:300]}")

    def _send(self, entry: Entry) -> None:
        if entry["op"] == "run":
            self._run(entry)
            return
        if self.run_id is None:
            self._say(f"{self._journal.path.name}: '{entry['op']}' belongs to no run and is left out.")
            return
        match entry["op"]:
            case "network":
                self._network(entry)
            case "metrics":
                self._metrics(self._id(entry["network"]), entry)
            case "tags":
                self._tag(self.run_id, entry["values"])
            case "dataset":
                self._dataset(entry)
            case "artifact":
                self._artifact(entry)
            case "end":
                self._end(entry)

    def _run(self, entry: Entry) -> None:
        self.experiment_id = experiment(self._settings, self._mlflow, entry["paper"])
        self._trains = entry["trains"]
        tags = {"mlflow.source.name": f"tenfold run {entry['paper']}.{entry['partition']}", "mlflow.source.type": "JOB", **entry["tags"]}
        if entry["tags"].get("git.commit", "unknown") != "unknown":
            tags["mlflow.source.git.commit"] = entry["tags"]["git.commit"]
        name = f"{entry['partition']} {entry['key'][:8]}"
        run, found = self._find_or_make({"tenfold.key": entry["key"]}, name, tags, entry["t"])
        # without training, the status is ours to set only if the run is
        self._trains = self._trains or not found
        self._networks = {}
        self.run_id = str(run.info.run_id)
        self._reopen(run, tags, entry["params"], found)

    def _network(self, entry: Entry) -> None:
        assert self.run_id is not None
        tags = {"tenfold.network": entry["network"], "tenfold.variant": entry["variant"], "tenfold.seed": str(entry["seed"])}
        parent = self._mlflow.get_run(self.run_id).data.tags
        name = f"{parent['tenfold.partition']} {entry['network']} {parent['tenfold.key'][:8]}"
        by = {"mlflow.parentRunId": self.run_id, "tenfold.network": entry["network"]}
        run, found = self._find_or_make(by, name, tags, entry["t"])
        self._networks[entry["network"]] = run.info.run_id
        self._reopen(run, tags, entry["params"], found)

    def _find_or_make(self, by: Mapping[str, str], name: str, tags: Mapping[str, str], started: int) -> "tuple[Run, bool]":
        assert self.experiment_id is not None
        query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in by.items())
        with FileLock(self._settings.locks / "mlflow-runs.lock", timeout=_LOCK_S):
            found = self._mlflow.search_runs([self.experiment_id], query, max_results=1, order_by=["attributes.start_time ASC"])
            if found:
                return found[0], True
            return self._mlflow.create_run(self.experiment_id, start_time=started, tags={**tags, **by}, run_name=name), False

    def _reopen(self, run: "Run", tags: Mapping[str, str], params: Mapping[str, str], found: bool) -> None:
        from mlflow.entities import Param

        run_id = run.info.run_id
        if found:
            self._found.add(run_id)
            self._tag(run_id, {name: value for name, value in tags.items() if run.data.tags.get(name) != value})
            if self._trains and run.info.status != "RUNNING":
                self._mlflow.update_run(run_id, status="RUNNING")
        # MLflow refuses another value for a parameter that it has; the first session's stands
        new = [Param(name, value) for name, value in params.items() if name not in run.data.params]
        for part in _parts(new, _NAMES_AT_ONCE):
            self._mlflow.log_batch(run_id, params=part)

    def _tag(self, run_id: str, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for part in _parts([RunTag(name, value) for name, value in values.items()], _NAMES_AT_ONCE):
            self._mlflow.log_batch(run_id, tags=part)

    def _metrics(self, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Metric

        points = [Metric(name, value, entry["t"], 0) for name, value in entry["values"].items()]
        for part in _parts(points, _POINTS_AT_ONCE):
            self._mlflow.log_batch(run_id, metrics=part)

    def _send_epochs(self, entries: Sequence[Entry]) -> None:
        from mlflow.entities import Metric

        if self.run_id is None:
            self._say(f"{self._journal.path.name}: {len(entries)} epochs belong to no run and are left out.")
            return
        points: dict[str, dict[tuple[str, int], Metric]] = {}
        for entry in entries:
            for network in entry["networks"]:
                run_id = self._id(network)
                for name, value in entry["values"].items():
                    if entry["epoch"] not in self._known(run_id, name):
                        # a resumed training tells an epoch again; the first telling stands
                        points.setdefault(run_id, {}).setdefault((name, entry["epoch"]), Metric(name, value, entry["t"], entry["epoch"]))
        for run_id, new in points.items():
            for part in _parts(list(new.values()), _POINTS_AT_ONCE):
                self._mlflow.log_batch(run_id, metrics=part)
            for name, epoch in new:
                self._known(run_id, name).add(epoch)

    def _known(self, run_id: str, name: str) -> set[int]:
        where = (run_id, name)
        if where not in self._steps:
            history = self._mlflow.get_metric_history(run_id, name) if run_id in self._found else []
            self._steps[where] = {point.step for point in history}
        return self._steps[where]

    def _dataset(self, entry: Entry) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        columns = [{"name": name, "type": _COLUMN_TYPES.get(kind, "string"), "required": False} for name, kind in entry["columns"].items()]
        made = Dataset(
            name=entry["name"],
            digest=entry["digest"][:36],
            source_type="local",
            source=json.dumps({"uri": entry["source"]}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": entry["rows"], "num_elements": entry["rows"] * len(columns)}),
        )
        self._mlflow.log_inputs(self._id(""), [DatasetInput(made, [InputTag("mlflow.data.context", "training")])])

    def _artifact(self, entry: Entry) -> None:
        path = Path(entry["path"])
        if path.is_dir():
            self._mlflow.log_artifacts(self._id(""), str(path), entry["folder"] or None)
        elif path.is_file():
            self._mlflow.log_artifact(self._id(""), str(path), entry["folder"] or None)
        else:
            self._say(f"{path} is gone: MLflow goes without it.")

    def _end(self, entry: Entry) -> None:
        if entry["network"] or self._trains:
            self._mlflow.set_terminated(self._id(entry["network"]), entry["status"], entry["t"])

    def _id(self, network: str) -> str:
        assert self.run_id is not None
        return self._networks[network] if network else self.run_id


def _parts(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))

"""Journal entries into MLflow: finds or makes runs, never sends a step twice. Every call may raise."""

import importlib
import json
import math
import os
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock

from tenfold.core import disk
from tenfold.ops import home, logged
from tenfold.ops.settings import Settings
from tenfold.ops.spool import Entry, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.exceptions import MlflowException

PORTS = {"http": 80, "https": 443, "postgresql+psycopg2": 5432}
_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_STRANGERS = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
_STATUS_401_403 = re.compile(r"error code 40[13]\b")
_PROBE_S = 4.0
_LOCK_S = 60.0
_POINTS_AT_ONCE = 1000
_NAMES_AT_ONCE = 100
_REFUSED = "INVALID_PARAMETER_VALUE"
_COLUMN_TYPES = {"bool": "boolean", "float": "float", "double": "double", "int32": "integer", "int64": "long", "binary": "binary"}
_T = TypeVar("_T")


def client(settings: Settings) -> "MlflowClient":
    """A client of the store that the settings name; its tables exist. Raises at once when nobody answers."""
    reach(settings.mlflow_tracking_uri)
    home.ensure_mlflow(settings)
    from mlflow import MlflowClient

    return MlflowClient(settings.mlflow_tracking_uri)


def preload(settings: Settings) -> None:
    """Import what sending needs. The sending thread must not import while a training imports."""
    remote = urlsplit(settings.mlflow_tracking_uri).scheme in ("http", "https")
    importlib.import_module(f"mlflow.store.tracking.{'rest_store' if remote else 'sqlalchemy_store'}")
    if urlsplit(settings.mlflow_artifacts).scheme == "s3" and not remote:
        importlib.import_module("boto3")


def cause(settings: Settings, error: Exception) -> str:
    """What went wrong, in one line, with the variable to renew if the server knows us no longer."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
    code = getattr(error, "error_code", "")
    if code in _STRANGERS or _STATUS_401_403.search(line):
        given = [name for name in _LOGIN if os.environ.get(name)]
        shown = " and ".join(given) or "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        if "@" in urlsplit(settings.mlflow_tracking_uri).netloc:
            shown = "the user and password in TENFOLD_MLFLOW_TRACKING_URI"
        line = f"{line}: the log-in is missing or has expired, renew {shown}"
    return line


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


def require_room(location: str, source: Path) -> None:
    """Raise Unwritable if a file or folder does not fit into an artifact folder of this machine."""
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        disk.require(Path(unquote(parts.path)), source)


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
        self._left_as = ""  # the status of a run whose session breaks off now
        # steps that MLflow has, per run and metric; filled from its history for runs that we found
        self._steps: dict[tuple[str, str], set[int]] = {}
        self._found: set[str] = set()

    @property
    def progress(self) -> int:
        """Grows with every entry that MLflow has taken."""
        return self._journal.confirmed

    def drain(self) -> int:
        """Send all that is not confirmed yet; return the number of entries."""
        entries = self._journal.read()
        if not entries:
            return 0
        reach(self._settings.mlflow_tracking_uri)
        # one at a time for a run: what another one has sent is seen, not sent again. Sixteen locks serve all keys.
        name = self._journal.path.name.partition(".")[0]
        with FileLock(self._settings.locks / f"mlflow-send-{name[-1]}.lock", timeout=_LOCK_S):
            self._send_entries(entries)
        return len(entries)

    def _send_entries(self, entries: Sequence[tuple[Entry, int]]) -> None:
        epochs: list[Entry] = []
        for number, (entry, position) in enumerate(entries):
            last = number == len(entries) - 1
            if entry["op"] == "epoch":
                epochs.append(entry)
                if not last:
                    continue
            if epochs:
                self._send_all_epochs(epochs)
                epochs = []
            if entry["op"] != "epoch":
                self._guarded(self._send, entry)
            self._journal.confirm(position)

    def end_abandoned(self) -> None:
        """Close the run whose training was killed: nobody else would. Training again reopens it."""
        if self._left_as:
            self._close(self._left_as, None)

    @cached_property
    def _mlflow(self) -> "MlflowClient":
        return client(self._settings)

    def _guarded(self, send: Callable[[_T], None], what: _T) -> None:
        """What MLflow refuses for good is named and left out: it would hold up all that follows."""
        try:
            send(what)
        except _refused() as error:
            if error.error_code != _REFUSED:
                raise
            self._say(f"MLflow refused an entry of {self._journal.path.name} and goes without it: {str(error).strip()[:300]}")

    def _send_all_epochs(self, entries: Sequence[Entry]) -> None:
        """In one batch; one by one if MLflow refuses it, so that a single bad number does not take the others along."""
        try:
            self._send_epochs(entries)
        except _refused() as error:
            if error.error_code != _REFUSED:
                raise
            for entry in entries:
                self._guarded(self._send_epochs, [entry])

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
            case "note":
                logged.note(self._settings, entry["paper"], entry["asset"], entry["key"], self.run_id, self.experiment_id)
            case "end":
                self._end(entry)

    def _run(self, entry: Entry) -> None:
        self.experiment_id = experiment(self._settings, self._mlflow, entry["paper"])
        self._trains = entry["trains"]
        tags = {"mlflow.source.name": f"tenfold run {entry['paper']}.{entry['partition']}", "mlflow.source.type": "JOB", **entry["tags"]}
        if entry["tags"].get("git.commit", "unknown") != "unknown":
            tags["mlflow.source.git.commit"] = entry["tags"]["git.commit"]
        name = f"{entry['partition']} {entry['key'][:8]}"
        # a model that rests on no data has one key in all partitions, and a run in each
        by = {"tenfold.key": entry["key"], "tenfold.partition": entry["partition"]}
        run, found = self._find_or_make(by, name, tags, entry["t"])
        # without training, the status is ours to set only if the run is; its start tells, should the answer have been lost
        self._left_as = "KILLED" if self._trains else "FINISHED"
        self._trains = self._trains or run.info.start_time == entry["t"]
        self._left_as = self._left_as if self._trains else ""
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

        # a finished network that a resumed training tells again, or a report that is logged again, adds no second point
        has = self._mlflow.get_run(run_id).data.metrics
        values = {name: value for name, value in entry["values"].items() if name not in has or not _same(has[name], value)}
        points = [Metric(name, value, entry["t"], 0) for name, value in values.items()]
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
        if path.exists() and urlsplit(self._settings.mlflow_tracking_uri).scheme not in ("http", "https"):
            require_room(self._settings.mlflow_artifacts, path)
        if path.is_dir():
            self._mlflow.log_artifacts(self._id(""), str(path), entry["folder"] or None)
        elif path.is_file():
            self._mlflow.log_artifact(self._id(""), str(path), entry["folder"] or None)
        else:
            self._say(f"{path} is gone: MLflow goes without it.")

    def _end(self, entry: Entry) -> None:
        if entry["network"]:
            self._mlflow.set_terminated(self._id(entry["network"]), entry["status"], entry["t"])
        elif self._trains:
            self._close(entry["status"], entry["t"])

    def _close(self, status: str, when: int | None) -> None:
        """End the run, and nested runs that a killed session left open."""
        assert self.run_id is not None and self.experiment_id is not None
        query = f"tags.`mlflow.parentRunId` = '{self.run_id}' and attributes.status = 'RUNNING'"
        for nested in self._mlflow.search_runs([self.experiment_id], query):
            self._mlflow.set_terminated(nested.info.run_id, status, when)
        self._mlflow.set_terminated(self.run_id, status, when)
        self._left_as = ""

    def _id(self, network: str) -> str:
        assert self.run_id is not None
        return self._networks[network] if network else self.run_id


def _refused() -> "type[MlflowException]":
    """The error in which MLflow also says no for good."""
    from mlflow.exceptions import MlflowException

    return MlflowException


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _parts(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))

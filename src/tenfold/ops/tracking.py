"""MLflow runs that an outage cannot hurt: everything is journalled on the disk, a thread sends it on.

Training never waits for MLflow and never fails with it; its end waits only while MLflow takes entries. What could
not be sent stays in `<home>/spool` and goes out with the next session or `replay()`. Nothing arrives twice, also when
an answer was lost: runs are looked for before they are made, an entry keeps its timestamp, and a step that MLflow has
is not sent again.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tenfold.core import disk
from tenfold.core.errors import Stopped
from tenfold.ops import logged, mlflow_store, spool
from tenfold.ops.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger("tenfold.tracking")
_EVERY_S = 3.0
_AFTER_OUTAGE_S = 30.0
# how long the end of a session waits while MLflow takes nothing: usually, when it was stopped, when MLflow was away just before
_STALL_S = 5.0
_HURRY_S = 2.0
_AWAY_S = 0.3
_LAST_PATIENCE_S = 120.0
_STOP_PATIENCE_S = 5.0  # of the ten seconds that a stop has in all
# servers that did not answer this process when it last asked: its next session does not find out by waiting again
_away: set[str] = set()

Say = Callable[[str], None]


@dataclass(frozen=True)
class Replayed:
    """Entries sent now, and journals that still wait."""

    sent: int
    left: int


class Tracking:
    """The door to MLflow. `say` gets one line when MLflow stops or starts to answer (default: the log)."""

    def __init__(self, settings: Settings, say: Say | None = None) -> None:
        self.settings = settings
        self.say = say or _log.warning

    def run(self, paper: str, partition: str, key: str, *, tags: Mapping[str, object], params: Mapping[str, Mapping[str, object]]) -> "Run":
        """Open the run of the network `key` for training it; found by its tag, else made.

        `params` is {asset: {name: value}}. The run is closed by `finish`, or as a context manager: FAILED on an
        exception, KILLED when stopped on request (training again reopens it).
        """
        return self._open(paper, partition, key, tags, params, trains=True)

    def attach(
        self, paper: str, partition: str, key: str, *, tags: Mapping[str, object], params: Mapping[str, Mapping[str, object]]
    ) -> "Run":
        """Open the run of a trained network to add to it; the training's status stays."""
        return self._open(paper, partition, key, tags, params, trains=False)

    def replay(self) -> Replayed:
        """Send what earlier sessions left behind. Raises nothing: an outage leaves the rest where it is."""
        sent = 0
        for journal in spool.left_behind(self.settings.spool):
            try:
                sender = mlflow_store.Sender(self.settings, journal, self.say)
                sent += sender.drain()
                sender.end_abandoned()
            except Exception as error:
                self.say(f"{_outage(self.settings, error)} {journal.path} waits.")
                break
            finally:
                journal.close()
        return Replayed(sent=sent, left=len(spool.waiting(self.settings.spool)))

    def _open(
        self,
        paper: str,
        partition: str,
        key: str,
        tags: Mapping[str, object],
        params: Mapping[str, Mapping[str, object]],
        trains: bool,
    ) -> "Run":
        own = {
            "tenfold.paper": paper,
            "tenfold.partition": partition,
            "tenfold.dataset": partition.partition(".")[0],
            "tenfold.key": key,
        }
        header = {
            "op": "run",
            "paper": paper,
            "partition": partition,
            "key": key,
            "tags": {name: mlflow_store.text(value) for name, value in {**tags, **own}.items()},
            "params": {f"{asset}.{name}": mlflow_store.text(v) for asset, block in params.items() for name, v in block.items()},
            "trains": trains,
        }
        lists = {asset: block.get("seeds") for asset, block in params.items()}
        seeds = {asset: int(given[0]) for asset, given in lists.items() if isinstance(given, list) and given}
        return Run(self, spool.open_for(self.settings.spool, f"{paper}-{key}"), header, seeds)


def replay(settings: Settings, say: Say | None = None) -> int:
    """Send what earlier sessions left behind; return how many entries went out."""
    return Tracking(settings, say).replay().sent


class Run:
    """One MLflow run in the making. Every method returns at once, and none raises because of MLflow."""

    def __init__(self, tracking: Tracking, journal: spool.Spool, header: spool.Entry, first_seeds: Mapping[str, int]) -> None:
        mlflow_store.preload(tracking.settings)
        self._tracking = tracking
        self._first_seeds = first_seeds
        self._spool = journal
        self._sender = mlflow_store.Sender(tracking.settings, journal, tracking.say)
        self._wake, self._stop = threading.Event(), threading.Event()
        self._write_lock = threading.Lock()
        self._down = False
        self._open_networks: set[str] = set()
        self._key = str(header["key"])
        self._paper, self._partition = str(header["paper"]), str(header["partition"])
        self._write(header)
        self._thread = threading.Thread(target=self._work, name=f"tracking {self._key}", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None while MLflow has not answered."""
        return self._sender.run_id

    @property
    def url(self) -> str | None:
        """Address of the run's artifact page; None while MLflow has not answered."""
        if self._sender.run_id is None:
            return None
        base = self._tracking.settings.mlflow_url
        return f"{base}/#/experiments/{self._sender.experiment_id}/runs/{self._sender.run_id}/artifacts"

    def journal(self, asset: str = "model", first_seed: int | None = None) -> "RunJournal":
        """The diary for a training (`tenfold.core.journal.Journal`).

        The network without variant of `first_seed` (default: the first of the asset's parameter `seeds`) is shown on
        this run as well, so that its curves are live.
        """
        return RunJournal(self, asset, self._first_seeds.get(asset) if first_seed is None else first_seed)

    def metrics(self, values: Mapping[str, float]) -> None:
        """Final numbers, e.g. {"aupro_30": 0.9, "aupro_30/bank_sum": 0.8}."""
        self._write({"op": "metrics", "network": "", "values": _numbers(values)})

    def tags(self, values: Mapping[str, object]) -> None:
        """Values that a later session may change."""
        self._write({"op": "tags", "values": {name: mlflow_store.text(value) for name, value in values.items()}})

    def describe(self, markdown: str) -> None:
        """The text at the top of the run's page."""
        self.tags({"mlflow.note.content": markdown})

    def dataset(self, name: str, digest: str, source: str, table: "pa.Table") -> None:
        """What the network was trained on: `digest` is DVC's md5 (32 hex digits), `table` gives columns and rows."""
        columns = {field.name: str(field.type) for field in table.schema}
        self._write({"op": "dataset", "name": name, "digest": digest, "source": source, "columns": columns, "rows": table.num_rows})

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file, by its path: it is read when it is sent, so it must be one that stays."""
        self._write({"op": "artifact", "path": str(path.absolute()), "folder": folder})

    def artifacts(self, path: Path, folder: str = "") -> None:
        """A folder with all that is in it."""
        self.artifact(path, folder)

    def note(self, asset: str, key: str) -> None:
        """The stored output `key` of the asset is told in full: a later cache hit links to this run and does not tell it again."""
        logged.note(self._tracking.settings, self._paper, asset, key, None, None)
        self._write({"op": "note", "paper": self._paper, "asset": asset, "key": key})

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run with MLflow's word for how it ended: FINISHED, FAILED or KILLED."""
        if self._stop.is_set():
            return
        for network in sorted(self._open_networks):
            self._write({"op": "end", "network": network, "status": status})
        self._write({"op": "end", "network": "", "status": status})
        self._stop.set()
        self._wake.set()
        patience = (_STALL_S, _LAST_PATIENCE_S) if status == "FINISHED" else (_HURRY_S, _STOP_PATIENCE_S)
        if not self._sent(*patience):
            where = mlflow_store.shown(self._tracking.settings.mlflow_tracking_uri)
            self._tracking.say(
                f"MLflow at {where} is slow; what is left of {self._spool.path} goes out with the next run or `tenfold doctor`."
            )

    def _sent(self, stall_s: float, most_s: float) -> bool:
        """Wait for the sending thread as long as entries go out, `most_s` at most; whether it is done."""
        uri = self._tracking.settings.mlflow_tracking_uri
        began = moved = time.monotonic()
        progress = self._sender.progress
        while self._thread.is_alive():
            self._thread.join(0.02)
            now = time.monotonic()
            if self._sender.progress != progress:
                progress, moved = self._sender.progress, now
            if now - moved > (_AWAY_S if uri in _away else stall_s) or now - began > most_s:
                _away.add(uri)
                return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.finish("FINISHED" if error is None else "KILLED" if isinstance(error, Stopped | KeyboardInterrupt) else "FAILED")

    def _write(self, entry: spool.Entry) -> None:
        stamped = {**entry, "t": time.time_ns() // 1_000_000}
        try:
            with self._write_lock:
                self._spool.append(stamped)
        except OSError as error:
            self._tracking.say(f"{self._spool.path} cannot be written ({error}): MLflow will miss this {entry['op']}.")

    def _work(self) -> None:
        while True:
            stopping = self._stop.is_set()
            self._attempt()
            if stopping:
                break
            self._wake.wait(_AFTER_OUTAGE_S if self._down else _EVERY_S)
        path = self._spool.path
        if not self._spool.close():
            self._tracking.say(f"{path} waits for MLflow: the next run or `tenfold doctor` sends it.")
        elif not self._down:
            self._tracking.replay()

    def _attempt(self) -> None:
        try:
            self._sender.drain()
        except Exception as error:  # whatever MLflow, its database or the network raise: the journal keeps it all
            if not self._down:
                self._tracking.say(_outage(self._tracking.settings, error))
            self._down = True
            _away.add(self._tracking.settings.mlflow_tracking_uri)
        else:
            if self._down:
                self._tracking.say(f"MLflow answers again; {self._partition} {self._key[:8]} is up to date.")
            self._down = False
            _away.discard(self._tracking.settings.mlflow_tracking_uri)


class RunJournal:
    """Opens a nested run for each network."""

    def __init__(self, run: Run, asset: str, first_seed: int | None) -> None:
        self._run = run
        self._asset = asset
        self._first_seed = first_seed

    def network(self, variant: str, seed: int, params: Mapping[str, object]) -> "RunNetwork":
        """The nested run of this variant and seed; `params` become `<asset>.<name>`."""
        name = " ".join(part for part in (variant, f"seed={seed}") if part)
        named = {f"{self._asset}.{key}": mlflow_store.text(value) for key, value in params.items()}
        self._run._open_networks.add(name)
        self._run._write({"op": "network", "network": name, "variant": variant, "seed": seed, "params": named})
        return RunNetwork(self._run, name, mirror=variant == "" and seed == self._first_seed)


class RunNetwork:
    """The diary of one network."""

    def __init__(self, run: Run, name: str, mirror: bool) -> None:
        self._run = run
        self._networks = [name, ""] if mirror else [name]

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """One epoch's losses; a bare name becomes `train/<name>`."""
        values = {name if "/" in name else f"train/{name}": value for name, value in _numbers(metrics).items()}
        self._run._write({"op": "epoch", "networks": self._networks, "epoch": epoch, "values": values})

    def done(self, metrics: Mapping[str, float]) -> None:
        """The network's final numbers; closes its nested run."""
        name = self._networks[0]
        self._run._write({"op": "metrics", "network": name, "values": _numbers(metrics)})
        self._run._write({"op": "end", "network": name, "status": "FINISHED"})
        self._run._open_networks.discard(name)


def _numbers(values: Mapping[str, float]) -> dict[str, float]:
    """Plain floats under names that MLflow accepts."""
    return {mlflow_store.metric_name(name): float(value) for name, value in values.items()}


def _outage(settings: Settings, error: Exception) -> str:
    problem = disk.unwritable(error, settings.home)
    if problem is not None:
        return f"MLflow: {problem} Nothing is lost, work goes on."
    where = mlflow_store.shown(settings.mlflow_tracking_uri)
    return f"MLflow at {where} does not take entries now ({mlflow_store.cause(settings, error)}). Nothing is lost, work goes on."

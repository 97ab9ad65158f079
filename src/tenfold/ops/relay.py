"""What a training in other processes tells the asset that waits for it: JSON objects, one an event.

The first worker sends through `Remote`; the asset's process takes them with `Relay`, which plays them to the real progress and journal.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tenfold.core.errors import TenfoldError, of_kind
from tenfold.core.journal import Journal, NetworkJournal
from tenfold.core.progress import Event, Progress
from tenfold.core.stage import Made

Send = Callable[[dict[str, Any]], None]


class Remote:
    """A journal and a progress whose words go to `send`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._networks = 0
        self.progress = Progress(self._report)

    def network(self, variant: str, seed: int, params: Mapping[str, object]) -> "RemoteNetwork":
        self._networks += 1
        self._send({"event": "network", "network": self._networks, "variant": variant, "seed": seed, "params": dict(params)})
        return RemoteNetwork(self._send, self._networks)

    def _report(self, event: Event) -> None:
        self._send({"event": "progress", "stage": event.stage, "done": event.done, "total": event.total, "text": event.text})


class RemoteNetwork:
    """The diary of one network, kept elsewhere."""

    def __init__(self, send: Send, number: int) -> None:
        self._send, self._number = send, number

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._send({"event": "epoch", "network": self._number, "epoch": epoch, "metrics": dict(metrics)})

    def done(self, metrics: Mapping[str, float]) -> None:
        self._send({"event": "done", "network": self._number, "metrics": dict(metrics)})


def finished(made: Made) -> dict[str, Any]:
    """The last event of work that succeeded."""
    return {"event": "finished", "made": made.to_json()}


def failed(error: TenfoldError) -> dict[str, Any]:
    """The last event of work that ended with an error for the user, or was stopped."""
    return {"event": "failed", "kind": type(error).__name__, "text": str(error)}


class Relay:
    """Plays the events of a training elsewhere to the asset's own progress and journal.

    Attributes:
        pid: process id of the first worker, 0 until it has said so.
        ended: the last event, `finished` or `failed`; None as long as there was none.
    """

    def __init__(self, progress: Progress, journal: Journal) -> None:
        self._progress, self._journal = progress, journal
        self._networks: dict[int, NetworkJournal] = {}
        self._stage, self._done = "", 0
        self.pid = 0
        self.ended: dict[str, Any] | None = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        match event["event"]:
            case "started":
                self.pid = event["pid"]
            case "progress":
                self._report(event)
            case "network":
                self._networks[event["network"]] = self._journal.network(event["variant"], event["seed"], event["params"])
            case "epoch":
                self._networks[event["network"]].epoch(event["epoch"], event["metrics"])
            case "done":
                self._networks[event["network"]].done(event["metrics"])
            case "finished" | "failed":
                self.ended = dict(event)
            case unknown:
                raise ValueError(f"a worker sent an event that is not known here: {unknown!r}")

    def say(self, text: str) -> None:
        """A sentence of the one who waits."""
        self._progress.say(text)

    def line(self, line: str) -> None:
        """Take one event as a line of JSON."""
        self(json.loads(line))

    def result(self) -> Made:
        """What was made, or the worker's error raised here; TenfoldError if the workers ended without either."""
        if self.ended is None:
            raise TenfoldError("the workers ended without a result.")
        if self.ended["event"] == "failed":
            raise of_kind(self.ended["kind"])(self.ended["text"])
        return Made.from_json(self.ended["made"])

    def _report(self, event: Mapping[str, Any]) -> None:
        stage, done = event["stage"], event["done"]
        if event["text"]:
            self._progress.say(event["text"])
        elif stage != self._stage or done <= self._done:
            self._stage = stage
            self._progress.stage(stage, event["total"], done)
        else:
            self._progress.advance(done - self._done)
        if not event["text"]:
            self._done = done

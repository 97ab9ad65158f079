"""Tell the user how far a long computation is. The science reports; sinks decide what becomes of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Event:
    """One report. `total` and `eta_s` (s) are None when unknown; `text` is empty unless something was said."""

    stage: str
    done: int
    total: int | None
    elapsed_s: float
    eta_s: float | None
    text: str


Sink = Callable[[Event], None]


class Progress:
    """Counts the steps of one named stage after another and reports each to every sink. Silent without sinks."""

    def __init__(self, *sinks: Sink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sinks = sinks
        self._clock = clock
        self._open("", None, 0)

    def _open(self, name: str, total: int | None, done: int) -> None:
        self._name, self._total, self._done, self._skipped = name, total, done, done
        self._start = self._clock()

    def stage(self, name: str, total: int | None = None, done: int = 0) -> None:
        """Begin a stage of `total` steps, `done` of which an earlier run has finished (they do not count as speed)."""
        self._open(name, total, done)
        self._emit("")

    def advance(self, n: int = 1) -> None:
        """`n` more steps are done."""
        self._done += n
        self._emit("")

    def say(self, text: str) -> None:
        """Report a sentence."""
        self._emit(text)

    def _emit(self, text: str) -> None:
        if not self._sinks:
            return
        elapsed = self._clock() - self._start
        fresh = self._done - self._skipped
        eta = elapsed / fresh * max(self._total - self._done, 0) if self._total is not None and fresh > 0 else None
        event = Event(self._name, self._done, self._total, elapsed, eta, text)
        for sink in self._sinks:
            sink(event)


class TerminalSink:
    """Writes one line that updates itself on a terminal, else plain lines at most every five seconds a stage."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._live = stream.isatty()
        self._every = 0.1 if self._live else 5.0
        self._last = float("-inf")
        self._stage = ""
        self._width = 0

    def __call__(self, event: Event) -> None:
        if event.text:
            self._finish_line()
            self._stream.write(event.text + "\n")
            self._stream.flush()
            return
        fresh = event.stage != self._stage
        complete = event.total is not None and event.done >= event.total
        now = self._clock()
        if not (fresh or complete or now - self._last >= self._every):
            return
        if fresh:
            self._finish_line()
        self._stage, self._last = event.stage, now
        line = _line(event)
        if self._live:
            # Blanks wipe what a longer line left.
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
            if complete:
                self._finish_line()
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _finish_line(self) -> None:
        if self._width:
            self._stream.write("\n")
            self._width = 0


def _line(event: Event) -> str:
    count = f" {event.done}/{event.total}" if event.total is not None else f" {event.done}" if event.done else ""
    left = f", {_span(event.eta_s)} left" if event.eta_s else ""
    return f"{event.stage}{count} [{_span(event.elapsed_s)}{left}]"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

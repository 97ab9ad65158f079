"""Streams of a served model: one for each session, the longest unused go first."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 256
IDLE_S = 15 * 60.0


@dataclass
class _Entry(Generic[T]):
    value: T
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Sessions(Generic[T]):
    """At most `most` values by name; one that was not used for `idle_s` is forgotten. For any number of threads."""

    def __init__(self, most: int = MOST, idle_s: float = IDLE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._idle, self._clock = most, idle_s, clock
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def use(self, name: str, make: Callable[[], T], reset: bool = False) -> Iterator[T]:
        """A session's value, for one thread at a time; what `make` gives if it has none or is to begin anew."""
        with self._lock:
            now = self._clock()
            entry = self._entries.pop(name, None)
            if entry is None or now - entry.used > self._idle:
                entry = _Entry(make(), now)
            entry.used = now
            self._entries[name] = entry
            while len(self._entries) > self._most or now - next(iter(self._entries.values())).used > self._idle:
                self._entries.popitem(last=False)
        with entry.lock:
            if reset:
                entry.value = make()
            yield entry.value

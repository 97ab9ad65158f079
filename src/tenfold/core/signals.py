"""Requests to stop: SIGTERM and SIGINT as an event that long work looks at where it can stop without loss."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_open: list[threading.Event] = []


def request_stop() -> None:
    """What SIGTERM does, for work in a thread: signals reach the main thread only."""
    for stop in _open:
        stop.set()


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Event set by SIGTERM, SIGINT or `request_stop`; a second signal acts at once. The handlers that stood before are put back."""
    stop = threading.Event()
    _open.append(stop)
    try:
        if threading.current_thread() is threading.main_thread():
            with _handled(stop):
                yield stop
        else:
            yield stop
    finally:
        _open.remove(stop)


@contextmanager
def _handled(stop: threading.Event) -> Iterator[None]:
    def request(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
        stop.set()

    # An ignored signal stays ignored: a job in the background must outlive the Ctrl-C meant for the foreground.
    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {int(number): signal.signal(number, request) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

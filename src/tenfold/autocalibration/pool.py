"""Work on many scenes in processes, one a core: each task leaves a file behind, so that a killed run goes on where it was."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

WORTH = 8  # tasks below which starting processes costs more than it saves
_AHEAD = 3  # tasks a process that wait in its queue: memory does not grow with the number of tasks


def each(work: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """Results of `work` over items, in the order in which they end; in this process if there are few of them."""
    processes = min(workers(), max(1, count))
    if processes < 2 or count < WORTH:
        yield from map(work, items)
        return
    waiting: set[Future[Any]] = set()
    # Spawn, not fork: a fork of a process with threads (Dagster, BLAS) can hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            for item in items:
                if len(waiting) >= _AHEAD * processes:
                    ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
                waiting.add(pool.submit(work, item))
            yield from (future.result() for future in waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def workers() -> int:
    """Cores of this process, at most 16."""
    return min(16, len(os.sched_getaffinity(0)))

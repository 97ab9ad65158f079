"""A stage's parts spread over a Ray cluster; the driver receives them in order and alone writes, so the bytes are those of a local run."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tenfold.core import code
from tenfold.core.errors import TenfoldError
from tenfold.core.workers import Item, Result
from tenfold.ops.ray_cluster import joined, ray, same_code
from tenfold.ops.settings import Settings

RETRIES = 3  # of a part whose worker or machine died
AHEAD = 2  # parts asked for beyond those in work, a worker: hides the way back and forth


@dataclass(frozen=True)
class OverRay:
    """`core.workers.Each` on the cluster of `settings`: a task a part, `settings.workers` at a time, few waiting.

    `work` travels once to each worker process, so what it opens there stays open. Parts of a machine that dies are done again on
    another one.
    """

    settings: Settings

    def __call__(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Raises what `work` raises; TenfoldError for a part whose worker died again and again."""
        with joined(self.settings):
            remote = _remote(work)
            waiting: deque[tuple[Item, Any]] = deque()
            try:
                for item in items:
                    waiting.append((item, remote.remote(item)))
                    if len(waiting) >= AHEAD * self.settings.workers:
                        yield _received(*waiting.popleft())
                while waiting:
                    yield _received(*waiting.popleft())
            finally:
                for _, reference in waiting:
                    ray.cancel(reference)


def _remote(work: Callable[[Item], Result]) -> Any:
    entry = work.__module__
    expected = code.content(entry)

    threads = torch.get_num_threads()

    def part(item: Item) -> Result:
        same_code(entry, expected)
        torch.set_num_threads(threads)  # as here: the last bits of a sum depend on it
        return work(item)

    needs = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {"num_cpus": 1}
    return ray.remote(max_retries=RETRIES, scheduling_strategy="SPREAD", **needs)(part)


def _received(item: Item, reference: Any) -> tuple[Item, Any]:
    try:
        return item, ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.ObjectLostError,
        ray.exceptions.OutOfMemoryError,
    ) as error:
        raise TenfoldError(
            f"{item}: its Ray worker died {RETRIES + 1} times ({type(error).__name__}). If the machine ran out of memory, lower "
            "TENFOLD_WORKERS or give its Ray fewer CPUs (`ray start --num-cpus`). Finished parts are kept: run the same command again."
        ) from error

"""Two parts at a time: array code and decoders release the interpreter, so threads suffice."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

WORKERS = 2  # memory grows with each; more cores are better used by running several partitions

Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """How a stage maps its work over its items: in threads (`ordered`), or on other machines.

    Yields each item with its result, in the order of the items; takes few items ahead, so that memory does not grow with
    their number. An exception of `work` is raised at its item.
    """

    def __call__(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]: ...


@contextmanager
def single_threaded() -> Iterator[None]:
    """PyTorch's kernels on one thread inside the block: with several they add in another order, and the last bits depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ordered(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of the items, at most one item ahead of the workers.

    An exception of `work` is raised at its item; work not begun is dropped then.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > WORKERS:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

"""What exhausted memory means to the user: one message, whatever library met it, that names the numbers to lower."""

import errno
import resource
from typing import Any

from tenfold.core.errors import OutOfMemory

# PyTorch, CUDA and workers in other processes tell of it in words only
_WORDS = (
    "MemoryError",
    "can't allocate memory",
    "Cannot allocate memory",
    "Unable to allocate",
    "CUDA out of memory",
    "bad_alloc",
    "can't start new thread",
)


def exhausted(error: BaseException, where: str, asset: str, block: Any) -> OutOfMemory | None:
    """The error to show if `error` came of memory that ran out; None for all others.

    Args:
        where: who met it, for the message.
        asset, block: name and numbers of the stage; `MEMORY` of the block names those that decide how much it needs.
    """
    cause: BaseException | None = error
    seen: set[int] = set()  # a chain may lead back to itself
    while cause is not None and id(cause) not in seen and not _tells(cause):
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    if cause is None or id(cause) in seen:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    knobs = [f"{asset}.{name} (now {getattr(block, name)})" for name in getattr(block, "MEMORY", ())]
    remedy = f"Lower {' or '.join(knobs)} in the recipe" if knobs else "Run fewer partitions at a time"
    told = " ".join(f"{type(cause).__name__}: {cause}".split())[:300]
    return OutOfMemory(
        f"{where}: the memory ran out ({told}); this process held {peak:.1f} GiB at most. {remedy}, or give it more memory. "
        "Finished work is kept: run the same command again."
    )


def _tells(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, Exception) and any(word in f"{type(error).__name__}: {error}" for word in _WORDS)

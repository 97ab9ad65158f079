import errno
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from tenfold.core import memory
from tenfold.core.errors import BadData, OutOfMemory, TenfoldError, of_kind


@dataclass(frozen=True)
class Block:
    MEMORY: ClassVar = ("batch", "pixels")

    batch: int = 4
    pixels: int = 0
    lr: float = 1e-3


def raised(act: object) -> BaseException:
    try:
        act()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


HUGE = 1 << 60


def wrapped() -> None:
    try:
        np.empty(HUGE, np.uint8)
    except MemoryError as error:
        raise RuntimeError("the loader failed") from error


@pytest.mark.parametrize(
    "act",
    [
        lambda: np.empty(HUGE, np.uint8),
        lambda: torch.empty(HUGE, dtype=torch.uint8),
        lambda: bytearray(HUGE),
        wrapped,
        lambda: open_failed(),
        lambda: lost("process 1 of 2 failed: _ArrayMemoryError: Unable to allocate 3.00 GiB for an array"),
        lambda: lost("a worker died. Its last words:\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
    ids=["numpy", "torch", "python", "wrapped", "errno", "worker", "cuda"],
)
def test_whoever_meets_it_the_message_names_the_numbers_to_lower(act: object) -> None:
    found = memory.exhausted(raised(act), "p.demo model", "model", Block())
    assert found is not None and of_kind("OutOfMemory") is OutOfMemory
    assert str(found).startswith("p.demo model: the memory ran out (")
    assert "Lower model.batch (now 4) or model.pixels (now 0) in the recipe" in str(found) and "same command again" in str(found)


def open_failed() -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def lost(text: str) -> None:
    raise TenfoldError(text)


def test_a_stage_without_such_numbers_says_what_else_helps() -> None:
    found = memory.exhausted(MemoryError(), "p.demo dataset", "dataset", object())
    assert found is not None and "Run fewer partitions at a time" in str(found)


@pytest.mark.parametrize(
    "error", [BadData("part 3: no memory of this sensor"), ValueError("bad"), OSError(errno.ENOSPC, "full"), KeyError("x")]
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert memory.exhausted(error, "p.demo model", "model", Block()) is None

import time
from collections.abc import Iterator

import pytest

from tenfold.core import workers


def test_results_come_in_order_and_little_is_read_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    for done, (number, result) in enumerate(workers.ordered(work, items())):
        assert (number, result) == (done, done * done)
        assert len(taken) <= done + 1 + workers.WORKERS


def test_an_exception_is_raised_at_its_item() -> None:
    seen = []
    with pytest.raises(ZeroDivisionError):
        for number, _ in workers.ordered(lambda number: 1 // (3 - number), range(10)):
            seen.append(number)
    assert seen == [0, 1, 2]

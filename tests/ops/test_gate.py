"""Who becomes champion."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import UsageError
from tenfold.ops.gate import decide

number = st.floats(0, 1)


def up(new: float | None, old: float | None, least_gain: float = 0.01, contracts_ok: bool = True, same_key: bool = False) -> bool:
    return decide(contracts_ok, new, old, "up", least_gain, same_key).promote


@pytest.mark.parametrize(
    ("promoted", "expected"),
    [
        (up(0.5, None), True),  # the first that passes
        (up(0.5, None, contracts_ok=False), False),
        (up(None, None), False),
        (up(math.nan, 0.1), False),
        (up(0.9, math.nan), False),
        (up(0.9, 0.5, same_key=True), False),
        (up(0.51, 0.5), True),  # exactly the least gain, which no binary fraction is
        (up(0.509, 0.5), False),
        (up(0.5, 0.5, least_gain=0.0), False),  # a tie keeps the champion
        (decide(True, 3.0, 4.0, "down", 1.0, False).promote, True),
        (decide(True, 5.0, 4.0, "down", 0.0, False).promote, False),
    ],
)
def test_cases(promoted: bool, expected: bool) -> None:
    assert promoted is expected


@settings(max_examples=50, deadline=None)
@given(new=number, old=number, gain=number, better=st.sampled_from(["up", "down"]))
def test_two_networks_never_beat_each_other(new: float, old: float, gain: float, better: str) -> None:
    forward, back = decide(True, new, old, better, gain, False), decide(True, old, new, better, gain, False)
    assert not (forward.promote and back.promote)
    assert not decide(False, new, old, better, gain, False).promote


def test_a_direction_that_is_none_is_an_error() -> None:
    with pytest.raises(UsageError, match="none"):
        decide(True, 1.0, 0.0, "none", 0.0, False)

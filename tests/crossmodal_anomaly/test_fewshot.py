"""Few-shot choices and variant names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import UsageError
from tenfold.crossmodal_anomaly.fewshot import Variant, choose, parse

IDS = [f"biscuit/train/good/{i:03d}" for i in range(60)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 60), min_size=2, max_size=2).map(sorted))
def test_nested_seeded_and_independent_of_order(seed: int, sizes: list[int]) -> None:
    few, many = (choose(IDS, k, seed) for k in sizes)
    assert len(few) == sizes[0] and set(few) <= set(many) <= set(IDS)
    shuffled = list(np.random.default_rng(seed).permutation(IDS))
    assert choose(shuffled, sizes[0], seed) == few


def test_seeds_differ_and_new_parts_keep_the_old_order() -> None:
    assert choose(IDS, 10, 0) != choose(IDS, 10, 1)
    assert set(choose(IDS, 10, 0)) & set(IDS[:40]) <= set(choose(IDS[:40], 10, 0))


def test_all_parts() -> None:
    assert choose(IDS, 0, 3) == choose(IDS, 1000, 3) == IDS


def test_two_parts_of_one_name() -> None:
    with pytest.raises(UsageError, match="unique"):
        choose(["a", "a"], 1, 0)


def test_variants() -> None:
    assert parse("") == Variant("") and parse("").folder == "full"
    assert parse("shots=10") == Variant("shots=10", shots=10) and parse("depth=8").depth == 8
    assert parse("shots=5,depth=4") == Variant("shots=5,depth=4", 5, 4)


@pytest.mark.parametrize("name", ["shot=10", "shots", "shots=", "shots=0", "shots=-1", "shots=x", "shots=1,shots=2", "shots=10;depth=8"])
def test_no_variant(name: str) -> None:
    with pytest.raises(UsageError, match="shots=10"):
        parse(name)

import random

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import seeding

names = st.lists(st.one_of(st.text(max_size=5), st.integers(0, 99)), max_size=3)


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seed_all_repeats_every_global_generator() -> None:
    seeding.seed_all(7)
    first = draws()
    seeding.seed_all(7)
    assert draws() == first
    seeding.seed_all(8)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_seeds_beyond_32_bits_are_accepted() -> None:
    seeding.seed_all(2**40 + 3)
    assert draws() == (seeding.seed_all(2**40 + 3), draws())[1]


@given(st.integers(0, 2**40), names, st.integers(0, 2**40), names)
@settings(max_examples=50, deadline=None)
def test_generators_are_equal_exactly_for_equal_names(
    seed: int, path: list[str | int], other_seed: int, other_path: list[str | int]
) -> None:
    a = seeding.rng(seed, *path).integers(0, 2**62, 4).tolist()
    b = seeding.rng(other_seed, *other_path).integers(0, 2**62, 4).tolist()
    # 1 and "1" are different names
    assert (a == b) == ((seed, list(map(repr, path))) == (other_seed, list(map(repr, other_path))))


def test_neighbouring_seeds_do_not_share_streams() -> None:
    assert seeding.rng(0, "order", 1).permutation(50).tolist() != seeding.rng(1, "order", 0).permutation(50).tolist()


def test_a_stream_is_the_same_in_every_version() -> None:
    assert seeding.rng(0, "order", 3).permutation(8).tolist() == [3, 2, 7, 5, 0, 6, 4, 1]


def test_deterministic_switches_pytorch() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    try:
        seeding.deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]

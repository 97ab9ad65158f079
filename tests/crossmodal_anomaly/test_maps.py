"""From distances to maps: exact against plain references of PyTorch and SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tenfold.crossmodal_anomaly import maps
from tenfold.crossmodal_anomaly.maps import MapOptions

PLAIN = MapOptions("product", "none", "none", "zero")


def convolved(image: np.ndarray) -> np.ndarray:
    """Five 5x5 and three 7x7 box convolutions with zero padding, one after the other, in float64."""
    x = torch.from_numpy(image.astype(np.float64))[None, None]
    for side in (5,) * 5 + (7,) * 3:
        x = torch.nn.functional.conv2d(x, torch.full((1, 1, side, side), 1 / side**2, dtype=torch.float64), padding=side // 2)
    return x[0, 0].numpy()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), height=st.integers(8, 70), width=st.integers(8, 70))
def test_smoothing_is_the_eight_boxes(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    np.testing.assert_allclose(maps.smooth(image), convolved(image), atol=1e-5)


def test_smoothing_keeps_far_background_at_exactly_zero() -> None:
    image = np.zeros((100, 100), np.float32)
    image[50, 50] = 1
    far = np.maximum(*np.abs(np.mgrid[:100, :100] - 50)) > 5 * 2 + 3 * 3
    assert (maps.smooth(image)[far] == 0).all() and maps.smooth(image)[50, 50] > 0


@settings(max_examples=25, deadline=None)
@given(small=st.integers(1, 40), large=st.integers(1, 90), seed=st.integers(0, 100))
def test_upsampling_is_bilinear_inside_and_zero_outside(small: int, large: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.random((small, small)).astype(np.float32)
    whole = np.ones((small, small), bool)
    expected = torch.nn.functional.interpolate(torch.from_numpy(grid)[None, None], (large, large), mode="bilinear", align_corners=False)[
        0, 0
    ]
    np.testing.assert_allclose(maps.upsample(grid, whole, large), expected.numpy(), atol=1e-5)
    mask = rng.random((small, small)) > 0.5
    near = torch.nn.functional.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], (large, large), mode="nearest-exact")[
        0, 0
    ]
    found = maps.upsample(maps.scatter(grid[mask], mask), mask, large)
    assert (found[near.numpy() == 0] == 0).all()


def test_background_is_exactly_zero_before_smoothing() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:7] = True
    image = maps.render(np.ones(mask.sum(), np.float32), mask, PLAIN, 32)
    inside = np.kron(mask, np.ones((4, 4), bool))
    assert (image[~inside] == 0).all() and (image[inside] > 0).all()
    assert np.array_equal(maps.render(np.ones(mask.sum(), np.float32), mask, PLAIN, 8), mask)


def test_combinations() -> None:
    d2, d3 = np.array([0.5, 2], np.float32), np.array([1, 0.25], np.float32)
    expected = {"product": [0.5, 0.5], "sum": [1.5, 2.25], "max": [1, 2], "d2_only": [0.5, 2], "d3_only": [1, 0.25]}
    for how, values in expected.items():
        assert maps.combine(d2, d3, how).tolist() == values  # type: ignore[arg-type]


def test_missing_points_take_the_largest_neighbour_or_zero() -> None:
    mask = np.ones((9, 9), bool)
    mask[:, 0] = mask[3:6, 3:6] = False
    values = np.arange(mask.sum(), dtype=np.float32) + 1
    zero = maps.render(values, mask, PLAIN, 9)
    assert (zero[3:6, 3:6] == 0).all()
    filled = maps.render(values, mask, MapOptions("product", "none", "none", "neighbour"), 9)
    around = ndimage.maximum_filter(zero, 3)
    border = np.ones((3, 3), bool)
    border[1, 1] = False
    assert np.array_equal(filled[3:6, 3:6][border], around[3:6, 3:6][border])
    assert filled[4, 4] == filled[3:6, 3:6].max(), "the innermost takes the next ring's largest"
    assert np.array_equal(filled[mask], zero[mask]) and (filled[:, 0] == 0).all(), "a notch open to the outside is background"


def test_official_normalisations() -> None:
    image = np.array([[0, 0], [1, 3]], np.float32)
    np.testing.assert_allclose(maps.normalise(image, "official", "regions"), image / 2)
    np.testing.assert_allclose(maps.normalise(image, "official", "image"), image / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(maps.normalise(image, "official", "pixels"), image / 1, rtol=1e-6)
    assert maps.image_score(image) == 3 and maps.image_score(image, "official") == pytest.approx(3 / np.sqrt(2))


@pytest.mark.parametrize("purpose", ["regions", "image", "pixels"])
def test_a_map_of_zeros_is_not_divided(purpose: maps.Purpose) -> None:
    empty = np.zeros((4, 4), np.float32)
    assert (maps.normalise(empty, "official", purpose) == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(1.1, 5))
def test_a_larger_distance_never_lowers_a_map(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((14, 14)) > 0.4
    values = rng.random(mask.sum()).astype(np.float32)
    options = MapOptions("product", "boxes", "none", "neighbour")
    low = maps.render(values, mask, options, 56)
    assert (maps.render(values * np.float32(factor), mask, options, 56) >= low - 1e-6).all() and low.min() >= 0

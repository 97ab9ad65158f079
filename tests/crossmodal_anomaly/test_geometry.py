import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.crossmodal_anomaly.geometry import INVERSE_DISTANCE_FLOOR, farthest_points, interpolation_weights, nearest_neighbours

few = settings(max_examples=25, deadline=None)


def cloud(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, (count, 3)).astype(np.float32)


@few
@given(st.integers(0, 10_000), st.integers(1, 120), st.integers(1, 60))
def test_farthest_points_equal_brute_force(seed: int, points: int, count: int) -> None:
    xyz = cloud(seed, points)
    chosen = [0]
    while len(chosen) < min(count, points):
        chosen.append(int((((xyz[:, None] - xyz[None, chosen]) ** 2).sum(-1)).min(1).argmax()))
    assert farthest_points(xyz, count).tolist() == chosen


def test_farthest_points_take_every_distinct_point_before_a_duplicate() -> None:
    xyz = np.repeat(cloud(1, 20), 3, axis=0)
    assert len(np.unique(xyz[farthest_points(xyz, 20)], axis=0)) == 20


@few
@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(1, 30))
def test_nearest_neighbours_equal_brute_force(seed: int, points: int, count: int) -> None:
    xyz = cloud(seed, points)
    near, far = nearest_neighbours(xyz, xyz[::3], count)
    distances = np.linalg.norm(xyz[::3, None].astype(np.float64) - xyz, axis=-1)
    assert near.shape == (len(xyz[::3]), min(count, points))
    np.testing.assert_allclose(far, np.sort(distances, axis=1)[:, :count], atol=1e-7)
    np.testing.assert_allclose(np.take_along_axis(distances, near, 1), far, atol=1e-7)


@pytest.mark.parametrize("centres", [1, 2, 3, 40])
def test_interpolation_weights_follow_inverse_squared_distance(centres: int) -> None:
    xyz = cloud(2, 90)
    idx, weights = interpolation_weights(xyz, xyz[:centres])
    assert idx.shape == weights.shape == (90, min(3, centres))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    raw = 1 / (((xyz[:, None].astype(np.float64) - xyz[idx]) ** 2).sum(-1) + INVERSE_DISTANCE_FLOOR)
    np.testing.assert_allclose(weights, raw / raw.sum(1, keepdims=True), atol=1e-6)

"""Samples in the order and turn that is nearest to a start system."""

import numpy as np
import pytest

from tenfold.autocalibration.nearest import nearest


def samples(views: int, points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (views, points, 2)
    return rng.standard_normal((7, *shape)), rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize(("views", "points"), [(2, 6), (3, 4)])
def test_a_shuffled_turned_mirrored_base_is_found_again(views: int, points: int) -> None:
    _, base = samples(views, points)
    rng = np.random.default_rng(1)
    seats, order = rng.permutation(views), rng.permutation(points)
    x = base.real[seats][:, order]
    angle = rng.uniform(0, 6, views)
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
    x = np.einsum("vij,vpj->vpi", turn, x)
    x[0, :, 0] *= -1
    got = nearest("f", x[None], base)
    np.testing.assert_allclose(got.x[0], base.real, atol=1e-12)
    depths = rng.uniform(1, 2, (1, views, points))
    back = got.restored(np.array([0]), depths[:, got.views[0]][:, :, got.points[0]])
    np.testing.assert_allclose(back, depths / depths[:, :1, :1])


@pytest.mark.parametrize("kind", ["f", "zero_skew"])
def test_never_further_than_as_given_and_the_same_in_any_batch(kind: str) -> None:
    x, base = samples(3, 5, 2)
    got = nearest(kind, x, base)
    far = ((x - base.real) ** 2).sum(axis=(1, 2, 3))
    near = ((got.x - base.real) ** 2).sum(axis=(1, 2, 3))
    assert (near <= far + 1e-12).all()
    second = nearest(kind, x, base, 1)
    assert (((second.x - base.real) ** 2).sum(axis=(1, 2, 3)) >= near - 1e-12).all()
    np.testing.assert_array_equal(nearest(kind, x[3:4], base).x[0], got.x[3])
    if kind == "zero_skew":
        for s in range(len(x)):
            np.testing.assert_array_equal(got.x[s], x[s][got.views[s]][:, got.points[s]])


def test_equal_and_central_points_are_no_trouble() -> None:
    _, base = samples(3, 4)
    assert np.isfinite(nearest("f", np.zeros((1, 3, 4, 2)), base).x).all()

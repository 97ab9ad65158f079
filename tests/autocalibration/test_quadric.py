"""Absolute dual quadric of three views: exact on general motion, and by its rank of 3 on the fixating orbit too."""

import numpy as np
import pytest
from autocalibration.rivals import BOUNDS, FOCAL, PRINCIPAL, exact, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import chain, quadric, scenes, two_view


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(350, 1500))
def test_general_motion_is_exact(seed: int, focal: float) -> None:
    x, F = exact("general", seed, focal)
    found = quadric.focal(x, F[0], PRINCIPAL, threshold_px=2.0, bounds=BOUNDS)
    np.testing.assert_allclose(found.focal, focal, rtol=1e-4)
    np.testing.assert_allclose(found.linear, focal, rtol=1e-3)
    assert found.error_px < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_orbit_defeats_the_linear_form_but_not_the_rank(seed: int) -> None:
    x, F = exact("orbit", seed)
    x = x + 0.2 * np.random.default_rng(seed).standard_normal(x.shape)
    found = quadric.focal(x, F[0], PRINCIPAL, threshold_px=2.0, bounds=BOUNDS)
    assert not abs(found.linear / FOCAL - 1) < 0.2
    np.testing.assert_allclose(found.focal, FOCAL, rtol=0.1)


def test_wrong_matches_that_are_left_do_not_spoil_the_reconstruction() -> None:
    made = scenes.generate(spec("general", 7, 0.5, 0.2, points=120))
    F = [two_view.fundamental_ransac(made.x[i], made.x[j], 2.0, 0)[0] for i, j in chain.PAIRS]
    clean = chain.consistent(made.x, F, 2.0)
    whole = clean[:, np.isfinite(clean).all(axis=(0, 2))]
    assert F[0] is not None
    found = quadric.focal(whole, F[0], PRINCIPAL, threshold_px=2.0, bounds=BOUNDS)
    assert found.error_px < 1.0
    np.testing.assert_allclose(found.focal, FOCAL, rtol=0.05)


def test_derivatives_agree_with_differences() -> None:
    rng = np.random.default_rng(0)
    cameras = np.concatenate([np.eye(3, 4)[None], rng.standard_normal((2, 3, 4))])
    at, step = np.array([0.2, 0.3, -0.1, 0.5]), 1e-6
    _, slope = quadric._misfit(cameras, at)
    moves = np.eye(4) * step
    numeric = [(quadric._misfit(cameras, at + move)[0] - quadric._misfit(cameras, at - move)[0]) / (2 * step) for move in moves]
    np.testing.assert_allclose(slope, np.stack(numeric, axis=1), atol=1e-7)
    points = np.concatenate([rng.standard_normal((5, 2)), np.ones((5, 1)), rng.standard_normal((5, 1))], axis=1)
    x = rng.standard_normal((3, 5, 2))
    _, by_camera, by_point = quadric._errors(cameras, points, x)
    for n in range(12):
        moved = cameras.copy()
        moved[2].reshape(-1)[n] += step
        change = (quadric._errors(moved, points, x)[0][2] - quadric._errors(cameras, points, x)[0][2]) / step
        np.testing.assert_allclose(by_camera[2, ..., n], change, rtol=1e-3, atol=1e-3)
    for n, column in enumerate((0, 1, 3)):
        there = points.copy()
        there[:, column] += step
        change = (quadric._errors(cameras, there, x)[0] - quadric._errors(cameras, points, x)[0]) / step
        np.testing.assert_allclose(by_point[..., n], change, rtol=1e-3, atol=1e-3)


def test_too_few_tracks_and_matrices_that_are_none() -> None:
    x, F = exact("general", 0)
    assert np.isnan(quadric.focal(x[:, :6], F[0], PRINCIPAL, threshold_px=2.0, bounds=BOUNDS).focal)
    assert np.isnan(quadric.focal(np.full_like(x, np.nan), F[0], PRINCIPAL, threshold_px=2.0, bounds=BOUNDS).focal)
    assert np.isnan(quadric.focal(x, np.full((3, 3), np.nan), PRINCIPAL, threshold_px=2.0, bounds=BOUNDS).focal)

"""Bougnoux' formula: exact on general motion, the same numbers as PoseLib's, and its known failures."""

import numpy as np
import poselib
import pytest
from autocalibration.rivals import FOCAL, PRINCIPAL, exact, measured
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import bougnoux


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(300, 2000))
def test_general_motion_is_exact(seed: int, focal: float) -> None:
    _, F = exact("general", seed, focal)
    f1, f2 = bougnoux.focals(F, PRINCIPAL)
    np.testing.assert_allclose(np.median([f1, f2]), focal, rtol=1e-5)


def test_two_cameras_of_different_focal_length() -> None:
    _, F = exact("general", 3)
    zoom = np.array([[1 / 1.5, 0, PRINCIPAL[0] / 3], [0, 1 / 1.5, PRINCIPAL[1] / 3], [0, 0, 1]])
    f1, f2 = bougnoux.focals(zoom.T @ F[0], PRINCIPAL)
    assert f1 == pytest.approx(FOCAL, rel=1e-6) and f2 == pytest.approx(1.5 * FOCAL, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_parity_with_poselib(seed: int) -> None:
    """On spoilt matrices too, where the answers are wrong, but the same."""
    F = exact("general", seed)[1][0]
    u, s, vt = np.linalg.svd(F + 1e-3 * np.abs(F) * np.random.default_rng(seed).standard_normal((3, 3)))
    F = u @ np.diag([s[0], s[1], 0]) @ vt
    theirs = [camera.focal() for camera in poselib.focals_from_fundamental(F, PRINCIPAL, PRINCIPAL)]
    ours = bougnoux.focals(F, PRINCIPAL)
    for mine, other in zip(ours, theirs, strict=True):
        if np.isfinite(other) and other > 0:
            assert mine == pytest.approx(other, rel=1e-4)


def test_scale_and_sign_of_F_and_the_unit_of_length_do_not_matter() -> None:
    _, F = exact("general", 1)
    once = np.array(bougnoux.focals(F, PRINCIPAL))
    np.testing.assert_allclose(bougnoux.focals(-7 * F, PRINCIPAL), once, rtol=1e-9)
    half = np.diag([2.0, 2.0, 1.0])
    np.testing.assert_allclose(np.array(bougnoux.focals(half @ F @ half, PRINCIPAL / 2)) * 2, once, rtol=1e-6)


def test_swapped_views_swap_the_focal_lengths() -> None:
    _, F = exact("general", 2)
    f1, f2 = bougnoux.focals(F, PRINCIPAL)
    np.testing.assert_allclose(bougnoux.focals(np.swapaxes(F, -1, -2), PRINCIPAL), (f2, f1), rtol=1e-12)


def test_fixating_orbit_has_no_answer() -> None:
    """The optical axes meet: after the least noise anything comes out."""
    wrong = 0
    for seed in range(10):
        both = np.array(bougnoux.focals(measured("orbit", seed, 0.25), PRINCIPAL))
        wrong += not np.median(np.where(np.isnan(both), np.inf, np.abs(both / FOCAL - 1))) < 0.2
    assert wrong >= 8


@pytest.mark.parametrize("F", [np.full((3, 3), np.nan), np.zeros((3, 3)), np.full((2, 3, 3), np.inf)])
def test_unusable_matrices_give_nan(F: np.ndarray) -> None:
    f1, f2 = bougnoux.focals(F, PRINCIPAL)
    assert np.isnan(f1).all() and np.isnan(f2).all() and f1.shape == F.shape[:-2]

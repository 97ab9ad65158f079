"""Sturm's equations for one focal length: exact on general motion, without an answer where the optical axes meet."""

import numpy as np
import pytest
from autocalibration.rivals import FOCAL, PRINCIPAL, exact, measured
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import bougnoux, sturm


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(300, 2000))
def test_general_motion_is_exact_in_both_forms(seed: int, focal: float) -> None:
    _, F = exact("general", seed, focal)
    quadratic, linear = sturm.focals(F, PRINCIPAL)
    np.testing.assert_allclose(np.median(quadratic), focal, rtol=1e-5)
    np.testing.assert_allclose(np.median(linear), focal, rtol=1e-5)


def test_coplanar_axes_leave_the_quadratic_form() -> None:
    """Two of the three equations vanish there, and a second root of the third one lies at 0."""
    for seed in range(5):
        found = sturm.focals(exact("jittered_orbit", seed)[1], PRINCIPAL).quadratic
        assert np.nanmin(np.abs(found - FOCAL)) < 1e-3 * FOCAL


def test_scale_of_F_and_swapped_views_do_not_matter() -> None:
    _, F = exact("general", 5)
    once = np.array(sturm.focals(F, PRINCIPAL))
    np.testing.assert_allclose(sturm.focals(-3 * F, PRINCIPAL), once, rtol=1e-8)
    np.testing.assert_allclose(sturm.focals(np.swapaxes(F, -1, -2), PRINCIPAL), once, rtol=1e-6)


def test_fixating_orbit_has_no_answer() -> None:
    wrong = 0
    for seed in range(10):
        found = sturm.focals(measured("orbit", seed, 0.5), PRINCIPAL).quadratic
        wrong += not np.median(np.where(np.isnan(found), np.inf, np.abs(found / FOCAL - 1))) < 0.2
    assert wrong >= 8


@pytest.mark.parametrize("F", [np.full((3, 3), np.nan), np.zeros((3, 3)), np.full((2, 3, 3), np.inf)])
def test_unusable_matrices_give_nan(F: np.ndarray) -> None:
    quadratic, linear = sturm.focals(F, PRINCIPAL)
    assert np.isnan(quadratic).all() and np.isnan(linear).all() and quadratic.shape == F.shape[:-2]


def test_agrees_with_bougnoux_where_both_views_give_one_number() -> None:
    _, F = exact("general", 9)
    np.testing.assert_allclose(sturm.focals(F, PRINCIPAL).quadratic, bougnoux.focals(F, PRINCIPAL)[0], rtol=1e-4)

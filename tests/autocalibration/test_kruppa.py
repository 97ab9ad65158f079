"""Kruppa's equations over the pairs of a triplet."""

import numpy as np
from autocalibration.rivals import BOUNDS, FOCAL, PRINCIPAL, exact
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tenfold.autocalibration import kruppa


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(350, 2000))
def test_general_motion_is_exact_from_many_starts(seed: int, focal: float) -> None:
    _, F = exact("general", seed, focal)
    found = kruppa.focal(F, PRINCIPAL, kruppa.multi_start(BOUNDS), BOUNDS)
    np.testing.assert_allclose(found.focal, focal, rtol=1e-5)
    assert found.cost < 1e-12


def test_the_default_start_finds_it_too() -> None:
    _, F = exact("general", 1)
    np.testing.assert_allclose(kruppa.focal(F, PRINCIPAL, 1.2 * 640, BOUNDS).focal, FOCAL, rtol=1e-6)


def test_least_squares_agree_with_scipy_on_spoilt_matrices() -> None:
    """The cost as a search of one dimension sees it."""
    rng = np.random.default_rng(0)
    F = exact("general", 2)[1]
    F = F * (1 + 1e-3 * rng.standard_normal(F.shape))
    parts = kruppa._parts(kruppa.centre(F, PRINCIPAL)[0])
    unit = kruppa.centre(F, PRINCIPAL)[1]

    def cost(x: float) -> float:
        return float((kruppa._residuals(parts, np.array([x]))[0] ** 2).sum())

    found = kruppa.focal(F, PRINCIPAL, kruppa.multi_start(BOUNDS), BOUNDS)
    at = np.log(found.focal / unit)
    best = minimize_scalar(cost, bounds=(at - 0.3, at + 0.3), method="bounded", options={"xatol": 1e-10})
    np.testing.assert_allclose(found.cost, best.fun, rtol=1e-6)


def test_derivatives_agree_with_differences() -> None:
    parts = kruppa._parts(kruppa.centre(exact("general", 3)[1], PRINCIPAL)[0])
    x, step = np.array([-0.3, 0.2, 1.0]), 1e-6
    slope = kruppa._residuals(parts, x)[1]
    numeric = (kruppa._residuals(parts, x + step)[0] - kruppa._residuals(parts, x - step)[0]) / (2 * step)
    np.testing.assert_allclose(slope, numeric, atol=1e-8)


def test_nothing_to_go_by() -> None:
    assert np.isnan(kruppa.focal(np.full((3, 3, 3), np.nan), PRINCIPAL, 700.0, BOUNDS).focal)
    assert np.isnan(kruppa.focal(np.zeros((0, 3, 3)), PRINCIPAL, 700.0, BOUNDS).focal)


def test_one_lost_pair_is_left_out() -> None:
    F = exact("general", 4)[1]
    F[1] = np.nan
    np.testing.assert_allclose(kruppa.focal(F, PRINCIPAL, kruppa.multi_start(BOUNDS), BOUNDS).focal, FOCAL, rtol=1e-5)


def test_a_search_that_ends_on_a_bound_found_nothing() -> None:
    _, F = exact("general", 5)
    assert np.isnan(kruppa.focal(F, PRINCIPAL, 250.0, (200.0, 300.0)).focal)

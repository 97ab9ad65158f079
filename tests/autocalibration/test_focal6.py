"""The 6-point method of PoseLib behind our signature."""

import numpy as np
import pytest
from autocalibration.rivals import FOCAL, PRINCIPAL, exact, spec

from tenfold.autocalibration import focal6, scenes


@pytest.mark.parametrize("seed", range(5))
def test_general_motion_is_exact(seed: int) -> None:
    x, _ = exact("general", seed)
    found = focal6.focal(x[0], x[1], PRINCIPAL, threshold_px=1.0, seed=0)
    np.testing.assert_allclose(found.focal, FOCAL, rtol=1e-4)
    assert found.inliers == x.shape[1]


def test_wrong_matches_are_left_out() -> None:
    made = scenes.generate(spec("general", 1, 0.3, 0.3, points=150))
    found = focal6.focal(made.x[0], made.x[2], PRINCIPAL, threshold_px=2.0, seed=0)
    assert abs(found.focal / FOCAL - 1) < 0.1
    assert abs(found.inliers - made.inlier[[0, 2]].all(axis=0).sum()) < 10


def test_refinement_is_optional_and_the_seed_decides() -> None:
    made = scenes.generate(spec("general", 2, 1.0, 0.2, points=150))
    options = {"threshold_px": 2.0, "seed": 3}
    plain, again = (focal6.focal(made.x[0], made.x[1], PRINCIPAL, refine=False, **options) for _ in range(2))  # type: ignore[arg-type]
    refined = focal6.focal(made.x[0], made.x[1], PRINCIPAL, **options)  # type: ignore[arg-type]
    assert plain == again and plain.focal != refined.focal


def test_fixating_orbit_has_no_answer() -> None:
    wrong = 0
    for seed in range(10):
        made = scenes.generate(spec("orbit", seed, 0.5))
        found = focal6.focal(made.x[0], made.x[1], PRINCIPAL, threshold_px=2.0, seed=0).focal
        wrong += not abs(found / FOCAL - 1) < 0.2
    assert wrong >= 7


def test_nothing_to_go_by() -> None:
    x, _ = exact("general", 0)
    assert np.isnan(focal6.focal(x[0, :6], x[1, :6], PRINCIPAL, threshold_px=1.0, seed=0).focal)
    holes = x[0].copy()
    holes[6:] = np.nan
    assert focal6.focal(holes, x[1], PRINCIPAL, threshold_px=1.0, seed=0).inliers == 0

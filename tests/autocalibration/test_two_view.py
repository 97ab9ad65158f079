"""Fundamental matrices and homographies by PoseLib: the true ones come back, seeds decide, bad input is said."""

import numpy as np
import pytest
from autocalibration.small_scenes import scene

from tenfold.autocalibration import geometry, two_view
from tenfold.core.errors import UsageError


def test_the_true_matrix_and_its_inliers_are_found_among_outliers() -> None:
    s = scene(1, points=150, noise=0.3, outliers=0.3)
    F, inliers = two_view.fundamental_ransac(s.x[0], s.x[1], 1.5, seed=0)
    assert F is not None and np.linalg.norm(F) == pytest.approx(1)
    assert inliers[~s.bad].mean() > 0.98
    true = geometry.fundamental(s.k, s.R[1], s.t[1])
    assert np.sqrt(geometry.sampson(true, s.x[0], s.x[1])[inliers]).max() < 3
    assert np.sqrt(geometry.sampson(F, s.x[0], s.x[1])[inliers]).max() < 1.6


def test_without_noise_it_is_the_matrix_of_the_cameras() -> None:
    s = scene(2)
    F, inliers = two_view.fundamental_ransac(s.x[0], s.x[2], 1.0, seed=3)
    true = geometry.fundamental(s.k, s.R[2], s.t[2])
    assert F is not None and inliers.all()
    np.testing.assert_allclose(F * np.sign(np.sum(F * true)), true, atol=1e-9)


def test_the_same_seed_gives_the_same_bits() -> None:
    s = scene(3, points=120, noise=0.5, outliers=0.4)
    one, two = (two_view.fundamental_ransac(s.x[0], s.x[1], 1.0, seed=5) for _ in range(2))
    assert one[0] is not None and two[0] is not None
    assert (one[0] == two[0]).all() and (one[1] == two[1]).all()


def test_a_missing_point_is_no_match_and_changes_nothing_else() -> None:
    s = scene(4, points=80)
    x = s.x[1].copy()
    x[5, 0] = np.nan
    _, inliers = two_view.fundamental_ransac(s.x[0], x, 1.0, seed=0)
    assert not inliers[5] and inliers.sum() == 79


@pytest.mark.parametrize("motion", ["rotation", "planar"])
def test_one_homography_explains_a_rotation_and_a_plane(motion: str) -> None:
    s = scene(5, motion, points=150, noise=0.3)
    everything = np.ones(150, dtype=bool)
    assert two_view.homography_ratio(s.x[0], s.x[1], everything, 1.5, seed=0) > 0.95
    general = scene(5, points=150, noise=0.3)
    assert two_view.homography_ratio(general.x[0], general.x[1], everything, 1.5, seed=0) < 0.6
    H, inliers = two_view.homography_ransac(s.x[0], s.x[1], 1.5, seed=0)
    assert H is not None
    moved = geometry.homogeneous(s.x[0]) @ H.T
    assert np.linalg.norm(moved[:, :2] / moved[:, 2:] - s.x[1], axis=1)[inliers].max() < 1.6


@pytest.mark.parametrize("count", [0, 3, 7])
def test_too_few_points_have_no_answer(count: int) -> None:
    x = np.random.default_rng(0).uniform(0, 500, (2, count, 2))
    F, inliers = two_view.fundamental_ransac(x[0], x[1], 1.0, seed=0)
    assert F is None and inliers.shape == (count,) and not inliers.any()
    assert np.isnan(two_view.homography_ratio(x[0], x[1], np.ones(count, dtype=bool), 1.0, seed=0))
    if count < 5:
        assert two_view.homography_ransac(x[0], x[1], 1.0, seed=0)[0] is None


def test_one_point_many_times_has_no_answer_that_is_not_finite() -> None:
    x = np.full((20, 2), 7.0)
    for method in (two_view.fundamental_ransac, two_view.homography_ransac):
        found, inliers = method(x, x, 1.0, seed=0)
        assert (found is None and not inliers.any()) or np.isfinite(found).all()


def test_bad_input_is_said() -> None:
    with pytest.raises(UsageError, match="same shape"):
        two_view.fundamental_ransac(np.zeros((9, 2)), np.zeros((8, 2)), 1.0, seed=0)
    with pytest.raises(UsageError, match="threshold_px"):
        two_view.homography_ransac(np.zeros((9, 2)), np.zeros((9, 2)), 0.0, seed=0)

"""Poses of three views for intrinsics that are given."""

import numpy as np
import pytest
from autocalibration.rivals import FOCAL, PRINCIPAL, exact, spec

from tenfold.autocalibration import chain, geometry, scenes, two_view

K = np.array([FOCAL, FOCAL, *PRINCIPAL, 0.0])


@pytest.mark.parametrize("motion", ["general", "orbit", "forward"])
def test_true_intrinsics_give_the_true_poses(motion: scenes.Motion) -> None:
    made = scenes.generate(spec(motion, 1))
    found = chain.poses(made.clean, K, threshold_px=2.0, seed=0)
    assert found is not None and found.score < 1e-3
    assert geometry.rotation_error(found.R, made.R).max() < 0.01
    assert np.nanmax(geometry.translation_error(found.t[1:], made.t[1:])) < 0.1


def test_a_wrong_focal_length_scores_worse() -> None:
    x, _ = exact("general", 2)
    right, wrong = (chain.poses(x, np.array([f, f, *PRINCIPAL, 0.0]), threshold_px=2.0, seed=0) for f in (FOCAL, 2 * FOCAL))
    assert right is not None and wrong is not None and right.score < 0.1 * wrong.score


def test_tracks_that_no_pair_supports_are_left_out() -> None:
    made = scenes.generate(spec("general", 3, 0.3, 0.3, points=120))
    F = [two_view.fundamental_ransac(made.x[i], made.x[j], 2.0, 0)[0] for i, j in chain.PAIRS]
    clean = chain.consistent(made.x, F, 2.0)
    kept = np.isfinite(clean).all(axis=-1)
    assert kept[:, made.inlier.all(axis=0)].mean() > 0.98
    assert kept[~made.inlier].mean() < 0.2
    assert not np.isfinite(chain.consistent(made.x, [None, None, None], 2.0)).any()


def test_half_right_tracks_may_be_used_in_two_views() -> None:
    made = scenes.generate(spec("general", 4, 0.3, 0.3, points=120))
    x = np.where(made.inlier[..., None], made.x, np.nan)
    found = chain.poses(x, K, threshold_px=2.0, seed=0)
    assert found is not None
    assert np.isfinite(found.X[made.inlier.sum(axis=0) >= 2]).all()


@pytest.mark.parametrize("k", [[np.nan, 700, 320, 240, 0], [0, 0, 320, 240, 0], [-5, -5, 320, 240, 0]])
def test_no_poses_for_no_camera(k: list[float]) -> None:
    assert chain.poses(exact("general", 5)[0], np.array(k, dtype=float), threshold_px=2.0, seed=0) is None


def test_too_few_points_and_the_same_answer_twice() -> None:
    x, _ = exact("general", 6)
    assert chain.poses(x[:, :5], K, threshold_px=2.0, seed=0) is None
    assert chain.poses(np.full_like(x, np.nan), K, threshold_px=2.0, seed=0) is None
    noisy = x + 0.5 * np.random.default_rng(0).standard_normal(x.shape)
    one, two = (chain.poses(noisy, K, threshold_px=2.0, seed=7) for _ in range(2))
    assert one is not None and two is not None
    np.testing.assert_array_equal(one.R, two.R)
    np.testing.assert_array_equal(one.X, two.X)

"""Reprojections of an answer: small where K is right, the wrong matches told apart, none where nothing fits."""

import numpy as np
import pytest
from autocalibration.small_scenes import scene

from tenfold.autocalibration import config, features, reprojections

BLOCK = config.Features(threshold_px=2.0, max_keypoints=1000, min_matches=12, seed=0)
VIEWS = (0, 1, 2)


def seen(x: np.ndarray) -> features.Scene:
    view, track = np.divmod(np.arange(x.shape[0] * x.shape[1]), x.shape[1])
    return features.verified("a", features.Observations.of(track, view, x.reshape(-1, 2)), BLOCK)


@pytest.mark.parametrize("motion", ["general", "orbit"])
def test_the_true_camera_leaves_the_noise(motion: str) -> None:
    made = scene(3, motion, points=100, noise=0.3, outliers=0.15)
    found = reprojections.of_answer(seen(made.x), VIEWS, made.k, 2.0)
    assert found is not None and found.projected.shape == made.x.shape and np.array_equal(found.observed, made.x)
    # a wrong match on its own epipolar line may pass in one pair, never in three views
    assert found.inlier[~made.bad].mean() > 0.97 and found.inlier.sum() < 100
    rms = np.sqrt(np.mean(found.errors[:, found.inlier] ** 2))
    # a point takes three of its six numbers: sqrt(2 * 0.09 / 2)
    assert 0.2 < rms < 0.4
    assert (found.errors[:, found.inlier] <= 2.0).all() and not (found.errors.max(axis=0)[~found.inlier] <= 2.0).any()


def test_a_wrong_camera_leaves_more() -> None:
    made = scene(5, "general", points=100, noise=0.2)
    right, wrong = (reprojections.of_answer(seen(made.x), VIEWS, made.k * [f, f, 1, 1, 1], 5.0) for f in (1.0, 1.3))
    assert right is not None
    assert wrong is None or np.nanmedian(wrong.errors) > 1.3 * np.nanmedian(right.errors)


def test_nothing_to_show() -> None:
    made = scene(1, "general", points=100)
    noise = np.random.default_rng(0).uniform(0, 480, (3, 40, 2))
    assert reprojections.of_answer(seen(made.x), (0, 1), made.k, 2.0) is None
    assert reprojections.of_answer(seen(made.x), VIEWS, np.full(5, np.nan), 2.0) is None
    assert reprojections.of_answer(seen(made.x[:, :8]), VIEWS, made.k, 2.0) is None
    lost = reprojections.of_answer(seen(noise), VIEWS, made.k, 2.0)
    assert lost is None or lost.inlier.mean() < 0.5

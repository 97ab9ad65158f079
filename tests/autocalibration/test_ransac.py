"""Calibration of a triplet: right in spite of wrong matches, the same in any order, and silent where K is not determined."""

import numpy as np
import pytest
from autocalibration import fake_solver
from autocalibration.small_scenes import CAMERA, SIZE, Scene, scene
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import geometry, ransac
from tenfold.core.errors import UsageError

SETTINGS = ransac.Settings(samples=6, threshold_px=2.0)


def calibrate(made: Scene, x: np.ndarray | None = None, solver=None, **changes) -> ransac.TripletResult:
    solve = solver or fake_solver.solver(made.k, made.R, made.t, made.X, made.x)
    options = {"principal": CAMERA[2:4], "size": SIZE, "settings": SETTINGS, "seed": 3, **changes}
    return ransac.calibrate_triplet(made.x if x is None else x, solve, fake_solver.start(), **options)


@pytest.mark.parametrize("motion", ["general", "orbit"])
def test_focal_is_found_among_wrong_matches(motion: str) -> None:
    made = scene(1, motion, points=120, noise=0.5, outliers=0.2)
    found = calibrate(made)
    assert found.status == "ok"
    assert found.refined.k[0] == pytest.approx(CAMERA[0], rel=0.04)
    assert abs(found.refined.k[0] - CAMERA[0]) < 4 * found.refined.sd[0]
    assert found.mask[~made.bad].mean() > 0.95 and found.mask[made.bad].mean() < 0.4
    assert ("degenerate_orbit" in found.reason) == (motion == "orbit")
    assert found.hypotheses == 6 and found.physical == 24 and found.cpu_s >= found.cpu_minimal_s > 0


def test_exact_points_give_the_exact_camera() -> None:
    found = calibrate(scene(2, points=80))
    assert found.refined.k[0] == pytest.approx(CAMERA[0], rel=1e-6)
    assert found.mask.all() and found.refined.cost < 1e-8


def test_order_of_tracks_and_size_of_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scene(4, points=90, noise=0.5, outliers=0.1)
    first = calibrate(made)
    order = np.random.default_rng(0).permutation(90)
    mixed = calibrate(made, made.x[:, order])
    assert np.array_equal(first.refined.k, mixed.refined.k) and np.array_equal(first.mask[order], mixed.mask)
    monkeypatch.setattr(ransac, "BATCH", 1)
    assert np.array_equal(first.refined.k, calibrate(made).refined.k)


@pytest.mark.parametrize(
    ("motion", "status"),
    [("rotation", "degenerate_rotation"), ("planar", "degenerate_planar"), ("translation", "degenerate_translation")],
)
def test_no_camera_for_motions_that_do_not_determine_it(motion: str, status: str) -> None:
    found = calibrate(scene(5, motion, points=100, noise=0.5))
    assert found.status == status and found.refined is None and found.minimal is None and found.reason.endswith(".")


def test_coincident_centres_are_a_rotation() -> None:
    made = scene(6, "rotation", points=60)
    assert calibrate(made).status == "degenerate_rotation"
    still = calibrate(made, np.repeat(made.x[:1], 3, axis=0))
    assert still.refined is None and still.status.startswith("degenerate")


def test_too_few_points() -> None:
    made = scene(7, points=40)
    for count in (0, 3, 7, 11):
        found = calibrate(made, made.x[:, :count])
        assert found.status == "too_few" and found.refined is None and str(count) in found.reason


def test_collinear_points() -> None:
    made = scene(8, points=60)
    X = made.X[0] + np.linspace(-1, 1, 60)[:, None] * np.array([1.0, 0.4, 0.3])
    x = geometry.project(made.k, made.R, made.t, X)
    found = calibrate(made, x)
    assert found.refined is None and found.status != "ok"


def test_unusable_observations_are_left_out() -> None:
    made = scene(9, points=80)
    x = made.x.copy()
    x[1, 3] = np.nan
    x[2, 4, 0] = np.inf
    x = np.concatenate([x, x[:, 10:12], np.stack([x[0, 20:21], x[1, 50:51], x[2, 51:52]])], axis=1)
    found = calibrate(made, x)
    assert found.status == "ok" and found.refined.k[0] == pytest.approx(CAMERA[0], rel=1e-6)
    # two without a number, two repeated (one of each stays), one that shares an image point with another: both go, as do those it meets
    assert not found.mask[[3, 4, 82, 20]].any() and found.tracks == 80 - 2 - 3


def test_swapped_correspondences_have_no_camera() -> None:
    made = scene(10, points=60)
    x = made.x.copy()
    x[1] = x[1][np.random.default_rng(0).permutation(60)]
    found = calibrate(made, x)
    assert found.status != "ok" and (found.refined is None or found.status == "low_confidence")


def test_most_matches_wrong() -> None:
    made = scene(11, points=150, noise=0.3)
    rng = np.random.default_rng(1)
    x = made.x.copy()
    wrong = rng.random(150) < 0.8
    x[1, wrong] = rng.uniform(0, 1, (wrong.sum(), 2)) * SIZE
    found = calibrate(made, x)
    if found.status == "ok":
        assert found.refined.k[0] == pytest.approx(CAMERA[0], rel=0.1)
    else:
        assert found.reason


def test_no_candidate_is_no_solution() -> None:
    made = scene(12, points=60)

    def nothing(samples, start, *, principal, size):  # type: ignore[no-untyped-def]
        solve = fake_solver.solver(made.k, made.R, made.t, made.X, made.x)
        found = solve(samples, start, principal=principal, size=size)
        return type(found)(found.sample[:0], found.k[:0], found.depths[:0], found.residual[:0], *[0 * found.roots] * 5)

    found = calibrate(made, solver=nothing)
    assert found.status == "no_solution" and found.refined is None


def test_distortion_is_suspected() -> None:
    made = scene(13, points=150, k1=-0.25, noise=0.3)
    found = calibrate(made)
    assert "distortion_suspected" in found.reason
    assert "distortion_suspected" not in calibrate(scene(13, points=150, noise=0.3)).reason


def test_the_stated_uncertainty_is_honest_with_noise_of_half_the_threshold() -> None:
    """With a last loss as narrow as that noise the errors are 1.13 stated deviations (root mean square), with a wide one 0.81."""
    off = []
    for seed in range(20, 32):
        found = calibrate(scene(seed, points=120, noise=1.0, outliers=0.2))
        assert found.status == "ok" and 0 < found.refined.sd[0] < 0.05 * CAMERA[0]
        off.append((found.refined.k[0] - CAMERA[0]) / found.refined.sd[0])
    assert 0.4 < np.sqrt(np.mean(np.square(off))) < 1.0


@given(noise=st.floats(0, 1e6), more=st.floats(0, 1e6), threshold=st.floats(1e-3, 1e3))
def test_the_last_loss_grows_with_the_noise_between_its_bounds(noise: float, more: float, threshold: float) -> None:
    one, two = ransac.last_loss(noise, threshold), ransac.last_loss(noise + more, threshold)
    assert threshold / 2 <= one <= two <= 2 * threshold == ransac.last_loss(threshold, threshold)
    assert one in (threshold / 2, 3 * noise, 2 * threshold) and ransac.last_loss(float("nan"), threshold) == threshold


def test_noise_as_large_as_the_threshold_is_said() -> None:
    for seed in (40, 41):
        found = calibrate(scene(seed, points=120, noise=2.0))
        assert found.status == "low_confidence" and "noise is too large" in found.reason and found.near > ransac.NOISY
        assert calibrate(scene(seed, points=120, noise=0.7)).near < 0.5 * ransac.NOISY


def test_time_limit_ends_the_search() -> None:
    found = calibrate(scene(14, points=60), settings=ransac.Settings(samples=40, threshold_px=2.0, max_seconds=1e-6))
    assert found.hypotheses == ransac.BATCH and found.refined is not None


def test_wrong_use_is_refused() -> None:
    made = scene(15, points=20)
    with pytest.raises(UsageError, match="3 views"):
        calibrate(made, made.x[:2])
    with pytest.raises(UsageError):
        ransac.Settings(samples=0, threshold_px=2.0)
    with pytest.raises(UsageError):
        ransac.Settings(samples=3, threshold_px=float("nan"))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), tracks=st.integers(6, 200), count=st.sampled_from([4, 5, 6]))
def test_samples_have_different_points_off_a_line(seed: int, tracks: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 500, (3, tracks, 2))
    found = ransac.draw(points, count, 5, np.random.default_rng(seed))
    assert found.shape[1] == count and (np.diff(found, axis=1) > 0).all() and found.max(initial=0) < tracks
    assert np.array_equal(found, ransac.draw(points, count, 5, np.random.default_rng(seed)))
    points[1] = np.outer(np.linspace(0, 1, tracks), [300, 100])
    assert not len(ransac.draw(points, count, 5, np.random.default_rng(seed)))


def test_score_is_the_truncated_sampson_error() -> None:
    made = scene(16, points=30, noise=1.0, outliers=0.3)
    score = ransac.score(made.k[None], made.R[None], made.t[None], made.x, 2.0)[0]
    total = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        R, t = geometry.relative(made.R, made.t, i, j)
        total.append(np.minimum(geometry.sampson(geometry.fundamental(made.k, R, t), made.x[i], made.x[j]), 4.0))
    assert score == pytest.approx(np.mean(total), rel=1e-12)

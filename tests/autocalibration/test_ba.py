"""Bundle adjustment: gradient by differences, SciPy on the same problem, exact K without noise, covariance by Monte Carlo."""

from collections.abc import Callable

import numpy as np
import pytest
from autocalibration.small_scenes import CAMERA, Scene, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tenfold.autocalibration import ba, geometry
from tenfold.autocalibration import ba_kernel as kernel
from tenfold.core.errors import UsageError

KINDS = ("f", "fxfy", "square", "zero_skew", "full")
CAMERAS = {
    "f": [700.0, 700, 320, 240, 0],
    "fxfy": [690.0, 720, 320, 240, 0],
    "square": [700.0, 700, 345, 225, 0],
    "zero_skew": [690.0, 720, 345, 225, 0],
    "full": [690.0, 720, 345, 225, 6],
}
GUESS = np.array([0.7 * 700, 0.7 * 700, 320.0, 240, 0])


def run(s: Scene, k: np.ndarray | None = None, **options: object) -> ba.Refined:
    """From the true poses, with points triangulated by the (wrong) intrinsics."""
    k = s.k if k is None else k
    settings: dict = {"kind": "f", "loss_px": 1.5, "iterations": 60, **options}
    return ba.refine(k, s.R, s.t, geometry.triangulate(k, s.R, s.t, s.x), s.x, **settings)


@pytest.mark.parametrize("kind", ["none", *KINDS])
@pytest.mark.parametrize("loss", list(ba.LOSSES))
@pytest.mark.parametrize("views", [2, 3, 4])
def test_gradient_is_that_of_differences(kind: str, loss: str, views: int) -> None:
    s = scene(1, points=8, views=views, k=np.array(CAMERAS["full"]), noise=1.0)
    k, k1, x = s.k * 1.02, -0.05, s.x.copy()
    x[1, 3] = np.nan
    columns = np.array([*ba.COLUMNS[kind], -1])
    free = columns.max() + 2
    columns[5] = free - 1
    m = free + 6 * (views - 1) - 1
    basis = np.zeros((3, 2))
    kernel._tangent(s.t[1], basis)
    np.testing.assert_allclose(np.column_stack([basis, s.t[1]]).T @ basis, np.eye(3)[:, :2], atol=1e-12)
    ratio = k[1] / k[0]
    A, ga, B, gb = np.empty((m, m)), np.empty(m), np.empty((8, 3, 3)), np.empty((8, 3))
    which, C = ba.LOSSES[loss], np.empty((8, m, 3))
    kernel.linearise(k, k1, s.R, s.t, s.X, x, columns, ratio, free, basis, which, 1.5, A, ga, B, gb, C, np.empty(4))

    def cost(step: np.ndarray) -> float:
        k_new, R, t, X = np.empty(5), np.empty_like(s.R), np.empty_like(s.t), np.empty_like(s.X)
        bent = kernel._moved(
            k, k1, s.R, s.t, s.X, columns, ratio, free, basis, step[:m].copy(), step[m:].reshape(8, 3).copy(), k_new, R, t, X
        )
        return kernel.cost_of(k_new, bent, R, t, X, x, which, 1.5)

    gradient = np.concatenate([ga, gb.ravel()])
    for i in range(len(gradient)):
        h = 1e-3 if i < free - 1 else 1e-6
        step = np.zeros(len(gradient))
        step[i] = h
        assert (cost(step) - cost(-step)) / (2 * h) == pytest.approx(gradient[i], rel=1e-5, abs=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_without_noise_the_exact_camera_comes_back_from_a_wrong_focal(kind: str, factor: float) -> None:
    s = scene(2, k=np.array(CAMERAS[kind]), points=60)
    guess = np.array([factor * 700, factor * 700, 320, 240, 0])
    if kind == "fxfy":
        guess[1] *= 720 / 690
    found = run(s, guess, kind=kind, iterations=100)
    assert found.converged
    np.testing.assert_allclose(found.k, s.k, rtol=1e-6, atol=1e-4)
    assert geometry.rotation_error(found.R, s.R).max() < 1e-5
    assert found.inliers.all() and found.cost < 1e-10
    np.testing.assert_allclose(np.linalg.norm(found.t[1]), np.linalg.norm(s.t[1]), rtol=1e-12)
    assert (found.R[0] == np.eye(3)).all() and not found.t[0].any()


def test_the_radial_term_comes_back() -> None:
    s = scene(3, k1=-0.12, points=100)
    found = run(s, np.array([600.0, 600, 320, 240, 0]), fit_k1=True, iterations=100)
    assert found.k1 == pytest.approx(-0.12, abs=1e-6) and found.k[0] == pytest.approx(700, abs=1e-2)
    assert len(found.covariance) == 2
    assert abs(run(s).k[0] - 700) > 20


@pytest.mark.parametrize("loss", list(ba.LOSSES))
def test_cost_never_rises_and_more_steps_never_cost_more(loss: str) -> None:
    for seed in range(6):
        s = scene(seed, "orbit" if seed % 2 else "general", noise=1.0, outliers=0.3)
        guess = s.k * [2.5, 2.5, 1, 1, 1] if seed % 3 else s.k * [0.3, 0.3, 1, 1, 1]
        costs = [run(s, guess, loss=loss, iterations=n).cost for n in range(0, 25, 3)]
        assert costs[0] == run(s, guess, loss=loss, iterations=9).start
        assert (np.diff(costs) <= 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), wild=st.floats(0, 1))
def test_cost_never_rises_from_any_start(seed: int, kind: str, wild: float) -> None:
    rng = np.random.default_rng(seed)
    s = scene(seed % 7, points=20, noise=1.0)
    R = Rotation.from_rotvec(wild * rng.normal(size=(3, 3))).as_matrix() @ s.R
    R[0] = np.eye(3)
    t = s.t + wild * rng.normal(size=(3, 3)) * [[0], [1], [1]]
    X = s.X + 5 * wild * rng.normal(size=s.X.shape)
    found = ba.refine(s.k * np.exp(wild * rng.normal()), R, t, X, s.x, kind=kind, loss_px=2.0, iterations=15)
    assert found.cost <= found.start and (found.k[:2] > 0).all()
    assert np.allclose(found.R @ np.swapaxes(found.R, 1, 2), np.eye(3), atol=1e-9)


def by_scipy(s: Scene, guess: np.ndarray, kind: str, loss: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, float]:
    """The same cost by SciPy with numerical derivatives: the length of each error is replaced by the root of its loss."""
    free = {"f": [[0, 1]], "zero_skew": [[0], [1], [2], [3]]}[kind]
    norm = np.linalg.norm(s.t[1])

    def residuals(z: np.ndarray) -> np.ndarray:
        k = guess.copy()
        for value, which in zip(z, free, strict=False):
            k[which] = value * (1000 if which[0] < 2 else 100)
        q = z[len(free) :]
        R = np.concatenate([np.eye(3)[None], Rotation.from_rotvec(q[:6].reshape(2, 3)).as_matrix() @ s.R[1:]])
        t = np.array([np.zeros(3), norm * q[6:9] / np.linalg.norm(q[6:9]), q[9:12]])
        error = geometry.project(k, R, t, q[12:].reshape(-1, 3)) - s.x
        square = np.sum(error**2, axis=-1, keepdims=True)
        return (error * np.sqrt(loss(square) / square)).ravel()

    X = geometry.triangulate(guess, s.R, s.t, s.x)
    start = [guess[each[0]] / (1000 if each[0] < 2 else 100) for each in free]
    z = np.concatenate([start, np.zeros(6), s.t[1], s.t[2], X.ravel()])
    done = least_squares(residuals, z, method="trf", x_scale="jac", ftol=1e-11, xtol=1e-11, gtol=1e-11, max_nfev=200)
    k = guess.copy()
    for value, which in zip(done.x, free, strict=False):
        k[which] = value * (1000 if which[0] < 2 else 100)
    return k, done.cost


@pytest.mark.parametrize("kind", ["f", "zero_skew"])
def test_result_is_that_of_scipy(kind: str) -> None:
    s = scene(3, points=10, noise=0.5)
    guess = s.k * [1.1, 1.1, 1, 1, 1]
    for name, loss in {"none": lambda u: u, "cauchy": lambda u: 4 * np.log1p(u / 4)}.items():
        mine = run(s, guess, kind=kind, loss=name, loss_px=2.0, iterations=300, tolerance=1e-13)
        k, cost = by_scipy(s, guess, kind, loss)
        assert mine.cost == pytest.approx(cost, rel=1e-6)
        np.testing.assert_allclose(mine.k, k, rtol=2e-4)


@pytest.mark.parametrize("kind", ["f", "zero_skew"])
@pytest.mark.parametrize("loss, outliers", [("none", 0.0), ("cauchy", 0.2)])
def test_covariance_is_that_of_many_draws(kind: str, loss: str, outliers: float) -> None:
    exact = scene(3, points=100)
    found, sds, noises = [], [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        x = exact.x + 0.5 * rng.normal(size=exact.x.shape)
        wrong = rng.random(100) < outliers
        x[2, wrong] = rng.uniform(0, 1, (wrong.sum(), 2)) * [640, 480]
        result = ba.refine(exact.k, exact.R, exact.t, exact.X, x, kind=kind, loss_px=1.5, loss=loss)
        found.append(result.k)
        sds.append(result.sd)
        noises.append(result.noise_px)
    true, said = np.std(found, axis=0), np.median(sds, axis=0)
    fitted = true > 0
    np.testing.assert_allclose(said[fitted], true[fitted], rtol=0.3)
    assert not said[~fitted].any()
    assert np.median(noises) == pytest.approx(0.5, rel=0.2)
    assert np.abs(np.mean(found, axis=0) - exact.k).max() < 2


def test_order_of_points_and_world_frame_do_not_matter() -> None:
    s = scene(5, noise=0.5, outliers=0.2)
    order = np.random.default_rng(0).permutation(60)
    one = run(s, s.k * [1.2, 1.2, 1, 1, 1], tolerance=1e-12, iterations=200)
    two = run(Scene(s.k, s.R, s.t, s.X[order], s.x[:, order], s.bad), s.k * [1.2, 1.2, 1, 1, 1], tolerance=1e-12, iterations=200)
    np.testing.assert_allclose(two.k, one.k, rtol=1e-6)
    np.testing.assert_allclose(two.X, one.X[order], rtol=1e-3, atol=1e-3)
    assert (two.inliers == one.inliers[:, order]).all()
    scaled = Scene(s.k, s.R, 3 * s.t, 3 * s.X, s.x, s.bad)
    np.testing.assert_allclose(run(scaled, tolerance=1e-12, iterations=200).k, run(s, tolerance=1e-12, iterations=200).k, rtol=1e-6)


def test_the_same_input_gives_the_same_bits_and_is_not_changed() -> None:
    s = scene(6, noise=0.5, outliers=0.2)
    before = [each.copy() for each in (s.k, s.R, s.t, s.X, s.x)]
    one, two = (ba.refine(s.k, s.R, s.t, s.X, s.x, kind="full", loss_px=1.0) for _ in range(2))
    assert (one.k == two.k).all() and (one.X == two.X).all() and one.cost == two.cost
    for each, copy in zip((s.k, s.R, s.t, s.X, s.x), before, strict=True):
        assert (each == copy).all()


def test_points_seen_in_some_views_help_and_missing_ones_do_no_harm() -> None:
    s = scene(7, points=80, views=4, noise=0.3)
    x, X = s.x.copy(), s.X.copy()
    x[3, :40], x[0, 40:60], x[1:, 60] = np.nan, np.nan, np.nan
    X[61] = np.nan
    found = ba.refine(s.k * [1.2, 1.2, 1, 1, 1], s.R, s.t, X, x, kind="f", loss_px=1.0)
    assert found.converged and abs(found.k[0] - 700) < 6 * found.sd[0] < 60
    assert np.isnan(found.errors[3, :40]).all() and not found.inliers[3, :40].any()
    assert np.isnan(found.X[61]).all() and np.isfinite(np.delete(found.X, 61, axis=0)).all()
    full = run(s)
    assert found.sd[0] > full.sd[0]


def test_a_point_behind_a_camera_costs_a_constant_and_is_no_inlier() -> None:
    s = scene(8, noise=0.3)
    X = s.X.copy()
    X[:5] *= -1
    found = ba.refine(s.k * [1.1, 1.1, 1, 1, 1], s.R, s.t, X, s.x, kind="f", loss_px=1.0)
    assert np.isinf(found.errors[:, :5]).any() and not found.inliers[:, :5].all(axis=0).any()
    assert np.isfinite(found.cost) and abs(found.k[0] - 700) < 20


def test_a_wrong_track_does_not_move_the_camera_as_much_as_without_a_loss() -> None:
    s = scene(9, points=100, noise=0.3, outliers=0.2)
    errors = {loss: abs(run(s, loss=loss).k[0] - 700) for loss in ba.LOSSES}
    assert errors["cauchy"] < 15 and errors["geman_mcclure"] < 15 and errors["none"] > 2 * errors["cauchy"]
    found = run(s)
    assert found.inliers[:, ~s.bad].mean() > 0.98
    assert found.inliers.all(axis=0)[s.bad].mean() < 0.6


def test_what_is_not_determined_has_no_finite_covariance() -> None:
    s = scene(10, "translation", noise=0.5)
    assert not run(s, iterations=20).sd[0] < 50
    still = ba.refine(s.k, s.R, np.zeros((3, 3)), s.X, s.x, kind="f", loss_px=1.0)
    assert np.isinf(still.sd[0]) and np.isfinite(still.k).all()
    few = Scene(s.k, s.R, s.t, s.X[:3], s.x[:, :3], s.bad[:3])
    assert np.isinf(run(few).sd[0])


def test_bad_input_is_said() -> None:
    s = scene(11, points=10)
    good = (s.k, s.R, s.t, s.X, s.x)
    for change, words in (
        ({"kind": "everything"}, "kind"),
        ({"loss": "huber"}, "loss"),
        ({"loss_px": 0.0}, "loss_px"),
        ({"loss_px": float("nan")}, "loss_px"),
    ):
        with pytest.raises(UsageError, match=words):
            ba.refine(*good, **{"kind": "f", "loss_px": 1.0, **change})
    with pytest.raises(UsageError, match="V >= 2"):
        ba.refine(s.k, s.R[:2], s.t, s.X, s.x, kind="f", loss_px=1.0)
    for wrong in (CAMERA * [-1, 1, 1, 1, 1], CAMERA * np.nan):
        with pytest.raises(UsageError, match="positive focals"):
            ba.refine(wrong, s.R, s.t, s.X, s.x, kind="f", loss_px=1.0)

"""Cameras, poses, points and distances against hand cases, definitions and pycolmap."""

import numpy as np
import pytest
from autocalibration.small_scenes import scene
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tenfold.autocalibration import geometry as g

cameras = st.tuples(
    st.floats(50, 5000), st.floats(0.5, 2), st.floats(-1000, 3000), st.floats(-1000, 3000), st.floats(-0.3, 0.3)
).map(lambda c: np.array([c[0], c[0] * c[1], c[2], c[3], c[0] * c[4]]))  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(k=cameras, scale=st.floats(1e-6, 1e6), sign=st.sampled_from([-1, 1]))
def test_intrinsics_matrix_and_conic_go_there_and_back(k: np.ndarray, scale: float, sign: int) -> None:
    K = g.matrix(k)
    np.testing.assert_allclose(g.vector(sign * scale * K), k, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(g.inverse(k) @ K, np.eye(3), atol=1e-9)
    w = g.to_conic(k)
    assert w[0, 0] == pytest.approx(1)
    np.testing.assert_allclose(w, np.linalg.inv(K).T @ np.linalg.inv(K) * k[0] ** 2, rtol=1e-6, atol=1e-6 * np.abs(w).max())
    found, ok = g.from_conic(sign * scale * w)
    assert ok
    np.testing.assert_allclose(found, k, rtol=1e-6, atol=1e-6 * k[0])


def test_a_conic_that_is_not_definite_has_no_camera_and_others_of_a_batch_do() -> None:
    k = np.array([500.0, 520, 320, 240, 3])
    wrong = [np.diag([1.0, 1, -1]), np.diag([1.0, -1, 1]), np.zeros((3, 3)), np.full((3, 3), np.nan)]
    found, ok = g.from_conic(np.stack([g.to_conic(k), *wrong]))
    assert ok.tolist() == [True, False, False, False, False]
    np.testing.assert_allclose(found[0], k)
    assert np.isnan(found[1:]).all()


def test_a_point_is_projected_by_hand() -> None:
    k = np.array([100.0, 200, 10, 20, 5])
    x = g.project(k, np.eye(3)[None], np.zeros((1, 3)), np.array([[1.0, 2, 4]]))
    np.testing.assert_allclose(x, [[[100 * 0.25 + 5 * 0.5 + 10, 200 * 0.5 + 20]]])
    bent = g.project(k, np.eye(3)[None], np.zeros((1, 3)), np.array([[1.0, 2, 4]]), k1=0.1)
    factor = 1 + 0.1 * (0.25**2 + 0.5**2)
    np.testing.assert_allclose(bent, [[[factor * 27.5 + 10, factor * 100 + 20]]])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), points=st.integers(3, 12))
def test_kabsch_finds_the_motion_and_is_the_best_rotation(seed: int, points: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(points, 3))
    R, t = Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3)
    found = g.kabsch(A, A @ R.T + t)
    np.testing.assert_allclose(found[0], R, atol=1e-7)
    np.testing.assert_allclose(found[1], t, atol=1e-7)
    # with any other points: a rotation, no worse than scipy's
    B = rng.normal(size=(points, 3))
    R, t = g.kabsch(A, B)
    assert np.linalg.det(R) == pytest.approx(1) and np.allclose(R @ R.T, np.eye(3), atol=1e-12)
    best, error = Rotation.align_vectors(B - B.mean(0), A - A.mean(0))
    assert np.linalg.norm(A @ R.T + t - B) <= error * (1 + 1e-9) + 1e-9
    np.testing.assert_allclose(g.kabsch(np.stack([A, B]), np.stack([B, A]))[0][0], R, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), views=st.integers(2, 4))
def test_poses_and_points_come_back_from_depths(seed: int, views: int) -> None:
    s = scene(seed, points=6, views=views, k=np.array([650.0, 700, 310, 250, 4]))
    depths = g.to_camera(s.R, s.t, s.X)[..., 2]
    for lead in ((), (2,)):
        k, x, d = (np.broadcast_to(each, (*lead, *each.shape)) for each in (s.k, s.x, depths))
        R, t, X = g.poses_from_depths(k, x, d)
        np.testing.assert_allclose(R, np.broadcast_to(s.R, R.shape), atol=1e-9)
        np.testing.assert_allclose(t, np.broadcast_to(s.t, t.shape), atol=1e-9)
        np.testing.assert_allclose(X, np.broadcast_to(s.X, X.shape), atol=1e-9)
    assert (R[..., 0, :, :] == np.eye(3)).all() and not t[..., 0, :].any()


def test_epipolar_lines_pass_through_the_points_of_every_pair() -> None:
    s = scene(4)
    for i, j in ((0, 1), (1, 0), (1, 2), (0, 2)):
        F = g.fundamental(s.k, *g.relative(s.R, s.t, i, j))
        assert np.linalg.norm(F) == pytest.approx(1) and abs(np.linalg.det(F)) < 1e-15
        assert g.sampson(F, s.x[i], s.x[j]).max() < 1e-20


def test_sampson_distance_of_a_sideways_camera_is_half_of_the_squared_difference_in_height() -> None:
    F = g.cross(np.array([1.0, 0, 0]))  # lines of equal y
    assert g.sampson(F, np.array([[3.0, 5]]), np.array([[8.0, 9]])) == pytest.approx(16 / 2)
    assert np.isinf(g.sampson(np.zeros((3, 3)), np.zeros((1, 2)), np.zeros((1, 2)))).all()


def test_sampson_distance_is_the_distance_to_the_nearest_pair_that_agrees() -> None:
    s = scene(5, noise=0.3)
    F = g.fundamental(s.k, *g.relative(s.R, s.t, 0, 1))
    one, two = s.x[0], s.x[1]
    # one Gauss-Newton step is Sampson's; a few reach the true distance, which differs by terms of third order
    a, b = one.copy(), two.copy()
    for _ in range(10):
        h, m = g.homogeneous(a), g.homogeneous(b)
        slope = np.concatenate([(m @ F)[:, :2], (h @ F.T)[:, :2]], axis=1)
        error = np.sum(m * (h @ F.T), axis=1) + np.sum(slope * np.concatenate([one - a, two - b], axis=1), axis=1)
        step = -error[:, None] * slope / np.sum(slope**2, axis=1, keepdims=True)
        a, b = one + step[:, :2], two + step[:, 2:]
    true = np.sum((a - one) ** 2 + (b - two) ** 2, axis=1)
    np.testing.assert_allclose(g.sampson(F, one, two), true, rtol=2e-2, atol=1e-9)


def test_points_are_triangulated_from_the_views_that_see_them() -> None:
    s = scene(6, points=30)
    np.testing.assert_allclose(g.triangulate(s.k, s.R, s.t, s.x), s.X, atol=1e-8)
    x, seen = s.x.copy(), np.ones((3, 30), dtype=bool)
    x[2, :10] = np.nan
    x[1, 10:20], seen[1, 10:20] = 1e6, False
    x[1:, 20] = np.nan
    found = g.triangulate(s.k, s.R, s.t, x, seen)
    assert np.isnan(found[20]).all()
    keep = np.arange(30) != 20
    np.testing.assert_allclose(found[keep], s.X[keep], atol=1e-8)


def test_triangulation_and_projection_agree_with_pycolmap() -> None:
    pycolmap = pytest.importorskip("pycolmap")
    s = scene(7, noise=0.5, points=20)
    mine = g.triangulate(s.k, s.R[:2], s.t[:2], s.x[:2])
    flat = g.rays(s.k, s.x)[..., :2]
    poses = [np.concatenate([R, t[:, None]], axis=1) for R, t in zip(s.R, s.t, strict=True)]
    theirs = np.array([pycolmap.triangulate_point(poses[0], poses[1], flat[0, p], flat[1, p]) for p in range(20)])
    np.testing.assert_allclose(mine, theirs, rtol=1e-7)
    camera = pycolmap.Camera(model="FULL_OPENCV", width=640, height=480, params=[650.0, 700, 310, 250, -0.1, 0.05, *[0] * 6])
    local = s.X[:, :3] / s.X[:, 2:]
    k = np.array([650.0, 700, 310, 250, 0])
    theirs = np.array([camera.img_from_cam(point) for point in local])
    mine = g.distort(g.pixels(k, local[:, :2]), k, -0.1, 0.05)
    np.testing.assert_allclose(mine, theirs, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(k1=st.floats(-0.15, 0.3), k2=st.floats(0, 0.1), seed=st.integers(0, 10**6))
def test_a_lens_is_undone(k1: float, k2: float, seed: int) -> None:
    k = np.array([520.0, 530, 320, 213, 2])
    x = np.random.default_rng(seed).uniform(0, 1, (20, 2)) * [640, 427]
    np.testing.assert_allclose(g.undistort(g.distort(x, k, k1, k2), k, k1, k2), x, atol=1e-6)
    np.testing.assert_allclose(g.undistort(x, k, 0.0, 0.0), x, atol=1e-9)
    centre = k[None, 2:4]
    np.testing.assert_allclose(g.undistort(centre, k, k1, k2), centre, atol=1e-9)


def test_where_the_lens_shows_nothing_there_is_no_point() -> None:
    k = np.array([100.0, 100, 0, 0, 0])
    # r (1 - 0.3 r^2) is at most 0.70 at r = 1.05
    found = g.undistort(np.array([[69.0, 0], [71.0, 0], [500.0, 0]]), k, -0.3)
    assert np.isfinite(found[0]).all() and np.isnan(found[1:]).all()


def test_angles_by_hand() -> None:
    k = np.array([320.0, 240, 320, 240, 0])
    np.testing.assert_allclose(g.angle_of_view(k, 640, 480), [90, 90])
    np.testing.assert_allclose(g.angle_of_view(np.array([100.0, 100, 0, 100, 0]), 100, 200), [45, 90])
    for angle in (1e-7, 30.0, 180.0):
        R = Rotation.from_euler("z", angle, degrees=True).as_matrix()
        assert g.rotation_error(R, np.eye(3)) == pytest.approx(angle, rel=1e-6)
    e = np.eye(3)
    np.testing.assert_allclose(g.translation_error(e[[0, 0, 0]], np.array([[5.0, 0, 0], [0, 2.0, 0], [-1.0, 0, 0]])), [0, 90, 180])
    assert np.isnan(g.translation_error(e[0], np.zeros(3)))

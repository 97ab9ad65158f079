import numpy as np
import pytest

from tenfold.crossmodal_anomaly import covariance as cov
from tenfold.crossmodal_anomaly import fpfh
from tenfold.crossmodal_anomaly.geometry import farthest_points, nearest_neighbours

PITCH = 5e-4


def surface(size: int, seed: int = 0, height: float = 3e-3) -> tuple[np.ndarray, np.ndarray]:
    """A rough dome before the camera, and its mask with holes."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] - size / 2) * PITCH
    z = 0.4 - height * np.cos(x / (size * PITCH)) * np.cos(y / (size * PITCH)) + rng.normal(0, 1e-4, x.shape)
    valid = rng.random(x.shape) > 0.1
    return np.where(valid[..., None], np.stack([x, y, z], -1), 0).astype(np.float32), valid


def rotation(angle: float, axis: tuple[float, float, float]) -> np.ndarray:
    k = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def angles(p1: np.ndarray, n1: np.ndarray, p2: np.ndarray, n2: np.ndarray) -> tuple[float, float, float]:
    """Darboux frame of a pair, step by step (Rusu et al., 2009, equations 1 and 2)."""
    line = (p2 - p1) / np.linalg.norm(p2 - p1)
    if abs(n1 @ line) < abs(n2 @ line):
        n1, n2, line = n2, n1, -line
    u = n1
    v = np.cross(line, u)
    v = v / np.linalg.norm(v)
    w = np.cross(u, v)
    return float(np.arctan2(w @ n2, u @ n2)), float(v @ n2), float(u @ line)


def slow_spfh(xyz: np.ndarray, valid: np.ndarray, normal: np.ndarray, radius: float) -> np.ndarray:
    place = np.argwhere(valid)
    points = xyz[valid].astype(np.float64)
    limit = radius * fpfh.pitch(xyz, valid)
    histograms = np.zeros((len(points), 33))
    for i in range(len(points)):
        for j in range(len(points)):
            apart = np.linalg.norm(points[i] - points[j])
            if i != j and np.hypot(*(place[i] - place[j])) <= radius and 0 < apart <= limit:
                theta, alpha, phi = angles(points[i], normal[i], points[j], normal[j])
                for k, share in enumerate((theta / np.pi, alpha, phi)):
                    histograms[i, 11 * k + min(int(11 * (share + 1) / 2), 10)] += 1
    return histograms / np.maximum(histograms[:, :11].sum(1, keepdims=True), 1)


@pytest.mark.parametrize("radius", [1.0, 2.3])
def test_spfh_equals_the_textbook_loop(radius: float) -> None:
    xyz, valid = surface(12)
    normal = np.random.default_rng(3).normal(size=(valid.sum(), 3))
    normal = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)
    fast = fpfh.spfh(xyz, valid, normal, radius)
    slow = slow_spfh(xyz, valid, normal.astype(np.float64), radius)
    # A pair at the edge of a bin may fall on either side in float32.
    assert (np.abs(fast - slow).max(1) > 1e-6).mean() < 0.02
    np.testing.assert_allclose(fast[:, :11].sum(1), (slow[:, :11].sum(1) > 0), atol=1e-6)


def test_normals_of_a_tilted_plane_and_of_a_sphere_face_the_camera() -> None:
    y, x = (np.mgrid[:40, :40] - 20) * PITCH
    everywhere = np.ones(x.shape, dtype=bool)
    plane = np.stack([x, y, 0.4 + 0.3 * x - 0.2 * y], -1).astype(np.float32)
    wanted = np.array([0.3, -0.2, -1]) / np.linalg.norm([0.3, -0.2, -1])
    np.testing.assert_allclose(fpfh.normals(plane, everywhere, 3), np.tile(wanted, (1600, 1)), atol=2e-3)
    ball = np.stack([x, y, 0.4 - np.sqrt(0.03**2 - x**2 - y**2)], -1).astype(np.float32)
    outward = (ball - [0, 0, 0.4]) / 0.03
    inner = np.zeros_like(everywhere)
    inner[4:-4, 4:-4] = True
    found = fpfh.normals(ball, everywhere, 3).reshape(40, 40, 3)
    assert np.einsum("nc,nc->n", found[inner], outward[inner]).min() > 0.999


def test_fpfh_weighs_neighbours_by_inverse_distance_and_sums_to_one() -> None:
    xyz, valid = surface(24)
    points = xyz[valid]
    histograms = fpfh.spfh(xyz, valid, fpfh.normals(xyz, valid, 3), 3.0)
    centres = farthest_points(points, 15)
    near, far = nearest_neighbours(points, points[centres], 20)
    got = fpfh.fpfh(histograms, centres, near, far)
    for g, centre in enumerate(centres):
        weights = 1 / far[g, 1:]
        mean = (weights[:, None] * histograms[near[g, 1:]]).sum(0) / weights.sum()
        np.testing.assert_allclose(got[g], (histograms[centre] + mean) / 2, atol=1e-5)
    np.testing.assert_allclose(got.reshape(-1, 3, 11).sum(-1), 1, atol=1e-5)


def test_both_descriptors_ignore_how_the_camera_is_turned() -> None:
    xyz, valid = surface(30)
    turned = (xyz.astype(np.float64) @ rotation(0.7, (0.2, -0.1, 1.0)).T).astype(np.float32)
    described = []
    for cloud in (xyz, turned):
        points = cloud[valid]
        centres = farthest_points(xyz[valid], 40)
        near, far = nearest_neighbours(xyz[valid], xyz[valid][centres], 48)
        histograms = fpfh.spfh(cloud, valid, fpfh.normals(cloud, valid, 3), 4.0)
        described.append((fpfh.fpfh(histograms, centres, near, far), cov.covariance(points, centres, near)))
    np.testing.assert_allclose(described[0][0], described[1][0], atol=0.02)
    np.testing.assert_allclose(described[0][1], described[1][1], atol=5e-3)


def test_covariance_equals_a_loop_over_centres() -> None:
    xyz, valid = surface(20)
    points = xyz[valid].astype(np.float64)
    centres = farthest_points(points, 12)
    near, _ = nearest_neighbours(points, points[centres], 32)
    got = cov.covariance(xyz[valid], centres, near)
    assert got.shape == (12, cov.WIDTH) == (12, 40)
    for g, centre in enumerate(centres):
        views = []
        for size in (4, 8, 16, 32):
            inside = points[near[g, :size]]
            values, vectors = np.linalg.eigh(np.cov(inside.T, bias=True))
            normal = vectors[:, 0] * (-1 if vectors[:, 0] @ points[centre] > 0 else 1)
            views.append((size, inside, values, normal))
        largest = views[-1][3]
        row: list[float] = []
        for size, inside, (least, middle, most), normal in views:
            row += [(most - middle) / most, (middle - least) / most, least / most, least / (least + middle + most)]
            row.append(1e3 * float((points[centre] - inside.mean(0)) @ normal))
            row.append(1e3 * float((points[centre] - inside[size // 2 :].mean(0)) @ largest))
            row += list(1e3 * np.quantile((inside - points[centre]) @ largest, [0.05, 0.25, 0.75, 0.95]))
        np.testing.assert_allclose(got[g], row, atol=2e-4)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_bump_stands_out_towards_the_camera_and_a_dent_away_from_it(sign: int) -> None:
    y, x = (np.mgrid[:41, :41] - 20) * PITCH
    xyz = np.stack([x, y, 0.4 - sign * 2e-3 * np.exp(-(x**2 + y**2) / (2 * (3 * PITCH) ** 2))], -1).astype(np.float32).reshape(-1, 3)
    middle = np.array([20 * 41 + 20])
    near, _ = nearest_neighbours(xyz, xyz[middle], 128)
    columns = cov.covariance(xyz, middle, near)[0].reshape(4, 10)
    assert (sign * columns[:, 4] > 0.05).all()
    assert (sign * columns[1:, 5] > 0.2).all()


def test_a_neighbourhood_of_one_point_gives_finite_numbers() -> None:
    assert np.isfinite(cov.covariance(np.array([[0, 0, 0.4]], dtype=np.float32), np.array([0]), np.array([[0]]))).all()
    lonely = np.zeros((5, 5, 3), dtype=np.float32)
    lonely[2, 2] = 0.4
    valid = lonely.any(-1)
    assert not fpfh.spfh(lonely, valid, fpfh.normals(lonely, valid, 1), 2.0).any()

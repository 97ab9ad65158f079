"""Focal length of three views by the absolute dual quadric of a projective reconstruction: baseline 6 of the paper's section 6.

Cameras and points are fitted up to a projective frame (bundle adjustment without any K), the quadric is found linearly (Triggs 1997,
Pollefeys 1999: known principal point, square pixels), then fitted with its rank of 3 and one focal length for all views.
Where the optical axes meet, the linear equations leave two quadrics free: of their pencil the members of rank 3 are tried too.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg

from tenfold.autocalibration.bougnoux import centre, decompose

Array = npt.NDArray[np.float64]

# Entries of w that vanish, the entries of Q that are free when the first camera is [I | 0], steps of the two fits.
_ZEROS = ((0, 1), (0, 2), (1, 2))
_UNKNOWNS = 6
_BUNDLE_STEPS, _POLISH_STEPS, _DRAWS = 30, 40, 60


class Solution(NamedTuple):
    """Focal lengths in px by the linear equations and after the fit of rank 3 (NaN: none); median error of the reconstruction in px."""

    linear: float
    focal: float
    error_px: float


def focal(x: Array, F: Array, principal: Array, *, threshold_px: float, bounds: tuple[float, float], seed: int = 0) -> Solution:
    """Focal length from tracks seen in all three views.

    Args:
        x: (3, n, 2) px, inliers, n >= 7.
        F: (3, 3), from view 0 to view 1, `x1^T F x0 = 0` in px.
        principal: (2,) px.
        threshold_px: scale of the robust loss of the reconstruction.
        bounds: least and largest focal length in px.
        seed: of the draws by which the third camera is found.

    Returns:
        NaN with fewer than 7 tracks, or where no quadric gives a focal length inside the bounds.
    """
    x = np.asarray(x, dtype=np.float64)
    x = x[:, np.isfinite(x).all(axis=(0, 2))]
    flat, unit = centre(F, principal)
    if x.shape[1] < 7 or not np.isfinite(flat).all():
        return Solution(np.nan, np.nan, np.nan)
    scaled = (x - np.asarray(principal)) / unit
    cameras, error = reconstruct(scaled, flat, threshold_px / unit, seed)
    singular, rows = np.linalg.svd(_equations(cameras))[1:]
    starts = [_quadric(rows[-1])]
    if singular[-2] > 0:
        one, other = _quadric(rows[-1]), _quadric(rows[-2])
        pencil = scipy.linalg.eigvals(one, -other)
        starts += [one + float(v.real) * other for v in pencil if np.isfinite(v) and abs(v.imag) <= 1e-3 * abs(v)]
    linear = starts[0][0, 0] / starts[0][2, 2] if starts[0][2, 2] else np.nan
    best, least = np.nan, np.inf
    for start in starts:
        found, cost = _polish(cameras, start)
        if bounds[0] <= unit * found <= bounds[1] and cost < least:
            best, least = found, cost
    return Solution(unit * float(np.sqrt(linear)) if linear > 0 else np.nan, unit * best, unit * error)


def reconstruct(x: Array, F: Array, scale: float, seed: int = 0) -> tuple[Array, float]:
    """Three cameras (3, 3, 4), the first [I | 0], fitted to points x (3, n, 2) in a projective frame; median error in the unit of x.

    Cauchy loss of the given scale. Points are (u, v, 1, w): three unknowns each, eliminated by the Schur complement.
    """
    epipole = decompose(F)[0][:, 2]
    second = np.concatenate([np.cross(epipole, F.T).T + np.outer(epipole, epipole), epipole[:, None]], axis=1)
    first = np.eye(3, 4)
    points = _triangulate(np.stack([first, second]), x[:2])
    cameras = np.stack([first, second, _resect(points, x[2], scale, seed)])
    cameras /= np.linalg.norm(cameras, axis=(1, 2), keepdims=True)
    cameras[0] = first
    errors, by_camera, by_point = _errors(cameras, points, x)
    cost = _cost(errors, scale)
    damping = 1e-3
    for _ in range(_BUNDLE_STEPS):
        weight = np.sqrt(1 / (1 + (errors**2).sum(-1) / scale**2))[..., None]
        r, a, b = errors * weight, by_camera * weight[..., None], by_point * weight[..., None]
        step = _solve(r, a, b, damping)
        moved = cameras.copy()
        moved[1:] += step[0]
        moved[1:] /= np.linalg.norm(moved[1:], axis=(1, 2), keepdims=True)
        there = points.copy()
        there[:, [0, 1, 3]] += step[1]
        trial = _errors(moved, there, x)
        new = _cost(trial[0], scale)
        if new < cost:
            done = cost - new <= 1e-10 * cost
            cameras, points, cost, (errors, by_camera, by_point) = moved, there, new, trial
            damping = max(damping / 10, 1e-9)
            if done:
                break
        else:
            damping *= 10
            if damping > 1e8:
                break
    return cameras, float(np.median(np.linalg.norm(errors, axis=-1)))


def _triangulate(cameras: Array, x: Array) -> Array:
    """Linear projective points (n, 4), scaled to third coordinate 1."""
    rows = x[..., None] * cameras[:, None, None, 2] - cameras[:, None, :2]
    system = np.moveaxis(rows, 0, 1).reshape(x.shape[1], -1, 4)
    points = np.linalg.svd(system)[2][:, -1]
    third = points[:, 2:3]
    return points / np.where(np.abs(third) < 1e-9, 1e-9, third)


def _resect(points: Array, x: Array, scale: float, seed: int) -> Array:
    """Camera (3, 4) that maps most points (n, 4) to x (n, 2): the best of `_DRAWS` linear fits to six points, fitted again to its inliers."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    nothing = np.zeros_like(unit)
    rows = np.stack(
        [np.concatenate([unit, nothing, -x[:, :1] * unit], axis=1), np.concatenate([nothing, unit, -x[:, 1:] * unit], axis=1)], axis=1
    )
    rng = np.random.default_rng(seed)
    samples = np.argsort(rng.random((_DRAWS, len(x))), axis=1)[:, :6]
    cameras = np.linalg.svd(rows[samples].reshape(_DRAWS, 12, 12))[2][:, -1].reshape(_DRAWS, 3, 4)
    best = cameras[int(np.argmin(_truncated(cameras, unit, x, scale).sum(axis=1)))]
    for _ in range(2):
        near = _truncated(best[None], unit, x, scale)[0] < 1
        if near.sum() < 6:
            break
        best = np.linalg.svd(rows[near].reshape(-1, 12))[2][-1].reshape(3, 4)
    return best


def _truncated(cameras: Array, points: Array, x: Array, scale: float) -> Array:
    """Squared errors (c, n) over (3 scale)^2 for cameras (c, 3, 4), at most 1."""
    seen = np.einsum("cij,nj->cni", cameras, points)
    with np.errstate(invalid="ignore", divide="ignore"):
        square = ((seen[..., :2] / seen[..., 2:] - x) ** 2).sum(-1) / (3 * scale) ** 2
    return np.where(np.isfinite(square), np.minimum(square, 1.0), 1.0)


def _errors(cameras: Array, points: Array, x: Array) -> tuple[Array, Array, Array]:
    """Errors (3, n, 2), their derivatives by the camera of the view (3, n, 2, 12) and by u, v, w of the point (3, n, 2, 3)."""
    seen = np.einsum("vij,nj->vni", cameras, points)
    depth = np.where(np.abs(seen[..., 2:]) < 1e-12, 1e-12, seen[..., 2:])
    image = seen[..., :2] / depth
    views, n = image.shape[:2]
    by_camera = np.zeros((views, n, 2, 3, 4))
    ray = points[None] / depth
    by_camera[..., 0, 0, :] = by_camera[..., 1, 1, :] = ray
    by_camera[..., :, 2, :] = -image[..., None] * ray[..., None, :]
    free = cameras[:, None][..., [0, 1, 3]]
    by_point = (free[..., :2, :] - image[..., None] * free[..., 2:, :]) / depth[..., None]
    return image - x, by_camera.reshape(views, n, 2, 12), by_point


def _cost(errors: Array, scale: float) -> float:
    return float(np.log1p((errors**2).sum(-1) / scale**2).sum())


def _solve(r: Array, a: Array, b: Array, damping: float) -> tuple[Array, Array]:
    """Damped step of the two later cameras (2, 3, 4) and of u, v, w of the points (n, 3)."""
    block = np.einsum("vnri,vnrj->nij", b, b)
    block[:, range(3), range(3)] = block[:, range(3), range(3)] * (1 + damping) + 1e-12
    inverse = np.linalg.inv(block)
    towards = np.einsum("vnri,vnr->ni", b, r)
    cross = np.einsum("vnri,vnrj->vnij", a[1:], b[1:])
    full = np.zeros((24, 24))
    right = np.zeros(24)
    for one in range(2):
        rows = slice(12 * one, 12 * one + 12)
        full[rows, rows] = np.einsum("nri,nrj->ij", a[one + 1], a[one + 1])
        right[rows] = np.einsum("nri,nr->i", a[one + 1], r[one + 1]) - np.einsum("nij,njk,nk->i", cross[one], inverse, towards)
    # The frame is free: damping also fixes what no error decides.
    full[range(24), range(24)] = full[range(24), range(24)] * (1 + damping) + 1e-9 * np.trace(full)
    half = np.einsum("vnij,njk->vnik", cross, inverse)
    full -= np.einsum("vnik,wnjk->viwj", half, cross).reshape(24, 24)
    step: Array = np.asarray(np.linalg.solve(full, -right), dtype=np.float64)
    back = np.einsum("vnij,vi->nj", cross, step.reshape(2, 12))
    of_points: Array = -np.einsum("nij,nj->ni", inverse, towards + back)
    return step.reshape(2, 3, 4), of_points


def _basis() -> Array:
    """Symmetric matrices (6, 4, 4) of the unknowns: w11 = w22, w33, the last column, the corner."""
    basis = np.zeros((_UNKNOWNS, 4, 4))
    basis[0, 0, 0] = basis[0, 1, 1] = 1
    basis[1, 2, 2] = 1
    for row in range(3):
        basis[2 + row, row, 3] = basis[2 + row, 3, row] = 1
    basis[5, 3, 3] = 1
    return basis


def _quadric(unknowns: Array) -> Array:
    return np.einsum("k,kij->ij", unknowns, _basis())


def _equations(cameras: Array) -> Array:
    """Linear equations (8, 6): no skew, principal point at the origin, square pixels, in the later two views."""
    seen = np.einsum("vij,kjl,vml->vkim", cameras[1:], _basis(), cameras[1:])
    rows = [seen[view, :, i, j] for view in range(2) for i, j in _ZEROS]
    rows += [seen[view, :, 0, 0] - seen[view, :, 1, 1] for view in range(2)]
    return np.stack(rows)


def _polish(cameras: Array, start: Array) -> tuple[float, float]:
    """Focal length and cost of the quadric of rank 3 with one focal length, fitted from `start`; NaN and infinity if it gives no first guess."""
    if start[2, 2] == 0 or not start[0, 0] / start[2, 2] > 0:
        return np.nan, np.inf
    square = start[0, 0] / start[2, 2]
    plane = -start[:3, 3] / start[2, 2] / np.array([square, square, 1.0])
    at = np.concatenate([[np.log(square) / 2], plane])
    value, slope = _misfit(cameras, at)
    cost, damping = float(value @ value), 1e-3
    for _ in range(_POLISH_STEPS):
        normal = slope.T @ slope
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -slope.T @ value)
        step[0] = np.clip(step[0], -1.0, 1.0)
        trial = at + step
        new, new_slope = _misfit(cameras, trial)
        if (better := float(new @ new)) < cost:
            done = cost - better <= 1e-14 * cost
            at, value, slope, cost = trial, new, new_slope, better
            damping = max(damping / 10, 1e-12)
            if done:
                break
        else:
            damping *= 10
            if damping > 1e10:
                break
    found = float(np.exp(at[0]))
    return found, cost


def _misfit(cameras: Array, at: Array) -> tuple[Array, Array]:
    """Difference (12,) between each later view's w and the first's, both of norm 1, and its derivatives (12, 4) by log f and the plane."""
    square, plane = np.exp(2 * at[0]), at[1:]
    w = np.diag([square, square, 1.0])
    by_focal = np.diag([2 * square, 2 * square, 0.0])
    moves = [(by_focal, np.zeros(3))] + [(np.zeros((3, 3)), row) for row in np.eye(3)]
    upper = np.triu_indices(3)
    # Off-diagonal entries stand twice in the matrix.
    weight = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
    quadric = _rank3(w, plane)
    slopes = []
    for dw, dp in moves:
        column = -(dw @ plane + w @ dp)
        slopes.append(np.block([[dw, column[:, None]], [column[None], np.array([[plane @ dw @ plane + 2 * plane @ w @ dp]])]]))

    def unit(matrix: Array, by: list[Array]) -> tuple[Array, Array]:
        vector = matrix[upper] * weight
        rows = np.stack([each[upper] * weight for each in by], axis=1)
        norm = np.linalg.norm(vector) + 1e-300
        vector = vector / norm
        return vector, (rows - np.outer(vector, vector @ rows)) / norm

    first = unit(w, [move[0] for move in moves])
    values, derivatives = [], []
    for camera in cameras[1:]:
        seen, by = unit(camera @ quadric @ camera.T, [camera @ each @ camera.T for each in slopes])
        values.append(seen - first[0])
        derivatives.append(by - first[1])
    return np.concatenate(values), np.concatenate(derivatives)


def _rank3(w: Array, plane: Array) -> Array:
    column = -w @ plane
    return np.block([[w, column[:, None]], [column[None], np.array([[plane @ w @ plane]])]])

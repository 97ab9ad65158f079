"""Cameras, poses and points in plain NumPy (sections 2.1 and 7 of the paper); every function takes leading batch axes where it says `...`.

Image points are in pixels, the centre of the top left one at (0.5, 0.5). Intrinsics `k` are (..., 5): fx, fy, cx, cy, s. A pose takes a
point of the world into the camera, `X_cam = R X + t`; of several views the first is the identity.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def matrix(k: Floats) -> Floats:
    """K (..., 3, 3) of the intrinsics (..., 5)."""
    k = np.asarray(k, dtype=np.float64)
    out = np.zeros((*k.shape[:-1], 3, 3))
    out[..., 0, 0], out[..., 1, 1], out[..., 2, 2] = k[..., 0], k[..., 1], 1.0
    out[..., 0, 2], out[..., 1, 2], out[..., 0, 1] = k[..., 2], k[..., 3], k[..., 4]
    return out


def vector(K: Floats) -> Floats:
    """Intrinsics (..., 5) of K (..., 3, 3), which may have any scale but 0."""
    K = np.asarray(K, dtype=np.float64) / np.asarray(K)[..., 2:, 2:]
    return np.stack([K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2], K[..., 0, 1]], axis=-1)


def inverse(k: Floats) -> Floats:
    """K^-1 (..., 3, 3) in closed form."""
    fx, fy, cx, cy, s = np.moveaxis(np.asarray(k, dtype=np.float64), -1, 0)
    out = np.zeros((*fx.shape, 3, 3))
    out[..., 0, 0], out[..., 1, 1], out[..., 2, 2] = 1 / fx, 1 / fy, 1.0
    out[..., 0, 1], out[..., 1, 2] = -s / (fx * fy), -cy / fy
    out[..., 0, 2] = (s * cy / fy - cx) / fx
    return out


def to_conic(k: Floats) -> Floats:
    """Image of the absolute conic w = K^-T K^-1 (..., 3, 3), scaled so that w11 = 1."""
    upper = inverse(k) * np.asarray(k, dtype=np.float64)[..., :1, None]
    return np.swapaxes(upper, -1, -2) @ upper


def from_conic(w: Floats) -> tuple[Floats, Bools]:
    """Intrinsics (..., 5) of a conic w (..., 3, 3) known up to scale (sign included), and whether w is definite: else NaN."""
    w = np.asarray(w, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = w[..., 0, 1] / w[..., 0, 0]
        b = w[..., 0, 2] / w[..., 0, 0]
        second = w[..., 1, 1] / w[..., 0, 0] - a * a  # pivots of the Cholesky factor, over the first one
        c = (w[..., 1, 2] / w[..., 0, 0] - a * b) / second
        third = w[..., 2, 2] / w[..., 0, 0] - b * b - c * c * second
        ok = (second > 0) & (third > 0) & np.isfinite(third)
        fx = np.sqrt(np.where(ok, third, np.nan))
        fy = fx / np.sqrt(np.where(ok, second, np.nan))
        # where w is not definite the other entries are numbers of no meaning
        nan = np.where(ok, 0.0, np.nan)
        return np.stack([fx, fy, a * c - b + nan, -c + nan, -a * fy + nan], axis=-1), ok


def homogeneous(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Image points (..., 2), real or complex, with a third coordinate 1."""
    x = np.asarray(x)
    return np.concatenate([x, np.ones((*x.shape[:-1], 1), dtype=x.dtype)], axis=-1)


def rays(k: Floats, x: Floats) -> Floats:
    """K^-1 x (..., n, 3) of image points (..., n, 2): the third coordinate is 1."""
    return homogeneous(x) @ np.swapaxes(inverse(k), -1, -2)


def to_camera(R: Floats, t: Floats, X: Floats) -> Floats:
    """Points (..., n, 3) in the frames of the views (..., V, n, 3)."""
    return np.asarray(X)[..., None, :, :] @ np.swapaxes(R, -1, -2) + np.asarray(t)[..., None, :]


def project(k: Floats, R: Floats, t: Floats, X: Floats, k1: float = 0.0) -> Floats:
    """Image points (..., V, n, 2) of points X (..., n, 3) in views R (..., V, 3, 3), t (..., V, 3); `k1`: radial distortion.

    Points behind a camera are projected through its centre too: see `to_camera` for their depths.
    """
    seen = to_camera(R, t, X)
    with np.errstate(invalid="ignore", divide="ignore"):
        flat = seen[..., :2] / seen[..., 2:]
        flat = flat * (1 + k1 * np.sum(flat * flat, axis=-1, keepdims=True))
    return pixels(np.asarray(k, dtype=np.float64)[..., None, :], flat)


def pixels(k: Floats, flat: Floats) -> Floats:
    """Image points (..., n, 2) of coordinates on the plane z = 1 (..., n, 2)."""
    K = matrix(k)
    return flat @ np.swapaxes(K[..., :2, :2], -1, -2) + K[..., None, :2, 2]


def distort(x: Floats, k: Floats, k1: float, k2: float = 0.0) -> Floats:
    """Where a lens with radial coefficients `k1`, `k2` shows what a perspective camera would show at x (..., n, 2)."""
    flat = rays(k, x)[..., :2]
    square = np.sum(flat * flat, axis=-1, keepdims=True)
    return pixels(k, flat * (1 + square * (k1 + k2 * square)))


def undistort(x: Floats, k: Floats, k1: float, k2: float = 0.0) -> Floats:
    """Inverse of `distort`: x (..., n, 2) as a perspective camera would have shown it; NaN where the lens shows nothing."""
    flat = rays(k, x)[..., :2]
    radius = np.linalg.norm(flat, axis=-1, keepdims=True)
    found = radius.copy()
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(30):
            square = found * found
            slope = 1 + square * (3 * k1 + 5 * k2 * square)
            found = found - (found * (1 + square * (k1 + k2 * square)) - radius) / slope
        square = found * found
        wrong = np.abs(found * (1 + square * (k1 + k2 * square)) - radius)
        # a negative slope is the far side of a lens that folds back: no image is there
        ok = (wrong <= 1e-9 * (1 + radius)) & (1 + square * (3 * k1 + 5 * k2 * square) > 0) & (found >= 0)
        return pixels(k, flat * np.where(ok, np.where(radius > 0, found / np.where(radius > 0, radius, 1), 1.0), np.nan))


def kabsch(A: Floats, B: Floats) -> tuple[Floats, Floats]:
    """Rotation R (..., 3, 3) and t (..., 3) with the least sum of |R a + t - b|^2 over points A, B (..., n, 3)."""
    A, B = np.asarray(A, dtype=np.float64), np.asarray(B, dtype=np.float64)
    of_a, of_b = A.mean(axis=-2, keepdims=True), B.mean(axis=-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(B - of_b, -1, -2) @ (A - of_a))
    # the last axis flips where the best orthogonal matrix is a reflection
    u[..., :, 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))[..., None]
    R = u @ vt
    return R, (of_b - of_a @ np.swapaxes(R, -1, -2))[..., 0, :]


def poses_from_depths(k: Floats, x: Floats, depths: Floats) -> tuple[Floats, Floats, Floats]:
    """R (..., V, 3, 3), t (..., V, 3), X (..., N, 3) from intrinsics, image points x (..., V, N, 2) and depths (..., V, N).

    The points are those of the first view; each other view is moved onto them (equation 1, then Kabsch).
    """
    local = np.asarray(depths)[..., None] * rays(np.asarray(k, dtype=np.float64)[..., None, :], x)
    X = local[..., 0, :, :]
    R, t = kabsch(np.broadcast_to(X[..., None, :, :], local.shape), local)
    R[..., 0, :, :], t[..., 0, :] = np.eye(3), 0.0
    return R, t, X


def cross(t: Floats) -> Floats:
    """Matrix [t]_x (..., 3, 3) of the cross product with t (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(t, dtype=np.float64), -1, 0)
    o = np.zeros_like(x)
    return np.stack([np.stack([o, -z, y], -1), np.stack([z, o, -x], -1), np.stack([-y, x, o], -1)], axis=-2)


def relative(R: Floats, t: Floats, i: int, j: int) -> tuple[Floats, Floats]:
    """Pose of view j in the frame of view i, from the poses of all views R (..., V, 3, 3), t (..., V, 3)."""
    between = R[..., j, :, :] @ np.swapaxes(R[..., i, :, :], -1, -2)
    return between, t[..., j, :] - np.einsum("...ab,...b->...a", between, t[..., i, :])


def fundamental(k: Floats, R: Floats, t: Floats) -> Floats:
    """F (..., 3, 3) of unit norm with x2^T F x1 = 0, for the pose (R, t) of a second view in the frame of the first."""
    back = inverse(k)
    F = np.swapaxes(back, -1, -2) @ cross(t) @ R @ back
    norm = np.linalg.norm(F, axis=(-1, -2), keepdims=True)
    return F / np.where(norm > 0, norm, 1.0)


def sampson(F: Floats, x1: Floats, x2: Floats) -> Floats:
    """Squared Sampson distances in px (..., n) of pairs x1, x2 (..., n, 2): error of x2^T F x1 over the norm of its gradient."""
    one, two = homogeneous(x1), homogeneous(x2)
    right = one @ np.swapaxes(F, -1, -2)
    left = two @ F
    error = np.sum(two * right, axis=-1)
    slope = right[..., 0] ** 2 + right[..., 1] ** 2 + left[..., 0] ** 2 + left[..., 1] ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(slope > 0, error * error / slope, np.inf)


def triangulate(k: Floats, R: Floats, t: Floats, x: Floats, seen: Bools | None = None) -> Floats:
    """Points X (n, 3) of least algebraic error from x (V, n, 2); NaN or not `seen` (V, n): not used; under two views: NaN.

    Each view's two rows are divided by nothing but K, so that the error is that on the plane z = 1 times the depth.
    """
    x = np.asarray(x, dtype=np.float64)
    used = np.isfinite(x).all(axis=-1) & np.asarray(True if seen is None else seen)
    flat = rays(k, np.where(used[..., None], x, 0.0))[..., :2]
    poses = np.concatenate([R, np.asarray(t)[..., None]], axis=-1)  # (V, 3, 4)
    rows = (flat[..., None] * poses[:, None, None, 2] - poses[:, None, :2]) * used[..., None, None]  # (V, n, 2, 4)
    normal = np.einsum("vnra,vnrb->nab", rows, rows)
    point = np.linalg.eigh(normal)[1][..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((used.sum(axis=0) >= 2)[:, None], point[:, :3] / point[:, 3:], np.nan)


def angle_of_view(k: Floats, width: int, height: int) -> Floats:
    """Horizontal and vertical angle of view (..., 2) in degrees of an image of that size."""
    k = np.asarray(k, dtype=np.float64)
    size, f, c = np.array([width, height], dtype=np.float64), k[..., :2], k[..., 2:4]
    return np.degrees(np.arctan((size - c) / f) + np.arctan(c / f))


def rotation_error(R: Floats, S: Floats) -> Floats:
    """Angle in degrees (...) between rotations (..., 3, 3); exact for small ones too."""
    # of the chord |R - S|: arccos of the trace loses half of the digits near 0
    chord = np.linalg.norm(np.asarray(R) - S, axis=(-1, -2))
    return np.degrees(2 * np.arcsin(np.clip(chord / np.sqrt(8.0), 0.0, 1.0)))


def translation_error(t: Floats, u: Floats) -> Floats:
    """Angle in degrees (...) between directions (..., 3); NaN for a zero vector."""
    t, u = np.asarray(t, dtype=np.float64), np.asarray(u, dtype=np.float64)
    angle = np.arctan2(np.linalg.norm(np.cross(t, u), axis=-1), np.sum(t * u, axis=-1))
    zero = (np.linalg.norm(t, axis=-1) == 0) | (np.linalg.norm(u, axis=-1) == 0)
    return np.degrees(np.where(zero, np.nan, angle))

"""Poses and points of three views for intrinsics that are given: where every rival's final refinement starts from.

One pair by PoseLib's 5-point method, the third view by its 3-point method on the pair's points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
PAIRS = ((0, 1), (0, 2), (1, 2))
LEAST = 6  # points that a pair and the third view must share
GOOD = 0.3  # mean squared error over the threshold's square below which no other pair is tried


@dataclass(frozen=True)
class Chained:
    """Poses R (3, 3, 3), t (3, 3) of views 0 to 2 (view 0 the identity), points X (n, 3; NaN: none), truncated squared errors' sum in px^2."""

    R: Array
    t: Array
    X: Array
    score: float


def consistent(x: Array, F: Sequence[Array | None], threshold_px: float) -> Array:
    """Copy of x (3, n, 2) with NaN where no pair of views supports an observation.

    `F`: of the pairs 01, 02, 12 with `x_j^T F x_i = 0`, None where there is none. A pair supports a track's two observations if its
    Sampson distance is at most the threshold (px).
    """
    supported = np.zeros(x.shape[:2], dtype=bool)
    for (i, j), matrix in zip(PAIRS, F, strict=True):
        if matrix is not None:
            near = geometry.sampson(matrix, x[i], x[j]) <= threshold_px**2
            supported[i] |= near
            supported[j] |= near
    return np.where(supported[..., None], x, np.nan)


def widest(x: Array) -> list[tuple[int, int]]:
    """The pairs of views, that with the largest median motion in the image of points x (3, n, 2) first."""

    def motion(pair: tuple[int, int]) -> float:
        apart = np.linalg.norm(x[pair[0]] - x[pair[1]], axis=1)
        return float(np.median(apart[np.isfinite(apart)])) if np.isfinite(apart).any() else -1.0

    return sorted(PAIRS, key=motion, reverse=True)


def poses(x: Array, k: Array, *, threshold_px: float, seed: int, pairs: int = 3, draws: int = 50) -> Chained | None:
    """The best chain over the first `pairs` of `widest(x)`, or the first good one; None if none can be made.

    Args:
        x: (3, n, 2) px, NaN: not seen.
        k: intrinsics fx, fy, cx, cy, s in px.
        threshold_px: inlier threshold, also where the score is cut.
        seed: of PoseLib's draws, at least `draws` of them, at most ten times as many.
    """
    if not (np.isfinite(k).all() and k[0] > 0 and k[1] > 0):
        return None
    best: Chained | None = None
    seen = np.asarray(np.isfinite(x).all(axis=-1))
    # In units in which the focal length stays in px, so that PoseLib's thresholds are in px.
    flat = geometry.rays(k, np.where(seen[..., None], x, 0.0))[..., :2] * k[0]
    enough = GOOD * threshold_px**2 * float(seen.sum())
    for base in widest(x)[:pairs]:
        made = _chain(flat, seen, float(k[0]), base, threshold_px, seed, draws)
        if made is None:
            continue
        score = truncated(k, *made, x, threshold_px)
        if best is None or score < best.score:
            best = Chained(*made, score)
        if score < enough:
            break
    return best


def truncated(k: Array, R: Array, t: Array, X: Array, x: Array, threshold_px: float) -> float:
    """Sum over the observations x (3, n, 2) of the squared reprojection error in px^2, each at most the threshold's square."""
    with np.errstate(invalid="ignore"):
        square = ((geometry.project(k, R, t, X) - x) ** 2).sum(-1)
        good = np.isfinite(square) & (geometry.to_camera(R, t, X)[..., 2] > 0)
    square = np.where(good, np.minimum(square, threshold_px**2), threshold_px**2)
    return float(square[np.isfinite(x).all(axis=-1)].sum())


def _chain(
    flat: Array, seen: Bools, f: float, base: tuple[int, int], threshold_px: float, seed: int, draws: int
) -> tuple[Array, Array, Array] | None:
    """Poses and points from image points `flat` (3, n, 2) about the principal point, `seen` (3, n)."""
    import poselib

    camera = {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [f, 0.0, 0.0]}
    draw = {"seed": seed, "min_iterations": draws, "max_iterations": 10 * draws}
    i, j = base
    (third,) = {0, 1, 2} - {i, j}
    both = seen[i] & seen[j]
    if both.sum() < LEAST or (both & seen[third]).sum() < LEAST:
        return None
    pose, _ = poselib.estimate_relative_pose(flat[i][both], flat[j][both], camera, camera, {**draw, "max_epipolar_error": threshold_px}, {})
    R, t = np.tile(np.eye(3), (3, 1, 1)), np.zeros((3, 3))
    R[j], t[j] = pose.R, pose.t
    if not np.isfinite(R[j]).all() or not np.isfinite(t[j]).all():
        return None
    k = np.array([f, f, 0.0, 0.0, 0.0])
    X = geometry.triangulate(k, R[[i, j]], t[[i, j]], flat[[i, j]], seen[[i, j]])
    with np.errstate(invalid="ignore"):
        front = np.isfinite(X).all(axis=1) & (X[:, 2] > 0) & (geometry.to_camera(R, t, X)[j, :, 2] > 0)
    common = front & seen[third]
    if common.sum() < LEAST:
        return None
    pose, _ = poselib.estimate_absolute_pose(flat[third][common], X[common], camera, {**draw, "max_reproj_error": 2 * threshold_px}, {})
    R[third], t[third] = pose.R, pose.t
    if not np.isfinite(R[third]).all() or not np.isfinite(t[third]).all():
        return None
    # The frame of view 0, then all points anew from all views.
    turn, shift = R[0].copy(), t[0].copy()
    R = R @ turn.T
    t = t - R @ shift
    R[0], t[0] = np.eye(3), 0.0
    length = np.linalg.norm(t, axis=1).max()
    if not np.isfinite(length) or length == 0 or np.linalg.norm(t[1]) < 1e-9 * length:
        return None
    t = t / length
    return R, t, geometry.triangulate(k, R, t, flat, seen)

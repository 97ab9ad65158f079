"""Fundamental matrices and homographies between two views by PoseLib's RANSAC, in pixels; the same seed gives the same answer."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import UsageError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def fundamental_ransac(x1: Floats, x2: Floats, threshold_px: float, seed: int) -> tuple[Floats | None, Bools]:
    """F (3, 3) of unit norm with x2^T F x1 = 0 and its inliers (n,) by Sampson distance; None under 8 finite pairs or inliers.

    Pairs x1, x2 (n, 2); NaN: no pair. UsageError: shapes that do not fit, a threshold that is not positive.
    """
    import poselib

    options = {"max_epipolar_error": float(threshold_px), "max_iterations": 20000}
    return _ransac(poselib.estimate_fundamental, options, 8, x1, x2, threshold_px, seed)


def homography_ransac(x1: Floats, x2: Floats, threshold_px: float, seed: int) -> tuple[Floats | None, Bools]:
    """H (3, 3) of unit norm with x2 ~ H x1 and its inliers (n,); None under 5 finite pairs or inliers. Else as `fundamental_ransac`."""
    import poselib

    # a scene of which a plane explains the most is found in a few; others would go on for long
    options = {"max_reproj_error": float(threshold_px), "min_iterations": 100, "max_iterations": 500}
    return _ransac(poselib.estimate_homography, options, 5, x1, x2, threshold_px, seed)


def homography_ratio(x1: Floats, x2: Floats, inliers: Bools, threshold_px: float, seed: int) -> float:
    """Share of the inliers of F that one homography explains: near 1 for pure rotation or a plane; NaN for too few inliers.

    The threshold is that of H: its error is a vector with the noise of both images, so 1.5 times the threshold of F is fair.
    """
    count = int(np.sum(inliers))
    if count < 8:
        return float("nan")
    return float(homography_ransac(x1[inliers], x2[inliers], threshold_px, seed)[1].sum()) / count


def _ransac(
    method: Any, options: dict[str, float], least: int, x1: Floats, x2: Floats, threshold_px: float, seed: int
) -> tuple[Floats | None, Bools]:
    """One of PoseLib's estimators over the finite pairs, guarded where it leaves its answer unset."""
    x1, x2 = np.ascontiguousarray(x1, dtype=np.float64), np.ascontiguousarray(x2, dtype=np.float64)
    if x1.ndim != 2 or x1.shape != x2.shape or x1.shape[1] != 2:
        raise UsageError(f"points {x1.shape} and {x2.shape}: give two arrays of the same shape (n, 2)")
    if not threshold_px > 0:
        raise UsageError(f"threshold_px {threshold_px}: use a length in px above 0")
    inliers = np.zeros(len(x1), dtype=bool)
    finite = np.isfinite(x1).all(axis=1) & np.isfinite(x2).all(axis=1)
    # under the size of a minimal sample
    if finite.sum() < least:
        return None, inliers
    found, facts = method(x1[finite], x2[finite], {**options, "seed": int(seed)}, {})
    inliers[finite] = np.array(facts["inliers"], dtype=bool)
    norm = np.linalg.norm(found)
    if inliers.sum() < least or not np.isfinite(norm) or norm == 0:
        return None, np.zeros(len(x1), dtype=bool)
    return found / norm, inliers

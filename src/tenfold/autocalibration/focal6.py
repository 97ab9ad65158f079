"""The common focal length of two views by the 6-point method (Stewénius 2005) in PoseLib, with its own refinement: baseline 4.

RANSAC, local optimisation and a final two-view refinement are PoseLib's (section 6 of the paper: "the cheap sceptic").
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST = 7  # matches below which six points explain everything


class Solution(NamedTuple):
    """Focal length in px (NaN: none) and inliers."""

    focal: float
    inliers: int


def focal(x1: Array, x2: Array, principal: Array, *, threshold_px: float, seed: int, refine: bool = True, draws: int = 100) -> Solution:
    """Focal length from matches x1, x2 (n, 2) px.

    Args:
        principal: (2,) px, of both views.
        threshold_px: inlier threshold (Sampson).
        refine: end with PoseLib's refinement of pose and focal length over all inliers (RANSAC's own local optimisation always runs).
        draws: least number of samples.

    Returns:
        NaN with fewer than 7 finite matches, or where PoseLib finds nothing.
    """
    import poselib

    good = np.isfinite(x1).all(axis=1) & np.isfinite(x2).all(axis=1)
    if good.sum() < LEAST:
        return Solution(np.nan, 0)
    options = {"max_epipolar_error": threshold_px, "seed": seed, "min_iterations": draws, "max_iterations": 100 * draws}
    bundle = {} if refine else {"max_iterations": 0}
    pair, facts = poselib.estimate_shared_focal_relative_pose(x1[good], x2[good], np.asarray(principal, dtype=np.float64), options, bundle)
    found = float(pair.camera1.focal())
    inliers = int(facts["num_inliers"])
    return Solution(found if inliers >= LEAST and np.isfinite(found) and found > 0 else np.nan, inliers)

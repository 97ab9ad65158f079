"""Try focal lengths one after another and keep that with the least error in three views: baseline 5, the strongest cheap sceptic.

For each of 40 log-spaced focal lengths the 5-point method gives a pair's pose and the 3-point method the third view (PoseLib).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import chain

Array = npt.NDArray[np.float64]


TRACKS = 80  # on which the focal lengths are compared: more do not change the choice


class Solution(NamedTuple):
    """Focal length in px (NaN: none), its score in px^2, the focal lengths tried (c,) and their scores (c,; infinite: no pose)."""

    focal: float
    score: float
    tried: Array
    scores: Array


def focal(x: Array, principal: Array, *, threshold_px: float, seed: int, bounds: tuple[float, float], candidates: int = 40) -> Solution:
    """Best of log-spaced focal lengths.

    Args:
        x: (3, n, 2) px, NaN: not seen; tracks seen in all views count, at most `TRACKS` of them.
        principal: (2,) px.
        threshold_px: inlier threshold, also where each squared error is cut.
        bounds: least and largest focal length in px.
    """
    whole = x[:, np.isfinite(x).all(axis=(0, 2))]
    few = whole[:, np.unique(np.linspace(0, max(whole.shape[1] - 1, 0), TRACKS).astype(np.int64))] if whole.shape[1] else whole
    tried = np.geomspace(*bounds, candidates)
    scores = np.full(candidates, np.inf)
    for index, f in enumerate(tried):
        k = np.array([f, f, principal[0], principal[1], 0.0])
        made = chain.poses(few, k, threshold_px=threshold_px, seed=seed, pairs=1, draws=10)
        if made is not None:
            scores[index] = made.score
    best = int(np.argmin(scores))
    found = np.isfinite(scores[best])
    return Solution(float(tried[best]) if found else np.nan, float(scores[best]) if found else np.nan, tried, scores)

"""How well one answer explains its points: poses and points for the K that was given as the answer, and the errors of all tracks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry
from tenfold.autocalibration.features import Scene

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
STEPS = 50


@dataclass(frozen=True)
class Reprojections:
    """Observed and reprojected image points (3, n, 2) px of all tracks; `inlier` (n,): within the threshold in every view."""

    observed: Floats
    projected: Floats
    inlier: Bools

    @property
    def errors(self) -> Floats:
        """Distances (3, n) px; NaN where a point has no place in front of the camera."""
        return np.asarray(np.linalg.norm(self.projected - self.observed, axis=-1))


def of_answer(scene: Scene, views: Sequence[int], k: Floats, threshold_px: float, seed: int = 0) -> Reprojections | None:
    """Reprojections of the usable tracks that three views share, for intrinsics k (5,) that are held; None where no poses fit.

    Poses and points are not stored with an answer, so they are fitted again, with the loss of the answer's own refinement.
    """
    from tenfold.autocalibration import ba, chain, ransac

    if len(views) != 3 or not np.isfinite(k).all():
        return None
    x = scene.tracks.common(views)[1]
    x = x[:, ransac.usable(x)]  # the tracks of the answer
    pairs = [scene.pairs.get((min(views[i], views[j]), max(views[i], views[j]))) for i, j in chain.PAIRS]
    clean = chain.consistent(x, [pair.F if pair is not None else None for pair in pairs], threshold_px)
    start = chain.poses(clean, k, threshold_px=threshold_px, seed=seed)
    if start is None:
        return None
    R, t = start.R, start.t
    projected, inlier = _projected(k, R, t, x, threshold_px)
    for _ in range(3):
        if inlier.sum() < chain.LEAST:
            return None
        used = x[:, inlier]
        fit = ba.refine(k, R, t, geometry.triangulate(k, R, t, used), used, kind="none", loss_px=threshold_px / 2, iterations=STEPS)
        R, t = fit.R, fit.t
        projected, inlier = _projected(k, R, t, x, threshold_px)
    return Reprojections(x, projected, inlier)


def _projected(k: Floats, R: Floats, t: Floats, x: Floats, threshold_px: float) -> tuple[Floats, Bools]:
    X = geometry.triangulate(k, R, t, x)
    with np.errstate(invalid="ignore"):
        ahead = geometry.to_camera(R, t, X)[..., 2] > 0
        projected = np.where(ahead[..., None], geometry.project(k, R, t, X), np.nan)
        inlier = (np.linalg.norm(projected - x, axis=-1) <= threshold_px).all(axis=0)
    return projected, inlier

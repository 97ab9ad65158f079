"""Bundle adjustment of a few views of one camera: Levenberg-Marquardt, points eliminated by the Schur complement.

Numba is imported here, so this module is imported inside functions only. Unknowns: the free intrinsics of the kind, k1 if asked,
the poses of all views but the first (view 0 stays where it is, and the norm of t_1 fixes the scale), and the points.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.ba_kernel import errors_of, minimise
from tenfold.core.errors import UsageError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# For fx, fy, cx, cy, s, k1: which free intrinsic moves it (-1: none). With one focal, fy / fx stays what it is.
COLUMNS = {
    "none": (-1, -1, -1, -1, -1),
    "f": (0, 0, -1, -1, -1),
    "fxfy": (0, 1, -1, -1, -1),
    "square": (0, 0, 1, 2, -1),
    "zero_skew": (0, 1, 2, 3, -1),
    "full": (0, 1, 2, 3, 4),
}
LOSSES = {"none": 0, "cauchy": 1, "geman_mcclure": 2}


@dataclass(frozen=True)
class Refined:
    """Result of `refine`; lengths in px where they are in the image.

    `covariance` is that of the free intrinsics in the order fx, fy, cx, cy, s, k1 (of one focal: fx); inf where they are not determined.
    `sd` (5,) is 0 for what was not fitted. `cost` is half the sum of the losses, `start` that before the first step.
    `errors` (V, n) are distances of reprojection: inf behind a camera, NaN where not seen. `condition` is that of the reduced normal
    matrix with unit diagonal. `noise_px`: standard deviation of an inlier's image coordinate.
    """

    k: Floats
    k1: float
    R: Floats
    t: Floats
    X: Floats
    cost: float
    start: float
    errors: Floats
    inliers: Bools
    covariance: Floats
    sd: Floats
    sd_k1: float
    noise_px: float
    condition: float
    iterations: int
    converged: bool


def refine(
    k: Floats,
    R: Floats,
    t: Floats,
    X: Floats,
    x: Floats,
    *,
    kind: str,
    k1: float = 0.0,
    fit_k1: bool = False,
    loss_px: float,
    iterations: int = 30,
    loss: str = "cauchy",
    inlier_px: float | None = None,
    tolerance: float = 1e-8,
    rounds: int = 2,
) -> Refined:
    """Intrinsics k (5,), poses R (V, 3, 3), t (V, 3) and points X (n, 3) of least robust reprojection error of x (V, n, 2).

    NaN in x: not seen. `kind`: which intrinsics are free ("none", "f", "fxfy", "square", "zero_skew", "full"); `fit_k1`: a radial term
    too. `loss`: "cauchy", "geman_mcclure" or "none" with scale `loss_px`; an inlier is nearer than `inlier_px` (default twice that).
    Converged: the next step promises, or the last one brought, less than `tolerance` of the cost. `rounds`: steps of each point alone
    after each step of all, which take a wrong focal home in a third of the steps. The cost never rises. A point behind a camera costs
    a constant. UsageError: unknown kind or loss, shapes that do not fit, cameras that are not finite or have no positive focal.
    """
    if kind not in COLUMNS:
        raise UsageError(f"kind {kind!r}: use one of {', '.join(COLUMNS)}")
    if loss not in LOSSES:
        raise UsageError(f"loss {loss!r}: use one of {', '.join(LOSSES)}")
    if not loss_px > 0:
        raise UsageError(f"loss_px {loss_px}: use a length in px above 0")
    k, R, t, X = (np.array(each, dtype=np.float64, order="C") for each in (k, R, t, X))
    x = np.array(x, dtype=np.float64, order="C")
    views, points = x.shape[:2]
    if views < 2 or k.shape != (5,) or R.shape != (views, 3, 3) or t.shape != (views, 3) or X.shape != (points, 3) or x.shape[2:] != (2,):
        raise UsageError(
            f"k {k.shape}, R {R.shape}, t {t.shape}, X {X.shape}, x {x.shape}: use (5,), (V, 3, 3), (V, 3), (n, 3), (V, n, 2) with V >= 2"
        )
    if not (np.isfinite(k).all() and np.isfinite(R).all() and np.isfinite(t).all() and k[0] > 0 and k[1] > 0):
        raise UsageError(f"k {k}: start from finite poses and intrinsics with positive focals")
    # a point without a place, or an observation with half a coordinate, counts as not seen
    x[~(np.isfinite(x).all(axis=2) & np.isfinite(X).all(axis=1))] = np.nan
    columns = np.array([*COLUMNS[kind], -1], dtype=np.int64)
    free = int(columns.max()) + 1
    if fit_k1:
        columns[5], free = free, free + 1
    S = np.zeros((free + 6 * (views - 1) - 1, free + 6 * (views - 1) - 1))
    stats = np.zeros(4)
    k, R, t, X, k1, cost, start, tried, converged = minimise(
        k, float(k1), R, t, X, x, columns, free, LOSSES[loss], float(loss_px), int(iterations), int(rounds), float(tolerance), S, stats
    )
    errors = errors_of(k, k1, R, t, X, x)
    inliers = errors <= (2 * loss_px if inlier_px is None else inlier_px)
    covariance, condition, noise = _uncertainty(S, stats, free, errors, inliers)
    sd = np.zeros(5)
    spread = np.sqrt(np.diag(covariance))
    for i in range(5):
        if columns[i] >= 0:
            sd[i] = spread[columns[i]]
    if free and columns[0] == columns[1] >= 0:
        sd[1] *= k[1] / k[0]
    return Refined(
        k, float(k1), R, t, X, float(cost), float(start), errors, inliers, covariance, sd,
        float(spread[columns[5]]) if fit_k1 else 0.0, noise, condition, int(tried), bool(converged),
    )  # fmt: skip


def _uncertainty(S: Floats, stats: Floats, free: int, errors: Floats, inliers: Bools) -> tuple[Floats, float, float]:
    """Covariance of the first `free` unknowns, condition of S, and standard deviation of an image coordinate in px.

    Huber's estimate for a robust loss: S is a sum with weights w, so its inverse is scaled by E[w] E[psi^2] / E[psi']^2, with the number
    of observations that points and cameras have used up taken off.
    """
    slope, square, bend, _ = stats
    tracks = inliers.sum(axis=0)
    spent = 3 * int(np.sum(tracks >= 2)) + len(S)
    left = 2 * int(tracks[tracks >= 2].sum()) - spent
    nothing = np.full((free, free), np.inf)
    full = np.tril(S) + np.tril(S, -1).T
    scale = np.sqrt(np.diag(full).clip(0))
    if left <= 0 or bend <= 0 or not np.isfinite(full).all() or not (scale > 0).all():
        return nothing, np.inf, np.nan
    shrunk = (left + spent) / left
    values, vectors = np.linalg.eigh(full / np.outer(scale, scale))
    condition = float(values[-1] / values[0]) if values[0] > 0 else np.inf
    # the median length of a Gaussian vector in the plane is 1.1774 standard deviations
    noise = float(np.median(errors[inliers]) / 1.1774 * np.sqrt(shrunk))
    if not condition < 1e14:
        return nothing, condition, noise
    covariance = (vectors / values) @ vectors.T / np.outer(scale, scale)
    # square / 2, slope and bend are sums over all observations of what stands in the estimate as a mean
    return covariance[:free, :free] * (square / 2 * slope / (bend * bend) * shrunk), condition, noise

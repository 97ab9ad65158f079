"""One focal length from several fundamental matrices by Kruppa's equations: baseline 3 of the paper's section 6.

`F w* F^T ~ [e']x w* [e']x^T` with `w* = diag(f^2, f^2, 1)` about the principal point: for each F the ratios of three numbers, thus two
independent equations, solved together in least squares.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.bougnoux import centre, decompose

Array = npt.NDArray[np.float64]

_STEPS = 60


class Solution(NamedTuple):
    """Focal length in px (NaN: none), sum of squared residuals (a sine per F), how many starts ended there."""

    focal: float
    cost: float
    agreeing: int


def focal(F: Array, principal: Array, start: float | Sequence[float], bounds: tuple[float, float]) -> Solution:
    """Least-squares focal length of all F; the best end of several starts (`multi_start`).

    Args:
        F: (n, 3, 3) with `x2^T F x1 = 0` in px; those that are not finite are left out.
        principal: (2,) px.
        start: one first guess in px, or several.
        bounds: least and largest focal length in px; a search that ends on one of them has found none.

    Returns:
        NaN if no F is left, or no search ends inside the bounds.
    """
    centred, unit = centre(np.asarray(F, dtype=np.float64).reshape(-1, 3, 3), principal)
    centred = centred[np.isfinite(centred).all(axis=(-2, -1))]
    if not len(centred):
        return Solution(np.nan, np.nan, 0)
    parts = _parts(centred)
    low, high = (float(np.log(bound / unit)) for bound in bounds)
    x = np.clip(np.log(np.atleast_1d(np.asarray(start, dtype=np.float64)) / unit), low, high)
    value, slope = _residuals(parts, x)
    cost = (value**2).sum((-1, -2))
    damping = np.full_like(x, 1e-3)
    for _ in range(_STEPS):
        gradient, curvature = (value * slope).sum((-1, -2)), (slope**2).sum((-1, -2))
        step = np.clip(-gradient / (curvature * (1 + damping) + 1e-300), -1.0, 1.0)
        trial = np.clip(x + step, low, high)
        new, new_slope = _residuals(parts, trial)
        new_cost = (new**2).sum((-1, -2))
        better = new_cost <= cost
        moved = np.abs(trial - x)[better]
        damping = np.where(better, damping / 5, np.minimum(damping * 10, 1e12))
        x, cost = np.where(better, trial, x), np.where(better, new_cost, cost)
        value = np.where(better[:, None, None], new, value)
        slope = np.where(better[:, None, None], new_slope, slope)
        if better.all() and (moved < 1e-13).all():
            break
    inside = (x > low + 1e-6) & (x < high - 1e-6)
    if not inside.any():
        return Solution(np.nan, np.nan, 0)
    best = int(np.argmin(np.where(inside, cost, np.inf)))
    return Solution(float(unit * np.exp(x[best])), float(cost[best]), int((np.abs(x - x[best]) < 1e-6).sum()))


def multi_start(bounds: tuple[float, float], starts: int = 9) -> list[float]:
    """Log-spaced first guesses between the bounds (px)."""
    return [float(f) for f in np.geomspace(*bounds, starts + 2)[1:-1]]


def _parts(F: Array) -> tuple[Array, Array]:
    """Both sides of the equations as (n, 3, 2): the entries 11, 12, 22 in the basis of F's left singular vectors, constant and slope in y."""
    u, s, v = decompose(F)

    def form(one: Array, other: Array, same: bool) -> Array:
        product = one[:, 2] * other[:, 2]
        return np.stack([product, float(same) - product], axis=-1)

    u1, u2, v1, v2 = u[..., 0], u[..., 1], v[..., 0], v[..., 1]
    a, b = s[:, :1], s[:, 1:2]
    left = np.stack([a * a * form(v1, v1, True), a * b * form(v1, v2, False), b * b * form(v2, v2, True)], axis=1)
    right = np.stack([form(u2, u2, True), -form(u1, u2, False), form(u1, u1, True)], axis=1)
    return left, right


def _residuals(parts: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
    """Cross products (starts, n, 3) of both sides as unit vectors, and their derivatives by x = log f."""
    y = np.exp(2 * x)[:, None, None]
    units, slopes = [], []
    for side in parts:
        vector = side[None, :, :, 0] + y * side[None, :, :, 1]
        slope = 2 * y * side[None, :, :, 1]
        norm = np.linalg.norm(vector, axis=-1, keepdims=True) + 1e-300
        unit = vector / norm
        units.append(unit)
        slopes.append((slope - unit * (unit * slope).sum(-1, keepdims=True)) / norm)
    return np.cross(units[0], units[1]), np.cross(slopes[0], units[1]) + np.cross(units[0], slopes[1])

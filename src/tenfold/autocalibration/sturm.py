"""The common focal length of two views from their fundamental matrix (Sturm, CVPR 2001): baseline 2 of the paper's section 6.

Kruppa's equations in the singular vectors of F (known principal point, square pixels, equal focal length) leave one quadratic
and two linear equations in the squared focal length. All fail where the optical axes meet (the fixating orbit).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.bougnoux import centre, decompose

Array = npt.NDArray[np.float64]

_LEAST = 1e-4  # squared focal length over the image's half diagonal squared, below which (and over 1 / it) a root is none


class Focals(NamedTuple):
    """Focal lengths (...,) in px by each form, NaN where it has no positive solution."""

    quadratic: Array
    linear: Array


def focals(F: Array, principal: Array) -> Focals:
    """Common focal length of both views.

    Args:
        F: (..., 3, 3) with `x2^T F x1 = 0` in px, any scale.
        principal: (2,) px, of both views.

    Returns:
        Of two positive roots of the quadratic the one that agrees better with the linear equations is taken.
    """
    centred, unit = centre(F, principal)
    u, s, v = decompose(centred)
    a, b = s[..., 0], s[..., 1]
    u1, u2, v1, v2 = u[..., 2, 0], u[..., 2, 1], v[..., 2, 0], v[..., 2, 1]

    # u_i^T diag(y, y, 1) u_i = y (1 - u_i3^2) + u_i3^2, a polynomial in y = f^2 stored as (constant, slope).
    def form(third: Array) -> tuple[Array, Array]:
        return third**2, 1 - third**2

    uu1, uu2, vv1, vv2 = form(u1), form(u2), form(v1), form(v2)
    linear = np.stack(
        [
            np.stack([b * v1 * v2 * uu2[k] + a * u1 * u2 * vv1[k] for k in (0, 1)], axis=-1),
            np.stack([a * v1 * v2 * uu1[k] + b * u1 * u2 * vv2[k] for k in (0, 1)], axis=-1),
        ],
        axis=-2,
    )
    quadratic = (b**2)[..., None] * _product(uu2, vv2) - (a**2)[..., None] * _product(vv1, uu1)

    with np.errstate(invalid="ignore", divide="ignore"):
        constant, slope = linear[..., 0], linear[..., 1]
        straight = -(constant * slope).sum(-1) / (slope**2).sum(-1)
        c, half, q = quadratic[..., 0], quadratic[..., 1] / 2, quadratic[..., 2]
        root = np.sqrt(half**2 - q * c)
        # Without cancellation: one root by the sum of like signs, the other from the product.
        far = -(half + np.where(half < 0, -root, root))
        both = np.stack([far / q, c / far], axis=-1)
        # Coplanar optical axes leave a second root at 0.
        both = np.where((both > _LEAST) & (both < 1 / _LEAST), both, np.nan)
        wrong = np.abs(linear[..., None, :, 0] + both[..., None] * linear[..., None, :, 1]).sum(-1) / (1 + both)
        pick = np.argmin(np.where(np.isnan(wrong), np.inf, wrong), axis=-1)
        chosen = np.take_along_axis(both, pick[..., None], axis=-1)[..., 0]
        return Focals(unit * np.sqrt(chosen), unit * np.sqrt(np.where(np.isfinite(straight) & (straight > 0), straight, np.nan)))


def _product(one: tuple[Array, Array], other: tuple[Array, Array]) -> Array:
    """Coefficients (..., 3) of the product of two linear polynomials, constant first."""
    return np.stack([one[0] * other[0], one[0] * other[1] + one[1] * other[0], one[1] * other[1]], axis=-1)

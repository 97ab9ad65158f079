"""Focal lengths of two views from their fundamental matrix in closed form (Bougnoux, ICCV 1998): baseline 1 of the paper's section 6.

Known principal point, square pixels. Fails where the optical axes meet: there numerator and denominator vanish together.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_FLAT = np.diag([1.0, 1.0, 0.0])


def focals(F: Array, principal: Array) -> tuple[Array, Array]:
    """Focal lengths (...,) in px of the first and of the second view.

    Args:
        F: (..., 3, 3) with `x2^T F x1 = 0` in px, any scale.
        principal: (2,) px, of both views.

    Returns:
        f1, f2; NaN where the formula gives no positive square, or F is not finite or zero.
    """
    centred, unit = centre(F, principal)
    return unit * _first(centred), unit * _first(np.swapaxes(centred, -1, -2))


def centre(F: Array, principal: Array) -> tuple[Array, float]:
    """F (..., 3, 3) for points measured from the principal point in a unit near the image's size, with norm 1; and that unit in px."""
    x, y = (float(value) for value in principal)
    unit = float(np.hypot(x, y)) or 1.0
    move = np.array([[unit, 0.0, x], [0.0, unit, y], [0.0, 0.0, 1.0]])
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = move.T @ np.asarray(F, dtype=np.float64) @ move
        scaled: Array = moved / np.linalg.norm(moved, axis=(-2, -1), keepdims=True)
    return scaled, unit


def decompose(F: Array) -> tuple[Array, Array, Array]:
    """Singular value decomposition U, s, V (columns), NaN where F (..., 3, 3) is not finite."""
    good = np.asarray(np.isfinite(F).all(axis=(-2, -1)))
    u, s, vt = np.linalg.svd(np.where(good[..., None, None], F, 0.0))
    u, s, vt = (np.where(good.reshape(good.shape + (1,) * (each.ndim - good.ndim)), each, np.nan) for each in (u, s, vt))
    return u, s, np.swapaxes(vt, -1, -2)


def _first(F: Array) -> Array:
    """Focal length of the first view, principal point at the origin (p = (0, 0, 1)): `-(p^T [e2]x I F p)(p^T F^T p) / (p^T [e2]x I F I F^T p)`."""
    epipole = decompose(F)[0][..., 2]
    # p^T [e2]x = (e2 x)^T applied to p: the third row of the cross-product matrix.
    row = np.stack([-epipole[..., 1], epipole[..., 0], np.zeros_like(epipole[..., 0])], axis=-1)[..., None, :] @ _FLAT @ F
    above = row[..., 0, 2] * F[..., 2, 2]
    below = (row @ _FLAT @ F[..., 2, :, None])[..., 0, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        square = -above / below
        return np.sqrt(np.where(np.isfinite(square) & (square > 0), square, np.nan))

"""Rotations in numpy, float64, batched over any leading axes (specification section 2.1).

Matrices act on columns. Axis-angle vectors and angles are in radians, quaternions are wxyz and of unit length. 6D is the first column of
the matrix followed by the second.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.core.errors import BadData
from tenfold.motion_tracking import skeleton

Floats = NDArray[np.float64]

STANDING: Floats = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Rotation of a body that stands upright in the z-up world and faces +x (at rest it is y-up and faces +z)."""

_FLIP = np.array([-1.0, 1.0, 1.0])
_FLIP_MATRIX = np.outer(_FLIP, _FLIP)


def matrix_from_axis_angle(axis_angle: ArrayLike) -> Floats:
    """(..., 3) rotation vectors to (..., 3, 3) matrices (Rodrigues)."""
    vector = np.asarray(axis_angle, np.float64)
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    square = x * x + y * y + z * z
    angle = np.sqrt(square)
    small = square < 1e-12
    safe = np.where(small, 1.0, square)
    sine = np.where(small, 1.0 - square / 6.0, np.sin(angle) / np.sqrt(safe))
    cosine = np.where(small, 0.5 - square / 24.0, 2.0 * np.sin(0.5 * angle) ** 2 / safe)
    out = np.empty((*vector.shape[:-1], 3, 3))
    out[..., 0, 0] = 1.0 - cosine * (y * y + z * z)
    out[..., 1, 1] = 1.0 - cosine * (x * x + z * z)
    out[..., 2, 2] = 1.0 - cosine * (x * x + y * y)
    for row, column, product, axis in ((0, 1, x * y, z), (0, 2, x * z, -y), (1, 2, y * z, x)):
        out[..., row, column] = cosine * product - sine * axis
        out[..., column, row] = cosine * product + sine * axis
    return out


def axis_angle_from_matrix(matrix: ArrayLike) -> Floats:
    """(..., 3, 3) rotations to (..., 3) vectors of length at most pi."""
    quaternion = quaternion_from_matrix(matrix)
    vector = quaternion[..., 1:]
    length = np.linalg.norm(vector, axis=-1)
    angle = 2.0 * np.arctan2(length, quaternion[..., 0])
    small = length < 1e-9
    scale = np.where(small, 2.0, angle / np.where(small, 1.0, length))
    return vector * scale[..., None]


def matrix_from_quaternion(quaternion: ArrayLike) -> Floats:
    """(..., 4) wxyz of any length but 0 to (..., 3, 3); q and -q give the same matrix. Raises BadData for a zero or non-finite one."""
    given = np.asarray(quaternion, np.float64)
    length = np.linalg.norm(given, axis=-1, keepdims=True)
    if not np.isfinite(length).all() or not (length > 1e-12).all():
        raise BadData("a quaternion is zero or not finite, so it is no rotation. Correct or leave out that sample.")
    w, x, y, z = np.moveaxis(given / length, -1, 0)
    out = np.empty((*given.shape[:-1], 3, 3))
    out[..., 0, 0] = 1.0 - 2.0 * (y * y + z * z)
    out[..., 1, 1] = 1.0 - 2.0 * (x * x + z * z)
    out[..., 2, 2] = 1.0 - 2.0 * (x * x + y * y)
    out[..., 0, 1], out[..., 1, 0] = 2.0 * (x * y - w * z), 2.0 * (x * y + w * z)
    out[..., 0, 2], out[..., 2, 0] = 2.0 * (x * z + w * y), 2.0 * (x * z - w * y)
    out[..., 1, 2], out[..., 2, 1] = 2.0 * (y * z - w * x), 2.0 * (y * z + w * x)
    return out


def quaternion_from_matrix(matrix: ArrayLike) -> Floats:
    """(..., 3, 3) rotations to (..., 4) unit quaternions wxyz with w >= 0."""
    m = np.asarray(matrix, np.float64)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Each row is the quaternion times four of its own components; the longest one is far from 0.
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    diagonal = np.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1)
    best = diagonal.argmax(-1)[..., None]
    rows = np.stack(
        [
            np.stack([diagonal[..., 0], a, b, c], -1),
            np.stack([a, diagonal[..., 1], d, e], -1),
            np.stack([b, d, diagonal[..., 2], f], -1),
            np.stack([c, e, f, diagonal[..., 3]], -1),
        ],
        -2,
    )
    chosen = np.take_along_axis(rows, best[..., None], -2)[..., 0, :]
    unit = chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)
    return np.where(unit[..., :1] < 0, -unit, unit)


def six_from_matrix(matrix: ArrayLike) -> Floats:
    """(..., 3, 3) to (..., 6): first column, then second."""
    m = np.asarray(matrix, np.float64)
    return np.concatenate([m[..., :, 0], m[..., :, 1]], -1)


def matrix_from_six(six: ArrayLike, how: Literal["gram_schmidt", "cross"] = "gram_schmidt") -> Floats:
    """(..., 6) to (..., 3, 3).

    `gram_schmidt` gives a rotation for any two columns that are not parallel; `cross` leaves both columns as they are and appends their
    cross product, as the released weights were trained (specification section 2.6).
    """
    given = np.asarray(six, np.float64)
    first, second = given[..., :3], given[..., 3:]
    if how == "gram_schmidt":
        first = first / np.maximum(np.linalg.norm(first, axis=-1, keepdims=True), 1e-12)
        second = second - (first * second).sum(-1, keepdims=True) * first
        second = second / np.maximum(np.linalg.norm(second, axis=-1, keepdims=True), 1e-12)
    return np.stack([first, second, np.cross(first, second)], -1)


def angle_between(left: ArrayLike, right: ArrayLike) -> Floats:
    """Angle (...) in [0, pi] of left^T right, exact near 0 and near pi."""
    relative = np.swapaxes(np.asarray(left, np.float64), -1, -2) @ np.asarray(right, np.float64)
    quaternion = quaternion_from_matrix(relative)
    return 2.0 * np.arctan2(np.linalg.norm(quaternion[..., 1:], axis=-1), quaternion[..., 0])


def slerp(matrix: ArrayLike, times: ArrayLike, new_times: ArrayLike) -> Floats:
    """Rotations (T, ..., 3, 3) at `times` (T,) read at `new_times` (N,) -> (N, ..., 3, 3), along the shortest arc.

    Times in any one unit; `new_times` must lie within `times`. Raises BadData where they do not, or where `times` do not increase.
    """
    m = np.asarray(matrix, np.float64)
    old, new = np.asarray(times, np.float64), np.asarray(new_times, np.float64)
    if len(old) != len(m) or len(old) < 1 or not (np.diff(old) > 0).all():
        raise BadData(f"{len(m)} rotations with {len(old)} times: the times must be as many and increase. Sort them and drop duplicates.")
    if len(new) and not (old[0] - 1e-9 <= new.min() and new.max() <= old[-1] + 1e-9):
        raise BadData(f"times {new.min():g} to {new.max():g} are asked for, known are {old[0]:g} to {old[-1]:g}. Ask within the clip.")
    if len(old) == 1:
        return np.repeat(m, len(new), 0)
    index = np.clip(np.searchsorted(old, new, "right") - 1, 0, len(old) - 2)
    share = np.clip((new - old[index]) / (old[index + 1] - old[index]), 0.0, 1.0)
    turn = axis_angle_from_matrix(np.swapaxes(m[:-1], -1, -2) @ m[1:])
    return m[index] @ matrix_from_axis_angle(turn[index] * share.reshape(-1, *([1] * (m.ndim - 2))))


def about(axis: Literal["x", "y", "z"], angle: ArrayLike) -> Floats:
    """Rotations (..., 3, 3) by `angle` (...) about a coordinate axis."""
    radians = np.asarray(angle, np.float64)
    vector = np.zeros((*radians.shape, 3))
    vector[..., "xyz".index(axis)] = radians
    return matrix_from_axis_angle(vector)


def yaw(matrix: ArrayLike) -> Floats:
    """Heading (...) about world +z of joint rotations (..., 3, 3): 0 faces +x, pi / 2 faces +y.

    It is the twist about z of the rotation away from STANDING, so a turn of the scene by `a` adds exactly `a`, and looking straight up or
    down does no harm; only upside down is undefined.
    """
    m = np.asarray(matrix, np.float64)
    turned = m @ STANDING.T
    return np.arctan2(turned[..., 1, 0] - turned[..., 0, 1], turned[..., 0, 0] + turned[..., 1, 1])


def mirror(local: ArrayLike, root: ArrayLike) -> tuple[Floats, Floats]:
    """Exchange left and right: local rotations (..., 22, 3, 3) and root translation (..., 3), reflected at the world's plane x = 0."""
    swapped = np.asarray(local, np.float64)[..., list(skeleton.MIRROR), :, :]
    return swapped * _FLIP_MATRIX, np.asarray(root, np.float64) * _FLIP

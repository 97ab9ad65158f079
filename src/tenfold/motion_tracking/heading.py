"""Input rows seen from where the head stands and faces: the floor position and the heading of the scene drop out (section 2.6)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import columns, rotations
from tenfold.motion_tracking.formulas import starts

Float = npt.NDArray[np.float64]

_TURNS = (columns.ROTATION, columns.POSITION, columns.VELOCITY, columns.ACCELERATION)
"""Columns that are world vectors; the others are seen from a sensor already."""


def of(x: npt.NDArray[np.floating]) -> tuple[Float, Float]:
    """Heading of the head (rad, N) and its floor position (m, N x 2) in rows (N, 135)."""
    head = rotations.matrix_from_six(x[:, : columns.ROTATION[0] + 6])
    return rotations.yaw(head), np.asarray(x[:, columns.POSITION[0] : columns.POSITION[0] + 2], np.float64)


def remove(x: npt.NDArray[np.floating], yaw: Float, floor: Float) -> Float:
    """Rows (N, 135) as one who stands at `floor` and faces `yaw` would give them."""
    out = np.array(x, np.float64)
    cosine, sine = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    for first, last in _TURNS:
        vectors = out[:, first:last].reshape(len(out), -1, 3)
        if (first, last) == columns.POSITION:
            vectors[..., :2] -= floor[:, None]
        east, north = vectors[..., 0].copy(), vectors[..., 1].copy()
        vectors[..., 0], vectors[..., 1] = cosine * east + sine * north, cosine * north - sine * east
        out[:, first:last] = vectors.reshape(len(out), -1)
    return out


def turn_root(pose6d: npt.NDArray[np.floating], yaw: Float) -> Float:
    """Poses (N, 132) with the root turned by `yaw` (rad) about the vertical."""
    out = np.array(pose6d, np.float64)
    vectors = out[:, :6].reshape(-1, 2, 3)
    east, north = vectors[..., 0].copy(), vectors[..., 1].copy()
    cosine, sine = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    vectors[..., 0], vectors[..., 1] = cosine * east - sine * north, sine * east + cosine * north
    out[:, :6] = vectors.reshape(-1, 6)
    return out


def lagged(lengths: Sequence[int], lag: int) -> npt.NDArray[np.int64]:
    """For each row of clips that lie one behind the other, the row `lag` frames before; at a clip's start its first."""
    first = np.repeat(starts(lengths), lengths)
    return np.maximum(np.arange(sum(lengths)) - lag, first)


def stack(x: npt.NDArray[np.floating], lengths: Sequence[int], lags: Sequence[int], canonical: bool) -> tuple[Float, Float]:
    """Rows now and `lags` frames before, side by side (N, 135 (1 + lags)); all seen from the present head if `canonical`. Also its heading."""
    if not canonical:
        return np.hstack([x, *(x[lagged(lengths, lag)] for lag in lags)]).astype(np.float64), np.zeros(len(x))
    yaw, floor = of(x)
    return np.hstack([remove(x[lagged(lengths, lag)], yaw, floor) for lag in (0, *lags)]), yaw

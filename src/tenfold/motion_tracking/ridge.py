"""Ridge regression from three frames of sensors to the pose: the sceptic's choice (section 6, B3), and the rival of claim C3.

One Gram matrix gives the maps of all sensor sets. Columns are standardised; those that never move are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import columns, heading, sensors

Float = npt.NDArray[np.float64]
STILL = 1e-6
"""Standard deviation below which a column says nothing."""


@dataclass
class Moments:
    """Sums over the training rows of inputs (width) and targets (132)."""

    count: int
    x: Float
    y: Float
    xx: Float
    xy: Float

    @classmethod
    def empty(cls, width: int, targets: int = columns.POSE_WIDTH) -> "Moments":
        """No row yet."""
        return cls(0, np.zeros(width), np.zeros(targets), np.zeros((width, width)), np.zeros((width, targets)))

    def add(self, x: Float, y: Float) -> None:
        """Take in rows."""
        self.count += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += x.T @ x
        self.xy += x.T @ y


@dataclass(frozen=True)
class Map:
    """x -> x @ weights + bias, on the stacked rows."""

    weights: Float
    bias: Float

    def __call__(self, x: Float) -> Float:
        return x @ self.weights + self.bias


def fit(moments: Moments, sensor_set: str, strength: float, frames: int) -> Map:
    """The map of one sensor set from the moments of unmasked rows of `frames` stacked frames. `strength`: lambda on standardised columns."""
    n = moments.count
    mean_x, mean_y = moments.x / n, moments.y / n
    spread = np.sqrt(np.maximum(np.diag(moments.xx) / n - mean_x**2, 0.0))
    used = np.flatnonzero(np.tile(sensors.mask(sensor_set), frames) & (spread > STILL))
    scale = spread[used]
    gram = (moments.xx[np.ix_(used, used)] - n * np.outer(mean_x[used], mean_x[used])) / np.outer(scale, scale)
    cross = (moments.xy[used] - n * np.outer(mean_x[used], mean_y)) / scale[:, None]
    solved = np.linalg.solve(gram + strength * np.eye(len(used)), cross) / scale[:, None]
    weights = np.zeros((len(mean_x), len(mean_y)))
    weights[used] = solved
    return Map(weights, mean_y - mean_x @ weights)


def predict(maps: Map, x: npt.NDArray[np.floating], lengths: Sequence[int], sensor_set: str, lags: Sequence[int], canonical: bool) -> Float:
    """Poses (N, 132) of clips that lie one behind the other."""
    stacked, yaw = heading.stack(sensors.apply_mask(np.asarray(x, np.float32), sensor_set), lengths, lags, canonical)
    found = maps(stacked)
    return heading.turn_root(found, yaw) if canonical else found

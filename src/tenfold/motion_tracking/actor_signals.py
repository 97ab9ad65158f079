"""Smooth signals that a clip is made of: band-limited wandering, minimum-jerk transitions, averages that keep a bound."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tenfold.motion_tracking.rotations import Floats

_WAVES = 6


def wander(rng: np.random.Generator, times: Floats, low_hz: float, high_hz: float, columns: int = 1) -> Floats:
    """(T, columns) of zero mean and unit variance: six sines each, between two frequencies, with random phases."""
    hertz = rng.uniform(low_hz, high_hz, (_WAVES, columns))
    weight = rng.uniform(0.4, 1.0, (_WAVES, columns))
    weight *= np.sqrt(2.0 / (weight**2).sum(0))
    angle = 2 * np.pi * hertz * times[:, None, None] + rng.uniform(0, 2 * np.pi, (_WAVES, columns))
    return (weight * np.sin(angle)).sum(1)


def minimum_jerk(share: ArrayLike) -> Floats:
    """0 to 1 with neither speed nor acceleration at both ends; below 0 and above 1 it stays."""
    s = np.clip(np.asarray(share, np.float64), 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s * s)


def bump(share: ArrayLike) -> Floats:
    """0 to 1 and back to 0 with neither speed nor acceleration at both ends."""
    s = np.clip(np.asarray(share, np.float64), 0.0, 1.0)
    return 64.0 * (s * (1.0 - s)) ** 3


def keyframes(times: Floats, at: Sequence[float], values: ArrayLike) -> Floats:
    """(T, ...) that rests at each key (K, ...) at its time and goes from one to the next by minimum jerk."""
    key, value = np.asarray(at, np.float64), np.asarray(values, np.float64)
    index = np.clip(np.searchsorted(key, times, "right") - 1, 0, len(key) - 2)
    share = minimum_jerk((times - key[index]) / np.maximum(key[index + 1] - key[index], 1e-9))
    share = share.reshape(-1, *([1] * (value.ndim - 1)))
    return value[index] + share * (value[index + 1] - value[index])


def smooth(signal: ArrayLike, reach: int) -> Floats:
    """Weighted mean over `reach` frames to each side along axis 0; never outside the range of the frames it sees."""
    given = np.asarray(signal, np.float64)
    kernel = np.hanning(2 * reach + 3)[1:-1] ** 2
    kernel /= kernel.sum()
    padded = np.concatenate([np.repeat(given[:1], reach, 0), given, np.repeat(given[-1:], reach, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return windows @ kernel


def smooth_below(signal: Floats, reach: int) -> Floats:
    """Smooth signal (T,) that nowhere exceeds the given one: the mean of a running minimum over the same frames."""
    padded = np.concatenate([np.full(reach, np.inf), signal, np.full(reach, np.inf)])
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(-1)
    return smooth(lowest, reach)


def saturate(value: ArrayLike, linear: ArrayLike, limit: float) -> Floats:
    """The value itself up to `linear`, then ever closer to `limit`, twice differentiable."""
    given, free = np.asarray(value, np.float64), np.asarray(linear, np.float64)
    room = limit - free
    return np.where(given <= free, given, free + room * np.tanh((given - free) / room))

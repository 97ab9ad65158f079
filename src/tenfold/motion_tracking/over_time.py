"""Curves for the report: error since the start and after sensors are lost, bone lengths, and the spectrum of what shakes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.motion_tracking import formulas, skeleton
from tenfold.motion_tracking.formulas import Motion, Truth
from tenfold.motion_tracking.streaming import Switching

Float = npt.NDArray[np.float64]

SCHEMA = pa.schema({"curve": pa.string(), "method": pa.string(), "sensors": pa.string(), "x": pa.float64(), "y": pa.float64()})
BEGINNING_S = 3.0
AROUND_S = 0.75
WINDOW = 128
"""Frames of a window of the spectrum."""


def rows(curve: str, method: str, sensors: str, x: Float, y: Float) -> list[dict[str, object]]:
    """Points of one curve; those without a value are left out."""
    return [
        {"curve": curve, "method": method, "sensors": sensors, "x": float(a), "y": float(b)}
        for a, b in zip(x, y, strict=True)
        if np.isfinite(b)
    ]


def since_start(values: npt.NDArray[np.floating], lengths: Sequence[int]) -> tuple[Float, Float]:
    """Seconds since a clip's start, and the mean over clips of a value (N,); only where at least half of the clips are that long."""
    most = min(int(BEGINNING_S * skeleton.RATE_HZ), max(lengths))
    table = np.full((len(lengths), most), np.nan)
    for i, (start, n) in enumerate(zip(formulas.starts(lengths), lengths, strict=True)):
        table[i, : min(n, most)] = values[start : start + min(n, most)]
    enough = np.isfinite(table).sum(axis=0) >= (len(lengths) + 1) // 2
    return np.flatnonzero(enough) / skeleton.RATE_HZ, np.nanmean(table[:, enough], axis=0)


def around(switched: Switching, frames: Sequence[int]) -> tuple[Float, Float]:
    """Seconds before and after `frames` (one a clip), and the mean error (cm) over clips."""
    reach = int(AROUND_S * skeleton.RATE_HZ)
    table = np.full((len(switched.error), 2 * reach), np.nan)
    for i, (error, at) in enumerate(zip(switched.error, frames, strict=True)):
        for column in range(2 * reach):
            t = at - reach + column
            if 0 <= t < len(error):
                table[i, column] = error[t]
    known = np.isfinite(table).any(axis=0)
    return (np.arange(2 * reach) - reach)[known] / skeleton.RATE_HZ, np.nanmean(table[:, known], axis=0)


def spectrum(motion: Motion, lengths: Sequence[int]) -> tuple[Float, Float]:
    """Frequency (Hz) and amplitude density (m/s^2 per root Hz) of the joints' accelerations, mean over joints and half-overlapping windows."""
    taper = np.hanning(WINDOW)[:, None, None]
    total, count = np.zeros(WINDOW // 2 + 1), 0
    for start, n in zip(formulas.starts(lengths), lengths, strict=True):
        acceleration = skeleton.RATE_HZ**2 * np.diff(motion.positions[start : start + n], 2, axis=0)
        for at in range(0, len(acceleration) - WINDOW + 1, WINDOW // 2):
            power = np.abs(np.fft.rfft(acceleration[at : at + WINDOW] * taper, axis=0)) ** 2
            total += power.sum(axis=2).mean(axis=1)
            count += 1
    if not count:
        return np.empty(0), np.empty(0)
    density = 2 * total / count / (skeleton.RATE_HZ * float(np.square(taper).sum()))
    frequency = np.asarray(np.fft.rfftfreq(WINDOW, 1 / skeleton.RATE_HZ)[1:], np.float64)
    return frequency, np.sqrt(density)[1:]


def of_motion(method: str, sensors: str, motion: Motion, truth: Truth) -> list[dict[str, object]]:
    """All curves of one answer."""
    lengths = truth.lengths
    error = 100 * np.linalg.norm(motion.positions - truth.motion.positions, axis=-1).mean(axis=1)
    bone = 100 * np.abs(formulas.bones(motion.positions) - truth.bones).mean(axis=1)
    made = rows("start", method, sensors, *since_start(error, lengths)) + rows("bones", method, sensors, *since_start(bone, lengths))
    return made + rows("spectrum", method, sensors, *spectrum(motion, lengths))

"""What inertial sensors on shins and pelvis would say: accelerations from positions, and the errors of real sensors.

Accelerations follow specification section 2.2; the errors section 4 ("IMU simulator"). The levels are fixed test conditions, not options:
what `consumer` means must not change between two runs that are compared.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import UsageError
from tenfold.motion_tracking.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from tenfold.motion_tracking.skeleton import RATE_HZ

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
How = Literal["central", "causal", "raw"]

GRAVITY = np.array([0.0, 0.0, 9.81])
REACH = 4
"""Frames between the three points of the smoothed second difference (official code)."""


@dataclass(frozen=True)
class Level:
    """Errors of a sensor; angles in degrees. `mount`: largest constant error of the sensor on its bone, drawn a clip and sensor.

    `tilt`, `yaw`: slowly wandering error of the estimated orientation, standard deviation; `tremble`: its white part, a frame. `white`
    (m/s^2) a frame; `bias` (m/s^2) at the start and `walk` (m/s^2 per root second) of its random walk. `latency`: most frames that a clip
    is late; `quantum` (m/s^2) and `quantum_deg`: steps of the converter; `lost`: share of frames lost, `longest` (frames) a gap.
    """

    mount: float
    tilt: float
    yaw: float
    tremble: float
    white: float
    bias: float
    walk: float
    latency: int
    quantum: float
    quantum_deg: float
    lost: float
    longest: int


LEVELS: dict[str, Level] = {
    "clean": Level(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0),
    "light": Level(2.0, 0.3, 0.5, 0.05, 0.03, 0.02, 0.005, 0, 0.005, 0.01, 0.0, 0),
    "consumer": Level(5.0, 1.0, 2.0, 0.2, 0.1, 0.1, 0.02, 1, 0.01, 0.02, 0.005, 4),
    "harsh": Level(10.0, 3.0, 8.0, 0.5, 0.5, 0.3, 0.1, 2, 0.04, 0.1, 0.03, 30),
}
"""`light` trains; `consumer` and `harsh` are test conditions. Sizes: typical of data sheets of small MEMS units, chosen, not measured."""

_WANDER_S = 5.0  # time constant of the orientation's error
_SPAN = 256
_HELD = 6  # frames (100 ms) that a lost reading is held; then the sensor counts as absent (section 3.4)


@dataclass(frozen=True)
class Noisy:
    """Readings of three sensors: rotation (T, 3, 3, 3), acceleration (T, 3, 3) in m/s^2, and which of them speak (T, 3)."""

    rotation: Floats
    acceleration: Floats
    present: Bools


def acceleration(position: Floats, how: How = "central", rate_hz: float = RATE_HZ) -> Floats:
    """World acceleration (T, S, 3) in m/s^2 of positions (T, S, 3) in m, gravity not included.

    `central`: second difference over 4 frames each way, over 1 near the ends, 0 in the first and last frame (official code); it looks 4
    frames ahead. `causal`: the same window ended at this frame, shorter at the start, so it lags by up to 4 frames. `raw`: over 1 frame,
    as an instantaneous reading. Raises UsageError for an unknown `how`.
    """
    if how not in ("central", "causal", "raw"):
        raise UsageError(f"acceleration {how!r} is unknown; there are central, causal, raw.")
    out = np.zeros_like(position, dtype=np.float64)
    count, square = len(position), rate_hz * rate_hz
    if how == "causal":
        for reach in range(1, REACH + 1):
            # The widest window that fits behind the frame.
            first, last = 2 * reach, count if reach == REACH else min(2 * reach + 2, count)
            if first < last:
                out[first:last] = _second(position[first - 2 * reach : last], reach) * (square / reach**2)
        return out
    if count > 2:
        out[1:-1] = _second(position, 1) * square
    if how == "central" and count > 2 * REACH:
        out[REACH:-REACH] = _second(position, REACH) * (square / REACH**2)
    return out


def simulate(rng: np.random.Generator, level: str, rotation: Floats, position: Floats, how: How = "raw", rate_hz: float = RATE_HZ) -> Noisy:
    """Readings of imperfect sensors on bones of true rotation (T, 3, 3, 3) that move as `position` (T, 3, 3), in m.

    The sensor's own estimate of its orientation errs; gravity is removed with that estimate, so tilt leaks gravity into the acceleration
    (1 degree: 0.17 m/s^2). A lost reading is held for 100 ms, then the sensor is absent. `clean` returns the truth.
    """
    if level not in LEVELS:
        raise UsageError(f"noise level {level!r} is unknown; there are {', '.join(LEVELS)}.")
    size, shape = LEVELS[level], rotation.shape[:2]
    true = acceleration(position, how, rate_hz)
    present = np.ones(shape, np.bool_)
    if level == "clean":
        return Noisy(rotation, true, present)
    mount = matrix_from_axis_angle(_within(rng, shape[1], np.deg2rad(size.mount)))
    error = _wander(rng, shape, rate_hz) * np.deg2rad([size.tilt, size.tilt, size.yaw])
    error += rng.normal(size=(*shape, 3)) * np.deg2rad(size.tremble)
    believed = matrix_from_axis_angle(error)
    read = believed @ rotation @ mount
    # The accelerometer feels a + g in its own frame; turned by the believed orientation, less g.
    force = np.einsum("tsij,tsj->tsi", believed, true + GRAVITY) - GRAVITY
    drift = np.cumsum(rng.normal(size=(*shape, 3)), axis=0) * (size.walk / np.sqrt(rate_hz))
    bias = rng.normal(size=(1, shape[1], 3)) * size.bias + drift
    force += np.einsum("tsij,tsj->tsi", read, bias) + rng.normal(size=force.shape) * size.white
    if size.quantum:
        force = np.round(force / size.quantum) * size.quantum
    if size.quantum_deg:
        read = matrix_from_axis_angle(np.round(axis_angle_from_matrix(read) / np.deg2rad(size.quantum_deg)) * np.deg2rad(size.quantum_deg))
    # One draw of each kind whatever comes of it: levels differ by size, not by the random numbers they use up.
    late = int(rng.integers(0, size.latency + 1))
    source = np.maximum(np.arange(shape[0]) - late, 0)
    held, present = _gaps(rng, shape, size.lost, size.longest)
    sensors = np.arange(shape[1])
    return Noisy(read[source][held, sensors], force[source][held, sensors], present)


def _second(position: Floats, reach: int) -> Floats:
    return position[: -2 * reach] + position[2 * reach :] - 2 * position[reach:-reach]


def _within(rng: np.random.Generator, count: int, most: float) -> Floats:
    """Rotation vectors (count, 3) about random axes, by 0 to `most` (rad)."""
    axis = rng.normal(size=(count, 3))
    return axis / np.linalg.norm(axis, axis=-1, keepdims=True) * rng.uniform(0.0, most, (count, 1))


def _wander(rng: np.random.Generator, shape: tuple[int, ...], rate_hz: float) -> Floats:
    """Stationary noise (T, S, 3) of unit variance that forgets in a few seconds (Ornstein-Uhlenbeck)."""
    keep = float(np.exp(-1.0 / (_WANDER_S * rate_hz)))
    white = rng.normal(size=(*shape, 3))
    white[1:] *= np.sqrt(1.0 - keep * keep)
    # y[t] = keep y[t-1] + white[t], in closed form over spans short enough for the powers of `keep`.
    last = np.zeros(white.shape[1:])
    for first in range(0, len(white), _SPAN):
        part = white[first : first + _SPAN]
        power = keep ** np.arange(1, len(part) + 1)[:, None, None]
        part[:] = power * (last + np.cumsum(part / power, axis=0))
        last = part[-1]
    return white


def _gaps(rng: np.random.Generator, shape: tuple[int, ...], share: float, longest: int) -> tuple[npt.NDArray[np.int64], Bools]:
    """For each frame and sensor (T, S) the frame whose reading it holds, and whether that is young enough to count."""
    frame = np.broadcast_to(np.arange(shape[0])[:, None], shape)
    begins = rng.random(shape) < (2.0 * share / (longest + 1) if longest else 0.0)
    length = rng.integers(1, longest + 1, shape) if longest else np.zeros(shape, np.int64)
    begins[0] = False
    until = np.maximum.accumulate(np.where(begins, frame + length, 0), axis=0)
    lost = frame < until
    held = np.maximum.accumulate(np.where(lost, 0, frame), axis=0)
    return held, frame - held <= _HELD

"""The 135 input values of each frame, from sensor readings: a whole clip at once, or frame by frame in a live stream.

Follows specification section 2.2; the columns stand in `columns`. Frame t rests on frames t-1 and t only.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import columns

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

HANDS = slice(1, 3)
_COUNT = len(columns.SENSORS)


class Readings(NamedTuple):
    """What the sensors say. `rotation` (T, 6, 3, 3) in the order of `columns.SENSORS`, `position` (T, 3, 3) of head and hands (m),
    `acceleration` (T, 3, 3) of both shins and the pelvis (m/s^2, gravity removed); all in the world's frame.
    """

    rotation: Floats
    position: Floats
    acceleration: Floats


def _silenced() -> Bools:
    """For each sensor the columns (6, 135) that say nothing without it: its token, and those that rest on it."""
    rests = {"lhand_in_head": ("head", "lhand"), "rhand_in_head": ("head", "rhand")}
    silenced = np.zeros((_COUNT, columns.WIDTH), np.bool_)
    for token, ranges in columns.TOKENS.items():
        for sensor in rests.get(token, (token,)):
            for first, last in ranges:
                silenced[columns.SENSORS.index(sensor), first:last] = True
    return silenced


_SILENCED = _silenced()


def readings(rotation: Floats, position: Floats, acceleration: Floats) -> Readings:
    """Perfect sensors on a body: joints' world rotations (T, 22, 3, 3), their positions (T, 22, 3), accelerations (T, 3, 3)."""
    return Readings(rotation[:, columns.SENSOR_JOINTS], position[:, columns.SENSOR_JOINTS[:3]], acceleration)


def features(rotation: Floats, position: Floats, acceleration: Floats) -> Rows:
    """Rows (T-1, 135) of a clip: world rotations (T, 22, 3, 3) and positions (T, 22, 3) of its joints, accelerations (T, 3, 3)."""
    return rows(readings(rotation, position, acceleration))


def rows(read: Readings, present: Bools | None = None) -> Rows:
    """Rows (T-1, 135), one for each frame but the first.

    `present` (T, 6) says which sensors speak (default: all). The columns of a silent one are 0, as in a sensor set without it, whatever
    its reading holds; in the first frame after its return its change is none.
    """
    rotation, position, acceleration = read
    if present is not None:
        rotation, position, acceleration = _harmless(read, present)
    previous, now = rotation[:-1], rotation[1:]
    before, here = position[:-1], position[1:]
    if present is not None:
        fresh = ~present[:-1]
        previous = np.where(fresh[:, :, None, None], now, previous)
        before = np.where(fresh[:, :3, None], here, before)
    # Each frame's hands as its own head sees them; the frame before is seen by the head of that frame.
    count = len(now)
    hand, to_hand = _in_head(now, here)
    last_hand, last_to_hand = _in_head(previous, before)
    out = np.empty((count, columns.WIDTH), np.float32)

    def put(place: tuple[int, int], values: Floats) -> None:
        out[:, place[0] : place[1]] = values.reshape(count, -1)

    put(columns.ROTATION, _six(now))
    put(columns.ROTATION_CHANGE, _six(_turn(previous, now)))
    put(columns.POSITION, here)
    put(columns.VELOCITY, here - before)
    put(columns.HAND_ROTATION, _six(hand))
    put(columns.HAND_ROTATION_CHANGE, _six(_turn(last_hand, hand)))
    put(columns.HAND_POSITION, to_hand)
    put(columns.HAND_VELOCITY, to_hand - last_to_hand)
    put(columns.ACCELERATION, acceleration[1:])
    if present is not None:
        # A hand seen for the first time, or by a head that was not there, has no change in the head's frame either.
        for hand_sensor, start, move in ((1, columns.HAND_ROTATION_CHANGE[0], columns.HAND_VELOCITY[0]), (2, 108, 123)):
            new = fresh[:, 0] | fresh[:, hand_sensor]
            out[new, start : start + 6] = _NO_TURN
            out[new, move : move + 3] = 0.0
        for sensor in range(_COUNT):
            out[np.ix_(~present[1:, sensor], _SILENCED[sensor])] = 0.0
    return out


def apply_mask(x: Rows, sensor_set: str) -> Rows:
    """A copy of rows (..., 135) as the sensor set gives them: what it lacks is 0. Raises UsageError for an unknown set."""
    return np.where(mask(sensor_set), x, np.float32(0.0))


def mask(sensor_set: str) -> Bools:
    """The columns (135,) that a sensor set has. Raises UsageError for an unknown set."""
    if sensor_set not in columns.MASKS:
        raise UsageError(f"sensor set {sensor_set!r} is unknown; there are {', '.join(columns.MASKS)}.")
    has = np.ones(columns.WIDTH, np.bool_)
    for first, last in columns.MASKS[sensor_set]:
        has[first:last] = False
    return has


class Online:
    """Rows of a live stream, a frame a call; the state is the frame before. Equal to `rows` of the whole stream."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the frame before: the next one begins a stream."""
        self._last: tuple[Readings, Bools] | None = None

    def step(self, rotation: Floats, position: Floats, acceleration: Floats, present: Bools | None = None) -> Rows:
        """The row (135,) of one frame: rotation (6, 3, 3), position (3, 3), acceleration (3, 3), present (6,).

        In the first frame nothing turns or moves: changes are the identity and 0.
        """
        here = np.ones(_COUNT, np.bool_) if present is None else np.asarray(present, np.bool_)
        now = Readings(np.array(rotation, np.float64), np.array(position, np.float64), np.array(acceleration, np.float64))
        last, was = (now, np.zeros(_COUNT, np.bool_)) if self._last is None else self._last
        self._last = (now, here)
        both = Readings(*(np.stack(pair) for pair in zip(last, now, strict=True)))
        whole = here.all() and was.all()
        row: Rows = rows(both, None if whole else np.stack([was, here]))[0]
        return row


_NO_TURN = np.array([1, 0, 0, 0, 1, 0], np.float32)


def _harmless(read: Readings, present: Bools) -> Readings:
    """Readings in which a silent sensor stands still at the origin: NaN in it must not spread."""
    rotation = np.where(present[:, :, None, None], read.rotation, np.eye(3))
    position = np.where(present[:, :3, None], read.position, 0.0)
    return Readings(rotation, position, np.where(present[:, 3:, None], read.acceleration, 0.0))


def _in_head(rotation: Floats, position: Floats) -> tuple[Floats, Floats]:
    """Rotations (T, 2, 3, 3) and positions (T, 2, 3) of the hands in the head's frame."""
    head = rotation[:, :1].swapaxes(-1, -2)
    arm = position[:, HANDS] - position[:, :1]
    return head @ rotation[:, HANDS], (arm @ rotation[:, 0])


def _turn(before: Floats, now: Floats) -> Floats:
    return before.swapaxes(-1, -2) @ now


def _six(rotation: Floats) -> Floats:
    """First two columns, one behind the other (..., 6)."""
    return rotation[..., :2].swapaxes(-1, -2).reshape(*rotation.shape[:-2], 6)

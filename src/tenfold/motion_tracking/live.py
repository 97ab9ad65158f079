"""A live stream of sensor readings to poses, a frame at a time; whatever comes in, it keeps running (specification sections 3.4 and 10).

Time. Poses come at 60 Hz. Readings at 60 Hz within 2 % are taken as they are; others are brought to 60 Hz between the last two readings,
so that a pose waits for at most one interval and never for the future. Up to 100 ms without readings are bridged that way; after more the
stream goes on with the next reading, after more than 1 s from a fresh state. Readings whose time is not later than the last are left out;
RESTART of them in a row are a clock that was set back, and the stream goes on from there.

Sensors. What one cannot have measured (`intake`) is not used: its last usable reading is held for up to 100 ms, then its token is masked until it
is back. Without the head the pose stands still. In the EASE frames after sensors went or came no joint moves more than EASE_M a frame as
seen from the head: the network alone would let it jump.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import body as bodies
from tenfold.motion_tracking import columns, kinematics, rotations, sensors, skeleton
from tenfold.motion_tracking.calibration import Calibration
from tenfold.motion_tracking.carried import RATES, Carried
from tenfold.motion_tracking.intake import Checked, Record, check
from tenfold.motion_tracking.onnx_step import OnnxStep
from tenfold.motion_tracking.sensors import Readings
from tenfold.motion_tracking.stream import COUNT, POSED, Line, Unread

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FRAME_S = 1 / skeleton.RATE_HZ
HOLD_S = 0.1
FORGET_S = 1.0
RESTART = 10
SAME_RATE = 0.02
SLACK_S = 1e-6  # of times that are sums of intervals
EASE, EASE_M = 30, 0.1
SETTLE, STILL_M = 60, 1e-3  # frames between two looks at the mean shape, and the change of every bone below which it stays
SHAPES = ("live", "steady")
AUTO = "auto"
SENSOR_SETS = (AUTO, *columns.MASKS)
_ALL = np.ones(COUNT, np.bool_)
_HAS = {
    AUTO: _ALL,
    **{
        name: np.array([not any(start <= 6 * i < end for start, end in ranges) for i in range(COUNT)])
        for name, ranges in columns.MASKS.items()
    },
}
"""Which sensors a set has."""


class Pose(NamedTuple):
    """One 60 Hz frame. `local` (22, 3, 3); `root` (3,) and `positions` (22, 3), m, NaN without a body; `betas` (16,); `head` (3,), m.

    `present`: sensors that the network saw (6,); `held`: those of them whose last reading stood in (6,). `flags`: first, gap, head, eased, again.
    """

    t: float
    local: Floats
    root: Floats
    positions: Floats
    betas: Floats
    head: Floats
    present: Bools
    held: Bools
    flags: tuple[str, ...]

    @property
    def sensor_set(self) -> str:
        """The largest sensor set of which nothing is missing."""
        return sensor_set(self.present)


def sensor_set(present: Bools) -> str:
    """The largest sensor set of which nothing is missing; hmd where even that has not all."""
    whole = [name for name in columns.MASKS if present[_HAS[name]].all()]
    return whole[-1] if whole else next(iter(columns.MASKS))


class Live:
    """One stream: what it has carried so far, and what was wrong in it. Any number of streams may share one step."""

    def __init__(self, step: OnnxStep, body: bodies.Body | None, *, calibration: Calibration | None = None, shape: str = "live") -> None:
        """`shape`: as the network gives it for every frame, or `steady`, its mean, which stays once no bone changes any more."""
        if shape not in SHAPES:
            raise UsageError(f"shape is {shape!r}; there are {', '.join(SHAPES)}")
        self._step, self._body, self._calibration = step, body, calibration
        self._steady = shape == "steady"
        self.record = Record()
        self.carried = Carried.fresh(step.start())

    def to_bytes(self) -> bytes:
        """What is carried, for the caller to keep."""
        return self.carried.to_bytes(self._step.sha256)

    def from_bytes(self, data: bytes) -> None:
        """Go on from `to_bytes`. Raises BadData."""
        self.carried = Carried.from_bytes(data, self._step.sha256, self._step.start())

    def push(self, line: Line, use: str = AUTO) -> list[Pose]:
        """The poses that a reading makes known: one at 60 Hz, none or several otherwise. `use`: the sensor set, or `auto`."""
        had = self._had(use)
        carried = self.carried
        frame = int(carried.frames)
        carried.frames = carried.frames + 1
        if isinstance(line, Unread):
            self.record.note("unread", frame, detail=line.why)
            return []
        if not np.isfinite(line.t):
            self.record.note("no_time", frame)
            return []
        flags: tuple[str, ...] = ()
        passed = line.t - float(carried.time)
        if np.isnan(passed):
            flags = ("first",)
        elif passed <= 0:
            if not self._set_back(line.t, passed, frame):
                return []
            flags, passed = ("gap",), np.inf
        carried.behind_count = np.zeros(())
        now = check(line, frame, self.record)
        if self._calibration is not None:
            now = Checked(self._calibration.apply(now.reading), now.usable)
        if not flags and passed > HOLD_S + SLACK_S:
            self.record.note("long_gap", frame, detail=f"{passed:.3f} s from t = {float(carried.time):.3f}")
            flags = ("gap",)
        elif not flags and passed > max(2.5 * FRAME_S, 1.5 * self._interval()):
            self.record.note("gap", frame, detail=f"{passed:.3f} s from t = {float(carried.time):.3f}")
        times = [line.t] if flags else self._ticks(line.t, passed)
        if flags == ("gap",):
            carried.intervals = np.full(RATES, np.nan)
            if passed > FORGET_S:
                self._forget()
        made = [self._tick(now if t == line.t else self._between(now, t, line.t), t, frame, had, flags) for t in times]
        carried.time = np.array(line.t)
        carried.before_rotation, carried.before_position, carried.before_acceleration = now.reading
        carried.before_usable = now.usable.astype(np.float64)
        return [pose for pose in made if pose is not None]

    def row(self, x: npt.NDArray[np.floating], use: str = AUTO) -> Pose | None:
        """The pose of one of the 135-value rows, at 60 Hz; None for one that is not finite and has none before it."""
        had, carried = self._had(use), self.carried
        frame = int(carried.frames)
        carried.frames = carried.frames + 1
        start = np.isnan(carried.tick)
        t = 0.0 if start else float(carried.tick) + FRAME_S
        given = np.array(x, np.float32)
        usable = bool(np.isfinite(given).all())
        if not usable:
            self.record.note("not_finite", frame, detail="row of 135 values")
        six = given[: 6 * COUNT].reshape(COUNT, 6)
        present = (six != 0).any(axis=1) & had if usable else np.zeros(COUNT, np.bool_)
        given[_hidden(~had)] = 0
        if present[0]:
            carried.last_position = carried.last_position.copy()
            carried.last_position[0] = given[columns.POSITION[0] : columns.POSITION[0] + 3]
        return self._pose(given if present[0] else None, t, frame, present, np.zeros(COUNT, np.bool_), ("first",) if start else ())

    def again(self, t: float) -> Pose | None:
        """The last pose under the head of the last reading, for one that made no new pose; None before the first."""
        carried = self.carried
        if np.isnan(carried.local).any():
            return None
        head = carried.before_position[0] if carried.before_usable[0] else carried.last_position[0]
        return self._placed(carried.local, carried.betas, head, t, carried.present > 0, np.zeros(COUNT, np.bool_), ("again",))

    # -- time -------------------------------------------------------------------------------------------------------

    def _set_back(self, t: float, passed: float, frame: int) -> bool:
        """Note a time that is not later than the last; True if it is that of a clock that was set back."""
        carried = self.carried
        self.record.note("duplicate" if passed == 0 else "backwards", frame, detail=f"t = {t:g} after {float(carried.time):g}")
        later = float(carried.behind_count) > 0 and t > float(carried.behind)
        carried.behind_count = carried.behind_count + 1 if later else np.ones(())
        carried.behind = np.array(t)
        if float(carried.behind_count) < RESTART:
            return False
        self.record.note("clock", frame, detail=f"t = {t:g} after {float(carried.time):g}")
        return True

    def _interval(self) -> float:
        """Typical time between readings so far; infinite before there are two."""
        known = self.carried.intervals[np.isfinite(self.carried.intervals)]
        return float(np.median(known)) if len(known) else np.inf

    def _ticks(self, t: float, passed: float) -> list[float]:
        """Times of the frames that a reading at `t` makes known."""
        carried = self.carried
        carried.intervals = np.append(carried.intervals[1:], passed)
        tick = float(carried.tick)
        if np.isnan(tick):
            return [t]
        if abs(self._interval() * skeleton.RATE_HZ - 1) <= SAME_RATE:
            count = max(1, round((t - tick) * skeleton.RATE_HZ))
            return [*(tick + (t - tick) * number / count for number in range(1, count)), t]
        due = int((t - tick + SLACK_S) * skeleton.RATE_HZ)
        times = [tick + number * FRAME_S for number in range(1, due + 1)]
        if times and abs(times[-1] - t) <= SLACK_S:
            times[-1] = t
        return times

    def _between(self, now: Checked, t: float, end: float) -> Checked:
        """Readings at `t`, between those before and now; a sensor without both gives what it gave before."""
        carried = self.carried
        start = float(carried.time)
        share = float(np.clip((t - start) / (end - start), 0.0, 1.0))
        usable = carried.before_usable > 0
        share_of = np.where(usable & now.usable, share, 0.0)
        before, after = carried.before_rotation, now.reading.rotation
        turn = rotations.axis_angle_from_matrix(before.swapaxes(-1, -2) @ after)
        rotation = before @ rotations.matrix_from_axis_angle(turn * share_of[:, None])
        position = carried.before_position + share_of[:POSED, None] * (now.reading.position - carried.before_position)
        felt = carried.before_acceleration + share_of[POSED:, None] * (now.reading.acceleration - carried.before_acceleration)
        return Checked(Readings(rotation, position, felt), usable)

    def _forget(self) -> None:
        """Begin anew, as after a long silence; the pose before is kept to start from, and the wearer's shape."""
        carried = self.carried
        carried.network = self._step.start()
        carried.good = np.full(COUNT, np.nan)
        carried.present = np.zeros(COUNT)

    # -- sensors ----------------------------------------------------------------------------------------------------

    def _had(self, use: str) -> Bools:
        if use not in _HAS:
            raise UsageError(f"sensor set {use!r} is unknown; there are {', '.join(SENSOR_SETS)}")
        return _HAS[use]

    def _tick(self, now: Checked, t: float, frame: int, had: Bools, flags: tuple[str, ...]) -> Pose | None:
        carried = self.carried
        usable = now.usable & had
        was = carried.present > 0
        # a sensor that was held or silent in the frame before has no change in this one
        steady = was & (np.abs(carried.good - float(carried.tick)) <= SLACK_S) if "gap" not in flags else np.zeros(COUNT, np.bool_)
        previous = Readings(carried.last_rotation, carried.last_position, carried.last_acceleration)
        if usable.all():
            rotation, position, felt = now.reading
        else:
            rotation = np.where(usable[:, None, None], now.reading.rotation, previous.rotation)
            position = np.where(usable[:POSED, None], now.reading.position, previous.position)
            felt = np.where(usable[POSED:, None], now.reading.acceleration, previous.acceleration)
        known = np.isfinite(carried.good)
        carried.good = np.where(usable, t, carried.good)
        held = ~usable & (t - carried.good <= HOLD_S + SLACK_S) & had
        present = usable | held
        for what, which in (("lost", was & ~present & had), ("back", present & ~was & known)):
            for number in np.flatnonzero(which):
                self.record.note(what, frame, columns.SENSORS[number], f"t = {t:.3f}")
        carried.last_rotation, carried.last_position, carried.last_acceleration = rotation, position, felt
        row = None
        if present[0]:
            both = Readings(*(np.stack(pair) for pair in zip(previous, (rotation, position, felt), strict=True)))
            whole = present.all() and steady.all()
            row = sensors.rows(both, None if whole else np.stack([steady, present]))[0]
        return self._pose(row, t, frame, present, held, flags)

    # -- poses ------------------------------------------------------------------------------------------------------

    def _pose(
        self, row: npt.NDArray[np.float32] | None, t: float, frame: int, present: Bools, held: Bools, flags: tuple[str, ...]
    ) -> Pose | None:
        carried = self.carried
        first = bool(np.isnan(carried.local).any())
        switched = "gap" in flags or bool(((carried.present > 0) != present).any())
        carried.tick, carried.present = np.array(t), present.astype(np.float64)
        head = carried.last_position[0]
        if row is not None:
            made, state = self._step(row[None], carried.network)
            if np.isfinite(made.pose).all() and np.isfinite(made.betas).all():
                carried.network = state
                local = rotations.matrix_from_six(made.pose[0].reshape(skeleton.COUNT, 6))
                betas = self._shape(np.asarray(made.betas[0], np.float64))
                carried.age = np.zeros(()) if switched and not first else carried.age + 1
                if carried.age < EASE:
                    local, betas, eased = self._eased(local, betas)
                    flags = (*flags, "eased") if eased else flags
                pose = self._placed(local, betas, head, t, present, held, flags)
                carried.local, carried.betas, carried.positions = local, betas, pose.positions
                return pose
            self.record.note("network", frame, detail=f"t = {t:.3f}")
            carried.network = self._step.start()
        if first:
            return None
        # no head to hang the body on: it stands still
        return self._placed(carried.local, carried.betas, head, t, present, held, (*flags, "head"))

    def _eased(self, local: Floats, betas: Floats) -> tuple[Floats, Floats, bool]:
        """A pose so far on the way from the last one that no joint moves more than EASE_M, as seen from the head; and whether that is less."""
        carried = self.carried
        share, target = 1.0, (local, betas)
        turn: Floats | None = None
        for _ in range(4):
            moved = self._moved(local, betas)
            if moved <= EASE_M:
                break
            # joints move on arcs, so the share that is right is found in a few steps
            share *= 0.98 * EASE_M / moved
            if turn is None:
                turn = rotations.axis_angle_from_matrix(carried.local.swapaxes(-1, -2) @ target[0])
            local = carried.local @ rotations.matrix_from_axis_angle(share * turn)
            betas = carried.betas + share * (target[1] - carried.betas)
        return local, betas, share < 1

    def _moved(self, local: Floats, betas: Floats) -> float:
        """How far (m) the farthest joint would be from where it was, both seen from the head; 0 where that is not known."""
        carried = self.carried
        if self._body is None or np.isnan(carried.positions).any():
            return 0.0
        _, positions = kinematics.forward(local, bodies.joints(self._body, betas), np.zeros(3))
        before = carried.positions - carried.positions[skeleton.HEAD]
        return float(np.linalg.norm(positions - positions[skeleton.HEAD] - before, axis=-1).max())

    def _shape(self, betas: Floats) -> Floats:
        """The shape, or its mean that stays once no bone changes any more."""
        carried = self.carried
        if not self._steady:
            return betas
        if not carried.shape_settled > 0:
            carried.shape_count = carried.shape_count + 1
            carried.shape_mean = carried.shape_mean + (betas - carried.shape_mean) / carried.shape_count
            if carried.shape_count % SETTLE == 0:
                change = np.abs(carried.shape_mean - carried.shape_mark)
                moved = (
                    change.max() if self._body is None else np.abs(self._bones(carried.shape_mean) - self._bones(carried.shape_mark)).max()
                )
                # the first mark is no mean
                carried.shape_settled = np.array(float(moved < STILL_M and carried.shape_count > SETTLE))
                carried.shape_mark = carried.shape_mean
        return carried.shape_mean

    def _bones(self, betas: Floats) -> Floats:
        assert self._body is not None
        rest = bodies.joints(self._body, betas)
        bones: Floats = np.linalg.norm(rest[1:] - rest[list(skeleton.PARENTS[1:])], axis=-1)
        return bones

    def _placed(self, local: Floats, betas: Floats, head: Floats, t: float, present: Bools, held: Bools, flags: tuple[str, ...]) -> Pose:
        if self._body is None:
            missing = np.full((skeleton.COUNT, 3), np.nan)
            return Pose(t, local, missing[0], missing, betas, head, present, held, flags)
        rest = bodies.joints(self._body, betas)
        _, positions = kinematics.forward(local, rest, np.zeros(3))
        positions = kinematics.align_head(positions, head)
        return Pose(t, local, positions[0] - rest[0], positions, betas, head, present, held, flags)


def _hidden(sensors_off: Bools) -> Bools:
    """Columns (135,) that are 0 without the sensors."""
    off = np.zeros(columns.WIDTH, np.bool_)
    for token, ranges in columns.TOKENS.items():
        if sensors_off[columns.SENSORS.index(token.removesuffix("_in_head"))]:
            for first, last in ranges:
                off[first:last] = True
    return off

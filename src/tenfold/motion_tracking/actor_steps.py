"""Footsteps: a foot in stance is fixed in the world, a swing goes by minimum jerk to where the body will be.

Stride frequency 0.55 + 0.35 v a second (v in m/s) and a stance share that gives double support below 1.9 m/s and flight above
(specification section 4). Feet are planned by their ball (the foot joint), about which the heel rises.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.motion_tracking.actor_signals import bump, keyframes, minimum_jerk
from tenfold.motion_tracking.rotations import Floats
from tenfold.motion_tracking.skeleton import RATE_HZ

SOLE_M = 0.025
"""Height of the ball above the floor in stance."""

_HEEL_M = 0.17
_STILL_MPS = 0.12
_OFF_PLACE_M, _OFF_PLACE_RAD = 0.06, 0.35
_CORRECTION_S = 0.45
_TURN_M = 0.25
"""Turning on the spot by 1 rad/s asks for steps like walking at this many m/s."""
_LOOK_FRAMES, _LOOK_AGAIN_S = 18, 1 / 15


@dataclass(frozen=True)
class Path:
    """Where the body is to go, a row a frame: times (T,), s; position (T, 2), m; heading (T,), rad; speed (T,), m/s; turning (T,), rad/s."""

    times: Floats
    position: Floats
    heading: Floats
    speed: Floats
    turning: Floats


@dataclass(frozen=True)
class Style:
    """How a clip walks: ball ahead of and beside the pelvis, m; toes turned out, rad; swing clearance, m; heel rise, toe rise, rad."""

    ahead: float
    beside: float
    toe_out: float
    clearance: float
    heel: float
    toe: float


@dataclass(frozen=True)
class Foot:
    """ball (T, 3), m; heading (T,), pitch (T,), rad, positive with the heel up; contact (T,) bool: the ball rests on the floor."""

    ball: Floats
    heading: Floats
    pitch: Floats
    contact: NDArray[np.bool_]


@dataclass(frozen=True)
class _Step:
    foot: int
    start: float
    end: float
    place: Floats
    heading: float
    stance: float


@dataclass(frozen=True)
class _Wanted:
    """Where each foot would stand under the body, a row a frame: place (2, T, 2), m; heading (2, T), rad; speed and drive to step (T,), m/s."""

    place: Floats
    heading: Floats
    speed: Floats
    drive: Floats


def feet(path: Path, style: Style, busy: list[tuple[float, float]]) -> tuple[Foot, Foot]:
    """Left and right foot along the path; no step begins in a `busy` interval (s)."""
    wanted = _wanted(path, style)
    steps = _steps(path.times, wanted, busy)
    left, right = (_foot(path.times, style, [step for step in steps if step.foot == foot], wanted, foot) for foot in (0, 1))
    return left, right


def _wanted(path: Path, style: Style) -> _Wanted:
    ahead = np.column_stack([np.cos(path.heading), np.sin(path.heading)])
    left = np.column_stack([-ahead[:, 1], ahead[:, 0]])
    sides = np.array([1.0, -1.0])
    place = path.position + style.ahead * ahead + sides[:, None, None] * style.beside * left
    speed, turning = (_coming(column) for column in (path.speed, np.abs(path.turning)))
    return _Wanted(place, path.heading + sides[:, None] * style.toe_out, speed, speed + _TURN_M * turning)


def _coming(signal: Floats) -> Floats:
    """Mean (T,) over the frames that follow."""
    total = np.append(0.0, np.cumsum(np.append(signal, np.repeat(signal[-1:], _LOOK_FRAMES))))
    return (total[_LOOK_FRAMES : _LOOK_FRAMES + len(signal)] - total[: len(signal)]) / _LOOK_FRAMES


def _steps(times: Floats, wanted: _Wanted, busy: list[tuple[float, float]]) -> list[_Step]:
    steps: list[_Step] = []
    first, last = float(times[0]), float(times[-1])

    def frame(time: float) -> int:
        return min(max(int((time - first) * RATE_HZ + 0.5), 0), len(times) - 1)

    place, heading, landed = [wanted.place[foot, 0] for foot in (0, 1)], [float(wanted.heading[foot, 0]) for foot in (0, 1)], [first, first]
    time, foot = first, 0
    while time < last:
        blocked = next((end for start, end in busy if start <= time < end), None)
        if blocked is not None:
            time = blocked
            continue
        now = frame(time)
        if wanted.drive[now] < _STILL_MPS:
            off = np.linalg.norm(wanted.place[:, now] - np.stack(place), axis=1) / _OFF_PLACE_M
            off = np.maximum(off, np.abs(_wrap(wanted.heading[:, now] - heading)) / _OFF_PLACE_RAD)
            foot = int(off.argmax())
            if off[foot] < 1.0:
                time += _LOOK_AGAIN_S
                continue
            swing, stance, pause = _CORRECTION_S, 0.6, _CORRECTION_S + 0.1
            aim = time + swing
        else:
            speed = float(wanted.speed[now])
            period = 1.0 / (0.55 + 0.35 * max(speed, 0.35))
            share = min(max(0.66 - 0.084 * speed, 0.36), 0.66)
            swing, stance, pause = (1 - share) * period, share * period, period / 2
            aim = time + swing + stance / 2
        time = max(time, landed[foot] + 0.08)
        place[foot], heading[foot], landed[foot] = wanted.place[foot, frame(aim)], float(wanted.heading[foot, frame(aim)]), time + swing
        steps.append(_Step(foot, time, time + swing, place[foot], heading[foot], stance))
        time, foot = time + pause, 1 - foot
    return steps


def _wrap(angle: Floats) -> Floats:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _foot(times: Floats, style: Style, steps: list[_Step], wanted: _Wanted, foot: int) -> Foot:
    ball = np.column_stack([np.tile(wanted.place[foot, 0], (len(times), 1)), np.full(len(times), SOLE_M)])
    heading = np.full(len(times), wanted.heading[foot, 0])
    contact = np.ones(len(times), bool)
    heel, toe = [(float(times[0]) - 1.0, 0.0)], [(float(times[0]) - 1.0, 0.0)]
    for step in steps:
        swing = step.end - step.start
        since = int(np.searchsorted(times, step.start))
        share = (times[since:] - step.start) / swing
        moved = minimum_jerk(share)
        from_place, from_heading = ball[-1, :2].copy(), heading[-1]
        turn = (step.heading - from_heading + np.pi) % (2 * np.pi) - np.pi
        ball[since:, :2] = from_place + moved[:, None] * (step.place - from_place)
        heading[since:] = from_heading + moved * turn
        # A short step shuffles, a long one lifts the foot and rolls over it.
        effort = float(np.clip(np.linalg.norm(step.place - from_place) / 0.6, 0.15, 1.6))
        ball[since:, 2] += (0.03 + style.clearance * effort) * bump(share)
        rolls, settle = min(0.35 * step.stance, 0.3), min(0.08, 0.25 * step.stance)
        begin = max(step.start - rolls, heel[-1][0] + 0.01)
        heel += [(begin, 0.0), (step.start + 0.22 * swing, style.heel * min(effort, 1.3)), (step.start + 0.75 * swing, 0.0)]
        toe += [(step.start + 0.4 * swing, 0.0), (step.start + 0.85 * swing, style.toe * min(effort, 1.0)), (step.end + settle, 0.0)]
        contact &= (times < step.start) | (times > step.end + settle)
    end = float(times[-1]) + 1.0
    up = keyframes(times, *zip(*(*heel, (max(end, heel[-1][0] + 1.0), 0.0)), strict=True))
    down = keyframes(times, *zip(*(*toe, (max(end, toe[-1][0] + 1.0), 0.0)), strict=True))
    ball[:, 2] += _HEEL_M * np.sin(down)
    return Foot(ball, heading, up - down, contact)

"""What a clip is to do: where to, how deep, which kicks and reaches, where to look. One plan a kind, or a chain of kinds for `mixed`.

Gaze, kicks and squats are drawn apart from the hands: what the legs do must not be written in what the headset sees.
"""

from dataclasses import dataclass

import numpy as np

from tenfold.motion_tracking import actor_limbs
from tenfold.motion_tracking.actor_signals import keyframes, smooth, wander
from tenfold.motion_tracking.actor_steps import Path
from tenfold.motion_tracking.rotations import Floats

KINDS = ("walk", "run", "idle", "squat", "reach", "sidestep", "kick", "mixed")
_PARTS = ("walk", "idle", "squat", "reach", "sidestep", "kick")


@dataclass(frozen=True)
class Kick:
    """One kick: foot 0 left, 1 right; start, s; length, s; forward, sideways and up, m."""

    foot: int
    start: float
    length: float
    forward: float
    sideways: float
    up: float


@dataclass(frozen=True)
class Plan:
    """A row a frame, angles in rad: depth (T,) of a squat, m; lean, twist, side (T,) of the chest; gaze (T, 3) yaw, pitch, roll beside the
    heading; reaching (T, 2), 0..1 for left and right; hand (T, 2, 4): chart vector and share of the arm's length; tremble
    (T, 2) of a hanging arm; run (T,), 0..1.
    """

    path: Path
    kicks: list[Kick]
    depth: Floats
    lean: Floats
    twist: Floats
    side: Floats
    gaze: Floats
    reaching: Floats
    hand: Floats
    tremble: Floats
    run: Floats


def plan(rng: np.random.Generator, kind: str, times: Floats) -> Plan:
    """Draw a plan of that kind for the frames at `times` (T,), s."""
    first, last = float(times[0]), float(times[-1])
    parts = [(first - 1.0, last + 1.0, kind)] if kind != "mixed" else _chain(rng, first, last)
    velocity, turning, run = np.zeros((len(times), 2)), np.zeros(len(times)), np.zeros(len(times))
    depth, kicks = np.zeros(len(times)), []
    for start, end, part in parts:
        ramp = min(0.5, 0.3 * (end - start))
        on = keyframes(times, [start, start + ramp, end - ramp, end], [0.0, 1.0, 1.0, 0.0])
        forward, sideways, turn = _travel(rng, part, times)
        velocity += on[:, None] * np.column_stack([forward, sideways])
        turning += on * turn
        run += on * (part == "run")
        if part == "squat":
            depth += _squats(rng, times, max(start, first), min(end, last))
        if part == "kick":
            kicks += _kicks(rng, max(start, first), min(end, last))
    heading = rng.uniform(-np.pi, np.pi) + np.cumsum(turning) / 60 + 0.05 * wander(rng, times, 0.05, 0.3)[:, 0]
    ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    world = velocity[:, :1] * ahead.T + velocity[:, 1:] * left.T
    position = rng.uniform(-1.5, 1.5, 2) + np.cumsum(world, 0) / 60
    path = Path(times, position, heading, np.linalg.norm(velocity, axis=1), np.gradient(heading) * 60)
    reaching, hand = _hands(rng, times, parts)
    pull = (reaching[:, :, None] * hand[:, :, :3]).sum(1)
    noise = wander(rng, times, 0.1, 0.7, 3)
    return Plan(
        path=path,
        kicks=kicks,
        depth=depth,
        lean=rng.normal(0.04, 0.03) + 0.13 * run + 0.9 * depth + 0.03 * noise[:, 0] + 0.06 * smooth(pull[:, 0], 12),
        twist=0.06 * noise[:, 1] + 0.12 * smooth(reaching[:, 1] * hand[:, 1, 0] - reaching[:, 0] * hand[:, 0, 0], 12),
        side=0.025 * noise[:, 2],
        gaze=_gaze(rng, times),
        reaching=reaching,
        hand=hand,
        tremble=np.zeros((len(times), 2)),
        run=run,
    )


def _chain(rng: np.random.Generator, first: float, last: float) -> list[tuple[float, float, str]]:
    parts, time = [], first
    while time < last:
        length = rng.uniform(1.8, 3.2)
        parts.append((time, time + length, str(rng.choice(_PARTS))))
        time += length
    return parts


def _travel(rng: np.random.Generator, part: str, times: Floats) -> tuple[Floats, Floats, Floats]:
    """Forward and sideways speed, m/s, and turning, rad/s, of a part, each (T,)."""
    still = np.zeros(len(times))
    wave = wander(rng, times, 0.05, 0.3, 3)
    if part == "walk":
        return np.maximum(rng.uniform(0.6, 1.6) + 0.15 * wave[:, 0], 0.3), still, rng.uniform(0.1, 0.45) * wave[:, 1]
    if part == "run":
        return np.maximum(rng.uniform(2.1, 3.1) + 0.15 * wave[:, 0], 1.95), still, rng.uniform(0.1, 0.3) * wave[:, 1]
    if part == "sidestep":
        at = [float(times[0])]
        while at[-1] < times[-1]:
            at.append(at[-1] + rng.uniform(0.9, 1.8))
        return (
            keyframes(times, at, rng.uniform(-0.5, 0.3, len(at))),
            keyframes(times, at, rng.uniform(-0.45, 0.45, len(at))),
            0.1 * wave[:, 1],
        )
    return still, still, still


def _squats(rng: np.random.Generator, times: Floats, start: float, end: float) -> Floats:
    at, value, time = [float(times[0]) - 2.0], [0.0], start + rng.uniform(0.0, 0.4)
    while time < end - 1.2:
        down, hold, up = rng.uniform(0.6, 1.2), rng.uniform(0.0, 0.5), rng.uniform(0.6, 1.1)
        if time + down + hold + up > end and len(at) > 1:
            break
        deep = rng.uniform(0.12, 0.45)
        at += [time, time + down, time + down + hold + 0.01, time + down + hold + up]
        value += [0.0, deep, deep, 0.0]
        time = at[-1] + rng.uniform(0.1, 0.6)
    return keyframes(times, [*at, max(float(times[-1]), at[-1]) + 2.0], [*value, 0.0])


def _kicks(rng: np.random.Generator, start: float, end: float) -> list[Kick]:
    kicks, time = [], start + rng.uniform(0.2, 0.7)
    while time + 1.4 < end:
        length = rng.uniform(1.0, 1.4)
        kicks.append(Kick(int(rng.integers(2)), time, length, rng.uniform(0.35, 0.7), rng.uniform(-0.1, 0.3), rng.uniform(0.2, 0.8)))
        time += length + rng.uniform(0.4, 0.9)
    return kicks


def _gaze(rng: np.random.Generator, times: Floats) -> Floats:
    at, value = [float(times[0])], [[0.0, 0.1, 0.0]]
    while at[-1] < times[-1]:
        moved = [rng.uniform(-0.9, 0.9), rng.uniform(-0.25, 0.6), rng.normal(0.0, 0.05)]
        start = at[-1] + rng.uniform(0.2, 1.5)
        at += [start, start + rng.uniform(0.3, 0.6)]
        value += [value[-1], moved]
    return keyframes(times, at, value) + np.array([0.03, 0.04, 0.02]) * wander(rng, times, 0.3, 1.5, 3)


def _hands(rng: np.random.Generator, times: Floats, parts: list[tuple[float, float, str]]) -> tuple[Floats, Floats]:
    """reaching (T, 2) and hand (T, 2, 4) of Plan; a right hand is drawn as a left one and mirrored by the actor."""
    reaching, hand = np.zeros((len(times), 2)), np.empty((len(times), 2, 4))
    for side in (0, 1):
        for start, end, part in parts:
            if rng.random() < {"reach": 0.9, "idle": 0.4, "run": 0.0}.get(part, 0.35):
                ramp = min(0.45, 0.3 * (end - start))
                reaching[:, side] += keyframes(times, [start, start + ramp, end - ramp, end], [0.0, 1.0, 1.0, 0.0])
        at, value = [float(times[0])], [_target(rng)]
        while at[-1] < times[-1]:
            dwell, move = rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.9)
            at += [at[-1] + dwell, at[-1] + dwell + move]
            value += [value[-1], _target(rng)]
        hand[:, side] = keyframes(times, at, value)
        hand[:, side] += np.array([0.02, 0.02, 0.02, 0.01]) * wander(rng, times, 0.3, 2.0, 4)
    return reaching, hand


def _target(rng: np.random.Generator) -> Floats:
    """A place for the left hand: chart vector (3,) and share of the arm's length."""
    across, up = rng.uniform(-0.5, 1.5), rng.uniform(-1.2, 0.9)
    direction = np.array([np.cos(up) * np.cos(across), np.cos(up) * np.sin(across), np.sin(up)])
    return np.append(actor_limbs.chart(direction[None])[0], rng.uniform(0.5, 0.96))

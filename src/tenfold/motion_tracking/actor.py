"""The kinematic actor: one clip of generated motion for a given body, exact on its own terms (specification section 4).

A foot in contact does not slide because the legs are solved from the feet up; knees and elbows are hinges that bend one way.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import kinematics, skeleton
from tenfold.motion_tracking.actor_limbs import carry, chart, two_bone, unchart
from tenfold.motion_tracking.actor_plan import KINDS, Kick, Plan, plan
from tenfold.motion_tracking.actor_signals import keyframes, smooth, smooth_below, wander
from tenfold.motion_tracking.actor_steps import SOLE_M, Foot, Style, feet
from tenfold.motion_tracking.rotations import STANDING, Floats, about, axis_angle_from_matrix, matrix_from_axis_angle

_LEAD_FRAMES, _TAIL_FRAMES = 90, 45
_LEG = (0.990, 0.997)
_ARM = (0.90, 0.985)
_SWING_SLACK = 0.14
_LEG_CAP = 0.989
_HIPS, _KNEES, _ANKLES, _FEET = (1, 2), (4, 5), (7, 8), (10, 11)
_COLLARS, _SHOULDERS, _ELBOWS, _WRISTS = (13, 14), (16, 17), (18, 19), (20, 21)
_TREMOR_HZ = (4.0, 12.0)
_TREMOR_RAD = {"chest": 0.005, "head": 0.005, "hand": 0.01, "hang": 0.01}
_DOWN = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Motion:
    """local (T, 22, 3, 3) and root (T, 3), m, as in kinematics.forward, at 60 Hz; contact (T, 2): the ball of the foot rests on the floor."""

    local: Floats
    root: Floats
    contact: NDArray[np.bool_]


def act(rng: np.random.Generator, kind: str, frames: int, rest: Floats, tremor: float = 1.0) -> Motion:
    """Generate `frames` of a kind of KINDS for a body with joints at `rest` (22, 3). Raises UsageError for another kind.

    `tremor` multiplies the fast small movement of trunk, head and hands (3 to 8 Hz) that makes a generated clip as rough as a measured one.
    """
    if kind not in KINDS or frames < 1:
        raise UsageError(f"the demo can {', '.join(KINDS)}, not {kind!r} for {frames} frames. Correct `make` in params.yaml.")
    times = np.arange(-_LEAD_FRAMES, frames + _TAIL_FRAMES) / skeleton.RATE_HZ
    script = _trembling(rng, plan(rng, kind, times), tremor)
    planted, grounded = _feet(rng, script, rest)
    world = np.empty((len(times), skeleton.COUNT, 3, 3))
    pelvis = _trunk(rng, script, planted, grounded, rest, world)
    _legs(script, planted, grounded, rest, pelvis, world)
    _arms(rng, script, planted, rest, pelvis, world)
    shown = slice(_LEAD_FRAMES, _LEAD_FRAMES + frames)
    return Motion(kinematics.local_from_global(world)[shown], (pelvis - rest[0])[shown], grounded[shown])


def _trembling(rng: np.random.Generator, script: Plan, tremor: float) -> Plan:
    times = script.path.times
    size = tremor * rng.uniform(0.6, 1.4) * (1.0 + 0.5 * np.clip(script.path.speed, 0.0, 2.0))[:, None]
    chest, gaze, hands = (size * wander(rng, times, *_TREMOR_HZ, columns) for columns in (3, 3, 8))
    hand = script.hand.copy()
    hand[:, :, :3] += _TREMOR_RAD["hand"] * hands[:, :6].reshape(-1, 2, 3)
    return replace(
        script,
        lean=script.lean + _TREMOR_RAD["chest"] * chest[:, 0],
        twist=script.twist + _TREMOR_RAD["chest"] * chest[:, 1],
        side=script.side + _TREMOR_RAD["chest"] * chest[:, 2],
        gaze=script.gaze + _TREMOR_RAD["head"] * gaze,
        hand=hand,
        tremble=_TREMOR_RAD["hang"] * hands[:, 6:],
    )


def _feet(rng: np.random.Generator, script: Plan, rest: Floats) -> tuple[tuple[Foot, Foot], NDArray[np.bool_]]:
    """Both feet with their kicks, and whether each carries (T, 2)."""
    style = Style(
        ahead=rest[10, 2] - rest[0, 2], beside=rest[10, 0] * rng.uniform(0.8, 1.15), toe_out=rng.uniform(0.02, 0.22),
        clearance=rng.uniform(0.025, 0.06) + 0.05 * float(script.run.mean()), heel=rng.uniform(0.5, 0.8), toe=rng.uniform(0.12, 0.3),
    )  # fmt: skip
    busy = [(kick.start - 0.7, kick.start + kick.length + 0.2) for kick in script.kicks]
    both = feet(script.path, style, busy)
    lifted = []
    for number, foot in enumerate(both):
        ball, pitch, contact = foot.ball.copy(), foot.pitch.copy(), foot.contact.copy()
        for kick in (each for each in script.kicks if each.foot == number):
            moved, bent = _kick(script, kick)
            ball, pitch = ball + moved, pitch + bent
            contact &= (np.abs(moved).sum(1) == 0) & (bent == 0)
        lifted.append(Foot(ball, foot.heading, pitch, contact))
    return (lifted[0], lifted[1]), np.column_stack([foot.contact for foot in lifted])


def _kick(script: Plan, kick: Kick) -> tuple[Floats, Floats]:
    """What a kick adds to the ball's place (T, 3), m, and to the foot's pitch (T,)."""
    times = script.path.times
    sideways = kick.sideways if kick.foot == 0 else -kick.sideways
    moments = (kick.start + kick.length * np.array([0.05, 0.38, 0.6, 0.78, 0.97])).tolist()
    at = [kick.start - 9.0, *moments, kick.start + 9.0]
    down, chamber, out = [0.0, 0.0, 0.0], [-0.08, 0.0, 0.14 + 0.3 * kick.up], [kick.forward, sideways, kick.up]
    local = keyframes(times, at, [down, down, chamber, out, chamber, down, down])
    pitch = keyframes(times, at, [0.0, 0.0, 0.5, 0.2, 0.5, 0.0, 0.0])
    heading = script.path.heading[int(np.clip((kick.start - times[0]) * skeleton.RATE_HZ, 0, len(times) - 1))]
    return smooth(local, 3) @ about("z", heading).T, smooth(pitch, 3)


def _trunk(
    rng: np.random.Generator, script: Plan, planted: tuple[Foot, Foot], grounded: NDArray[np.bool_], rest: Floats, world: Floats
) -> Floats:
    """Fill pelvis, spine, neck and head of `world`; give the pelvis' place (T, 3), m."""
    path = script.path
    facing = about("z", path.heading)
    stride = smooth(_stride(script, planted), 6)
    noise = wander(rng, path.times, 0.1, 0.8, 4)
    weight = smooth(grounded[:, 0].astype(np.float64) - grounded[:, 1], 14)
    twist = -0.16 * stride + 0.02 * noise[:, 0]
    roll = -0.05 * weight + 0.012 * noise[:, 1]
    world[:, 0] = facing @ about("z", twist) @ about("y", 0.35 * script.lean + 0.01 * noise[:, 2]) @ about("x", roll) @ STANDING
    chest = facing @ about("z", -0.8 * twist + script.twist) @ about("y", script.lean) @ about("x", script.side - 0.5 * roll) @ STANDING
    third = matrix_from_axis_angle(axis_angle_from_matrix(np.swapaxes(world[:, 0], 1, 2) @ chest) / 3)
    for joint, parent in ((3, 0), (6, 3), (9, 6)):
        world[:, joint] = world[:, parent] @ third
    gaze = script.gaze
    head = facing @ about("z", gaze[:, 0]) @ about("y", gaze[:, 1]) @ about("x", gaze[:, 2]) @ STANDING
    half = matrix_from_axis_angle(axis_angle_from_matrix(np.swapaxes(world[:, 9], 1, 2) @ head) / 2)
    world[:, 12] = world[:, 9] @ half
    world[:, 15] = world[:, 12] @ half

    pelvis = np.empty((len(path.times), 3))
    shift = np.column_stack([-0.30 * script.depth, 0.03 * weight, np.zeros(len(weight))])
    still = 1 - np.clip(path.speed / 0.3, 0, 1)
    shift[:, 1] += 0.03 * smooth(still, 15) * wander(rng, path.times, 0.05, 0.3)[:, 0]
    pelvis[:, :2] = path.position + (facing @ shift[:, :, None])[:, :2, 0]
    for kick in script.kicks:
        pelvis[:, :2] += _over_stance(script, kick, planted, pelvis, rest)
    pelvis[:, 2] = _height(rng, script, planted, grounded, rest, pelvis, world[:, 0])
    return pelvis


def _stride(script: Plan, planted: tuple[Foot, Foot]) -> Floats:
    """How far the left ball is ahead of the right one (T,), m."""
    heading = script.path.heading
    apart = planted[0].ball[:, :2] - planted[1].ball[:, :2]
    return apart[:, 0] * np.cos(heading) + apart[:, 1] * np.sin(heading)


def _over_stance(script: Plan, kick: Kick, planted: tuple[Foot, Foot], pelvis: Floats, rest: Floats) -> Floats:
    """What brings the pelvis (T, 2) over the foot that stays, while the other kicks."""
    heading = script.path.heading
    ankle = planted[1 - kick.foot].ball[:, :2] - (rest[10, 2] - rest[0, 2]) * np.column_stack([np.cos(heading), np.sin(heading)])
    at = [
        kick.start - 9.0,
        kick.start - 0.5,
        kick.start + 0.2,
        kick.start + kick.length - 0.2,
        kick.start + kick.length + 0.5,
        kick.start + 19.0,
    ]
    share = keyframes(script.path.times, at, [0.0, 0.0, 0.75, 0.75, 0.0, 0.0])
    return share[:, None] * (ankle - pelvis[:, :2])


def _height(
    rng: np.random.Generator,
    script: Plan,
    planted: tuple[Foot, Foot],
    grounded: NDArray[np.bool_],
    rest: Floats,
    pelvis: Floats,
    turned: Floats,
) -> Floats:
    """The pelvis' height (T,), m: as high as it should be and the legs that carry let it."""
    length = _leg(rest)
    standing = SOLE_M + (rest[0, 1] - rest[1, 1]) + (rest[7, 1] - rest[10, 1]) + 0.988 * length
    wanted = standing - rng.uniform(0.0, 0.015) - script.depth - 0.03 * script.run
    for side, foot in enumerate(planted):
        hip = turned @ (rest[_HIPS[side]] - rest[0])
        ankle = foot.ball - _foot_turn(foot) @ (rest[_FEET[side]] - rest[_ANKLES[side]])
        flat = ((ankle - pelvis - hip)[:, :2] ** 2).sum(1)
        highest = ankle[:, 2] - hip[:, 2] + np.sqrt(np.maximum((_LEG_CAP * length) ** 2 - flat, (0.3 * length) ** 2))
        wanted = np.where(grounded[:, side], np.minimum(wanted, highest), wanted)
    return smooth_below(wanted, 6)


def _leg(rest: Floats) -> float:
    return float(np.linalg.norm(rest[4] - rest[1]) + np.linalg.norm(rest[7] - rest[4]))


def _foot_turn(foot: Foot) -> Floats:
    return about("z", foot.heading) @ about("y", foot.pitch) @ STANDING


def _legs(script: Plan, planted: tuple[Foot, Foot], grounded: NDArray[np.bool_], rest: Floats, pelvis: Floats, world: Floats) -> None:
    """Fill hips, knees, ankles and feet of `world`."""
    for side, foot in enumerate(planted):
        hip, knee, ankle, ball = _HIPS[side], _KNEES[side], _ANKLES[side], _FEET[side]
        world[:, ankle] = _foot_turn(foot)
        start = pelvis + world[:, 0] @ (rest[hip] - rest[0])
        target = foot.ball - world[:, ankle] @ (rest[ball] - rest[ankle])
        along = (target - start) / np.linalg.norm(target - start, axis=1, keepdims=True)
        knees = script.path.heading + 0.6 * np.angle(np.exp(1j * (foot.heading - script.path.heading)))
        front = np.column_stack([np.cos(knees), np.sin(knees), np.zeros(len(knees))])
        upper, lower = rest[knee] - rest[hip], rest[ankle] - rest[knee]
        # A foot that carries is met exactly; one in the air may fall short, so that the knee does not snap straight.
        swinging = smooth_below(np.where(grounded[:, side], 0.0, 1.0), 4)[:, None]
        gives_way = _LEG[0] - _SWING_SLACK * swinging
        world[:, hip], world[:, knee] = two_bone(
            start, target, upper, lower, carry(_DOWN, along, front), np.array([1.0, 0, 0]), (gives_way, _LEG[1])
        )
        # The toes stay on the floor while the heel rises.
        bent = np.zeros((len(along), 3))
        bent[:, 0] = -0.7 * np.maximum(foot.pitch, 0.0)
        world[:, ball] = world[:, ankle] @ matrix_from_axis_angle(bent)


def _arms(rng: np.random.Generator, script: Plan, planted: tuple[Foot, Foot], rest: Floats, pelvis: Floats, world: Floats) -> None:
    """Fill collars, shoulders, elbows and wrists of `world`."""
    times = script.path.times
    stride = smooth(_stride(script, planted), 8)
    gain, bend = rng.uniform(0.35, 0.9), rng.uniform(0.86, 0.95)
    chest = world[:, 9] @ STANDING.T
    ahead = np.arctan2(chest[:, 1, 0], chest[:, 0, 0])
    upright = about("z", ahead)
    for side in (0, 1):
        sign = 1.0 if side == 0 else -1.0
        swing = -sign * gain * stride * (1 + 0.25 * script.run) + 0.06 + 0.05 * wander(rng, times, 0.1, 0.5)[:, 0] + script.tremble[:, side]
        out = rng.uniform(0.1, 0.22) + 0.02 * wander(rng, times, 0.1, 0.6)[:, 0]
        hanging = np.column_stack([np.sin(swing) + 0.45 * script.run, out + 0.05 * script.run, -np.cos(swing) + 0.35 * script.run])
        hanging /= np.linalg.norm(hanging, axis=1, keepdims=True)
        reach = bend + (0.66 - bend) * script.run
        own, weight = script.hand[:, side], np.clip(script.reaching[:, side], 0.0, 1.0)[:, None]
        place = (1 - weight) * np.column_stack([chart(hanging), reach]) + weight * own
        direction, elbow = unchart(place[:, :3])
        flip = np.array([1.0, sign, 1.0])

        collar, shoulder, joint, wrist = _COLLARS[side], _SHOULDERS[side], _ELBOWS[side], _WRISTS[side]
        raised = 0.5 * (direction[:, 2] + np.sqrt(direction[:, 2] ** 2 + 0.1))
        shrug = np.column_stack([np.zeros(len(times)), -0.12 * sign * direction[:, 0], 0.3 * sign * raised])
        world[:, collar] = world[:, 9] @ matrix_from_axis_angle(shrug)
        start = pelvis.copy()
        for child, parent in ((3, 0), (6, 3), (9, 6), (collar, 9), (shoulder, collar)):
            start += world[:, parent] @ (rest[child] - rest[parent])
        upper, lower = rest[joint] - rest[shoulder], rest[wrist] - rest[joint]
        length = np.linalg.norm(upper) + np.linalg.norm(lower)
        target = start + (upright @ (direction * flip)[:, :, None])[:, :, 0] * place[:, 3:] * length
        pole = (upright @ (elbow * flip)[:, :, None])[:, :, 0]
        world[:, shoulder], world[:, joint] = two_bone(start, target, upper, lower, pole, np.array([0.0, -sign, 0.0]), _ARM)
        turn = np.array([0.25, 0.15, 0.15]) * wander(rng, times, 0.2, 1.2, 3) + sign * np.array([rng.uniform(-0.5, 0.5), 0.0, 0.0])
        world[:, wrist] = world[:, joint] @ matrix_from_axis_angle(turn)

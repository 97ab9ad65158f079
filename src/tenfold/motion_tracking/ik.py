"""Upright body, two-bone arms: what geometry alone gives from head and hands (section 6, B4). Legs stand straight.

Pelvis, spine and collars take the head's heading and stand upright; neck and head share the rest of the head's rotation; the elbow lies on the
circle that shoulder and wrist leave open, on the side of a pole that points down, back and outward.
"""

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import columns, kinematics, rotations, skeleton

Float = npt.NDArray[np.float64]

POLE = np.array([-0.55, 0.35, -0.75])
"""Where the left elbow points, seen by the upright trunk (x forward, y left, z up): back, outward, down."""
REACH = 0.999
"""Share of the arm's length at which it counts as stretched."""
ARMS = ((16, 18, skeleton.LEFT_WRIST, 1.0), (17, 19, skeleton.RIGHT_WRIST, -1.0))


def solve(x: npt.NDArray[np.floating], rest: Float) -> Float:
    """Local rotations (N, 22, 3, 3) from rows (N, 135) on a body whose joints rest at `rest` (22, 3), in m."""
    count = len(x)
    six = np.asarray(x[:, : columns.ROTATION[1]], np.float64).reshape(count, -1, 6)
    head, hands = rotations.matrix_from_six(six[:, 0]), rotations.matrix_from_six(six[:, 1:3])
    tracked = np.asarray(x[:, slice(*columns.POSITION)], np.float64).reshape(count, 3, 3)
    upright = rotations.about("z", rotations.yaw(head)) @ rotations.STANDING
    world = np.repeat(upright[:, None], skeleton.COUNT, axis=1)
    world[:, 12] = upright @ rotations.matrix_from_axis_angle(0.5 * rotations.axis_angle_from_matrix(_relative(upright, head)))
    world[:, skeleton.HEAD] = head
    placed = kinematics.align_head(kinematics.positions(world, rest, np.zeros(3)), tracked[:, 0])
    facing = upright @ rotations.STANDING.T
    for hand, (shoulder, elbow, wrist, side) in enumerate(ARMS):
        pole = facing @ (POLE * [1.0, side, 1.0])
        upper, fore = rest[elbow] - rest[shoulder], rest[wrist] - rest[elbow]
        bend = _elbow(placed[:, shoulder], tracked[:, 1 + hand], float(np.linalg.norm(upper)), float(np.linalg.norm(fore)), pole)
        world[:, shoulder] = _swing(upright @ upper, bend - placed[:, shoulder]) @ upright
        arm = world[:, shoulder] @ fore
        world[:, elbow] = _swing(arm, tracked[:, 1 + hand] - bend) @ world[:, shoulder]
        world[:, wrist] = hands[:, hand]
    return kinematics.local_from_global(world)


def _relative(one: Float, other: Float) -> Float:
    return np.swapaxes(one, -1, -2) @ other


def _unit(vectors: Float) -> Float:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _elbow(shoulder: Float, wrist: Float, upper: float, fore: float, pole: Float) -> Float:
    """Position of the elbow (N, 3): the triangle of two lengths over shoulder and wrist, bent towards `pole`."""
    line = wrist - shoulder
    distance = np.linalg.norm(line, axis=-1, keepdims=True)
    direction = _unit(line)
    far = np.clip(distance, abs(upper - fore) / REACH + 1e-6, REACH * (upper + fore))
    along = (upper**2 - fore**2 + far**2) / (2 * far)
    height = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    side = _unit(pole - (pole * direction).sum(axis=-1, keepdims=True) * direction)
    return shoulder + along * direction + height * side


def _swing(before: Float, after: Float) -> Float:
    """The smallest rotations (N, 3, 3) that turn the directions `before` into `after`."""
    one, other = _unit(before), _unit(after)
    axis = np.cross(one, other)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    cosine = (one * other).sum(axis=-1, keepdims=True)
    # directions that are opposite leave the axis open: any that is perpendicular serves
    spare = _unit(np.cross(one, np.where(np.abs(one[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])))
    return rotations.matrix_from_axis_angle(np.where(sine > 1e-9, axis / np.maximum(sine, 1e-12), spare) * np.arctan2(sine, cosine))

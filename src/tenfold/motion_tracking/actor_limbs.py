"""Two-bone limbs in closed form. An elbow follows the hand's direction by parallel transport and so cannot flip."""

import numpy as np
from numpy.typing import ArrayLike

from tenfold.motion_tracking.actor_signals import saturate
from tenfold.motion_tracking.rotations import Floats

_HOME = np.array([0.62, 0.38, -0.69])
_HOME_ELBOW = np.array([-0.75, 0.22, -0.60])
HOME: Floats = _HOME / np.linalg.norm(_HOME)
"""Direction from the left shoulder to the hand (forward, left, up) in which poses are charted; its opposite, behind the other shoulder and up,
is where the chart ends and no hand goes."""


def two_bone(
    start: Floats, target: Floats, upper: Floats, lower: Floats, bend: Floats, hinge: Floats, straightest: tuple[ArrayLike, float]
) -> tuple[Floats, Floats]:
    """World rotations (T, 3, 3) of the upper and the lower bone that bring the limb's end to `target`.

    start, target (T, 3): the limb's first joint and its end, m. upper, lower (3,): the bones at rest. bend (T, 3): where the middle joint
    points. hinge (3,): at rest, first bone x bent second bone. straightest: shares of the full length from which the reach gives way
    (one, or (T, 1)) and which it never exceeds; a target within the first is met exactly.
    """
    long, short = float(np.linalg.norm(upper)), float(np.linalg.norm(lower))
    full = long + short
    away = target - start
    distance = np.linalg.norm(away, axis=-1, keepdims=True)
    along = away / np.maximum(distance, 1e-9)
    reach = np.maximum(full * saturate(distance / full, *straightest), abs(long - short) + 0.02 * full)
    out = bend - (bend * along).sum(-1, keepdims=True) * along
    out /= np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)
    part = (reach**2 + long**2 - short**2) / (2 * reach)
    height = np.sqrt(np.maximum(long**2 - part**2, 0.0))
    first = (part * along + height * out) / long
    second = ((reach - part) * along - height * out) / short
    axis = np.cross(out, along)
    return _turn(upper / long, hinge, first, axis), _turn(lower / short, hinge, second, axis)


def _turn(bone: Floats, hinge: Floats, new_bone: Floats, new_hinge: Floats) -> Floats:
    """Rotation (T, 3, 3) that takes a rest bone and its hinge to new ones; the bone exactly, the hinge as nearly as it can."""
    across = hinge - (hinge @ bone) * bone
    across /= np.linalg.norm(across)
    old = np.stack([bone, across, np.cross(bone, across)], -1)
    return np.stack([new_bone, new_hinge, np.cross(new_bone, new_hinge)], -1) @ old.T


def chart(direction: Floats) -> Floats:
    """(T, 3) unit directions of the left hand to (T, 3) vectors at right angles to HOME: angle from it times where to (the log map)."""
    cosine = direction @ HOME
    side = direction - cosine[:, None] * HOME
    length = np.linalg.norm(side, axis=-1)
    angle = np.arctan2(length, cosine)
    return side * np.where(length > 1e-9, angle / np.maximum(length, 1e-9), 1.0)[:, None]


def unchart(vector: Floats) -> tuple[Floats, Floats]:
    """The inverse of `chart`, and the elbow's direction carried along from HOME: two (T, 3) of unit length, at right angles."""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    direction = np.cos(angle) * HOME + np.sin(angle) * vector / np.maximum(angle, 1e-9)
    elbow = _HOME_ELBOW - (_HOME_ELBOW @ HOME) * HOME
    return direction, carry(HOME, direction, np.broadcast_to(elbow / np.linalg.norm(elbow), direction.shape))


def carry(home: Floats, direction: Floats, vector: Floats) -> Floats:
    """`vector` (T, 3) turned by the smallest rotation that takes `home` (3,) to `direction` (T, 3), unit vectors; undefined at -home only."""
    between = home + direction
    share = (vector * between).sum(-1, keepdims=True) / np.maximum(1.0 + direction @ home, 1e-9)[:, None]
    return vector - share * between + 2.0 * (vector @ home)[:, None] * direction

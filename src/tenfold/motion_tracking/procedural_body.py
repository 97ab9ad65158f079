"""The project's own body: 22 joints that 16 named shape modes move, in a skin of capsules, saved with SMPL-H's keys.

Lengths are round numbers of an average adult (about 1.75 m), not taken from any model. The demo's model.npz; whoever has the licensed one
puts it in the same place.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.motion_tracking import skeleton
from tenfold.motion_tracking.body import write_npz
from tenfold.motion_tracking.rotations import Floats

_NAMED = ("size", "legs", "arms", "shoulders", "hips", "trunk", "forearm", "shin", "neck")
MODES = (*_NAMED, *(f"detail_{number}" for number in range(skeleton.BETAS - len(_NAMED))))
"""What each beta changes."""

_PELVIS = (0.0, -0.09, 0.01)
_OFFSETS: dict[str, tuple[float, float, float]] = {
    "left_hip": (0.080, -0.080, -0.005), "left_knee": (0.020, -0.400, 0.010), "left_ankle": (-0.005, -0.400, -0.030),
    "left_foot": (0.020, -0.060, 0.130), "spine1": (0.000, 0.110, -0.025), "spine2": (0.000, 0.135, 0.010),
    "spine3": (0.000, 0.060, 0.015), "neck": (0.000, 0.215, -0.030), "head": (0.000, 0.085, 0.040),
    "left_collar": (0.075, 0.120, -0.020), "left_shoulder": (0.110, 0.030, -0.005), "left_elbow": (0.270, -0.010, -0.015),
    "left_wrist": (0.255, 0.005, 0.000),
}  # fmt: skip
_TIPS: dict[int, tuple[float, float, float]] = {
    10: (0.000, -0.010, 0.080), 11: (0.000, -0.010, 0.080), 15: (0.000, 0.110, 0.010), 20: (0.170, -0.010, 0.010),
    21: (-0.170, -0.010, 0.010),
}  # fmt: skip
"""Where a limb ends, from its last joint."""

_RADIUS = {"pelvis": 0.10, "spine": 0.11, "neck": 0.055, "head": 0.085, "collar": 0.06, "shoulder": 0.045, "elbow": 0.038,
           "wrist": 0.03, "hip": 0.07, "knee": 0.05, "ankle": 0.04, "foot": 0.035}  # fmt: skip
"""Capsule radius, m, of the part that hangs on a joint."""

_RELATIVE = {
    "size": (0.035, ""), "legs": (0.035, "hip knee"), "arms": (0.035, "shoulder elbow"), "shoulders": (0.06, "collar"),
    "trunk": (0.03, "spine"), "neck": (0.06, "neck"),
}  # fmt: skip
"""Share by which one beta lengthens the bones that start at these joints (all of them for size)."""
_HIPS, _BALANCE, _DETAIL_M = 0.06, 0.025, 0.0025

_AROUND, _RINGS = 8, 7
_BLEND = 0.25
_DETAIL_SEED = 7


def arrays() -> dict[str, NDArray[np.generic]]:
    """The model under SMPL-H's keys, with 22 joints, `mount_vertices` (3,) and the modes' names."""
    rest, modes = _joints()
    bones = [(parent, joint) for joint, parent in enumerate(skeleton.PARENTS) if parent >= 0] + [(joint, -1) for joint in _TIPS]
    skin = [_capsule(start, end, rest, modes) for start, end in bones]
    per = len(skin[0][0])
    vertices, shapes, weights = (np.concatenate(parts) for parts in zip(*skin, strict=True))
    regressor = np.zeros((skeleton.COUNT, len(vertices)))
    for joint in range(skeleton.COUNT):
        # The ring round the start of a bone has its centre in the joint, whatever the shape.
        first = per * next(number for number, (start, _) in enumerate(bones) if start == joint)
        regressor[joint, first : first + _AROUND] = 1.0 / _AROUND
    shins = [per * bones.index((knee, knee + 3)) + 2 * _AROUND for knee in (skeleton.LEFT_KNEE, skeleton.RIGHT_KNEE)]
    back = per * bones.index((skeleton.PELVIS, 3)) + _AROUND // 2
    kintree = np.array([[2**32 - 1, *skeleton.PARENTS[1:]], range(skeleton.COUNT)], np.uint32)
    return {
        "v_template": vertices, "shapedirs": shapes, "posedirs": np.zeros((len(vertices), 3, (skeleton.COUNT - 1) * 9), np.float32),
        "J_regressor": regressor, "weights": weights, "kintree_table": kintree,
        "f": np.concatenate([_triangles() + per * number for number in range(len(bones))]).astype(np.uint32),
        "mount_vertices": np.array([*shins, back]), "mode_names": np.array(MODES),
    }  # fmt: skip


def write(path: Path) -> None:
    """Save the body as a model.npz; the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, arrays())


def _joints() -> tuple[Floats, Floats]:
    """rest (22, 3) and modes (22, 3, 16): offsets are made first, then summed along the chain."""
    offsets, changes = np.zeros((skeleton.COUNT, 3)), np.zeros((skeleton.COUNT, 3, skeleton.BETAS))
    detail = np.random.default_rng(_DETAIL_SEED).normal(0.0, _DETAIL_M, (skeleton.COUNT, 3, skeleton.BETAS))
    for joint, name in enumerate(skeleton.JOINTS):
        right = name.startswith("right")
        flip = np.array([-1.0 if right else 1.0, 1.0, 1.0])
        offsets[joint] = flip * (_PELVIS if joint == 0 else _OFFSETS[name.replace("right", "left")])
        parent = skeleton.JOINTS[skeleton.PARENTS[joint]] if joint else ""
        for mode, (share, parts) in _RELATIVE.items():
            if not parts or any(part in parent for part in parts.split()):
                changes[joint, :, MODES.index(mode)] = share * offsets[joint]
        if name.endswith("hip"):
            changes[joint, 0, MODES.index("hips")] = _HIPS * offsets[joint, 0]
        for mode, near, far in (("forearm", "elbow", "wrist"), ("shin", "knee", "ankle")):
            sign = -1.0 if name.endswith(near) else 1.0 if name.endswith(far) else 0.0
            changes[joint, :, MODES.index(mode)] = sign * _BALANCE * offsets[joint]
        if joint:
            source = skeleton.MIRROR[joint] if right else joint
            small = detail[source, :, len(_NAMED) :] * flip[:, None]
            if skeleton.MIRROR[joint] == joint:
                small = small * np.array([0.0, 1.0, 1.0])[:, None]
            changes[joint, :, len(_NAMED) :] = small
    for joint in range(1, skeleton.COUNT):
        offsets[joint] += offsets[skeleton.PARENTS[joint]]
        changes[joint] += changes[skeleton.PARENTS[joint]]
    return offsets, changes


def _capsule(start: int, end: int, rest: Floats, modes: Floats) -> tuple[Floats, Floats, Floats]:
    """Vertices (58, 3), shapes (58, 3, 16) and weights (58, 22) of the part from joint `start` to `end` (-1: the limb's tip)."""
    size = MODES.index("size")
    if end >= 0:
        tip, tip_modes = rest[end], modes[end]
    else:
        tip, tip_modes = rest[start] + _TIPS[start], modes[start].copy()
        tip_modes[:, size] += _RELATIVE["size"][0] * np.array(_TIPS[start])
    axis = (tip - rest[start]) / np.linalg.norm(tip - rest[start])
    # The first vertex of a ring looks forward, or upward where the bone itself points forward.
    front = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    front = front - axis * (front @ axis)
    front /= np.linalg.norm(front)
    angle = np.arange(_AROUND) * 2 * np.pi / _AROUND
    ring = np.cos(angle)[:, None] * front + np.sin(angle)[:, None] * np.cross(axis, front)
    radius = next(value for part, value in _RADIUS.items() if part in skeleton.JOINTS[start])
    along = np.repeat(np.linspace(0.0, 1.0, _RINGS), _AROUND)
    spread = radius * np.tile(ring, (_RINGS, 1))
    poles = 0.6 * radius * np.array([-axis, axis])
    along, spread = np.append(along, [0.0, 1.0]), np.concatenate([spread, poles])
    vertices = rest[start] + along[:, None] * (tip - rest[start]) + spread
    shapes = (1 - along)[:, None, None] * modes[start] + along[:, None, None] * tip_modes
    shapes[:, :, size] += _RELATIVE["size"][0] * spread
    weights = np.zeros((len(along), skeleton.COUNT))
    weights[:, start] = 1.0
    parent = skeleton.PARENTS[start]
    for other, share in ((end, np.clip(1 - (1 - along) / _BLEND, 0, 1) / 2), (parent, np.clip(1 - along / _BLEND, 0, 1) / 2)):
        if other >= 0:
            weights[:, other] += share
            weights[:, start] -= share
    return vertices, shapes, weights


def _triangles() -> NDArray[np.int64]:
    here = np.arange(_AROUND)
    after = (here + 1) % _AROUND
    sides = [
        np.concatenate([np.stack([here, after, here + _AROUND], 1), np.stack([after, after + _AROUND, here + _AROUND], 1)]) + _AROUND * ring
        for ring in range(_RINGS - 1)
    ]
    last, first_pole = _AROUND * (_RINGS - 1), _AROUND * _RINGS
    caps = [
        np.stack([after, here, np.full(_AROUND, first_pole)], 1),
        np.stack([last + here, last + after, np.full(_AROUND, first_pole + 1)], 1),
    ]
    return np.concatenate([*sides, *caps])

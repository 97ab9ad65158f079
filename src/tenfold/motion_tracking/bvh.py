"""Biovision hierarchies: read a BVH file and carry its motion over to the 22 joints through a map of joint names.

Each world rotation is taken over, after the rest bone of the file has been brought onto ours; lengths stay those of the body that is to move.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tenfold.core.errors import BadData
from tenfold.motion_tracking import kinematics, skeleton
from tenfold.motion_tracking.rotations import Floats, about

CMU: Mapping[str, str] = {
    "pelvis": "Hips", "left_hip": "LeftUpLeg", "right_hip": "RightUpLeg", "spine1": "LowerBack", "left_knee": "LeftLeg",
    "right_knee": "RightLeg", "spine2": "Spine", "left_ankle": "LeftFoot", "right_ankle": "RightFoot", "spine3": "Spine1",
    "left_foot": "LeftToeBase", "right_foot": "RightToeBase", "neck": "Neck1", "left_collar": "LeftShoulder",
    "right_collar": "RightShoulder", "head": "Head", "left_shoulder": "LeftArm", "right_shoulder": "RightArm",
    "left_elbow": "LeftForeArm", "right_elbow": "RightForeArm", "left_wrist": "LeftHand", "right_wrist": "RightHand",
}  # fmt: skip
"""Our joint -> joint of the CMU conversions (the names MotionBuilder uses)."""

_NEEDED = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "left_shoulder",
           "right_shoulder", "left_elbow", "right_elbow")  # fmt: skip
_LIMBS = {1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21}
"""Joint -> end of its bone, for the bones whose direction at rest differs between skeletons; trunk, head, hands and feet are taken as they are."""
_MAX_JOINTS, _MAX_VALUES = 1000, 50_000_000


@dataclass(frozen=True)
class Bvh:
    """names and parents (J), offsets (J, 3) in the file's unit, world rotations (T, J, 3, 3) and positions (T, J, 3), frames a second."""

    names: list[str]
    parents: list[int]
    offsets: Floats
    rotations: Floats
    positions: Floats
    fps: float


@dataclass(frozen=True)
class Carried:
    """local (T, 22, 3, 3) and root (T, 3), m, as in kinematics.forward, at `fps`; leg_m: length of the source's left leg."""

    local: Floats
    root: Floats
    fps: float
    leg_m: float


def read(path: Path) -> Bvh:
    """Parse a BVH file. Raises BadData naming file, line and cause for everything that is not one."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as cause:
        raise BadData(f"{path}: cannot be read ({cause.strerror or cause}).") from cause
    lines = text.splitlines()
    motion = next((number for number, line in enumerate(lines) if line.strip().upper() == "MOTION"), None)
    if motion is None or not lines[0].strip().upper().startswith("HIERARCHY"):
        raise BadData(f"{path}: not a BVH file (HIERARCHY and MOTION are looked for). Export it again.")
    names, parents, offsets, channels = _hierarchy(path, lines[:motion])
    fps, values = _frames(path, lines, motion, sum(map(len, channels)))
    count = len(names)
    world, place = np.empty((len(values), count, 3, 3)), np.empty((len(values), count, 3))
    first = 0
    for joint in range(count):
        turned, moved = np.broadcast_to(np.eye(3), (len(values), 3, 3)), np.broadcast_to(offsets[joint], (len(values), 3)).copy()
        for number, channel in enumerate(channels[joint], first):
            axis: Literal["x", "y", "z"] = channel[0].lower()  # type: ignore[assignment]
            if channel.endswith("rotation"):
                turned = turned @ about(axis, np.radians(values[:, number]))
            else:
                moved[:, "xyz".index(axis)] = values[:, number]
        first += len(channels[joint])
        parent = parents[joint]
        world[:, joint] = turned if parent < 0 else world[:, parent] @ turned
        place[:, joint] = moved if parent < 0 else place[:, parent] + (world[:, parent] @ moved[:, :, None])[:, :, 0]
    return Bvh(names, parents, offsets, world, place, fps)


def carry_over(
    bvh: Bvh,
    rest: Floats,
    names: Mapping[str, str] = CMU,
    *,
    metres_per_unit: float,
    up: Literal["y", "z"] = "y",
    forward: Literal["z", "-z", "x", "-x", "y", "-y"] = "z",
) -> Carried:
    """The file's motion on a body with joints at `rest` (22, 3).

    `names`: our joint -> the file's; a joint left out stays straight on its parent. `forward`: where the file's skeleton looks at rest. `up`
    is an axis of the file's world and of its rest pose alike. Raises BadData for a name that is missing in the file, or a joint that is
    needed and not mapped.
    """
    for joint in _NEEDED:
        if joint not in names:
            raise BadData(f"the joint map has no {joint}; {', '.join(_NEEDED)} are needed. Add it.")
    unknown = [f"{name} -> {theirs}" for name, theirs in names.items() if name not in skeleton.JOINTS or theirs not in bvh.names]
    if unknown:
        raise BadData(f"the joint map names what is not there: {', '.join(unknown)}. The file has {', '.join(bvh.names)}.")
    index = {skeleton.JOINTS.index(name): bvh.names.index(theirs) for name, theirs in names.items()}
    basis = _basis(up, forward)
    at_rest = _rest(bvh) @ basis.T
    # From our y-up rest axes to the z-up world, without turning the heading of the file.
    upright = about("x", np.pi / 2)
    world = np.empty((len(bvh.rotations), skeleton.COUNT, 3, 3))
    for number, parent in enumerate(skeleton.PARENTS):
        if number not in index:
            world[:, number] = world[:, parent]
            continue
        end = _LIMBS.get(number, number)
        aligned = np.eye(3)
        if end != number and end in index:
            aligned = _shortest(rest[end] - rest[number], at_rest[index[end]] - at_rest[index[number]])
        world[:, number] = upright @ basis @ bvh.rotations[:, index[number]] @ basis.T @ aligned
    leg = sum(float(np.linalg.norm(at_rest[index[a]] - at_rest[index[b]])) for a, b in ((1, 4), (4, 7))) * metres_per_unit
    ours = float(np.linalg.norm(rest[4] - rest[1]) + np.linalg.norm(rest[7] - rest[4]))
    if not leg > 1e-6:
        raise BadData("the file's legs have no length, so its size cannot be compared with the body's. Check the joint map.")
    place = bvh.positions[:, index[0]] @ (upright @ basis).T * metres_per_unit * (ours / leg)
    return Carried(kinematics.local_from_global(world), place - rest[0], bvh.fps, leg)


def _hierarchy(path: Path, lines: Sequence[str]) -> tuple[list[str], list[int], Floats, list[list[str]]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    stack: list[int] = []
    opened: int | None = None
    for number, line in enumerate(lines, 1):
        words = line.split()
        head = words[0].upper() if words else ""
        if head in ("ROOT", "JOINT") and len(words) >= 2:
            if opened is not None or (head == "ROOT") != (not stack) or len(names) >= _MAX_JOINTS:
                raise BadData(
                    f"{path}, line {number}: {line.strip()!r} does not belong here. One ROOT and at most {_MAX_JOINTS} joints are read."
                )
            parents.append(stack[-1] if stack else -1)
            names.append(" ".join(words[1:]).split(":")[-1])
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            opened = len(names) - 1
        elif head == "END":
            opened = -1
        elif head == "{":
            if opened is None:
                raise BadData(f"{path}, line {number}: a brace without a joint.")
            stack.append(opened)
            opened = None
        elif head == "}":
            if not stack:
                raise BadData(f"{path}, line {number}: a closing brace too many.")
            stack.pop()
        elif head == "OFFSET":
            if stack and stack[-1] >= 0:
                offsets[stack[-1]] = _floats(path, number, words[1:], 3)
        elif head == "CHANNELS":
            kinds = [word.lower() for word in words[2:]]
            wrong = [kind for kind in kinds if kind[:1] not in ("x", "y", "z") or kind[1:] not in ("rotation", "position")]
            if not stack or stack[-1] < 0 or wrong or str(len(kinds)) != words[1]:
                raise BadData(f"{path}, line {number}: {line.strip()!r} names no channels that are known.")
            channels[stack[-1]] = kinds
        elif head and head != "HIERARCHY":
            raise BadData(f"{path}, line {number}: {line.strip()[:60]!r} is not understood.")
    if stack or not names:
        raise BadData(f"{path}: the hierarchy ends before its last brace, or has no joint. The file is cut off.")
    return names, parents, np.array(offsets), channels


def _frames(path: Path, lines: Sequence[str], motion: int, width: int) -> tuple[float, Floats]:
    head = [line.split(":")[-1].strip() for line in lines[motion + 1 : motion + 3]]
    try:
        count, step = int(head[0]), float(head[1])
    except (IndexError, ValueError) as cause:
        raise BadData(f"{path}, line {motion + 2}: 'Frames:' and 'Frame Time:' are looked for.") from cause
    if count < 1 or count * width > _MAX_VALUES or not (math.isfinite(step) and 1e-4 <= step <= 10):
        raise BadData(f"{path}: {count} frames of {step:g} s are not plausible. Export it again.")
    rows = [(number, line) for number, line in enumerate(lines[motion + 3 :], motion + 4) if line.strip()]
    if len(rows) != count:
        raise BadData(f"{path}: {count} frames are announced, {len(rows)} are there. The file is cut off or not whole.")
    return 1.0 / step, np.array([_floats(path, number, line.split(), width) for number, line in rows])


def _floats(path: Path, number: int, words: Sequence[str], count: int) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as cause:
        raise BadData(f"{path}, line {number}: {cause}.") from cause
    if len(values) != count or not all(map(math.isfinite, values)):
        raise BadData(f"{path}, line {number}: {len(values)} values where {count} finite ones belong.")
    return values


def _basis(up: str, forward: str) -> Floats:
    """Rotation from the file's rest axes to ours (y up, facing +z)."""
    signs = {"x": (1.0, 0, 0), "-x": (-1.0, 0, 0), "y": (0, 1.0, 0), "-y": (0, -1.0, 0), "z": (0, 0, 1.0), "-z": (0, 0, -1.0)}
    if up not in ("y", "z") or forward not in signs or forward.lstrip("-") == up:
        raise BadData(f"up {up!r} with forward {forward!r}: up is y or z, forward another axis. Correct them.")
    top, front = np.array(signs[up]), np.array(signs[forward])
    return np.stack([np.cross(top, front), top, front])


def _rest(bvh: Bvh) -> Floats:
    out = np.zeros((len(bvh.names), 3))
    for joint, parent in enumerate(bvh.parents):
        if parent >= 0:
            out[joint] = out[parent] + bvh.offsets[joint]
    return out


def _shortest(start: Floats, end: Floats) -> Floats:
    """The smallest rotation (3, 3) that takes one direction to another."""
    a, b = start / np.maximum(np.linalg.norm(start), 1e-12), end / np.maximum(np.linalg.norm(end), 1e-12)
    cosine = float(a @ b)
    if cosine < -0.999:
        raise BadData("a bone of the file points the other way than ours at rest. Check the joint map, `up` and `forward`.")
    x, y, z = np.cross(a, b)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1.0 + cosine)

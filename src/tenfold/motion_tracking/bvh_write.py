"""Write a motion of the 22 joints as a Biovision hierarchy: y up, centimetres, as other programs expect it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic
from tenfold.motion_tracking import rotations, skeleton

Floats = npt.NDArray[np.float64]

_CM = 100.0
_END_CM = (0.0, 5.0, 0.0)
_TURNS = "Zrotation Xrotation Yrotation"


def write(path: Path, local: Floats, root: Floats, rest: Floats, fps: float) -> None:
    """local (T, 22, 3, 3), root (T, 3) as in kinematics.forward, rest (22, 3), m; atomically."""
    lines = ["HIERARCHY"]
    _joint(lines, 0, rest * _CM, 0)
    order = _order(0)
    upright = rotations.about("x", -np.pi / 2)
    turned = np.array(local, np.float64)
    turned[:, 0] = upright @ turned[:, 0]
    values = np.empty((len(turned), 3 + 3 * skeleton.COUNT))
    values[:, :3] = (rest[0] + root) @ upright.T * _CM
    values[:, 3:] = np.degrees(_zxy(turned[:, order])).reshape(len(turned), -1)
    lines += ["MOTION", f"Frames: {len(values)}", f"Frame Time: {1 / fps:.9f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in values]
    atomic.write_text(path, "\n".join(lines) + "\n")


def _joint(lines: list[str], joint: int, rest: Floats, depth: int) -> None:
    parent = skeleton.PARENTS[joint]
    offset = np.zeros(3) if parent < 0 else rest[joint] - rest[parent]
    pad = "  " * depth
    channels = f"6 Xposition Yposition Zposition {_TURNS}" if parent < 0 else f"3 {_TURNS}"
    lines += [f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {skeleton.JOINTS[joint]}", f"{pad}{{"]
    lines += [f"{pad}  OFFSET {_numbers(offset)}", f"{pad}  CHANNELS {channels}"]
    below = [child for child, of in enumerate(skeleton.PARENTS) if of == joint]
    for child in below:
        _joint(lines, child, rest, depth + 1)
    if not below:
        lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {_numbers(np.array(_END_CM))}", f"{pad}  }}"]
    lines.append(f"{pad}}}")


def _order(joint: int) -> list[int]:
    below = [child for child, of in enumerate(skeleton.PARENTS) if of == joint]
    return [joint, *(each for child in below for each in _order(child))]


def _numbers(values: Floats) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _zxy(matrix: Floats) -> Floats:
    """Angles (..., 3) of R = Rz Rx Ry, rad."""
    middle = np.arcsin(np.clip(matrix[..., 2, 1], -1.0, 1.0))
    first = np.arctan2(-matrix[..., 0, 1], matrix[..., 1, 1])
    last = np.arctan2(-matrix[..., 2, 0], matrix[..., 2, 2])
    # looking along the last axis only the sum of both turns is known
    locked = np.abs(matrix[..., 2, 1]) > 1 - 1e-9
    first = np.where(locked, np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0]), first)
    return np.stack([first, middle, np.where(locked, 0.0, last)], axis=-1)

"""Poses into files: a line a frame while they come (JSON lines, CSV), or a whole motion at the end (AMASS's npz, BVH)."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic
from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import body as bodies
from tenfold.motion_tracking import bvh_write, columns, kinematics, rotations, skeleton
from tenfold.motion_tracking.live import Pose
from tenfold.motion_tracking.stream import COUNT

Floats = npt.NDArray[np.float64]

FORMATS = ("jsonl", "csv", "npz", "bvh")
QUATERNIONS = tuple(f"{joint}_q{axis}" for joint in skeleton.JOINTS for axis in "wxyz")
ROOT = ("root_x", "root_y", "root_z")
BETAS = tuple(f"b{number}" for number in range(skeleton.BETAS))
COLUMNS = ("t", *QUATERNIONS, *ROOT, *BETAS, "sensors", "masked", "held", "flags")
"""Of a pose as a row: local rotations wxyz, AMASS's `trans` (m), shape, the sensor set, sensors that are masked and held, and remarks."""
_DIGITS = 9
_HANDS = 156 - 3 * skeleton.COUNT
_DMPLS = 8
MOST_FILL = 3600
"""60 Hz frames at most by which a gap is filled with the pose before it, in files that know no time."""


class Writer(Protocol):
    """Takes poses one by one."""

    def write(self, pose: Pose, ms: float) -> None:
        """One pose, and the time it took so far (ms)."""

    def close(self) -> None:
        """All poses were given."""


def row(pose: Pose) -> dict[str, Any]:
    """A pose as the values of COLUMNS."""
    quaternions = rotations.quaternion_from_matrix(pose.local).ravel().tolist()
    words = {"sensors": pose.sensor_set, "masked": _names(~pose.present), "held": _names(pose.held), "flags": " ".join(pose.flags)}
    return {
        "t": pose.t,
        **dict(zip(QUATERNIONS, quaternions, strict=True)),
        **dict(zip(ROOT, pose.root.tolist(), strict=True)),
        **dict(zip(BETAS, np.asarray(pose.betas, np.float64).tolist(), strict=True)),
        **words,
    }


def writer(kind: str, out: Path | None, standard_output: IO[str], body: bodies.Body | None, joints: bool) -> Writer:
    """Of a kind in FORMATS. Raises UsageError where a whole motion is to go to standard output, BadData where it needs a body."""
    if kind not in FORMATS:
        raise UsageError(f"format {kind!r} is unknown; there are {', '.join(FORMATS)}")
    if kind in ("npz", "bvh"):
        if out is None:
            raise UsageError(f"{kind} is written at the end, into a file: name it with --out FILE")
        if body is None:
            raise BadData(f"{kind} needs the body, which is licensed and not in the predictor; name its model.npz with --body")
        return _Whole(out, body, write_amass if kind == "npz" else write_bvh)
    file = standard_output if out is None else _opened(out)
    return _JsonLines(file, out is not None, joints) if kind == "jsonl" else _Csv(file, out is not None)


def write_amass(path: Path, local: Floats, root: Floats, betas: Floats, body: bodies.Body) -> None:
    """A motion at 60 Hz in AMASS's layout: local (T, 22, 3, 3), root (T, 3), betas (16,)."""
    count = len(local)
    turned = rotations.axis_angle_from_matrix(local).reshape(count, -1)
    arrays: dict[str, npt.NDArray[Any]] = {
        "poses": np.hstack([turned, np.zeros((count, _HANDS))]), "trans": np.asarray(root, np.float64), "betas": betas,
        "dmpls": np.zeros((count, _DMPLS)), "gender": np.array("neutral"), "mocap_framerate": np.array(skeleton.RATE_HZ),
    }  # fmt: skip
    with atomic.new_file(path) as temporary:
        bodies.write_npz(temporary, arrays)


def write_bvh(path: Path, local: Floats, root: Floats, betas: Floats, body: bodies.Body) -> None:
    """The same as a Biovision hierarchy with the bones of that shape."""
    bvh_write.write(path, local, root, bodies.joints(body, betas), skeleton.RATE_HZ)


def one_shape(local: Floats, head: Floats, betas: Floats, body: bodies.Body) -> tuple[Floats, Floats]:
    """Root (T, 3) and betas (16,) with one shape, the mean of betas (T, 16), and the head joint where it was, head (T, 3)."""
    mean = np.asarray(betas, np.float64).mean(axis=0)
    rest = bodies.joints(body, mean)
    _, positions = kinematics.forward(local, rest, np.zeros(3))
    return kinematics.align_head(positions, head)[:, 0] - rest[0], mean


def filled(times: Floats) -> npt.NDArray[np.int64]:
    """For each 60 Hz frame from the first time to the last the pose that stands there: gaps hold the pose before."""
    steps = np.diff(times, append=times[-1:] + 1 / skeleton.RATE_HZ)
    # a clock that was set back gives no gap
    count = np.clip(np.round(steps * skeleton.RATE_HZ), 1, MOST_FILL).astype(np.int64)
    return np.repeat(np.arange(len(times)), count)


class _JsonLines:
    def __init__(self, file: IO[str], own: bool, joints: bool) -> None:
        self._file, self._own, self._joints = file, own, joints

    def write(self, pose: Pose, ms: float) -> None:
        found: dict[str, Any] = {
            "t": pose.t,
            "quaternions": np.round(rotations.quaternion_from_matrix(pose.local), _DIGITS).tolist(),
            "root": _plain(pose.root),
            "betas": _plain(pose.betas),
            "sensors": pose.sensor_set,
            "masked": [name for name, here in zip(columns.SENSORS, pose.present, strict=True) if not here],
            "held": [name for name, here in zip(columns.SENSORS, pose.held, strict=True) if here],
            "flags": list(pose.flags),
            "ms": round(ms, 3),
        }
        if self._joints:
            found["joints"] = _plain(pose.positions)
        self._file.write(json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._own:
            self._file.close()


class _Csv:
    def __init__(self, file: IO[str], own: bool) -> None:
        self._file, self._own = file, own
        self._line([*COLUMNS, "ms"])

    def write(self, pose: Pose, ms: float) -> None:
        values = row(pose)
        self._line([round(value, _DIGITS) if isinstance(value, float) else value for value in values.values()] + [round(ms, 3)])

    def close(self) -> None:
        if self._own:
            self._file.close()

    def _line(self, cells: Sequence[Any]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._file.write(line.getvalue())
        self._file.flush()


class _Whole:
    def __init__(self, out: Path, body: bodies.Body, write: Callable[[Path, Floats, Floats, Floats, bodies.Body], None]) -> None:
        self._out, self._body, self._write = out, body, write
        self._poses: list[tuple[float, npt.NDArray[np.float32], Floats, npt.NDArray[np.float32]]] = []

    def write(self, pose: Pose, ms: float) -> None:
        # 6D in single precision: a quarter of the memory, 1e-7 of a turn
        six = rotations.six_from_matrix(pose.local).astype(np.float32)
        self._poses.append((pose.t, six, pose.head, np.asarray(pose.betas, np.float32)))

    def close(self) -> None:
        if not self._poses:
            return
        times, six, head, betas = (np.stack([pose[field] for pose in self._poses]).astype(np.float64) for field in range(4))
        which = filled(times)
        local = rotations.matrix_from_six(six)
        root, shape = one_shape(local, head, betas, self._body)
        self._write(self._out, local[which], root[which], shape, self._body)


def _opened(out: Path) -> IO[str]:
    try:
        atomic.make_folder(out.parent)
        return out.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror or error}); name another file with --out") from error


def _names(which: npt.NDArray[np.bool_]) -> str:
    return " ".join(columns.SENSORS[number] for number in range(COUNT) if which[number])


def _plain(values: npt.NDArray[Any]) -> Any:
    """Rounded; null where there is no number."""
    rounded = np.round(np.asarray(values, np.float64), _DIGITS)
    return rounded.tolist() if np.isfinite(rounded).all() else None

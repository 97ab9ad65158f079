"""One clip's file, read and judged: a row of `samples.parquet`, or one of `quarantine.parquet` with its reason."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.core import tables
from tenfold.core.files import Unreadable
from tenfold.motion_tracking import amass, body, kinematics, resample, skeleton
from tenfold.motion_tracking.amass import Motion, Place
from tenfold.motion_tracking.bodies import Bodies
from tenfold.motion_tracking.config import Dataset

Floats = npt.NDArray[np.float64]

MODALITIES = ("clip",)
EXTRA: dict[str, pa.DataType] = {
    **dict.fromkeys(("label", "subset", "subject", "group", "source", "gender"), pa.string()),
    "fps": pa.float64(),
    "frames": pa.int64(),
    "seconds": pa.float64(),
    "height_m": pa.float64(),
    "max_speed": pa.float64(),
    "poses_sha256": pa.string(),
    "body_sha256": pa.string(),
    "warnings": pa.string(),
}
SAMPLES_SCHEMA = tables.samples_schema(MODALITIES, EXTRA)
QUARANTINE_SCHEMA = tables.quarantine_schema(MODALITIES, EXTRA)

FARTHEST_M = 100.0
TALLEST_M = 3.0
SENSIBLE_HEIGHT_M = (0.8, 2.6)
_TURN = 2 * np.pi * (1 + 1e-6)
# Cosine of 45 degrees: the axis that head and pelvis lie along.
_ALONG = 0.7


@dataclass
class Examined:
    """The row of one clip; `reason` is set if it goes to the quarantine.

    `looks`: what its subset looks like if most of its clips do, empty if nothing speaks against z-up metres.
    """

    row: dict[str, Any]
    reason: str | None = None
    detail: str | None = None
    looks: str = ""
    warnings: list[str] = field(default_factory=list)


def examine(root: Path, place: Place, split: str, block: Dataset, bodies: Bodies) -> Examined:
    """Read the clip once: hash, check, put it on its body at 60 Hz. Never raises for what is wrong with a file; that ends in the row."""
    row: dict[str, Any] = dict.fromkeys(SAMPLES_SCHEMA.names)
    row |= {"id": place.id, "unit": "", "split": split, "label": "", "subset": place.subset, "subject": f"{place.subset}/{place.subject}"}
    row |= {"group": "", "source": "real", "clip_path": place.path.as_posix(), "warnings": ""}
    done = Examined(row)
    try:
        motion = amass.read(root, place.path)
        row |= {"clip_sha256": motion.sha256, "clip_bytes": motion.size, "poses_sha256": motion.poses_sha256, "label": motion.kind}
        row |= {"group": motion.group, "source": motion.source or "real", "gender": motion.gender, "fps": motion.fps}
        done.warnings += motion.notes
        _judge(place, motion, block, bodies.of(motion.gender), done)
    except Unreadable as problem:
        done.reason, done.detail = problem.reason, problem.detail
    row["warnings"] = "; ".join(done.warnings)
    return done


def check(path: Path, motion: Motion, block: Dataset) -> int:
    """The number of frames that a motion has at 60 Hz. Raises Unreadable, with the frame, for values that are none."""
    for key, values in (("poses", motion.poses.reshape(len(motion.poses), -1)), ("trans", motion.trans)):
        bad = np.flatnonzero(~np.isfinite(values).all(-1))
        if len(bad):
            raise Unreadable("nonfinite", f"{path}: key {key} has NaN or inf in frame {bad[0]} ({len(bad)} frames in all)")
    turns = np.linalg.norm(motion.poses, axis=-1)
    if turns.size and turns.max() > _TURN:
        frame, joint = np.unravel_index(int((turns > _TURN).argmax()), turns.shape)
        told = f"{skeleton.JOINTS[int(joint)]} is turned by {turns[frame, joint]:.1f} rad in frame {frame}, more than a full turn"
        raise Unreadable("rotation_over_turn", f"{path}: key poses: {told}")
    frames = resample.count(len(motion.poses), motion.fps, block.resample)
    if frames < block.min_frames:
        raise Unreadable(
            "too_short", f"{path}: {len(motion.poses)} frames at {motion.fps:g} Hz are {frames} at 60 Hz, {block.min_frames} needed"
        )
    return frames


def _judge(place: Place, motion: Motion, block: Dataset, on: body.Body, done: Examined) -> None:
    frames = check(place.path, motion, block)
    local, trans = resample.resample(motion, block.resample)
    _, positions = kinematics.forward(local, body.joints(on, motion.betas), trans)
    up = _mean_direction(positions[:, skeleton.HEAD] - positions[:, skeleton.PELVIS])
    height = float(np.quantile(positions[:, skeleton.HEAD, 2], 0.95))
    speeds = np.linalg.norm(np.diff(positions, axis=0), axis=-1) * skeleton.RATE_HZ
    fastest = float(speeds.max())
    done.row |= {"frames": frames, "seconds": frames / skeleton.RATE_HZ, "height_m": height, "max_speed": fastest, "body_sha256": on.sha256}

    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > _ALONG and (axis != 2 or up[axis] < 0):
        done.looks = f"{'-' if up[axis] < 0 else ''}{'xyz'[axis]}-up, not z-up"
        done.warnings.append(f"lies down, or is {done.looks}")
    elif height > TALLEST_M:
        done.looks = "centimetres, not metres"
        told = f"the head is {height:.0f} m above the ground" if height >= 10 else f"the head is {height:.1f} m above the ground"
        raise Unreadable("too_high", f"{place.path}: {told}; this looks like centimetres, or a floor that is not at z = 0")
    elif not SENSIBLE_HEIGHT_M[0] <= height <= SENSIBLE_HEIGHT_M[1]:
        done.warnings.append(f"head at {height:.2f} m: sits, lies, or the floor is not at z = 0")
    far = np.abs(motion.trans).max(-1) > FARTHEST_M
    if far.any():
        frame = int(far.argmax())
        told = f"key trans is {np.abs(motion.trans[frame]).max():.1f} m from the origin in frame {frame}, at most {FARTHEST_M:.0f}"
        raise Unreadable("far_away", f"{place.path}: {told}")
    if fastest > block.max_speed:
        first, joint = np.unravel_index(int((speeds > block.max_speed).argmax()), speeds.shape)
        frame = resample.frame_in_file(int(first) + 1, motion.fps, block.resample)
        told = f"{skeleton.JOINTS[int(joint)]} moves at {speeds[first, joint]:.0f} m/s into frame {frame}, at most {block.max_speed:g}: a glitch"
        raise Unreadable("too_fast", f"{place.path}: {told}")


def _mean_direction(vectors: Floats) -> Floats:
    """Mean (3,) of the unit vectors (T, 3)."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)).mean(0)

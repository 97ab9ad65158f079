"""Motions of any frame rate at exactly 60 Hz (specification section 2.6)."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import UsageError
from tenfold.motion_tracking.amass import Motion
from tenfold.motion_tracking.rotations import matrix_from_axis_angle, slerp
from tenfold.motion_tracking.skeleton import RATE_HZ

Floats = npt.NDArray[np.float64]
How = Literal["slerp", "stride"]

# A rate this close to a multiple of 60 Hz is that multiple: 0.1 frames in ten minutes.
_CLOSE = 1e-6


def count(frames: int, fps: float, how: How) -> int:
    """Frames that `frames` at `fps` become."""
    if how == "stride":
        return -(-frames // _stride(fps))
    return int(np.floor((frames - 1) / fps * RATE_HZ + 1e-6)) + 1 if frames else 0


def resample(motion: Motion, how: How) -> tuple[Floats, Floats]:
    """Local rotations (N, 22, 3, 3) and translations (N, 3), m, at 60 Hz.

    `slerp`: rotations along the shortest arc, translations in a straight line, from the first frame on. `stride`: every round(fps / 60)-th
    frame, as in the official code, which plays 100 Hz at 50 Hz and calls it 60. A multiple of 60 Hz gives the same either way.
    """
    if how not in ("slerp", "stride"):
        raise UsageError(f"resample {how!r} is unknown; there are slerp, stride.")
    ratio = motion.fps / RATE_HZ
    if how == "stride" or (ratio >= 1 and abs(ratio - round(ratio)) < _CLOSE):
        step = _stride(motion.fps)
        return matrix_from_axis_angle(motion.poses[::step]), motion.trans[::step].copy()
    length = len(motion.poses)
    times = np.arange(length) / motion.fps
    wanted = np.minimum(np.arange(count(length, motion.fps, how)) / RATE_HZ, times[-1] if length else 0.0)
    local = slerp(matrix_from_axis_angle(motion.poses), times, wanted)
    trans = np.stack([np.interp(wanted, times, axis) for axis in motion.trans.T], axis=-1)
    return local, trans


def frame_in_file(frame: int, fps: float, how: How) -> int:
    """The file's frame nearest to (`stride`: which is) a frame at 60 Hz."""
    return frame * _stride(fps) if how == "stride" else round(frame * fps / RATE_HZ)


def _stride(fps: float) -> int:
    return max(1, round(fps / RATE_HZ))

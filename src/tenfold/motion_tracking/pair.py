"""A recording's predicted poses against its true ones, both files in AMASS's layout (section 7)."""

from pathlib import Path

import numpy as np

from tenfold.core.errors import BadData
from tenfold.core.files import Unreadable
from tenfold.motion_tracking import amass, body, formulas, kinematics, resample, skeleton
from tenfold.motion_tracking.formulas import Motion

LATE = 60
"""Frames by which two files of one recording may differ in length."""


def read(path: Path, on: body.Body) -> Motion:
    """The motion of a file on a body at 60 Hz. Raises BadData naming file and key."""
    try:
        whole = path.resolve()
        found = amass.read(whole.parent, Path(whole.name))
    except Unreadable as problem:
        raise BadData(f"{problem.detail}. Name a file in AMASS's layout, as `tenfold predict` writes it.") from problem
    for key, values in (("poses", found.poses), ("trans", found.trans)):
        if not np.isfinite(values).all() or not len(values):
            raise BadData(f"{path}: key {key} has no frames, or NaN or infinity in them.")
    local, root = resample.resample(found, "slerp")
    return Motion(local, kinematics.forward(local, body.joints(on, found.betas), root)[1])


def score(found: Motion, true: Motion) -> dict[str, float]:
    """Means of all formulas, frame by frame from the first on, the predicted head joint moved onto the true one.

    Raises BadData if the motions differ in length by more than LATE frames.
    """
    if abs(len(found) - len(true)) > LATE:
        raise BadData(f"{len(found)} predicted and {len(true)} true frames at 60 Hz: these are not of one recording.")
    count = min(len(found), len(true))
    found, true = found.part(0, count), true.part(0, count)
    placed = kinematics.align_head(found.positions, true.positions[:, skeleton.HEAD])
    return formulas.score(Motion(found.local, placed), true)

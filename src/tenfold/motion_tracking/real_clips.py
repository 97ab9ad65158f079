"""The real motion that comes with the package: 20 DeepMimic clips and two CMU takes, converted once (`maintenance/`, NOTICE).

Stored are rotations and the pelvis' place as a share of the leg's length, so that a clip can be put on any body.
"""

from dataclasses import dataclass
from importlib import resources

import numpy as np

from tenfold.core.errors import BadData
from tenfold.motion_tracking import kinematics
from tenfold.motion_tracking.actor_steps import SOLE_M
from tenfold.motion_tracking.rotations import Floats, matrix_from_quaternion

FILE = "kept/real_clips.npz"
SCALE = 32767
"""A stored quaternion's component is a 16-bit number of this many parts of 1."""

_FEET = (10, 11)
_FLOOR_PERCENTILE = 2.0


@dataclass(frozen=True)
class Real:
    """local (T, 22, 3, 3); place (T, 3) of the pelvis in leg lengths, z up; frames a second; what it shows; which clips belong together."""

    name: str
    kind: str
    group: str
    local: Floats
    place: Floats
    fps: float


def read() -> list[Real]:
    """All clips, in the stored order. Raises BadData if the package's file is missing or damaged."""
    try:
        with resources.as_file(resources.files("tenfold.motion_tracking") / FILE) as path, np.load(path, allow_pickle=False) as found:
            stored = {key: found[key] for key in ("name", "kind", "group", "fps", "length", "quaternion", "place")}
    except (OSError, ValueError, KeyError) as cause:
        raise BadData(f"the package's {FILE} cannot be read ({cause}). Install tenfold again, or set make.real to false.") from cause
    ends = np.cumsum(stored["length"])
    local = matrix_from_quaternion(stored["quaternion"] / SCALE)
    return [
        Real(
            str(stored["name"][number]), str(stored["kind"][number]), str(stored["group"][number]),
            local[end - stored["length"][number] : end], stored["place"][end - stored["length"][number] : end].astype(np.float64),
            float(stored["fps"][number]),
        )
        for number, end in enumerate(ends)
    ]  # fmt: skip


def on_body(clip: Real, rest: Floats) -> Floats:
    """Root (T, 3), m, of kinematics.forward for a body with joints at `rest` (22, 3); the lower foot touches the floor at its lowest."""
    leg = float(np.linalg.norm(rest[4] - rest[1]) + np.linalg.norm(rest[7] - rest[4]))
    return on_floor(clip.local, clip.place * leg - rest[0], rest)


def on_floor(local: Floats, root: Floats, rest: Floats) -> Floats:
    """Root (T, 3), m, moved up or down so that the lower ball of the foot is at sole height at its lowest (2nd percentile of the frames)."""
    _, placed = kinematics.forward(local, rest, root)
    low = float(np.percentile(placed[:, _FEET, 2].min(1), _FLOOR_PERCENTILE))
    return root - np.array([0.0, 0.0, low - SOLE_M])

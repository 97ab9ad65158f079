"""Write a motion as an AMASS file (SMPL+H G), which any SMPL viewer opens and `amass.read` reads."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tenfold.motion_tracking import skeleton
from tenfold.motion_tracking.body import write_npz
from tenfold.motion_tracking.rotations import axis_angle_from_matrix

WIDTH = 156
DMPLS = 8


def write(path: Path, local: ArrayLike, root: ArrayLike, betas: ArrayLike, fps: float, **said: str) -> None:
    """Write `*_poses.npz`: local (T, 22, 3, 3) and root (T, 3), m, as in kinematics.forward; betas (16,); hands at rest, gender neutral.

    `said` are further keys with a word each (kind, group, source). Equal motions give equal bytes. Raises OSError.
    """
    rotations = np.asarray(local, np.float64)
    poses = np.zeros((len(rotations), WIDTH))
    poses[:, : 3 * skeleton.COUNT] = axis_angle_from_matrix(rotations).reshape(len(poses), 3 * skeleton.COUNT)
    arrays = {
        "poses": poses, "trans": np.asarray(root, np.float64), "betas": np.asarray(betas, np.float64), "dmpls": np.zeros((len(poses), DMPLS)),
        "gender": np.array("neutral"), "mocap_framerate": np.array(float(fps)), **{key: np.array(word) for key, word in said.items()},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    # Speed before size: most of a file is hands at rest.
    write_npz(path, arrays, level=1)

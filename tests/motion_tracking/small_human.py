"""The project's own body, for tests."""

import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tenfold.motion_tracking import body, procedural_body


@functools.cache
def human() -> body.Body:
    """The body as its reader gives it."""
    with TemporaryDirectory() as folder:
        procedural_body.write(Path(folder) / "model.npz")
        return body.load(Path(folder) / "model.npz")


def rest_joints() -> np.ndarray:
    """Its joints at rest (22, 3) with all betas 0, m."""
    return human().rest.copy()

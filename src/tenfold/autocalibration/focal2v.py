"""Focal length from 6 points in 2 views; principal point known, square pixels (problem 2V6P-f)."""

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import solving
from tenfold.autocalibration.roots import Candidates
from tenfold.autocalibration.start_system import StartSystem

ID, KIND, VIEWS, POINTS = "2V6P-f", "f", 2, 6


def solve(
    x: npt.NDArray[np.float64], start: StartSystem, *, principal: npt.NDArray[np.float64], size: tuple[int, int], threads: int | None = None,
    device: str = "cpu",
) -> Candidates:  # fmt: skip
    """Cameras that fit each sample. `x`: (samples, 2, 6, 2) px, the same points in every view; `principal`: (2,) px, known; `size`: width, height.
    `device`: where paths are tracked: "cpu", or torch's "cuda".

    Not filtered: samples whose motion does not determine the camera. Raises UsageError for points of another shape or not finite.
    """
    return solving.solve(KIND, VIEWS, POINTS, x, start, principal, size, threads=threads, device=device)

"""fx, fy and principal point from 5 points in 3 views; no skew (problem 3V5P-zeroskew)."""

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import solving
from tenfold.autocalibration.roots import Candidates
from tenfold.autocalibration.start_system import StartSystem

ID, KIND, VIEWS, POINTS = "3V5P-zeroskew", "zero_skew", 3, 5


def solve(
    x: npt.NDArray[np.float64], start: StartSystem, *, principal: npt.NDArray[np.float64], size: tuple[int, int], threads: int | None = None
) -> Candidates:
    """Cameras that fit each sample. `x`: (samples, 3, 5, 2) px, the same points in every view; `principal`: (2,) px, a first guess; `size`: width, height.

    Not filtered: samples whose motion does not determine the camera. Raises UsageError for points of another shape or not finite.
    """
    return solving.solve_hard(KIND, VIEWS, POINTS, x, start, principal, size, threads=threads)

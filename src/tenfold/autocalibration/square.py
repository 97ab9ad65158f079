"""Focal length and principal point from 5 points in 3 views; square pixels.

Solved on the start system of 3V5P-zeroskew, where nothing is left over: fx = fy then tells the true roots. The relaxations of 3V5P-square
itself, which drop one more equation, have several times as many solutions.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import solving, zero_skew
from tenfold.autocalibration.roots import Candidates
from tenfold.autocalibration.start_system import StartSystem

ID, KIND, VIEWS, POINTS = zero_skew.ID, "square", 3, 5
# Roots whose fx and fy differ by more (logarithm) are none of a camera with square pixels, whatever the noise.
_APART = 0.25


def solve(
    x: npt.NDArray[np.float64], start: StartSystem, *, principal: npt.NDArray[np.float64], size: tuple[int, int], threads: int | None = None
) -> Candidates:
    """Cameras that fit each sample. `x`: (samples, 3, 5, 2) px, the same points in every view; `principal`: (2,) px, a first guess; `size`: width, height.

    `start` is that of `zero_skew`. fx = fy are the mean (geometric) of a root's two, `residual` is how far these are apart. Not filtered:
    samples whose motion does not determine the camera. Raises UsageError for points of another shape or not finite.
    """
    found = solving.solve_hard(zero_skew.KIND, VIEWS, POINTS, x, start, principal, size, threads=threads)
    apart = np.abs(np.log(found.k[:, 0] / found.k[:, 1]))
    kept = apart < _APART
    k = found.k[kept]
    k[:, :2] = np.sqrt(k[:, 0] * k[:, 1])[:, None]
    sample = found.sample[kept]
    physical = np.bincount(sample, minlength=len(found.physical))
    return replace(found, sample=sample, k=k, depths=found.depths[kept], residual=apart[kept], physical=physical)

"""From tracked solutions to cameras: real, physically possible, in pixels (section 2.6)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.equations import relative_residual, split
from tenfold.autocalibration.geometry import from_conic
from tenfold.autocalibration.problems import Problem, conic
from tenfold.autocalibration.tracker import FOUND, Tracks

Float = npt.NDArray[np.float64]
# A root is real if its imaginary part is this small, relative to its size.
_REAL = 1e-5
# Focal length over the longer side: a field of view of some 118 down to 14 degrees.
FOCAL_RANGE = (0.3, 4.0)
# The principal point may lie this far outside the image, in parts of its size.
_OUTSIDE = 0.5


@dataclass(frozen=True)
class Candidates:
    """What a solver found: one row a possible camera, of any sample; and counts a sample.

    Attributes:
        sample: (candidates,) which sample it solves.
        k: (candidates, 5) fx, fy, cx, cy, s in px.
        depths: (candidates, views, points), the first point in the first view at depth 1.
        residual: (candidates,) largest residual of the equations that the problem left out, relative; 0 if it left out none.
        roots, real, physical, lost: (samples,) solutions, real ones, possible cameras, lost paths.
        solves: (samples,) linear solves.
    """

    sample: npt.NDArray[np.int64]
    k: Float
    depths: Float
    residual: Float
    roots: npt.NDArray[np.int64]
    real: npt.NDArray[np.int64]
    physical: npt.NDArray[np.int64]
    lost: npt.NDArray[np.int64]
    solves: npt.NDArray[np.int64]


def candidates(
    problem: Problem,
    tracks: Tracks,
    image: Float,
    centre: Float,
    scale: Float,
    size: tuple[int, int],
    focal_range: tuple[float, float] = FOCAL_RANGE,
) -> Candidates:
    """Cameras of all samples. `image` (samples, views, points, 2) is normalised: pixels = image * scale + centre, `scale` (samples,)."""
    ends = tracks.ends
    found = tracks.status == FOUND
    with np.errstate(invalid="ignore"):
        real = found & (np.abs(ends.imag) <= _REAL * np.maximum(1.0, np.abs(ends))).all(axis=-1)
    sample, path = np.nonzero(real)
    roots = ends[sample, path].real
    entries, ratios, squares = split(problem, roots.astype(np.complex128))
    m, z = np.asarray(ratios.real), np.asarray(squares.real)
    k, definite = from_conic(np.asarray(conic(problem.kind, entries).real))
    k = k * scale[sample, None]
    k[:, 2:4] += centre
    longer = max(size)
    possible = definite & (m > 0).all(axis=(1, 2)) & (z > 0).all(axis=1)
    with np.errstate(invalid="ignore"):
        possible &= (k[:, :2] >= focal_range[0] * longer).all(axis=1) & (k[:, :2] <= focal_range[1] * longer).all(axis=1)
        possible &= (np.abs(k[:, 2:4] / np.array(size) - 0.5) <= 0.5 + _OUTSIDE).all(axis=1)
    sample, k, m, z, roots = sample[possible], k[possible], m[possible], z[possible], roots[possible]
    samples = len(ends)
    if problem.dropped and len(roots):
        residual = relative_residual(problem, roots.astype(np.complex128), image[sample].astype(np.complex128), problem.dropped)
    else:
        residual = np.zeros(len(roots))
    return Candidates(
        sample=sample,
        k=k,
        depths=m * np.sqrt(z)[:, :, None],
        residual=residual,
        roots=found.sum(axis=1),
        real=real.sum(axis=1),
        physical=np.bincount(sample, minlength=samples),
        lost=tracks.lost,
        solves=tracks.solves.sum(axis=1),
    )

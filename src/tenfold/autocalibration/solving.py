"""What all solvers do: normalise the samples, track the start system's solutions to them, keep the possible cameras."""

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.roots import FOCAL_RANGE, Candidates, candidates
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.tracker import FAST, RETRY, Options, track
from tenfold.core.errors import UsageError

Float = npt.NDArray[np.float64]


def normalised(x: Float, centre: Float) -> tuple[Float, Float]:
    """Points (samples, views, points, 2) about `centre` (2,), each sample at rms radius 1; and the radii (samples,) px."""
    moved = np.asarray(x, dtype=np.float64) - centre
    scale = np.sqrt((moved**2).sum(axis=-1).mean(axis=(1, 2)))
    scale = np.where(scale > 0, scale, 1.0)
    return moved / scale[:, None, None, None], scale


def solve(
    kind: str, views: int, points: int, x: Float, start: StartSystem, principal: Float, size: tuple[int, int],
    options: Options = FAST, threads: int | None = None, focal_range: tuple[float, float] = FOCAL_RANGE,
) -> Candidates:  # fmt: skip
    """Candidates of every sample of `x` (samples, views, points, 2) px.

    Raises UsageError for points of another shape, numbers that are not finite, or a start system of another problem.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 4 or x.shape[1:] != (views, points, 2):
        raise UsageError(f"the solver takes points of shape (samples, {views}, {points}, 2), not {x.shape}.")
    if not np.isfinite(x).all():
        raise UsageError("a point is not finite. Leave such points out.")
    of = start.problem
    if (of.kind, of.views, of.points) != (kind, views, points):
        raise UsageError(
            f"the start system is of {of.views} views, {of.points} points, unknown {of.kind}; the solver needs {views}, {points}, {kind}."
        )
    principal = np.asarray(principal, dtype=np.float64)
    image, scale = normalised(x, principal)
    tracks = track(of, start.base, start.solutions, image.astype(np.complex128), options, threads, again=(RETRY,))
    return candidates(of, tracks, image, principal, scale, size, focal_range)

"""What all solvers do: normalise the samples, track the start system's solutions to them, keep the possible cameras."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import routes, twins
from tenfold.autocalibration.nearest import Nearest, nearest
from tenfold.autocalibration.roots import FOCAL_RANGE, Candidates, candidates
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.tracker import FAR, FAST, FOUND, RETRY, TIGHT, Options, Tracks, track
from tenfold.autocalibration.uniting import united
from tenfold.core.errors import UsageError

Float = npt.NDArray[np.float64]
# Orders in which a sample is tracked at most; samples that are tracked in a further one at once.
_ORDERS, _BATCH = 3, 64


def normalised(x: Float, centre: Float) -> tuple[Float, Float]:
    """Points (samples, views, points, 2) about `centre` (2,), each sample at rms radius 1; and the radii (samples,) px."""
    moved = np.asarray(x, dtype=np.float64) - centre
    scale = np.sqrt((moved**2).sum(axis=-1).mean(axis=(1, 2)))
    scale = np.where(scale > 0, scale, 1.0)
    return moved / scale[:, None, None, None], scale


def solve(
    kind: str, views: int, points: int, x: Float, start: StartSystem, principal: Float, size: tuple[int, int],
    options: Options = FAST, threads: int | None = None, focal_range: tuple[float, float] = FOCAL_RANGE,
    again: Sequence[Options] = (RETRY, TIGHT), device: str = "cpu",
) -> Candidates:  # fmt: skip
    """Candidates of every sample of `x` (samples, views, points, 2) px. `device` as in `tracker.track`.

    Raises UsageError for points of another shape, numbers that are not finite, or a start system of another problem.
    """
    x = _checked(kind, views, points, x, start)
    image, scale = normalised(x, principal)
    near, tracks = _tracked(kind, image, start, options, threads, again, device)
    found = candidates(start.problem, tracks, near.x, principal, scale, size, focal_range)
    return replace(found, depths=near.restored(found.sample, found.depths))


def solve_hard(
    kind: str, views: int, points: int, x: Float, start: StartSystem, principal: Float, size: tuple[int, int], threads: int | None = None
) -> Candidates:
    """As `solve`, for problems whose paths are hard to follow (see `routes`)."""
    x = _checked(kind, views, points, x, start)
    image, scale = normalised(x, principal)
    near = nearest(kind, image, start.base)
    given = near.x.astype(np.complex128)
    tracks = routes.solutions(start.problem, start.base, start.solutions, given, threads=threads)
    if start.problem.twins:
        tracks = replace(tracks, ends=twins.preferred(start.problem, tracks.ends, given[:, None]))
    found = candidates(start.problem, tracks, near.x, principal, scale, size)
    return replace(found, depths=near.restored(found.sample, found.depths))


def _checked(kind: str, views: int, points: int, x: Float, start: StartSystem) -> Float:
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
    return x


def _tracked(
    kind: str, image: Float, start: StartSystem, options: Options, threads: int | None, again: Sequence[Options], device: str
) -> tuple[Nearest, Tracks]:
    """All samples in their nearest order; those that miss roots in the next ones, too, which have other hard paths: the roots are united.

    A path that is lost, but not far out, misses a root. In the further orders each path is tracked once, without `again`.
    """

    def in_order(rank: int, image: Float, again: Sequence[Options]) -> tuple[Nearest, Tracks]:
        near = nearest(kind, image, start.base, rank)
        return near, track(start.problem, start.base, start.solutions, near.x.astype(np.complex128), options, threads, again, device)

    near, tracks = in_order(0, image, again)
    for rank in range(1, _ORDERS) if again else ():
        missing = np.flatnonzero(((tracks.status != FOUND) & (tracks.status != FAR)).any(axis=1))
        for low in range(0, len(missing), _BATCH):
            at = missing[low : low + _BATCH]
            here = Nearest(near.x[at], near.views[at], near.points[at])
            part = Tracks(tracks.ends[at], tracks.status[at], tracks.solves[at])
            part = united(start.problem, here, part, *in_order(rank, image[at], ()))
            tracks.ends[at], tracks.status[at], tracks.solves[at] = part.ends, part.status, part.solves
    return near, tracks

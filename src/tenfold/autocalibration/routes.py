"""All solutions at an image for problems whose paths are hard to follow: straight to it, by conjugation, and around on either side.

A generic image has as many regular, finite solutions as any other (the theorem of parameter homotopies), so a path to it neither diverges
nor ends singular: it can only be hard to follow. That happens anywhere on the way, wherever a solution comes near a degenerate set (a conic w
of lower rank, all points in an isotropic plane) and the Jacobian's condition rises to 1e9 and more. Such a path is followed by `hermite`; a
root that is missing still may be the conjugate of another one, since the equations of a real image are real, and is reached by another
way that passes at a distance. What no way reaches counts as lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import hermite
from tenfold.autocalibration.equations import relative_residual
from tenfold.autocalibration.kernel import ASTRAY, FOUND, TWICE
from tenfold.autocalibration.machine import newton
from tenfold.autocalibration.monodromy import Edges, holding
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.program import compiled
from tenfold.autocalibration.start_system import fresh, places, without_twins
from tenfold.autocalibration.tracker import HOLDS, Tracks, each, moving_terms, spans

Complex = npt.NDArray[np.complex128]
# Where t leaves the real numbers at half way, once on either side.
DETOURS = (0.3j, -0.3j)
# Ends that differ by less, relative to their size, are one: rounding errors of the worst conditioned reach 1e-5, different roots are a
# hundredth apart.
_SAME = 1e-4
# Ends in turn: later ones are few, and a vector of paths costs as much with one as with all of its lanes.
_CHAIN = 10


@dataclass(frozen=True)
class Steps:
    """Control of `hermite`'s steps; errors are the largest relative change of an unknown by a Newton step, as in `tracker.Options`.

    A predicted point is taken if its error is at most `accept` and the second Newton step is smaller than the first by the factor
    `shrink`, or below `floor`, where rounding errors of an ill-conditioned system begin. Steps aim at the error `aim` and the factor
    `aimed_shrink`. A step below `smallest` or more than `most` solves lose the path; `ready` ends the last Newton steps.
    """

    accept: float = 1e-2
    shrink: float = 0.25
    floor: float = 1e-6
    aim: float = 1e-3
    aimed_shrink: float = 0.02
    smallest: float = 1e-9
    most: int = 1500
    begin: float = 0.01
    ready: float = 1e-6


STEADY = Steps()


def solutions(
    problem: Problem, base: Complex, starts: Complex, targets: Complex, steps: Steps = STEADY, threads: int | None = None,
    detours: Sequence[complex] = DETOURS,
) -> Tracks:  # fmt: skip
    """As `tracker.track`. A lost path takes the place of a root that no other one has; in what order is without meaning.

    What is found at a target depends on it alone. Of twins (`Problem.twins`) one is found.
    """
    targets = np.asarray(targets, dtype=np.complex128)
    implied = holding(problem, starts, base)
    tracks, _ = straight(problem, base, starts, targets, steps, threads, implied)

    def complete(target: int) -> None:
        _complete(problem, base, starts, targets[target], tracks, target, steps, detours, implied)

    each(complete, range(len(targets)), threads)
    return tracks


def straight(
    problem: Problem, here: Complex, starts: Complex, there: Complex, steps: Steps = STEADY, threads: int | None = None, implied: Edges = ()
) -> tuple[Tracks, npt.NDArray[np.float64]]:
    """Paths from `starts` (paths, unknowns) at the image `here` straight to the images `there` (targets, views, points, 2).

    `implied`: the equations left out that all starts obey; an end that does not has jumped. Also where on the way each path (targets,
    paths) was last, 1 for those that arrived.
    """
    starts = np.ascontiguousarray(starts, dtype=np.complex128)
    targets, (paths, unknowns) = len(there), starts.shape
    ends = np.zeros((targets * paths, unknowns), dtype=np.complex128)
    status, solves = np.zeros(targets * paths, dtype=np.int8), np.zeros(targets * paths, dtype=np.int64)
    times = np.zeros(targets * paths)
    program, code = compiled(problem), newton(problem)
    terms = np.ascontiguousarray(moving_terms(problem, np.asarray(here, dtype=np.complex128), there))

    def some(jobs: npt.NDArray[np.int64], span: tuple[int, int]) -> None:
        hermite.track_some(
            *span, jobs, starts, terms, unknowns, program.moving, code.address, steps.accept, steps.shrink, steps.floor, steps.aim,
            steps.aimed_shrink, steps.smallest, steps.most, steps.begin, steps.ready, ends, status, solves, times,
        )  # fmt: skip

    each(partial(some, np.arange(targets * paths)), spans(targets * paths), threads)
    shape = (targets, paths)
    tracks = Tracks(ends.reshape(*shape, unknowns), status.reshape(shape), solves.reshape(shape))
    _judge(problem, tracks, there, implied)
    return tracks, times.reshape(shape)


def _judge(problem: Problem, tracks: Tracks, targets: Complex, implied: Edges) -> None:
    """Ends that are no scenes, and all but the first of those that are one, are not found."""
    for ends, status, image in zip(tracks.ends, tracks.status, targets, strict=True):
        found = np.flatnonzero(status == FOUND)
        if implied:
            status[found[~(relative_residual(problem, ends[found], image, implied) < HOLDS)]] = ASTRAY
            found = np.flatnonzero(status == FOUND)
        status[np.delete(found, fresh(without_twins(problem, ends[found]), least=_SAME))] = TWICE


def _complete(
    problem: Problem, base: Complex, starts: Complex, image: Complex, tracks: Tracks, target: int, steps: Steps,
    detours: Sequence[complex], implied: Edges,
) -> None:  # fmt: skip
    """Fill in what the straight paths to one target miss."""
    ends, status, solves = tracks.ends[target], tracks.status[target], tracks.solves[target]
    lost = np.flatnonzero(status != FOUND)
    if not len(lost):
        return
    own = np.flatnonzero(status == FOUND)
    known = np.concatenate([ends[own], _conjugates(problem, image, ends[own], ends[own])])
    for bend in detours:
        if len(known) >= len(starts):
            break
        reached = _around(problem, base, starts, image, lost, own, ends[own], solves, bend, steps, implied)
        known = np.concatenate([known, _new(problem, reached, known)])
        known = np.concatenate([known, _conjugates(problem, image, reached, known)])
    taken = lost[: len(known) - len(own)]
    ends[taken], status[taken] = known[len(own) :][: len(taken)], FOUND


def _new(problem: Problem, roots: Complex, known: Complex) -> Complex:
    return roots[fresh(without_twins(problem, roots), without_twins(problem, known), _SAME)]


def _conjugates(problem: Problem, image: Complex, roots: Complex, known: Complex) -> Complex:
    """Of roots at a real image those conjugates that are not known."""
    return _new(problem, roots.conj(), known) if (image.imag == 0).all() else roots[:0]


def _around(
    problem: Problem, base: Complex, starts: Complex, image: Complex, lost: npt.NDArray[np.int64], own: npt.NDArray[np.int64], ends: Complex,
    solves: npt.NDArray[np.int64], bend: complex, steps: Steps, implied: Edges,
) -> Complex:  # fmt: skip
    """Roots that the paths `own` with their `ends` have not, reached by leading the `lost` ones around; counts into `solves`.

    The other way permutes the ends: where a lost path arrives at the end of another one, that one is led around as well, and so on.
    """
    via = base + (0.5 + bend) * (image - base)
    missing = [ends[:0]]
    current, led = lost, set[int]()
    for _ in range(_CHAIN):
        if not len(current):
            break
        led |= set(current.tolist())
        first, _ = straight(problem, base, starts[current], via[None], steps, 1, implied)
        solves[current] += first.solves[0]
        there = first.status[0] == FOUND
        second, _ = straight(problem, via, first.ends[0][there], image[None], steps, 1, implied)
        solves[current[there]] += second.solves[0]
        arrived = second.ends[0][second.status[0] == FOUND]
        at = places(without_twins(problem, arrived), without_twins(problem, ends), _SAME)
        missing.append(arrived[at < 0])
        current = np.array(sorted(set(own[at[at >= 0]].tolist()) - led), dtype=np.int64)
    return np.concatenate(missing)

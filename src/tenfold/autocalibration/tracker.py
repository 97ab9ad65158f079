"""Follow known solutions of one minimal problem from its start images to others (parameter homotopy continuation, section 2.6).

The images move along `p(t) = (1 - t) base + t target`. Predictor: the cubic through the last two points and tangents; corrector: Newton,
whose first factorisation also gives the next tangent, so that most steps cost one solve.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import kernel
from tenfold.autocalibration.geometry import homogeneous
from tenfold.autocalibration.problems import Problem, terms
from tenfold.autocalibration.program import compiled

Complex = npt.NDArray[np.complex128]
FOUND, STEP, END, SOLVES = kernel.FOUND, kernel.STEP, kernel.END, kernel.SOLVES
# Jobs a thread takes at once: enough that few lanes run empty.
_JOBS = 1024


@dataclass(frozen=True)
class Options:
    """Control of the steps; errors are the largest relative change of an unknown by a Newton step.

    A predicted point with an error up to `accept` is taken after one Newton step, up to `again` after a second one that is as small;
    steps aim at `aim`. A step below `smallest` or more than `most` solves lose the path; `ready` ends the last Newton steps.
    """

    accept: float = 1e-3
    again: float = 3e-2
    aim: float = 5e-4
    smallest: float = 1e-7
    most: int = 3000
    begin: float = 0.02
    ready: float = 1e-8


FAST = Options()
"""For solving: loses no true root in the benchmark's 1,000 instances of a solver."""
RETRY = Options(accept=1e-4, aim=2e-5, smallest=1e-10, most=4000)
"""For the few paths that `FAST` loses."""
CAREFUL = Options(accept=1e-4, aim=2e-5, smallest=1e-9, most=20000)
"""For finding start systems: a path that jumps to its neighbour costs a solution there."""


@dataclass(frozen=True)
class Tracks:
    """Ends of all paths (targets, paths, unknowns), why each ended (targets, paths) int8 and its number of linear solves."""

    ends: Complex
    status: npt.NDArray[np.int8]
    solves: npt.NDArray[np.int64]

    @property
    def lost(self) -> npt.NDArray[np.int64]:
        """Lost paths of each target."""
        return (self.status != FOUND).sum(axis=1)


def track(
    problem: Problem, base: Complex, starts: Complex, targets: Complex, options: Options = FAST, threads: int | None = None,
    again: Sequence[Options] = (),
) -> Tracks:  # fmt: skip
    """Track every start (paths, unknowns) at `base` (views, points, 2) to every target (targets, views, points, 2).

    What a path does depends on nothing but its own start and target. `threads`: default all cores. Paths that
    are lost are tracked `again` with these options in turn; `solves` counts all.
    """
    targets = np.asarray(targets, dtype=np.complex128)
    starts = np.ascontiguousarray(starts, dtype=np.complex128)
    paths, unknowns = starts.shape
    jobs = len(targets) * paths
    ends = np.zeros((jobs, unknowns), dtype=np.complex128)
    status = np.zeros(jobs, dtype=np.int8)
    solves = np.zeros(jobs, dtype=np.int64)
    program = compiled(problem)
    moving = np.ascontiguousarray(_moving(problem, np.asarray(base, dtype=np.complex128), targets))

    def some(jobs: npt.NDArray[np.int64], options: Options, span: tuple[int, int]) -> None:
        kernel.track_some(
            *span, jobs, starts, moving, *program.arrays, options.accept, options.again, options.aim, options.smallest, options.most, options.begin,
            options.ready, ends, status, solves,
        )  # fmt: skip

    wanted = np.arange(jobs)
    for control in (options, *again):
        spans = [(low, min(low + _JOBS, len(wanted))) for low in range(0, len(wanted), _JOBS)]
        before = solves[wanted]
        _each(partial(some, wanted, control), spans, min(threads or os.cpu_count() or 1, len(spans)))
        solves[wanted] += before
        wanted = wanted[status[wanted] != FOUND]
    shape = (len(targets), paths)
    return Tracks(ends.reshape(*shape, unknowns), status.reshape(shape), solves.reshape(shape))


def _each(some: Callable[[tuple[int, int]], None], spans: Iterable[tuple[int, int]], threads: int) -> None:
    if threads < 2:
        for span in spans:
            some(span)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, spans))


def _moving(problem: Problem, base: Complex, targets: Complex) -> Complex:
    """Coefficients (targets, views * pairs p <= q * (1 + free), 3) of 1, t and t^2 in every term of `x_p^T w x_q`."""
    start = homogeneous(np.broadcast_to(base, targets.shape))
    speed = np.concatenate([targets - base, np.zeros((*targets.shape[:-1], 1))], axis=-1)
    p, q = np.triu_indices(problem.points)
    a, b, c, d = start[:, :, p], start[:, :, q], speed[:, :, p], speed[:, :, q]
    kind = problem.kind
    powers = [terms(kind, a, b), terms(kind, a, d) + terms(kind, c, b), terms(kind, c, d)]
    return np.stack(powers, axis=-1).reshape(len(targets), -1, 3)

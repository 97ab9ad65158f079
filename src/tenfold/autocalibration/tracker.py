"""Follow known solutions of one minimal problem from its start images to others (parameter homotopy continuation, section 2.6).

The images move along `p(t) = (1 - t) base + t target`. Predictor: the cubic through the last two points and tangents; corrector: Newton,
whose first factorisation also gives the next tangent, so that most steps cost one solve.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import kernel
from tenfold.autocalibration.equations import relative_residual
from tenfold.autocalibration.geometry import homogeneous
from tenfold.autocalibration.machine import newton
from tenfold.autocalibration.problems import Problem, terms
from tenfold.autocalibration.program import compiled

Complex = npt.NDArray[np.complex128]
FOUND, STEP, END, SOLVES, FAR, TWICE = kernel.FOUND, kernel.STEP, kernel.END, kernel.SOLVES, kernel.FAR, kernel.TWICE
# Jobs a thread takes at once: enough that few lanes run empty.
_JOBS = 1024


@dataclass(frozen=True)
class Options:
    """Control of the steps; errors are the largest relative change of an unknown by a Newton step.

    A predicted point with an error up to `accept` is taken after one Newton step, up to `again` after a second one that is as small;
    steps aim at `aim`. A step below `smallest` or more than `most` solves lose the path; `ready` ends the last Newton steps. A path that is
    lost near the end with an unknown above `far` is given up: it is not tracked again.
    """

    accept: float = 1e-3
    again: float = 3e-2
    aim: float = 5e-4
    smallest: float = 1e-7
    most: int = 3000
    begin: float = 0.02
    ready: float = 1e-8
    far: float = math.inf


FAST = Options(far=1e3)
"""For solving. A camera that sees normalised points has unknowns of order one."""
RETRY = Options(accept=1e-4, aim=2e-5, smallest=1e-10, most=4000, far=1e3)
"""For the few paths that `FAST` loses, or leads to an end that another path has."""
TIGHT = Options(accept=1e-6, aim=2e-7, smallest=1e-13, most=4000, far=1e3)
"""For those of them that `RETRY` does not mend either."""
CAREFUL = Options(accept=1e-4, aim=2e-5, smallest=1e-9, most=20000)
"""For finding start systems: a path that jumps to its neighbour costs a solution there."""
# Where t leaves the real numbers at half way to go around what paths are stuck at; so many paths at once, so many ends
# in turn.
_BENDS, _STUCK, _CHAIN = (0.02j, -0.02j, 0.1j, -0.1j, 0.3j, -0.3j), 64, 10
# Ends that differ by less, relative to their size, are one.
_SAME = 1e-6
# Up to here an equation holds (`relative_residual`).
HOLDS = 1e-9


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
    again: Sequence[Options] = (), device: str = "cpu",
) -> Tracks:  # fmt: skip
    """Track every start (paths, unknowns) at `base` (views, points, 2) to every target (targets, views, points, 2).

    What a path does depends on nothing but its own start and target. `threads`: default all cores. Paths that
    are lost, and those that end where another one does (one of them has jumped), are tracked `again` with these options in turn; what is
    stuck is led around (see `_around`), and what still ends twice is lost but for the first. `solves` counts all.
    `device`: "cpu" is this module's own tracker; any other name is torch's ("cuda", "torch:cpu"; see `torch_tracker`).
    """
    targets = np.asarray(targets, dtype=np.complex128)
    starts = np.ascontiguousarray(starts, dtype=np.complex128)
    paths, unknowns = starts.shape
    jobs = len(targets) * paths
    ends = np.zeros((jobs, unknowns), dtype=np.complex128)
    status = np.zeros(jobs, dtype=np.int8)
    solves = np.zeros(jobs, dtype=np.int64)
    program, code = compiled(problem), newton(problem)
    moving = np.ascontiguousarray(moving_terms(problem, np.asarray(base, dtype=np.complex128), targets))

    def some(jobs: npt.NDArray[np.int64], options: Options, span: tuple[int, int]) -> None:
        kernel.track_some(
            *span, jobs, starts, moving, unknowns, program.moving, code.address, options.accept, options.again, options.aim, options.smallest,
            options.most, options.begin, options.ready, options.far, ends, status, solves,
        )  # fmt: skip

    def twice() -> npt.NDArray[np.bool_]:
        return doubles(ends.reshape(len(targets), paths, unknowns), status.reshape(len(targets), paths) == FOUND)

    def elsewhere(jobs: npt.NDArray[np.int64], options: Options) -> None:
        from tenfold.autocalibration import torch_tracker

        ends[jobs], status[jobs], solves[jobs] = torch_tracker.track_some(problem, base, starts, targets, jobs, options, device)

    wanted = np.arange(jobs)
    for number, control in enumerate((options, *again), start=1):
        before = solves[wanted]
        if device == "cpu":
            each(partial(some, wanted, control), spans(len(wanted)), threads)
        else:
            elsewhere(wanted, control)
        solves[wanted] += before
        if number <= len(again):
            doubtful = twice().any(axis=0) | _elsewhere(problem, ends.reshape(len(targets), paths, unknowns), targets)
            wanted = np.flatnonzero((status != FOUND) & (status != FAR) | (status == FOUND) & doubtful.ravel())
    if again:
        for bend in _BENDS:
            stuck = np.flatnonzero((status == STEP) | (status == SOLVES))
            for low in range(0, len(stuck), _STUCK):
                _lead_around(problem, base, starts, targets, stuck[low : low + _STUCK], bend, again[0], ends, status, solves)
        status[twice()[1].ravel()] = TWICE
    shape = (len(targets), paths)
    return Tracks(ends.reshape(*shape, unknowns), status.reshape(shape), solves.reshape(shape))


def _lead_around(
    problem: Problem, base: Complex, starts: Complex, targets: Complex, stuck: npt.NDArray[np.int64], bend: complex, options: Options,
    ends: Complex, status: npt.NDArray[np.int8], solves: npt.NDArray[np.int64],
) -> None:  # fmt: skip
    """Find the ends of stuck jobs: two paths all but meet there. Fills them in.

    Around the place both go on easily, but may change ends: where the stuck path arrives at the end of another one, that one is led around
    as well, and so on; the first end that nobody has is the missing one.
    """
    target, current = np.divmod(stuck, len(starts))
    known = ends.reshape(len(targets), len(starts), -1)
    open_ = np.arange(len(stuck))
    for _ in range(_CHAIN):
        of = target[open_]
        at, arrived, used = _around(problem, base, starts[current[open_]], targets[of], bend, options)
        solves[stuck[open_]] += used
        size = np.maximum(1.0, np.abs(at).max(axis=1, initial=0.0))
        same = np.abs(known[of] - at[:, None]).max(axis=2) <= _SAME * size[:, None]
        same &= status.reshape(len(targets), -1)[of] == FOUND
        new = arrived & ~same.any(axis=1)
        ends[stuck[open_[new]]], status[stuck[open_[new]]] = at[new], FOUND
        current[open_] = same.argmax(axis=1)
        open_ = open_[arrived & ~new]
        if not len(open_):
            break


def _around(
    problem: Problem, base: Complex, starts: Complex, targets: Complex, bend: complex, options: Options
) -> tuple[Complex, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Each start (paths, unknowns) at `base` to its own target, t running from 0 to 1 by way of 0.5 + bend: end, whether it arrived, solves."""
    base = np.asarray(base, dtype=np.complex128)
    via = base + (0.5 + bend) * (targets - base)
    program, code, n = compiled(problem), newton(problem), len(starts)
    own = np.arange(n) * (n + 1)
    at, arrived, solves = starts, np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.int64)
    for here, there in ((np.broadcast_to(base, via.shape), via), (via, targets)):
        moving = np.ascontiguousarray(moving_terms(problem, here, there))
        ends = np.zeros((n * n, starts.shape[1]), dtype=np.complex128)
        why, used = np.zeros(n * n, dtype=np.int8), np.zeros(n * n, dtype=np.int64)
        kernel.track_some(
            0, n, own, np.ascontiguousarray(at), moving, starts.shape[1], program.moving, code.address, options.accept, options.again,
            options.aim, options.smallest, options.most, options.begin, options.ready, options.far, ends, why, used,
        )  # fmt: skip
        at, arrived, solves = ends[own], arrived & (why[own] == FOUND), solves + used[own]
    return at, arrived, solves


def doubles(ends: Complex, found: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which found ends (targets, paths, unknowns) another path of the target has, too: (2, targets, paths), firsts and others of the same."""
    out = np.zeros((2, *found.shape), dtype=np.bool_)
    # one number an end narrows the search: equal ends are neighbours in its order
    weights = np.cos(np.arange(1, ends.shape[-1] + 1))
    key = np.where(found, ends.real @ weights + ends.imag @ weights[::-1], np.nan)
    order = np.argsort(key, axis=1, kind="stable")
    sorted_key = np.take_along_axis(key, order, axis=1)
    with np.errstate(invalid="ignore"):
        near = np.diff(sorted_key, axis=1) <= _SAME * 100 * np.maximum(1.0, np.abs(sorted_key[:, 1:]))
    target, place = np.nonzero(near)
    one, other = order[target, place], order[target, place + 1]
    size = np.maximum(1.0, np.abs(ends[target, one]).max(axis=1, initial=0.0))
    same = np.abs(ends[target, one] - ends[target, other]).max(axis=1, initial=0.0) <= _SAME * size
    target, one, other = target[same], one[same], other[same]
    out[0, target, one] = True
    out[1, target, other] = True
    out[0] &= ~out[1]
    return out


def _elsewhere(problem: Problem, ends: Complex, targets: Complex) -> npt.NDArray[np.bool_]:
    """Which ends (targets, paths, unknowns) are no scenes, though all starts are: an equation that was left out and is implied does not hold."""
    if problem.excess or problem.twins or not problem.dropped:
        return np.zeros(ends.shape[:2], dtype=np.bool_)
    with np.errstate(all="ignore"):
        return np.asarray(~(relative_residual(problem, ends, targets[:, None], problem.dropped) < HOLDS))


def spans(jobs: int) -> list[tuple[int, int]]:
    """Parts (low, high) of so many jobs, one a thread at a time."""
    return [(low, min(low + _JOBS, jobs)) for low in range(0, jobs, _JOBS)]


def each(some: Callable[[Any], None], parts: Sequence[Any], threads: int | None) -> None:
    """Do `some` of each part. `threads`: default all cores."""
    threads = min(threads or os.cpu_count() or 1, len(parts))
    if threads < 2:
        for part in parts:
            some(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, parts))


def moving_terms(problem: Problem, base: Complex, targets: Complex) -> Complex:
    """Coefficients (targets, views * pairs p <= q * (1 + free), 3) of 1, t and t^2 in every term of `x_p^T w x_q`."""
    start = homogeneous(np.broadcast_to(base, targets.shape))
    speed = np.concatenate([targets - base, np.zeros((*targets.shape[:-1], 1))], axis=-1)
    p, q = np.triu_indices(problem.points)
    a, b, c, d = start[:, :, p], start[:, :, q], speed[:, :, p], speed[:, :, q]
    kind = problem.kind
    powers = [terms(kind, a, b), terms(kind, a, d) + terms(kind, c, b), terms(kind, c, d)]
    return np.stack(powers, axis=-1).reshape(len(targets), -1, 3)

"""The roots of a sample that were tracked in one order of its views and points, completed by those that were tracked in another one."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.equations import relative_residual, split
from tenfold.autocalibration.nearest import Nearest
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.tracker import FAR, FOUND, HOLDS, Tracks, doubles

Complex = npt.NDArray[np.complex128]
# An end of another order is a root in this one if the equations kept here hold, and no unknown is larger.
_LARGE = 1e3


def united(problem: Problem, near: Nearest, tracks: Tracks, other: Nearest, others: Tracks) -> Tracks:
    """`tracks` of samples in the order `near`; lost paths take the place of roots that only `others`, in the order `other`, have.

    Both are of the same samples, in the same sequence. An end is taken over if it solves the kept equations of `near`: where equations
    are left out, those of the two orders differ, and so may their roots that are no scenes. No root is lost by it. `solves` adds up.
    """
    samples, paths = tracks.status.shape
    with np.errstate(all="ignore"):  # lost paths may end anywhere
        moved = _moved(problem, others.ends, other, near)
        holds = relative_residual(problem, moved, near.x[:, None].astype(np.complex128)) < HOLDS
        root = np.asarray((others.status == FOUND) & holds)
        root &= np.abs(moved).max(axis=-1, initial=0.0) < _LARGE
    root &= ~doubles(moved, root)[1]
    found = tracks.status == FOUND
    known = np.asarray(doubles(np.concatenate([tracks.ends, moved], axis=1), np.concatenate([found, root], axis=1)).any(axis=0))
    new = root & ~known[:, paths:]
    ends, status = tracks.ends.copy(), tracks.status.copy()
    for sample in np.flatnonzero(new.any(axis=1)):
        lost = np.flatnonzero(~found[sample])
        # those that end far out last: they are no roots that are missed
        lost = lost[np.argsort(status[sample, lost] == FAR, kind="stable")]
        taken = np.flatnonzero(new[sample])[: len(lost)]
        ends[sample, lost[: len(taken)]] = moved[sample, taken]
        status[sample, lost[: len(taken)]] = FOUND
    return replace(tracks, ends=ends, status=status, solves=tracks.solves + others.solves)


def _moved(problem: Problem, ends: Complex, here: Nearest, there: Nearest) -> Complex:
    """Unknowns (samples, paths, unknowns) in the order `here`, as they are in the order `there`. The free entries of w are the same."""
    samples, paths, unknowns = ends.shape
    entries, m, z = split(problem, ends)
    # only ratios within a view and squares are used: the sign of a root does not matter
    depths = (m * np.sqrt(z)[..., None]).reshape(samples * paths, *m.shape[2:])
    sample = np.repeat(np.arange(samples), paths)
    own = here.restored(sample, depths)
    at = np.arange(len(own))[:, None, None]
    depths = own[at, there.views[sample][:, :, None], there.points[sample][:, None, :]]
    ratios, squares = depths / depths[:, :, :1], (depths[:, :, 0] / depths[:, :1, 0]) ** 2
    parts = [entries.reshape(len(own), -1), ratios[:, 0, 1:]]
    for view in range(1, problem.views):
        parts += [ratios[:, view, 1:], squares[:, view : view + 1]]
    return np.concatenate(parts, axis=1).reshape(samples, paths, unknowns)

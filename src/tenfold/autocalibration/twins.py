"""Of two solutions that differ in one ratio of depths only (`Problem.twins`) the one that the equations left out prefer."""

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.equations import relative_residual, split
from tenfold.autocalibration.geometry import homogeneous
from tenfold.autocalibration.problems import Problem, conic

Complex = npt.NDArray[np.complex128]


def preferred(problem: Problem, solutions: Complex, image: Complex) -> Complex:
    """Each solution (..., unknowns), or its twin where that leaves the smaller residual; `image` broadcasts to (..., views, points, 2)."""
    best = np.array(solutions)
    for at, edge in problem.twins:
        other = best.copy()
        with np.errstate(all="ignore"):  # lost paths may end anywhere
            other[..., at] = _other_root(problem, best, image, at, edge)
            point = _point(problem, at)
            checks = [each for each in problem.dropped if each[0] == edge[0] and point in each[1:]]
            if checks:
                better = relative_residual(problem, other, image, checks) < relative_residual(problem, best, image, checks)
                best = np.where(better[..., None], other, best)
    return best


def _point(problem: Problem, at: int) -> int:
    return (at - problem.free - problem.points + 1) % problem.points + 1


def _other_root(problem: Problem, solutions: Complex, image: Complex, at: int, edge: tuple[int, int, int]) -> Complex:
    """`d^T w d` with d = m x - m_q x_q is a quadratic in m: its roots sum to twice `x^T w x_q m_q / x^T w x`."""
    view, point = edge[0], _point(problem, at)
    q = edge[1] if edge[2] == point else edge[2]
    entries, m, _ = split(problem, solutions)
    w = conic(problem.kind, entries)
    seen = homogeneous(image)
    x, y = seen[..., view, point, :], seen[..., view, q, :]
    wx = np.einsum("...ij,...j->...i", w, x)
    both = 2 * m[..., view, q] * (wx * y).sum(axis=-1) / (wx * x).sum(axis=-1)
    return np.asarray(both - solutions[..., at])

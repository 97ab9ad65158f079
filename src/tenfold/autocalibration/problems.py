"""Minimal problems: what is unknown of K, and which distance equations are kept (section 3 of the paper).

Unknowns are the free entries of the image of the absolute conic `w = K^-T K^-1` (scaled so that w11 = 1) and ratios of depths.
With `Z_i`, the squared depth of view i's first point, a solution and its mirror images in sign are one: 2^(V-1) times fewer
than in the unknown depths themselves.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

# Free entries (row, column) of w, in the order in which they stand in a vector of unknowns.
FREE = {
    "none": (),
    "f": ((2, 2),),
    "fxfy": ((1, 1), (2, 2)),
    "square": ((0, 2), (1, 2), (2, 2)),
    "zero_skew": ((1, 1), (0, 2), (1, 2), (2, 2)),
    "full": ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2)),
}
# Kinds of which w22 = w11 = 1 is known: square pixels, or nothing unknown.
_SQUARE = ("none", "f", "square")


@dataclass(frozen=True)
class Problem:
    """`views` images of `points` points. `edges`: kept equations (view, p, q), 1 <= view < views, p < q, in that order."""

    views: int
    points: int
    kind: str
    edges: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if self.kind not in FREE:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(FREE)}")
        if list(self.edges) != sorted(set(self.edges)) or not set(self.edges) <= set(all_edges(self.views, self.points)):
            raise ValueError("edges must be different, sorted, and (view, p, q) with 1 <= view < views and p < q < points")
        if len(self.edges) != self.unknowns:
            raise ValueError(f"{len(self.edges)} equations for {self.unknowns} unknowns: a minimal problem has as many as unknowns")

    @property
    def free(self) -> int:
        """Number of unknown entries of K."""
        return len(FREE[self.kind])

    @property
    def unknowns(self) -> int:
        """Number of unknowns, and of equations."""
        return unknowns(self.views, self.points, self.kind)

    @property
    def excess(self) -> int:
        """Independent constraints of the scene beyond the unknowns: 0 if no equation is lost by the relaxation."""
        degrees = 3 * self.points - 11 if self.views == 3 else self.points - 5
        return degrees - self.free

    @cached_property
    def dropped(self) -> tuple[tuple[int, int, int], ...]:
        """Equations that are not kept: they verify a candidate."""
        return tuple(edge for edge in all_edges(self.views, self.points) if edge not in self.edges)

    @cached_property
    def twins(self) -> tuple[tuple[int, tuple[int, int, int]], ...]:
        """Ratios of depths that stand in one equation only: their place among the unknowns, and the equation.

        The equation is quadratic in such a ratio: with one solution the other is known that differs in nothing else, and one path serves
        for both.
        """
        found = []
        for view in range(1, self.views):
            for point in range(1, self.points):
                having = [edge for edge in self.edges if edge[0] == view and point in edge[1:]]
                if len(having) == 1:
                    found.append((self.free + self.points - 1 + (view - 1) * self.points + point - 1, having[0]))
        return tuple(found)

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """`edges` as an array (unknowns, 3)."""
        return np.array(self.edges, dtype=np.int64).reshape(-1, 3)


def unknowns(views: int, points: int, kind: str) -> int:
    """Free entries of w, ratios of depths in each view, one squared depth in each view but the first."""
    return views * points - 1 + len(FREE[kind])


def all_edges(views: int, points: int) -> list[tuple[int, int, int]]:
    """All distance equations: each view against the first, each pair of points."""
    return [(view, p, q) for view in range(1, views) for p, q in combinations(range(points), 2)]


def keeping_all_but(views: int, points: int, kind: str, dropped: tuple[tuple[int, int, int], ...] = ()) -> Problem:
    """The problem that keeps all equations but `dropped`."""
    return Problem(views, points, kind, tuple(edge for edge in all_edges(views, points) if edge not in dropped))


def conic(kind: str, free: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """w of shape (..., 3, 3) from its free entries (..., k)."""
    free = np.asarray(free)
    w = np.zeros((*free.shape[:-1], 3, 3), dtype=np.result_type(free, np.float64))
    w[..., range(3), range(3)] = 1.0
    for index, (row, column) in enumerate(FREE[kind]):
        w[..., row, column] = w[..., column, row] = free[..., index]
    return w


def terms(kind: str, one: npt.NDArray[np.complex128], other: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """Coefficients (..., 1 + k) of 1 and of the free entries of w in `one^T w other`, for image points (..., 3)."""
    fixed = one[..., 0] * other[..., 0]
    if kind in _SQUARE:
        fixed = fixed + one[..., 1] * other[..., 1]
    else:
        fixed = fixed + 0 * other[..., 1]
    if kind == "none":
        fixed = fixed + one[..., 2] * other[..., 2]
    found = [fixed]
    for row, column in FREE[kind]:
        product = one[..., row] * other[..., column]
        found.append(product if row == column else product + one[..., column] * other[..., row])
    return np.stack(found, axis=-1)

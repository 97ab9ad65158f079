"""Greedy k-centre selection: the coreset of a memory bank (Sener and Savarese 2018; PatchCore)."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
CANDIDATES = 1024
CHUNK_BYTES = 64 << 20


def k_centre(points: Array, count: int, first: int = 0) -> npt.NDArray[np.int64]:
    """Indices `(count,)` of a greedy k-centre of `points` (n, channels): each pick is the point farthest from all picks before it.

    Exact and deterministic; a tie takes the lower index. Distances to the picks only shrink, so as long as the best of the 1024 farthest
    points is at least as far as every point outside them, it is the best of all: picks are found among those few, and all points are
    updated by one matrix product for many picks.
    """
    n = len(points)
    if not 0 < count <= n:
        raise ValueError(f"a coreset of {count} out of {n} points")
    points = points - points.mean(axis=0)
    squares = np.einsum("ij,ij->i", points, points)
    reach = np.full(n, np.inf, np.float32)
    picked = [first]
    _update(points, squares, reach, [first])
    while len(picked) < count:
        few, bound = _farthest(reach)
        batch = _pick(points[few], squares[few], reach[few], bound, count - len(picked))
        fresh = few[batch].tolist()
        _update(points, squares, reach, fresh)
        picked += fresh
    return np.array(picked)


def _farthest(reach: Array) -> tuple[npt.NDArray[np.int64], float]:
    """The points farthest from all picks, in order of index, and the largest reach among the others."""
    if len(reach) <= CANDIDATES:
        return np.arange(len(reach)), -np.inf
    cut = len(reach) - CANDIDATES
    order = np.argpartition(reach, [cut - 1, cut])
    return np.sort(order[cut:]), float(reach[order[cut - 1]])


def _pick(points: Array, squares: Array, reach: Array, bound: float, most: int) -> list[int]:
    """Greedy picks among the candidates while the best of them is farther than every other point (the first one always is)."""
    apart = squares[:, None] + squares[None] - 2 * (points @ points.T)
    reach = reach.copy()
    picks: list[int] = []
    while len(picks) < most:
        best = int(reach.argmax())
        if picks and reach[best] <= bound:
            break
        picks.append(best)
        np.minimum(reach, apart[best], out=reach)
        reach[best] = -np.inf
    return picks


def _update(points: Array, squares: Array, reach: Array, picks: list[int]) -> None:
    """Lower each point's squared distance to its nearest pick, in place; a pick is never picked again."""
    columns, lengths = points[picks].T, squares[picks]
    rows = max(1, CHUNK_BYTES // (4 * len(picks)))
    for start in range(0, len(points), rows):
        part = slice(start, start + rows)
        nearest = (lengths - 2 * (points[part] @ columns)).min(axis=1) + squares[part]
        np.minimum(reach[part], nearest, out=reach[part])
    reach[picks] = -np.inf

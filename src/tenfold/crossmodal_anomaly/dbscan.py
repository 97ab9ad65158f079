"""DBSCAN of 3D points, exact, with memory linear in the points (Ester et al., 1996).

Cells of edge eps / sqrt(3) hold points that are all neighbours of each other. So a cell with enough points needs no neighbour search,
and clusters are connected components of cells, not of points: dense scans, with thousands of neighbours a point, cost no more than
sparse ones.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

PROBES = 4  # points of a cell compared before whole cells are
BATCH = 64  # pairs of cells compared before components are joined again

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def dbscan(cloud: NDArray[np.floating], eps: float, min_points: int) -> NDArray[np.int64]:
    """Cluster labels (N,) of `cloud` (N, 3), -1 for noise; a point counts as its own neighbour, distances <= eps.

    The same labels as scikit-learn's: clusters numbered by their first core point, a border point in the first cluster that reaches it.
    """
    labels = np.full(len(cloud), -1, dtype=np.int64)
    if len(cloud) == 0:
        return labels
    points = cloud.astype(np.float64)
    cells, members = _cells(points, eps)
    core = np.bincount(members)[members] >= min_points
    unsure = np.flatnonzero(~core)
    if len(unsure) and len(points) >= min_points:
        last = cKDTree(points).query(points[unsure], k=[min_points], workers=1)[1][:, 0]
        core[unsure] = _squared(points[last] - points[unsure]) <= eps**2
    if not core.any():
        return labels
    where = np.flatnonzero(core)
    used, cell_of = np.unique(members[where], return_inverse=True)
    component = _components(points[where], cell_of, cells[used], eps)[cell_of]
    labels[where] = _by_first(component)
    others = np.flatnonzero(~core)
    reached = cKDTree(points[where]).query_ball_point(points[others], eps, workers=1)
    for point, near in zip(others, reached, strict=True):
        if near:
            labels[point] = labels[where[near]].min()
    return labels


def _cells(points: Floats, eps: float) -> tuple[Ints, Ints]:
    """Occupied cells (C, 3) and each point's cell (N,)."""
    edge = eps / np.sqrt(3) * (1 - 1e-9)
    grid = np.floor((points - points.min(0)) / edge).astype(np.int64)
    size = grid.max(0) + 1
    keys, members = np.unique((grid[:, 0] * size[1] + grid[:, 1]) * size[2] + grid[:, 2], return_inverse=True)
    cells = np.stack([keys // (size[1] * size[2]), keys // size[2] % size[1], keys % size[2]], 1)
    return cells, members


def _components(points: Floats, cell_of: Ints, cells: Ints, eps: float) -> Ints:
    """Component (C,) of each cell: cells are joined if a point of one lies within eps of a point of the other."""
    order = np.argsort(cell_of, kind="stable")
    points, counts = points[order], np.bincount(cell_of)
    starts = np.cumsum(counts) - counts
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    # Points within eps lie at most two cells apart along each axis (eps / edge = sqrt(3)).
    pairs = cKDTree(cells).query_pairs(2.5, p=np.inf, output_type="ndarray")
    gap = np.maximum(low[pairs[:, 0]] - high[pairs[:, 1]], low[pairs[:, 1]] - high[pairs[:, 0]])
    pairs = pairs[_squared(np.maximum(gap, 0)) <= eps**2]
    joined = pairs[:0]
    component = np.arange(len(cells))
    # A few points of each cell settle nearly all pairs; whole cells are compared only where they might join two components.
    for i, j in product(range(PROBES), repeat=2):
        one, two = (starts[pairs[:, k]] + np.minimum(at, counts[pairs[:, k]] - 1) for k, at in ((0, i), (1, j)))
        near = _squared(points[one] - points[two]) <= eps**2
        joined = np.concatenate([joined, pairs[near]])
        component = _connect(joined, len(cells))
        pairs = pairs[component[pairs[:, 0]] != component[pairs[:, 1]]]
    pairs = pairs[counts[pairs].max(1) > PROBES]
    while len(pairs):
        whole = [[points[starts[cell] : starts[cell] + counts[cell]] for cell in pair] for pair in pairs[:BATCH]]
        touching = pairs[:BATCH][[_touch(one, two, eps) for one, two in whole]]
        joined = np.concatenate([joined, touching])
        component, pairs = _connect(joined, len(cells)), pairs[BATCH:]
        pairs = pairs[component[pairs[:, 0]] != component[pairs[:, 1]]]
    return component


def _touch(one: Floats, two: Floats, eps: float) -> bool:
    return bool((cKDTree(one).query(two, k=1, distance_upper_bound=eps * (1 + 1e-9))[0] <= eps).any())


def _connect(edges: Ints, count: int) -> Ints:
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _by_first(component: Ints) -> Ints:
    """Renumbers components in the order of their first point."""
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _squared(difference: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", difference, difference))

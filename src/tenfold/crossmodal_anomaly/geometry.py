"""Farthest-point sampling and nearest neighbours on point clouds of some ten thousand points, one core, no N x G matrix."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

INVERSE_DISTANCE_FLOOR = 1e-8  # m^2, added to squared distances (CFM's released code)

Points = NDArray[np.floating]
Indices = NDArray[np.int64]


def farthest_points(points: Points, count: int) -> Indices:
    """Indices (count,) of a farthest-point sample of `points` (N, 3), starting at index 0; ties go to the lower index.

    Deterministic, O(N * count), float32 squared distances. `count` is lowered to N.
    """
    axes = np.ascontiguousarray(points.T, dtype=np.float32)
    chosen = np.zeros(min(count, len(points)), dtype=np.int64)
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    distance, step = np.empty_like(nearest), np.empty_like(nearest)
    for k in range(1, len(chosen)):
        x, y, z = axes[:, chosen[k - 1]]
        np.subtract(axes[0], x, out=distance)
        np.multiply(distance, distance, out=distance)
        for axis, value in ((axes[1], y), (axes[2], z)):
            np.subtract(axis, value, out=step)
            np.multiply(step, step, out=step)
            np.add(distance, step, out=distance)
        np.minimum(nearest, distance, out=nearest)
        chosen[k] = nearest.argmax()
    return chosen


def nearest_neighbours(points: Points, queries: Points, count: int) -> tuple[Indices, NDArray[np.float64]]:
    """Indices and distances (Q, count), nearest first, of `queries` (Q, 3) among `points` (N, 3); `count` is lowered to N."""
    count = min(count, len(points))
    distances, indices = cKDTree(points).query(queries, k=count, workers=1)
    return indices.reshape(len(queries), count), distances.reshape(len(queries), count)


def interpolation_weights(points: Points, centres: Points, nearest: int = 3) -> tuple[Indices, NDArray[np.float32]]:
    """Inverse-distance weights of the nearest centres: indices (N, k) and weights (N, k) that sum to one, k = min(nearest, G)."""
    indices, distances = nearest_neighbours(centres, points, nearest)
    weights = 1.0 / (distances**2 + INVERSE_DISTANCE_FLOOR)
    return indices, (weights / weights.sum(1, keepdims=True)).astype(np.float32)

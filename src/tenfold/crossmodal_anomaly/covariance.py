"""Multi-scale covariance descriptor: how the neighbourhood of a point is spread and how the point stands out of it, at four sizes."""

import numpy as np
from numpy.typing import NDArray

FRACTIONS = (8, 4, 2, 1)  # neighbourhood sizes: the neighbours divided by these
QUANTILES = (0.05, 0.25, 0.75, 0.95)
MILLIMETRES = 1000.0
WIDTH = len(FRACTIONS) * (6 + len(QUANTILES))

Floats = NDArray[np.float64]


def covariance(points: NDArray[np.floating], centres: NDArray[np.integer], neighbours: NDArray[np.integer]) -> NDArray[np.float32]:
    """Descriptors (G, 40) at `centres` (G,) of `points` (N, 3) metres; `neighbours` (G, k), nearest first.

    Ten values a size: linearity, planarity, sphericity, surface variation (ratios of the scatter's eigenvalues); the centre's height
    over the size's own plane; its height over the outer half of the neighbours; four quantiles of the neighbours' heights over the
    centre. Heights in mm, towards the camera at the origin; the last five along the normal of the largest size.
    """
    origin = points[centres].astype(np.float64)
    around = points[neighbours] - origin[:, None]
    planes = [_plane(around[:, : max(1, neighbours.shape[1] // f)], origin) for f in FRACTIONS]
    heights = np.einsum("gki,gi->gk", around, planes[-1][1]) * MILLIMETRES
    columns: list[Floats] = []
    for fraction, (values, normal, mean) in zip(FRACTIONS, planes, strict=True):
        size = max(1, neighbours.shape[1] // fraction)
        least, middle, most = np.maximum(values, 0).T
        scale, total = np.maximum(most, np.finfo(np.float64).tiny), np.maximum(values.sum(1), np.finfo(np.float64).tiny)
        columns += [(most - middle) / scale, (middle - least) / scale, least / scale, least / total]
        columns.append(-np.einsum("gi,gi->g", mean, normal) * MILLIMETRES)
        columns.append(-heights[:, size // 2 : size].mean(1))
        columns += list(np.quantile(heights[:, :size], QUANTILES, axis=1))
    return np.stack(columns, 1).astype(np.float32)


def _plane(around: Floats, origin: Floats) -> tuple[Floats, Floats, Floats]:
    """Eigenvalues (G, 3) ascending of the scatter of (G, k, 3), its normal towards the camera, and the mean, both (G, 3)."""
    mean = around.mean(1)
    centred = around - mean[:, None]
    values, vectors = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred / around.shape[1])
    normal = vectors[:, :, 0]
    towards = np.where(np.einsum("gi,gi->g", normal, origin) > 0, -1.0, 1.0)
    return values, normal * towards[:, None], mean

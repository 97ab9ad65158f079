"""The table under the part: a plane fitted to the image border by RANSAC (CFM, supplementary)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 1 - 1e-8  # draws stop when a better plane would have been met with this probability
BATCH = 100  # draws judged at once; bounds memory to BATCH x points
REFITS = 10  # least-squares refits on the inliers, at most

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Plane:
    """a x + b y + c z + d = 0 with unit normal (a, b, c), metres; d >= 0: the camera at the origin is on the positive side."""

    a: float
    b: float
    c: float
    d: float
    inlier_ratio: float

    def height(self, points: Floats) -> Floats:
        """Signed distance (...,) of `points` (..., 3) from the plane, metres, positive towards the camera."""
        return np.asarray(points @ np.array([self.a, self.b, self.c], points.dtype) + points.dtype.type(self.d))


def border(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """`mask` (H, W) restricted to the pixels at most `width` px from an edge."""
    rim = np.ones_like(mask)
    rim[width:-width, width:-width] = False
    return np.asarray(mask & rim)


def fit_plane(points: Floats, threshold: float, draws: int, sample: int, rng: np.random.Generator) -> Plane | None:
    """RANSAC with least squares on `sample` points a draw, then refits on the inliers (closer than `threshold`, metres).

    `points` is (N, 3). Returns None if there are fewer points than one draw needs. Deterministic given `rng`.
    """
    if len(points) < sample:
        return None
    middle = points.mean(0, dtype=np.float64)
    points = points - middle
    single = points.astype(np.float32).T.copy()
    best, most = (np.array([0.0, 0.0, 1.0]), 0.0), -1
    for first in range(0, draws, BATCH):
        drawn = points[rng.integers(len(points), size=(min(BATCH, draws - first), sample))]
        normals, offsets = _least_squares(drawn)
        distances = np.abs(normals.astype(np.float32) @ single + offsets.astype(np.float32)[:, None])
        inliers = np.count_nonzero(distances < threshold, axis=1)
        winner = int(inliers.argmax())
        if inliers[winner] > most:
            best, most = (normals[winner], float(offsets[winner])), int(inliers[winner])
        if (1 - (most / len(points)) ** sample) ** (first + len(drawn)) <= 1 - CONFIDENCE:
            break
    return _refine(points, *best, threshold, middle)


def _refine(points: Floats, normal: Floats, offset: float, threshold: float, middle: Floats) -> Plane:
    inside = np.abs(points @ normal + offset) < threshold
    for _ in range(REFITS):
        if np.count_nonzero(inside) < 3:
            break
        normals, offsets = _least_squares(points[inside][None])
        again = np.abs(points @ normals[0] + offsets[0]) < threshold
        normal, offset, settled, inside = normals[0], float(offsets[0]), np.array_equal(again, inside), again
        if settled:
            break
    d = offset - float(normal @ middle)
    sign = -1.0 if d < 0 else 1.0
    a, b, c = (sign * normal).tolist()
    return Plane(a, b, c, sign * d, float(inside.mean()))


def _least_squares(sets: Floats) -> tuple[Floats, Floats]:
    """Normals (K, 3) and offsets (K,) of the least-squares planes of `sets` (K, n, 3): least eigenvector of the 3x3 scatter."""
    means = sets.mean(1, keepdims=True)
    centred = sets - means
    normals = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)[1][:, :, 0]
    return normals, -np.einsum("ki,ki->k", normals, means[:, 0])

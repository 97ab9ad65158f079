"""The table under the part: a plane fitted to the image border by RANSAC (CFM, supplementary; procedure of BTF)."""

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 1 - 1e-8  # draws stop when a better plane would have been met with this probability
BATCH = 100  # draws judged at once; bounds memory to BATCH x points
REFITS = 10  # least-squares refits on the inliers, at most


@dataclass(frozen=True)
class Plane:
    """a x + b y + c z + d = 0 with unit normal (a, b, c), metres; d >= 0: the camera at the origin is on the positive side."""

    a: float
    b: float
    c: float
    d: float
    inlier_ratio: float

    def height(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (...,) of `points` (..., 3) from the plane, metres, positive towards the camera."""
        return points @ np.array([self.a, self.b, self.c], points.dtype) + points.dtype.type(self.d)


def border(mask: np.ndarray, width: int) -> np.ndarray:
    """`mask` (H, W) restricted to the pixels at most `width` px from an edge."""
    rim = np.ones_like(mask)
    rim[width:-width, width:-width] = False
    return mask & rim


def fit_plane(points: np.ndarray, threshold: float, draws: int, sample: int, rng: np.random.Generator) -> Plane | None:
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


def _refine(points: np.ndarray, normal: np.ndarray, offset: float, threshold: float, middle: np.ndarray) -> Plane:
    inside = np.abs(points @ normal + offset) < threshold
    for _ in range(REFITS):
        if np.count_nonzero(inside) < 3:
            break
        normals, offsets = _least_squares(points[inside][None])
        again = np.abs(points @ normals[0] + offsets[0]) < threshold
        if np.count_nonzero(again) < np.count_nonzero(inside):
            break
        normal, offset, settled, inside = normals[0], float(offsets[0]), np.array_equal(again, inside), again
        if settled:
            break
    d = offset - float(normal @ middle)
    sign = -1.0 if d < 0 else 1.0
    a, b, c = (sign * normal).tolist()
    return Plane(a, b, c, sign * d, float(inside.mean()))


def _least_squares(sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals (K, 3) and offsets (K,) of the least-squares planes of `sets` (K, n, 3): least eigenvector of the 3x3 scatter."""
    means = sets.mean(1, keepdims=True)
    centred = sets - means
    normals = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)[1][:, :, 0]
    return normals, -np.einsum("ki,ki->k", normals, means[:, 0])

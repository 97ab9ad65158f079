"""Fast Point Feature Histograms (Rusu et al., ICRA 2009) of an organised cloud.

The pairs of a point are found on the pixel grid, not by a tree, and each pair is computed once for both of its points: its three
angles are symmetric. So the cost is some 60 vector passes over the cloud.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_array

BINS = 11  # an angle
WIDTH = 3 * BINS

Floats = NDArray[np.float32]


def reach(neighbours: int) -> float:
    """Radius, px, of the disc that holds `neighbours` pixels: the support of one histogram."""
    return float(np.sqrt(neighbours / np.pi))


def pitch(xyz: Floats, valid: NDArray[np.bool_]) -> float:
    """Median distance, metres, of horizontally and vertically adjacent points of `xyz` (S, S, 3); 0 if no two are adjacent."""
    across = np.linalg.norm(xyz[:, 1:] - xyz[:, :-1], axis=-1)[valid[:, 1:] & valid[:, :-1]]
    down = np.linalg.norm(xyz[1:] - xyz[:-1], axis=-1)[valid[1:] & valid[:-1]]
    steps = np.concatenate([across, down])
    return float(np.median(steps)) if len(steps) else 0.0


def normals(xyz: Floats, valid: NDArray[np.bool_], half: int) -> Floats:
    """Unit normals (N, 3) of the valid points, row-major, towards the camera at the origin.

    Least eigenvector of the scatter of the valid points in a window of 2 `half` + 1 px.
    """
    middle = xyz[valid].mean(0, dtype=np.float64)
    points = np.where(valid[..., None], xyz - middle, 0.0)
    mean = [_window(points[..., i], half)[valid] for i in range(3)]
    share = _window(valid.astype(np.float64), half)[valid]
    scatter = np.empty((len(share), 3, 3))
    for i in range(3):
        for j in range(i + 1):
            moment = _window(points[..., i] * points[..., j], half)[valid]
            scatter[:, i, j] = scatter[:, j, i] = moment / share - mean[i] * mean[j] / share**2
    found = np.linalg.eigh(scatter)[1][:, :, 0]
    away = np.einsum("ni,ni->n", found, xyz[valid]) > 0
    found[away] *= -1
    return found.astype(np.float32)


def spfh(xyz: Floats, valid: NDArray[np.bool_], normal: Floats, radius_px: float) -> Floats:
    """Simplified histograms (N, 33) of the valid points, row-major: angles theta, alpha, phi, each third summing to one.

    Pairs: points at most `radius_px` apart on the grid and at most `radius_px` times the median pitch apart in space. No pair: zeros.
    """
    size = valid.shape
    number = np.full(size, -1, dtype=np.int32)
    number[valid] = np.arange(np.count_nonzero(valid), dtype=np.int32)
    points, directions = np.ascontiguousarray(xyz[valid].T), np.ascontiguousarray(normal.T)
    limit = (radius_px * pitch(xyz, valid)) ** 2
    histograms = np.zeros((points.shape[1], WIDTH), dtype=np.float32)
    flat = histograms.reshape(-1)
    for down, right in _half_disc(radius_px):
        first = number[: size[0] - down, max(0, -right) : size[1] - max(0, right)]
        second = number[down:, max(0, right) : size[1] - max(0, -right)]
        both = (first >= 0) & (second >= 0)
        i, j = first[both], second[both]
        line = points[:, j] - points[:, i]
        squared = np.einsum("cn,cn->n", line, line)
        near = (squared > 0) & (squared <= limit)
        if not near.all():
            i, j, line, squared = i[near], j[near], line[:, near], squared[near]
        # Within one offset no point occurs twice on a side, so that plain indexed addition counts each pair.
        for bins in _bins(line / np.sqrt(squared), directions[:, i], directions[:, j]):
            flat[i * WIDTH + bins] += 1
            flat[j * WIDTH + bins] += 1
    pairs = histograms[:, :BINS].sum(1, keepdims=True)
    return np.asarray(histograms / np.maximum(pairs, 1))


def fpfh(histograms: Floats, centres: NDArray[np.integer], neighbours: NDArray[np.integer], distances: NDArray[np.floating]) -> Floats:
    """FPFH (G, 33): a centre's own histogram and the mean of its neighbours', weighted by inverse distance, half each.

    `neighbours` and `distances` are (G, k); a neighbour at distance 0, such as the centre itself, has no weight.
    """
    weights = np.divide(1.0, distances, out=np.zeros(distances.shape), where=distances > 0)
    weights /= np.maximum(weights.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    starts = np.arange(len(centres) + 1) * neighbours.shape[1]
    mean = csr_array((weights.astype(np.float32).ravel(), neighbours.ravel(), starts), shape=(len(centres), len(histograms)))
    return np.asarray(0.5 * (histograms[centres] + mean @ histograms), dtype=np.float32)


def _bins(line: Floats, one: Floats, two: Floats) -> list[NDArray[np.intp]]:
    """Bins of the three angles of point pairs: unit vectors (3, n) from the first to the second, and of their normals.

    The source of the pair is the point whose normal is nearer to the line; exchanging the two turns a into -b and b into -a.
    """
    a, b = np.einsum("cn,cn->n", line, one), np.einsum("cn,cn->n", line, two)
    cosine = np.einsum("cn,cn->n", one, two)
    volume = sum(line[k] * (one[k - 2] * two[k - 1] - one[k - 1] * two[k - 2]) for k in range(3))
    swap = np.abs(a) < np.abs(b)
    a, b = np.where(swap, -b, a), np.where(swap, -a, b)
    sine = np.sqrt(np.maximum(1 - a * a, np.finfo(np.float32).tiny))
    theta = np.arctan2((b - a * cosine) / sine, cosine) / np.float32(np.pi)
    return [np.clip((value + 1) * (BINS / 2), 0, BINS - 1).astype(np.intp) + BINS * k for k, value in enumerate((theta, volume / sine, a))]


def _half_disc(radius: float) -> list[tuple[int, int]]:
    """Offsets (down, right) within the radius, one of each opposite two."""
    whole = int(radius)
    offsets = [(0, right) for right in range(1, whole + 1)]
    return offsets + [(y, x) for y in range(1, whole + 1) for x in range(-whole, whole + 1) if x * x + y * y <= radius * radius]


def _window(image: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    return np.asarray(uniform_filter(image, 2 * half + 1, mode="constant"))

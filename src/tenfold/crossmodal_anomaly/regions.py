"""What a map says about where and how large a defect is: boxes in the part's own pixels, areas in mm2, depth deviations in mm."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tenfold.crossmodal_anomaly.resize import Square

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
EIGHT = np.ones((3, 3), bool)
# Width (px of the map) of the ring around a region to which the smooth surface is fitted.
RING = 8


@dataclass(frozen=True)
class Region:
    """One region over the pixel threshold.

    `x`, `y` (left, top), `w`, `h` in px of the part's own image; `score` is its largest map value; `area_mm2` its surface;
    `max_depth_deviation_mm` the largest distance along the camera's axis between its points and a quadratic surface fitted to the points
    in a ring of 8 px around it, None if the region or the ring has too few points.
    """

    x: int
    y: int
    w: int
    h: int
    score: float
    area_mm2: float
    max_depth_deviation_mm: float | None


def regions(image: Array, threshold: float, xyz: Array, valid: Mask, square: Square) -> list[Region]:
    """8-connected regions of `image` (S, S) above `threshold`, the highest first.

    xyz (S, S, 3) in metres and its mask `valid`; `square` says where the part's own image lies. Regions outside of that image are dropped.
    """
    above = image > threshold
    labels, _ = ndimage.label(above, EIGHT)
    areas = pixel_areas(xyz, valid)
    found = []
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        box = _own_pixels(where, image.shape[0], square)
        if box is None:
            continue
        mask = labels == number
        deviation = _deviation(mask, above, xyz, valid)
        found.append(Region(*box, float(image[mask].max()), float(areas[mask].sum()), deviation))
    return sorted(found, key=lambda region: -region.score)


def pixel_areas(xyz: Array, valid: Mask) -> npt.NDArray[np.float64]:
    """Surface (mm2) that each pixel covers, `(S, S)`: the parallelogram of the steps to its neighbours in both directions.

    A pixel without point, or without neighbours, takes the part's median.
    """
    down, right = _step(xyz, valid, 0), _step(xyz, valid, 1)
    areas: npt.NDArray[np.float64] = np.linalg.norm(np.cross(down, right), axis=-1) * 1e6
    known = np.isfinite(areas)
    areas[~known] = np.median(areas[known]) if known.any() else 0.0
    return areas


def _step(xyz: Array, valid: Mask, axis: int) -> npt.NDArray[np.float64]:
    """Mean of the differences to the next and from the previous pixel, as far as both ends carry a point; NaN where neither does."""
    ahead = np.diff(xyz.astype(np.float64), axis=axis)
    both = np.logical_and(*(np.delete(valid, end, axis) for end in (0, -1)))
    ahead[~both] = 0
    edge = [(0, 0)] * 3
    total, count = np.zeros(xyz.shape), np.zeros(valid.shape)
    for side in ((0, 1), (1, 0)):
        edge[axis] = side
        total += np.pad(ahead, edge)
        count += np.pad(both, edge[:2])
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(count > 0, count, np.nan)[..., None])


def _own_pixels(where: tuple[slice, ...], size: int, square: Square) -> tuple[int, int, int, int] | None:
    """x, y, width, height in the part's own image, clipped to it; None if nothing is left."""
    spans = []
    for part, start, length in ((where[1], square.left, square.width), (where[0], square.top, square.height)):
        low = max(part.start * square.side // size - start, 0)
        high = min(-(-part.stop * square.side // size) - start, length)
        if high <= low:
            return None
        spans.append((low, high - low))
    (x, w), (y, h) = spans
    return x, y, w, h


def _deviation(mask: Mask, above: Mask, xyz: Array, valid: Mask) -> float | None:
    """Largest |z - surface| in mm over the region's points; the surface is z = quadratic in x and y, fitted to the ring."""
    ring = ndimage.binary_dilation(mask, EIGHT, iterations=RING) & ~above & valid
    inside = xyz[mask & valid].astype(np.float64)
    around = xyz[ring].astype(np.float64)
    if len(around) < 6 or not len(inside):
        return None
    centre, scale = around.mean(0), max(float(around[:, :2].std()), 1e-9)
    fit = np.linalg.lstsq(_quadratic((around - centre) / scale), around[:, 2], rcond=None)[0]
    return float(np.abs(inside[:, 2] - _quadratic((inside - centre) / scale) @ fit).max() * 1e3)


def _quadratic(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x, y = points[:, 0], points[:, 1]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)

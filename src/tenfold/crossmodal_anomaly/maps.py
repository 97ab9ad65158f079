"""From per-pixel distances to a smoothed anomaly map of the image's size, and to the image's score.

Maps are numpy float32. Rows of a distance vector belong to the pixels of the feature mask, in row-major order.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Combine = Literal["product", "sum", "max", "d2_only", "d3_only"]
Purpose = Literal["regions", "image", "pixels"]
# five 5x5 and three 7x7 means stand in for a Gaussian of sigma about 4 px (CFM, implementation details)
BOXES = (5, 5, 5, 5, 5, 7, 7, 7)


@dataclass(frozen=True)
class MapOptions:
    """How distances become a map; the field names of `config.Model` and `config.Evaluation`."""

    combine: Combine
    smoothing: Literal["boxes", "none"]
    score_norm: Literal["none", "official"]
    missing: Literal["zero", "neighbour"]


def combine(d2: Array, d3: Array, how: Combine) -> Array:
    """One distance per pixel from the two directions' `(pixels,)`; the paper multiplies."""
    match how:
        case "product":
            return d2 * d3
        case "sum":
            return d2 + d3
        case "max":
            return np.maximum(d2, d3)
        case "d2_only":
            return d2
        case "d3_only":
            return d3


def scatter(values: Array, mask: Mask) -> Array:
    """Put `(pixels,)` on the `(grid, grid)` mask's pixels; background is exactly 0."""
    grid = np.zeros(mask.shape, np.float32)
    grid[mask] = values
    return grid


def fill_missing(grid: Array, mask: Mask) -> tuple[Array, Mask]:
    """Give holes inside the silhouette the largest value among their known neighbours, ring by ring; map and mask grow together.

    The paper's method scores missing points 0, so a hole without points goes unseen: this is the option `missing: neighbour`.
    """
    silhouette = ndimage.binary_fill_holes(mask)
    grid, known = grid.copy(), mask.copy()
    while not known[silhouette].all():
        rim = silhouette & ~known & ndimage.binary_dilation(known, np.ones((3, 3), bool))
        grid[rim] = ndimage.maximum_filter(grid, 3, mode="constant")[rim]
        known |= rim
    return grid, known


def upsample(grid: Array, mask: Mask, size: int) -> Array:
    """Bilinear (half-pixel centres, clamped at the border) to `(size, size)`; pixels whose nearest grid cell is background stay 0."""
    if grid.shape == (size, size):
        return grid
    rows, columns = _bilinear(grid.shape[0], size), _bilinear(grid.shape[1], size)
    near = mask[_nearest(mask.shape[0], size)][:, _nearest(mask.shape[1], size)]
    return np.asarray((rows @ grid @ columns.T) * near, np.float32)


def smooth(image: Array) -> Array:
    """Five 5x5, then three 7x7 box means with zero padding, `(height, width)`.

    A box mean with zero padding is a banded matrix on the rows times one on the columns, and these commute, so all eight are two
    matrix products.
    """
    return np.asarray(_blur(image.shape[0]) @ image @ _blur(image.shape[1]).T, np.float32)


def render(values: Array, mask: Mask, options: MapOptions, size: int) -> Array:
    """The map `(size, size)` of one part before normalisation: scatter, fill, upsample, smooth."""
    grid = scatter(values, mask)
    if options.missing == "neighbour":
        grid, mask = fill_missing(grid, mask)
    image = upsample(grid, mask, size)
    return smooth(image) if options.smoothing == "boxes" else image


def normalise(image: Array, how: Literal["none", "official"], purpose: Purpose) -> Array:
    """`none`: the map itself. `official`: the released code's three per-image normalisations, one for each purpose.

    regions: by the mean of the non-zero pixels; image: by that mean's root; pixels: by the root of the mean of all. They make a score
    depend on the part's own mean. A map that is 0 everywhere stays 0.
    """
    if how == "none":
        return image
    mean = float(image.mean() if purpose == "pixels" else image[image != 0].mean()) if image.any() else 1.0
    return image / np.float32(mean if purpose == "regions" else np.sqrt(mean))


def image_score(image: Array, how: Literal["none", "official"] = "none") -> float:
    """Score of a part: the largest value of its map."""
    return float(normalise(image, how, "image").max())


@lru_cache(maxsize=8)
def _bilinear(small: int, large: int) -> Array:
    at = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = np.minimum(at.astype(int), max(small - 2, 0))
    high = np.minimum(low + 1, small - 1)
    share = at - low
    matrix = np.zeros((large, small))
    np.add.at(matrix, (np.arange(large), low), 1 - share)
    np.add.at(matrix, (np.arange(large), high), share)
    return matrix.astype(np.float32)


@lru_cache(maxsize=8)
def _nearest(small: int, large: int) -> npt.NDArray[np.int64]:
    return (2 * np.arange(large) + 1) * small // (2 * large)


@lru_cache(maxsize=8)
def _blur(length: int) -> Array:
    apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    matrix = np.eye(length)
    for side in BOXES:
        matrix = (apart <= side // 2) / side @ matrix
    return matrix.astype(np.float32)

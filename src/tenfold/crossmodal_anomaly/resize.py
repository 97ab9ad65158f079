"""One square frame for colour, cloud and mask, and the step from it to the feature size.

All three are treated alike, so that one index means one place of the part throughout.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Square:
    """Where an image of (height, width) px lies in its padded square of `side` px: at row `top`, column `left`."""

    height: int
    width: int
    top: int
    left: int
    side: int


def square_of(height: int, width: int, multiple: int) -> Square:
    """The centred square whose side is the longer side rounded up to a multiple of `multiple` px."""
    side = -(-max(height, width) // multiple) * multiple
    return Square(height, width, (side - height) // 2, (side - width) // 2, side)


def pad(image: NDArray[Any], square: Square, mode: Literal["constant", "edge"] = "constant") -> NDArray[Any]:
    """(height, width, ...) to (side, side, ...): zeros, or the edge repeated outwards."""
    rows = (square.top, square.side - square.height - square.top)
    columns = (square.left, square.side - square.width - square.left)
    return np.pad(image, [rows, columns, *[(0, 0)] * (image.ndim - 2)], mode=mode)


def nearest(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Square image to (size, size, ...): the pixel in whose area the new pixel's centre lies, the frame that PIL's filters use too."""
    at = (2 * np.arange(size) + 1) * len(image) // (2 * size)
    return image[at[:, None], at]


def bicubic(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square uint8 image (side, side, 3) to (size, size, 3), Pillow's bicubic."""
    return np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC))

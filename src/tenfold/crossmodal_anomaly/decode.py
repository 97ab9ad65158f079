"""Bytes of one image file to one array, with what had to be converted, in the user's words."""

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tenfold.core.errors import BadData

Warnings = tuple[str, ...]


def rgb(content: bytes, name: str) -> tuple[NDArray[np.uint8], Warnings]:
    """Colour image (H, W, 3) uint8. 16-bit and grey images are converted, alpha is dropped. BadData names the decoder's words."""
    image = _open(content, name)
    if image.mode == "RGB":
        return np.asarray(image), ()
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64) / 257
        grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), (f"{name}: 16-bit grey image brought to 8 bits and three channels",)
    return np.asarray(image.convert("RGB")), (f"{name}: image mode {image.mode} converted to RGB",)


def mask(content: bytes, name: str) -> tuple[NDArray[np.uint8], Warnings]:
    """Defect mask (H, W) uint8 0/1, from 0/255; other values are cut at 127 and counted."""
    values = np.asarray(_open(content, name).convert("L"))
    odd = int(np.count_nonzero((values != 0) & (values != 255)))
    return (values > 127).astype(np.uint8), (f"{name}: {odd} mask pixels were neither 0 nor 255",) if odd else ()


def xyz(content: bytes, name: str) -> tuple[NDArray[np.float32], Warnings]:
    """Organised cloud (H, W, 3) float32, not finite points set to zero and counted. BadData for any other shape or type."""
    try:
        values: NDArray[Any] = np.asarray(tifffile.imread(io.BytesIO(content)))
    except (tifffile.TiffFileError, ValueError, OSError, KeyError, IndexError, RuntimeError, ImportError) as error:
        hint = " (install imagecodecs for compressed TIFF)" if "imagecodecs" in str(error) else ""
        raise BadData(f"{name}: not a readable TIFF: {error}{hint}") from error
    if values.ndim != 3 or values.shape[2] != 3 or values.dtype not in (np.float32, np.float64):
        raise BadData(f"{name}: a cloud is a TIFF of (height, width, 3) float32, not {values.shape} {values.dtype}.")
    said = [f"{name}: float64 coordinates rounded to float32"] if values.dtype == np.float64 else []
    values = values.astype(np.float32)
    broken = ~np.isfinite(values).all(-1)
    if broken.any():
        values[broken] = 0
        said.append(f"{name}: {np.count_nonzero(broken)} points were NaN or infinite")
    return values, tuple(said)


def _open(content: bytes, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadData(f"{name}: not a readable image: {error}") from error
    return image

"""Decode pictures, clouds and masks from bytes, distrusting all of them.

Every function takes the file's bytes and returns the array with a list of warnings in words. What cannot be used raises
`Unreadable`, whose `reason` is a short stable name for the quarantine table.
"""

import io
import struct
import zlib

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tenfold.core.files import Unreadable

RGB_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
XYZ_SUFFIXES = (".tiff", ".tif")
GT_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")

# Far beyond any scanner; a file that claims more is a mistake or an attack on the memory.
MAX_PIXELS = 32_000_000
MAX_FILE_BYTES = 1 << 30
# Pillow would otherwise try every format it knows, whatever the file's name says.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, zlib.error, EOFError, RuntimeError)


def read_rgb(data: bytes) -> tuple[NDArray[np.uint8], list[str]]:
    """Colour image (H, W, 3) uint8. 16-bit, grey, palette and alpha pictures are converted, with a warning."""
    warnings: list[str] = []
    image = _open(data)
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_eight_bits(image, warnings)[..., None], 3, axis=-1), warnings
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 24 and data[24] == 16:
        # Pillow keeps the high byte of 16-bit colour.
        warnings.append("16-bit rgb reduced to 8 bits")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        warnings.append("alpha channel of rgb dropped")
    if image.mode in ("L", "LA", "1"):
        warnings.append("grey rgb repeated to three channels")
    elif image.mode not in ("RGB", "RGBA"):
        warnings.append(f"rgb converted from {image.mode}")
    return np.asarray(_decode(image, "RGB")), warnings


def read_gt(data: bytes) -> tuple[NDArray[np.bool_], list[str]]:
    """Defect mask (H, W) bool: value > 127. Pixels that are neither 0 nor 255 are counted in a warning."""
    warnings: list[str] = []
    image = _open(data)
    grey = _eight_bits(image, warnings) if image.mode.startswith("I") or image.mode == "F" else np.asarray(_decode(image, "L"))
    odd = int(np.count_nonzero((grey != 0) & (grey != 255)))
    if odd:
        largest = int(grey.max())
        warnings.append(f"gt: {odd} px neither 0 nor 255 (largest {largest}), binarised at > 127")
    return grey > 127, warnings


def read_xyz(data: bytes) -> tuple[NDArray[np.float32], list[str]]:
    """Organised cloud (H, W, 3) float32 in the file's unit, as it stands there (zeros, NaN and all)."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            pages = len(tiff.pages)
            page = tiff.pages[0]
            if not isinstance(page, tifffile.TiffPage):
                raise Unreadable("unreadable_xyz", "the first TIFF page has no header of its own")
            shape, kind = page.shape, page.dtype
            if pages != 1:
                raise Unreadable("wrong_channels", f"xyz has {pages} TIFF pages of shape {shape}, wanted one of (H, W, 3)")
            if len(shape) != 3 or shape[2] != 3:
                raise Unreadable("wrong_channels", f"xyz has shape {shape}, wanted (H, W, 3); a depth image needs layout rgb_depth")
            if kind is None or kind.kind != "f" or kind.itemsize not in (4, 8):
                raise Unreadable("wrong_type", f"xyz is {kind}, wanted float32 coordinates")
            _refuse_giants(shape[1], shape[0])
            ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
            if not ends or max(ends) > len(data):
                raise Unreadable("unreadable_xyz", f"truncated TIFF: {len(data)} bytes, its index asks for {max(ends, default=0)}")
            cloud = page.asarray()
    except Unreadable:
        raise
    except (*_DECODER_ERRORS, tifffile.TiffFileError) as error:
        words = _words(error)
        if "imagecodecs" in words:
            words += " (compressed TIFF needs the package imagecodecs: pip install imagecodecs)"
        raise Unreadable("unreadable_xyz", words) from error
    if cloud.dtype.itemsize == 8:
        # Beyond float32's range is no coordinate in any unit; it becomes inf and is counted as such.
        with np.errstate(over="ignore"):
            return cloud.astype(np.float32), ["float64 xyz rounded to float32"]
    return np.ascontiguousarray(cloud, np.float32), []


def read_depth(data: bytes, suffix: str) -> NDArray[np.float64]:
    """Depth image (H, W) in stored units, from a 16-bit PNG or an .npy of numbers (object arrays are refused)."""
    if suffix == ".npy":
        try:
            shape = _npy_shape(data)
            if len(shape) != 2:
                raise Unreadable("wrong_channels", f"depth has shape {shape}, wanted (H, W)")
            _refuse_giants(shape[1], shape[0])
            depth = np.load(io.BytesIO(data), allow_pickle=False)
        except _DECODER_ERRORS as error:
            raise Unreadable("unreadable_depth", _words(error)) from error
        if depth.dtype.kind not in "fui":
            raise Unreadable("wrong_type", f"depth is {depth.dtype}, wanted numbers")
        numbers: NDArray[np.float64] = depth.astype(np.float64)
        return numbers
    image = _open(data)
    if not image.mode.startswith("I"):
        raise Unreadable("wrong_type", f"depth PNG has mode {image.mode}, wanted one 16-bit channel")
    grey: NDArray[np.float64] = np.asarray(_load(image), np.float64)
    return grey


def _npy_shape(data: bytes) -> tuple[int, ...]:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return tuple(read(stream)[0])


def _open(data: bytes) -> Image.Image:
    """Header only: the size is judged before a pixel is decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (*_DECODER_ERRORS, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable("unreadable_image", _words(error)) from error
    _refuse_giants(*image.size)
    return image


def _load(image: Image.Image) -> Image.Image:
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise Unreadable("unreadable_image", _words(error)) from error
    return image


def _decode(image: Image.Image, mode: str) -> Image.Image:
    loaded = _load(image)
    if mode == "RGB" and loaded.mode == "P":
        loaded = loaded.convert("RGBA")
    return loaded if loaded.mode == mode else loaded.convert(mode)


def _eight_bits(image: Image.Image, warnings: list[str]) -> NDArray[np.uint8]:
    """A 16-bit grey picture as 8 bits (its high byte). Float and 32-bit pictures have no agreed range."""
    values = np.asarray(_load(image))
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise Unreadable("wrong_type", f"picture of mode {image.mode} has no 8- or 16-bit values")
    warnings.append("16-bit grey picture reduced to 8 bits")
    return (values >> 8).astype(np.uint8)


def _refuse_giants(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise Unreadable("absurd_size", f"{width} x {height} px; at most {MAX_PIXELS} px are decoded")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

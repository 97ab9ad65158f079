"""Decoders that trust no file."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly import images
from tenfold.crossmodal_anomaly.images import read_depth, read_gt, read_rgb, read_xyz

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (9, 7, 3), np.uint8)
XYZ = RNG.uniform(0.1, 1, (9, 7, 3)).astype(np.float32)


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(stream, "PNG")
    return stream.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **({"photometric": "rgb"} if array.ndim == 3 and array.shape[2] == 3 else {}) | options)
    return stream.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A few bytes that claim to be a giant picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def rgb48(array: np.ndarray) -> bytes:
    """A 16-bit colour PNG, which Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_plain_pictures_come_back_as_they_are() -> None:
    array, warnings = read_rgb(png(RGB))
    np.testing.assert_array_equal(array, RGB)
    assert array.dtype == np.uint8 and warnings == []


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1"])
def test_other_pictures_become_three_channels_with_a_warning(mode: str) -> None:
    array, warnings = read_rgb(png(RGB, mode))
    assert array.shape == (9, 7, 3) and array.dtype == np.uint8
    expected = {"RGBA": "alpha", "LA": "alpha", "L": "grey", "P": "from P", "1": "grey"}[mode]
    assert any(expected in each for each in warnings)
    if mode == "RGBA":
        np.testing.assert_array_equal(array, RGB)
    if mode == "L":
        assert (array[..., 0] == array[..., 1]).all()


def test_sixteen_bit_pictures_keep_their_high_byte() -> None:
    deep = RGB.astype(np.uint16) * 256 + 77
    for data, expected in ((rgb48(deep), RGB), (png(deep[..., 0]), np.repeat(RGB[..., :1], 3, axis=-1))):
        array, warnings = read_rgb(data)
        np.testing.assert_array_equal(array, expected)
        assert any("16-bit" in each for each in warnings)


def test_masks_are_binarised_over_127_and_odd_values_counted() -> None:
    grey = np.array([[0, 255, 127], [128, 1, 254]], np.uint8)
    mask, warnings = read_gt(png(grey))
    np.testing.assert_array_equal(mask, [[False, True, False], [True, False, True]])
    assert len(warnings) == 1 and "4 px" in warnings[0]
    assert read_gt(png(np.array([[0, 255]], np.uint8)))[1] == []


@pytest.mark.parametrize(
    "options", [{}, {"compression": "lzw"}, {"compression": "deflate", "predictor": 3}, {"tile": (16, 16)}, {"bigtiff": True}]
)
def test_clouds_come_back_as_they_are(options: dict[str, object]) -> None:
    cloud, warnings = read_xyz(tiff(XYZ, **options))
    np.testing.assert_array_equal(cloud, XYZ)
    assert cloud.dtype == np.float32 and warnings == []


def test_float64_is_rounded_with_a_warning() -> None:
    wide = XYZ.astype(np.float64) + 1e-12
    wide[0, 0, 0] = 1e300
    cloud, (warning,) = read_xyz(tiff(wide))
    assert cloud.dtype == np.float32 and np.isinf(cloud[0, 0, 0]) and "float64" in warning
    np.testing.assert_array_equal(cloud[1:], XYZ[1:])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff((XYZ * 1000).astype(np.uint16)), "wrong_type"),
        (tiff(XYZ.astype(np.float16)), "wrong_type"),
        (tiff(XYZ[..., 2]), "wrong_channels"),
        (tiff(np.dstack([XYZ, XYZ[..., :1]])), "wrong_channels"),
        (tiff(np.stack([XYZ[..., 0]] * 3), photometric="minisblack"), "wrong_channels"),
        (tiff(XYZ)[:-100], "unreadable_xyz"),
        (tiff(XYZ, compression="deflate")[:-40], "unreadable_xyz"),
        (tiff(XYZ)[:60], "unreadable_xyz"),
        (png(RGB), "unreadable_xyz"),
        (b"", "unreadable_xyz"),
    ],
)
def test_useless_clouds_are_refused_in_words(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_xyz(data)
    assert caught.value.reason == reason and caught.value.detail


def test_a_missing_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    with pytest.raises(Unreadable, match="pip install imagecodecs"):
        read_xyz(tiff(XYZ))


@pytest.mark.parametrize("data", [png(RGB)[:-30], png(RGB)[:40], b"no picture", b"", tiff(XYZ)[:50]])
def test_broken_pictures_are_refused(data: bytes) -> None:
    for read in (read_rgb, read_gt):
        with pytest.raises(Unreadable):
            read(data)


@pytest.mark.parametrize("side", [(100_000, 100_000), (60_000, 1_000), (9_000, 9_000)])
def test_decompression_bombs_are_refused_before_decoding(side: tuple[int, int]) -> None:
    with pytest.raises(Unreadable) as caught:
        read_rgb(huge_png(*side))
    assert caught.value.reason in ("absurd_size", "unreadable_image")


def test_absurd_clouds_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 62)
    with pytest.raises(Unreadable, match="absurd_size"):
        read_xyz(tiff(XYZ))


def test_depth_from_png_and_npy() -> None:
    depth = RNG.integers(0, 65536, (9, 7)).astype(np.uint16)
    stream = io.BytesIO()
    np.save(stream, depth)
    np.testing.assert_array_equal(read_depth(png(depth), ".png"), depth)
    np.testing.assert_array_equal(read_depth(stream.getvalue(), ".npy"), depth)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (png(RGB[..., 0]), ".png"),
        (npy(np.array([[{"a": 1}]], object)), ".npy"),
        (npy(np.zeros((2, 2, 3))), ".npy"),
        (npy(np.array([["a"]])), ".npy"),
        (npy(np.zeros((2, 2)))[:-5], ".npy"),
        (b"\x93NUMPY", ".npy"),
    ],
)
def test_useless_depth_is_refused(data: bytes, suffix: str) -> None:
    with pytest.raises(Unreadable):
        read_depth(data, suffix)


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200), head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"II*\x00\x08\x00\x00\x00", b"\x93NUMPY\x01\x00"]))
def test_no_bytes_make_a_decoder_fail_otherwise(data: bytes, head: bytes) -> None:
    for read in (read_rgb, read_gt, read_xyz, lambda each: read_depth(each, ".npy"), lambda each: read_depth(each, ".png")):
        try:
            read(head + data)
        except Unreadable as problem:
            assert problem.reason and problem.detail


@settings(max_examples=50, deadline=None)
@given(at=st.integers(0, 400), value=st.integers(0, 255))
def test_a_flipped_byte_never_escapes_as_another_error(at: int, value: int) -> None:
    for data, read in ((tiff(XYZ, compression="deflate"), read_xyz), (png(RGB), read_rgb)):
        changed = bytearray(data)
        changed[at % len(changed)] = value
        try:
            array, _ = read(bytes(changed))
            assert array.shape[-1] == 3
        except Unreadable as problem:
            assert problem.detail

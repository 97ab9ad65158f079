import base64
import io

import numpy as np
import pytest
from PIL import Image

from tenfold.core import figures


def opened(uri: str) -> Image.Image:
    head, content = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def plotted() -> bytes:
    figure, axes = figures.new(4, 3, 1, 2, sharey=True)
    axes[0, 0].plot([0, 1], [0, 1], label="ours")
    axes[0, 1].set_title("PRO")
    return figures.png(figure, dpi=50)


def test_a_figure_has_its_size_and_is_the_same_twice() -> None:
    content = plotted()
    assert Image.open(io.BytesIO(content)).size == (200, 150)
    assert plotted() == content


def test_the_style_ends_with_its_block() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with figures.style():
        assert not matplotlib.rcParams["axes.spines.top"]
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(figures.PALETTE)
    assert dict(matplotlib.rcParams) == before


def test_pictures_survive_unchanged() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(opened(figures.image_uri(rgb))), rgb)
    assert np.array_equal(np.asarray(opened(figures.image_uri(rgb[::2, ::2, 0]))), rgb[::2, ::2, 0])
    mask = rgb[..., 0] > 128
    assert np.array_equal(np.asarray(opened(figures.image_uri(mask))), mask * np.uint8(255))


def test_floats_run_from_zero_to_one() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 7.0, np.nan, np.inf]])
    assert np.asarray(opened(figures.image_uri(values))).tolist() == [[0, 0, 128, 255, 255, 0, 255]]


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_large_pictures_are_made_smaller_and_small_ones_are_not(kind: str) -> None:
    assert opened(figures.image_uri(np.zeros((100, 50, 3), np.uint8), side=20, kind=kind)).size == (10, 20)  # type: ignore[arg-type]
    assert opened(figures.image_uri(np.zeros((10, 5, 3), np.uint8), side=20, kind=kind)).size == (5, 10)  # type: ignore[arg-type]


def test_heat_uses_one_scale_and_shows_what_has_no_value() -> None:
    colours = figures.heat(np.array([[0.0, 1.0, 2.0, np.nan]]), 0.0, 1.0)
    assert colours.shape == (1, 4, 3) and colours.dtype == np.uint8
    assert colours[0, 1].tolist() == colours[0, 2].tolist() != colours[0, 0].tolist()
    assert colours[0, 3].tolist() == [128, 128, 128]
    assert figures.heat(np.zeros((2, 2)), 0.0, 0.0).shape == (2, 2, 3)  # a scale without length


def test_an_outline_marks_the_border_of_the_mask_only() -> None:
    rgb = np.zeros((6, 6, 3), np.uint8)
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    drawn = figures.overlay(rgb, mask, (9, 8, 7))
    marked = (drawn == [9, 8, 7]).all(-1)
    expected = mask.copy()
    expected[2:4, 2:4] = False
    assert np.array_equal(marked, expected)
    assert not rgb.any()

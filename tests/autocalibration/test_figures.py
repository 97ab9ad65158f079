"""Charts are PNG whatever is missing; tracks are drawn where they are."""

import io

import numpy as np
import pytest
from PIL import Image

from tenfold.autocalibration import figures, geometry
from tenfold.autocalibration.figures import Estimate, Point, Reprojection

PNG = b"\x89PNG"


def test_charts_are_png() -> None:
    nan = float("nan")
    charts = [
        figures.noise(
            {"general": {0.0: {"ours": [0.0, 1e-9]}, 1.0: {"ours": [0.01], "bougnoux": [1.0, 0.2]}}, "orbit": {0.5: {"sturm": [0.5]}}}
        ),
        figures.noise({}),
        figures.cost({"a": [Point("ours", 1.0, 0.01, 0.005, 0.02), Point("new method", 0.1, 0.0)]}),
        figures.jitter({"ours": [(0.0, 0.0), (0.1, 0.0)], "sturm": [(0.1, 0.3), (0.0, 1.0)]}),
        figures.counts([80, 90, 100], [1, 2, 2], [430.5, 440.0, 410.0]),
        figures.counts([], [], []),
        figures.growth({p: [([0.0, 1.0, 2.0], [1.0, 8.0, 20.0])] for p in "abcde"}),
        figures.triplets({"a": [Estimate("0-1-2", "ours", 520.0, 4.0, True), Estimate("x", "sturm", nan, nan, False)]}, 519.6),
        figures.triplets({"a": [Estimate("0-1-2", "ours", 9000.0, 900.0, False)], "b": []}, None),
    ]
    assert all(chart.startswith(PNG) for chart in charts)
    assert figures.counts([1], [1], [1.0]) == figures.counts([1], [1], [1.0])


def test_tracks_are_drawn_where_they_are() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    drawn = figures.with_tracks(image, np.array([[10.5, 20.5], [50.5, 5.5]]), [(255, 0, 0), (0, 255, 0)])
    assert drawn[20, 10].tolist() == [255, 0, 0] and drawn[5, 50].tolist() == [0, 255, 0]
    assert not image.any() and not drawn[35, 30].any()
    assert np.array_equal(figures.with_tracks(image, np.zeros((0, 2)), []), image)


def panel(points: int = 30, image: bool = False, off: float = 0.2, inliers: float = 0.8) -> Reprojection:
    rng = np.random.default_rng(points)
    observed = rng.uniform(0, [60, 40], (points, 2))
    seen = np.full((40, 60, 3), 120, np.uint8) if image else None
    return Reprojection("a <b>", (60, 40), seen, observed, observed + off, np.arange(points) < inliers * points)


def pixels(chart: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(chart)).convert("RGB")).astype(int)


def test_reprojections_with_and_without_photographs_and_points() -> None:
    nan = panel()
    nan.projected[-1] = np.nan  # of an outlier: no place in front of the camera
    for rows in ([[panel(), panel(image=True)], [nan]], [[panel(0)]], [[panel(off=0.0)]], [[panel(inliers=0.0)]], []):
        assert figures.reprojections(rows).startswith(PNG)
    assert figures.reprojections([[panel()]]) == figures.reprojections([[panel()]])


def test_arrows_are_drawn_for_inliers_only() -> None:
    def coloured(chart: np.ndarray) -> int:
        body = chart[: int(0.8 * chart.shape[0]), : int(0.75 * chart.shape[1])]  # without the legend and the bar of colours
        return int((body[..., 0] > body[..., 1] + 40).sum())

    every, half, none = (coloured(pixels(figures.reprojections([[panel(inliers=share)]]))) for share in (1.0, 0.5, 0.0))
    assert every > 1.5 * half > 0 == none
    assert panel(inliers=0.5).errors == pytest.approx(np.full(15, 0.2 * np.sqrt(2)))


def test_magnification_keeps_arrows_short() -> None:
    assert figures.magnification(np.zeros(0), 640) == figures.magnification(np.zeros(3), 640) == 1
    for error in (0.01, 0.3, 2.0, 500.0):
        times = figures.magnification(np.full(9, error), 640)
        assert times == 1 or times * error <= figures.ARROW * 640 < 2.5 * times * error * 1.01
    assert figures.magnification(np.full(9, 0.3), 640) == 100


def test_straightened_photographs_agree_with_undistorted_points() -> None:
    k = np.array([60.0, 60.0, 50.0, 40.0, 0.0])
    at = np.array([[80.5, 20.5], [20.5, 60.5]])
    image = np.zeros((80, 100, 3), np.uint8)
    for x, y in np.floor(geometry.distort(at, k, -0.2)).astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    straight = figures.straightened(image, k, -0.2, 0.0)
    assert all(straight[int(y), int(x)].tolist() == [255] * 3 for x, y in at) and not straight[40, 50].any()
    assert np.array_equal(figures.straightened(image, k, 0.0, 0.0), image)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_colours_differ(n: int) -> None:
    assert len(set(figures.spread_colours(n))) == n

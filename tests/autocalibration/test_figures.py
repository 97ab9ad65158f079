"""Charts are PNG whatever is missing; tracks are drawn where they are."""

import numpy as np
import pytest

from tenfold.autocalibration import figures
from tenfold.autocalibration.figures import Estimate, Point

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


@pytest.mark.parametrize("n", [0, 1, 7])
def test_colours_differ(n: int) -> None:
    assert len(set(figures.spread_colours(n))) == n

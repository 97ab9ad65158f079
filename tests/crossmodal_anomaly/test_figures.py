"""Charts are PNG; tiles show what they should."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tenfold.crossmodal_anomaly import figures

PNG = b"\x89PNG"


def test_roc_points_enclose_the_auroc() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [20, 30])
    scores = np.round(rng.random(50) + 0.3 * labels, 1)
    x, y = figures.roc(labels, scores)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_relief_forgets_the_tilt_of_the_table() -> None:
    yy, xx = np.mgrid[:32, :32].astype(np.float32) / 320
    valid = np.hypot(yy - 0.05, xx - 0.05) < 0.045
    bump = np.where(np.hypot(yy - 0.05, xx - 0.05) < 0.01, 0.002, 0.0)
    xyz = np.stack([xx, yy, 0.5 + 0.4 * xx - 0.2 * yy - bump], -1).astype(np.float32)
    height = figures.relief(xyz, valid)
    assert np.isnan(height[~valid]).all()
    assert height[16, 16] == pytest.approx(2.0, abs=0.35)  # mm, towards the camera
    assert np.nanstd(height[valid & (bump == 0)]) < 0.15


def test_empty_part_has_a_picture() -> None:
    assert figures.depth_tile(np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), bool)).shape == (8, 8, 3)


def test_sheet_puts_every_tile_in_its_place() -> None:
    tiles = [[np.full((3, 4, 3), 10 * (2 * i + j), np.uint8) for j in range(2)] for i in range(2)]
    made = figures.sheet(tiles, gap=1)
    assert made.shape == (7, 9, 3)
    assert [int(made[y, x, 0]) for y, x in ((0, 0), (0, 5), (4, 0), (4, 5), (3, 0))] == [0, 10, 20, 30, 255]


def test_charts_are_png() -> None:
    line = (np.linspace(0, 1, 20), np.linspace(0, 1, 20) ** 0.5)
    history = {"seed 0": {"epoch": [1, 2], "train/loss": [1.0, 0.5], "validation/loss": [None, 0.6]}}
    charts = [
        figures.pro_curves({"ours": line, "bank_joint": line}, line),
        figures.roc_curves({"ours": line}, {"ours": line}),
        figures.score_histogram(np.array([0.1, 0.2]), np.array([0.5]), 0.3),
        figures.trade_off([figures.Point("ours", 5.0, 0.7, 4e5), figures.Point("bank_joint", 40.0, 0.6, 3e6)]),
        figures.few_shot({"ours": [(5, 0.5), (10, 0.6), (40, 0.7)]}),
        figures.training(history),
        figures.png(np.zeros((4, 4, 3), np.uint8)),
    ]
    assert all(chart.startswith(PNG) for chart in charts)

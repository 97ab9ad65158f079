"""What COLMAP is given, and how its runs become numbers."""

import numpy as np
import pytest
from autocalibration.evaluation_tables import FOCAL, IDENTITY, sample_rows, samples

from tenfold.autocalibration import metrics, wrong_prior
from tenfold.autocalibration.features import Observations, Pair, Scene
from tenfold.autocalibration.wrong_prior import Run

# x_j^T F x_i = 0 for points on one row: a translation along x
ROWS = np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]], float)


def test_observations_keep_what_fits_and_leave_holes() -> None:
    track = np.array([4, 7, 9, 4, 7, 9, 4])
    view = np.array([0, 0, 0, 2, 2, 2, 5])
    x = np.array([[10, 10], [20, 20], [30, 30], [15, 10], [25, 20], [35, 60], [1, 2]], float)
    seen = Observations.of(track, view, x)
    pairs = {(0, 2): Pair(0, 2, 3, 2, 0.0, ROWS), (0, 5): Pair(0, 5, 1, 0, 0.0, np.full((3, 3), np.nan))}
    made, matches = wrong_prior.observations(Scene("s", seen, pairs), 2.0)
    assert made.shape == (3, 3, 2) and np.isnan(made[2, 1:]).all() and made[2, 0].tolist() == [1, 2]
    assert {pair: found.tolist() for pair, found in matches.items()} == {(0, 1): [0, 1]}


def test_rows_are_means_over_scenes() -> None:
    scenes = metrics.scenes_of(samples(sample_rows("a") + sample_rows("b")))
    runs = [
        Run("a", 3, (FOCAL, 3), [(None, 0), (1.5 * FOCAL, 3)], (1.02 * FOCAL, 3)),
        Run("b", 3, (1.1 * FOCAL, 3), [(FOCAL, 3), (1.5 * FOCAL, 0)], (None, 0)),
    ]
    rows = {(r.method, r.variant, r.metric): r.value for r in wrong_prior.rows(runs, scenes, IDENTITY, [0.3, 3.0])}
    assert rows["colmap", "prior=default", "colmap_focal_error"] == pytest.approx(0.05)
    assert rows["colmap", "prior=0.3", "colmap_focal_error"] == pytest.approx(0.5)
    assert rows["colmap", "prior=3", "registered"] == pytest.approx(0.5)
    assert rows["ours", "prior=3", "colmap_focal_error"] == pytest.approx(0.51)
    assert wrong_prior.rows([], scenes, IDENTITY, [0.3]) == []

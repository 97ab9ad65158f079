"""The focal sweep: the least score is at the true focal length, on orbits too."""

import numpy as np
import pytest
from autocalibration.rivals import BOUNDS, FOCAL, PRINCIPAL, exact

from tenfold.autocalibration import scenes, sweep


@pytest.mark.parametrize("motion", ["general", "orbit"])
def test_the_nearest_candidate_wins(motion: scenes.Motion) -> None:
    x, _ = exact(motion, 1)
    found = sweep.focal(x, PRINCIPAL, threshold_px=2.0, seed=0, bounds=BOUNDS)
    assert abs(np.log(found.focal / FOCAL)) < np.log(found.tried[1] / found.tried[0])
    assert len(found.tried) == 40 and found.score == found.scores.min()


def test_exact_if_the_focal_length_is_among_the_candidates() -> None:
    x, _ = exact("general", 2)
    found = sweep.focal(x, PRINCIPAL, threshold_px=2.0, seed=0, bounds=(FOCAL / 2, FOCAL * 2), candidates=5)
    assert found.focal == pytest.approx(FOCAL) and found.score < 1e-3


def test_nothing_to_go_by() -> None:
    x, _ = exact("general", 3)
    for poor in (x[:, :5], np.full_like(x, np.nan), x[:, :0]):
        assert np.isnan(sweep.focal(poor, PRINCIPAL, threshold_px=2.0, seed=0, bounds=BOUNDS, candidates=3).focal)

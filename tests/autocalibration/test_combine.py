"""Merging triplets: weighted median, its uncertainty, what is said where none answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.autocalibration import combine

ROW = {
    "scene": "a", "triplet": "0-1-2", "method": "ours", "seed": 0, "stage": "refined", "kind": "f", "fx": 500.0, "fy": 500.0,
    "cx": 320.0, "cy": 240.0, "s": 0.0, "sd_f": 5.0, "k1": 0.0, "inliers": 100, "tracks": 120, "cost": 0.1, "cpu_s": 1.0,
    "hypotheses": 8, "roots": 90, "real": 30, "physical": 10, "lost": 1, "status": "ok", "reason": "",
}  # fmt: skip


def row(**changes: object) -> dict[str, object]:
    return {**ROW, **changes}


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 9)), min_size=1, max_size=12), st.randoms())
def test_weighted_median_is_that_of_repeated_values(pairs, random) -> None:  # type: ignore[no-untyped-def]
    values, weights = np.array([v for v, _ in pairs]), np.array([w for _, w in pairs], dtype=float)
    wanted = np.median(np.repeat(values, weights.astype(int)))
    assert combine.weighted_median(values, weights) == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    order = list(range(len(values)))
    random.shuffle(order)
    assert combine.weighted_median(values[order], weights[order]) == combine.weighted_median(values, weights)


def test_weighted_median_without_weight_is_none() -> None:
    assert np.isnan(combine.weighted_median(np.array([1.0, 2.0]), np.zeros(2)))
    assert combine.weighted_median(np.array([np.nan, 2.0]), np.ones(2)) == 2.0


def test_only_good_triplets_count() -> None:
    rows = [row(), row(fx=510.0, inliers=50), row(fx=900.0, status="low_confidence", inliers=1000), row(fx=None, status="too_few")]
    merged = combine.merge(rows)
    assert merged["triplet"] == "" and merged["status"] == "ok" and merged["fx"] == 500.0
    assert merged["inliers"] == 150 and merged["cpu_s"] == 4.0 and merged["hypotheses"] == 32
    assert merged["sd_f"] >= 5.0 and "2 of 4" in merged["reason"]


def test_disagreement_widens_the_uncertainty() -> None:
    rows = [row(fx=f, sd_f=1.0) for f in (450.0, 500.0, 550.0)]
    assert combine.merge(rows)["sd_f"] == pytest.approx(1.4826 * 50)
    assert combine.merge(rows[:1])["sd_f"] == 1.0


def test_without_a_good_triplet_there_is_no_camera() -> None:
    rows = [row(status="degenerate_rotation", reason="It only turned.", fx=None), row(status="too_few", tracks=3, fx=None)]
    merged = combine.merge(rows)
    assert merged["status"] == "degenerate_rotation" and merged["fx"] is None and merged["sd_f"] is None
    assert merged["reason"] == "It only turned."


def test_warnings_are_said_of_the_scene() -> None:
    bent = row(reason="distortion_suspected: A radial term takes 30% away.")
    assert "distortion_suspected" in combine.merge([bent, row()])["reason"]
    assert "distortion_suspected" not in combine.merge([bent, row(), row()])["reason"]

"""Image metrics against scikit-learn, intervals against a plain bootstrap, and the rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from tenfold.core.metrics import Subject, to_table
from tenfold.crossmodal_anomaly import aupro, curves, metrics

IDENTITY = {"paper": "crossmodal_anomaly", "dataset": "tiny", "partition": "tiny.disc", "model_key": "k", "data_version": "v"}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), n=st.integers(2, 30), levels=st.integers(1, 6))
def test_best_f1_is_the_largest_over_all_thresholds(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, n), rng.integers(0, levels, n) / levels
    labels[0] = 1
    plain = max(f1_score(labels, scores >= t) for t in np.unique(scores))
    assert metrics.best_f1(labels, scores) == pytest.approx(plain, abs=1e-12)


def test_rates_count_strictly_above_the_threshold() -> None:
    assert metrics.rates([1, 1, 0, 0], [0.5, 0.9, 0.5, 0.6], 0.5) == (0.5, 0.5)
    recall, fpr = metrics.rates([0, 0], [1.0, 2.0], 1.5)
    assert np.isnan(recall) and fpr == 0.5


def test_slice_names_go_there_and_back() -> None:
    assert metrics.slice_name("all") == "all"
    assert metrics.slice_name("dent") == "defect=dent,split=test"
    assert [metrics.kind_of(metrics.slice_name(k)) for k in ("all", "dent")] == ["all", "dent"]
    assert [metrics.aupro_name(x) for x in aupro.LIMITS] == ["aupro_30", "aupro_10", "aupro_05", "aupro_01"]


def test_auroc_draws_equal_the_auroc_of_the_repeated_parts() -> None:
    rng = np.random.default_rng(0)
    labels, scores = np.repeat([0, 1], [6, 9]), np.round(rng.random(15), 1)
    times = curves.multiplicities(["good"] * 6 + ["dent"] * 9, 5, rng)
    found = curves.auroc_draws(labels, scores, times, range(15))
    for row, value in zip(times, found, strict=True):
        again = np.repeat(np.arange(15), row)
        assert value == pytest.approx(roc_auc_score(labels[again], scores[again]), abs=1e-12)


def test_resamples_keep_the_number_of_parts_of_every_kind() -> None:
    kinds = ["good", "dent", "good", "stain", "dent"]
    times = curves.multiplicities(kinds, 50, np.random.default_rng(1))
    for kind in set(kinds):
        where = [i for i, k in enumerate(kinds) if k == kind]
        assert (times[:, where].sum(1) == len(where)).all()
    assert len(np.unique(times, axis=0)) > 1


def _scene(n: int = 9, side: int = 20) -> tuple[aupro.Truth, np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(3)
    kinds = ["good"] * (n // 3) + ["dent"] * (n // 3) + ["stain"] * (n - 2 * (n // 3))
    masks = np.zeros((n, side, side), np.uint8)
    for i, kind in enumerate(kinds):
        if kind != "good":
            masks[i, 4 + i % 3 : 9 + i % 3, 5:11] = 1
            masks[i, 15, 15 : 17 + i % 2] = 1
    maps = (rng.random(masks.shape) + 0.7 * masks * rng.random(masks.shape)).astype(np.float32)
    truth = aupro.Truth()
    for mask, kind in zip(masks, kinds, strict=True):
        truth.add(mask, kind)
    return truth, maps, masks, kinds


def test_aupro_draws_follow_the_exact_area_of_the_repeated_parts() -> None:
    truth, maps, masks, kinds = _scene()
    counts = aupro.count(truth, maps, keep=0.9, points=2000)
    by_part = curves.part_curves(truth, maps, counts)
    times = curves.multiplicities(kinds, 6, np.random.default_rng(2))
    found = curves.aupro_draws(by_part, times, range(len(kinds)), 0.3)
    for row, value in zip(times, found, strict=True):
        again = np.repeat(np.arange(len(kinds)), row)
        assert value == pytest.approx(aupro.aupro(maps[again], masks[again], ties="ramp")[0.3], abs=2e-3)


def test_the_curve_of_all_parts_gives_the_exact_area_at_every_limit() -> None:
    truth, maps, masks, _ = _scene()
    by_part = curves.part_curves(truth, maps, aupro.count(truth, maps, points=4000))
    once = np.ones((1, len(truth)), np.int64)
    exact = aupro.aupro(maps, masks)
    for limit in (0.3, 0.1):
        assert curves.aupro_draws(by_part, once, range(len(truth)), limit)[0] == pytest.approx(exact[limit], abs=1e-3)


def test_interval_is_moved_onto_the_exact_value() -> None:
    draws = np.linspace(0.4, 0.6, 1001)
    lo, hi = curves.interval(draws, 0.55, binned=0.5)
    assert lo == pytest.approx(0.455) and hi == pytest.approx(0.645)
    assert curves.interval(np.full(3, np.nan), 0.5) == (None, None)


def test_rows_of_one_method_keep_the_schema_and_nulls_have_a_reason() -> None:
    truth, maps, masks, kinds = _scene()
    truth.add(np.zeros((20, 20)), "hole")  # a defect part without ground truth: image metrics only
    maps = np.concatenate([maps, maps[:1]])
    kinds = [*kinds, "hole"]
    labels = np.array([k != "good" for k in kinds], np.int64)
    scores = maps.reshape(len(maps), -1).max(1).astype(np.float64)
    counts = aupro.count(truth, maps)
    times = curves.multiplicities(kinds, 100, np.random.default_rng(0))
    subject = Subject(IDENTITY, "ours", "", 0)
    by_part = curves.part_curves(truth, maps, counts)
    found = metrics.measure(subject, truth, labels, scores, counts, by_part, times, ties="flat", threshold=float(np.median(scores)))
    table = to_table(found.rows)
    value = {(r["slice"], r["metric"]): r for r in table.to_pylist()}
    assert value["all", "aupro_30"]["value"] == pytest.approx(aupro.aupro(maps[:-1], masks)[0.3], abs=1e-12)
    assert value["all", "aupro_30"]["lo"] < value["all", "aupro_30"]["value"] < value["all", "aupro_30"]["hi"]
    assert value["all", "i_auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    hole = value["defect=hole,split=test", "aupro_30"]
    assert hole["value"] is None and "region" in hole["reason"]
    assert value["defect=hole,split=test", "i_auroc"]["value"] is not None
    assert value["all", "fpr"]["better"] == "down"
    assert ("all", "aupro_01_99pt") in value and ("defect=dent,split=test", "recall") in value


def test_margin_is_paired() -> None:
    truth, maps, _, kinds = _scene()
    labels = np.array([k != "good" for k in kinds], np.int64)
    times = curves.multiplicities(kinds, 200, np.random.default_rng(0))
    made = []
    for shift in (maps, maps * 1.0):
        counts = aupro.count(truth, shift)
        by_part = curves.part_curves(truth, shift, counts)
        subject = Subject(IDENTITY, "ours", "", 0)
        made.append(metrics.measure(subject, truth, labels, shift.max((1, 2)).astype(float), counts, by_part, times, ties="flat"))
    row = metrics.margin_row(Subject(IDENTITY, "ours", "", 0), made[0], [made[1]], "aupro_30_margin", len(kinds))
    assert row is not None
    # the same maps on both sides: on every resample the lead is exactly nothing
    assert (row.value, row.lo, row.hi) == (0.0, 0.0, 0.0)


def test_resamples_in_blocks_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, maps, _, kinds = _scene()
    labels = np.array([k != "good" for k in kinds], np.int64)
    scores = np.round(maps.max((1, 2)).astype(float), 1)  # ties
    by_part = curves.part_curves(truth, maps, aupro.count(truth, maps))

    def draws() -> tuple[np.ndarray, ...]:
        times = curves.multiplicities(kinds, 50, np.random.default_rng(0))
        members = range(len(kinds))
        return times, curves.aupro_draws(by_part, times, members, 0.3), curves.auroc_draws(labels, scores, times, members)

    whole = draws()
    monkeypatch.setattr(curves, "BLOCK", 7 * len(kinds))
    for one, other in zip(whole, draws(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    for row, value in zip(whole[0], whole[2], strict=True):
        again = np.repeat(np.arange(len(kinds)), row)
        assert value == pytest.approx(roc_auc_score(labels[again], scores[again]), abs=1e-12)

"""Errors of K against hand cases, rows against a direct computation."""

import math

import numpy as np
import pytest
from autocalibration.evaluation_tables import FOCAL, IDENTITY, calib, calib_row, made_up, photographs, sample_rows, samples
from hypothesis import given
from hypothesis import strategies as st

from tenfold.autocalibration import metrics
from tenfold.autocalibration.metrics import Scene
from tenfold.core import metrics as core
from tenfold.core.metrics import Subject

SCENE = Scene("s", 640, 480, (800.0, 1000.0, 320.0, 240.0, 0.0), 0.0, "general", 0.5, 0.0)


def numbers(rows: list[core.Row]) -> dict[tuple[str, str, str, str], core.Row]:
    return {(r.method, r.variant, r.slice, r.metric): r for r in rows}


def test_hand_cases() -> None:
    assert metrics.focal_error(880.0, 1000.0, SCENE) == pytest.approx(0.05)
    assert metrics.focal_error(400.0, 1500.0, SCENE) == pytest.approx(0.5)
    assert metrics.centre_error(320.0 + 24.0, 240.0 - 32.0, SCENE) == pytest.approx(40.0 / 800.0)
    assert metrics.skew_error(800.0, -16.0, SCENE) == pytest.approx(0.02)
    assert metrics.angle_of_view(320.0, 640.0) == pytest.approx(90.0)
    assert [metrics.capped(e) for e in (0.3, 7.0, math.nan, math.inf)] == [0.3, 1.0, 1.0, 1.0]


@given(st.floats(1e-3, 1e3), st.floats(100.0, 1e4), st.floats(100.0, 1e4))
def test_errors_do_not_depend_on_the_unit_of_length(scale: float, fx: float, fy: float) -> None:
    bigger = Scene("b", 640, 480, tuple(scale * v for v in SCENE.reference), 0.0, "general", 0.5, 0.0)  # type: ignore[arg-type]
    assert metrics.focal_error(scale * fx, scale * fy, bigger) == pytest.approx(metrics.focal_error(fx, fy, SCENE), rel=1e-9, abs=1e-12)
    assert metrics.skew_error(scale * fx, scale * 5.0, bigger) == pytest.approx(metrics.skew_error(fx, 5.0, SCENE))


def test_a_silent_method_gains_nothing() -> None:
    rows = sample_rows("a") + sample_rows("b") + sample_rows("c")
    table = calib([
        calib_row("a", "ours", 1.1 * FOCAL),
        calib_row("b", "ours", 0.0, fx=None, fy=None, status="no_solution"),
        calib_row("c", "ours", FOCAL, status="low_confidence"),
    ])  # fmt: skip
    found = numbers(metrics.measure(table.to_pylist(), metrics.scenes_of(samples(rows)), IDENTITY, 0))
    assert found["ours", "", "all", "focal_error"].value == 1.0
    assert found["ours", "", "all", "failure_rate"].value == pytest.approx(2 / 3)
    assert found["ours", "", "all", "answered"].value == pytest.approx(1 / 3)
    assert found["ours", "", "all", "confident_wrong"].value == 0.0


def test_a_scene_without_a_merged_row_is_the_median_of_its_pairs() -> None:
    rows = [calib_row("a", "bougnoux", f, triplet=t, cpu_s=0.5) for t, f in (("0-1", 700.0), ("0-2", 900.0), ("1-2", 5000.0))]
    rows.append(calib_row("a", "bougnoux", 1.0, triplet="2-3", status="no_solution", cpu_s=0.5))
    found = metrics.of_scene(rows)
    assert found.k[0] == 900.0 and found.cpu_s == 2.0 and found.good
    assert metrics.of_scene(rows[-1:]).status == "no_solution" and not metrics.of_scene(rows[-1:]).good
    merged = metrics.of_scene([*rows, calib_row("a", "bougnoux", 820.0, cpu_s=None)])
    assert merged.k[0] == 820.0 and merged.cpu_s == 2.0


def test_slices_and_the_headline() -> None:
    views, table = made_up(scenes=4)
    found = metrics.scenes_of(views)
    picked = metrics.headline_scenes(found.values())
    assert len(picked) == 16 and all(found[n].noise in (0.5, 1.0) and not found[n].jitter for n in picked)
    rows = numbers(metrics.measure(table.to_pylist(), found, IDENTITY, 200))
    row = rows["ours", "", "all", "focal_error"]
    direct = [
        abs(r["fx"] / FOCAL - 1)
        for r in table.to_pylist()
        if r["method"] == "ours" and r["stage"] == "refined" and not r["triplet"] and r["scene"] in picked
    ]
    assert row.value == pytest.approx(float(np.median(direct))) and row.n == 16 and row.better == "down"
    assert row.lo is not None and row.hi is not None and row.lo <= row.value <= row.hi
    assert rows["ours", "", "motion=orbit,noise=0.5,jitter=0.05", "focal_error"].n == 4
    assert rows["ours", "", "motion=rotation,noise=0.5", "refused"].value == 1.0
    assert rows["bougnoux", "minimal", "motion=rotation,noise=0.5", "refused"].value == 0.0
    assert rows["ours", "minimal", "all", "cpu_per_hypothesis"].value == pytest.approx(0.09)
    assert rows["ours", "minimal", "all", "cpu_per_hypothesis"].timing
    assert rows["ours", "minimal", "all", "lost_paths"].value == pytest.approx(7 / 667)
    ratio = rows["ours", "", "motion=general,noise=0.5", "focal_ratio_bougnoux"]
    assert ratio.value is not None and ratio.lo is not None and ratio.hi is not None
    assert 0.6 < ratio.value < 0.9 and ratio.lo <= ratio.value <= ratio.hi
    assert ("ours", "", "motion=general,noise=0", "focal_ratio_bougnoux") not in rows
    core.to_table(rows.values())


def test_headline_falls_back_to_what_there_is() -> None:
    only = metrics.scenes_of(
        samples(sample_rows("a", noise=2.0) + sample_rows("r", "rotation") + sample_rows("p", None, None, ref_fx=None))
    )
    assert metrics.headline_scenes(only.values()) == {"a"}
    raw = metrics.scenes_of(samples(sample_rows("raw", None, None, k1=-0.1)))
    assert metrics.headline_scenes(raw.values()) == {"raw"}


def test_photographs_by_triplet() -> None:
    views, table = photographs()
    rows = numbers(metrics.measure(table.to_pylist(), metrics.scenes_of(views), IDENTITY, 100))
    assert rows["ours", "", "tracks=75", "triplet_focal_error"].value == pytest.approx(6 / 800)
    assert rows["ours", "", "tracks=75", "triplet_focal_error_max"].value == pytest.approx(30 / 800)
    assert rows["ours", "", "tracks=75", "triplet_focal_error"].n == 3
    assert rows["ours", "", "tracks=75", "weak_triplets_wrong"].value == 0.0
    assert rows["sturm", "minimal", "tracks=75", "triplet_focal_error"].value == pytest.approx(0.07)
    raw = rows["ours", "", "distortion=raw", "distortion_warned"]
    assert raw.value == 1.0 and raw.n == 3  # the triplet with few tracks does not count
    assert rows["ours", "", "distortion=none", "distortion_warned"].value == 0.0
    assert rows["ours", "", "scene=villa", "focal_error"].value == pytest.approx(6 / 800)


def test_without_a_reference_there_is_repeatability_only() -> None:
    views = samples(sample_rows("a", None, None, ref_fx=None, ref_fy=None, ref_k1=None))
    table = calib([calib_row("a", "ours", f, triplet=t) for t, f in (("0-1-2", 90.0), ("0-1-3", 100.0), ("1-2-3", 110.0))])
    rows = numbers(metrics.measure(table.to_pylist(), metrics.scenes_of(views), IDENTITY, 10))
    assert rows["ours", "", "scene=a", "focal_spread"].value == pytest.approx(np.std([90, 100, 110]) / 100)
    assert not any(key[3] == "focal_error" for key in rows)


def test_unknown_centre_is_measured_only_where_it_is_estimated() -> None:
    views = metrics.scenes_of(samples(sample_rows("a")))
    table = calib([calib_row("a", "ours_zero_skew", FOCAL, kind="zero_skew", cx=360.0), calib_row("a", "ours", FOCAL)])
    rows = numbers(metrics.measure(table.to_pylist(), views, IDENTITY, 0))
    assert rows["ours_zero_skew", "", "all", "centre_error"].value == pytest.approx(0.05)
    assert ("ours", "", "all", "centre_error") not in rows


def test_taxonomy_departs_where_a_number_does() -> None:
    table = [{"problem": p, **v} for p, v in metrics.TABLE_2_3.items() if p != "3V6P-full"]
    subject = Subject(IDENTITY, "ours")
    rows = numbers(metrics.taxonomy_rows(table, subject))
    assert rows["ours", "", "all", "taxonomy_problems"].value == 8
    assert rows["ours", "", "all", "taxonomy_mismatches"].value == 0
    assert rows["ours", "", "all", "taxonomy_relaxations"].value == 80
    assert rows["ours", "", "all", "orbits_3v5p_fxfy"].value == 43
    table[1] = {**table[1], "nonsingular": 5}
    changed = numbers(metrics.taxonomy_rows(table, subject))
    assert changed["ours", "", "all", "taxonomy_mismatches"].value == 1
    assert changed["ours", "", "all", "taxonomy_relaxations"].value == 81


def test_degrees_are_a_row_a_run() -> None:
    degrees = [{"problem": "2V6P-f", "orbit": o, "seed": s, "solutions": 30} for o in range(4) for s in range(3)]
    rows = metrics.degree_rows(degrees, IDENTITY)
    assert len(rows) == 12 and {r.metric for r in rows} == {"degree_2v6p_f"} and {r.slice for r in rows} == {f"orbit={o}" for o in range(4)}
    core.to_table(rows)


def test_recall_rows() -> None:
    rows = {r.metric: r for r in metrics.recall_rows(Subject(IDENTITY, "ours"), [True] * 9 + [False], [0.0] * 10, [0.1] * 10, 100)}
    assert rows["recall"].value == pytest.approx(0.9) and rows["recall"].slice == "exact"
    assert rows["lost_paths"].value == 0.0 and rows["cpu_per_hypothesis"].timing

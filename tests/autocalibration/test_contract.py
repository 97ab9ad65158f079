"""The contracts hold on good tables and break, each rule by itself, on bad ones (judged by Great Expectations)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract_checks import Rows, breach, check

from tenfold.autocalibration import contract, equations
from tenfold.autocalibration.problems import keeping_all_but
from tenfold.autocalibration.samples import SAMPLES_SCHEMA
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import tables
from tenfold.core.metrics import METRICS_SCHEMA
from tenfold.core.stage import Check
from tenfold.ops.contracts import validate


@pytest.fixture
def views() -> Rows:
    rows = []
    for scene, view in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]:
        row = dict.fromkeys(SAMPLES_SCHEMA.names)
        row |= {"id": f"{scene}/{view}", "unit": "", "split": "all", "label": "", "scene": scene, "view": view, "camera": "0", "motion": ""}
        row |= {"width": 640, "height": 480, "ref_fx": 500.0, "tracks_path": f"tracks/{scene}.parquet", "tracks_sha256": "a" * 64}
        rows.append(
            row | {"tracks_bytes": 3, "image_path": f"{scene}{view}.jpg", "image_sha256": "b" * 64, "image_bytes": 3, "warnings": ""}
        )
    return rows


def judged(tmp_path: Path, rows: Rows, says: str | None, root: Path | None = None) -> Check:
    tables.write(pa.Table.from_pylist(rows, SAMPLES_SCHEMA), tmp_path / "samples.parquet")
    return check(contract.samples(tmp_path, root), contract.SAMPLES, says)


@pytest.mark.slow
def test_good_views_keep_the_contract_and_files_must_be_there(tmp_path: Path, views: Rows) -> None:
    breach(judged(tmp_path, views, None), None)
    root = tmp_path / "root"
    root.mkdir()
    for row in views:
        for path in (root / row["image_path"], tmp_path / row["tracks_path"]):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"abc")
    breach(judged(tmp_path, views, None, root), None)
    (tmp_path / "tracks/a.parquet").write_bytes(b"ab")
    breach(judged(tmp_path, views, "every file is there", root), "every file is there")


@pytest.mark.parametrize(
    ("row", "values", "says"),
    [
        (1, {"id": "a/0"}, "an id stands once"),
        (1, {"view": 0}, "a view of a scene stands once"),
        (1, {"split": "train"}, "one split"),
        (1, {"motion": "spin"}, "the motion is known"),
        (1, {"width": 63}, "sensible width"),
        (1, {"height": 20001}, "sensible height"),
        (1, {"camera": None}, "every row has its camera"),
        (1, {"camera": "1"}, "one camera and one size"),
        (1, {"image_sha256": "x"}, "image's hash"),
        (1, {"tracks_sha256": "x"}, "tracks' hash"),
        (1, {"ref_fx": 6401.0}, "0.1 to 10 image widths"),
        (1, {"ref_fx": 63.9}, "0.1 to 10 image widths"),
        (1, {"scene": "c"}, "two views or more"),
        (1, {"tracks_path": None, "image_path": None}, "tracks, or a photo"),
        (1, {"ref_fx": None, "image_path": None, "image_sha256": None}, None),
    ],
)
def test_each_breach_of_the_views_is_an_error_in_words(tmp_path: Path, views: Rows, row: int, values: dict[str, Any], says: str) -> None:
    views[row] |= values
    breach(judged(tmp_path, views, says), says)


def test_two_views_are_a_warning(tmp_path: Path, views: Rows) -> None:
    breach(judged(tmp_path, views[:5], "three views"), "three views", "warn")


def observations(tmp_path: Path, views: Rows, change: Callable[[dict[str, Any]], object], says: str | None) -> Check:
    tables.write(pa.Table.from_pylist(views, SAMPLES_SCHEMA), tmp_path / "samples.parquet")
    values: dict[str, Any] = {
        "scene": ["a"] * 300, "track": [index // 3 for index in range(300)], "view": [index % 3 for index in range(300)],
        "x": [10.0] * 300, "y": [20.0] * 300, "source": ["file"] * 300,
    }  # fmt: skip
    change(values)
    tables.write(pa.table(values), tmp_path / "tracks.parquet")
    return check(contract.tracks(tmp_path, tmp_path), contract.TRACKS, says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: None, None),
        (lambda v: v["x"].__setitem__(slice(0, 2), [-1.0, 641.0]), None),
        (lambda v: v["x"].__setitem__(slice(0, 4), [-1.0] * 4), "lie in their frame"),
        (lambda v: v["y"].__setitem__(0, float("nan")), "every row has its y"),
        (lambda v: v["x"].__setitem__(0, float("inf")), "x is finite"),
        (lambda v: v["view"].__setitem__(1, 0), "once in a view"),
        (lambda v: v["track"].__setitem__(0, 999), "two views or more"),
        (lambda v: v["view"].__setitem__(0, 7), "belongs to a view"),
    ],
)
def test_tracks(tmp_path: Path, views: Rows, change: Callable[[dict[str, Any]], object], says: str | None) -> None:
    breach(observations(tmp_path, views, change, says), says)


# 2V6P-f drops 3 of 15 equations; the sizes are those of its five orbits of triples of edges of K6: triangle, star, path, ..., matching.
MASKS = [0b000111111111111, 0b001011111111111, 0b001101111111111, 0b001110111111111, 0b001111011111111]
SIX = list(zip(MASKS, (20, 60, 180, 180, 15), (False, False, False, False, True), strict=True))


@pytest.mark.parametrize(
    ("row", "change", "says"),
    [
        (0, {}, None),
        (0, {"mask": 0b1}, "as many equations"),
        (0, {"size": 21}, "add up"),
        (0, {"singular": True}, "the catalogue says"),
        (0, {"orbit": 1}, "an orbit stands once"),
        (0, {"mask": SIX[1][0]}, "a mask stands once"),
        (0, {"smin": float("nan")}, None),
        (0, {"smin": -1.0}, "not negative"),
    ],
)
def test_relaxations(tmp_path: Path, row: int, change: dict[str, Any], says: str | None) -> None:
    rows = [
        {"problem": "2V6P-f", "orbit": orbit, "mask": mask, "size": size, "singular": singular, "smin": 0.1}
        for orbit, (mask, size, singular) in enumerate(SIX)
    ]
    rows.append({"problem": "3V4P-f", "orbit": 0, "mask": 2**12 - 1, "size": 1, "singular": False, "smin": 0.1})
    rows[row] |= change
    tables.write(pa.Table.from_pylist(rows), tmp_path / "relaxations.parquet")
    breach(check(contract.relaxations(tmp_path), contract.RELAXATIONS, says), says)


def start_system(path: Path) -> StartSystem:
    """One solution at an image that it makes."""
    problem = keeping_all_but(2, 5, "none", ((1, 0, 1),))
    image, unknowns = equations.random_scene(problem, np.random.default_rng(0))
    made = StartSystem(problem, image, unknowns[None])
    made.save(path)
    return made


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"solutions": 0}, "has solutions"),
        ({"solutions": 2}, "stored solutions"),
        ({"certified": True}, "a certified number"),
        ({"problem": "2V7P-fxfy", "certified": True}, None),
        ({"lost": -1}, "lost paths"),
        ({"orbit": 3}, "stored solutions"),
        ({"break": True}, "stored solutions"),
        ({"break_served": True}, "stored solutions"),
    ],
)
def test_degrees(tmp_path: Path, change: dict[str, Any], says: str | None) -> None:
    row: dict[str, Any] = {"problem": "2V5P", "orbit": 0, "seed": 1, "loops": 3, "solutions": 1, "certified": False, "lost": 0} | change
    path, served = tmp_path / "systems" / f"{row['problem']}.0.1.npz", tmp_path / "predictor" / f"{row['problem']}.npz"
    for each in (path, served):
        made = start_system(each)
    for name, each in (("break", path), ("break_served", served)):
        if row.pop(name, False):
            StartSystem(made.problem, made.base + 1e-3, made.solutions).save(each)
    tables.write(pa.Table.from_pylist([row]), tmp_path / "degrees.parquet")
    breach(check(contract.degrees(tmp_path), contract.DEGREES, says), says)


CALIB: dict[str, Any] = {
    "scene": "a", "triplet": "0-1-2", "method": "ours", "seed": 0, "stage": "refined", "kind": "f", "fx": 500.0, "fy": 500.0, "cx": 320.0,
    "cy": 240.0, "s": 0.0, "sd_f": 1.0, "k1": None, "inliers": 90, "tracks": 100, "cost": 1.0, "cpu_s": 0.1, "hypotheses": 16,
    "roots": 667, "real": 20, "physical": 3, "lost": 1, "status": "ok", "reason": "",
}  # fmt: skip
METRIC: dict[str, Any] = {
    "paper": "autocalibration", "dataset": "d", "partition": "d", "method": "ours", "variant": "", "seed": 0, "slice": "all",
    "metric": "focal_error", "value": 0.01, "lo": 0.005, "hi": 0.02, "reason": "", "n": 10, "better": "down", "scale": "1", "timing": False,
    "model_key": "k", "data_version": "v",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "change", "says"),
    [
        (CALIB, {}, None),
        (CALIB, {"stage": "final"}, "the stage is known"),
        (CALIB, {"kind": "g"}, "what is unknown of K"),
        (CALIB, {"status": "fine", "reason": "x"}, "the status is known"),
        (CALIB, {"fx": 0.0}, "fx is over 0"),
        (CALIB, {"fy": float("inf")}, "fy is over 0"),
        (CALIB, {"fx": None}, "has its focal length"),
        (CALIB, {"fx": None, "status": "no_solution", "reason": "none"}, None),
        (CALIB, {"status": "too_few"}, "has its reason"),
        (CALIB, {"cpu_s": -1.0}, "times are not negative"),
        (METRIC, {}, None),
        (METRIC, {"value": -0.01, "lo": None, "hi": None}, "errors are not negative"),
        (METRIC, {"metric": "Focal"}, "names are plain"),
        (METRIC, {"lo": 0.03}, "ends are in order"),
        (METRIC, {"better": "lower"}, "better direction"),
        (METRIC, {"value": None, "lo": None, "hi": None}, "missing value has its reason"),
        (METRIC, {"value": None, "lo": None, "hi": None, "reason": "no reference"}, None),
    ],
)
def test_calibrations_and_metrics(row: dict[str, Any], change: dict[str, Any], says: str | None) -> None:
    schema, rules, other = (
        (METRICS_SCHEMA, contract.METRICS, {"slice": "noise=1"}) if row is METRIC else (None, contract.CALIB, {"scene": "b"})
    )
    table = pa.Table.from_pylist([row | change, row | other], schema)
    breach(check(table, rules, says), says)


@pytest.mark.parametrize(("rules", "row"), [(contract.CALIB, CALIB), (contract.METRICS, METRIC)])
def test_a_row_given_twice_is_an_error(rules: Rows, row: dict[str, Any]) -> None:
    check = validate(pa.Table.from_pylist([row, row]), rules, "table")
    assert not check.passed and ("once" in check.description or "one row" in check.description)


def test_statuses_and_catalogue_are_those_of_the_code() -> None:
    from tenfold.autocalibration import degeneracy, taxonomy

    assert set(degeneracy.STATUSES) | {"degenerate_orbit"} <= set(contract.STATUSES)
    assert set(contract.CATALOGUE) == set(taxonomy.PROBLEMS)
    for problem, (views, points, kind) in taxonomy.PROBLEMS.items():
        unknowns, equations_ = contract._size(problem)
        made = keeping_all_but(views, points, kind, tuple()) if unknowns == equations_ else None
        assert taxonomy.subsets(problem) == contract.CATALOGUE[problem][0] and taxonomy.burnside(problem) == contract.CATALOGUE[problem][1]
        assert made is None or made.unknowns == unknowns

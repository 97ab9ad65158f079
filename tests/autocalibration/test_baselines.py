"""The stage: its rows, what is refused, going on after a kill, and what every method gives on scenes with known truth."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from autocalibration.rivals import FOCAL, block, dataset, spec

from tenfold.autocalibration import baselines, features, metrics, scenes
from tenfold.core import tables
from tenfold.core.errors import BadData, UsageError
from tenfold.core.progress import Progress

SPECS = {
    "general-0": spec("general", 0, 0.5, 0.2, points=120),
    "general-1": spec("general", 1, 0.5, 0.2, points=120),
    "orbit-0": spec("orbit", 0, 0.5, 0.2, points=120),
    "orbit-1": spec("orbit", 1, 0.5, 0.2, points=120),
    "sparse": spec("general", 2, 0.5, 0.0, points=10),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("rivals") / "data", SPECS)


@pytest.fixture(scope="module")
def rows(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("out")
    made = baselines.run(folder, folder / "features", block(baselines.METHODS), out, Progress())
    assert made.notes[0].kind == "table" and not (out / "parts").exists()
    table = tables.read(out / "calib.parquet")
    assert table.schema == metrics.CALIB_SCHEMA
    return list(table.to_pylist())


def pick(rows: list[dict[str, Any]], **wanted: str) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def focal(rows: list[dict[str, Any]], scene: str, method: str, stage: str) -> float:
    (row,) = pick(rows, scene=scene, method=method, stage=stage, triplet="")
    return np.nan if row["fx"] is None else row["fx"]


@pytest.mark.parametrize("method", [m for m in baselines.METHODS if m != "ba_only"])
def test_every_method_solves_general_motion(rows: list[dict[str, Any]], method: str) -> None:
    for stage in ("minimal", "refined"):
        for scene in ("general-0", "general-1"):
            if pick(rows, scene=scene, method=method, stage=stage):
                assert focal(rows, scene, method, stage) == pytest.approx(FOCAL, rel=0.1), (method, stage, scene)


def test_refinement_alone_needs_no_minimal_solver_here(rows: list[dict[str, Any]]) -> None:
    assert focal(rows, "general-0", "ba_only", "minimal") == pytest.approx(1.2 * 640)
    for scene in ("general-0", "general-1", "orbit-0", "orbit-1"):
        assert focal(rows, scene, "ba_only", "refined") == pytest.approx(FOCAL, rel=0.06)


def test_all_refinements_of_one_triplet_end_at_one_place(rows: list[dict[str, Any]]) -> None:
    methods = ("bougnoux", "sturm", "kruppa", "quadric", "focal6_ba", "sweep", "ba_only")
    ends = [focal(rows, "general-0", method, "refined") for method in methods]
    np.testing.assert_allclose(ends, ends[0], rtol=0.01)


def test_two_view_methods_fail_on_the_orbit_and_three_views_do_not(rows: list[dict[str, Any]]) -> None:
    for method, stage in (("bougnoux", "minimal"), ("focal6", "refined")):
        assert not abs(focal(rows, "orbit-0", method, stage) / FOCAL - 1) < 0.2
    for method in ("quadric", "sweep", "colmap"):
        assert focal(rows, "orbit-0", method, "refined") == pytest.approx(FOCAL, rel=0.1)


def test_rows_of_pairs_and_triplets(rows: list[dict[str, Any]]) -> None:
    pairs = pick(rows, scene="general-0", method="bougnoux", stage="minimal")
    assert [row["triplet"] for row in pairs] == ["0-1", "0-2", "1-2", ""]
    good = [row["fx"] for row in pairs if row["triplet"] and row["status"] == "ok"]
    assert pairs[-1]["fx"] == pytest.approx(np.median(good))
    assert [row["triplet"] for row in pick(rows, scene="general-0", method="sweep", stage="refined")] == ["0-1-2", ""]
    assert [row["triplet"] for row in pick(rows, scene="general-0", method="focal6", stage="refined")] == ["0-1", "0-2", "1-2", ""]
    assert not pick(rows, method="focal6_ba", stage="minimal") and not pick(rows, method="colmap", stage="minimal")


def test_a_row_has_k_if_and_only_if_its_status_is_ok(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert (row["fx"] is not None) == (row["status"] == "ok"), row
        assert row["status"] == "ok" or row["reason"]
        assert row["kind"] == "f" and row["cpu_s"] is None or row["cpu_s"] >= 0
        if row["status"] == "ok":
            assert row["fx"] == row["fy"] and (row["cx"], row["cy"], row["s"]) == (320.0, 240.0, 0.0)


def test_too_few_tracks(rows: list[dict[str, Any]]) -> None:
    found = pick(rows, scene="sparse")
    assert {row["method"] for row in found} == set(baselines.METHODS)
    assert {row["status"] for row in found} == {"too_few"} and all("common tracks" in row["reason"] for row in found)


def test_uncertainty_and_inliers_are_told(rows: list[dict[str, Any]]) -> None:
    (row,) = pick(rows, scene="general-0", method="ba_only", stage="refined", triplet="0-1-2")
    assert 0 < row["sd_f"] < 0.05 * FOCAL and abs(row["fx"] - FOCAL) < 5 * row["sd_f"]
    assert 40 < row["inliers"] <= row["tracks"] == 120 and row["cost"] > 0


def test_goes_on_where_it_was_and_gives_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = block(["bougnoux", "focal6", "ba_only"])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    baselines.run(folder, folder / "features", few, whole, Progress())
    real, seen = baselines.rows_of, []

    def dying(task: baselines.Task) -> Any:
        seen.append(task.scene.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(task)

    monkeypatch.setattr(baselines, "rows_of", dying)
    with pytest.raises(KeyboardInterrupt):
        baselines.run(folder, folder / "features", few, broken, Progress())
    assert len(list((broken / "parts").iterdir())) == 2
    baselines.run(folder, folder / "features", few, broken, Progress())
    assert seen[2:] == ["orbit-0", "orbit-0", "orbit-1", "sparse"]
    one, two = (tables.read(out / "calib.parquet").drop_columns(["cpu_s"]) for out in (whole, broken))
    assert one.equals(two)


def test_costly_methods_run_on_the_first_scenes_of_a_slice(folder: Path, tmp_path: Path) -> None:
    chosen = block(["bougnoux", "sweep"], costly=["sweep"], costly_scenes=1)
    baselines.run(folder, folder / "features", chosen, tmp_path, Progress())
    swept = {row["scene"] for row in pq.read_table(tmp_path / "calib.parquet").to_pylist() if row["method"] == "sweep"}
    assert swept == {"general-0", "orbit-0"}


def test_unknown_names(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="zhang"):
        baselines.run(folder, folder / "features", block(["zhang"]), tmp_path, Progress())
    samples = tables.read(folder / "samples.parquet")
    tables.write(samples.filter(pc.not_equal(samples["scene"], "orbit-0")), tmp_path / "data" / "samples.parquet")
    with pytest.raises(BadData, match="orbit-0"):
        baselines.run(tmp_path / "data", folder / "features", block(["bougnoux"]), tmp_path / "out", Progress())


@pytest.mark.parametrize("f", [0.0, -700.0, np.nan, np.inf])
def test_an_impossible_start_is_no_solution(folder: Path, f: float) -> None:
    (given,) = features.read_scenes(folder / "features", ["general-0"])
    facts = metrics.scenes_of(tables.read(folder / "samples.parquet"))["general-0"]
    task = baselines.Task(given, facts, {}, block(["ba_only"]), ("ba_only",), folder / "unused")
    (triplet,) = baselines.choose(task)
    assert baselines.refine(task, triplet, f) is None


def test_pure_rotation_ends_without_an_error(tmp_path: Path) -> None:
    motions: tuple[scenes.Motion, ...] = ("rotation", "translation", "planar_scene")
    folder = dataset(tmp_path / "data", {motion: spec(motion, 0, 0.5, 0.2) for motion in motions})
    baselines.run(folder, folder / "features", block(baselines.METHODS), tmp_path, Progress())
    found = tables.read(tmp_path / "calib.parquet").to_pylist()
    assert {row["scene"] for row in found} == set(motions)

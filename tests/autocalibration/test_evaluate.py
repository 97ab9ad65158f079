"""Evaluation, the champion's rescoring and the telling again, on a demo of six scenes with the two-view solver."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from autocalibration.evaluation_tables import IDENTITY, calib, calib_row, made_up

from tenfold.autocalibration import (
    baselines,
    claims,
    config,
    contract,
    demo,
    evaluate,
    features,
    metrics,
    report,
    rescore,
    retell,
    survey,
    taxonomy_stage,
    train,
)
from tenfold.autocalibration.samples import QUARANTINE_SCHEMA, SAMPLES_SCHEMA
from tenfold.core import tables
from tenfold.core.errors import BadData, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress

BLOCK = config.Evaluation(
    assume="focal2v", samples=4, threshold_px=2.0, triplets=2, seeds=[0], others={}, others_samples={}, beside_scenes=0, exact=4,
    exact_others={}, priors=[0.3], prior_scenes=1, bootstrap=50,
)  # fmt: skip
MAKE = config.Make(
    scenes=2, special=1, views=3, points=60, noise_px=[0.5], jitter=[0.05], special_noise_px=0.5, outlier_ratio=0.2, heavy_tail=0.0,
    quantise_px=0.0, width=640, height=480, seed=0,
)  # fmt: skip
CHANGES = {"timing", "cpu_s"}


class Diary:
    """Keeps what a journal is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def network(self, variant: str, seed: int, params: Any) -> "Diary":
        self.told.append(("network", variant, seed, tuple(sorted(params))))
        return self

    def epoch(self, epoch: int, metrics: Any) -> None:
        self.told.append(("epoch", epoch, metrics["solutions"]))

    def done(self, metrics: Any) -> None:
        self.told.append(("done", tuple(sorted(metrics))))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("world")
    found = {name: root / name for name in ("dataset", "features", "taxonomy", "model", "baselines", "evaluation")}
    data = found["dataset"]
    data.mkdir()
    plan = len(demo.plan(MAKE))
    whole = survey.survey(
        demo.pending(MAKE), data, config.Dataset(min_views=2, max_dropped=0.05, max_quarantine=0.2), data, Progress(), plan
    )
    tables.write(pa.Table.from_pylist(whole.samples, SAMPLES_SCHEMA), data / "samples.parquet")
    tables.write(pa.Table.from_pylist(whole.quarantine, QUARANTINE_SCHEMA), data / "quarantine.parquet")
    features.run(data, data, config.Features(threshold_px=2.0, max_keypoints=512, min_matches=15, seed=0), found["features"], Progress())
    taxonomy_stage.run(config.Taxonomy(problems=["2V5P", "2V6P-f"], seed=0), found["taxonomy"], Progress())
    block = config.Model(
        solvers=["focal2v"],
        stored={},
        degrees=["2V5P"],
        seeds=[0],
        stale=3,
        candidates=1,
        validation=2,
        samples=4,
        threshold_px=2.0,
        triplets=2,
    )
    found["model"].mkdir()
    diary = Diary()
    train.run(found["taxonomy"], block, found["model"], root / "scratch", Progress(), diary)
    (root / "told.json").write_text(json.dumps(diary.told))
    rivals = config.Baselines(
        methods=["bougnoux", "focal6", "ba_only"], threshold_px=2.0, triplets=2, colmap_seconds=20, costly=[], costly_scenes=0, seed=0
    )
    baselines.run(data, found["features"], rivals, found["baselines"], Progress())
    run(found, found["evaluation"])
    return found


def run(world: dict[str, Path], out: Path, block: config.Evaluation = BLOCK) -> Any:
    inputs = {name: world[name] for name in ("dataset", "features", "taxonomy", "model", "baselines")}
    return evaluate.run(**inputs, block=block, out=out, progress=Progress(), identity=IDENTITY)


def numbers(folder: Path) -> list[dict[str, Any]]:
    rows = tables.read(folder / "metrics.parquet").to_pylist()
    return sorted((r for r in rows if not r["timing"]), key=lambda r: (r["method"], r["variant"], r["slice"], r["metric"], r["seed"]))


def test_all_methods_stand_in_one_table(world: dict[str, Path]) -> None:
    table = tables.read(world["evaluation"] / "calib.parquet")
    assert table.schema.equals(metrics.CALIB_SCHEMA)
    assert set(table["method"].to_pylist()) == {"ours", "bougnoux", "focal6", "ba_only"}
    assert set(table["status"].to_pylist()) <= set(contract.STATUSES)
    n = claims.Numbers(tables.read(world["evaluation"] / "metrics.parquet").to_pylist())
    assert n.get("ours", "recall", "exact") is not None and n.get("ours", "taxonomy_mismatches") == 0
    assert n.get("ours", "degree_2v5p", "orbit=0") == 20
    assert n.get("ours", "focal_error", "motion=general,noise=0.5") is not None
    assert n.get("ours", "cpu_per_hypothesis", "all", "minimal") is not None
    assert (
        n.get("colmap", "registered", variant="prior=default") is not None and n.get("ours", "registered", variant="prior=0.3") is not None
    )
    judged = json.loads((world["evaluation"] / "claims.json").read_text())
    assert [c["id"] for c in judged] == list(claims.IDS)
    summary = json.loads((world["evaluation"] / "summary.json").read_text())
    assert summary["headline"]["value"] == pytest.approx(n.get("ours", "focal_error")) and summary["degrees"] == {"focal2v": 30}
    assert not (world["evaluation"] / "parts").exists()


def test_a_stopped_evaluation_goes_on_and_gives_the_same(world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    work = evaluate.calibrate

    def some(task: evaluate.Task) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(task.scene.name)
        work(task)

    monkeypatch.setattr(evaluate.pool, "workers", lambda: 1)
    monkeypatch.setattr(evaluate, "calibrate", some)
    with pytest.raises(KeyboardInterrupt):
        run(world, tmp_path)
    again: list[str] = []
    monkeypatch.setattr(evaluate, "calibrate", lambda task: (again.append(task.scene.name), work(task)))
    run(world, tmp_path)
    assert again and not set(again) & set(done)
    kept = [name for name in metrics.CALIB_SCHEMA.names if name not in CHANGES]
    assert tables.read(tmp_path / "calib.parquet").select(kept) == tables.read(world["evaluation"] / "calib.parquet").select(kept)
    assert numbers(tmp_path) == numbers(world["evaluation"])


def test_claims_keep_their_scenes_and_the_rest_is_thinned() -> None:
    views, _ = made_up(scenes=6)
    scenes = metrics.scenes_of(views)
    every = evaluate.chosen_scenes(scenes.values(), 0)
    few = evaluate.chosen_scenes(scenes.values(), 2)
    assert every == set(scenes) and metrics.headline_scenes(scenes.values()) <= few
    # general and orbit at 0.5 and 1 px whole; two of both without noise, of the jittered orbit, of the rotation
    assert len(few) == 4 * 6 + 2 * 2 + 2 + 2


def test_a_solver_without_start_system_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    block = config.Evaluation(**{**vars(BLOCK), "others": {"square": 1}, "others_samples": {"square": 1}})
    with pytest.raises(UsageError, match="square.*model.solvers"):
        run(world, tmp_path, block)
    with pytest.raises(UsageError, match="names square, evaluation.others_samples does not"):
        run(world, tmp_path, replace(block, others_samples={}))


def test_scenes_that_the_dataset_lacks_are_refused(world: dict[str, Path], tmp_path: Path) -> None:
    less = dict(world, dataset=tmp_path / "dataset")
    samples = tables.read(world["dataset"] / "samples.parquet")
    tables.write(samples.slice(0, 3), less["dataset"] / "samples.parquet")
    with pytest.raises(BadData, match="not in the dataset"):
        run(less, tmp_path / "out")


def test_the_report_of_it(world: dict[str, Path], tmp_path: Path) -> None:
    made = report.run(world, config.Report(gallery=1, tracks=10), tmp_path, {}, Progress(), files=world["dataset"])
    assert made.facts["bytes"] < 4e6
    assert "degenerate" in (tmp_path / "report.html").read_text()


def test_the_same_network_rescored_gives_its_own_headline(world: dict[str, Path], tmp_path: Path) -> None:
    predictor = tmp_path / "predictor"
    shutil.copytree(world["model"] / "predictor", predictor)
    about = json.loads((predictor / "predictor.json").read_text())
    about["serving"] |= {"samples": BLOCK.samples, "threshold_px": BLOCK.threshold_px, "triplets": BLOCK.triplets}
    (predictor / "predictor.json").write_text(json.dumps(about))
    found = rescore.rescore(predictor, world, world["dataset"], metrics.HEADLINE[0], IDENTITY, tmp_path, Progress())
    summary = json.loads((world["evaluation"] / "summary.json").read_text())
    assert found.value == pytest.approx(summary["headline"]["value"])
    assert {r["method"] for r in tables.read(tmp_path / "metrics.parquet").to_pylist()} == {"champion"}
    assert found.drift.severity == "warn" and found.drift.name == "drift"


def test_a_champion_without_the_solver_is_no_champion_here(world: dict[str, Path], tmp_path: Path) -> None:
    other = dict(world, evaluation=tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"options": {"assume": "focal", "seeds": [0], "bootstrap": 10}}))
    with pytest.raises(UsageError, match="focal"):
        rescore.rescore(world["model"] / "predictor", other, world["dataset"], "focal_error", IDENTITY, tmp_path, Progress())


@pytest.mark.parametrize(("lost", "passed"), [(10, True), (40, False)])
def test_drift_looks_at_lost_paths(lost: int, passed: bool) -> None:
    rows = calib([calib_row("a", "ours", 800.0, triplet="0-1", stage="minimal", roots=1000 - lost, lost=lost)]).to_pylist()
    assert rescore.drift(rows, 0.005).passed is passed
    assert "not judged" in rescore.drift([], 0.0).description


def test_example_is_one_scene(world: dict[str, Path]) -> None:
    frame = rescore.example(world["dataset"], world["dataset"])
    assert {"scene", "track_id", "view_id", "x", "y"} <= set(frame.columns) and frame["scene"].nunique() == 1
    assert np.isfinite(frame[["x", "y"]].to_numpy()).all() and frame["view_id"].nunique() == 3


def test_what_was_told_is_told_again(world: dict[str, Path]) -> None:
    diary = Diary()
    retell.retell(world["model"], diary)
    assert json.loads(json.dumps(diary.told)) == json.loads((world["model"].parent / "told.json").read_text())
    retell.retell(world["model"], NullJournal())

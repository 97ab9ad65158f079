"""The whole evaluation on a small model: what it writes, that numbers agree with each other, that a stopped one goes on, and the report of it."""

import base64
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from motion_tracking import small_amass, small_model, small_motion

from tenfold.core import atomic, tables
from tenfold.core import claims as core_claims
from tenfold.core.errors import BadData, UsageError
from tenfold.core.progress import Progress
from tenfold.motion_tracking import (
    baselines,
    claims,
    columns,
    config,
    evaluate,
    formulas,
    metrics,
    report,
    rescore,
    shown,
    streaming,
    survey,
    tracking,
    train,
)
from tenfold.motion_tracking.data import ABOUT as READ_AS
from tenfold.motion_tracking.data import SAMPLES_SCHEMA
from tenfold.motion_tracking.formulas import Motion
from tenfold.motion_tracking.predict import Predictor
from tenfold.motion_tracking.trials import Trials

BLOCK = config.Evaluation(["consumer"], 0, 150, 100, 90, [7, 40], 20, 6, 0)
ABOUT = {"paper": "motion_tracking", "dataset": "demo", "partition": "demo", "model_key": "k", "data_version": "v"}
VARIANTS = ["reference", "one_lstm", "only_hmd"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("evaluation")
    found = {name: base / name for name in ("dataset", "features", "model", "baselines", "evaluation", "report")}
    small_motion.folder(found["features"], levels=("consumer",))
    for name in ("dataset", "model", "baselines", "evaluation", "report"):
        found[name].mkdir()
    small_motion.tables_of(found["features"], found["dataset"])
    small_model.make(found["features"], found["model"], base / "scratch", variants=VARIANTS)
    baselines.run(found["features"], config.Baselines([5, 15], 50.0, 16, 20, 32, 2e-3, 0, 0), found["baselines"], Progress())
    run(found, found["evaluation"])
    return found


def run(made: dict[str, Path], out: Path, **changes: object) -> None:
    block = replace(BLOCK, **changes)  # type: ignore[arg-type]
    evaluate.run(made["features"], made["model"], made["baselines"], block, out, Progress(), ABOUT)


def test_writes_what_it_says(made: dict[str, Path]) -> None:
    names = {path.name for path in made["evaluation"].iterdir()}
    assert names == {
        "per_sequence.parquet", "per_joint.parquet", "metrics.parquet", "claims.json", "curves.parquet", "shown.npz", "shown.json", "summary.json",
    }  # fmt: skip
    assert [c.id for c in core_claims.read(made["evaluation"] / "claims.json")] == list(claims.IDS)
    summary = json.loads((made["evaluation"] / "summary.json").read_text())
    assert summary["headline"]["value"] > 0 and summary["headline"]["seeds"] == 2
    assert summary["clips"] == {"all": 4, "generated": 2, "real": 2}


def test_every_answer_is_there_once(made: dict[str, Path]) -> None:
    rows = tables.read(made["evaluation"] / "per_sequence.parquet").to_pylist()
    keys = [(r["method"], r["variant"], r["seed"], r["sensors"], r["noise"]) for r in rows]
    assert len(keys) == 4 * len(set(keys))
    ours = {key for key in keys if key[0] == "ours"}
    assert {k[3] for k in ours if k[1] == "only_hmd"} == {"hmd"}
    assert len(ours) == 2 * 3 + 2 * 3 + 1 + 3
    assert {k[0] for k in keys} == {"ours", "truth", *baselines.METHODS}
    for row in rows:
        assert (row["mpjpe"] is None) == (row["method"] == "truth") and row["jitter"] > 0


def test_numbers_are_those_of_one_clip_scored_by_hand(made: dict[str, Path]) -> None:
    tests, network = Trials.open(made["features"], 0, 150), train.load_network(made["model"], "", 1)
    clip = tests.clips[2]
    local, betas = tracking.predict_clip(network, np.asarray(tests.data.features(clip)), "hmd_2imus")
    group = tests.read([clip])
    wanted = formulas.score(tests.motion((local, betas), group.true), group.true)
    rows = tables.read(made["evaluation"] / "per_sequence.parquet").to_pylist()
    row = next(
        r
        for r in rows
        if (r["method"], r["variant"], r["seed"], r["sensors"], r["noise"], r["clip_id"]) == ("ours", "", 1, "hmd_2imus", "clean", clip.id)
    )
    for name, value in wanted.items():
        assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-4, nan_ok=True) or (row[name] is None and np.isnan(value)), name


def test_the_head_is_where_the_headset_is(made: dict[str, Path]) -> None:
    rows = [r for r in tables.read(made["evaluation"] / "per_joint.parquet").to_pylist() if r["joint"] == "head"]
    assert rows and max(r["distance"] for r in rows) < 1e-6


@pytest.mark.slow
def test_a_table_without_wall_clock_is_the_same_twice(made: dict[str, Path], tmp_path: Path) -> None:
    run(made, tmp_path)
    one, two = (
        [r for r in tables.read(folder / "metrics.parquet").to_pylist() if not r["timing"]] for folder in (made["evaluation"], tmp_path)
    )
    assert one == two


@pytest.mark.slow
def test_scoring_in_groups_changes_nothing(made: dict[str, Path], tmp_path: Path) -> None:
    run(made, tmp_path, rows=10_000)
    one, two = (
        {
            (r["method"], r["variant"], r["seed"], r["slice"], r["metric"]): r["value"]
            for r in tables.read(f / "metrics.parquet").to_pylist()
            if not r["timing"]
        }
        for f in (made["evaluation"], tmp_path)
    )
    assert set(one) == set(two)
    for key, value in one.items():
        if value is None or key[4] in ("stream_difference", "onnx_difference", "switch_jump"):
            assert (two[key] is None) == (value is None)
        else:
            assert two[key] == pytest.approx(value, rel=1e-4, abs=1e-4), key


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored, count = Trials.score, 0

    def stop(self: Trials, *a: object, **k: object) -> object:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        return scored(self, *a, **k)  # type: ignore[arg-type]

    monkeypatch.setattr(Trials, "score", stop)
    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path)
    assert len(list((tmp_path / "parts").glob("*.npz"))) == 5
    count = -1000
    run(made, tmp_path)
    assert count == -1000 + len(list_of_jobs(made)) - 5
    assert not (tmp_path / "parts").exists()


def list_of_jobs(made: dict[str, Path]) -> list[str]:
    """Answers that need a scoring of their own: rivals without IMUs and the truth answer once."""
    ours = [job.name for job in evaluate.jobs_of(evaluate.networks(made["model"]), ["consumer"])]
    once = ["truth", *baselines.SAME]
    return ours + once + [f"{m}.{each}" for m in baselines.METHODS if m not in once for each in columns.MASKS]


def test_bad_requests_are_named(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="evaluation.noise names 'harsh'"):
        run(made, tmp_path, noise=["harsh"])
    empty = {**made, "features": small_motion.folder(tmp_path / "none", test=0)}
    with pytest.raises(BadData, match="no clip of the split `test`"):
        run(empty, tmp_path)


def test_fewer_clips_are_spread_over_sources(made: dict[str, Path]) -> None:
    chosen = Trials.open(made["features"], 1, 100).clips
    assert sorted(c.source for c in chosen) == ["generated", "real"]


def test_streams_equal_whole_clips_and_sensors_come_and_go(made: dict[str, Path]) -> None:
    tests, network = Trials.open(made["features"], 0, 1000), train.load_network(made["model"])
    rows = streaming.stream(tests, 130)
    assert rows.shape == (130, 135)
    found = streaming.differences(network, made["model"] / "predictor" / "step.onnx", rows, [1, 7, 40])
    assert set(found) == {"1", "7", "40", "step", "onnx"} and max(found.values()) < 1e-4
    switched = streaming.switching(network, tests, tests.read(tests.clips))
    assert switched.finite and switched.jump > 0
    for error, lost, back in zip(switched.error, switched.lost, switched.back, strict=True):
        assert 0 < lost < back < len(error)


def test_every_form_of_the_step_and_every_network_is_measured(made: dict[str, Path]) -> None:
    rows = tables.read(made["evaluation"] / "metrics.parquet").to_pylist()
    live = json.loads((made["evaluation"] / "summary.json").read_text())["streaming"]
    for step in ("torch", "fp32", "int8"):
        mine = {r["metric"]: r for r in rows if r["slice"] == f"step={step}"}
        assert {name: r["value"] for name, r in mine.items()} == {f"parity_{name}": live["steps"][step][name] for name in evaluate.PARITY}
        assert {name for name, r in mine.items() if r["timing"]} == {"parity_p50", "parity_p95"}
    costs = {r["variant"]: r for r in rows if r["metric"] == "network_ms"}
    assert set(costs) == {"", *VARIANTS} and all(r["value"] > 0 and r["timing"] and r["seed"] == 0 for r in costs.values())
    assert costs[""]["value"] == costs["reference"]["value"] == costs["only_hmd"]["value"]


def test_kept_clips_are_true_to_a_millimetre(made: dict[str, Path]) -> None:
    tests = Trials.open(made["features"], 0, 1000)
    found = list(shown.read(made["evaluation"]))
    assert 0 < len(found) <= BLOCK.shown and found[0].why == "best real clip"
    by_id = {clip.id: clip for clip in tests.clips}
    for one in found:
        assert list(one.tracks) == ["truth", *(f"ours/{each}" for each in columns.MASKS), "ridge_yaw/hmd"]
        true = tests.read([by_id[one.id]]).true.positions
        moved = one.tracks["truth"] - true
        np.testing.assert_allclose(moved, np.broadcast_to(moved[0, 0], moved.shape), atol=1.1e-3)
        np.testing.assert_allclose(one.tracks["ours/hmd"][:, 15], one.tracks["truth"][:, 15], atol=1.1e-3)


def test_choice_of_clips_names_best_median_worst_and_other_kinds() -> None:
    clips = [small_motion.a_clip(i, label="walk" if i < 5 else "kick", source="real") for i in range(7)]
    chosen = shown.choose(clips, np.array([3.0, 1.0, 2.0, 9.0, 5.0, 4.0, 4.5]), 5)
    assert chosen == [(1, "best real clip"), (5, "median real clip"), (3, "worst real clip")]


def page_of(made: dict[str, Path], block: config.Report | None = None) -> str:
    manifests = {"model": {"block": {"hidden": 24}, "seconds": 3.5, "key": "abc", "digest": "def", "code": "123"}}
    report.run(made, block or config.Report(3, 2, 3), made["report"], {"manifests": manifests, "versions": {"numpy": "2"}}, Progress())
    return (made["report"] / "report.html").read_text()


@pytest.fixture(scope="module")
def html(made: dict[str, Path]) -> str:
    return page_of(made)


def test_report_has_its_parts_and_plays_offline(made: dict[str, Path], html: str) -> None:
    heads = re.findall(r"<h2>([^<]+)</h2>", html)
    assert heads == ["Verdict", "Claims", "Numbers", "Pictures", "How it works", "Data", "Cost", "Provenance"]
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", html)
    assert "https://" not in html and "http://" not in html
    packed = json.loads(
        re.search(r'data-motion="([^"]+)"', html).group(1).replace("&quot;", '"').replace("&#x27;", "'").replace("&amp;", "&")
    )  # type: ignore[union-attr]
    first = next(shown.read(made["evaluation"]))
    joints = np.frombuffer(base64.b64decode(packed["clips"][0]["tracks"]["ours/hmd"]), "<i2").reshape(-1, 22, 3) * packed["unit"]
    np.testing.assert_allclose(joints, first.tracks["ours/hmd"][::2], atol=1.1e-3)
    assert packed["rate"] == 30 and len(packed["clips"]) == 3
    for path in made["report"].glob("figures/*.png"):
        assert path.read_bytes()[:4] == b"\x89PNG"


def test_report_numbers_are_the_evaluations(made: dict[str, Path], html: str) -> None:
    headline = json.loads((made["evaluation"] / "summary.json").read_text())["headline"]
    assert f"{headline['value']:.2f} cm off" in html
    assert html.count('class="badge fails"') + html.count('class="badge holds"') + html.count('class="badge not_judged"') >= len(claims.IDS)


def test_report_tells_what_8_bits_and_each_network_cost(made: dict[str, Path], html: str) -> None:
    steps = json.loads((made["evaluation"] / "summary.json").read_text())["streaming"]["steps"]
    assert all(f"<td>{words}</td>" in html or words in html for words in ("ONNX, int8", "ONNX, fp32", "PyTorch"))
    share = 100 * steps["int8"]["mb"] / steps["fp32"]["mb"]
    assert f"{share:.0f} % of the file" in html
    assert (made["report"] / "figures" / "costs.png").is_file()
    found = report.Evaluation.read(made["evaluation"])
    drawn = {each: {name.partition(",")[0] for name in report._costs(found, each)} for each in columns.MASKS}
    assert drawn == {"hmd": {"full", *VARIANTS}, **{each: {"full", "reference", "one_lstm"} for each in ("hmd_2imus", "hmd_3imus")}}


def test_only_what_nothing_beats_is_on_the_edge(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"full, 1 M": (2.0, (5.0, 4.0, 6.0)), "same, 1 M": (2.0, (5.1, 4.0, 6.0)), "fast, 1 M": (1.0, (9.0, 8.0, 10.0))}
    monkeypatch.setattr(report, "_costs", lambda found, sensors: points | {"slow, 1 M": (3.0, (9.0, 8.0, 10.0))})
    told = report._edge(report.Evaluation.read(made["evaluation"]))
    assert told.count(": full (2.00 ms, 5.00 cm), fast (1.00 ms, 9.00 cm)") == 3 and "compare them with `reference`" in told


@pytest.mark.slow
def test_report_of_one_source_and_no_noise(made: dict[str, Path], tmp_path: Path) -> None:
    small = {
        **made,
        "features": small_motion.folder(tmp_path / "features", test=1),
        "evaluation": tmp_path / "evaluation",
        "report": tmp_path / "r",
    }
    for name in ("evaluation", "report"):
        small[name].mkdir()
    run(small, small["evaluation"], noise=[], shown=0)
    assert 'class="player"' not in page_of(small) and "<script>" not in page_of(small)


def test_the_champion_is_scored_as_ours_is(made: dict[str, Path], tmp_path: Path) -> None:
    inputs = {name: made[name] for name in ("dataset", "features", "model", "evaluation")}
    found = rescore.rescore(made["model"] / "predictor", inputs, tmp_path, metrics.HEADLINE[0], ABOUT, tmp_path, Progress())
    rows = tables.read(made["evaluation"] / "metrics.parquet").to_pylist()
    mine = next(
        r["value"] for r in rows if (r["method"], r["variant"], r["seed"], r["slice"], r["metric"]) == ("ours", "", 0, "all", "mpjpe")
    )
    assert found.value == pytest.approx(mine, rel=1e-4)
    champion = tables.read(tmp_path / "metrics.parquet").to_pylist()
    assert {r["method"] for r in champion} == {"champion"}
    assert found.drift.name == "drift"


def test_motion_without_frames_of_a_kind_is_no_crash(made: dict[str, Path]) -> None:
    tests = Trials.open(made["features"], 0, 1000)
    still = tests.score(lambda group: Motion(group.true.local, group.true.positions))
    assert np.nanmax(still.clips["mpjpe"]) == 0.0


def test_an_evaluation_without_a_full_network_is_refused(tmp_path: Path, made: dict[str, Path]) -> None:
    shutil.copytree(made["model"], tmp_path / "model")
    (tmp_path / "model" / "model.json").write_text(json.dumps({"networks": [{"variant": "one_lstm", "seed": 0}]}))
    with pytest.raises(UsageError, match="no network without variant"):
        evaluate.networks(tmp_path / "model")


def test_the_example_request_is_answered(made: dict[str, Path], tmp_path: Path) -> None:
    files, dataset = small_amass.folder(tmp_path / "files"), tmp_path / "dataset"
    dataset.mkdir()
    found = survey.survey(files, small_amass.BLOCK, Progress())
    tables.write(pa.Table.from_pylist(found.samples, schema=SAMPLES_SCHEMA), dataset / "samples.parquet")
    atomic.write_json(dataset / READ_AS, {"read": asdict(small_amass.BLOCK), "counts": found.counts()})
    frame = rescore.example(dataset, files)
    answer = Predictor.load(made["model"] / "predictor").predict(frame, rescore.PARAMS)
    assert len(answer) == len(frame) and np.isfinite(answer.select_dtypes("number").to_numpy()).all()

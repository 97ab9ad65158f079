"""Prediction from a folder: tables, COLMAP projects and photographs in, K or a plain statement out; every bad input has its answer."""

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from autocalibration import fake_solver
from autocalibration.small_scenes import Scene, scene
from PIL import Image

from tenfold.autocalibration import colmap_db, config, estimate, evaluate, features, geometry, predict, predictor_folder, scenes
from tenfold.autocalibration.predict import Predictor
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.progress import Progress

MODEL = config.Model(
    solvers=["focal"], degrees=[], seeds=[0], stale=1, candidates=1, validation=1, samples=4, threshold_px=2.0, triplets=4, stored={}
)
SIZE = {"width": 640, "height": 480}
SCENES: list[Scene] = []


@pytest.fixture(autouse=True)
def truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake solver for the scenes in SCENES, found by their points, moved back by the distortion they may have lost."""
    SCENES.clear()

    def solve(x, start, *, principal, size):  # type: ignore[no-untyped-def]
        def off(made: Scene, view: int, points: np.ndarray) -> float:
            return float(np.abs(made.x[view][:, None] - points).sum(axis=2).min(axis=0).max())

        made = min(SCENES, key=lambda each: min(off(each, view, x[0, 0]) for view in range(len(each.x))))
        views = [int(np.argmin([off(made, v, x[0, i]) for v in range(len(made.x))])) for i in range(x.shape[1])]
        part = fake_solver.solver(made.k, made.R[views], made.t[views], made.X, made.x[views])
        return part(x, start, principal=principal, size=size)

    monkeypatch.setattr(estimate, "solve_of", lambda name: solve)


def table(made: Scene, name: str = "a", **columns: object) -> pd.DataFrame:
    SCENES.append(made)
    view, track = np.divmod(np.arange(made.x.shape[0] * made.x.shape[1]), made.x.shape[1])
    points = made.x.reshape(-1, 2)
    return pd.DataFrame({"scene": name, "track_id": track, "view_id": view, "x": points[:, 0], "y": points[:, 1], **columns})


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    predictor_folder.write(tmp_path / "predictor", {"focal": fake_solver.start()}, MODEL)
    return Predictor.load(tmp_path / "predictor")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    return parser.parse_args(words)


def test_one_row_a_scene(predictor: Predictor) -> None:
    frame = pd.concat([table(scene(0, points=70, noise=0.3), "b"), table(scene(1, "rotation", points=60), "a")])
    result = predictor.predict(frame, SIZE)
    assert list(result.columns) == list(predict.COLUMNS) and list(result["scene"]) == ["a", "b"]
    turned, good = result.to_dict("records")
    assert good["answer"] and good["fx"] == pytest.approx(700, rel=0.03) and 0 < good["sd_fx"] < 50 and good["cx"] == 320
    assert len(json.loads(good["triplets"])) == 1 and good["triplet"] == "0-1-2"
    assert not turned["answer"] and np.isnan(turned["fx"]) and turned["status"] == "degenerate_rotation"


def test_order_of_rows_does_not_matter(predictor: Predictor) -> None:
    frame = table(scene(2, points=60, noise=0.5))
    one = predictor.predict(frame, SIZE)
    two = predictor.predict(frame.sample(frac=1.0, random_state=0), SIZE)
    assert one.drop(columns="cpu_s").equals(two.drop(columns="cpu_s"))


def test_cameras_are_kept_apart(predictor: Predictor) -> None:
    made = scene(3, points=60, views=4)
    frame = table(made)
    frame["camera"] = np.where(frame["view_id"] < 3, "front", "back")
    result = predictor.predict(frame, SIZE).to_dict("records")
    assert [row["camera"] for row in result] == ["back", "front"]
    assert not result[0]["answer"] and "3 views" in result[0]["reason"] and result[1]["answer"]


def test_bad_points_are_dropped_and_said(predictor: Predictor) -> None:
    frame = table(scene(4, points=80))
    frame.loc[frame["track_id"] < 5, "x"] = np.nan
    frame.loc[frame["track_id"] == 6, "y"] = 1e5
    result = predictor.predict(pd.concat([frame, frame[frame["track_id"] == 9]]), SIZE).iloc[0]
    assert result["answer"] and result["fx"] == pytest.approx(700, rel=1e-4)
    assert "15 observations without a number" in result["reason"] and "far outside" in result["reason"] and "twice" in result["reason"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.drop(columns="y"), "no column `y`"),
        (lambda frame: frame.iloc[:0], "no rows"),
        (lambda frame: frame.assign(x=frame["x"].astype(object).where(frame.index != 3, "left")), "row 3"),
        (lambda frame: frame.assign(view_id=frame["view_id"].where(frame.index != 4)), "row 4"),
        (lambda frame: frame.assign(width=np.arange(len(frame)), height=480), "several values"),
    ],
)
def test_unreadable_requests(predictor: Predictor, change, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadData, match=says):
        predictor.predict(change(table(scene(5, points=20))), SIZE)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 640}, "height"),
        ({**SIZE, "assume": "focl"}, "focal"),
        ({**SIZE, "assume": "full"}, "no start system"),
        ({**SIZE, "treshold_px": 1.0}, "threshold_px"),
        ({**SIZE, "principal_point": "3"}, "two numbers"),
        ({**SIZE, "principal_point": "5000,3"}, "far outside"),
        ({**SIZE, "undistort": "a,b"}, "two numbers"),
        ({**SIZE, "max_seconds": -1}, "not negative"),
        ({**SIZE, "threshold_px": float("nan")}, "not negative"),
    ],
)
def test_wrong_parameters(predictor: Predictor, options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        predictor.predict(table(scene(5, points=20)), options)


def test_too_few_views_and_points(predictor: Predictor) -> None:
    frame = table(scene(6, points=40))
    two = predictor.predict(frame[frame["view_id"] < 2], SIZE).iloc[0]
    assert not two["answer"] and two["status"] == "too_few" and "3 views" in two["reason"]
    few = predictor.predict(frame[frame["track_id"] < 6], SIZE).iloc[0]
    assert not few["answer"] and few["status"] == "too_few" and few["reason"]


def test_distortion_that_is_given_is_taken_off(predictor: Predictor) -> None:
    frame = table(scene(7, points=120, k1=-0.15, noise=0.3))
    plain = predictor.predict(frame, {**SIZE, "undistort": "none"}).iloc[0]
    undistorted = predictor.predict(frame, {**SIZE, "undistort": "-0.15,0"}).iloc[0]
    assert abs(undistorted["fx"] - 700) < 0.02 * 700 < abs(plain["fx"] - 700)
    assert "distortion_suspected" in plain["reason"] and "distortion_suspected" not in undistorted["reason"]
    assert (undistorted["k1"], undistorted["sd_k1"], plain["k1"]) == (-0.15, 0, 0)


@pytest.mark.parametrize("k1", [-0.15, -0.05, 0.06])
def test_distortion_is_estimated_and_taken_off_by_itself(predictor: Predictor, tmp_path: Path, k1: float) -> None:
    result = predictor.predict(table(scene(7, points=120, k1=k1, noise=0.3)), SIZE)
    row = result.iloc[0]
    assert abs(row["fx"] - 700) < 3 * row["sd_fx"] < 0.05 * 700 and abs(row["k1"] - k1) < 4 * row["sd_k1"] < 0.05
    assert "taken off (without that f =" in row["reason"] and "distortion_suspected" not in row["reason"]
    predict.write(result, ["a"], tmp_path)
    assert (tmp_path / "a" / "cameras.txt").read_text().splitlines()[1].startswith("1 SIMPLE_RADIAL 640 480 ")
    assert json.loads((tmp_path / "a" / "K.json").read_text())["radial"]["k1"] == row["k1"]


def test_without_distortion_none_is_taken_off(predictor: Predictor) -> None:
    for seed in (7, 8, 9):
        frame = table(scene(seed, points=120, noise=0.5, outliers=0.2))
        auto, none = (predictor.predict(frame, {**SIZE, "undistort": each}) for each in ("auto", "none"))
        assert auto.drop(columns="cpu_s").equals(none.drop(columns="cpu_s")) and auto["k1"].iloc[0] == 0


def collinear() -> Scene:
    made = scene(10, points=60)
    X = made.X[0] + np.linspace(-1, 1, 60)[:, None] * np.array([1.0, 0.4, 0.3])
    return replace(made, X=X, x=geometry.project(made.k, made.R, made.t, X))


def swapped(made: Scene) -> Scene:
    x = made.x.copy()
    x[1] = x[1][np.random.default_rng(0).permutation(len(made.X))]
    return replace(made, x=x)


def coincident(made: Scene) -> Scene:
    return replace(made, x=np.repeat(made.x[:1], 3, axis=0))


def wild(made: Scene, share: float) -> Scene:
    """That share of tracks with an accidental point in each of two views."""
    rng, x = np.random.default_rng(1), made.x.copy()
    wrong = rng.random(len(made.X)) < share
    x[1:, wrong] = rng.uniform(0, 1, (2, wrong.sum(), 2)) * (640, 480)
    return replace(made, x=x)


@pytest.mark.parametrize(
    ("made", "statuses", "says"),
    [
        (lambda: scene(10, "rotation", points=60, noise=0.3), {"degenerate_rotation"}, "did not move from its place"),
        (lambda: coincident(scene(10, points=60)), {"degenerate_rotation"}, "did not move from its place"),
        (lambda: scene(10, "translation", points=60, noise=0.3), {"degenerate_translation"}, "turn the camera"),
        (lambda: scene(10, "planar", points=60, noise=0.3), {"degenerate_planar"}, "flat scene"),
        (collinear, {"degenerate_planar", "no_solution", "too_few"}, ""),
        (lambda: swapped(scene(10, points=60)), {"too_few", "no_solution", "low_confidence"}, ""),
        (lambda: wild(scene(10, points=60), 1.0), {"too_few", "no_solution", "low_confidence"}, ""),
    ],
    ids=["rotation", "coincident centres", "translation", "plane", "collinear points", "swapped", "noise alone"],
)
def test_views_without_an_answer_get_a_plain_statement(predictor: Predictor, tmp_path: Path, made, statuses: set[str], says: str) -> None:  # type: ignore[no-untyped-def]
    result = predictor.predict(table(made()), SIZE)
    row = result.iloc[0]
    assert not row["answer"] and np.isnan(row[["fx", "sd_fx", "cx"]].to_numpy(dtype=float)).all()
    assert row["status"] in statuses and row["reason"].rstrip(".").count(" ") > 4 and says in row["reason"]
    assert "a: no calibration. " in predict.write(result, ["a"], tmp_path) and not (tmp_path / "a" / "cameras.txt").exists()


def test_an_orbit_is_answered_and_said(predictor: Predictor) -> None:
    row = predictor.predict(table(scene(11, "orbit", points=100, noise=0.3)), SIZE).iloc[0]
    assert row["answer"] and abs(row["fx"] - 700) < 4 * row["sd_fx"] < 0.2 * 700 and "degenerate_orbit" in row["reason"]


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_wrong_matches_make_no_wrong_camera(predictor: Predictor, share: float) -> None:
    row = predictor.predict(table(wild(scene(12, points=200, noise=0.3), share)), SIZE).iloc[0]
    assert row["answer"] or row["reason"]
    assert not row["answer"] or abs(row["fx"] - 700) < 5 * row["sd_fx"] < 0.25 * 700
    assert row["answer"] or share > 0.5


def test_a_wrong_image_size_is_seen_in_the_points(predictor: Predictor) -> None:
    row = predictor.predict(table(scene(13, points=60)), {"width": 64, "height": 48}).iloc[0]
    assert not row["answer"] and "far outside the image" in row["reason"]


def test_noise_beyond_the_threshold_is_no_certain_answer(predictor: Predictor) -> None:
    """As large as the threshold, the noise is cut in two by it, and the uncertainty with it: a wider one answers, and says so."""
    frame = table(scene(14, points=150, noise=2.0))
    strict = predictor.predict(frame, {**SIZE, "threshold_px": 2.0}).iloc[0]
    assert not strict["answer"] and strict["status"] == "low_confidence" and "raise the threshold" in strict["reason"]
    wide = predictor.predict(frame, SIZE).iloc[0]
    assert wide["answer"] and abs(wide["fx"] - 700) < 4 * wide["sd_fx"] and "raised to 4 px" in wide["reason"]


@pytest.mark.parametrize(("noise", "says"), [(0.5, ""), (2.0, "raised to 4 px"), (4.0, "nor is there an answer at 4 px")])
def test_an_evaluation_answers_or_refuses_as_a_prediction_does(predictor: Predictor, tmp_path: Path, noise: float, says: str) -> None:
    made = scene(15, points=150, noise=noise)
    frame = table(made)
    row = predictor.predict(frame, SIZE).iloc[0]
    observations, _ = features.clean(*(frame[name].to_numpy() for name in ("track_id", "view_id")), frame[["x", "y"]].to_numpy())
    given = features.verified("a", observations, config.Features(2.0, 4096, 15, 0))
    start = tmp_path / "predictor" / "focal.npz"
    task = evaluate.Task(
        given, "focal", start, 0, (640, 480), (320.0, 240.0), {}, MODEL.samples, MODEL.threshold_px, MODEL.triplets, "ours"
    )
    own = evaluate.rows_of(task)[-1]
    assert (row["status"], row["reason"], row["inliers"]) == (own["status"], own["reason"], own["inliers"])
    assert row["answer"] == (own["status"] == "ok") == (noise < 4) and says in row["reason"]
    assert not row["answer"] or (row["fx"], row["sd_fx"]) == (own["fx"], own["sd_f"])


def test_results_are_written(predictor: Predictor, tmp_path: Path) -> None:
    frame = pd.concat([table(scene(8, points=60), "../b"), table(scene(9, "planar", points=60, noise=0.3), "a")])
    out = tmp_path / "out"
    result = predictor.predict(frame, SIZE)
    said = predict.write(result, ["a", "../b"], out)
    assert "a: no calibration. One plane" in said and "../b: f = 700.0" in said
    document = json.loads((out / "_b" / "K.json").read_text())
    assert np.array(document["K"])[0, 0] == pytest.approx(700) and document["triplets"][0]["status"] == "ok"
    assert (out / "_b" / "cameras.txt").read_text().splitlines()[1].startswith("1 SIMPLE_PINHOLE 640 480 700.0")
    assert json.loads((out / "a" / "K.json").read_text())["K"] is None and not (out / "a" / "cameras.txt").exists()
    with (out / "results.csv").open() as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["ok", "degenerate_planar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "predictor"]


def project(folder: Path) -> scenes.Synthetic:
    made = scenes.generate(scenes.SceneSpec(0, "general", 80, 3, 640, 480, (600.0, 600.0, 320.0, 240.0, 0.0), 0.3, 0.1))
    scenes.write_colmap(made, folder)
    SCENES.append(Scene(np.array(made.spec.k), made.R, made.t, made.X, made.x, ~made.inlier.all(axis=0)))
    return made


def test_colmap_database_and_its_copy(predictor: Predictor, tmp_path: Path) -> None:
    project(tmp_path / "house")
    database, copy = tmp_path / "house" / "database.db", tmp_path / "prior.db"
    frame, names = predict.read_inputs(arguments("--colmap", str(database), "--write-colmap", str(copy), "--principal", "320,240"))
    assert names == ["house"] and frame.attrs["principal_point"] == "320,240"
    said = predict.write(predictor.predict(frame), names, tmp_path / "out")
    assert "1 calibrated of 1 cameras" in said
    assert colmap_db.read(copy).cameras[1].params[0] == pytest.approx(600, rel=0.05)


def test_sparse_model(predictor: Predictor, tmp_path: Path) -> None:
    project(tmp_path / "house")
    frame, names = predict.read_inputs(arguments(str(tmp_path / "house" / "sparse" / "0")))
    assert names == ["house"] and len(frame) > 100 and set(frame["view_id"]) == {"000.png", "001.png", "002.png"}


def test_matching_photographs_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{number}.png")
    told: list[Progress | None] = []

    def matched(photographs, block, scratch, progress=None):  # type: ignore[no-untyped-def]
        told.append(progress)
        return features.Observations.of(np.arange(3) % 1, np.arange(3), np.full((3, 2), 20.0)), ""

    monkeypatch.setattr(features, "from_photographs", matched)
    args = arguments("--images", str(tmp_path))
    predict.read_inputs(args)
    args.progress = Progress()
    predict.read_inputs(args)
    assert told == [None, args.progress]


def test_wrong_inputs(tmp_path: Path) -> None:
    project(tmp_path / "house")
    database = tmp_path / "house" / "database.db"
    (tmp_path / "cut.db").write_bytes(database.read_bytes()[:6000])
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "empty").mkdir()
    for words, error, says in (
        ([], UsageError, "name a folder"),
        (["--colmap", str(tmp_path / "cut.db")], BadData, "cut.db"),
        (["--colmap", str(tmp_path / "text.db")], BadData, "text.db"),
        (["--colmap", str(tmp_path / "none.db")], BadData, "missing"),
        (["--images", str(tmp_path / "empty")], BadData, "0 photographs"),
        (["--images", str(tmp_path / "nowhere")], BadData, "no folder"),
        (["--images", str(tmp_path / "empty"), "--write-colmap", "x.db"], UsageError, "exactly one"),
        (["--colmap", str(database), "--write-colmap", str(database)], UsageError, "already"),
    ):
        with pytest.raises(error, match=says):
            predict.read_inputs(arguments(*words))


def test_folder_of_a_predictor(tmp_path: Path, predictor: Predictor) -> None:
    assert predictor.serving.samples == 4 and list(predictor.systems) == ["focal"]
    with pytest.raises(BadData, match="no predictor"):
        Predictor.load(tmp_path)
    folder = tmp_path / "predictor"
    content = (folder / "predictor.json").read_text()
    (folder / "predictor.json").write_text(content[:40])
    with pytest.raises(Corrupt):
        Predictor.load(folder)
    (folder / "predictor.json").write_text(content.replace('"format": 1', '"format": 9'))
    with pytest.raises(BadData, match="format 9"):
        Predictor.load(folder)
    (folder / "predictor.json").write_text(content)
    (folder / "focal.npz").unlink()
    with pytest.raises(Corrupt, match="focal.npz"):
        Predictor.load(folder)
    with pytest.raises(UsageError):
        predictor_folder.write(tmp_path / "other", {}, MODEL)


def test_nothing_heavy_is_loaded_with_the_module() -> None:
    import subprocess
    import sys

    code = "import sys, tenfold.autocalibration.predict; print([m for m in ('numba', 'poselib', 'pycolmap', 'torch', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

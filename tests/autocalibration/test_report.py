"""The page of made-up evaluations: all parts, in order, self-contained, escaped, small."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from autocalibration.evaluation_tables import FOCAL, IDENTITY, calib, calib_row, made_up, photographs
from autocalibration.small_scenes import CAMERA, scene
from PIL import Image

from tenfold.autocalibration import claims, config, features, metrics, report
from tenfold.core import claims as core_claims
from tenfold.core import metrics as core
from tenfold.core import tables
from tenfold.core.metrics import Subject
from tenfold.core.progress import Progress

PROVENANCE = {
    "paper": "autocalibration",
    "git commit": "abc <script>",
    "versions": {"numba": "0"},
    "manifests": {"model": {"key": "k" * 16, "digest": "d" * 64, "code": "c" * 64, "seconds": 12.5, "block": {"seeds": [0, 1, 2]}}},
}
PARTS = ["Verdict", "Claims", "Numbers", "Pictures", "How it works", "Data", "Cost", "Provenance"]


FEATURES = config.Features(threshold_px=2.0, max_keypoints=100, min_matches=12, seed=0)


def real(name: str) -> bool:
    """Scenes whose tracks are those of a camera of the focal length that is answered; the others' are random."""
    return name.startswith(("general_0.5_0_00", "villa"))


def folders(root: Path, views: pa.Table, rows: pa.Table) -> dict[str, Path]:
    """Folders of all assets as the stages would leave them, without the work."""
    found = {name: root / name for name in ("dataset", "features", "taxonomy", "model", "baselines", "evaluation")}
    tables.write(views, found["dataset"] / "samples.parquet")
    set_aside = pa.table({"id": ["bad/0"], "reason": ["truncated"], "detail": ["cut <off> at byte 12"]})
    tables.write(set_aside, found["dataset"] / "quarantine.parquet")
    names = sorted(set(views["scene"].to_pylist()))
    rng = np.random.default_rng(0)
    seen = {s: scene(3, points=60, k=CAMERA * [FOCAL / CAMERA[0], FOCAL / CAMERA[1], 1, 1, 1], noise=0.3).x for s in names if real(s)}
    seen |= {s: np.stack([rng.uniform(20, 600, (3, 60)), rng.uniform(20, 460, (3, 60))], axis=-1) for s in names[:3] if s not in seen}
    points = [
        {"scene": s, "track": t, "view": v, "x": x[v, t, 0], "y": x[v, t, 1]} for s, x in seen.items() for t in range(60) for v in range(3)
    ]
    tables.write(pa.Table.from_pylist(points), found["features"] / "tracks.parquet")
    pairs = []
    for s, x in seen.items():
        observations = features.Observations({v: np.arange(60) for v in range(3)}, dict(enumerate(x)))
        pairs += features._tables(features.verified(s, observations, FEATURES), "file")["pairs"].to_pylist()
    tables.write(pa.Table.from_pylist(pairs, features.PAIRS), found["features"] / "pairs.parquet")
    scenes = [{"scene": s, "status": "ok", "detail": "3 observations outside <b>" if s == names[0] else ""} for s in names]
    tables.write(pa.Table.from_pylist(scenes), found["features"] / "scenes.parquet")
    problems = [
        {"problem": p, "views": int(p[0]), "points": int(p[2]), "kind": "f", "excess": 0, **v} for p, v in metrics.TABLE_2_3.items()
    ]
    problems = [{"nonsingular": 0, **row} for row in problems if row["problem"] != "3V6P-full"]
    tables.write(pa.Table.from_pylist(problems), found["taxonomy"] / "problems.parquet")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle cx="4" cy="4" r="3"/></svg>'
    (found["taxonomy"] / "graphs.svg").write_text(svg)
    degrees = [{"problem": "2V5P", "orbit": 0, "seed": s, "solutions": 20} for s in range(3)]
    growth = {p: {"0": {str(s): [1, 8 + s, 18, 20, 20] for s in range(3)}} for p in ("2V5P", "2V6P-f")}
    found["model"].mkdir()
    (found["model"] / "growth.json").write_text(json.dumps(growth))
    known = metrics.scenes_of(views)
    numbers = metrics.measure(rows.to_pylist(), known, IDENTITY, 50)
    numbers += metrics.taxonomy_rows(problems, Subject(IDENTITY, "ours")) + metrics.degree_rows(degrees, IDENTITY)
    for method, error in (("colmap", 0.5), ("ours", 0.01)):
        for prior in ("prior=0.3", "prior=3"):
            subject = Subject(IDENTITY, method, prior)
            numbers += [subject.row("colmap_focal_error", error, 1, "down"), subject.row("registered", 1.0, 1, "up")]
    table = core.to_table(numbers)
    tables.write(rows, found["evaluation"] / "calib.parquet")
    tables.write(table, found["evaluation"] / "metrics.parquet")
    core_claims.write(claims.judge(table), found["evaluation"] / "claims.json")
    head = claims.Numbers(table.to_pylist())
    headline = {
        "metric": "focal_error", "better": "down", "seeds": 1, "scenes": 48, "reason": "",
        **{c: head.get("ours", "focal_error", column=c) for c in ("value", "lo", "hi")},
    }  # fmt: skip
    exact = {"found": [True] * 9 + [False], "lost": [0.01] * 10, "cpu_s": [0.1] * 10, "solves": [430.0 + i for i in range(10)]}
    summary = {
        "headline": headline, "options": {"assume": "focal", "note": "<i>"}, "exact": {"ours": {**exact, "real": list(range(90, 100)), "physical": [3] * 10}},
        "degrees": {"focal": 668}, "seconds": 30.0, "cpu_seconds": 55.0, "peak_rss_bytes": 3e8, "processes": 2,
    }  # fmt: skip
    (found["evaluation"] / "summary.json").write_text(json.dumps(summary))
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    (out / "figures").mkdir()
    (out / "figures" / "stale.png").write_bytes(b"of an attempt that was cut off")
    made = report.run(folders(out / "in", *made_up(scenes=10)), config.Report(gallery=1, tracks=40), out, PROVENANCE, Progress())
    assert made.notes[0].label == "Verdict"
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("photos")
    views, rows = photographs()
    for v in range(3):
        Image.fromarray(np.full((480, 640, 3), 90 + 20 * v, np.uint8)).save(out / f"{v}.png")
    paths = pa.array([f"{v}.png" for v in views["view"].to_pylist()])
    views = views.set_column(views.schema.get_field_index("image_path"), "image_path", paths)
    focals = pa.array([FOCAL + v for v in views["view"].to_pylist()])
    views = views.set_column(views.schema.get_field_index("ref_fx"), "ref_fx", focals)
    report.run(folders(out / "in", views, rows), config.Report(gallery=1, tracks=40), out, PROVENANCE, Progress(), files=out)
    return out


def text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("which", ["demo", "photos"])
def test_parts_stand_in_their_order_and_nothing_leaves_the_page(which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    page = text(folder)
    assert re.findall(r"<h2>([^<]+)</h2>", page) == PARTS
    assert not re.search(r"""(?:src|href)=["'](?!data:image/|#)""", page)
    assert "abc &lt;script&gt;" in page and "cut &lt;off&gt; at byte 12" in page and "&lt;i&gt;" in page and "&lt;b&gt;" in page
    assert "<script" not in page
    assert (folder / "report.html").stat().st_size < 4e6


def test_made_up_scenes(demo: Path) -> None:
    page = text(demo)
    for word in (
        "Bougnoux", "6 points", "general, 0.5 px", "orbit, 0.5 px, distance jittered by 5 %", "degenerate_rotation",
        "a homography explains 99 %", "Catalogue of problems", "3V5P-zeroskew", "Number of solutions by monodromy", "20, 20, 20", "COLMAP from a wrong prior",
        "data:image/svg+xml", "recalled", "CPU s a scene", "focal: 668 paths", "linear solves a path", "below the best rival",
    ):  # fmt: skip
        assert word in page, word
    assert {p.stem for p in (demo / "figures").glob("*.png")} == {"noise", "cost", "jitter", "counts", "growth", "reprojections"}


def test_photographs_are_shown_with_tracks_and_triplets(photos: Path) -> None:
    page = text(photos)
    for word in ("Photographs of villa", "view 2:", "triplet by triplet", "distortion_suspected", "low_confidence", "2-3-4", "merged"):
        assert word in page, word
    assert {p.stem for p in (photos / "figures").glob("*.png")} == {"triplets", "counts", "growth", "cost", "reprojections"}
    assert page.count("data:image/jpeg") == 3


def test_reprojections_are_those_of_one_scene_a_kind(demo: Path, photos: Path) -> None:
    for folder, files, names in ((demo, None, ["general_0.5_0_00"]), (photos, photos, ["villa", "villa_raw"])):
        found = report.Evaluation.read(folder / "in" / "evaluation", folder / "in" / "dataset")
        rows = report._reprojections(found, {p.name: p for p in (folder / "in").iterdir()}, files)
        # of the orbit no poses fit: its tracks are random
        assert [row[0].title.partition(",")[0] for row in rows] == names
        for row in rows:
            assert [panel.title.partition(", ")[2][:6] for panel in row] == ["view 0", "view 1", "view 2"]
            assert all(len(panel.observed) == 60 and (panel.image is not None) == bool(files) for panel in row)
        assert all(0.05 < np.sqrt(np.mean(panel.errors**2)) < 0.6 for panel in rows[0])


def test_verdict_says_who_is_better(demo: Path) -> None:
    found = report.Evaluation.read(demo / "in" / "evaluation", demo / "in" / "dataset")
    said = report.sentence(found)
    assert "48 scenes" in said and "95 % interval" in said and "judged claims hold" in said


def test_nothing_measured_still_gives_a_page(tmp_path: Path) -> None:
    views, _ = made_up(scenes=1, noises=(0.5,))
    name = views["scene"].to_pylist()[0]
    failed = {"fx": None, "fy": None, "sd_f": None, "status": "too_few", "reason": "5 <tracks>", "cpu_s": None, "hypotheses": 0}
    found = folders(tmp_path / "in", views, calib([calib_row(name, "ours", 0.0, **failed)]))
    summary = json.loads((found["evaluation"] / "summary.json").read_text())
    summary["headline"] |= {"value": None, "lo": None, "hi": None, "reason": "no scene has a reference focal length"}
    (found["evaluation"] / "summary.json").write_text(json.dumps(summary))
    report.run(found, config.Report(gallery=0, tracks=0), tmp_path, {}, Progress())
    page = text(tmp_path)
    assert re.findall(r"<h2>([^<]+)</h2>", page) == PARTS and "5 &lt;tracks&gt;" in page and "could not be measured" in page


def test_growth_shows_the_first_relaxation_with_a_line_a_seed(tmp_path: Path) -> None:
    (tmp_path / "growth.json").write_text(json.dumps({"a": {"10": {"0": [5]}, "2": {"1": [1, 3], "0": [1, 2]}}}))
    assert report.growth_curves(tmp_path) == {"a": [([0.0, 1.0], [1.0, 2.0]), ([0.0, 1.0], [1.0, 3.0])]}
    assert report.growth_curves(tmp_path / "none") == {}

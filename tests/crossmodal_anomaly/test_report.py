"""The page of the tiny unit: all parts, in order, self-contained, escaped, small."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly import config, report

PROVENANCE = {
    "paper": "crossmodal_anomaly",
    "git commit": "abc <script>",
    "versions": {"torch": "2"},
    "manifests": {
        "model": {"key": "k" * 16, "digest": "d" * 64, "code": "c" * 64, "seconds": 12.5, "block": {"lr": 0.001, "seeds": [0, 1]}}
    },
}


@pytest.fixture(scope="module")
def made(tiny_folders: dict[str, Path], tiny_evaluation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    folders = {**tiny_folders, "evaluation": tiny_evaluation}
    (out / "figures").mkdir()
    (out / "figures" / "stale.png").write_bytes(b"of an attempt that was cut off")
    report.run(folders, config.Report(gallery=1, extremes=2), out, PROVENANCE, Progress())
    return out


@pytest.fixture(scope="module")
def text(made: Path) -> str:
    return (made / "report.html").read_text(encoding="utf-8")


def test_parts_stand_in_their_order(text: str) -> None:
    wanted = ["Verdict", "Claims", "Numbers", "Pictures", "How it works", "Data", "Cost", "Provenance"]
    assert re.findall(r"<h2>([^<]+)</h2>", text) == wanted


def test_page_is_self_contained_escaped_and_small(made: Path, text: str) -> None:
    assert not re.search(r"""(?:src|href)=["'](?!data:image/|#)""", text)
    assert "abc &lt;script&gt;" in text and "cut &lt;off&gt; at byte 12" in text
    assert "<script" not in text
    assert (made / "report.html").stat().st_size < 4e6


def test_everything_that_was_asked_for_is_shown(text: str) -> None:
    for word in (
        "Gallery",
        "Worst 2",
        "Best 2",
        "By defect kind",
        "Few shots",
        "Pruned extractors",
        "Quarantine",
        "Preparation",
        "plane inliers",
    ):
        assert word in text, word
    for word in ("eval mode", "mismatch", "linear maps", "99 pt", "smoothing", "What this unit took to make", "resident memory"):
        assert word in text, word
    assert text.count("data:image/") > 20


def test_figures_are_written(made: Path) -> None:
    names = {path.stem for path in (made / "figures").glob("*.png")}
    assert names == {"pro", "roc", "scores", "trade_off", "training", "few_shot", "gallery"}


def test_verdict_names_headline_interval_and_rival(tiny_evaluation: Path) -> None:
    found = report.Evaluation.read(tiny_evaluation)
    head = found.summary["headline"]
    said = report.sentence(found)
    assert f"{head['value']:.3f}, 95 % interval {head['lo']:.3f} to {head['hi']:.3f}, mean of 2 seeds" in said
    assert ("above" in said) == (head["value"] >= found.numbers.get(found.summary["best_bank"], "aupro_30"))


def test_without_regions_the_verdict_says_so(tiny_evaluation: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_evaluation, tmp_path / "evaluation")
    path = tmp_path / "evaluation" / "summary.json"
    summary = json.loads(path.read_text())
    summary["headline"] |= {"value": None, "lo": None, "hi": None, "reason": "no region to find"}
    path.write_text(json.dumps(summary))
    assert "could not be measured (no region to find)" in report.sentence(report.Evaluation.read(tmp_path / "evaluation"))

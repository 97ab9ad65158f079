"""`tenfold predict` where a paper answers while it reads: what standard output holds, and that other papers know nothing of it."""

import json
from pathlib import Path

import pytest
from motion_tracking.small_live import swaying, write

from pipelines import cli
from pipelines.commands import predict
from tenfold.motion_tracking.stream import NAMES


@pytest.fixture
def champion(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A champion without a registry."""
    folder = write(tmp_path / "predictor")
    monkeypatch.setattr(predict, "champion", lambda *_: ("motion_tracking.demo version 1", folder))
    return folder


def recording(path: Path, frames: int) -> Path:
    lines = [{"t": r.t, **dict(zip(NAMES, r.values.ravel().tolist(), strict=True))} for r in swaying(frames)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_stream_has_standard_output_for_itself(champion: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recording(tmp_path / "walk.jsonl", 5)
    assert cli.main(["predict", "motion_tracking", "--stream", str(path)]) == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["sensors"] for line in shown.out.splitlines()] == ["hmd_3imus"] * 5
    assert shown.err.startswith("motion_tracking.demo version 1\n") and "5 readings answered" in shown.err


def test_recordings_go_to_the_usual_folder(
    champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "walk.jsonl", 5)
    assert cli.main(["predict", "motion-tracking.demo", "walk.jsonl"]) == 0
    assert (tmp_path / "predictions/walk.npz").is_file() and "walk: 5 poses from 5 readings" in capsys.readouterr().out


def test_wrong_words_are_told_before_a_model_is_looked_for(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "motion_tracking", "a.csv", "--stream", "-"]) == 2
    assert "name recordings or --stream, not both" in capsys.readouterr().err
    assert cli.main(["predict", "motion_tracking", "--stream", "-"]) == 2
    assert "make one with `tenfold run motion_tracking`" in capsys.readouterr().err


def test_tools_are_reached_by_name(champion: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tool", "motion_tracking", "bench", str(champion), "--frames", "5"]) == 0
    assert "step alone: p50" in capsys.readouterr().out
    assert cli.main(["tool", "motion_tracking"]) == 0
    assert "convert-bvh  BVH files" in capsys.readouterr().out

"""A job is a call as plain JSON, of tenfold's own functions only."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from unittest.mock import ANY

import pytest
import trial_stage

from tenfold.core.errors import TenfoldError
from tenfold.core.stage import Made
from tenfold.crossmodal_anomaly import config
from tenfold.crossmodal_anomaly.predictor_folder import Serving
from tenfold.ops.worker import Job, tell

FEATURES = config.Features(
    extractor_2d="efficientnet_lite0", extractor_3d="fpfh_covariance", extractor_mode="eval", size=32, grid=16, centres=24,
    neighbours=16, depth_2d=16, depth_3d=12, pruned=[8], norm="none", offset=0.5, weights_2d={"file": "w", "sha256": "0"}, weights_3d={},
    seed=0,
)  # fmt: skip


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[ModuleType]:
    yield trial_stage.registered(tmp_path)
    del sys.modules[trial_stage.NAME]


def test_arguments_survive_the_file(tmp_path: Path, trial: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Serving(None, FEATURES, 0.001, Path("/data/weights"))  # type: ignore[arg-type]
    given = {"block": trial.Block("train", 3), "serving": serving, "paths": [Path("a"), {"b": Path("c")}], "lr": 3.0e-4, "none": None}
    Job.of(trial.run, given).write(tmp_path / "job.json")
    taken = {}

    def run(**arguments: object) -> Made:
        taken.update(arguments)
        return Made(facts={"seen": True})

    monkeypatch.setattr(trial, "run", run)
    assert Job.read(tmp_path / "job.json").call(more=1).facts == {"seen": True}
    assert taken == {**given, "more": 1}


def test_the_end_is_told(tmp_path: Path, trial: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, object]] = []
    job = Job.of(trial.run, {})
    monkeypatch.setattr(trial, "run", lambda progress, journal: Made(facts={"a": 1}))
    assert tell(job, events.append) == 0
    assert [event["event"] for event in events] == ["started", "finished"]

    def fail(progress: object, journal: object) -> Made:
        raise TenfoldError("no")

    monkeypatch.setattr(trial, "run", fail)
    assert tell(job, events.append) == 1
    assert events[-1] == {"event": "failed", "kind": "TenfoldError", "text": "no"}


def test_what_cannot_be_sent_or_is_not_ours_is_refused(trial: ModuleType) -> None:
    with pytest.raises(TypeError, match="set cannot be sent"):
        Job.of(trial.run, {"ids": {1, 2}})
    with pytest.raises(TenfoldError, match="'os:system'"):
        Job("os:system", {"command": "true"}, "").call()


def test_other_code_than_where_the_job_was_given_is_refused(trial: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job.of(trial.run, {})
    job.same_code()
    events: list[dict[str, object]] = []
    assert tell(replace(job, code="another"), events.append) == 2
    assert events == [{"event": "failed", "kind": "UsageError", "text": ANY}]
    assert "tenfold.trial" in str(events[0]["text"]) and "same checkout" in str(events[0]["text"])

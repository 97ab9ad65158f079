"""Workers that torchrun starts: what they tell arrives, what goes wrong comes back as it was, none of them outlives its asset."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import trial_stage
from support import CHECKOUT

from tenfold.core.errors import BadData, Stopped, TenfoldError, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Event, Progress
from tenfold.core.stage import Made
from tenfold.ops import launch, relay
from tenfold.ops.settings import Settings
from tenfold.ops.worker import Job

TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The stage, known to workers as well."""
    folder = tmp_path_factory.mktemp("site")
    os.environ["PYTHONPATH"] = str(folder)
    try:
        yield trial_stage.registered(folder)
    finally:
        del os.environ["PYTHONPATH"], sys.modules[trial_stage.NAME]


class Diary:
    """Keeps what a journal is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def network(self, variant: str, seed: int, params: Any) -> "Diary":
        self.told.append((variant, seed, params))
        return self

    def epoch(self, epoch: int, metrics: Any) -> None:
        self.told.append((epoch, metrics))

    def done(self, metrics: Any) -> None:
        self.told.append(metrics)


def made(trial: ModuleType, folder: Path, act: str, engine: str = "torchrun", journal: Any = None, *sinks: Any) -> Made:
    settings = Settings(root=CHECKOUT, home=folder, engine=engine, workers=2 if engine else 1)
    folder.mkdir(exist_ok=True)
    return launch.run(
        settings, trial.run, block=trial.Block(act, 4), features=folder, scratch=folder, progress=Progress(*sinks),
        journal=journal or NullJournal(),
    )  # fmt: skip


@pytest.mark.slow
def test_a_worker_that_dies_is_named_and_the_next_run_makes_what_one_process_makes(trial: ModuleType, tmp_path: Path) -> None:
    here, there = Diary(), Diary()
    events: list[Event] = []
    alone = made(trial, tmp_path / "alone", "train", "", here)
    with pytest.raises(TenfoldError, match="worker died.*same command again to go on from the last checkpoint") as caught:
        made(trial, tmp_path / "shared", "die")
    assert "Signal 9 (SIGKILL)" in str(caught.value)

    shared = made(trial, tmp_path / "shared", "die", "torchrun", there, events.append)
    assert (alone.facts["processes"], shared.facts["processes"]) == (1, 2)
    assert shared.facts["resumed_from"] == 6, "the end of the first epoch"
    assert shared.facts["features"] == str(tmp_path / "shared")
    for one, other in zip(alone.facts["history"], shared.facts["history"], strict=True):
        assert one == pytest.approx(other, abs=TOLERANCE)
    assert here.told[0] == there.told[0] == ("", 3, {"shots": 5}) and len(here.told) == 6 and len(there.told) == 5
    assert [event.text for event in events if event.text] == [f"epoch {number}" for number in range(2, 5)]
    assert [(event.stage, event.done, event.total) for event in events if not event.text] == [("networks", 0, 1), ("networks", 1, 1)]


@pytest.mark.slow
def test_an_error_of_a_worker_comes_back_as_it_was(trial: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="^part-13 holds no pixel$"):
        made(trial, tmp_path, "bad data")


@pytest.mark.slow
def test_two_machines_share_the_work(trial: ModuleType, tmp_path: Path) -> None:
    """Two torchruns on loopback, the second started by the words that the first one's progress shows."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = f"--nnodes=2 --node-rank=0 --master-addr=127.0.0.1 --master-port={port}"
    others: list[subprocess.Popen[bytes]] = []

    def start_other(event: Event) -> None:
        _, found, command = event.text.partition("torchrun ")
        if found:
            second = shlex.split(command.replace("--node-rank=0", "--node-rank=1"))
            others.append(subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *second]))

    settings = Settings(root=CHECKOUT, home=tmp_path, engine="torchrun", workers=1, torchrun=words)
    shared = launch.run(
        settings, trial.run, block=trial.Block("train", 4), features=tmp_path, scratch=tmp_path, progress=Progress(start_other),
        journal=NullJournal(),
    )  # fmt: skip
    assert [other.wait(30) for other in others] == [0]
    assert shared.facts["processes"] == 2 and len(shared.facts["history"]) == 4


ASSET = """
import sys
from collections.abc import Iterator
from pathlib import Path
sys.path.insert(0, {tests!r})
import trial_stage
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.ops import launch
from tenfold.ops.settings import Settings

folder = Path({folder!r})
trial = sys.modules[trial_stage.NAME]
settings = Settings(root={root!r}, home=folder, engine="torchrun", workers=2)
say = Progress(lambda event: print(event.text, flush=True))
launch.run(settings, trial.run, block=trial.Block("slow", 400), features=folder, scratch=folder, progress=say, journal=NullJournal())
"""


@pytest.mark.slow
def test_workers_do_not_outlive_the_asset_that_waits_for_them(trial: ModuleType, tmp_path: Path) -> None:
    code = ASSET.format(tests=str(CHECKOUT / "tests"), folder=str(tmp_path), root=str(CHECKOUT))
    asset = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert asset.stdout is not None and any(line == "epoch 1\n" for line in asset.stdout)
    children = psutil.Process(asset.pid).children(recursive=True)
    assert len(children) == 3, "torchrun and two workers"
    asset.kill()
    asset.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_stop_that_comes_when_all_is_done_stops_what_follows(trial: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen
    code = f"print({json.dumps(json.dumps(relay.finished(Made())))})"
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: real([sys.executable, "-c", code], **options))

    class Late(relay.Relay):
        def line(self, line: str) -> None:
            super().line(line)
            signal.raise_signal(signal.SIGTERM)

    settings = Settings(root=CHECKOUT, home=tmp_path, engine="torchrun", workers=2)
    with pytest.raises(Stopped, match="same command again"):
        launch.torchrun(Job.of(trial.run, {}), settings, Late(Progress(), NullJournal()), tmp_path / "job.json")


def test_an_engine_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENFOLD_ENGINE", "torchrun")
    monkeypatch.setenv("TENFOLD_WORKERS", "4")
    settings = Settings(root=tmp_path)
    assert launch.made_with(settings) == {"engine": "torchrun", "workers": 4}
    monkeypatch.delenv("TENFOLD_ENGINE")
    with pytest.raises(UsageError, match="TENFOLD_WORKERS is 4.*torchrun"):
        Settings(root=tmp_path)

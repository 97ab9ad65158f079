"""SIGKILL at a random step, at a random moment and at each named point of a checkpoint's write: nothing is lost but some steps.

This file is also the program that is killed: it imports PyTorch once and forks a process for every attempt.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import STEPS, Training
from support import CHECKOUT

from tenfold.core import atomic, checkpoint, training

SEEDS = range(20)
POINTS = ["before the file", "half of the file", "before fsync", "before rename", "after rename"]
INTERVALS = [1, 2, 3, 5, 7]


@dataclass(frozen=True)
class Attempt:
    """What one process came to, as its diary tells.

    `done`: steps finished before it was killed. `begun`, `saved`: steps of the last checkpoint that was asked for, and of the last one
    that took its name; what it started from, if there was none.
    """

    resumed_from: int | None
    done: int
    begun: int
    saved: int
    killed: bool


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """Outcomes by seed, and that of the training that nothing disturbed under "whole"."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT / "tests")}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, Any] = json.loads(done.stdout)
    return outcomes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_kill_at_any_moment_changes_nothing(told: dict[str, Any], seed: int) -> None:
    mine = told[str(seed)]
    attempts = [Attempt(**each) for each in mine["attempts"]]
    assert attempts[0].resumed_from is None and [each.killed for each in attempts] == [True] * (len(attempts) - 1) + [False]
    for before, after in zip(attempts, attempts[1:], strict=False):
        # one may have taken its name in the moment before the kill, which the diary did not hear of any more
        assert (after.resumed_from or 0) in (before.saved, before.begun), "the last checkpoint that was whole is gone on with"
        assert before.done - before.begun <= mine["every"], "no more than one interval is lost,"
        assert before.begun - before.saved <= mine["every"], "and the one whose checkpoint was being written"
    assert mine["outcome"] == told["whole"]
    assert mine["files"] == [training.CHECKPOINT]


def test_every_point_was_hit(told: dict[str, Any]) -> None:
    rows = [told[str(seed)] for seed in SEEDS]
    assert {row["kills"][0] for row in rows} == {"step", "moment", *POINTS}
    assert sum(row["leftovers"] for row in rows) >= 3, "writes were cut in the middle"


# --- the program ------------------------------------------------------------------------------------------------------


def main(folder: Path) -> None:
    Training()  # an optimizer imports a good deal more: once, before the forks
    outcomes: dict[str, Any] = {"whole": in_a_fork(folder / "whole", 3, "", 0, None)[1]}
    kinds = ["step", "moment", *POINTS]
    for seed in SEEDS:
        draw = random.Random(seed)
        every, here = draw.choice(INTERVALS), folder / str(seed)
        kills = [kinds[seed % len(kinds)], *draw.choices(kinds, k=draw.randint(0, 2))]
        attempts, leftovers, reached = [], 0, 0
        for kind in kills:
            # not beyond the last write that this attempt makes, whose end is the end of the training
            at = draw.randint(0, STEPS - 1 - reached) if kind == "step" else draw.randint(1, max((STEPS - reached) // every, 1))
            attempt, outcome = in_a_fork(here, every, kind, at, draw.random())
            if outcome is not None:
                break
            attempts.append(attempt)
            leftovers += sum(atomic.is_leftover(path.name) for path in here.iterdir())
            reached = attempt.saved
        attempt, outcome = in_a_fork(here, every, "", 0, None)
        outcomes[str(seed)] = {
            "every": every,
            "kills": kills,
            "attempts": [asdict(each) for each in [*attempts, attempt]],
            "leftovers": leftovers,
            "outcome": outcome,
            "files": sorted(path.name for path in here.iterdir()),
        }
    print(json.dumps(outcomes))


def in_a_fork(folder: Path, every: int, kind: str, at: int, moment: float | None) -> tuple[Attempt, dict[str, Any] | None]:
    """One attempt in a process of its own, killed as said; its outcome if it lived to the end."""
    diary = folder.with_suffix(".diary")
    diary.write_text("")
    child = os.fork()
    if child == 0:
        try:
            train(folder, every, kind, at, moment, os.open(diary, os.O_WRONLY | os.O_APPEND))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, f"the attempt in {folder} failed: {kind}, {at}, status {status}"
    words = [line.partition(" ") for line in diary.read_text().splitlines()]
    last = {name: json.loads(value) for name, _, value in words}
    start = last["start"] or 0
    done = start + last.get("step", 0)
    return Attempt(last["start"], done, last.get("begun", start), last.get("saved", start), killed), last.get("outcome")


def train(folder: Path, every: int, kind: str, at: int, moment: float | None, diary: int) -> None:
    def note(name: str, value: Any) -> None:
        os.write(diary, f"{name} {json.dumps(value)}\n".encode())

    def die(where: str) -> None:
        if where == kind and writes == at:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal is on its way

    writes, writing = 0, 0
    real_ask, real_save, real_sync, real_replace = checkpoint.Saver.save, torch.save, atomic.sync, os.replace

    def ask(saver: checkpoint.Saver, state: Any) -> None:
        saver.wait()
        note("begun", state["state"]["step"])
        real_ask(saver, state)

    def save(state: Any, stream: Any) -> None:
        nonlocal writes, writing
        writes, writing = writes + 1, state["state"]["step"]
        die("before the file")
        real_save(state, stream)
        stream.flush()
        if kind == "half of the file" and writes == at:
            os.ftruncate(stream.fileno(), os.fstat(stream.fileno()).st_size // 2)
        die("half of the file")

    def sync(path: Path) -> None:
        if atomic.is_leftover(path.name):
            die("before fsync")
        real_sync(path)

    def replace(source: Path, target: Path) -> None:
        die("before rename")
        real_replace(source, target)
        note("saved", writing)
        die("after rename")

    checkpoint.Saver.save, torch.save, atomic.sync, os.replace = ask, save, sync, replace  # type: ignore[method-assign]
    run = Training()

    def before_step(step: int) -> None:
        note("step", step)
        if kind == "step" and step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    run.before_step = before_step
    path = folder / training.CHECKPOINT
    note("start", torch.load(path, weights_only=True)["state"]["step"] if path.exists() else None)
    if kind == "moment":
        threading.Timer(0.12 * (moment or 0), os.kill, (os.getpid(), signal.SIGKILL)).start()
    result = run.fit(folder, checkpoint_every=every)
    if kind == "moment":
        time.sleep(60)  # it was faster than its killer
    note("outcome", run.outcome(result))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))

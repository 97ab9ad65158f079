"""Several processes that train one network: the step of one process on the whole batch, one end for all of them.

This file is also the program of those processes: it imports PyTorch once, forks them for each scenario and tells what each came to.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import Ragged, Training
from support import CHECKOUT

from tenfold.core import checkpoint, distributed, training
from tenfold.core.errors import Unwritable

# Sums of float32 in another order, through 24 steps of Adam.
TOLERANCE = 2e-6
WIDE = 6  # items a batch: with batch statistics a share needs two

Told = dict[str, Any]


@pytest.fixture(scope="module")
def told() -> dict[str, list[Told]]:
    """What every process of every scenario came to, in the order of their numbers."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT / "tests")}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, list[Told]] = json.loads(done.stdout)
    return outcomes


def distance(one: Told, other: Told) -> float:
    """Largest difference of any weight and any number of the history."""
    assert [row.keys() for row in one["history"]] == [row.keys() for row in other["history"]]
    rows = [[abs(a[name] - b[name]) for name in a] for a, b in zip(one["history"], other["history"], strict=True)]
    return max(float(np.abs(np.array(one["values"]) - np.array(other["values"])).max()), *map(max, rows))


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_a_batch_that_is_shared_gives_the_step_of_one_process(told: dict[str, list[Told]], processes: int) -> None:
    # with three or four processes the last batch of an epoch, of two items, leaves some without any
    (alone,) = told["alone"]
    together = told[f"{processes} processes"]
    assert len({each["weights"] for each in together}) == 1, "all end with the same bits"
    assert 0 < distance(together[0], alone) < TOLERANCE
    assert {each["best"] for each in together} == {alone["best"]}
    assert sorted(sum((each["items"] for each in together), [])) == sorted(alone["items"])
    assert all(each["spare"] == alone["spare"] for each in together), "a weight without a gradient decays in no process"
    assert [each["told"] for each in together] == [4] + [0] * (processes - 1), "the first one tells"
    assert together[0]["files"] == [training.CHECKPOINT]


def test_shares_count_by_their_weight(told: dict[str, list[Told]]) -> None:
    assert distance(told["unweighed"][0], told["alone"][0]) > 100 * TOLERANCE, "the rows of the items are what the mean is over"


def test_stopped_in_one_stopped_in_all_and_gone_on_with_to_the_same_bits(told: dict[str, list[Told]]) -> None:
    stopped = told["stopped"]
    assert {each["error"] for each in stopped} == {"Stopped"} and len({each["text"] for each in stopped}) == 1
    assert "stopped after 8 of 16 steps" in stopped[0]["text"]
    # dropout, batch statistics and noise: each process goes on with generators of its own
    assert [each["weights"] for each in told["gone on with"]] == [each["weights"] for each in told["undisturbed"]]
    assert [each["history"] for each in told["gone on with"]] == [each["history"] for each in told["undisturbed"]]
    assert {each["resumed_from"] for each in told["gone on with"]} == {8}


def test_processes_draw_numbers_of_their_own(told: dict[str, list[Told]]) -> None:
    assert len({each["noise"] for each in told["undisturbed"]}) == 2


@pytest.mark.parametrize("scenario", ["two, then one", "one, then two", "two, then three"])
def test_another_number_of_processes_goes_on_within_the_tolerance(told: dict[str, list[Told]], scenario: str) -> None:
    assert {each["resumed_from"] for each in told[scenario]} == {9}
    assert len({each["weights"] for each in told[scenario]}) == 1
    assert distance(told[scenario][0], told["alone"][0]) < TOLERANCE


def test_a_loss_that_is_not_finite_in_one_ends_all_and_names_its_items(told: dict[str, list[Told]]) -> None:
    assert {each["error"] for each in told["not finite"]} == {"BadData"}
    (text,) = {each["text"] for each in told["not finite"]}
    named = text.split(" on ")[1].split(".")[0].split(", ")
    assert "part-13" in named and len(named) == WIDE // 2 or len(named) == 2, "the share of one process"


def test_an_error_in_one_ends_all(told: dict[str, list[Told]]) -> None:
    first, second = told["an error"]
    assert (second["error"], second["text"]) == ("ZeroDivisionError", "by chance")
    assert first["error"] == "TenfoldError" and first["text"] == "process 1 of 2 failed: ZeroDivisionError: by chance"


def test_a_validation_that_fails_ends_all(told: dict[str, list[Told]]) -> None:
    assert [each["error"] for each in told["validation"]] == ["ZeroDivisionError", "TenfoldError"]


def test_a_checkpoint_that_cannot_be_written_ends_all(told: dict[str, list[Told]]) -> None:
    assert [each["error"] for each in told["full disk"]] == ["Unwritable", "Unwritable"]
    assert len({each["text"] for each in told["full disk"]}) == 1


def test_another_training_is_refused_by_all(told: dict[str, list[Told]]) -> None:
    assert {each["error"] for each in told["another batch"]} == {"UsageError"}
    assert "batch was 4, is 6" in told["another batch"][0]["text"]


def test_more_processes_than_items_in_a_batch_are_refused(told: dict[str, list[Told]]) -> None:
    assert {each["error"] for each in told["small batch"]} == {"UsageError"}
    assert "at most 2 processes" in told["small batch"][0]["text"]


def test_a_process_that_dies_does_not_leave_the_other_waiting(told: dict[str, list[Told]]) -> None:
    survivor, dead = told["killed"]
    assert dead == {"signal": signal.SIGKILL}
    assert survivor["error"] and survivor["seconds"] < 20
    assert [each["weights"] for each in told["after the kill"]] == [each["weights"] for each in told["undisturbed"]]


def test_a_process_that_hangs_is_waited_for_no_longer_than_the_timeout(told: dict[str, list[Told]]) -> None:
    waiting = told["hanging"][0]
    assert waiting["error"] and 1 < waiting["seconds"] < 20


def test_alone_everything_passes_through() -> None:
    assert distributed.world() == distributed.World(0, 1) and distributed.world().first
    value = {"a": (1, 2)}
    assert distributed.agree(value) is value
    assert distributed.anyone(True) and not distributed.anyone(False)
    assert distributed.gather(b"x") == [b"x"]
    distributed.end_together(None)
    with pytest.raises(KeyError):
        distributed.end_together(KeyError("mine"))
    with distributed.started() as here:  # no torchrun here
        assert here.size == 1


# --- the program ------------------------------------------------------------------------------------------------------

Act = Callable[[Path, int], Told]


def together(folder: Path, processes: int, act: Act, timeout_s: float = 60) -> list[Told]:
    """What `act(folder, rank)` came to in each of so many joined processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            try:
                os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                if processes == 1:
                    del os.environ["WORLD_SIZE"]
                (folder / f"{rank}.told").write_text(json.dumps(observed(folder, rank, act, timeout_s)))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        children.append(child)
    found: list[Told] = []
    for rank, child in enumerate(children):
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        path = folder / f"{rank}.told"
        found.append(json.loads(path.read_text()) if path.exists() else {"signal": os.WTERMSIG(status)})
        path.unlink(missing_ok=True)
    return found


def observed(folder: Path, rank: int, act: Act, timeout_s: float) -> Told:
    began = time.monotonic()
    try:
        with distributed.started(timeout_s):
            return act(folder, rank)
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error), "seconds": time.monotonic() - began}


def trained(run: Training, folder: Path, **changes: Any) -> Told:
    work = folder / "work"
    result = run.fit(work, **changes)
    return {
        **run.outcome(result),
        "values": torch.cat([value.reshape(-1).double() for value in run.module.state_dict().values()]).tolist(),
        "items": sum(run.seen, []),
        "told": len(run.told),
        "resumed_from": result.resumed_from,
        "files": sorted(path.name for path in work.iterdir()),
        "spare": run.spare.tolist() if isinstance(run, Ragged) else [],
        "noise": float(torch.rand(())),
    }


def at_step(run: Training, step: int, act: Callable[[], object]) -> Training:
    run.before_step = lambda now: act() if now == step else None
    return run


def ragged(folder: Path, rank: int) -> Told:
    return trained(Ragged(), folder)


def noisy(folder: Path, rank: int) -> Told:
    return trained(Training(), folder, batch=WIDE)


def stop_second(folder: Path, rank: int) -> Told:
    run = Training()
    if rank == 1:
        at_step(run, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    return trained(run, folder, batch=WIDE)


def crash_at_ten(folder: Path, rank: int) -> Told:
    return trained(at_step(Ragged(), 10, lambda: 1 // 0), folder)


def not_finite(folder: Path, rank: int) -> Told:
    return trained(Training(bad=(13,)), folder, batch=WIDE, describe=lambda index: [f"part-{i}" for i in index])


def error_in_second(folder: Path, rank: int) -> Told:
    def fail() -> None:
        raise ZeroDivisionError("by chance")

    return trained(at_step(Ragged(), 4, fail) if rank == 1 else Ragged(), folder)


def validation(folder: Path, rank: int) -> Told:
    return trained(Ragged(), folder, validate=lambda: {"validation/loss": 1 / 0})


def full_disk(folder: Path, rank: int) -> Told:
    def full(path: Path, state: object) -> None:
        raise Unwritable("no space is left")

    checkpoint.save = full
    return trained(Ragged(), folder)


def another_batch(folder: Path, rank: int) -> Told:
    return trained(Ragged(), folder, batch=6)


def small_batch(folder: Path, rank: int) -> Told:
    return trained(Ragged(), folder, batch=2)


def kill_second(folder: Path, rank: int) -> Told:
    run = Training()
    if rank == 1:
        at_step(run, 10, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return trained(run, folder, batch=WIDE)


def hang_second(folder: Path, rank: int) -> Told:
    run = Ragged()
    if rank == 1:
        at_step(run, 3, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    return trained(run, folder)


def main(folder: Path) -> None:
    Training()  # an optimizer imports a good deal more: once, before the forks
    found = {"alone": together(folder / "alone", 1, ragged)}
    for processes in (2, 3, 4):
        found[f"{processes} processes"] = together(folder / str(processes), processes, ragged)
    found["unweighed"] = together(folder / "unweighed", 2, lambda at, rank: trained(Ragged(weigh=False), at))
    found["undisturbed"] = together(folder / "undisturbed", 2, noisy)
    found["stopped"] = together(folder / "stopped", 2, stop_second)
    found["gone on with"] = together(folder / "stopped", 2, noisy)
    for name, before, after in (("two, then one", 2, 1), ("one, then two", 1, 2), ("two, then three", 2, 3)):
        together(folder / name, before, crash_at_ten)
        found[name] = together(folder / name, after, ragged)
    found["not finite"] = together(folder / "not finite", 2, not_finite)
    found["an error"] = together(folder / "an error", 2, error_in_second)
    found["validation"] = together(folder / "validation", 2, validation)
    found["full disk"] = together(folder / "full disk", 2, full_disk)
    found["another batch"] = together(folder / "2", 2, another_batch)
    found["small batch"] = together(folder / "small batch", 4, small_batch)
    found["killed"] = together(folder / "killed", 2, kill_second)
    found["after the kill"] = together(folder / "killed", 2, noisy)
    found["hanging"] = together(folder / "hanging", 2, hang_second, timeout_s=2)
    print(json.dumps(found))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))

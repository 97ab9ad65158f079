"""The loop, and a worker for it: this file is also the program that the tests kill."""

import signal
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import BATCH, EPOCHS, ITEMS, STEPS, Training
from torch import Tensor

from tenfold.core import checkpoint, seeding, training
from tenfold.core.errors import BadData, Corrupt, Stopped, UsageError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of a training that nothing disturbed."""
    run = Training()
    return run.outcome(run.fit(tmp_path_factory.mktemp("whole")))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_equals_a_bare_loop(tmp_path: Path) -> None:
    run = Training()
    result = run.fit(tmp_path, keep_best=None)
    bare = Training()
    seeding.seed_all(3)
    history = []
    for epoch in range(EPOCHS):
        bare.module.train()
        order = seeding.rng(3, "order", epoch).permutation(ITEMS)
        sums = np.zeros(2)
        for start in range(0, ITEMS, BATCH):
            index = order[start : start + BATCH]
            losses = bare.loss(index)
            bare.optimizer.zero_grad()
            losses["loss"].backward()
            bare.optimizer.step()
            bare.scheduler.step()
            sums += [losses["loss"].item() * len(index), losses["absolute"].item() * len(index)]
        bare.module.eval()
        with torch.no_grad():
            history.append({"epoch": epoch + 1, "train/loss": sums[0] / ITEMS, "train/absolute": sums[1] / ITEMS, **bare.validate()})
    assert all(torch.equal(a, b) for a, b in zip(run.module.state_dict().values(), bare.module.state_dict().values(), strict=True))
    assert run.seen == bare.seen
    assert result.history == history
    assert run.told == [(row["epoch"], {k: v for k, v in row.items() if k != "epoch"}) for row in history]
    assert (result.epochs, result.steps, result.resumed_from, result.best_epoch) == (EPOCHS, STEPS, None, None)
    assert result.seconds > 0


def test_every_epoch_sees_every_item_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    run = Training()
    run.fit(tmp_path)
    epochs = [sum(run.seen[i : i + 6], []) for i in range(0, STEPS, 6)]
    assert all(sorted(epoch) == list(range(ITEMS)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == EPOCHS


@given(st.integers(0, STEPS - 1), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_a_stop_at_any_step_changes_nothing(
    whole: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, step: int, checkpoint_every: int
) -> None:
    folder = tmp_path_factory.mktemp("stop")
    run = Training()
    run.before_step = lambda now: signal.raise_signal(signal.SIGTERM) if now == step else None
    with pytest.raises(Stopped, match=rf"stopped after {step + 1} of {STEPS} steps.*same command"):
        run.fit(folder, checkpoint_every=checkpoint_every)
    again = Training()
    result = again.fit(folder, checkpoint_every=checkpoint_every)
    assert result.resumed_from == step + 1
    assert len(again.seen) == STEPS - step - 1
    assert again.outcome(result) == whole
    assert names(folder) == [training.CHECKPOINT]


@given(st.integers(0, STEPS - 1), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_a_crash_at_any_step_changes_nothing(
    whole: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, step: int, checkpoint_every: int
) -> None:
    folder = tmp_path_factory.mktemp("crash")

    def crash(now: int) -> None:
        if now == step:
            raise ConnectionError

    run = Training()
    run.before_step = crash
    with pytest.raises(ConnectionError):
        run.fit(folder, checkpoint_every=checkpoint_every)
    again = Training()
    result = again.fit(folder, checkpoint_every=checkpoint_every)
    saved = step // checkpoint_every * checkpoint_every
    assert result.resumed_from == (saved or None)
    assert again.outcome(result) == whole


def test_a_finished_training_is_not_repeated(tmp_path: Path, whole: dict[str, Any]) -> None:
    Training().fit(tmp_path)
    run = Training()
    result = run.fit(tmp_path)
    assert (run.seen, run.told, result.resumed_from) == ([], [], STEPS)
    assert run.outcome(result) == whole


def test_what_ran_before_in_the_process_has_no_influence(tmp_path: Path, whole: dict[str, Any]) -> None:
    run = Training()
    torch.rand(5)
    np.random.rand(5)
    assert run.outcome(run.fit(tmp_path)) == whole


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    run = Training()
    values = iter([3.0, 1.0, 2.0, 1.0])
    weights: list[Tensor] = []

    def validate() -> dict[str, float]:
        weights.append(run.module[0].weight.detach().clone())
        return {"error": next(values)}

    result = run.fit(tmp_path, validate=validate, keep_best="error")
    assert result.best_epoch == 2
    assert torch.equal(run.module[0].weight, weights[1])
    assert not torch.equal(weights[1], weights[3])


def test_validation_runs_when_due_and_at_the_end(tmp_path: Path) -> None:
    result = Training().fit(tmp_path, validate_every=3)
    assert [row["epoch"] for row in result.history if "validation/loss" in row] == [3, 4]
    assert result.best_epoch in (3, 4)


def test_steps_limit_ends_inside_an_epoch(tmp_path: Path) -> None:
    run = Training()
    result = run.fit(tmp_path, steps_limit=8, keep_best=None)
    assert (result.steps, result.epochs, len(run.seen)) == (8, 2, 8)
    assert "validation/loss" in result.history[-1]
    assert len(run.seen) == 8
    assert Training().fit(tmp_path, steps_limit=8, keep_best=None).resumed_from == 8


def test_a_limit_beyond_the_epochs_changes_nothing(tmp_path: Path, whole: dict[str, Any]) -> None:
    run = Training()
    assert run.outcome(run.fit(tmp_path, steps_limit=10 * STEPS)) == whole


def test_a_loss_that_is_not_finite_names_its_items(tmp_path: Path) -> None:
    run = Training(bad=(13,))
    with pytest.raises(BadData, match=r"epoch 1, step \d.*part-13.*look at these items") as caught:
        run.fit(tmp_path, describe=lambda index: [f"part-{i}" for i in index])
    assert set(caught.value.args[0].split(" on ")[1].split(".")[0].split(", ")) == {f"part-{i}" for i in run.seen[-1]}
    assert all(torch.isfinite(p).all() for p in run.module.parameters())


def test_a_diverged_training_is_told_apart_from_bad_items(tmp_path: Path) -> None:
    run = Training()
    with torch.no_grad():
        run.module[0].weight[0] = torch.inf
    with pytest.raises(BadData, match=r"on item \d+, .*weights are not finite either.*learning rate"):
        run.fit(tmp_path)


def test_a_long_list_of_items_is_cut(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"and 6 more\."):
        Training(bad=(2,)).fit(tmp_path, batch=22)


def test_a_validation_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="error is nan after epoch 1"):
        Training().fit(tmp_path, validate=lambda: {"error": float("nan")}, keep_best="error")


def test_keep_best_must_name_a_metric(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'loss'.*train/absolute, train/loss, validation/loss"):
        Training().fit(tmp_path, keep_best="loss")


@pytest.mark.parametrize("option", ["items", "batch", "epochs", "checkpoint_every", "validate_every"])
def test_numbers_below_one_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} is 0"):
        Training().fit(tmp_path, **{option: 0})


@pytest.mark.parametrize(
    ("made", "changes", "reason"),
    [
        ({}, {"seed": 4}, "seed was 3, is 4"),
        ({}, {"epochs": 9}, "epochs was 4, is 9"),
        ({}, {"batch": 5}, "batch was 4, is 5"),
        ({}, {"items": 20}, "items was 22, is 20"),
        ({"lr": 1e-3}, {}, "optimizer lr was 0.01, is 0.001"),
        ({"width": 9}, {}, r"parameters 0.bias was \[8\], is \[9\].* more"),
        ({}, {"scheduler": None}, "scheduler was CosineAnnealingLR, is NoneType"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path, made: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    Training().fit(tmp_path, steps_limit=3)
    before = (tmp_path / training.CHECKPOINT).read_bytes()
    with pytest.raises(UsageError, match=rf"another training: .*{reason}.*Remove it"):
        Training(**made).fit(tmp_path, **{"steps_limit": 3, **changes})
    assert (tmp_path / training.CHECKPOINT).read_bytes() == before


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / training.CHECKPOINT, {"weights": torch.zeros(3)})
    with pytest.raises(UsageError, match="not a checkpoint of this training loop"):
        Training().fit(tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / training.CHECKPOINT).write_bytes(b"PK")
    with pytest.raises(Corrupt, match=r"checkpoint\.pt is damaged"):
        Training().fit(tmp_path)


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(value: object, to: BinaryIO) -> None:
        raise OSError("broken pipe to the disk")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="broken pipe"):
        Training().fit(tmp_path)
    assert names(tmp_path) == []


def test_handlers_are_put_back(tmp_path: Path) -> None:
    def mine(number: int, frame: object) -> None:
        raise AssertionError("called outside of its turn")

    before = signal.signal(signal.SIGTERM, mine), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = Training()
        run.before_step = lambda step: signal.raise_signal(signal.SIGINT)  # ignored before, ignored here
        run.fit(tmp_path)
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    run = Training()

    def twice(step: int) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    run.before_step = twice
    with pytest.raises(KeyboardInterrupt):
        run.fit(tmp_path)
    assert len(run.seen) == 4


def test_works_outside_the_main_thread(tmp_path: Path, whole: dict[str, Any]) -> None:
    outcomes: list[dict[str, Any]] = []

    def work() -> None:
        run = Training()
        outcomes.append(run.outcome(run.fit(tmp_path)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcomes == [whole]

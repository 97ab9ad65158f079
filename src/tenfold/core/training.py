"""The training loop of all papers: seeded, interruptible at any moment, resumed to the same bits."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tenfold.core import atomic, checkpoint, seeding
from tenfold.core.errors import BadData, Stopped, UsageError

Indices = npt.NDArray[np.int64]
Loss = Callable[[Indices], dict[str, Tensor]]

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Attributes:
        epochs: epochs in `history`; the last one is partial if `steps_limit` ended it.
        steps: gradient steps.
        history: one row an epoch: `epoch` (from 1), `train/<name>` (mean over the epoch's items of each value that
            the loss returned) and what `validate` returned.
        resumed_from: gradient steps that were found in a checkpoint, None if there was none.
        best_epoch: epoch whose weights the module holds now, None without `keep_best`.
        seconds: wall time in the loop, all attempts together.
    """

    epochs: int
    steps: int
    history: list[dict[str, Any]]
    resumed_from: int | None
    best_epoch: int | None
    seconds: float


@dataclass
class _State:
    """Where a training stands: with the weights and the generators, all that a checkpoint holds."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches finished in this epoch
    step: int = 0
    seen: int = 0  # items seen in this epoch
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float = math.inf
    best_epoch: int | None = None
    seconds: float = 0.0


def fit(
    *,
    module: nn.Module,
    optimizer: Optimizer,
    loss: Loss,
    items: int,
    batch: int,
    epochs: int,
    seed: int,
    folder: Path,
    validate_every: int,
    checkpoint_every: int,
    scheduler: LRScheduler | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    keep_best: str | None = None,
    steps_limit: int = 0,
    describe: Callable[[Indices], list[str]] | None = None,
) -> TrainResult:
    """Train `module`, going on from the checkpoint in `folder` if there is one.

    A run that was killed at any moment and started again ends with the same bits (CPU) and the same history as one
    that was not. The global generators are seeded here, the weights before: seed them as well, with `seeding.seed_all`
    or `seeding.rng`, since a run that was killed before its first checkpoint begins with the weights it is given.

    Args:
        module: set to train mode for the steps, to eval mode for `validate`.
        loss: gives for item indices `(batch,)` the scalars to log; "loss" is the one that is minimised.
        items: number of training items; every epoch sees each once, in an order drawn from (seed, epoch).
        batch: items a step; the last batch of an epoch may be smaller.
        folder: for the checkpoint, of this training alone.
        validate_every: epochs between two calls of `validate`, which runs without gradients; the last epoch always has one.
        checkpoint_every: steps between two checkpoints.
        scheduler: stepped after every gradient step.
        on_epoch: called with the epoch's number and its row of the history; again with the same values where a
            resumed run repeats the end of an epoch.
        keep_best: name in the history whose least value decides which epoch's weights the module has at the end.
        steps_limit: most gradient steps in all, 0 for no limit.
        describe: names of items, for the message about a loss that is not finite.

    Raises:
        Stopped: SIGTERM or SIGINT came; the step was finished and everything saved. A second signal acts at once.
        BadData: a loss, or the metric of `keep_best`, is NaN or infinite.
        UsageError: the checkpoint belongs to another training, or `keep_best` names no metric.
        Corrupt: the checkpoint is damaged.
    """
    for name, number in {
        "items": items,
        "batch": batch,
        "epochs": epochs,
        "checkpoint_every": checkpoint_every,
        "validate_every": validate_every,
    }.items():
        if number < 1:
            raise UsageError(f"training: {name} is {number}; it must be at least 1.")
    batches = math.ceil(items / batch)
    total = min(epochs * batches, steps_limit or epochs * batches)
    folder.mkdir(parents=True, exist_ok=True)
    for left in filter(lambda entry: atomic.is_leftover(entry.name), list(folder.iterdir())):
        left.unlink()
    path = folder / CHECKPOINT
    identity = _identity(
        module, optimizer, scheduler, items=items, batch=batch, epochs=epochs, seed=seed, steps_limit=steps_limit, keep_best=keep_best
    )
    state, best_weights = _State(), None
    seeding.seed_all(seed)
    found = checkpoint.load(path) if path.exists() else None
    if found is not None:
        _same_training(path, found.get("identity"), identity)
        state, best_weights = _State(**found["state"]), found["best_weights"]
        _restore(found, module, optimizer, scheduler)
    resumed_from = state.step if found is not None else None
    began = time.perf_counter() - state.seconds

    with _stop_requests() as stop, checkpoint.Saver(path) as saver:

        def save() -> None:
            state.seconds = time.perf_counter() - began
            saver.save(_record(identity, state, module, optimizer, scheduler) | {"best_weights": best_weights})

        while state.step < total:
            order = seeding.rng(seed, "order", state.epoch).permutation(items)
            module.train()
            while True:
                index = order[state.batch * batch : (state.batch + 1) * batch]
                values = train_step(module, optimizer, loss, index)
                if values is None:
                    raise BadData(_not_finite(module, index, describe, state))
                if scheduler is not None:
                    scheduler.step()
                for name, value in values.items():
                    state.sums[name] = state.sums.get(name, 0.0) + value * len(index)
                state.seen += len(index)
                state.batch += 1
                state.step += 1
                if state.batch == batches or state.step == total:
                    break
                if stop.is_set():
                    save()
                    saver.wait()
                    raise Stopped(_stopped(state, total))
                if state.step % checkpoint_every == 0:
                    save()

            due = state.step == total or (state.epoch + 1) % validate_every == 0
            metrics = {f"train/{name}": value / state.seen for name, value in state.sums.items()}
            if validate is not None and due:
                metrics |= _validated(module, validate)
            state.epoch += 1
            if keep_best is not None and due:
                if _improves(keep_best, metrics, state):
                    best_weights = checkpoint.snapshot(module.state_dict())
            state.history.append({"epoch": state.epoch, **metrics})
            state.batch, state.seen, state.sums = 0, 0, {}
            if on_epoch is not None:
                on_epoch(state.epoch, metrics)
            if stop.is_set() or state.step == total or state.step % checkpoint_every == 0:
                save()
            if stop.is_set():
                saver.wait()
                raise Stopped(_stopped(state, total))

    if best_weights is not None:
        module.load_state_dict(best_weights)
    return TrainResult(state.epoch, state.step, state.history, resumed_from, state.best_epoch, state.seconds)


def train_step(module: nn.Module, optimizer: Optimizer, loss: Loss, index: Indices) -> dict[str, float] | None:
    """One gradient step on the items `index` `(batch,)`; None, and no change of the weights, if a value is not finite."""
    losses = loss(index)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    # One transfer for all values, after the backward pass has been queued: a GPU is not kept waiting for it.
    values = torch.stack([value.detach().reshape(()) for value in losses.values()]).tolist()
    if not all(map(math.isfinite, values)):
        return None
    optimizer.step()
    return dict(zip(losses, values, strict=True))


def _validated(module: nn.Module, validate: Callable[[], dict[str, float]]) -> dict[str, float]:
    module.eval()
    with torch.no_grad():
        return {name: float(value) for name, value in validate().items()}


def _improves(name: str, metrics: dict[str, float], state: _State) -> bool:
    if name not in metrics:
        raise UsageError(f"training: keep_best is {name!r}, but an epoch has only {', '.join(sorted(metrics))}.")
    if not math.isfinite(metrics[name]):
        raise BadData(
            f"{name} is {metrics[name]} after epoch {state.epoch}: no epoch can be called the best. "
            "Lower the learning rate or look at the validation data."
        )
    if metrics[name] >= state.best:
        return False
    state.best, state.best_epoch = metrics[name], state.epoch
    return True


def _identity(module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None, **numbers: Any) -> dict[str, Any]:
    """What must be equal for a checkpoint to be gone on with."""
    return {
        **numbers,
        "parameters": {name: list(tensor.shape) for name, tensor in module.state_dict().items()},
        "optimizer": {"kind": type(optimizer).__name__, **{name: repr(value) for name, value in optimizer.defaults.items()}},
        "scheduler": type(scheduler).__name__,
    }


def _same_training(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    if found == wanted:
        return
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not a checkpoint of this training loop. Remove it to train from the beginning.")
    differences = [_difference(name, found.get(name), value) for name, value in wanted.items() if found.get(name) != value]
    raise UsageError(
        f"{path} belongs to another training: {'; '.join(differences)}. "
        "Remove it to train from the beginning, or go back to its values to go on with it."
    )


def _difference(name: str, found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        changed = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        shown = [f"{name} {key} was {found.get(key, 'absent')}, is {wanted.get(key, 'absent')}" for key in changed[:3]]
        return ", ".join(shown) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return f"{name} was {found}, is {wanted}"


def _record(
    identity: dict[str, Any], state: _State, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None
) -> checkpoint.State:
    record: checkpoint.State = checkpoint.snapshot(
        {
            "identity": identity,
            "state": asdict(state),
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "rng": checkpoint.rng_state(),
        }
    )
    return record


def _restore(found: checkpoint.State, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    module.load_state_dict(found["module"])
    optimizer.load_state_dict(found["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(found["scheduler"])
    checkpoint.set_rng_state(found["rng"])


def _not_finite(module: nn.Module, index: Indices, describe: Callable[[Indices], list[str]] | None, state: _State) -> str:
    names = describe(index) if describe is not None else [f"item {i}" for i in index]
    shown = ", ".join(names[:16]) + (f" and {len(names) - 16} more" if len(names) > 16 else "")
    head = f"the loss is not finite in epoch {state.epoch + 1}, step {state.step + 1}, on {shown}."
    if all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters()):
        return f"{head} The weights are finite: look at these items for NaN or very large values, or lower the learning rate."
    return f"{head} The weights are not finite either, so an earlier step diverged: lower the learning rate."


def _stopped(state: _State, total: int) -> str:
    return f"training stopped after {state.step} of {total} steps; everything is saved. Run the same command again to go on."


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Event set by SIGTERM or SIGINT; the handlers that stood before are put back. Signals reach the main thread only."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
        stop.set()

    # An ignored signal stays ignored: a job in the background must outlive the Ctrl-C meant for the foreground.
    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {int(number): signal.signal(number, request) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

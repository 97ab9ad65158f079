"""The training loop of all papers: seeded, interruptible at any moment, resumed to the same bits, shared by several processes."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tenfold.core import atomic, checkpoint, distributed, seeding
from tenfold.core.errors import BadData, Stopped, UsageError
from tenfold.core.signals import stop_requests
from tenfold.core.steps import Indices, Loss, SharedSteps, train_step

CHECKPOINT = "checkpoint.pt"
FORMAT = 2  # of the checkpoint


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

    Where several processes were joined (`distributed.started`, Ray Train), each calls this with the same arguments and a folder that
    all of them see. `batch` stays the whole batch: the processes share it, take the same steps and end alike, with the same history.
    Weights equal those of a single process to the rounding of float sums, unless the loss draws random numbers or uses
    batch statistics. A checkpoint is gone on with by any number of processes: bit for bit by as many as wrote it, else to that rounding.

    Args:
        module: set to train mode for the steps, to eval mode for `validate`.
        loss: gives for item indices `(batch,)` the scalars to log; "loss" is the one that is minimised. "weight" is none of them: it
            says how much these items count against the shares of other processes (default: their number), such as the
            number of pixels for a mean over pixels.
        items: number of training items; every epoch sees each once, in an order drawn from (seed, epoch).
        batch: items a step; the last batch of an epoch may be smaller.
        folder: for the checkpoint, of this training alone.
        validate_every: epochs between two calls of `validate`, which runs without gradients, in the first process; the last epoch
            always has one.
        checkpoint_every: steps between two checkpoints.
        scheduler: stepped after every gradient step.
        on_epoch: called in the first process with the epoch's number and its row of the history; again with the same values
            where a resumed run repeats the end of an epoch.
        keep_best: name in the history whose least value decides which epoch's weights the module has at the end.
        steps_limit: most gradient steps in all, 0 for no limit.
        describe: names of items, for the message about a loss that is not finite.

    Raises:
        Stopped: SIGTERM or SIGINT came, to any of the processes; the step was finished and everything saved. A second signal acts at once.
        BadData: a loss, or the metric of `keep_best`, is NaN or infinite.
        UsageError: the checkpoint belongs to another training, or `keep_best` names no metric.
        Corrupt: the checkpoint is damaged.
        TenfoldError: another process failed with an error that is none of these.
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
    here = distributed.world()
    if batch < here.size:
        raise UsageError(
            f"training: batch is {batch}, but {here.size} processes share each batch and need an item each: "
            f"use at most {batch} processes, or a larger batch."
        )
    batches = math.ceil(items / batch)
    total = min(epochs * batches, steps_limit or epochs * batches)
    path = folder / CHECKPOINT
    identity = _identity(
        module, optimizer, scheduler, items=items, batch=batch, epochs=epochs, seed=seed, steps_limit=steps_limit, keep_best=keep_best
    )
    # Each process draws numbers of its own: noise that is the same on every share would not average out.
    seeding.seed_all(seed if here.first else int(seeding.rng(seed, "process", here.rank).integers(2**31)))
    state, best_weights, resumed_from = _begin(path, identity, module, optimizer, scheduler)
    began = time.perf_counter() - state.seconds
    shared = SharedSteps(module, optimizer, loss) if here.size > 1 else None

    with stop_requests() as stop, checkpoint.Saver(path) as saver:

        def settle() -> None:
            failure = None
            try:
                saver.wait()
            except Exception as error:  # one process writes, all must end
                failure = error
            distributed.end_together(failure)

        def save() -> None:
            settle()
            state.seconds = time.perf_counter() - began
            generators = checkpoint.all_rng_states()
            if here.first:
                record = _record(identity, state, module, optimizer, scheduler)
                saver.save(record | {"rng": generators, "best_weights": best_weights})

        def not_finite(index: Indices) -> str:
            return _not_finite(module, index, describe, state)

        def step(index: Indices) -> tuple[dict[str, float], bool]:
            if shared is not None:
                return shared.step(index, stop.is_set(), not_finite)
            values = train_step(module, optimizer, loss, index)
            if values is None:
                raise BadData(not_finite(index))
            return values, stop.is_set()

        while state.step < total:
            order = seeding.rng(seed, "order", state.epoch).permutation(items)
            module.train()
            while True:
                index = order[state.batch * batch : (state.batch + 1) * batch]
                values, stopping = step(index)
                if scheduler is not None:
                    scheduler.step()
                for name, value in values.items():
                    state.sums[name] = state.sums.get(name, 0.0) + value * len(index)
                state.seen += len(index)
                state.batch += 1
                state.step += 1
                if state.batch == batches or state.step == total:
                    break
                if stopping:
                    save()
                    settle()
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
            if on_epoch is not None and here.first:
                on_epoch(state.epoch, metrics)
            stopping = distributed.anyone(stop.is_set())
            if stopping or state.step == total or state.step % checkpoint_every == 0:
                save()
            if stopping:
                settle()
                raise Stopped(_stopped(state, total))

    if best_weights is not None:
        module.load_state_dict(best_weights)
    return TrainResult(state.epoch, state.step, state.history, resumed_from, state.best_epoch, state.seconds)


def _begin(
    path: Path, identity: dict[str, Any], module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None
) -> tuple[_State, checkpoint.State | None, int | None]:
    """Where to go on: the state, the best weights so far, and the steps found in the checkpoint (None if there was none)."""
    here = distributed.world()
    if here.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in filter(lambda entry: atomic.is_leftover(entry.name), list(path.parent.iterdir())):
            left.unlink()
    if not distributed.agree(path.exists()):
        return _State(), None, None
    found, failure = None, None
    try:
        found = checkpoint.load(path)
        _same_training(path, found.get("identity"), identity)
        _restore(found, module, optimizer, scheduler)
    except Exception as error:  # all go on, or none
        failure = error
    distributed.end_together(failure)
    assert found is not None
    state = _State(**found["state"])
    return state, found["best_weights"], state.step


def _validated(module: nn.Module, validate: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What the first process finds; the others wait."""
    module.eval()
    metrics, failure = {}, None
    if distributed.world().first:
        try:
            with torch.no_grad():
                metrics = {name: float(value) for name, value in validate().items()}
        except Exception as error:  # the others wait for an answer
            failure = error
    distributed.end_together(failure)
    return distributed.agree(metrics)


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
        "format": FORMAT,
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
        }
    )
    return record


def _restore(found: checkpoint.State, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None) -> None:
    module.load_state_dict(found["module"])
    optimizer.load_state_dict(found["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(found["scheduler"])
    # One that was not there when it was written goes on with numbers of its own.
    rank = distributed.world().rank
    if rank < len(found["rng"]):
        checkpoint.set_rng_state(found["rng"][rank])


def _not_finite(module: nn.Module, index: Indices, describe: Callable[[Indices], list[str]] | None, state: _State) -> str:
    names = describe(index) if describe is not None else [f"item {i}" for i in index]
    shown = ", ".join(names[:16]) + (f" and {len(names) - 16} more" if len(names) > 16 else "")
    head = f"the loss is not finite in epoch {state.epoch + 1}, step {state.step + 1}, on {shown}."
    if all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters()):
        return f"{head} The weights are finite: look at these items for NaN or very large values, or lower the learning rate."
    return f"{head} The weights are not finite either, so an earlier step diverged: lower the learning rate."


def _stopped(state: _State, total: int) -> str:
    return f"training stopped after {state.step} of {total} steps; everything is saved. Run the same command again to go on."

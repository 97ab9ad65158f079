"""Several processes that do one piece of work together: who takes part, what they agree on, how they end.

torchrun or Ray Train starts them and joins them in `torch.distributed`. A process alone is a world of one: nothing is sent, and
every function here hands its argument through.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch import distributed as group

from tenfold.core.errors import TenfoldError, of_kind

T = TypeVar("T")

TIMEOUT_S = 1800.0  # longer than anything one process does alone while the others wait for it
BUCKET_BYTES = 32 << 20


@dataclass(frozen=True)
class World:
    """This process's number, from 0, among the `size` that work together."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """True for the one that writes files and tells the user."""
        return self.rank == 0


def world() -> World:
    """Who takes part now."""
    if not _joined():
        return World(0, 1)
    return World(group.get_rank(), group.get_world_size())


@contextmanager
def started(timeout_s: float = TIMEOUT_S) -> Iterator[World]:
    """Join the processes that torchrun's environment names, on the GPU of this process's local number; else stay alone.

    Does nothing where the processes were joined already (Ray Train). Who waits for another longer than `timeout_s` fails.
    """
    if _joined() or "WORLD_SIZE" not in os.environ:
        yield world()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    group.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    try:
        yield world()
    finally:
        group.destroy_process_group()


def agree(value: T) -> T:
    """The first process's `value`, standard JSON data, in all of them; a barrier as well."""
    here = world()
    if here.size == 1:
        return value
    agreed: T = json.loads(_broadcast(json.dumps(value).encode() if here.first else b"", 0))
    return agreed


def anyone(flag: bool) -> bool:
    """True in all processes if `flag` is in one."""
    if world().size == 1:
        return flag
    raised = control([float(flag)])
    group.all_reduce(raised, group.ReduceOp.MAX)
    return bool(raised.item())


def end_together(failure: Exception | None) -> None:
    """Raise if any process met a `failure`: its own where it happened, elsewhere the same error with the same text.

    What is no TenfoldError arrives as one that names the process. All must call this.
    """
    here = world()
    if here.size == 1:
        if failure is not None:
            raise failure
        return
    first = control([float(here.size if failure is None else here.rank)])
    group.all_reduce(first, group.ReduceOp.MIN)
    source = int(first.item())
    if source == here.size:
        return
    told = {"kind": type(failure).__name__, "text": str(failure), "ours": isinstance(failure, TenfoldError)}
    told = json.loads(_broadcast(json.dumps(told).encode() if here.rank == source else b"", source))
    if failure is not None:
        raise failure
    if told["ours"]:
        raise of_kind(told["kind"])(told["text"])
    raise TenfoldError(f"process {source} of {here.size} failed: {told['kind']}: {told['text']}")


def gather(data: bytes) -> list[bytes]:
    """Every process's `data`, in their order; empty but in the first."""
    here = world()
    if here.size == 1:
        return [data]
    sizes = [control([0.0]) for _ in range(here.size)]
    group.all_gather(sizes, control([float(len(data))]))
    longest = max(int(size.item()) for size in sizes)
    padded = _bytes(data.ljust(longest, b"\0"))
    rows = [torch.empty_like(padded) for _ in range(here.size)]
    group.all_gather(rows, padded)
    if not here.first:
        return []
    return [row.cpu().numpy().tobytes()[: int(size.item())] for row, size in zip(rows, sizes, strict=True)]


def copy_first(tensors: Iterable[Tensor]) -> None:
    """Give `tensors`, the same ones in every process, the first process's values."""
    if world().size == 1:
        return
    with torch.no_grad():
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            group.broadcast(flat, 0)
            for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))


def sum_gradients(parameters: Sequence[torch.nn.Parameter], scale: float) -> None:
    """Replace each gradient by the sum over all processes of `scale` times theirs; None counts as zeros.

    Few large messages: the parameters' gradients are laid side by side in buckets of some 32 MiB. This is done by hand since
    DistributedDataParallel hooks into `forward`, and a loss may call any method of its module.
    """
    for bucket in _buckets(parameters):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in bucket])
        flat.mul_(scale)
        group.all_reduce(flat)
        for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = part.view_as(parameter)


def _joined() -> bool:
    return group.is_available() and group.is_initialized()


def control(values: Sequence[float]) -> Tensor:
    """A small tensor of float64 `(len(values),)` where the processes' messages go: on the CPU unless only GPUs are joined."""
    return torch.tensor(values, dtype=torch.float64, device=_device())


def _device() -> torch.device:
    return torch.device("cpu") if "gloo" in group.get_backend_config() else torch.device("cuda", torch.cuda.current_device())


def _bytes(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy()).to(_device())


def _broadcast(data: bytes, source: int) -> bytes:
    size = control([float(len(data))])
    group.broadcast(size, source)
    sent = _bytes(data) if world().rank == source else torch.empty(int(size.item()), dtype=torch.uint8, device=_device())
    group.broadcast(sent, source)
    return sent.cpu().numpy().tobytes()


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one kind and place, in order, up to BUCKET_BYTES together."""
    filling: dict[tuple[torch.dtype, torch.device], tuple[list[Tensor], int]] = {}
    for tensor in tensors:
        kind = (tensor.dtype, tensor.device)
        bucket, size = filling.pop(kind, ([], 0))
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
        if size >= BUCKET_BYTES:
            yield bucket
        else:
            filling[kind] = (bucket, size)
    for bucket, _ in filling.values():
        yield bucket

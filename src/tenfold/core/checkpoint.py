"""Checkpoints: atomic, loadable without unpickling code, written beside the training."""

import errno
import io
import pickle
import random
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from tenfold.core import atomic, distributed
from tenfold.core.errors import Corrupt

State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Write `state` (tensors, numbers, text, and dicts, lists, tuples of them) so that `path` is always whole.

    A kill at any moment leaves the old file or the new one (and perhaps a temporary file, see `atomic.is_leftover`).
    """
    # through a Python file: torch's own writer does not say why a write failed
    with atomic.new_file(path, _bytes(state)) as temporary, temporary.open("wb") as stream:
        torch.save(state, stream)


def load(path: Path) -> State:
    """Read what `save` wrote, onto the CPU.

    Raises:
        Corrupt: the file is not what was written (each record carries a CRC-32).
    """
    remedy = f"Remove {path} to start again from the beginning."
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_packed(archive)
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError) as error:
        # zipfile seeks and decodes where a damaged directory sends it
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise Corrupt(f"{path} is damaged ({error}). {remedy}") from error
    if broken is not None:
        raise Corrupt(f"{path} is damaged (record {broken} has another checksum than when it was written). {remedy}")
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise Corrupt(f"{path} is no checkpoint of ours ({reason}). Nothing in it was run. {remedy}") from error
    return state


def refuse_packed(archive: zipfile.ZipFile) -> None:
    """Raise BadZipFile for records that unpack to more than they are: torch stores its records as they are."""
    for record in archive.infolist():
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
            raise zipfile.BadZipFile(f"record {record.filename} is compressed, to unpack to {record.file_size:,} bytes")


def _bytes(value: Any) -> int:
    """Bytes of all tensors in a state."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_bytes, items))


def rng_state() -> State:
    """State of the global generators of Python, NumPy and PyTorch, CUDA devices included once they are in use."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": (version, list(words), gauss),
        "numpy": (kind, [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def all_rng_states() -> list[State]:
    """`rng_state` of every process that takes part, in their order; empty but in the first. All must call this."""
    if distributed.world().size == 1:
        return [rng_state()]
    packed = io.BytesIO()
    torch.save(rng_state(), packed)
    gathered = map(io.BytesIO, distributed.gather(packed.getvalue()))
    return [torch.load(each, weights_only=True) for each in gathered]


def set_rng_state(state: State) -> None:
    """Put back what `rng_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def snapshot(value: Any) -> Any:
    """Copy of `value` on the CPU that later training steps do not change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value


class Saver:
    """Saves one path in a thread: the training waits only while its state is copied in memory.

    The state given to `save` must not be changed afterwards: give a `snapshot`. A failed write is raised by the
    next call, or on leaving the `with` block.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, state: State) -> None:
        self.wait()
        self._pending = self._thread.submit(save, self.path, state)

    def wait(self) -> None:
        """Return once the last state is safely on disk."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()

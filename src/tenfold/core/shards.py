"""Arrays of many items in few files: safetensors shards with an index, resumable, verified, bounded in memory.

A folder holds `<number>-<first 16 hex of its sha256>.safetensors` files, each with the ids of its items in its header, and
`index.json`, written last. The same items in the same order give the same bytes, whatever kills came between.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from tenfold.core import atomic
from tenfold.core.errors import BadData, Corrupt

Array = npt.NDArray[Any]

INDEX = "index.json"
HEADERS = 64  # of shards last read that a reader holds: 3 kB an item
_SHARD = re.compile(r"(\d{5})-([0-9a-f]{16})\.safetensors")
_TYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32, "I32": np.int32,
    "U64": np.uint64, "I64": np.int64, "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip


class ShardWriter:
    """Writes named arrays of items, one `add` an item.

    A writer on a folder that a killed one left goes on behind its last whole shard: skip the ids in `done` and add the
    others in the same order. An earlier index is the folder's until the new one takes its place. Memory: about twice `shard_bytes`.

    Args:
        ids: all items that may be added, in their order: shards with others, which more or other data left, are not gone on from.
    """

    def __init__(self, folder: Path, shard_bytes: int = 64 << 20, ids: Iterable[str] | None = None) -> None:
        self.folder = folder
        self.shard_bytes = shard_bytes
        atomic.make_folder(folder)
        self._shards = _whole_shards(folder, None if ids is None else list(ids))
        self._finished = {id for shard in self._shards for id in shard["ids"]}
        self._open: dict[str, dict[str, Array]] = {}
        self._size = 0

    @property
    def done(self) -> Collection[str]:
        """Ids in finished shards."""
        return self._finished

    def add(self, id: str, arrays: Mapping[str, Array | torch.Tensor]) -> None:
        """Add one item. Arrays are copied. Types: booleans, integers and floats of up to 64 bits, float16 included.

        Raises:
            BadData: the id is there already, or an array has a type that cannot be stored.
        """
        if id in self._finished or id in self._open:
            raise BadData(f"{self.folder}: item {id!r} was added twice; ids must be unique.")
        item = {name: _storable(array, id, name) for name, array in arrays.items()}
        self._open[id] = item
        self._size += sum(array.nbytes for array in item.values())
        if self._size >= self.shard_bytes:
            self._flush()

    def close(self) -> None:
        """Write what is left, then the index, without which the folder is not readable."""
        self._flush()
        content = {"shards": self._shards, "arrays": _arrays(self.folder, self._shards)}
        atomic.write_json(self.folder / INDEX, {"sha256": _content_sha(content), **content})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()

    def _flush(self) -> None:
        if not self._open:
            return
        ids = list(self._open)
        tensors = {f"{row}/{name}": array for row, item in enumerate(self._open.values()) for name, array in item.items()}
        # One metadata entry only: safetensors writes several in no fixed order, and the bytes would differ from run to run.
        content = safetensors.numpy.save(tensors, metadata={"ids": json.dumps(ids)})
        sha = hashlib.sha256(content).hexdigest()
        name = f"{len(self._shards):05d}-{sha[:16]}.safetensors"
        atomic.write_bytes(self.folder / name, content)
        self._shards.append({"file": name, "sha256": sha, "bytes": len(content), "ids": ids})
        self._finished.update(ids)
        self._open, self._size = {}, 0


class ShardReader:
    """Reads what a `ShardWriter` wrote, in any order.

    Each shard's sha256 is checked before its first array is handed out. Memory: the arrays asked for, the ids and a few headers.

    Attributes:
        ids: all items, in the order in which they were added.
        shapes: shape of each named array, with None for a length that differs between items.

    Raises:
        Corrupt: a file is missing or is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = _read_index(folder)
        self._shards: list[dict[str, Any]] = index["shards"]
        self.ids: list[str] = [id for shard in self._shards for id in shard["ids"]]
        self.shapes: dict[str, tuple[int | None, ...]] = {name: tuple(array["shape"]) for name, array in index["arrays"].items()}
        self._place = {id: (number, row) for number, shard in enumerate(self._shards) for row, id in enumerate(shard["ids"])}
        self._whole: set[int] = set()
        self._headers: dict[int, tuple[int, list[dict[str, Any]]]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._place

    def get(self, id: str, names: Collection[str] | None = None) -> dict[str, Array]:
        """Arrays of one item by name, all of them or those in `names`.

        Raises:
            KeyError: no such item, or the item has no such array.
        """
        if id not in self._place:
            raise KeyError(f"{self.folder} has no item {id!r}")
        number, row = self._place[id]
        start, rows = self._verified(number)
        entries = rows[row]
        with (self.folder / self._shards[number]["file"]).open("rb", buffering=0) as stream:
            return {name: _read_array(stream.fileno(), start, entries[name]) for name in (entries if names is None else names)}

    def __iter__(self) -> Iterator[tuple[str, dict[str, Array]]]:
        for id in self.ids:
            yield id, self.get(id)

    def _verified(self, number: int) -> tuple[int, list[dict[str, Any]]]:
        """Offset of the data and the header's entries of each row, after a check of the whole file."""
        header = self._headers.get(number)
        if header is None:
            shard = self._shards[number]
            path = self.folder / shard["file"]
            if not path.is_file():
                raise Corrupt(f"{path} is missing. Remove {self.folder} and make it again.")
            if number not in self._whole and _sha(path) != shard["sha256"]:
                raise Corrupt(f"{path} is damaged: its sha256 is not the one in {INDEX}. Remove {self.folder} and make it again.")
            header = _header(path, len(shard["ids"]))
            self._whole.add(number)
            self._headers[number] = header
            for old in list(self._headers)[:-HEADERS]:
                self._headers.pop(old, None)
        return header


def _storable(array: Array | torch.Tensor, id: str, name: str) -> Array:
    values = array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    if values.dtype.type not in _TYPES.values():
        raise BadData(f"array {name!r} of item {id!r} has type {values.dtype}, which a shard cannot hold; convert it first.")
    # A copy: the caller may reuse its buffer before the shard is written. C order, which the file format takes for granted.
    return np.array(values, dtype=values.dtype.newbyteorder("="), order="C")


def _whole_shards(folder: Path, ids: list[str] | None) -> list[dict[str, Any]]:
    """Shards 0, 1, ... as far as they are whole and hold only `ids`, in this order. The rest goes: rewritten, it has the same bytes."""
    found = {int(match[1]): path for path in sorted(folder.iterdir()) if (match := _SHARD.fullmatch(path.name))}
    shards: list[dict[str, Any]] = []
    left = iter(ids or ())
    while (path := found.get(len(shards))) is not None:
        sha = _sha(path)
        if not path.name.startswith(f"{len(shards):05d}-{sha[:16]}."):
            break
        shard: dict[str, Any] = {"file": path.name, "sha256": sha, "bytes": path.stat().st_size, "ids": _ids(path)}
        # `in` goes forward only: each id stands behind the one before it.
        if ids is not None and not all(id in left for id in shard["ids"]):
            break
        shards.append(shard)
    kept = {shard["file"] for shard in shards}
    stale = [path for path in folder.iterdir() if atomic.is_leftover(path.name) or (_SHARD.fullmatch(path.name) and path.name not in kept)]
    if stale:
        # Before any shard that it names.
        (folder / INDEX).unlink(missing_ok=True)
    for path in stale:
        path.unlink()
    return shards


def _raw_header(path: Path) -> tuple[int, dict[str, Any]]:
    """Offset of the data (bytes) and the header: eight bytes of length, little endian, then JSON."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > path.stat().st_size - 8:
            raise Corrupt(f"{path} is damaged: its header claims {length:,} bytes, more than the file has. Remove it and make it again.")
        header: dict[str, Any] = json.loads(stream.read(length))
    return 8 + length, header


def _ids(path: Path) -> list[str]:
    ids: list[str] = json.loads(_raw_header(path)[1]["__metadata__"]["ids"])
    return ids


def _header(path: Path, count: int) -> tuple[int, list[dict[str, Any]]]:
    start, header = _raw_header(path)
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for key, entry in header.items():
        if key != "__metadata__":
            row, name = key.split("/", 1)
            rows[int(row)][name] = entry
    return start, rows


def _read_array(descriptor: int, start: int, entry: Mapping[str, Any]) -> Array:
    array = np.empty(entry["shape"], dtype=_TYPES[entry["dtype"]])
    if array.nbytes:
        view = memoryview(array.reshape(-1).view(np.uint8).data)
        done, offset = 0, start + int(entry["data_offsets"][0])
        while done < array.nbytes:
            read = os.preadv(descriptor, [view[done:]], offset + done)
            if read == 0:
                raise Corrupt("a shard ended before its data: it was changed while it was read. Make it again.")
            done += read
    return array


def _arrays(folder: Path, shards: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Type and common shape of each named array over all shards."""
    arrays: dict[str, dict[str, Any]] = {}
    for shard in shards:
        for row in _header(folder / shard["file"], len(shard["ids"]))[1]:
            for name, entry in row.items():
                known = arrays.setdefault(name, {"dtype": entry["dtype"], "shape": entry["shape"]})
                if len(known["shape"]) != len(entry["shape"]):
                    raise BadData(
                        f"{folder}: array {name!r} has {len(known['shape'])} axes in one item and {len(entry['shape'])} in another."
                    )
                known["shape"] = [a if a == b else None for a, b in zip(known["shape"], entry["shape"], strict=True)]
    return dict(sorted(arrays.items()))


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    remedy = f"Remove {folder} and make it again."
    if not path.is_file():
        raise Corrupt(f"{path} is missing: the writer was stopped before it was done. {remedy}")
    try:
        index: dict[str, Any] = json.loads(path.read_bytes())
        sha = index.pop("sha256")
    except (ValueError, KeyError, AttributeError) as error:
        raise Corrupt(f"{path} is damaged ({error}). {remedy}") from error
    if sha != _content_sha(index):
        raise Corrupt(f"{path} is damaged: its content does not have the sha256 it names. {remedy}")
    return index


def _content_sha(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

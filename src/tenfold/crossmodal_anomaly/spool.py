"""Per-pixel numbers of many parts on disk, so that memory does not grow with the parts: distances as they come, maps by their number."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Spool:
    """One file of float32 values a key, appended part by part. In memory: one part's values, and the lengths."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._keys: dict[str, list[int]] = {}

    def add(self, key: str, values: Float32) -> None:
        """Append the next part's values (pixels,)."""
        lengths = self._keys.setdefault(key, [])
        with self._path(key).open("ab" if lengths else "wb") as stream:
            stream.write(np.ascontiguousarray(values, np.float32).tobytes())
        lengths.append(int(values.size))

    def read(self, key: str) -> Iterator[Float32]:
        """The values of each part, in the order in which they were added."""
        with self._path(key).open("rb") as stream:
            for length in self._keys[key]:
                yield np.fromfile(stream, np.float32, length)

    def _path(self, key: str) -> Path:
        return self.folder / f"{list(self._keys).index(key):04d}.f32"


class Maps(Sequence[Float32]):
    """`count` maps (size, size) of float32 in one file: written and read one at a time, in any order. The system's page cache keeps what
    fits into memory."""

    def __init__(self, path: Path, count: int, size: int) -> None:
        self._count, self._size, self._bytes = count, size, 4 * size**2
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("w+b", buffering=0)
        self._stream.truncate(count * self._bytes)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < self._count:
            raise IndexError(f"map {i} of {self._count}")
        return np.frombuffer(os.pread(self._stream.fileno(), self._bytes, i * self._bytes), np.float32).reshape(self._size, self._size)

    def __setitem__(self, i: int, image: Float32) -> None:
        os.pwrite(self._stream.fileno(), np.ascontiguousarray(image, np.float32).data, i * self._bytes)

    def close(self) -> None:
        """Give the file back; the maps are gone with it when it is removed."""
        self._stream.close()

"""Per-pixel distances of many methods on disk: appended part by part, read back one method at a time."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Spool:
    """One file of float32 values a key. In memory: one method's values while they are read, and the lengths."""

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

    def read(self, key: str) -> list[Float32]:
        """The values of all parts, in the order in which they were added."""
        flat = np.fromfile(self._path(key), np.float32)
        return np.split(flat, np.cumsum(self._keys[key])[:-1])

    def _path(self, key: str) -> Path:
        return self.folder / f"{list(self._keys).index(key):04d}.f32"

"""The folder that the features stage makes, opened: memory-mapped rows of all clips, and an index that says whose they are.

x.npy (N, 135), pose6d.npy and global6d.npy (N, 132), pos.npy (N, 22, 3), float32, one row a frame at 60 Hz, clip after clip;
index.parquet; noise/<level>.npy with the rows of some clips as imperfect sensors give them, and noise/index.parquet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.core import tables
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.motion_tracking import columns, skeleton

Array = npt.NDArray[np.float32]

SPLITS = ("train", "validation", "test")
WIDTHS: dict[str, tuple[int, ...]] = {
    "x": (columns.WIDTH,),
    "pose6d": (columns.POSE_WIDTH,),
    "global6d": (columns.POSE_WIDTH,),
    "pos": (skeleton.COUNT, 3),
}
BETAS = [f"b{number}" for number in range(skeleton.BETAS)]
INDEX = pa.schema(
    {
        **dict.fromkeys(("clip_id", "split", "source", "subset", "subject", "group", "label", "gender"), pa.string()),
        "start": pa.int64(),
        "length": pa.int64(),
        **dict.fromkeys(BETAS, pa.float64()),
    }
)
NOISE_INDEX = pa.schema({"level": pa.string(), "clip_id": pa.string(), "start": pa.int64(), "length": pa.int64()})


@dataclass(frozen=True)
class Clip:
    """One clip: `length` rows from row `start` on; `source` is generated or real, `label` its kind, `group` what it must not be parted
    from; `betas` (16,).
    """

    id: str
    split: str
    source: str
    subset: str
    subject: str
    group: str
    label: str
    gender: str
    start: int
    length: int
    betas: tuple[float, ...]

    @property
    def rows(self) -> slice:
        """Its rows in every array."""
        return slice(self.start, self.start + self.length)

    @property
    def shape(self) -> npt.NDArray[np.float64]:
        """Its betas (16,)."""
        return np.array(self.betas)


@dataclass(frozen=True)
class Clips:
    """Rows of all clips, read from disk where they are touched; nothing of it is held in memory."""

    folder: Path
    x: Array
    pose6d: Array
    global6d: Array
    pos: Array
    index: tuple[Clip, ...]
    _noisy: dict[str, tuple[Array, dict[str, slice]]]

    @classmethod
    def open(cls, folder: Path) -> "Clips":
        """The features in `folder`. Raises BadData if a file is missing, Corrupt if an array is damaged or does not fit the index."""
        folder = Path(folder)
        arrays = {name: _array(folder / f"{name}.npy", width) for name, width in WIDTHS.items()}
        index = tuple(_clip(row) for row in tables.read(folder / "index.parquet").to_pylist())
        total = sum(clip.length for clip in index)
        for name, array in arrays.items():
            if len(array) != total:
                raise Corrupt(f"{folder / name}.npy has {len(array)} rows, the index {total}. Remove {folder} and make it again.")
        return cls(folder, **arrays, index=index, _noisy=_noise(folder / "noise"))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def levels(self) -> list[str]:
        """Noise levels of which there are rows, beside `clean`."""
        return list(self._noisy)

    def rows(self, split: str | None = None, source: str | None = None) -> list[Clip]:
        """The clips of a split and source (None: all), in the order of their rows. Raises UsageError for an unknown split."""
        if split is not None and split not in SPLITS:
            raise UsageError(f"split {split!r} is unknown; there are {', '.join(SPLITS)}.")
        return [clip for clip in self.index if split in (None, clip.split) and source in (None, clip.source)]

    def has(self, clip: Clip, noise: str) -> bool:
        """Whether there are rows of the clip at a noise level."""
        return noise == "clean" or clip.id in self._noisy.get(noise, ({}, {}))[1]

    def features(self, clip: Clip, noise: str = "clean") -> Array:
        """Rows (T, 135) of a clip, all sensors. Raises UsageError if it was not prepared at this noise level."""
        if noise == "clean":
            return self.x[clip.rows]
        if not self.has(clip, noise):
            raise UsageError(f"{clip.id} has no rows at noise level {noise!r}. Name the level in the recipe's block `features`.")
        rows, places = self._noisy[noise]
        return rows[places[clip.id]]


def _array(path: Path, width: Sequence[int]) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BadData(f"{path} is missing. Run the step that writes it again.") from None
    except (ValueError, OSError, EOFError) as error:
        raise Corrupt(f"{path} cannot be read ({error}). Remove its folder and make it again.") from error
    if array.dtype != np.float32 or array.shape[1:] != tuple(width):
        raise Corrupt(f"{path} holds {array.dtype} {array.shape}, wanted is float32 (N, {', '.join(map(str, width))}). Make it again.")
    return array


def _clip(row: dict[str, Any]) -> Clip:
    names = ("split", "source", "subset", "subject", "group", "label", "gender", "start", "length")
    return Clip(id=row["clip_id"], betas=tuple(row[name] for name in BETAS), **{name: row[name] for name in names})


def _noise(folder: Path) -> dict[str, tuple[Array, dict[str, slice]]]:
    if not folder.is_dir():
        return {}
    places: dict[str, dict[str, slice]] = {}
    for row in tables.read(folder / "index.parquet").to_pylist():
        places.setdefault(row["level"], {})[row["clip_id"]] = slice(row["start"], row["start"] + row["length"])
    return {level: (_array(folder / f"{level}.npy", (columns.WIDTH,)), where) for level, where in places.items()}

"""Views, tracks and scenes as every reader gives them, and the columns of the tables that they become.

Image points are px in COLMAP's convention: the centre of the top-left pixel is (0.5, 0.5).
"""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tenfold.core import files, tables
from tenfold.core.errors import BadData
from tenfold.core.files import Unreadable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MODALITIES = ("image", "tracks")
REFERENCE = ("fx", "fy", "cx", "cy", "s", "k1", "k2")
EXTRA: dict[str, pa.DataType] = {
    "label": pa.string(),
    "scene": pa.string(),
    "view": pa.int64(),
    "name": pa.string(),
    "camera": pa.string(),
    "width": pa.int64(),
    "height": pa.int64(),
    **{f"ref_{each}": pa.float64() for each in REFERENCE},
    "ref_pose": pa.list_(pa.float64()),
    "motion": pa.string(),
    "noise_px": pa.float64(),
    "outlier_ratio": pa.float64(),
    "jitter": pa.float64(),
    "warnings": pa.string(),
}
SAMPLES_SCHEMA = tables.samples_schema(MODALITIES, EXTRA)
QUARANTINE_SCHEMA = tables.quarantine_schema(MODALITIES, EXTRA)
TRACKS_SCHEMA = pa.schema([("track", pa.int64()), ("view", pa.int32()), ("x", pa.float64()), ("y", pa.float64())])

# Small tables by the hundred: a third smaller than with the defaults.
_ENCODING = {"track": "DELTA_BINARY_PACKED", "view": "DELTA_BINARY_PACKED", "x": "BYTE_STREAM_SPLIT", "y": "BYTE_STREAM_SPLIT"}
MAX_FILE_BYTES = 1 << 33


@dataclass(frozen=True)
class Reference:
    """What is known of a view: `k` = fx, fy, cx, cy, s (px), radial k1, k2; `pose` = R row by row, then t (X_cam = R X + t)."""

    k: tuple[float, float, float, float, float]
    k1: float | None = None
    k2: float | None = None
    pose: tuple[float, ...] | None = None


@dataclass(frozen=True)
class View:
    """One image. `image` is its file, relative to the source; None if there are only correspondences. Views share K by `camera`."""

    name: str
    camera: str
    width: int
    height: int
    image: Path | None = None
    reference: Reference | None = None


@dataclass(frozen=True)
class Tracks:
    """Observations, four columns of one length. `inlier` is the truth of a generated scene: no method sees it."""

    track: Ints
    view: Ints
    x: Floats
    y: Floats
    inlier: Bools | None = None

    def __len__(self) -> int:
        return len(self.track)

    def where(self, keep: npt.NDArray[Any]) -> "Tracks":
        """The observations that `keep` (mask or indices) selects."""
        return Tracks(self.track[keep], self.view[keep], self.x[keep], self.y[keep], None if self.inlier is None else self.inlier[keep])

    def table(self) -> pa.Table:
        """Columns of TRACKS_SCHEMA, and `inlier` if it is known, sorted by track and view."""
        order = np.lexsort((self.view, self.track))
        columns: list[npt.NDArray[Any]] = [self.track, self.view.astype(np.int32), self.x, self.y]
        table = pa.Table.from_arrays([pa.array(each[order]) for each in columns], schema=TRACKS_SCHEMA)
        return table if self.inlier is None else table.append_column("inlier", pa.array(self.inlier[order]))


@dataclass
class Scene:
    """Views of one place, as a reader found them; `tracks` is None where correspondences must still be made. `view` counts `views`."""

    name: str
    views: list[View]
    tracks: Tracks | None
    motion: str = ""
    noise_px: float | None = None
    outlier_ratio: float | None = None
    jitter: float | None = None
    warnings: list[str] = field(default_factory=list)


def parquet(tracks: Tracks) -> bytes:
    """The file of one scene's tracks; the same tracks give the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(tracks.table(), buffer, compression="zstd", use_dictionary=False, write_statistics=False, column_encoding=_ENCODING)
    return buffer.getvalue()


def read_tracks(path: Path) -> Tracks:
    """Tracks of one file. Raises BadData if it is absent or has not the columns of TRACKS_SCHEMA, Corrupt if it is no Parquet."""
    table = tables.read(path)
    missing = [name for name in TRACKS_SCHEMA.names if name not in table.column_names]
    if missing:
        raise BadData(f"{path} has no column {missing[0]!r}; tracks have {', '.join(TRACKS_SCHEMA.names)}. Make the dataset again.")
    inlier = table["inlier"].to_numpy(zero_copy_only=False).astype(bool) if "inlier" in table.column_names else None
    track, view = (table[name].to_numpy().astype(np.int64) for name in ("track", "view"))
    x, y = (table[name].to_numpy().astype(np.float64) for name in ("x", "y"))
    return Tracks(track, view, x, y, inlier)


def empty_row(scene: str, view: int | None = None, name: str | None = None) -> dict[str, Any]:
    """A row of the table of samples in which only the names are given."""
    row: dict[str, Any] = dict.fromkeys(SAMPLES_SCHEMA.names)
    place = scene if view is None and name is None else f"{scene}/{name if view is None else view}"
    return row | {
        "id": place,
        "unit": "",
        "split": "all",
        "label": "",
        "scene": scene,
        "view": view,
        "name": name,
        "motion": "",
        "warnings": "",
    }


def view_row(scene: Scene, name: str, index: int, view: View) -> dict[str, Any]:
    """The row of one view of the group `name`, without its files' hashes."""
    row = empty_row(name, index, view.name)
    row |= {"label": scene.motion, "motion": scene.motion, "noise_px": scene.noise_px, "outlier_ratio": scene.outlier_ratio}
    row |= {"jitter": scene.jitter, "camera": view.camera, "width": view.width, "height": view.height}
    known = view.reference
    if known is not None:
        values = (*known.k, known.k1, known.k2)
        row |= {f"ref_{each}": value for each, value in zip(REFERENCE, values, strict=True)}
        row["ref_pose"] = None if known.pose is None else list(known.pose)
    return row | {"warnings": "; ".join(scene.warnings)}


def file_facts(root: Path, relative: Path) -> tuple[str, int]:
    """sha256 and size of `root/relative`. Raises Unreadable for links that leave the root, giants and whatever is no regular file."""
    try:
        real, size = files.regular(root, relative, MAX_FILE_BYTES)
        with real.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), size
    except FileNotFoundError:
        raise Unreadable("missing_image", f"{relative} is missing") from None
    except (OSError, RuntimeError) as error:
        raise Unreadable("unreadable_file", f"{relative}: {error}") from error


def image_size(root: Path, relative: Path, decode: bool) -> tuple[int, int]:
    """(width, height) px of a photo; with `decode` all of it is read. Raises Unreadable for what is no whole picture."""
    from PIL import Image

    try:
        with Image.open(root / relative, formats=("JPEG", "PNG", "TIFF", "BMP")) as image:
            if decode:
                image.load()
            return image.size
    except FileNotFoundError:
        raise Unreadable("missing_image", f"{relative} is missing") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Unreadable("unreadable_image", f"{relative}: {error}") from error


def whole(value: float, where: str, most: float = 2.0**53) -> int:
    """`value` as a whole number from 0 to `most`. Raises Unreadable with `where` for anything else."""
    if 0 <= value <= most and value == int(value):
        return int(value)
    raise Unreadable("unreadable_file", f"{where}: {value:g} is no number or size from 0 to {most:g}")


def text(path: Path) -> list[str]:
    """Lines of a text file. Raises Unreadable that names the file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise Unreadable("missing_file", f"{path.name} is missing in {path.parent.name}") from None
    except UnicodeDecodeError as error:
        raise Unreadable("unreadable_file", f"{path.name}: byte {error.start} is no text") from error
    except OSError as error:
        raise Unreadable("unreadable_file", f"{path.name}: {error}") from error


def numbers(line: str, count: int, where: str) -> list[float]:
    """`count` numbers of a line of text. Raises Unreadable with `where` (file and line) for anything else."""
    words = line.split()
    try:
        if len(words) == count:
            return [float(each) for each in words]
    except ValueError:
        pass
    raise Unreadable("unreadable_file", f"{where}: {count} numbers are wanted, {line.strip()[:60]!r} stands there")

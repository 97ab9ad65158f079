"""What sensors say, as files and pipes tell it: JSON lines, CSV or Parquet rows (specification section 3.3), a frame at a time.

Columns: `t` in s; `{head,lhand,rhand}_{px,py,pz,qw,qx,qy,qz}` in m, z up; optional `{lshin,rshin,pelvis}_{qw,qx,qy,qz,ax,ay,az}` in m/s^2,
world axes, gravity removed. An empty cell, null or NaN: that sensor says nothing in this frame.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic
from tenfold.core.errors import BadData
from tenfold.motion_tracking import columns

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

COUNT = len(columns.SENSORS)
POSED = 3
"""Head and hands, the first sensors, have a position; the others have an acceleration."""
_QUATERNION = ("qw", "qx", "qy", "qz")
_PARTS = [("px", "py", "pz", *_QUATERNION) if i < POSED else (*_QUATERNION, "ax", "ay", "az") for i in range(COUNT)]
NAMES = tuple(f"{sensor}_{part}" for sensor, parts in zip(columns.SENSORS, _PARTS, strict=True) for part in parts)
"""The 42 columns beside `t`, seven a sensor."""
MOST_CHARACTERS = 1 << 16
"""Of a line: a frame has less than 2000."""
BATCH = 1024


class Reading(NamedTuple):
    """One frame: time (s) and the values (6, 7) of the sensors, in the order of NAMES; NaN where nothing was said."""

    t: float
    values: Floats


class Unread(NamedTuple):
    """A line that is no frame, and why."""

    why: str


Line = Reading | Unread
Lines = Iterator[Line]


@contextmanager
def opened(source: str, standard_input: IO[str]) -> Iterator[Lines]:
    """The frames of a file (by its ending: .jsonl, .ndjson, .json, .csv, .parquet; otherwise as its first character says) or of `-`.

    Raises BadData for a file that cannot be opened or whose columns are not those of a stream.
    """
    if source == "-":
        yield text(standard_input, "standard input")
        return
    path = Path(source)
    if path.suffix.lower() in (".parquet", ".pq"):
        yield _parquet(path)
        return
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            yield text(file, source)
    except OSError as error:
        raise BadData(f"{source} cannot be read ({error.strerror or error}); name a recording, or - for standard input") from error


def text(lines: IO[str], name: str) -> Iterator[Line]:
    """Frames of JSON lines, or of CSV with a first line of names. Reads no further than the line it returns."""
    bounded = _bounded(lines)
    first = next((line for line in bounded if not isinstance(line, str) or line.strip()), None)
    if first is None:
        return
    if isinstance(first, str) and not first.lstrip("\ufeff \t").startswith(("{", "[")):
        yield from _csv(first.lstrip("\ufeff"), bounded, name)
        return
    for line in _with(first, bounded):
        if isinstance(line, Unread):
            yield line
        elif line.strip():
            yield _json(line)


def table(frame: "pd.DataFrame", name: str) -> list[Reading]:
    """The rows of a table. Without a column `t` they are taken to be 60 Hz. Raises BadData for other columns or cells that are no numbers."""
    from tenfold.motion_tracking.skeleton import RATE_HZ

    names = [str(column) for column in frame.columns]
    places = _places(names, name, timed=False)
    try:
        cells = frame.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise BadData(f"{name}: a cell is no number ({error}); send numbers, and nothing where a sensor is silent") from error
    times = cells[:, names.index("t")] if "t" in names else np.arange(len(cells)) / RATE_HZ
    values = np.full((len(cells), len(NAMES)), np.nan)
    for place, column in places:
        values[:, place] = cells[:, column]
    return [Reading(float(t), row.reshape(COUNT, 7)) for t, row in zip(times, values, strict=True)]


def write(path: Path, readings: Sequence[Reading]) -> None:
    """The frames as CSV: `t` and the columns of sensors that ever say something; an empty cell where one is silent."""
    values = np.stack([each.values for each in readings])
    spoken = np.repeat(np.isfinite(values).any(axis=(0, 2)), values.shape[2])
    lines = [",".join(["t", *(name for name, there in zip(NAMES, spoken, strict=True) if there)])]
    for each, row in zip(readings, values.reshape(len(values), -1)[:, spoken].tolist(), strict=True):
        lines.append(",".join([f"{each.t:.9g}", *("" if math.isnan(cell) else f"{cell:.9g}" for cell in row)]))
    atomic.write_text(path, "\n".join(lines) + "\n")


def names_of(names: Iterable[str]) -> list[str]:
    """Which of a table's columns belong to a stream."""
    known = {"t", *NAMES}
    return [name for name in names if name in known]


def _parquet(path: Path) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            kept = names_of(file.schema_arrow.names)
            _places(kept, str(path), timed=True)
            for batch in file.iter_batches(BATCH, columns=kept):
                yield from table(batch.to_pandas(), str(path))
    except (OSError, pa.ArrowException) as error:
        raise BadData(f"{path} cannot be read as Parquet ({error}); write it again, or send CSV or JSON lines") from error


def _csv(header: str, rest: Iterator[str | Unread], name: str) -> Iterator[Line]:
    names = [word.strip() for word in next(csv.reader([header]), [])]
    places, time = _places(names, name, timed=True), names.index("t")
    width = len(names)
    for line in rest:
        if isinstance(line, Unread):
            yield line
            continue
        try:
            cells = next(csv.reader([line]), [])
        except csv.Error as error:
            yield Unread(str(error))
            continue
        if not cells:
            continue
        if len(cells) != width:
            yield Unread(f"{len(cells)} cells where the first line has {width}")
            continue
        try:
            values = [math.nan] * len(NAMES)
            for place, column in places:
                cell = cells[column]
                values[place] = float(cell) if cell.strip() else math.nan
            yield Reading(float(cells[time]), np.array(values).reshape(COUNT, 7))
        except ValueError as error:
            yield Unread(str(error))


def _json(line: str) -> Line:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unread(f"no JSON ({error})")
    if not isinstance(found, dict) or "t" not in found:
        return Unread("no object with `t`")
    try:
        return Reading(_number(found["t"]), np.array([_number(found.get(name)) for name in NAMES]).reshape(COUNT, 7))
    except (TypeError, OverflowError) as error:
        return Unread(str(error))


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return float(value)


def _places(names: Sequence[str], name: str, timed: bool) -> list[tuple[int, int]]:
    """(place in NAMES, column) of each column that is there; others are left alone. Raises BadData for a sensor that is there by half."""
    index: Mapping[str, int] = {column: number for number, column in enumerate(names)}
    if timed and "t" not in index:
        raise BadData(f"{name} has no column `t` (time in s); columns: {', '.join(names)[:300] or 'none'}")
    for sensor, parts in zip(columns.SENSORS, _PARTS, strict=True):
        missing = [f"{sensor}_{part}" for part in parts if f"{sensor}_{part}" not in index]
        if missing and (len(missing) < len(parts) or sensor == columns.SENSORS[0]):
            raise BadData(f"{name} has no column {', '.join(missing)}; a sensor needs all of its seven, and the head must be there")
    return [(place, index[column]) for place, column in enumerate(NAMES) if column in index]


def _bounded(lines: IO[str]) -> Iterator[str | Unread]:
    """Lines, but not those without end."""
    while line := lines.readline(MOST_CHARACTERS):
        if len(line) < MOST_CHARACTERS or line.endswith("\n"):
            yield line
            continue
        while (more := lines.readline(MOST_CHARACTERS)) and not more.endswith("\n"):
            pass
        yield Unread(f"a line of more than {MOST_CHARACTERS} characters")


def _with(first: str | Unread, rest: Iterator[str | Unread]) -> Iterator[str | Unread]:
    yield first
    yield from rest

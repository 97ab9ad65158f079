"""How far the sensors' columns have moved from one set of rows to another, token by token (specification section 11)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.core import tables
from tenfold.core.errors import BadData
from tenfold.core.stage import Note
from tenfold.motion_tracking import columns

Floats = npt.NDArray[np.float64]

STATS_FILE = "stats.parquet"
STATS = pa.schema({"column": pa.int64(), "token": pa.string(), **dict.fromkeys(("mean", "std", "min", "max"), pa.float64())})
DRIFT = pa.schema(
    {
        "against": pa.string(), "token": pa.string(), "shift": pa.float64(), "spread": pa.float64(), "worst_column": pa.int64(),
        "drifted": pa.bool_(),
    }
)  # fmt: skip
FAR, WIDE = 0.5, float(np.log(2.0))
"""A token has drifted if its columns' means moved by half a standard deviation (RMS), or their spread by a factor of two."""
# Below this a column is constant: a change of 1e-4 in a 6D value, a metre or a m/s^2 says nothing.
_LEAST_STD = 1e-4


def tokens() -> list[str]:
    """The token of each of the 135 columns."""
    of = [""] * columns.WIDTH
    for token, ranges in columns.TOKENS.items():
        for first, last in ranges:
            of[first:last] = [token] * (last - first)
    return of


@dataclass
class Moments:
    """Running mean, spread and range of columns, float64; rows are added a clip at a time (Chan et al., 1979)."""

    count: int
    mean: Floats
    square: Floats
    least: Floats
    most: Floats

    @classmethod
    def none(cls, width: int = columns.WIDTH) -> "Moments":
        """Of no rows yet."""
        return cls(0, np.zeros(width), np.zeros(width), np.full(width, np.inf), np.full(width, -np.inf))

    def add(self, rows: npt.NDArray[np.floating]) -> None:
        """Take in rows (n, width)."""
        if not len(rows):
            return
        values = np.asarray(rows, np.float64)
        own = values.mean(0)
        step, total = own - self.mean, self.count + len(values)
        self.square += ((values - own) ** 2).sum(0) + step**2 * (self.count * len(values) / total)
        self.mean += step * (len(values) / total)
        self.least, self.most = np.minimum(self.least, values.min(0)), np.maximum(self.most, values.max(0))
        self.count = total

    @property
    def std(self) -> Floats:
        """Standard deviation of the population."""
        return np.sqrt(self.square / max(self.count, 1))

    def table(self) -> pa.Table:
        """A row a column (STATS); zeros if there were no rows."""
        some = self.count > 0
        values = (self.mean, self.std, *(each if some else np.zeros_like(each) for each in (self.least, self.most)))
        return pa.Table.from_arrays([pa.array(np.arange(len(self.mean))), pa.array(tokens()), *map(pa.array, values)], schema=STATS)


def compare(reference: pa.Table, now: pa.Table, against: str) -> pa.Table:
    """Drift (DRIFT, a row a token) of `now` from `reference`, both as `Moments.table` gives them; `against` names the reference.

    `shift`: RMS over the token's columns of the means' difference in reference standard deviations; `spread`: RMS of the logarithm of
    the ratio of the standard deviations.
    """
    mean, std = _columns(reference)
    other_mean, other_std = _columns(now)
    shift = (other_mean - mean) / std
    spread = np.log(other_std / std)
    of = np.array(tokens())
    rows = []
    for token in columns.TOKENS:
        mine = np.flatnonzero(of == token)
        far, wide = (float(np.sqrt((each[mine] ** 2).mean())) for each in (shift, spread))
        worst = int(mine[(np.abs(shift[mine]) + np.abs(spread[mine])).argmax()])
        rows.append([against, token, far, wide, worst, far > FAR or wide > WIDE])
    return pa.Table.from_pylist([dict(zip(DRIFT.names, row, strict=True)) for row in rows], DRIFT)


def since(previous: Path, now: Path) -> pa.Table:
    """Drift (DRIFT) of the train clips in the features folder `now` from those in the features folder `previous`.

    Raises BadData where `previous` has no statistics, or those of other columns; Corrupt where they cannot be read.
    """
    reference, found = (tables.read(folder / STATS_FILE) for folder in (previous, now))
    if not reference.schema.equals(STATS) or reference["token"] != found["token"]:
        raise BadData(f"{previous / STATS_FILE} describes other columns than today's: there is nothing to compare.")
    return compare(reference, found, "previous version")


def note(label: str, moved: pa.Table) -> Note:
    """A drift as people see it."""
    rows = [[row["against"], row["token"], round(row["shift"], 2), round(row["spread"], 2), row["drifted"]] for row in moved.to_pylist()]
    return Note(label, "table", {"columns": ["against", "token", "shift", "spread", "drifted"], "rows": rows})


def _columns(stats: pa.Table) -> tuple[Floats, Floats]:
    mean, std = (stats[name].to_numpy() for name in ("mean", "std"))
    return mean, np.maximum(std, _LEAST_STD)

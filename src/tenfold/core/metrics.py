"""`metrics.parquet`, one row a number, the same in all papers; and the statistics that papers share."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Better = Literal["up", "down", "none"]

METRICS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("paper", "dataset", "partition", "method", "variant")),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("slice", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("lo", pa.float64()),
        pa.field("hi", pa.float64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("better", pa.string(), nullable=False),
        pa.field("scale", pa.string(), nullable=False),
        pa.field("timing", pa.bool_(), nullable=False),
        pa.field("model_key", pa.string(), nullable=False),
        pa.field("data_version", pa.string(), nullable=False),
    ]
)

# At most this many indices of a bootstrap in memory at once (32 MB).
_CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number and what it was measured on. NaN or None as `value` needs a `reason`; `lo`, `hi` bound the 95 % interval.

    `n`: samples the value rests on. `scale`: its unit (`mm`, `ms`, `1`). `timing`: left out of comparisons between runs.
    """

    paper: str
    dataset: str
    partition: str
    method: str
    variant: str = ""
    seed: int = 0
    slice: str = "all"
    metric: str
    value: float | None
    lo: float | None = None
    hi: float | None = None
    reason: str = ""
    n: int
    better: Better
    scale: str = "1"
    timing: bool = False
    model_key: str = ""
    data_version: str = ""

    @property
    def identity(self) -> tuple[str, str, str, int, str, str]:
        """What makes a row unique in its table."""
        return self.partition, self.method, self.variant, self.seed, self.slice, self.metric


@dataclass(frozen=True)
class Subject:
    """What rows are about: the columns that all rows of one network or baseline share (`identity`: paper, dataset, partition, ...)."""

    identity: dict[str, str] = field(hash=False)
    method: str
    variant: str = ""
    seed: int = 0

    def row(
        self,
        metric: str,
        value: float | None,
        n: int,
        better: Better,
        *,
        slice: str = "all",
        lo: float | None = None,
        hi: float | None = None,
        reason: str = "",
        scale: str = "1",
        timing: bool = False,
    ) -> Row:
        """One number. None, NaN and infinities become null with `reason`; an interval needs a value and both ends."""
        missing = value is None or not math.isfinite(value)
        bounded = not missing and lo is not None and hi is not None and math.isfinite(lo) and math.isfinite(hi)
        shared: dict[str, Any] = {"method": self.method, "variant": self.variant, "seed": self.seed, **self.identity}
        return Row(
            metric=metric,
            value=None if missing else value,
            lo=lo if bounded else None,
            hi=hi if bounded else None,
            reason=(reason or "not a finite number") if missing else "",
            n=n,
            better=better,
            scale=scale,
            timing=timing,
            slice=slice,
            **shared,
        )


def to_table(rows: Iterable[Row]) -> pa.Table:
    """`rows` as a table of METRICS_SCHEMA; NaN becomes null.

    Raises ValueError for a bad metric name, a null without reason, bounds in the wrong order, or a number given twice.
    """
    records: list[dict[str, Any]] = []
    seen: Counter[tuple[str, str, str, int, str, str]] = Counter()
    for row in rows:
        if not re.fullmatch(r"[a-z0-9_]+", row.metric):
            raise ValueError(f"metric {row.metric!r} must be made of a-z, 0-9 and _")
        if row.better not in get_args(Better):
            raise ValueError(f"metric {row.metric}: better {row.better!r} is none of {', '.join(get_args(Better))}")
        record = asdict(row) | {name: _or_none(getattr(row, name)) for name in ("value", "lo", "hi")}
        if record["value"] is None and not row.reason:
            raise ValueError(f"{row.identity}: a missing value needs a reason")
        if record["lo"] is not None and record["hi"] is not None and record["lo"] > record["hi"]:
            raise ValueError(f"{row.identity}: lo {row.lo} exceeds hi {row.hi}")
        seen[row.identity] += 1
        records.append(record)
    twice = [identity for identity, count in seen.items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} numbers are given more than once, first {twice[0]}")
    return pa.Table.from_pylist(records, schema=METRICS_SCHEMA)


def from_table(table: pa.Table) -> list[Row]:
    """The rows of a metrics table."""
    return [Row(**record) for record in table.select(METRICS_SCHEMA.names).to_pylist()]


def _or_none(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    `labels` (0/1 or bool) and `scores` of any same shape are flattened. NaN when one class is absent. Raises ValueError for
    other labels, NaN scores or different shapes. Mann and Whitney 1947.
    """
    positive, values = _checked(labels, scores)
    above = np.sort(values[positive])
    below = np.sort(values[~positive])
    if not above.size or not below.size:
        return math.nan
    wins = int(np.searchsorted(below, above, "left").sum(dtype=np.int64))
    wins_and_ties = int(np.searchsorted(below, above, "right").sum(dtype=np.int64))
    return (wins + wins_and_ties) / (2 * above.size * below.size)


def auroc_rows(labels: npt.ArrayLike, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`auroc` of each row of two arrays (draws, items) at once, for `bootstrap`; NaN where a row has one class only."""
    positive, values = _checked(labels, scores)
    if positive.ndim != 2:
        raise ValueError(f"labels and scores must be (draws, items), not {positive.shape}")
    draws, items = positive.shape
    if not items:
        return np.full(draws, math.nan)
    order = np.argsort(values, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    positive = np.take_along_axis(positive, order, axis=1)
    # Negatives before an item's group of ties, and up to its end.
    negatives = np.concatenate([np.zeros((draws, 1), np.int64), np.cumsum(~positive, axis=1)], axis=1)
    starts = np.ones((draws, items), bool)
    starts[:, 1:] = values[:, 1:] != values[:, :-1]
    ends = np.ones((draws, items), bool)
    ends[:, :-1] = starts[:, 1:]
    place = np.arange(items)
    start = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    end = np.minimum.accumulate(np.where(ends, place + 1, items)[:, ::-1], axis=1)[:, ::-1]
    wins = np.take_along_axis(negatives, start, axis=1) + np.take_along_axis(negatives, end, axis=1)
    pairs = positive.sum(axis=1) * negatives[:, -1]
    total = np.where(positive, wins, 0).sum(axis=1)
    area = np.full(draws, math.nan)
    np.divide(total, 2 * pairs, out=area, where=pairs > 0)
    return area


def _checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
    truth, values = np.asarray(labels), np.asarray(scores)
    if truth.shape != values.shape:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} differ in shape")
    positive = truth.astype(bool)
    if not np.array_equal(positive, truth):
        raise ValueError("labels must be 0 or 1")
    if np.isnan(values).any():
        raise ValueError("scores hold NaN")
    return positive, values


def bootstrap(
    n_items: int,
    statistic: Callable[[npt.NDArray[np.int64]], npt.ArrayLike],
    draws: int,
    seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval (lo, hi) of `statistic` over items drawn with replacement. Efron 1979.

    `statistic` gets item indices (k, n_items), one draw a row, and returns k values: for instance
    `lambda i: auroc_rows(labels[i], scores[i])` or `lambda i: values[i].mean(axis=1)`. Draws on which it is NaN (one class only)
    are left out. (NaN, NaN) without items, draws or a finite value.
    """
    generator = np.random.default_rng(seed)
    values: list[npt.NDArray[np.float64]] = []
    rows = max(1, _CHUNK // max(n_items, 1))
    for first in range(0, draws if n_items else 0, rows):
        count = min(rows, draws - first)
        found = np.asarray(statistic(generator.integers(0, n_items, (count, n_items))), np.float64)
        if found.shape != (count,):
            raise ValueError(f"statistic must return {count} values, one a draw, not shape {found.shape}")
        values.append(found)
    finite = np.concatenate(values) if values else np.empty(0)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return math.nan, math.nan
    lo, hi = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)

"""PRO and ROC curves as points, kept apart by part, so that resampling parts costs a matrix product.

The exact AUPRO of one resample needs a new ranking of millions of pixels. Here the curve is kept at a few hundred thresholds, dense
at low false-positive rates; per part and threshold there is one count of false positives and one sum of covered region fractions. A
resample of the parts is a vector of multiplicities, and its curve is a ratio of two sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.crossmodal_anomaly.aupro import Counts, Float, Float32, Int, Maps, Truth

Times = npt.NDArray[np.uint16] | npt.NDArray[np.uint32] | Int
BLOCK = 1 << 22
"""Numbers of resamples times parts that are weighed at a time (32 MiB of float64)."""


@dataclass(frozen=True)
class PartCurves:
    """At Q thresholds, descending: false positives (n, Q), covered region fractions summed over a part's regions (n, Q),
    defect pixels found (n, Q); defect-free pixels (n,), regions (n,), defect pixels (n,)."""

    thresholds: Float
    false: Float
    covered: Float
    found: Float
    ok: Float
    regions: Float
    defect: Float

    def total(self, members: Sequence[int] | Int) -> tuple[Float, Float, Float]:
        """FPR, PRO and TPR of a set of parts, starting at (0, 0, 0)."""
        m = np.asarray(members, np.int64)
        fpr = self.false[m].sum(0) / max(1.0, self.ok[m].sum())
        pro = self.covered[m].sum(0) / max(1.0, self.regions[m].sum())
        tpr = self.found[m].sum(0) / max(1.0, self.defect[m].sum())
        return np.append(0.0, fpr), np.append(0.0, pro), np.append(0.0, tpr)


def part_curves(truth: Truth, maps: Maps, counts: Counts) -> PartCurves:
    """What each part has at or above the thresholds `counts.curve`."""
    ascending = np.unique(counts.curve)
    n, q = len(truth), ascending.size
    false, covered, found = np.zeros((n, q)), np.zeros((n, q)), np.zeros((n, q))
    for i in range(n):
        if not truth.used[i] or q == 0:
            continue
        one = np.asarray(maps[i], np.float32).reshape(-1)
        ok = one[truth.ok(i)]
        ok = np.sort(ok[ok >= ascending[0]])
        false[i] = ok.size - np.searchsorted(ok, ascending[::-1], side="left")
        defect = one[truth.pixels[i]]
        covered[i] = _at_or_above(defect, ascending, truth.pixel_weights(i))
        found[i] = _at_or_above(defect, ascending, None)
    return PartCurves(
        thresholds=ascending[::-1].astype(np.float64),
        false=false,
        covered=covered,
        found=found,
        ok=np.asarray(truth.n_ok, np.float64),
        regions=np.asarray([s.size for s in truth.region_sizes], np.float64),
        defect=np.asarray([p.size if u else 0 for p, u in zip(truth.pixels, truth.used, strict=True)], np.float64),
    )


def multiplicities(kinds: Sequence[str], draws: int, rng: np.random.Generator) -> Times:
    """(draws, n) counts of every part, as the least type that holds them, in resamples with replacement, within each kind: how many parts
    a kind has is the dataset's design, not chance, and every resample keeps good and defective parts."""
    out = np.zeros((draws, len(kinds)), np.result_type(np.uint16, np.min_scalar_type(len(kinds))))
    for kind in dict.fromkeys(kinds):
        where = np.flatnonzero(np.asarray(kinds) == kind)
        step = max(1, BLOCK // where.size)
        for start in range(0, draws, step):
            rows = min(step, draws - start)
            out[start : start + rows, where] = rng.multinomial(where.size, np.full(where.size, 1.0 / where.size), size=rows)
    return out


def aupro_draws(curves: PartCurves, times: Times, members: Sequence[int], limit: float) -> Float:
    """AUPRO@limit of every resample (draws,), from the curve's points by trapezoid.

    Beyond the last threshold the curve is held flat: that part is the tie of the background, which earns nothing below FPR 1.
    """
    m = np.asarray(members, np.int64)
    false, covered, ok, regions = curves.false[m], curves.covered[m], curves.ok[m], curves.regions[m]
    parts = [
        ((c @ false) / np.maximum(1.0, c @ ok)[:, None], (c @ covered) / np.maximum(1.0, c @ regions)[:, None]) for c in _weights(times, m)
    ]
    fpr, pro = (np.concatenate(each) for each in zip(*parts, strict=True))
    zero, one = np.zeros((len(fpr), 1)), np.ones((len(fpr), 1))
    x = np.concatenate([zero, fpr, np.maximum(one * limit, fpr[:, -1:])], axis=1)
    y = np.concatenate([zero, pro, pro[:, -1:]], axis=1)
    trapezoids = np.cumsum(np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1]), axis=1) / 2.0
    # the last point at or before the limit; the segment behind it is cut by linear interpolation
    last = np.maximum((x <= limit).sum(1, keepdims=True) - 1, 0)
    behind = np.minimum(last + 1, x.shape[1] - 1)
    (x0, x1), (y0, y1) = ([np.take_along_axis(v, i, 1)[:, 0] for i in (last, behind)] for v in (x, y))
    done = np.where(last[:, 0] > 0, np.take_along_axis(trapezoids, np.maximum(last - 1, 0), 1)[:, 0], 0.0)
    slope = (y1 - y0) / np.maximum(x1 - x0, np.finfo(np.float64).tiny)
    rest = limit - x0
    return np.asarray((done + rest * (y0 + slope * rest / 2.0)) / limit, np.float64)


def auroc_draws(labels: Int, scores: Float, times: Times, members: Sequence[int]) -> Float:
    """Image AUROC of every resample (draws,); ties count one half. NaN where a class is absent."""
    m = np.asarray(members, np.int64)
    bad, good = m[labels[m] == 1], m[labels[m] == 0]
    if not bad.size or not good.size:
        return np.full(len(times), np.nan)
    bad, good = (each[np.argsort(scores[each], kind="stable")] for each in (bad, good))
    # how many good parts, in ascending order, a bad one leaves behind: strictly, and with those it ties with
    behind, level = (np.searchsorted(scores[good], scores[bad], side=side) for side in ("left", "right"))
    draws = []
    for cb, cg in zip(_weights(times, bad), _weights(times, good), strict=True):
        passed = np.concatenate([np.zeros((len(cg), 1)), np.cumsum(cg, axis=1)], axis=1)
        wins = (passed[:, behind] + passed[:, level]) / 2.0
        draws.append((cb * wins).sum(1) / (cb.sum(1) * cg.sum(1)))
    return np.concatenate(draws)


def interval(draws: Float, value: float, binned: float | None = None) -> tuple[float, float] | tuple[None, None]:
    """95 % percentile interval, moved by (value - binned): the draws come from the binned curve, the value from the exact one."""
    if not np.isfinite(draws).all() or draws.size == 0:
        return None, None
    lo, hi = np.quantile(draws, [0.025, 0.975]) + (0.0 if binned is None else value - binned)
    return float(lo), float(hi)


def _weights(times: Times, members: Int) -> Iterator[Float]:
    """Multiplicities (draws, members) as floats, so many draws at a time that memory does not grow with the parts."""
    step = max(1, BLOCK // max(1, times.shape[1]))
    for start in range(0, len(times), step):
        yield times[start : start + step, members].astype(np.float64)


def _at_or_above(values: Float32, ascending: Float32, weights: Float | None) -> Float:
    """For thresholds descending: how many values (or how much weight) lie at or above each."""
    bins = np.searchsorted(ascending, values, side="right")
    per = np.bincount(bins, weights=weights, minlength=ascending.size + 1)
    return np.cumsum(per[:0:-1], dtype=np.float64)

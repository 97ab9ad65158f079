"""PRO and ROC curves as points, kept apart by part, so that resampling parts costs a matrix product.

The exact AUPRO of one resample needs a new ranking of millions of pixels. Here the curve is kept at a few hundred thresholds, dense
at low false-positive rates; per part and threshold there is one count of false positives and one sum of covered region fractions. A
resample of the parts is a vector of multiplicities, and its curve is a ratio of two sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tenfold.crossmodal_anomaly.aupro import Counts, Float, Float32, Int, Maps, Truth

POINTS = 128


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


def part_curves(truth: Truth, maps: Maps, counts: Counts, points: int = POINTS) -> PartCurves:
    """Thresholds equally spaced in the square root of the pooled rank over `counts.top`, and what each part has at or above them."""
    last = counts.top.size - 1
    rank = np.unique(np.round(last * np.linspace(0.0, 1.0, points) ** 2).astype(np.int64)) if last >= 0 else np.zeros(0, np.int64)
    ascending = np.unique(counts.top[rank])
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


def multiplicities(kinds: Sequence[str], draws: int, rng: np.random.Generator) -> Int:
    """(draws, n) counts of every part in resamples with replacement, within each kind: how many parts a kind has is the
    dataset's design, not chance, and every resample keeps good and defective parts."""
    out = np.zeros((draws, len(kinds)), np.int64)
    for kind in dict.fromkeys(kinds):
        where = np.flatnonzero(np.asarray(kinds) == kind)
        out[:, where] = rng.multinomial(where.size, np.full(where.size, 1.0 / where.size), size=draws)
    return out


def aupro_draws(curves: PartCurves, times: Int, members: Sequence[int], limit: float) -> Float:
    """AUPRO@limit of every resample (draws,), from the curve's points by trapezoid.

    Beyond the last threshold the curve is held flat: that part is the tie of the background, which earns nothing below FPR 1.
    """
    m = np.asarray(members, np.int64)
    c = times[:, m].astype(np.float64)
    fpr = (c @ curves.false[m]) / np.maximum(1.0, c @ curves.ok[m])[:, None]
    pro = (c @ curves.covered[m]) / np.maximum(1.0, c @ curves.regions[m])[:, None]
    zero, one = np.zeros((len(c), 1)), np.ones((len(c), 1))
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


def auroc_draws(labels: Int, scores: Float, times: Int, members: Sequence[int]) -> Float:
    """Image AUROC of every resample (draws,); ties count one half. NaN where a class is absent."""
    m = np.asarray(members, np.int64)
    bad, good = m[labels[m] == 1], m[labels[m] == 0]
    if not bad.size or not good.size:
        return np.full(len(times), np.nan)
    wins = np.greater.outer(scores[bad], scores[good]) + 0.5 * np.equal.outer(scores[bad], scores[good])
    cb, cg = times[:, bad].astype(np.float64), times[:, good].astype(np.float64)
    return np.asarray(((cb @ wins) * cg).sum(1) / (cb.sum(1) * cg.sum(1)), np.float64)


def interval(draws: Float, value: float, binned: float | None = None) -> tuple[float, float] | tuple[None, None]:
    """95 % percentile interval, moved by (value - binned): the draws come from the binned curve, the value from the exact one."""
    if not np.isfinite(draws).all() or draws.size == 0:
        return None, None
    lo, hi = np.quantile(draws, [0.025, 0.975]) + (0.0 if binned is None else value - binned)
    return float(lo), float(hi)


def _at_or_above(values: Float32, ascending: Float32, weights: Float | None) -> Float:
    """For thresholds descending: how many values (or how much weight) lie at or above each."""
    bins = np.searchsorted(ascending, values, side="right")
    per = np.bincount(bins, weights=weights, minlength=ascending.size + 1)
    return np.cumsum(per[:0:-1], dtype=np.float64)

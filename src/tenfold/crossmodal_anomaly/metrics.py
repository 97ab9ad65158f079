"""What is measured of a method: image metrics, the rows of `metrics.parquet`, and the headline.

Image metrics rank the parts by their score; pixel metrics come from `aupro`; intervals from `curves` (parts resampled).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tenfold.core.metrics import Row, Subject, auroc
from tenfold.crossmodal_anomaly import aupro, curves
from tenfold.crossmodal_anomaly.aupro import LIMITS, Counts, Float, Int, Ties, Truth

HEADLINE: tuple[str, Literal["up", "down"]] = ("aupro_30", "up")
"""The metric that decides, and its good direction; the least gain is `champion.least_gain` of the recipe."""

TOO_FEW = "needs at least one good and one defective part"


def aupro_name(limit: float, suffix: str = "") -> str:
    """`aupro_30` for the limit 0.30; with a suffix `aupro_30_99pt`."""
    return f"aupro_{round(100 * limit):02d}{suffix}"


def slice_name(kind: str) -> str:
    """`all`, or `defect=dent,split=test` for one defect kind against the good parts."""
    return "all" if kind == "all" else f"defect={kind},split=test"


def kind_of(slice_: str) -> str:
    """Inverse of `slice_name`."""
    return slice_.partition("=")[2].partition(",")[0] if slice_.startswith("defect=") else slice_


def best_f1(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Largest F1 over all thresholds "score >= t"; NaN without a defective part."""
    truth, value = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if not truth.any():
        return float("nan")
    order = np.argsort(-value, kind="stable")
    last = np.append(value[order][1:] != value[order][:-1], True)  # a tie enters as a whole
    hits, called = np.cumsum(truth[order])[last], np.flatnonzero(last) + 1
    return float(np.max(2.0 * hits / (called + truth.sum())))


def rates(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> tuple[float, float]:
    """Recall on defective and false-positive rate on good parts at "score > threshold"; NaN for an absent class."""
    truth, called = np.asarray(labels).astype(bool), np.asarray(scores) > threshold
    recall = float(called[truth].mean()) if truth.any() else float("nan")
    return recall, float(called[~truth].mean()) if (~truth).any() else float("nan")


@dataclass(frozen=True)
class Measured:
    """One method's numbers and what the paired intervals need."""

    rows: list[Row]
    headline: float | None
    draws: Float
    """Headline metric of every resample, moved onto the exact value; the same resamples for all methods."""


def measure(
    subject: Subject,
    truth: Truth,
    labels: Int,
    scores: Float,
    counts: Counts,
    by_part: curves.PartCurves,
    times: curves.Times,
    *,
    ties: Ties,
    p_auroc_counts: Counts | None = None,
    threshold: float | None = None,
) -> Measured:
    """All quality rows of one method: slice `all` and every defect kind. A variant's intervals stand at `all` only.

    Args:
        labels, scores: (n,) of the test parts, in the order of `truth`.
        times: (draws, n) multiplicities of the parts in the resamples.
        p_auroc_counts: counts on maps normalised for pixel ranking, where these differ from those for regions.
        threshold: the calibrated image threshold; None where a method has none.
    """
    rows: list[Row] = []
    limit = LIMITS[0]
    headline, headline_draws = None, np.full(len(times), np.nan)
    for kind in ("all", *truth.defect_kinds()):
        members, where = truth.members(kind), slice_name(kind)
        y, s, n = labels[members], scores[members], len(members)
        value = auroc(y, s)
        wanted = kind == "all" or not subject.variant
        lo, hi = curves.interval(curves.auroc_draws(labels, scores, times, members), value) if wanted else (None, None)
        rows.append(subject.row("i_auroc", value, n, "up", slice=where, lo=lo, hi=hi, reason=TOO_FEW))
        rows.append(subject.row("best_f1", best_f1(y, s), n, "up", slice=where, reason=TOO_FEW))
        if threshold is not None:
            recall, fpr = rates(y, s, threshold)
            rows.append(subject.row("recall", recall, int(y.sum()), "up", slice=where, reason="no defective part"))
            if kind == "all":
                rows.append(subject.row("fpr", fpr, int(n - y.sum()), "down", reason="no good part"))
        pixel = aupro.pixel_metrics(truth, counts, kind, LIMITS, ties)
        ranked = pixel if p_auroc_counts is None else aupro.pixel_metrics(truth, p_auroc_counts, kind, LIMITS, ties)
        rows.append(subject.row("p_auroc", ranked.p_auroc, pixel.parts, "up", slice=where, reason=pixel.reason))
        used = [i for i in members if truth.used[i]]
        for x in LIMITS:
            lo = hi = None
            exact = pixel.aupro[x]
            if x == limit and exact is not None and wanted:
                draws = curves.aupro_draws(by_part, times, used, x)
                binned = float(curves.aupro_draws(by_part, np.ones((1, len(truth)), np.int64), used, x)[0])
                lo, hi = curves.interval(draws, exact, binned)
                if kind == "all":
                    headline, headline_draws = exact, draws + (exact - binned)
            rows.append(subject.row(aupro_name(x), exact, pixel.parts, "up", slice=where, lo=lo, hi=hi, reason=pixel.reason))
        no_fg = pixel.reason or "no defect-free pixel on the foreground"
        rows.append(subject.row("aupro_fg_30", pixel.aupro_fg[limit], pixel.parts, "up", slice=where, reason=no_fg))
        if kind == "all":
            fpr_points, pro_points = aupro.legacy_curve(truth, counts)
            for x in LIMITS:
                area = aupro.curve_area(fpr_points, pro_points, x) if not pixel.reason else None
                rows.append(subject.row(aupro_name(x, "_99pt"), area, pixel.parts, "up", reason=pixel.reason))
    return Measured(rows, headline, headline_draws)


def margin_row(subject: Subject, ours: Measured, rivals: Sequence[Measured], metric: str, n: int) -> Row | None:
    """The headline's lead over the best rival, with the paired interval: both sides on the same resamples."""
    values = [r.headline for r in rivals if r.headline is not None]
    if ours.headline is None or not values:
        return None
    draws = ours.draws - np.max([r.draws for r in rivals if r.headline is not None], axis=0)
    value = ours.headline - max(values)
    lo, hi = curves.interval(draws, value)
    return subject.row(metric, value, n, "up", lo=lo, hi=hi)

"""Pictures of the report: curves, histograms, trade-offs, and the gallery's tiles. Charts come as PNG bytes, tiles as uint8 arrays."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core import figures

DPI = 100
SIDE = 120
"""Side of a tile in the gallery, px."""
LIMITS = (0.30, 0.10, 0.05, 0.01)
NAMES = {
    "ours": "ours",
    "product": "product",
    "d2_only": "colour only (d2)",
    "d3_only": "geometry only (d3)",
    "sum": "sum",
    "max": "maximum",
    "bank_joint": "bank, joint",
    "bank_sum": "bank, sum",
    "bank_2d": "bank, colour",
    "bank_3d": "bank, geometry",
    "padim": "Gaussian",
    "ridge": "linear maps",
}
_COLOUR = {
    name: figures.PALETTE[i % len(figures.PALETTE)] for i, name in enumerate(("ours", "bank_joint", "d2_only", "d3_only", "bank_sum"))
}
Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Curve = tuple[Float, Float]


@figures.style()
def pro_curves(exact: Mapping[str, Curve], points: Curve) -> bytes:
    """Per-region overlap over the false-positive rate, whole and for the first 5 %; `points` is our 99-point polygon."""
    fig, axes = figures.new(8.2, 3.3, 1, 2)
    for axis, end in zip(axes[0], (0.30, 0.05), strict=True):
        for method, (x, y) in exact.items():
            axis.plot(x, y, color=_COLOUR.get(method), label=NAMES.get(method, method), lw=2.4 if method == "ours" else 1.3)
        axis.plot(*points, color="#000000", ls="--", lw=0.9, marker="o", ms=3.0, label="ours, 99 thresholds")
        for limit in LIMITS:
            if limit <= end:
                axis.axvline(limit, color="#888888", lw=0.8, ls=":")
        axis.set(xlim=(0, end * 1.02), ylim=(0, 1), xlabel="false-positive rate of pixels", ylabel="mean overlap of regions")
    axes[0, 0].set_title("PRO curve, limits marked")
    axes[0, 1].set_title("The same up to 5 %")
    axes[0, 0].legend(loc="lower right")
    return figures.png(fig, DPI)


@figures.style()
def roc_curves(images: Mapping[str, Curve], pixels: Mapping[str, Curve]) -> bytes:
    """ROC over parts and over pixels (the latter as far as it was kept)."""
    fig, axes = figures.new(8.2, 3.3, 1, 2)
    for axis, title, curves in ((axes[0, 0], "Parts", images), (axes[0, 1], "Pixels", pixels)):
        for method, (x, y) in curves.items():
            axis.plot(x, y, color=_COLOUR.get(method), label=NAMES.get(method, method), lw=2.4 if method == "ours" else 1.3)
        axis.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8)
        axis.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="false-positive rate", ylabel="true-positive rate", title=title)
    axes[0, 0].legend(loc="lower right")
    axes[0, 1].set_xlim(0, 0.5)
    return figures.png(fig, DPI)


@figures.style()
def score_histogram(good: Float, bad: Float, threshold: float | None) -> bytes:
    """Our scores of good and defective parts with the calibrated threshold."""
    fig, axes = figures.new(5.2, 2.9)
    axis = axes[0, 0]
    bins = np.histogram_bin_edges(np.concatenate([good, bad]), bins=24)
    axis.hist(good, bins, color=figures.PALETTE[2], alpha=0.75, label=f"good ({good.size})")
    axis.hist(bad, bins, color=figures.PALETTE[1], alpha=0.65, label=f"defective ({bad.size})")
    if threshold is not None:
        axis.axvline(threshold, color="#000000", lw=1.4, ls="--", label="calibrated threshold")
    axis.set(xlabel="score of a part", ylabel="parts", title="Scores")
    axis.legend()
    return figures.png(fig, DPI)


@dataclass(frozen=True)
class Point:
    """One method in the trade-off: ms a part (map and score), headline, bytes."""

    method: str
    ms: float
    value: float
    bytes: float


@figures.style()
def trade_off(points: Sequence[Point]) -> bytes:
    """Time against AUPRO@30 %, area of a disc = bytes that the method must keep (after the paper's figure 1)."""
    fig, axes = figures.new(5.6, 3.4)
    axis = axes[0, 0]
    most = max((p.bytes for p in points), default=1.0) or 1.0
    for p in points:
        colour = figures.PALETTE[0] if p.method == "ours" else figures.PALETTE[4]
        axis.scatter(p.ms, p.value, s=30 + 900 * p.bytes / most, color=colour, alpha=0.55, edgecolor="#333333", lw=0.6)
        axis.annotate(NAMES.get(p.method, p.method), (p.ms, p.value), xytext=(6, 4), textcoords="offset points", fontsize=8.5)
    axis.set(xlabel="ms a part, mapping and scoring", ylabel="AUPRO@30 %", title="Speed and memory, measured here", xscale="log")
    lo, hi = min((p.ms for p in points), default=1.0), max((p.ms for p in points), default=10.0)
    ticks = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5) if lo / 2 <= m * 10.0**e <= hi * 2]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.margins(0.18)
    return figures.png(fig, DPI)


@figures.style()
def few_shot(curves: Mapping[str, Sequence[tuple[float, float]]]) -> bytes:
    """AUPRO@30 % over the number of training parts; one dot a seed, the line through their means."""
    fig, axes = figures.new(5.2, 3.0)
    axis = axes[0, 0]
    for method, points in curves.items():
        colour = _COLOUR.get(method, "#666666")
        shots = sorted({x for x, _ in points})
        axis.plot(shots, [float(np.mean([y for x, y in points if x == s])) for s in shots], color=colour, label=NAMES.get(method, method))
        axis.scatter([x for x, _ in points], [y for _, y in points], s=16, color=colour, alpha=0.7)
    axis.set(xlabel="training parts", ylabel="AUPRO@30 %", title="Few shots", xscale="log")
    ticks = sorted({x for points in curves.values() for x, _ in points})
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    axis.legend()
    return figures.png(fig, DPI)


@figures.style()
def training(history: Mapping[str, Mapping[str, Sequence[float | None]]]) -> bytes:
    """Training and validation loss of every network without variant."""
    fig, axes = figures.new(5.2, 2.9)
    axis = axes[0, 0]
    for i, (name, columns) in enumerate(history.items()):
        colour = figures.PALETTE[i % len(figures.PALETTE)]
        axis.plot(columns["epoch"], columns["train/loss"], color=colour, label=name)
        known = [(e, v) for e, v in zip(columns["epoch"], columns.get("validation/loss", []), strict=False) if v is not None]
        axis.plot([e for e, _ in known], [v for _, v in known], color=colour, ls="--", lw=1.1)
    axis.set(xlabel="epoch", ylabel="loss", title="Training (line) and held-out good parts (dashes)")
    axis.legend()
    return figures.png(fig, DPI)


def roc(labels: npt.NDArray[np.int64], scores: Float) -> Curve:
    """FPR and TPR at every distinct score, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits, misses = np.cumsum(labels[order] == 1)[last], np.cumsum(labels[order] == 0)[last]
    return np.append(0.0, misses / max(1, misses[-1])), np.append(0.0, hits / max(1, hits[-1]))


def relief(xyz: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Height in mm over the plane fitted to the part, NaN without a point: the tilt of the table would drown every dent."""
    out = np.full(valid.shape, np.nan, np.float32)
    if valid.any():
        points = xyz[valid].astype(np.float64)
        basis = np.column_stack([points[:, :2], np.ones(len(points))])
        plane = np.linalg.lstsq(basis, points[:, 2], rcond=None)[0]
        out[valid] = -1e3 * (points[:, 2] - basis @ plane)
    return out


def depth_tile(xyz: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> Image:
    """The relief in colours, from its 2nd to its 98th percentile."""
    height = relief(xyz, valid)
    lo, hi = np.nanpercentile(height, [2, 98]) if valid.any() else (0.0, 1.0)
    return np.asarray(figures.heat(height, float(lo), float(hi), "viridis"), np.uint8)


def mask_tile(mask: npt.NDArray[Any]) -> Image:
    """Ground truth, white on black."""
    return np.repeat(np.where(np.asarray(mask) != 0, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def sheet(rows: Sequence[Sequence[Image]], gap: int = 4) -> Image:
    """Tiles of one size as one picture, white between."""
    height, width = rows[0][0].shape[:2]
    out = np.full((len(rows) * (height + gap) - gap, len(rows[0]) * (width + gap) - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            out[i * (height + gap) : i * (height + gap) + height, j * (width + gap) : j * (width + gap) + width] = tile
    return out


def tile(image: Image) -> Image:
    """A picture at the gallery's size, (SIDE, SIDE, 3)."""
    from PIL import Image as Pillow

    return np.asarray(Pillow.fromarray(image).resize((SIDE, SIDE), Pillow.Resampling.LANCZOS))


def png(image: Image) -> bytes:
    """A picture as PNG."""
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "png", optimize=True)
    return stream.getvalue()

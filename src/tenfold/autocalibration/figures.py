"""Pictures of the report: charts as PNG bytes, photographs with their tracks as uint8 arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry
from tenfold.core import figures

DPI = 100
FLOOR = 1e-5
"""Smaller errors are drawn here: noise-free ones would stretch the axis."""
BAND = 0.03
"""Around the reference, as a share of it: what claim C6 allows."""
ARROW = 0.06
"""Of the picture's longer side: how long the arrows of most reprojection errors are drawn."""
OUTLIER = "#009E73"
NAMES = {
    "ours": "ours",
    "ours_zero_skew": "ours, zero skew",
    "ours_square": "ours, square pixels",
    "ours_full": "ours, all of K",
    "ours_focal2v": "ours, 2 views",
    "ba_only": "refinement only",
    "focal6": "6 points",
    "focal6_ba": "6 points, 3 views",
    "sweep": "focal sweep",
    "colmap": "COLMAP",
    "colmap_radial": "COLMAP, radial",
    "bougnoux": "Bougnoux",
    "sturm": "Sturm",
    "kruppa": "Kruppa",
    "quadric": "dual quadric",
    "anchor": "anchors",
    "champion": "present champion",
}
_MORE = ("#8c6d31", "#5254a3", "#bd9e39", "#7b4173", "#31a354")
_ORDER = (
    "ours",
    "bougnoux",
    "focal6",
    "sturm",
    "ba_only",
    "sweep",
    "colmap",
    "kruppa",
    "quadric",
    "focal6_ba",
    "colmap_radial",
    "ours_zero_skew",
    "ours_square",
)
COLOURS = dict(zip(_ORDER, (*figures.PALETTE, *_MORE), strict=False))
Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


def name(method: str) -> str:
    """A method's name for people."""
    return NAMES.get(method, method)


def _colour(method: str) -> str:
    return COLOURS.get(method, "#666666")


@figures.style()
def noise(errors: Mapping[str, Mapping[float, Mapping[str, Sequence[float]]]]) -> bytes:
    """Boxes of the focal error of each method over the noise; a panel a motion. `errors`: motion -> noise (px) -> method -> errors."""
    fig, axes = figures.new(9.6, 3.0 * max(1, len(errors)), max(1, len(errors)), 1, sharex=False)
    methods = [m for m in _ORDER if any(m in given for levels in errors.values() for given in levels.values())]
    for axis, (motion, levels) in zip(axes[:, 0], errors.items(), strict=False):
        width = 0.84 / max(1, len(methods))
        for j, method in enumerate(methods):
            at = [i + (j - (len(methods) - 1) / 2) * width for i, level in enumerate(levels) if method in levels[level]]
            values = [np.clip(levels[level][method], FLOOR, 1.0) for level in levels if method in levels[level]]
            if not values:
                continue
            axis.boxplot(
                values, positions=at, widths=0.86 * width, patch_artist=True, showfliers=True, manage_ticks=False,
                boxprops={"facecolor": _colour(method), "edgecolor": _colour(method), "alpha": 0.55, "linewidth": 0.8},
                medianprops={"color": "#000000", "linewidth": 1.3}, whiskerprops={"color": _colour(method), "linewidth": 0.9},
                capprops={"color": _colour(method), "linewidth": 0.9},
                flierprops={"marker": ".", "markersize": 2.5, "markerfacecolor": _colour(method), "markeredgecolor": _colour(method)},
            )  # fmt: skip
            axis.plot([], [], color=_colour(method), lw=6, alpha=0.7, label=name(method))
        axis.axhline(0.20, color="#888888", lw=0.8, ls=":")
        for value, said in ((1.0, "no answer"), (0.20, "failure")):
            axis.annotate(
                said, (1.0, value), (3, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center", fontsize=8
            )
        axis.set(yscale="log", ylim=(FLOOR / 1.6, 1.6), xlim=(-0.5, len(levels) - 0.5), ylabel="relative focal error", xlabel="noise, px")
        axis.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axis.grid(axis="x", visible=False)
        axis.set_title({"general": "General motion", "orbit": "Orbit (axes meet)"}.get(motion, motion))
    # above, so that it hides no box
    if methods:
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(methods), 5))
    return figures.png(fig, DPI)


@dataclass(frozen=True)
class Point:
    """A method's CPU seconds a scene and its median focal error with its interval."""

    method: str
    cpu_s: float
    error: float
    lo: float | None = None
    hi: float | None = None


@figures.style()
def cost(panels: Mapping[str, Sequence[Point]]) -> bytes:
    """Accuracy against CPU time; a panel a slice."""
    fig, axes = figures.new(4.2 * max(1, len(panels)) + 1.4, 3.4, 1, max(1, len(panels)))
    named: set[str] = set()
    for axis, (title, points) in zip(axes[0], panels.items(), strict=False):
        for p in points:
            error = max(p.error, FLOOR)
            if p.lo is not None and p.hi is not None:
                axis.plot([p.cpu_s] * 2, [max(p.lo, FLOOR), max(p.hi, FLOOR)], color=_colour(p.method), lw=1.0, alpha=0.8)
            # one label a method, whatever panel it is in first: labels beside the points would hide one another
            label = None if p.method in named else name(p.method)
            named.add(p.method)
            size = 80 if p.method == "ours" else 36
            axis.scatter(p.cpu_s, error, s=size, color=_colour(p.method), edgecolor="#333333", lw=0.6, zorder=3, label=label)
        axis.set(xscale="log", yscale="log", xlabel="CPU seconds a scene", ylabel="median focal error", title=title)
        axis.margins(0.12)
    fig.legend(loc="outside right upper", fontsize=8)
    return figures.png(fig, DPI)


@figures.style()
def jitter(rates: Mapping[str, Sequence[tuple[float, float]]]) -> bytes:
    """Failure rate of each method over the jitter of an orbit's distance: where two-view formulas recover."""
    fig, axes = figures.new(5.6, 3.3)
    axis = axes[0, 0]
    for method in sorted(rates, key=lambda m: _ORDER.index(m) if m in _ORDER else 99):
        points = sorted(rates[method])
        axis.plot([100 * x for x, _ in points], [y for _, y in points], marker="o", ms=4, color=_colour(method), label=name(method),
                  lw=2.4 if method == "ours" else 1.3)  # fmt: skip
    axis.set(xlabel="jitter of the distance, %", ylabel="failures", ylim=(-0.03, 1.03), title="Jittered orbits")
    fig.legend(loc="outside right upper", fontsize=8)
    return figures.png(fig, DPI)


@figures.style()
def counts(real: Sequence[int], physical: Sequence[int], solves: Sequence[float]) -> bytes:
    """Real and possible roots of noise-free instances, and linear solves of a path."""
    fig, axes = figures.new(8.6, 2.8, 1, 3)
    for axis, values, title, label in (
        (axes[0, 0], real, "Real roots", "roots of one instance"),
        (axes[0, 1], physical, "Possible cameras", "roots of one instance"),
        (axes[0, 2], solves, "Work", "linear solves a path"),
    ):
        whole = all(float(v).is_integer() for v in values)
        if values and whole and max(values) - min(values) < 25:
            bins = np.arange(min(values) - 0.5, max(values) + 1.5)
            axis.hist(values, bins, color=figures.PALETTE[0], alpha=0.8, rwidth=0.9)
        else:
            axis.hist(values, 16, color=figures.PALETTE[0], alpha=0.8)
        axis.set(xlabel=label, ylabel="instances", title=title)
    return figures.png(fig, DPI)


@figures.style()
def growth(curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]) -> bytes:
    """Known solutions over the loops of monodromy, one line a seed, one panel a problem (`curves`: problem -> (loops, known) a seed)."""
    columns = min(4, max(1, len(curves)))
    rows = -(-max(1, len(curves)) // columns)
    fig, axes = figures.new(2.5 * columns + 0.6, 2.4 * rows, rows, columns)
    for axis in axes.flat[len(curves) :]:
        axis.set_axis_off()
    for axis, (problem, lines) in zip(axes.flat, curves.items(), strict=False):
        for i, (x, y) in enumerate(lines):
            axis.step(x, y, where="post", color=figures.PALETTE[i % len(figures.PALETTE)], lw=1.4)
        most = max((max(y) for _, y in lines if len(y)), default=0)
        axis.axhline(most, color="#888888", lw=0.8, ls=":")
        axis.set(xlabel="loops", ylabel="solutions", title=f"{problem}: {most:g}", ylim=(0, 1.1 * most or 1.0))
        axis.locator_params(axis="x", integer=True, nbins=6)
    return figures.png(fig, DPI)


@dataclass(frozen=True)
class Estimate:
    """One focal length (px) with its standard deviation, shown at a place; `good`: offered as good."""

    label: str
    group: str
    f: float
    sd: float
    good: bool


@figures.style()
def triplets(groups: Mapping[str, Sequence[Estimate]], reference: float | None) -> bytes:
    """Focal lengths of triplets and methods with error bars (2 sd), the reference (px) and `BAND` around it; one panel a scene."""
    height = 0.9 + 0.24 * max((len(items) for items in groups.values()), default=1)
    fig, axes = figures.new(4.7 * max(1, len(groups)), height, 1, max(1, len(groups)))
    shown = [e.f for items in groups.values() for e in items if np.isfinite(e.f)] + ([reference] if reference else [])
    middle = reference if reference else float(np.median(shown)) if shown else 1.0
    ends = 0.75 * middle, 1.6 * middle
    for axis, (scene, items) in zip(axes[0], groups.items(), strict=False):
        if reference:
            axis.axvspan((1 - BAND) * reference, (1 + BAND) * reference, color="#009E73", alpha=0.18, lw=0)
            axis.axvline(reference, color="#009E73", lw=1.0)
        for y, e in enumerate(items):
            colour = _colour(e.group)
            if not np.isfinite(e.f):
                axis.text(ends[0], y, " no answer", va="center", fontsize=8, color="#888888")
                continue
            inside = min(max(e.f, ends[0]), ends[1])
            if np.isfinite(e.sd):
                low, high = (float(np.clip(v, *ends)) for v in (e.f - 2 * e.sd, e.f + 2 * e.sd))
                axis.plot([low, high], [y, y], color=colour, lw=1.2)
            face = colour if e.good else "white"
            marker = "o" if inside == e.f else ">" if e.f > inside else "<"
            axis.plot([inside], [y], marker, color=colour, markerfacecolor=face, ms=5.5)
        axis.set_yticks(range(len(items)), [e.label for e in items], fontsize=8)
        axis.set(ylim=(len(items) - 0.4, -0.6), xlim=(ends[0] * 0.98, ends[1] * 1.02), xlabel="focal length, px", title=scene)
        axis.grid(axis="y", visible=False)
    return figures.png(fig, DPI)


@dataclass(frozen=True)
class Reprojection:
    """One view of a refined scene: its size (width, height) px, the photograph (H, W, 3) or None, observed and reprojected points (n, 2) px
    and which tracks are inliers (n,)."""

    title: str
    size: tuple[int, int]
    image: Image | None
    observed: Float
    projected: Float
    inlier: npt.NDArray[np.bool_]

    @property
    def errors(self) -> Float:
        """Distances of the inliers (m,) in px."""
        return np.asarray(np.linalg.norm((self.projected - self.observed)[self.inlier], axis=1))


def magnification(errors: Float, side: int) -> int:
    """By how much errors (px) are drawn longer: the largest of 1, 2, 5, 10, ... with nine of ten arrows under `ARROW` of the picture's side."""
    long = float(np.quantile(errors, 0.9)) if len(errors) else 0.0
    steps = [m * 10**power for power in range(4) for m in (1, 2, 5)]
    return max((step for step in steps if step * long <= ARROW * side), default=1) if long > 0 else 1


@figures.style()
def reprojections(rows: Sequence[Sequence[Reprojection]]) -> bytes:
    """Observed points with arrows to their reprojections, magnified and coloured by length, on the photograph or an empty frame.

    A row a scene, a panel a view. Outliers are crosses without an arrow. Median and root mean square in the titles are those of the inliers.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.lines import Line2D

    # without its yellow end, which is hard to see on white
    colours = ListedColormap(colormaps["plasma"](np.linspace(0.0, 0.82, 256)))
    columns = max(map(len, rows), default=1)
    shape = max((panel.size[1] / panel.size[0] for row in rows for panel in row), default=0.75)
    fig, axes = figures.new(4.1 * columns + 0.9, (4.1 * shape + 0.55) * max(1, len(rows)) + 0.4, max(1, len(rows)), columns)
    every = np.concatenate([panel.errors for row in rows for panel in row] or [np.zeros(0)])
    times = magnification(every, max((panel.size[0] for row in rows for panel in row), default=1))
    most = float(np.quantile(every, 0.98)) if len(every) and every.max() > 0 else 1.0
    drawn = None
    for axis in axes.flat:
        axis.set_axis_off()
    for i, row in enumerate(rows):
        for axis, panel in zip(axes[i], row, strict=False):
            width, height = panel.size
            axis.set_axis_on()
            axis.grid(visible=False)
            if panel.image is not None:
                # faint and grey, so that the colours of the arrows stand out
                grey = 255 - (255 - panel.image.mean(axis=2)) * 0.5
                axis.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
            good, bad = panel.observed[panel.inlier], panel.observed[~panel.inlier]
            moved = times * (panel.projected[panel.inlier] - good)
            axis.scatter(bad[:, 0], bad[:, 1], s=14, marker="x", color=OUTLIER, lw=1.1, zorder=2)
            axis.scatter(good[:, 0], good[:, 1], s=5, color="#000000", lw=0, zorder=3)
            drawn = axis.quiver(
                good[:, 0], good[:, 1], moved[:, 0], moved[:, 1], panel.errors, cmap=colours, clim=(0.0, most), angles="xy", scale_units="xy",
                scale=1.0, width=0.0045, headwidth=3.5, headlength=4.0, headaxislength=3.6, minlength=0.0, minshaft=1.5, zorder=4,
            )  # fmt: skip
            axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set_visible(True)
            said = f"median {np.median(panel.errors):.2f}, rms {np.sqrt(np.mean(panel.errors**2)):.2f} px" if len(good) else "no inlier"
            axis.set_title(f"{panel.title}\n{len(good)} of {len(panel.inlier)} tracks fit: {said}", fontsize=9)
    if drawn is not None:
        fig.colorbar(drawn, ax=axes.ravel().tolist(), label="error, px", shrink=0.8, pad=0.01, extend="max")
    handles = [
        Line2D([], [], ls="", marker=".", color="#000000", label="observed"),
        Line2D([], [], ls="-", color="#7e03a8", label=f"to the reprojection, {times} times as long"),
        Line2D([], [], ls="", marker="x", ms=5, color=OUTLIER, label="outlier: beyond the threshold in some view"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return figures.png(fig, DPI)


def with_tracks(image: Image, points: Float, colours: Sequence[tuple[int, int, int]], radius: int = 3) -> Image:
    """A copy of a photograph (H, W, 3) with a disc at each point (n, 2) px (COLMAP's convention) in its colour."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    picture = Pillow.fromarray(np.ascontiguousarray(image))
    draw = ImageDraw.Draw(picture)
    for (x, y), colour in zip(points.tolist(), colours, strict=True):
        draw.ellipse((x - 0.5 - radius, y - 0.5 - radius, x - 0.5 + radius, y - 0.5 + radius), outline=(0, 0, 0), fill=colour)
    return np.asarray(picture)


def straightened(image: Image, k: Float, k1: float, k2: float) -> Image:
    """A photograph (H, W, 3) as a perspective camera with intrinsics k (5,) px would show it; black where the lens saw nothing."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    seen = np.floor(geometry.distort(np.stack([x, y], axis=-1).reshape(-1, 2), k, k1, k2)).astype(np.int64)
    inside = ((seen >= 0) & (seen < [width, height])).all(axis=1)
    out = np.zeros((height * width, 3), np.uint8)
    out[inside] = image[seen[inside, 1], seen[inside, 0]]
    return out.reshape(height, width, 3)


def spread_colours(n: int) -> list[tuple[int, int, int]]:
    """`n` colours around the hue circle."""
    import colorsys

    found = []
    for i in range(n):
        r, g, b = colorsys.hsv_to_rgb(i / max(1, n), 0.85, 1.0)
        found.append((int(255 * r), int(255 * g), int(255 * b)))
    return found

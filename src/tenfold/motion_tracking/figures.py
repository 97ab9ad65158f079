"""Pictures of the report: charts and skeleton strips as PNG bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core import figures
from tenfold.motion_tracking import columns, skeleton
from tenfold.motion_tracking.shown import Shown

DPI = 100
Float = npt.NDArray[np.float64]
Curve = tuple[Float, Float]
Triple = tuple[float | None, float | None, float | None]

NAMES = {
    "ours": "ours", "ridge": "ridge", "ridge_yaw": "ridge, head's heading", "mlp": "perceptron", "ik": "upright body, arms by geometry",
    "hold": "true first pose, held", "mean_pose": "mean pose", "truth": "truth", "champion": "present champion",
}  # fmt: skip
SENSORS = {"hmd": "headset + hands", "hmd_2imus": "+ 2 shin IMUs", "hmd_3imus": "+ pelvis IMU"}
COLOURS = dict(zip(SENSORS, figures.PALETTE, strict=False))
_GREY = "#888888"
_MARKERS = "osD^vP*Xh"
LEFT = (1, 4, 7, 10, 13, 16, 18, 20)
RIGHT = (2, 5, 8, 11, 14, 17, 19, 21)
LIMBS = ["#D55E00" if joint in LEFT else "#0072B2" if joint in RIGHT else "#222222" for joint in range(1, skeleton.COUNT)]
"""Colour of each bone."""


def track_name(track: str) -> str:
    """`ours/hmd` for people."""
    method, _, sensors = track.partition("/")
    words = SENSORS.get(sensors, sensors)
    return words if method == "ours" else f"{NAMES.get(method, method).partition(',')[0]}, {words}"


@figures.style()
def methods(values: Mapping[str, Mapping[str, Mapping[str, Triple]]]) -> bytes:
    """Bars with intervals; a panel a measure: measure's words -> method -> sensor set -> (value, lo, hi)."""
    fig, axes = figures.new(9.6, 3.0 * len(values), len(values), 1)
    for axis, (title, given) in zip(axes[:, 0], values.items(), strict=True):
        width = 0.8 / len(columns.MASKS)
        for k, each in enumerate(columns.MASKS):
            for i, method in enumerate(given):
                value, lo, hi = given[method].get(each, (None, None, None))
                if value is not None:
                    ends = [[value - lo], [hi - value]] if lo is not None and hi is not None else None
                    axis.bar(
                        i + (k - 1) * width, value, 0.9 * width, yerr=ends, color=COLOURS[each], label=SENSORS[each] if i == 0 else None,
                        error_kw={"linewidth": 1.0, "ecolor": "#333333"},
                    )  # fmt: skip
        axis.set_xticks(range(len(given)), [NAMES.get(m, m) for m in given], rotation=12, ha="right")
        axis.set_title(title)
        axis.grid(axis="x", visible=False)
    axes[0, 0].legend(ncols=3)
    return figures.png(fig, DPI)


@figures.style()
def joints(errors: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """Mean distance (cm) of each joint; a panel a source: source -> sensor set -> 22 values."""
    fig, axes = figures.new(9.6, 2.9 * len(errors), len(errors), 1)
    for axis, (source, given) in zip(axes[:, 0], errors.items(), strict=True):
        width = 0.8 / len(given)
        for k, (each, values) in enumerate(given.items()):
            axis.bar(np.arange(len(values)) + (k - 1) * width, values, 0.95 * width, color=COLOURS[each], label=SENSORS[each])
        axis.set_xticks(range(skeleton.COUNT), [name.replace("_", " ") for name in skeleton.JOINTS], rotation=60, ha="right", fontsize=8)
        axis.set_ylabel("cm")
        axis.set_title(f"{source} motion")
        axis.grid(axis="x", visible=False)
    axes[0, 0].legend(ncols=3)
    return figures.png(fig, DPI)


@figures.style()
def lines(
    panels: Mapping[str, Mapping[str, Curve]], words: tuple[str, str], log: str = "", colours: Mapping[str, str] | None = None
) -> bytes:
    """Curves side by side; a panel a title: title -> name -> (x, y). `words` name the axes, `log` says which are logarithmic."""
    fig, axes = figures.new(4.9 * len(panels), 3.1, 1, len(panels))
    for axis, (title, given) in zip(axes[0], panels.items(), strict=True):
        for i, (name, (x, y)) in enumerate(given.items()):
            grey = name == NAMES["truth"]
            colour = (colours or {}).get(name) or (_GREY if grey else figures.PALETTE[i % len(figures.PALETTE)])
            axis.plot(x, y, label=name, color=colour, linestyle="--" if grey else "-")
        axis.set_title(title)
        axis.set_xlabel(words[0])
        if "x" in log:
            axis.set_xscale("log")
        if "y" in log:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
    axes[0, 0].set_ylabel(words[1])
    axes[0, 0].legend()
    return figures.png(fig, DPI)


@figures.style()
def noise(values: Mapping[str, Mapping[str, Triple]]) -> bytes:
    """MPJPE (cm) at each noise level: level -> sensor set -> (value, lo, hi)."""
    fig, axes = figures.new(7.4, 3.1)
    axis = axes[0, 0]
    for k, each in enumerate(columns.MASKS):
        points = [(i, *values[level][each]) for i, level in enumerate(values) if values[level].get(each, (None,))[0] is not None]
        x = [i + 0.06 * (k - 1) for i, *_ in points]
        y = [float(v or 0) for _, v, _, _ in points]
        ends = [[v - (lo if lo is not None else v) for v, (_, _, lo, _) in zip(y, points, strict=True)],
                [(hi if hi is not None else v) - v for v, (_, _, _, hi) in zip(y, points, strict=True)]]  # fmt: skip
        axis.errorbar(x, y, yerr=ends, marker="o", color=COLOURS[each], label=SENSORS[each], capsize=3)
    axis.set_xticks(range(len(values)), list(values))
    axis.set_ylim(bottom=0)
    axis.set_ylabel("MPJPE, cm")
    axis.legend()
    return figures.png(fig, DPI)


@figures.style()
def ablations(values: Mapping[str, Triple]) -> bytes:
    """MPJPE of the full network over each variant's: left of 1 the full one is better."""
    fig, axes = figures.new(7.4, 0.9 + 0.32 * len(values))
    axis = axes[0, 0]
    for i, (value, lo, hi) in enumerate(values.values()):
        if value is not None:
            if lo is not None and hi is not None:
                axis.plot([lo, hi], [i, i], color=figures.PALETTE[0], linewidth=2, solid_capstyle="butt")
            axis.plot(value, i, "o", color=figures.PALETTE[0])
    axis.axvline(1.0, color="#333333", linewidth=1)
    axis.set_yticks(range(len(values)), list(values))
    axis.invert_yaxis()
    axis.set_xlabel("MPJPE, full network over variant (equal steps; below 1: the full one is better)")
    return figures.png(fig, DPI)


@figures.style()
def costs(panels: Mapping[str, Mapping[str, tuple[float, Triple]]]) -> bytes:
    """Error (cm) against the time of a frame (ms) of each network; a panel a sensor set: title -> network -> (ms, (value, lo, hi))."""
    names = list(dict.fromkeys(name for given in panels.values() for name in given))
    fig, axes = figures.new(9.6, 3.6, 1, len(panels))
    shown: dict[str, Any] = {}
    for axis, (title, given) in zip(axes[0], panels.items(), strict=True):
        for name, (ms, (value, _, _)) in given.items():
            number = names.index(name)
            colour, marker = figures.PALETTE[number % len(figures.PALETTE)], _MARKERS[number % len(_MARKERS)]
            shown[name] = axis.plot(ms, value, linestyle="none", marker=marker, markersize=8, color=colour, alpha=0.8)[0]
        axis.set_title(title)
        axis.set_xlabel("ms a frame")
        axis.set_xlim(0, 1.1 * max((ms for ms, _ in given.values()), default=1.0))
    axes[0, 0].set_ylabel("MPJPE, cm")
    fig.legend([shown[name] for name in names], names, loc="outside lower center", ncols=4)
    return figures.png(fig, DPI)


STEP_M = 1.6
"""Between the skeletons of a strip."""
VIEWS = (("front", (1, 2)), ("side", (0, 2)), ("above", (0, 1)))


@figures.style()
def strip(clip: Shown, track: str, steps: int) -> bytes:
    """One clip as `steps` skeletons in three views: grey the truth, coloured the track; seen in the clip's first heading."""
    from matplotlib.collections import LineCollection

    true, found = clip.tracks["truth"], clip.tracks[track]
    across = true[0, 1] - true[0, 2]
    turn = np.arctan2(across[1], across[0]) - np.pi / 2
    matrix = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    fig, axes = figures.new(1.6 * steps, 5.4, len(VIEWS), 1, gridspec_kw={"height_ratios": [2.1, 2.1, 1.7]})
    moments = np.linspace(0, len(true) - 1, steps).round().astype(int)
    for axis, (title, (u, v)) in zip(axes[:, 0], VIEWS, strict=True):
        for joints_, wide, colours in ((true, 1.2, ["#b0b0b0"]), (found, 1.9, LIMBS)):
            for column, t in enumerate(moments):
                points = ((joints_[t] - true[t, 0] * [1, 1, 0]) @ matrix.T)[:, [u, v]] + [STEP_M * column, 0.0]
                bones = np.stack([points[list(skeleton.PARENTS[1:])], points[1:]], axis=1)
                axis.add_collection(LineCollection(list(bones), colors=colours, linewidths=wide, capstyle="round"))
        axis.set_aspect("equal")
        axis.set_xlim(-0.5 * STEP_M, (steps - 0.5) * STEP_M)
        axis.set_ylim((-0.25, 1.95) if v == 2 else (-0.85, 0.85))
        axis.set_xticks([STEP_M * column for column in range(steps)], [f"{t / skeleton.RATE_HZ:.1f} s" for t in moments], fontsize=8)
        axis.set_yticks([])
        axis.grid(visible=False)
        axis.set_ylabel(title)
        for side in axis.spines.values():
            side.set_visible(False)
    return figures.png(fig, DPI)


@figures.style()
def legs(clip: Shown) -> bytes:
    """Height of the left foot and angle of the left knee over time, truth and ours with each sensor set."""
    fig, axes = figures.new(9.6, 4.6, 2, 1, sharex=True)
    for track, joints_ in clip.tracks.items():
        method, _, sensors = track.partition("/")
        if method not in ("truth", "ours"):
            continue
        seconds = np.arange(len(joints_)) / skeleton.RATE_HZ
        colour, style = (_GREY, "--") if method == "truth" else (COLOURS[sensors], "-")
        axes[0, 0].plot(seconds, 100 * joints_[:, 10, 2], color=colour, linestyle=style, label=SENSORS.get(sensors, "truth"))
        thigh, shin = joints_[:, 1] - joints_[:, 4], joints_[:, 7] - joints_[:, 4]
        cosine = (thigh * shin).sum(axis=1) / (np.linalg.norm(thigh, axis=1) * np.linalg.norm(shin, axis=1))
        axes[1, 0].plot(seconds, np.degrees(np.arccos(np.clip(cosine, -1, 1))), color=colour, linestyle=style)
    axes[0, 0].set_ylabel("left foot, cm")
    axes[1, 0].set_ylabel("left knee, degrees")
    axes[1, 0].set_xlabel("s")
    axes[0, 0].legend(ncols=4)
    return figures.png(fig, DPI)

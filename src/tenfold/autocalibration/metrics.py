"""What is measured of a calibration: errors of K, the rows of `metrics.parquet`, and the headline (section 7).

A scene's answer is its merged row (`triplet` empty), or the median over its triplets or pairs where a method gives no merged row.
An error above 100 % and a missing answer both count as 100 %: a method gains nothing by staying silent.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.core.metrics import Better, Row, Subject, bootstrap

HEADLINE: tuple[str, Literal["up", "down"]] = ("focal_error", "down")
"""The metric that decides (median relative focal error after refinement), and its good direction."""

CALIB_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("scene", "triplet", "method")),
        pa.field("seed", pa.int64(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("stage", "kind")),
        *(pa.field(name, pa.float64()) for name in ("fx", "fy", "cx", "cy", "s", "sd_f", "k1")),
        *(pa.field(name, pa.int64()) for name in ("inliers", "tracks")),
        *(pa.field(name, pa.float64()) for name in ("cost", "cpu_s")),
        *(pa.field(name, pa.int64()) for name in ("hypotheses", "roots", "real", "physical", "lost")),
        *(pa.field(name, pa.string(), nullable=False) for name in ("status", "reason")),
    ]
)
"""One calibration a row. `triplet`: views joined by `-` (a pair for two-view methods), empty for the whole scene; px, s."""

STAGES = ("minimal", "refined")
ANSWERED = ("ok", "degenerate_orbit")
"""Statuses whose K is offered as good."""
FAILED = 0.20
"""Relative focal error above which a calibration counts as failed."""
STRONG = 75
"""Common tracks from which a triplet of photographs counts for C6."""
CRITICAL = ("rotation", "translation", "planar_scene")
DISTORTED = 0.01
"""|k1| of the reference from which a scene counts as distorted."""
ESTIMATES_CENTRE = ("square", "zero_skew", "full")
WARNING = "distortion_suspected"
RIVALS = {
    "bougnoux": "minimal", "sturm": "minimal", "kruppa": "minimal", "quadric": "minimal",
    "focal6": "refined", "focal6_ba": "refined", "sweep": "refined", "ba_only": "refined", "colmap": "refined",
}  # fmt: skip
"""The stage at which a rival is compared: closed forms as they are, the others after refinement (the other stage where there is one only)."""

Float = npt.NDArray[np.float64]
Scale = Literal["1", "px", "deg", "s"]


@dataclass(frozen=True)
class Scene:
    """What is known of a scene: size (px), reference fx, fy, cx, cy, s (px; NaN where unknown), how it was made (None: photographs)."""

    name: str
    width: int
    height: int
    reference: tuple[float, float, float, float, float]
    k1: float | None
    motion: str
    noise: float | None
    jitter: float

    @property
    def known(self) -> bool:
        """Whether there is a reference focal length."""
        return math.isfinite(self.reference[0])

    @property
    def photographed(self) -> bool:
        """Not made by the generator."""
        return not self.motion

    @property
    def distorted(self) -> bool:
        """Radial distortion that the model of the solvers has no term for."""
        return self.k1 is not None and abs(self.k1) > DISTORTED

    @property
    def slice(self) -> str:
        """`motion=general,noise=0.5`, with `,jitter=0.05` where there is any; `scene=...` for photographs."""
        if self.photographed:
            return f"scene={self.name}"
        made = f"motion={self.motion},noise={self.noise if self.noise is not None else math.nan:g}"
        return f"{made},jitter={self.jitter:g}" if self.jitter else made


def scenes_of(samples: pa.Table) -> dict[str, Scene]:
    """Scenes of `samples.parquet` by name; references that differ from view to view are averaged."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in samples.to_pylist():
        rows.setdefault(row["scene"], []).append(row)

    def mean(views: Sequence[Mapping[str, Any]], column: str) -> float:
        known = [float(v[column]) for v in views if v[column] is not None and math.isfinite(v[column])]
        return float(np.mean(known)) if known else math.nan

    found = {}
    for name, views in sorted(rows.items()):
        first, k1 = views[0], mean(views, "ref_k1")
        fx, fy, cx, cy, s = (mean(views, f"ref_{column}") for column in ("fx", "fy", "cx", "cy", "s"))
        found[name] = Scene(
            name=name,
            width=int(first["width"]),
            height=int(first["height"]),
            reference=(fx, fy, cx, cy, s),
            k1=None if math.isnan(k1) else k1,
            motion=(first["motion"] or "").removeprefix("jittered_"),
            noise=first["noise_px"],
            jitter=float(first["jitter"] or 0.0),
        )
    return found


def headline_scenes(scenes: Iterable[Scene]) -> set[str]:
    """Scenes of the slice `all`: general and orbit without jitter at 0.5 to 1 px, and photographs without distortion.

    Where there are none of these, every scene with a reference whose motion is not critical.
    """
    known = [s for s in scenes if s.known and s.motion not in CRITICAL]
    made = [s for s in known if s.motion in ("general", "orbit") and not s.jitter and s.noise is not None and 0.5 <= s.noise <= 1.0]
    picked = made + [s for s in known if s.photographed and not s.distorted]
    return {s.name for s in picked or known}


def focal_error(fx: float, fy: float, scene: Scene) -> float:
    """Relative focal error, mean of fx and fy; NaN without an answer or a reference."""
    ref_x, ref_y = scene.reference[:2]
    return (abs(fx - ref_x) / ref_x + abs(fy - ref_y) / ref_y) / 2


def centre_error(cx: float, cy: float, scene: Scene) -> float:
    """Distance of the principal point from the reference over the image's diagonal."""
    return math.hypot(cx - scene.reference[2], cy - scene.reference[3]) / math.hypot(scene.width, scene.height)


def skew_error(fx: float, s: float, scene: Scene) -> float:
    """Difference of skew from the reference (0 where it has none) over fx."""
    reference = scene.reference[4]
    return abs(s - (reference if math.isfinite(reference) else 0.0)) / fx


def angle_of_view(f: float, width: float) -> float:
    """Horizontal angle of view (degrees) of a focal length (px)."""
    return math.degrees(2 * math.atan2(width / 2, f))


def capped(error: float) -> float:
    """An error for medians and failure rates: at most 1; 1 without an answer."""
    return 1.0 if not math.isfinite(error) else min(error, 1.0)


@dataclass(frozen=True)
class Answer:
    """One method on one scene (or triplet): fx, fy, cx, cy, s (NaN: none), its reported sd of f, CPU seconds, status."""

    k: tuple[float, float, float, float, float]
    sd: float
    cpu_s: float
    kind: str
    status: str
    warned: bool
    per_triplet: tuple[float, ...] = ()

    @property
    def good(self) -> bool:
        """A focal length is offered as good."""
        return self.status in ANSWERED and math.isfinite(self.k[0]) and self.k[0] > 0

    def error(self, scene: Scene) -> float:
        """Capped relative focal error."""
        return capped(focal_error(self.k[0], self.k[1], scene)) if self.good else 1.0


def answer(row: Mapping[str, Any]) -> Answer:
    """The answer in one row of the calibration table."""
    fx, fy, cx, cy, s = (_float(row[name]) for name in ("fx", "fy", "cx", "cy", "s"))
    warned = WARNING in row["reason"] or WARNING in row["status"]
    return Answer((fx, fy, cx, cy, s), _float(row["sd_f"]), _float(row["cpu_s"]), row["kind"], row["status"], warned)


def of_scene(rows: Sequence[Mapping[str, Any]]) -> Answer:
    """The scene's answer from all rows of one method, seed and stage."""
    parts = [answer(r) for r in rows if r["triplet"]]
    focals = tuple(p.k[0] for p in parts if p.good)
    cpu = float(np.nansum([p.cpu_s for p in parts])) if parts else math.nan
    warned = any(p.warned for p in parts)
    merged = [answer(r) for r in rows if not r["triplet"]]
    if merged:
        m = merged[0]
        spent = m.cpu_s if math.isfinite(m.cpu_s) else cpu
        return Answer(m.k, m.sd, spent, m.kind, m.status, m.warned or warned, focals)
    good = [p for p in parts if p.good]
    kind = parts[0].kind if parts else ""
    if not good:
        return Answer((math.nan,) * 5, math.nan, cpu, kind, parts[0].status if parts else "no_solution", warned)
    middle = [float(np.median([p.k[i] for p in good])) for i in range(5)]
    k = (middle[0], middle[1], middle[2], middle[3], middle[4])
    return Answer(k, float(np.median([p.sd for p in good])), cpu, kind, "ok", warned, focals)


Key = tuple[str, str, int]
"""Method, stage, seed."""


def by_key(calib: Iterable[Mapping[str, Any]]) -> dict[Key, dict[str, list[Mapping[str, Any]]]]:
    """Rows of the calibration table by method, stage and seed, then by scene."""
    found: dict[Key, dict[str, list[Mapping[str, Any]]]] = {}
    for row in calib:
        found.setdefault((row["method"], row["stage"], row["seed"]), {}).setdefault(row["scene"], []).append(row)
    return found


def measure(calib: Iterable[Mapping[str, Any]], scenes: Mapping[str, Scene], identity: Mapping[str, str], draws: int) -> list[Row]:
    """All rows that the calibration table gives: every method, stage, seed and slice; `draws` resamples of the scenes an interval."""
    groups = by_key(row for row in calib if row["scene"] in scenes)
    picked = headline_scenes(scenes.values())
    answers = {key: {name: of_scene(rows) for name, rows in found.items()} for key, found in groups.items()}
    rows: list[Row] = []
    for (method, stage, seed), given in answers.items():
        subject = Subject(dict(identity), method, _variant(stage), seed)
        triplets = groups[method, stage, seed]
        for name, members in _slices(given, scenes, picked).items():
            rows += _accuracy(subject, name, [(scenes[m], given[m]) for m in members], draws)
            rows += _counts(subject, name, [r for m in members for r in triplets[m]])
        rows += _warnings(subject, given, triplets, groups, scenes, picked)
        rows += _strong(subject, triplets, groups, scenes, picked, draws)
    return rows + _ratios(answers, scenes, picked, identity, draws)


def _variant(stage: str) -> str:
    return "" if stage == "refined" else stage


def _slices(given: Mapping[str, Answer], scenes: Mapping[str, Scene], picked: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(given):
        found.setdefault(scenes[name].slice, []).append(name)
        if name in picked:
            found.setdefault("all", []).append(name)
    return found


def _accuracy(subject: Subject, slice: str, items: Sequence[tuple[Scene, Answer]], draws: int) -> list[Row]:
    """Errors of K over the scenes of a slice; repeatability where there is no reference."""
    n, rows = len(items), []
    good = np.array([a.good for _, a in items], np.float64)
    rows.append(_resampled(subject, "answered", good, np.mean, draws, slice, "up"))
    if any(s.motion in CRITICAL for s, _ in items):
        refused = np.array([a.status.startswith("degenerate") for _, a in items], np.float64)
        rows.append(_resampled(subject, "refused", refused, np.mean, draws, slice, "up"))
    spread = [np.std(a.per_triplet) / np.median(a.per_triplet) for _, a in items if len(a.per_triplet) > 1]
    if spread:
        rows.append(subject.row("focal_spread", float(np.median(spread)), len(spread), "down", slice=slice))
    spent = [a.cpu_s for _, a in items if math.isfinite(a.cpu_s)]
    if spent:
        rows.append(subject.row("cpu_s", float(np.median(spent)), len(spent), "down", slice=slice, scale="s", timing=True))
    known = [(s, a) for s, a in items if s.known]
    if not known:
        return rows
    errors = np.array([a.error(s) for s, a in known])
    rows.append(_resampled(subject, HEADLINE[0], errors, np.median, draws, slice))
    rows.append(subject.row("focal_error_p90", float(np.quantile(errors, 0.9)), n, "down", slice=slice))
    rows.append(_resampled(subject, "failure_rate", (errors > FAILED).astype(np.float64), np.mean, draws, slice))
    sure = [(s, a) for s, a in known if a.good]
    rows.append(subject.row("confident_wrong", float(np.mean([a.good and a.error(s) > FAILED for s, a in known])), n, "down", slice=slice))
    if sure:
        angles = [abs(angle_of_view(a.k[0], s.width) - angle_of_view(s.reference[0], s.width)) for s, a in sure]
        rows.append(subject.row("angle_error", float(np.median(angles)), len(sure), "down", slice=slice, scale="deg"))
    told = [(s, a) for s, a in sure if math.isfinite(a.sd)]
    if told:
        within = [abs(a.k[0] - s.reference[0]) <= 2 * a.sd for s, a in told]
        rows.append(subject.row("within_2sd", float(np.mean(within)), len(told), "up", slice=slice))
    if known[0][1].kind in ESTIMATES_CENTRE:
        centre = np.array([capped(centre_error(a.k[2], a.k[3], s)) if a.good else 1.0 for s, a in known])
        rows.append(_resampled(subject, "centre_error", centre, np.median, draws, slice))
        if known[0][1].kind == "full":
            skews = np.array([capped(skew_error(a.k[0], a.k[4], s)) if a.good else 1.0 for s, a in known])
            rows.append(_resampled(subject, "skew_error", skews, np.median, draws, slice))
    return rows


def _counts(subject: Subject, slice: str, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Roots, real and physical ones a hypothesis, share of lost paths, CPU seconds a hypothesis."""
    tried = [r for r in rows if r["triplet"] and r["hypotheses"]]
    if not tried:
        tried = [r for r in rows if r["hypotheses"]]
    hypotheses = sum(r["hypotheses"] for r in tried)
    if not hypotheses:
        return []
    made = []
    spent = [r["cpu_s"] for r in tried if r["cpu_s"] is not None and math.isfinite(r["cpu_s"])]
    if len(spent) == len(tried):
        made.append(subject.row("cpu_per_hypothesis", sum(spent) / hypotheses, hypotheses, "down", slice=slice, scale="s", timing=True))
    for name in ("roots", "real", "physical"):
        if all(r[name] is not None for r in tried):
            made.append(subject.row(f"{name}_per_hypothesis", sum(r[name] for r in tried) / hypotheses, hypotheses, "none", slice=slice))
    if all(r["roots"] is not None and r["lost"] is not None for r in tried):
        paths, lost = sum(r["roots"] + r["lost"] for r in tried), sum(r["lost"] for r in tried)
        if paths:
            made.append(subject.row("lost_paths", lost / paths, paths, "down", slice=slice))
    return made


def _warnings(
    subject: Subject,
    given: Mapping[str, Answer],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    groups: Mapping[Key, Mapping[str, Sequence[Mapping[str, Any]]]],
    scenes: Mapping[str, Scene],
    picked: set[str],
) -> list[Row]:
    """Share of distorted triplets (slice `distortion=raw`; those with many tracks, if there are) and of undistorted scenes warned of."""
    if not subject.method.startswith("ours") or subject.variant:
        return []
    made = []
    raw: dict[bool, list[bool]] = {True: [], False: []}
    for name in given:
        if scenes[name].distorted:
            tracks = triplet_tracks(groups, name)
            for row in rows[name]:
                if row["triplet"]:
                    raw[tracks.get(row["triplet"], 0) >= STRONG].append(answer(row).warned)
    if distorted := raw[True] or raw[False]:
        made.append(subject.row("distortion_warned", float(np.mean(distorted)), len(distorted), "up", slice="distortion=raw"))
    clean = [a.warned for name, a in given.items() if name in picked and not scenes[name].distorted]
    if clean:
        made.append(subject.row("distortion_warned", float(np.mean(clean)), len(clean), "down", slice="distortion=none"))
    return made


def _strong(
    subject: Subject,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    groups: Mapping[Key, Mapping[str, Sequence[Mapping[str, Any]]]],
    scenes: Mapping[str, Scene],
    picked: set[str],
    draws: int,
) -> list[Row]:
    """C6: errors over the triplets of photographs with at least `STRONG` tracks, for pairwise methods over the pairs inside these."""
    errors: list[float] = []
    weak: list[bool] = []
    for name in sorted(set(rows) & picked):
        scene = scenes[name]
        if not scene.photographed or not scene.known or scene.distorted:
            continue
        tracks = triplet_tracks(groups, name)
        inside = [set(t.split("-")) for t, n in tracks.items() if n >= STRONG]
        for row in rows[name]:
            views = set(row["triplet"].split("-")) if row["triplet"] else set()
            if not views:
                continue
            if any(views <= triplet for triplet in inside):
                errors.append(answer(row).error(scene))
            elif len(views) == 3 and subject.method.startswith("ours"):
                found = answer(row)
                weak.append(found.good and found.error(scene) > 0.08)
    if not errors:
        return []
    name = f"tracks={STRONG}"
    made = [
        _resampled(subject, "triplet_focal_error", np.array(errors), np.median, draws, name),
        subject.row("triplet_focal_error_max", max(errors), len(errors), "down", slice=name),
    ]
    if subject.method.startswith("ours"):
        made.append(subject.row("weak_triplets_wrong", float(sum(weak)), len(weak), "down", slice=name))
    return made


def triplet_tracks(groups: Mapping[Key, Mapping[str, Sequence[Mapping[str, Any]]]], scene: str) -> dict[str, int]:
    """Common tracks of each triplet of a scene: the most that a method saw (one may leave out what repeats a point)."""
    found: dict[str, int] = {}
    for by_scene in groups.values():
        for row in by_scene.get(scene, ()):
            if row["triplet"].count("-") == 2 and row["tracks"] is not None:
                found[row["triplet"]] = max(found.get(row["triplet"], 0), row["tracks"])
    return found


def _ratios(
    answers: Mapping[Key, Mapping[str, Answer]], scenes: Mapping[str, Scene], picked: set[str], identity: Mapping[str, str], draws: int
) -> list[Row]:
    """Our median focal error over a rival's on the same scenes, which are resampled together (`focal_ratio_<rival>`)."""
    rows = []
    for (method, stage, seed), ours in answers.items():
        if method != "ours" or stage != "refined":
            continue
        subject = Subject(dict(identity), method, "", seed)
        for name, members in _slices(ours, scenes, picked).items():
            for rival in RIVALS:
                theirs = of_rival(answers, rival)
                both = [m for m in members if m in theirs and scenes[m].known and scenes[m].noise != 0]
                if not both:
                    continue
                a = np.array([ours[m].error(scenes[m]) for m in both])
                b = np.array([theirs[m].error(scenes[m]) for m in both])
                lo, hi = bootstrap(len(both), _median_ratio(a, b), draws if len(both) > 1 else 0, 0)
                value = float(_over(np.median(a), np.median(b)))
                rows.append(
                    subject.row(
                        f"focal_ratio_{rival}", value, len(both), "down", slice=name, lo=lo, hi=hi, reason="the rival's median error is 0"
                    )
                )
    return rows


def of_rival(answers: Mapping[Key, Mapping[str, Answer]], rival: str) -> Mapping[str, Answer]:
    """A rival's answers at its first seed and the stage at which it is compared, else the other stage; empty if it was not run."""
    found = sorted(key for key in answers if key[0] == rival)
    if not found:
        return {}
    chosen = [key for key in found if key[1] == RIVALS.get(rival, "refined")] or found
    return answers[chosen[0]]


def recall_rows(subject: Subject, found: Sequence[bool], lost: Sequence[float], cpu_s: Sequence[float], draws: int) -> list[Row]:
    """C3: share of noise-free scenes (slice `exact`) whose true K is among the roots, and of lost paths, one value a scene."""
    return [
        _resampled(subject, "recall", np.array(found, np.float64), np.mean, draws, "exact", "up"),
        _resampled(subject, "lost_paths", np.array(lost, np.float64), np.mean, draws, "exact"),
        subject.row("cpu_per_hypothesis", float(np.median(cpu_s)), len(cpu_s), "down", slice="exact", scale="s", timing=True),
    ]


TABLE_2_3: dict[str, dict[str, int]] = {
    "2V5P": {"equations": 10, "unknowns": 9, "dropped": 1, "subsets": 10, "orbits": 1, "nonsingular": 1},
    "2V6P-f": {"equations": 15, "unknowns": 12, "dropped": 3, "subsets": 455, "orbits": 5, "nonsingular": 4},
    "2V7P-fxfy": {"equations": 21, "unknowns": 15, "dropped": 6, "subsets": 54264, "orbits": 41, "nonsingular": 26},
    "3V4P": {"equations": 12, "unknowns": 11, "dropped": 1, "subsets": 12, "orbits": 1, "nonsingular": 1},
    "3V4P-f": {"equations": 12, "unknowns": 12, "dropped": 0, "subsets": 1, "orbits": 1, "nonsingular": 1},
    "3V5P-fxfy": {"equations": 20, "unknowns": 16, "dropped": 4, "subsets": 4845, "orbits": 43, "nonsingular": 37},
    "3V5P-square": {"equations": 20, "unknowns": 17, "dropped": 3, "subsets": 1140, "orbits": 12, "nonsingular": 8},
    "3V5P-zeroskew": {"equations": 20, "unknowns": 18, "dropped": 2, "subsets": 190, "orbits": 5, "nonsingular": 3},
    "3V6P-full": {"equations": 30, "unknowns": 22, "dropped": 8, "subsets": 5852925, "orbits": 4989},
}
"""Section 2.3: orbits checked by Burnside's lemma."""
UNLISTED = ("3V4P-f", "3V6P-full")
"""Left out of the sum of 80 relaxations that a public summary of the paper gives."""


def taxonomy_rows(problems: Iterable[Mapping[str, Any]], subject: Subject) -> list[Row]:
    """C1: enumerated problems of the table, numbers that depart from it, and the sum of non-singular relaxations."""
    rows = {r["problem"]: r for r in problems if r["problem"] in TABLE_2_3}
    wrong = [f"{p} {name}" for p, r in rows.items() for name, value in TABLE_2_3[p].items() if r.get(name) not in (None, value)]
    total = sum(int(r["nonsingular"] or 0) for p, r in rows.items() if p not in UNLISTED)
    made = [
        subject.row("taxonomy_problems", float(len(set(rows) - {"3V6P-full"})), len(rows), "none"),
        subject.row("taxonomy_mismatches", float(len(wrong)), sum(len(TABLE_2_3[p]) for p in rows), "down"),
        subject.row("taxonomy_relaxations", float(total), len(rows), "none"),
    ]
    for problem, row in rows.items():
        for name in ("orbits", "nonsingular"):
            if row.get(name) is not None:
                made.append(subject.row(f"{name}_{metric_name(problem)}", float(row[name]), int(row.get("subsets") or 1), "none"))
    return made


def degree_rows(degrees: Iterable[Mapping[str, Any]], identity: Mapping[str, str]) -> list[Row]:
    """C2: solutions that monodromy found, a row for each problem, relaxation (slice `orbit=0`) and monodromy seed."""
    made: dict[tuple[str, int, int], Row] = {}
    for r in degrees:
        subject = Subject(dict(identity), "ours", "", int(r["seed"]))
        row = subject.row(
            f"degree_{metric_name(r['problem'])}", float(r["solutions"]), int(r["solutions"]), "none", slice=f"orbit={r['orbit']}"
        )
        made[r["problem"], int(r["orbit"]), int(r["seed"])] = row
    return list(made.values())


def metric_name(problem: str) -> str:
    """`3V4P-f` as part of a metric's name: `3v4p_f`."""
    return problem.lower().replace("-", "_")


Statistic = Callable[..., Any]


def _resampled(subject: Subject, metric: str, values: Float, statistic: Statistic, draws: int, slice: str, better: Better = "down") -> Row:
    """A statistic over scenes with its 95 % interval over resampled scenes."""
    value = float(statistic(values)) if values.size else math.nan
    lo, hi = bootstrap(values.size, lambda i: statistic(values[i], axis=1), draws if values.size > 1 else 0, 0)
    return subject.row(metric, value, int(values.size), better, slice=slice, lo=lo, hi=hi, reason="no scene")


def _median_ratio(a: Float, b: Float) -> Callable[[npt.NDArray[np.int64]], Float]:
    return lambda i: _over(np.median(a[i], axis=1), np.median(b[i], axis=1))


def _over(a: npt.ArrayLike, b: npt.ArrayLike) -> Float:
    top, bottom = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    out = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)

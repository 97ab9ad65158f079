"""The paper's claims (section 8), judged on `metrics.parquet` alone.

A claim with several conditions is judged on its smallest margin (`core.claims.judge_conditions`). What a partition cannot
show (photographs on made-up scenes, say) is not judged, and the reason says why.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core import claims as core
from tenfold.core.claims import Claim, Condition, minus

if TYPE_CHECKING:
    import pyarrow as pa

IDS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10")
STATEMENTS = {
    "C1": "The catalogue of minimal problems and their relaxations is reproduced exactly",
    "C2": "Monodromy runs from several seeds find the same number of solutions",
    "C3": "Without noise the true K is among the roots, and few paths are lost",
    "C4": "On general motion as accurate as closed forms, and close to 6 points with refinement",
    "C5": "On orbits, where two-view focal formulas fail, three views succeed",
    "C6": "On photographs accurate on every triplet with enough tracks, and more so than pairs of views",
    "C7": "COLMAP that is started from our K recovers from a wrong prior focal length",
    "C8": "An unknown principal point is recovered as well, without noise exactly",
    "C9": "Says so when the photographs are distorted, and only then",
    "C10": "Fast enough: a hypothesis in at most 0.12 s of one core",
}
SOURCES = {
    "C1": "Minimal Perspective Autocalibration, CVPR 2024, table of minimal relaxations",
    "C2": "CVPR 2024, degrees by monodromy",
    "C3": "CVPR 2024, synthetic experiments",
    "C4": "CVPR 2024, abstract (superior accuracy)",
    "C5": "our test of the three-view premise",
    "C6": "CVPR 2024, real sequences",
    "C7": "CVPR 2024, initialising COLMAP",
    "C8": "CVPR 2024, full and zero-skew solvers",
    "C9": "our test of honesty",
    "C10": "our target; the paper speaks of increased runtime",
}
_PUBLISHED = {"C1": ("taxonomy_relaxations", "non-singular relaxations"), "C2": ("degree_3v4p", "solutions of 3V4P")}

DEGREES = {"2v5p": (20,), "2v6p_f": (30,), "3v4p": (320,), "3v4p_f": (667, 668)}
"""Solutions in the sign-reduced systems (section 2.3); the last needs one value of the two."""
ORBITS = {"2v6p_f": 4}
"""Relaxations of one problem of which each must have its degree."""
LISTED = 8
NOISES = (0.5, 1.0)
CLOSED_FORMS = ("bougnoux", "sturm")
PAIRWISE = ("bougnoux", "sturm", "focal6")
PRIORS = ("0.3", "3")
SAME = 0.001
"""Focal errors of COLMAP that differ by less are one: its refinement stops there."""
LEAST_SCENES = 10
"""Scenes from which C4, C5 and C8 are judged: below, one scene moves a rate by more than 10 %."""
LEAST_SEEDS = 3
PRACTICAL = ("zero_skew", "square", "full")
"""Solvers of which the principal point is no input."""
LEAST_EXACT = 5
"""Noise-free scenes of each of them from which C8 is judged (section 8, C3)."""


class Numbers(core.Numbers):
    """Look-ups in a metrics table; variant `minimal` is before refinement, none after it."""

    def either(self, method: str, metric: str, slice: str = "all") -> float | None:
        """After refinement, else before it."""
        value = self.get(method, metric, slice)
        return value if value is not None else self.get(method, metric, slice, "minimal")

    def first(self, method: str, metric: str, slice: str = "all") -> float | None:
        """Before refinement (closed forms as they are), else after it."""
        value = self.get(method, metric, slice, "minimal")
        return value if value is not None else self.get(method, metric, slice)

    def group(self, metric: str, method: str = "ours") -> list[dict[str, Any]]:
        """All rows of a metric, whatever slice and seed."""
        return [row for row in self.rows if row["metric"] == metric and row["method"] == method and row["value"] is not None]

    def slices(self, method: str = "ours") -> list[str]:
        """Slices in which a method was measured, in the table's order."""
        return list(dict.fromkeys(row["slice"] for row in self.rows if row["method"] == method))

    def methods(self) -> list[str]:
        """Methods in the table's order."""
        return list(dict.fromkeys(row["method"] for row in self.rows))

    def seeds(self) -> list[int]:
        """Seeds of our estimates."""
        return sorted({int(row["seed"]) for row in self.group("focal_error")})


def motion(name: str, noise: float, jitter: float = 0.0) -> str:
    """The slice of made-up scenes of one motion, noise (px) and jitter."""
    made = f"motion={name},noise={noise:g}"
    return f"{made},jitter={jitter:g}" if jitter else made


def judge(metrics: "pa.Table") -> list[Claim]:
    """C1 to C10 on one partition, in this order."""
    n = Numbers(metrics.to_pylist())
    return [f(n) for f in (_c1, _c2, _c3, _c4, _c5, _c6, _c7, _c8, _c9, _c10)]


def published_rows() -> list[dict[str, str]]:
    """The rows of `published.csv`."""
    return core.published_rows(Path(__file__).parent)


def published(claim: str) -> str:
    """Figures published for a claim, each with its mark."""
    if claim not in _PUBLISHED:
        return ""
    metric, word = _PUBLISHED[claim]
    found = [row for row in published_rows() if row["metric"] == metric]
    return f"{word}: " + "; ".join(f"{r['value']} ({r['mark']}, {r['source']})" for r in found) if found else ""


def _c1(n: Numbers) -> Claim:
    listed = n.get("ours", "taxonomy_problems")
    conditions = [
        Condition("numbers that depart from the table", n.get("ours", "taxonomy_mismatches"), "<=", 0.0),
        Condition("problems of the table enumerated", listed, ">=", float(LISTED)),
        Condition(
            "distance of the sum of non-singular relaxations from 80", _distance(n.get("ours", "taxonomy_relaxations"), 80.0), "<=", 0.0
        ),
    ]
    if listed is not None and listed < LISTED and not conditions[0].fails:
        reason = (
            f"{listed:.0f} of {LISTED} problems were enumerated, all as in the table; the recipe's taxonomy.problems leaves the others out"
        )
        return _claim("C1", [replace(conditions[0], value=None)], [], reason)
    return _claim("C1", conditions[:1] if listed is not None and listed < LISTED else conditions, [])


def _c2(n: Numbers) -> Claim:
    wrong, missing, seeds, shown = 0, [], set[int](), []
    for problem, wanted in DEGREES.items():
        rows = n.group(f"degree_{problem}")
        values = {round(row["value"]) for row in rows}
        mine = {int(row["seed"]) for row in rows}
        orbits = {row["slice"] for row in rows}
        seeds |= mine
        wrong += sum(round(row["value"]) not in wanted for row in rows) + (len(values) - 1 if len(wanted) > 1 and len(values) > 1 else 0)
        if len(mine) < LEAST_SEEDS:
            missing.append(f"{problem} has {len(mine)} of {LEAST_SEEDS} seeds")
        if len(orbits) < ORBITS.get(problem, 1):
            missing.append(f"{problem} has {len(orbits)} of {ORBITS.get(problem, 1)} relaxations")
        if rows:
            shown.append(f"{problem} {'/'.join(map(str, sorted(values)))} ({len(orbits)} x {len(mine)} seeds)")
    what = "runs whose number of solutions is another" + (f" ({'; '.join(shown)})" if shown else "")
    value = None if missing and not wrong else float(wrong)
    return _claim("C2", [Condition(what, value, "<=", 0.0)], sorted(seeds), "; ".join([*missing, *shown]) if missing else "")


def _c3(n: Numbers) -> Claim:
    conditions = [
        n.condition("ours", "recall", "exact", "focal: share with the true K among the roots", ">=", 0.97),
        n.condition("ours", "lost_paths", "exact", "focal: share of lost paths", "<=", 0.03),
    ]
    if n.get("ours_zero_skew", "recall", "exact") is not None:
        conditions.append(n.condition("ours_zero_skew", "recall", "exact", "zero_skew: share with the true K", ">=", 0.90))
        conditions.append(n.condition("ours_zero_skew", "lost_paths", "exact", "zero_skew: share of lost paths", "<=", 0.03))
    return _claim("C3", conditions, [], "no noise-free scenes were solved (evaluation.exact)")


def _c4(n: Numbers) -> Claim:
    conditions = []
    for noise in NOISES:
        where = motion("general", noise)
        ratios = {r: n.get("ours", f"focal_ratio_{r}", where) for r in CLOSED_FORMS}
        best = max(((v, r) for r, v in ratios.items() if v is not None), default=None)
        known = best is not None and None not in ratios.values()
        rival = best[1] if best is not None else CLOSED_FORMS[0]
        word = f"{noise:g} px: focal error over that of the best closed form ({rival})"
        conditions.append(
            n.condition("ours", f"focal_ratio_{rival}", where, word, "<=", 1.0) if known else Condition(word, None, "<=", 1.0)
        )
        word = f"{noise:g} px: focal error over that of 6 points with refinement"
        conditions.append(n.condition("ours", "focal_ratio_focal6", where, word, "<=", 1.1))
    scenes = min(n.n("ours", "focal_error", motion("general", noise)) for noise in NOISES)
    return _claim("C4", _enough(conditions, scenes), n.seeds(), _why_not(scenes, "general motion at 0.5 and 1 px"))


def _c5(n: Numbers) -> Claim:
    where = motion("orbit", 0.5)
    conditions = [
        n.condition("ours", "focal_error", where, "our median focal error", "<=", 0.05),
        n.condition("ours", "failure_rate", where, "our failures", "<=", 0.20),
    ]
    conditions += [Condition(f"failures of {rival}", _failures(n, rival, where), ">=", 0.80) for rival in PAIRWISE]
    scenes = n.n("ours", "focal_error", where)
    claim = _claim("C5", _enough(conditions, scenes), n.seeds(), _why_not(scenes, "orbits at 0.5 px"))
    others = [
        (m, n.either(m, "focal_error", where), n.either(m, "failure_rate", where)) for m in ("ba_only", "colmap", "focal6_ba", "sweep")
    ]
    beside = "; ".join(f"{m}: median {e:.3g}, failures {f:.3g}" for m, e, f in others if e is not None and f is not None)
    if claim.measured is None or not beside:
        return claim
    also = [m for m, e, f in others if e is not None and f is not None and e <= 0.05 and f <= 0.20]
    credit = f". {', '.join(also)} succeed as well: it is the third view that helps, not the minimal solver" if also else ""
    return replace(claim, measure=f"{claim.measure}; beside it {beside}{credit}")


def _c6(n: Numbers) -> Claim:
    where = "tracks=75"
    ours = n.get("ours", "triplet_focal_error", where)
    conditions = [
        n.condition("ours", "triplet_focal_error", where, "median focal error of the triplets", "<=", 0.03),
        Condition("the largest", n.get("ours", "triplet_focal_error_max", where), "<=", 0.08),
    ]
    for rival in PAIRWISE:
        value = n.either(rival, "triplet_focal_error", where) if rival == "focal6" else n.first(rival, "triplet_focal_error", where)
        conditions.append(Condition(f"median of {rival} over the same pairs, less ours", minus(value, ours), ">", 0.0))
    conditions.append(
        Condition("triplets with fewer tracks returned as good and wrong", n.get("ours", "weak_triplets_wrong", where), "<=", 0.0)
    )
    return _claim(
        "C6",
        conditions,
        n.seeds(),
        "needs photographs without distortion, with a reference focal length and triplets of at least 75 tracks",
    )


def _c7(n: Numbers) -> Claim:
    conditions, gains = [], []
    for prior in PRIORS:
        variant = f"prior={prior}"
        left, started = (n.get(m, "colmap_focal_error", variant=variant) for m in ("colmap", "ours"))
        alone, with_ours = (n.get(m, "registered", variant=variant) for m in ("colmap", "ours"))
        conditions.append(
            Condition(f"prior x{prior}: focal error left there, less that started from ours", minus(left, started), ">=", -SAME)
        )
        what = f"prior x{prior}: share of images registered beyond that left there"
        conditions.append(Condition(what, minus(with_ours, alone), ">=", 0.0))
        gains += [minus(left, started), minus(with_ours, alone)]
    best = max((g for g in gains if g is not None), default=None) if None not in gains else None
    conditions.append(Condition("largest gain", best, ">", SAME))
    claim = _claim(
        "C7", conditions, n.seeds(), "needs COLMAP runs from the priors 0.3 and 3 (evaluation.priors) on scenes with a reference"
    )
    default = n.get("colmap", "colmap_focal_error", variant="prior=default")
    return replace(claim, measure=f"{claim.measure}; from COLMAP's own default {default:.4g}") if default is not None else claim


def _c8(n: Numbers) -> Claim:
    exact, noisy, few = [], [], []
    for solver in PRACTICAL:
        method, where = f"ours_{solver}", motion("general", 0.5)
        instances, scenes = n.n(method, "recall", "exact"), n.n(method, "centre_error", where)
        found = n.condition(method, "recall", "exact", f"{solver}: share of {instances} noise-free scenes with the true K", ">=", 0.90)
        exact.append(found if instances >= LEAST_EXACT else replace(found, value=None))
        both = [
            n.condition(method, "centre_error", where, f"{solver}: principal point error over the diagonal", "<=", 0.05),
            n.condition(method, "focal_error", where, f"{solver}: focal error", "<=", 0.05),
        ]
        if scenes >= LEAST_SCENES:
            noisy += both
        elif scenes:
            few.append(f"{scenes} scenes of {solver} only, shown and not judged: " + ", ".join(c.text() for c in both))
    missing = (
        [] if all(c.value is not None for c in exact) else [f"needs {LEAST_EXACT} noise-free scenes of each of {', '.join(PRACTICAL)}"]
    )
    if not noisy:
        noisy = [Condition("principal point error over the diagonal", None, "<=", 0.05)]
        missing += few or [f"no solver with an unknown principal point was run on {LEAST_SCENES} scenes of general motion at 0.5 px"]
    return _claim("C8", [*noisy, *exact], n.seeds() if not missing else [], "; ".join(missing))


def _c9(n: Numbers) -> Claim:
    raw = n.get("ours", "distortion_warned", "distortion=raw")
    made = any(s.startswith("motion=") for s in n.slices())
    conditions = []
    if raw is not None:
        conditions.append(n.condition("ours", "distortion_warned", "distortion=raw", "distorted triplets warned of", ">=", 0.75))
    if made:
        word = "undistorted scenes warned of"
        conditions.append(n.condition("ours", "distortion_warned", "distortion=none", word, "<=", 0.0))
    if not conditions:
        conditions.append(Condition("distorted triplets warned of", None, ">=", 0.75))
    claim = _claim("C9", conditions, n.seeds(), "neither distorted photographs nor made-up scenes here")
    if claim.measured is None:
        return claim
    half = (
        "both halves"
        if raw is not None and made
        else "this half; photographs show the other"
        if made
        else "this half; made-up scenes show the other"
    )
    return replace(claim, measure=f"{claim.measure} ({half})")


def _c10(n: Numbers) -> Claim:
    where = "all" if n.get("ours", "cpu_per_hypothesis", variant="minimal") is not None else "exact"
    variant = "minimal" if where == "all" else ""
    value = n.get("ours", "cpu_per_hypothesis", where, variant)
    if value is None:
        value = n.get("ours", "cpu_per_hypothesis")
    return _claim("C10", [Condition("CPU seconds a hypothesis, one core", value, "<=", 0.12)], n.seeds(), "no hypothesis was timed")


def _failures(n: Numbers, rival: str, where: str) -> float | None:
    """Of closed forms as they are, of the 6-point solver after its refinement."""
    return n.either(rival, "failure_rate", where) if rival == "focal6" else n.first(rival, "failure_rate", where)


def _enough(conditions: list[Condition], scenes: int) -> list[Condition]:
    return conditions if scenes >= LEAST_SCENES else [replace(c, value=None) for c in conditions]


def _why_not(scenes: int, what: str) -> str:
    if scenes >= LEAST_SCENES:
        return ""
    return f"needs at least {LEAST_SCENES} made-up scenes of {what}; there are {scenes}"


def _claim(id: str, conditions: Sequence[Condition], seeds: Sequence[int], reason: str = "") -> Claim:
    return core.judge_conditions(
        conditions,
        id=id,
        statement=STATEMENTS[id],
        scope="partition",
        source=SOURCES[id],
        seeds=seeds,
        published=published(id),
        reason=reason,
    )


def _distance(a: float | None, b: float) -> float | None:
    return None if a is None else abs(a - b)

"""A whole scene: which views go together, a calibration of each set of views, one answer for the scene (sections 2.6 and 10)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import combine, features
from tenfold.autocalibration.features import Pair, Scene
from tenfold.autocalibration.ransac import LEAST, NOISY, Estimate, Settings, TripletResult, calibrate_triplet
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core.errors import UsageError

if TYPE_CHECKING:
    from tenfold.autocalibration.roots import Candidates

Floats = npt.NDArray[np.float64]
Results = list[tuple[dict[str, Any], TripletResult | None]]

STAGES = ("minimal", "refined")
COST = ("cpu_s", "hypotheses", "roots", "real", "physical", "lost")
WIDER = 2.0  # times the threshold: the one that is tried where the noise is too large for it
PARTNERS = 12  # views that one view is combined with, where there are many
MANY = 30  # views


@dataclass(frozen=True)
class Solver:
    """A solver: the minimal problem of its start system, what is unknown of K, how many views."""

    problem: str
    kind: str
    views: int


SOLVERS = {
    "focal": Solver("3V4P-f", "f", 3),
    "focal2v": Solver("2V6P-f", "f", 2),
    "zero_skew": Solver("3V5P-zeroskew", "zero_skew", 3),
    "square": Solver("3V5P-zeroskew", "square", 3),
    "full": Solver("3V6P-full", "full", 3),
}


def METHOD(name: str) -> str:
    """Name of the solver's method in tables."""
    return "ours" if name == "focal" else f"ours_{name}"


def solve_of(name: str) -> "Callable[..., Candidates]":
    """The function `solve` of a solver. Raises UsageError for another name."""
    from tenfold.autocalibration import focal, focal2v, full, square, zero_skew

    modules = {"focal": focal, "focal2v": focal2v, "zero_skew": zero_skew, "square": square, "full": full}
    if name not in modules:
        raise UsageError(f"there is no solver {name!r}: use one of {', '.join(SOLVERS)}")
    return modules[name].solve


def worth(pair: Pair) -> float:
    """How much a pair of views says about K: inliers of F that no homography explains, as they need parallax."""
    ratio = pair.homography_ratio if np.isfinite(pair.homography_ratio) else 1.0
    # a pair without parallax still counts a little: a triplet can live with one
    return pair.inliers * max(1.0 - ratio, 0.01)


def choose(scene: Scene, views: int, count: int, cameras: Mapping[int, str] | None = None) -> list[tuple[int, ...]]:
    """At most `count` sets of `views` views of one camera, the most promising first: least worth of their pairs, new views preferred.

    With no more sets than `count`, all of them, also those with too few common tracks.
    """
    group = largest_group(scene.tracks.views, cameras)
    if len(group) <= MANY:
        sets = list(combinations(group, views))
    else:
        sets = _neighbours(scene, group, views)
    if not sets:
        return []
    value = np.array([min(_worth(scene, i, j) for i, j in combinations(each, 2)) for each in sets])
    if len(sets) <= count:
        return [sets[at] for at in np.lexsort((np.arange(len(sets)), -value))]
    chosen: list[tuple[int, ...]] = []
    used = dict.fromkeys(group, 0)
    members = np.array(sets)
    left = value.copy()
    while len(chosen) < count:
        # a set of views that were used before counts less
        again = np.vectorize(used.__getitem__)(members).sum(axis=1)
        at = int(np.argmax(left / (1.0 + again / views)))
        if not left[at] > 0:
            break
        left[at] = -1.0
        if scene.tracks.common(sets[at])[1].shape[1] >= LEAST:
            chosen.append(sets[at])
            for view in sets[at]:
                used[view] += 1
    return chosen


def largest_group(views: Sequence[int], cameras: Mapping[int, str] | None) -> list[int]:
    """Views of the camera that took most of them, the first by name of several."""
    if not cameras:
        return list(views)
    groups: dict[str, list[int]] = {}
    for view in views:
        groups.setdefault(cameras.get(view, ""), []).append(view)
    return min(groups.items(), key=lambda item: (-len(item[1]), item[0]))[1] if groups else []


def scene(
    scene: Scene,
    name: str,
    start: StartSystem,
    *,
    size: tuple[int, int],
    principal: Floats,
    settings: Settings,
    triplets: int,
    seed: int,
    cameras: Mapping[int, str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of the calibration table: for each set of views the stages minimal and refined, then both for the whole scene (triplet "").

    Args:
        name: solver, see SOLVERS; `start` must be of its problem.
        size: width, height in px.
        principal: (2,) px, known or a first guess.
        triplets: sets of views at most.
        cameras: camera of each view; views of different cameras are never mixed, the camera with most views is calibrated.
    """
    return [row for row, _ in calibrations(scene, name, start, size, principal, settings, triplets, seed, cameras)]


def calibrations(
    scene: Scene,
    name: str,
    start: StartSystem,
    size: tuple[int, int],
    principal: Floats,
    settings: Settings,
    triplets: int,
    seed: int,
    cameras: Mapping[int, str] | None = None,
    strict: bool = False,
) -> Results:
    """As `scene`, each row with the result that it stands for (None for the scene's own rows).

    Where no set of views answers and the noise is too large for the threshold, all are calibrated once more within one `WIDER` times as
    large, and the scene's reason says so. `strict`: the threshold is the user's own and stays.
    """
    solve, solver = solve_of(name), SOLVERS[name]
    base = {"scene": scene.name, "method": METHOD(name), "seed": seed, "kind": solver.kind}
    run = partial(_of_sets, solve=solve, start=start, size=size, principal=principal, seed=seed, base=base)
    mixed = (
        ""
        if not cameras or len(set(map(cameras.get, scene.tracks.views))) < 2
        else "several cameras: the one with most views is calibrated"
    )
    sets = choose(scene, solver.views, triplets, cameras)
    if not sets:
        reason = "; ".join(filter(None, [f"needs at least {solver.views} views of one camera with {LEAST} common tracks", mixed]))
        return [(_row({**base, "triplet": "", "stage": stage}, None, stage, reason), None) for stage in STAGES]
    began = time.monotonic()
    made, said = run(scene, sets, settings), [mixed]
    left = None if settings.max_seconds is None else settings.max_seconds - (time.monotonic() - began)
    if not strict and too_noisy(made) and (left is None or left > 0):
        px = WIDER * settings.threshold_px
        again = run(features.within(scene, px, seed), sets, Settings(settings.samples, px, left))
        if answers(again):
            made, said = _with_cost_of(again, made), [f"noisy points: the inlier threshold was raised to {px:g} px", mixed]
        else:
            made, said = _with_cost_of(made, again), [f"nor is there an answer at {px:g} px: {_merged(again, 'refined')['reason']}", mixed]
    for stage in STAGES:
        row = _merged(made, stage)
        made.append(({**row, "reason": "; ".join(filter(None, [row["reason"], *said]))}, None))
    return made


def _of_sets(
    scene: Scene,
    sets: Sequence[tuple[int, ...]],
    settings: Settings,
    *,
    solve: "Callable[..., Candidates]",
    start: StartSystem,
    size: tuple[int, int],
    principal: Floats,
    seed: int,
    base: Mapping[str, Any],
) -> Results:
    """Rows and result of each set of views: the first in any case, the others while there is time. `base`: columns that all rows share."""
    began = time.monotonic()
    made: Results = []
    for views in sets:
        left = None if settings.max_seconds is None else settings.max_seconds - (time.monotonic() - began)
        if made and left is not None and left <= 0:
            break
        _, x = scene.tracks.common(views)
        known = [scene.pairs[pair].F if pair in scene.pairs else None for pair in combinations(views, 2)]
        limited = Settings(settings.samples, settings.threshold_px, None if left is None else max(left, 1e-3))
        of_views = int(np.random.SeedSequence([seed, *views]).generate_state(1)[0] >> 1)
        result = calibrate_triplet(
            x, solve, start, principal=principal, size=size, settings=limited, seed=of_views, fundamentals=known, kind=base["kind"]
        )
        label = "-".join(map(str, views))
        made += [(_row({**base, "triplet": label, "stage": stage}, result, stage), result) for stage in STAGES]
    return made


def answers(found: Results) -> list[tuple[dict[str, Any], TripletResult]]:
    """Refined rows and results of the sets of views that answer."""
    return [(row, result) for row, result in found if row["stage"] == "refined" and row["triplet"] and result and row["status"] == "ok"]


def too_noisy(found: Results) -> bool:
    """Whether nothing answers, and the threshold cuts the noise of some set of views in two."""
    return not answers(found) and any(result is not None and result.near > NOISY for _, result in found)


def _merged(found: Results, stage: str) -> dict[str, Any]:
    return combine.merge([row for row, _ in found if row["stage"] == stage and row["triplet"]])


def _with_cost_of(kept: Results, tried: Results) -> Results:
    """Rows of one attempt with what both have cost: time, and the counts of what was tracked."""
    spent = {(row["triplet"], row["stage"]): row for row, _ in tried}
    made: Results = []
    for row, result in kept:
        other = spent.get((row["triplet"], row["stage"]))
        made.append(({**row, **{name: row[name] + other[name] for name in COST}} if other else row, result))
    return made


def _worth(scene: Scene, i: int, j: int) -> float:
    pair = scene.pairs.get((min(i, j), max(i, j)))
    return worth(pair) if pair else 0.0


def _neighbours(scene: Scene, group: Sequence[int], views: int) -> list[tuple[int, ...]]:
    """Sets of one view with its best partners, for many views."""
    inside = set(group)
    partners: dict[int, list[tuple[float, int]]] = {view: [] for view in group}
    for (i, j), pair in scene.pairs.items():
        if i in inside and j in inside:
            partners[i].append((-worth(pair), j))
            partners[j].append((-worth(pair), i))
    found = set()
    for view in group:
        best = [other for _, other in sorted(partners[view])[:PARTNERS]]
        found |= {tuple(sorted((view, *others))) for others in combinations(best, views - 1)}
    return sorted(found)


def _row(base: Mapping[str, Any], result: TripletResult | None, stage: str, reason: str = "") -> dict[str, Any]:
    columns = ("fx", "fy", "cx", "cy", "s", "sd_f", "k1", "inliers", "cost")
    row: dict[str, Any] = {**base, **dict.fromkeys(columns)}
    if result is None:
        none = dict.fromkeys(("tracks", "hypotheses", "roots", "real", "physical", "lost"), 0)
        return {**row, **none, "cpu_s": 0.0, "status": "too_few", "reason": reason}
    found: Estimate | None = result.minimal if stage == "minimal" else result.refined
    if found is not None:
        row |= dict(zip(("fx", "fy", "cx", "cy", "s"), (float(value) + 0.0 for value in found.k), strict=True))
        row |= {"inliers": found.inliers, "cost": float(found.cost), "k1": float(found.k1)}
        row["sd_f"] = float(found.sd[0]) if np.isfinite(found.sd[0]) else None
    for name in ("tracks", "hypotheses", "roots", "real", "physical", "lost"):
        row[name] = getattr(result, name)
    row["cpu_s"] = result.cpu_minimal_s if stage == "minimal" else result.cpu_s
    return {**row, "status": result.status, "reason": result.reason}

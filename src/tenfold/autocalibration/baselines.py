"""The rivals on the same tracks, with the same inlier threshold and the same final refinement (sections 6 and 7).

Every method gives a focal length about a known principal point. Rows of `calib.parquet`:

- methods of two views (bougnoux, sturm, focal6): `minimal`, a row a pair and their median as the scene's;
- methods of three views (kruppa, quadric, sweep, ba_only): `minimal`, a row a triplet and their median weighted by inliers;
- `refined`: bundle adjustment of the triplet from that focal length (of two views: the median of the triplet's pairs), a row a triplet
  and the same median. Triplets, threshold and loss are those of our solvers. But for focal6, a method of two views to the end: there `refined` is PoseLib's own refinement of
  the pair, and `focal6_ba` is the bundle adjustment of three views that starts from it;
- colmap, colmap_radial: `refined` only, one row a scene.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.autocalibration import (
    bougnoux,
    chain,
    combine,
    config,
    estimate,
    features,
    focal6,
    geometry,
    kruppa,
    pool,
    quadric,
    selfcal,
    sturm,
    sweep,
)
from tenfold.autocalibration.metrics import CALIB_SCHEMA, Scene, scenes_of
from tenfold.autocalibration.ransac import LEAST
from tenfold.autocalibration.roots import FOCAL_RANGE
from tenfold.core import tables
from tenfold.core.errors import BadData, UsageError
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note

Array = npt.NDArray[np.float64]
Row = dict[str, Any]
Method = Literal["bougnoux", "sturm", "kruppa", "quadric", "focal6", "focal6_ba", "sweep", "ba_only", "colmap", "colmap_radial"]
METHODS: tuple[Method, ...] = get_args(Method)
COLMAP: dict[str, selfcal.Model] = {"colmap": "SIMPLE_PINHOLE", "colmap_radial": "SIMPLE_RADIAL"}
OF_PAIRS = ("bougnoux", "sturm", "focal6")
_STEPS = 100  # of the bundle adjustment: a start that is far off needs many


@dataclass(frozen=True)
class Found:
    """A focal length in px (NaN: none), the inliers behind it, and CPU seconds."""

    focal: float
    inliers: int
    cpu_s: float


@dataclass(frozen=True)
class Triplet:
    """Three views: common tracks x (3, n, 2) px, F of the pairs 01, 02, 12 (None: none), `clean`: x with NaN where no pair supports it."""

    views: tuple[int, int, int]
    x: Array
    F: tuple[Array | None, ...]
    clean: Array

    @property
    def name(self) -> str:
        return "-".join(map(str, self.views))

    @property
    def whole(self) -> Array:
        """Tracks (3, m, 2) that are supported in all three views."""
        return self.clean[:, np.isfinite(self.clean).all(axis=(0, 2))]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(self.views[i], self.views[j]) for i, j in chain.PAIRS]


@dataclass(frozen=True)
class Task:
    """A scene, what is known of it, and the file its rows go to."""

    scene: features.Scene
    facts: Scene
    cameras: Mapping[int, str]
    block: config.Baselines
    methods: tuple[str, ...]
    part: Path

    @property
    def principal(self) -> Array:
        """The reference's principal point where there is one, as our solvers with a known one get it, else the centre (px)."""
        known = np.array(self.facts.reference[2:4])
        return known if np.isfinite(known).all() else np.array([self.facts.width / 2, self.facts.height / 2])

    @property
    def longer(self) -> int:
        return max(self.facts.width, self.facts.height)

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest focal length in px, the same as of our solvers."""
        return FOCAL_RANGE[0] * self.longer, FOCAL_RANGE[1] * self.longer


def run(dataset: Path, features: Path, block: config.Baselines, out: Path, progress: Progress) -> Made:
    """Every method on every scene of the folder `features`; sizes and known principal points from `dataset/samples.parquet`.

    Writes `out/calib.parquet` (CALIB_SCHEMA). A scene's rows wait in `out/parts` until all are there. UsageError for a method that does
    not exist, BadData for a scene that the dataset does not have.
    """
    unknown = [method for method in (*block.methods, *block.costly) if method not in METHODS]
    if unknown:
        raise UsageError(f"baselines.methods or .costly names {unknown[0]!r}; there are {', '.join(METHODS)}")
    samples = tables.read(dataset / "samples.parquet")
    facts, cameras = scenes_of(samples), _cameras(samples)
    names = tables.read(features / "scenes.parquet").column("scene").to_pylist()
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    paths = [parts / f"{number:06d}.parquet" for number in range(len(names))]
    left = {name for name, path in zip(names, paths, strict=True) if not path.exists()}
    progress.stage("baselines", len(names), len(names) - len(left))
    for _ in pool.each(scene, _tasks(features, left, dict(zip(names, paths, strict=True)), facts, cameras, block), len(left)):
        progress.advance()
    table = pa.concat_tables([CALIB_SCHEMA.empty_table(), *(tables.read(path) for path in paths)])
    tables.write(table, out / "calib.parquet")
    shutil.rmtree(parts)
    return _made(table.to_pylist(), block)


def scene(task: Task) -> None:
    """All methods on one scene, in a process of its own; writes the rows."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    _warm()
    with threadpool_limits(1):
        rows = rows_of(task)
    tables.write(pa.Table.from_pylist(rows, CALIB_SCHEMA), task.part)


@lru_cache(maxsize=1)
def _warm() -> None:
    """Load the compiled bundle adjustment, so that its time is not the first scene's."""
    from tenfold.autocalibration import ba

    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (8, 3)) + np.array([0.0, 0.0, 5.0])
    R, t = np.tile(np.eye(3), (3, 1, 1)), np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    k = np.array([500.0, 500, 0, 0, 0])
    ba.refine(k, R, t, X, geometry.project(k, R, t, X), kind="f", loss_px=1.0, iterations=1)


def rows_of(task: Task) -> list[Row]:
    """The rows of all methods on one scene."""
    triplets = choose(task)
    rows: list[Row] = []
    pairs: dict[str, dict[tuple[int, int], Found]] = {}
    for method in task.methods:
        if method in COLMAP:
            rows.append(_colmap(task, method))
        elif not triplets:
            reason = task.scene.detail or f"needs at least 3 views of one camera with {LEAST} common tracks"
            stages = ("refined",) if method == "focal6_ba" else ("minimal", "refined")
            rows += [_row(task, method, stage, "", status="too_few", reason=reason) for stage in stages]
        elif method in (*OF_PAIRS, "focal6_ba"):
            rows += _of_pairs(task, method, triplets, pairs)
        else:
            minimal = {each.name: _guarded(partial(_of_triplet, task, method, each)) for each in triplets}
            made = [_found_row(task, method, "minimal", each.name, minimal[each.name], each.x.shape[1]) for each in triplets]
            # No uncertainty: that three starts agree says nothing about a default, or about a coarse grid.
            rows += [*made, {**combine.merge(made), "sd_f": None}, *_refined(task, method, triplets, minimal)]
    return rows


def choose(task: Task) -> list[Triplet]:
    """The triplets that our solvers take too, those of them that have `LEAST` common tracks and an epipolar geometry."""
    given, triplets = task.scene, []
    for views in estimate.choose(given, 3, task.block.triplets, task.cameras):
        a, b, c = views
        pairs = [given.pairs.get(pair) for pair in ((a, b), (a, c), (b, c))]
        F = tuple(pair.F if pair is not None and np.isfinite(pair.F).all() else None for pair in pairs)
        x = given.tracks.common(views)[1]
        if x.shape[1] >= LEAST and any(matrix is not None for matrix in F):
            triplets.append(Triplet((a, b, c), x, F, chain.consistent(x, F, task.block.threshold_px)))
    return triplets


def refine(task: Task, triplet: Triplet, focal: float) -> Any:
    """Bundle adjustment of a triplet from a focal length (px): `ba.Refined`, or None if no poses fit it.

    First on all that the pairs support, then, as for our solvers, on the tracks that fit in all three views, chosen anew until they stay.
    """
    from tenfold.autocalibration import ba

    threshold = task.block.threshold_px
    k = np.array([focal, focal, *task.principal, 0.0])
    start = chain.poses(triplet.clean, k, threshold_px=threshold, seed=task.block.seed)
    if start is None:
        return None
    adjust = partial(ba.refine, kind="f", loss_px=threshold / 2, inlier_px=threshold, iterations=_STEPS)
    found = adjust(k, start.R, start.t, start.X, triplet.clean)
    supported = np.isfinite(triplet.clean).all(axis=(0, 2))
    before = np.zeros(0, dtype=np.int64)
    for _ in range(3):
        X = geometry.triangulate(found.k, found.R, found.t, triplet.x)
        with np.errstate(invalid="ignore"):
            errors = np.linalg.norm(geometry.project(found.k, found.R, found.t, X) - triplet.x, axis=-1).max(axis=0)
            ahead = (geometry.to_camera(found.R, found.t, X)[..., 2] > 0).all(axis=0)
            fits = np.flatnonzero(ahead & ((errors <= threshold) | (supported & (errors <= 4 * threshold))))
        if len(fits) < LEAST or np.array_equal(fits, before):
            break
        before = fits
        found = adjust(found.k, found.R, found.t, X[fits], triplet.x[:, fits])
    return found if len(before) else None


def _tasks(
    folder: Path,
    left: set[str],
    paths: Mapping[str, Path],
    facts: Mapping[str, Scene],
    cameras: Mapping[str, Mapping[int, str]],
    block: config.Baselines,
) -> Iterator[Task]:
    few = _first(facts.values(), block.costly_scenes)
    for given in features.read_scenes(folder, sorted(left)) if left else ():
        if given.name not in facts:
            raise BadData(f"{folder}: scene {given.name} is not in the dataset. Make the features again.")
        methods = tuple(m for m in block.methods if given.name in few or m not in block.costly)
        yield Task(given, facts[given.name], cameras[given.name], block, methods, paths[given.name])


def _of_pairs(task: Task, method: str, triplets: Sequence[Triplet], known: dict[str, dict[tuple[int, int], Found]]) -> list[Row]:
    """Rows of a method of two views; `known`: what its pairs gave, filled here, for `focal6_ba` to start from."""
    pairs = sorted({pair for each in triplets for pair in each.pairs if pair in task.scene.pairs})
    solver = "focal6" if method == "focal6_ba" else method

    def solved(name: str, refine: bool) -> dict[tuple[int, int], Found]:
        if name not in known:
            known[name] = {pair: _guarded(partial(_of_pair, task, solver, pair, refine)) for pair in pairs}
        return known[name]

    def rows(stage: str, found: Mapping[tuple[int, int], Found]) -> list[Row]:
        tracks = {pair: task.scene.pairs[pair].matches for pair in pairs}
        made = [_found_row(task, method, stage, f"{i}-{j}", found[i, j], tracks[i, j]) for i, j in pairs]
        return [*made, _middle(task, method, stage, list(found.values()))]

    minimal = solved(solver, refine=False) if method != "focal6_ba" else {}
    if method == "focal6":
        return rows("minimal", minimal) + rows("refined", solved("focal6 refined", refine=True))
    start = solved("focal6 refined", refine=True) if method == "focal6_ba" else minimal
    middles = {}
    for each in triplets:
        parts = [start[pair] for pair in each.pairs if pair in start]
        good = [part.focal for part in parts if _inside(task, part.focal)]
        middles[each.name] = Found(float(np.median(good)) if good else np.nan, 0, sum(part.cpu_s for part in parts))
    return (rows("minimal", minimal) if minimal else []) + _refined(task, method, triplets, middles)


def _of_pair(task: Task, method: str, pair: tuple[int, int], refine: bool) -> Found:
    """Focal length of two views."""
    given = task.scene.pairs[pair]
    began = time.process_time()
    if method == "bougnoux":
        both = np.array(bougnoux.focals(given.F, task.principal))
        f = float(both[np.isfinite(both)].mean()) if np.isfinite(both).any() else np.nan
        return Found(f, given.inliers, time.process_time() - began)
    if method == "sturm":
        quadratic, linear = sturm.focals(given.F, task.principal)
        return Found(float(quadratic if np.isfinite(quadratic) else linear), given.inliers, time.process_time() - began)
    x = task.scene.tracks.common(pair)[1]
    options = {"threshold_px": task.block.threshold_px, "seed": task.block.seed}
    found = focal6.focal(x[0], x[1], task.principal, refine=refine, **options)  # type: ignore[arg-type]
    return Found(found.focal, found.inliers, time.process_time() - began)


def _of_triplet(task: Task, method: str, triplet: Triplet) -> Found:
    """Focal length of three views."""
    began = time.process_time()
    threshold, seed, inliers = task.block.threshold_px, task.block.seed, triplet.whole.shape[1]
    if method == "kruppa":
        F = np.array([matrix for matrix in triplet.F if matrix is not None])
        starts = [selfcal.DEFAULT_FOCAL * task.longer, *kruppa.multi_start(task.bounds)]
        f = kruppa.focal(F, task.principal, starts, task.bounds).focal
    elif method == "quadric":
        f = np.nan
        if triplet.F[0] is not None:
            f = quadric.focal(triplet.whole, triplet.F[0], task.principal, threshold_px=threshold, bounds=task.bounds, seed=seed).focal
    elif method == "sweep":
        f = sweep.focal(triplet.clean, task.principal, threshold_px=threshold, seed=seed, bounds=task.bounds).focal
    else:
        f = selfcal.DEFAULT_FOCAL * task.longer
    return Found(f, inliers, time.process_time() - began)


def _refined(task: Task, method: str, triplets: Sequence[Triplet], starts: Mapping[str, Found]) -> list[Row]:
    """Rows after bundle adjustment of each triplet; CPU time with that of the start."""
    rows = []
    for each in triplets:
        start, began = starts[each.name], time.process_time()
        values: Row = {"tracks": each.x.shape[1], "cpu_s": start.cpu_s}
        if not _inside(task, start.focal):
            rows.append(_row(task, method, "refined", each.name, status="no_solution", reason="no focal length to start from", **values))
            continue
        try:
            done = refine(task, each, start.focal)
        except np.linalg.LinAlgError as error:
            done, why = None, str(error)
        else:
            why = f"no poses of the three views fit a focal length of {start.focal:.0f} px"
        values["cpu_s"] += time.process_time() - began
        if done is None:
            rows.append(_row(task, method, "refined", each.name, status="no_solution", reason=why, **values))
            continue
        f, sd, inliers = float(done.k[0]), float(done.sd[0]), int(done.inliers.all(axis=0).sum())
        values |= {"sd_f": sd if np.isfinite(sd) else None, "cost": float(done.cost), "inliers": inliers}
        rows.append(_row(task, method, "refined", each.name, focal=f, **_verdict(task, f), **values))
    return [*rows, combine.merge(rows)]


def _colmap(task: Task, method: str) -> Row:
    """COLMAP on the whole scene, from its own default focal length."""
    from tenfold.autocalibration.wrong_prior import observations

    block = task.block
    x, pairs = observations(task.scene, block.threshold_px)
    if not pairs:
        reason = task.scene.detail or "no pair of views was verified"
        return _row(task, method, "refined", "", status="too_few", reason=reason)
    began = time.process_time()
    # COLMAP's own default threshold is 4 px, for matches of 2 px as ours.
    found = selfcal.calibrate(
        x, pairs, (task.facts.width, task.facts.height), principal=(float(task.principal[0]), float(task.principal[1])),
        model=COLMAP[method], seed=block.seed, threshold_px=2 * block.threshold_px, max_seconds=block.colmap_seconds,
    )  # fmt: skip
    values: Row = {"inliers": found.points, "tracks": x.shape[1], "cpu_s": time.process_time() - began}
    if not np.isfinite(found.focal):
        return _row(task, method, "refined", "", status="no_solution", reason="COLMAP made no model", **values)
    verdict = _verdict(task, found.focal)
    radial = found.k1 if verdict["status"] == "ok" else None
    registered = f"{found.registered} of {len(x)} images registered"
    verdict["reason"] = f"{registered}; {verdict['reason']}" if verdict["reason"] else registered
    return _row(task, method, "refined", "", focal=found.focal, **{**values, **verdict, "k1": radial})


def _guarded(work: Callable[[], Found]) -> Found:
    """No solution instead of a failure of a decomposition."""
    began = time.process_time()
    try:
        return work()
    except np.linalg.LinAlgError:
        return Found(np.nan, 0, time.process_time() - began)


def _inside(task: Task, f: float) -> bool:
    return bool(task.bounds[0] <= f <= task.bounds[1])


def _verdict(task: Task, f: float) -> dict[str, str]:
    """Status and reason of a focal length."""
    if _inside(task, f):
        return {"status": "ok", "reason": ""}
    if not np.isfinite(f):
        return {"status": "no_solution", "reason": "no positive focal length"}
    low, high = FOCAL_RANGE
    return {"status": "no_solution", "reason": f"a focal length of {f:.4g} px is not within {low:g} to {high:g} times the longer side"}


def _found_row(task: Task, method: str, stage: str, triplet: str, found: Found, tracks: int) -> Row:
    values: Row = {"inliers": found.inliers, "tracks": tracks, "cpu_s": found.cpu_s}
    return _row(task, method, stage, triplet, focal=found.focal, **_verdict(task, found.focal), **values)


def _middle(task: Task, method: str, stage: str, found: Sequence[Found]) -> Row:
    """The scene's row: the median of what its pairs or triplets gave."""
    good = [each.focal for each in found if _inside(task, each.focal)]
    spent = sum(each.cpu_s for each in found)
    if not good:
        return _row(task, method, stage, "", status="no_solution", reason="no pair or triplet gives a focal length", cpu_s=spent)
    return _row(task, method, stage, "", focal=float(np.median(good)), cpu_s=spent)


def _row(
    task: Task, method: str, stage: str, triplet: str, *, focal: float = np.nan, status: str = "ok", reason: str = "", **values: Any
) -> Row:
    """One row; K only where the status is ok."""
    row: Row = dict.fromkeys(CALIB_SCHEMA.names)
    row |= {"scene": task.scene.name, "triplet": triplet, "method": method, "seed": task.block.seed, "stage": stage, "kind": "f"}
    if status == "ok":
        row |= {"fx": focal, "fy": focal, "cx": float(task.principal[0]), "cy": float(task.principal[1]), "s": 0.0, "k1": 0.0}
    return row | {"status": status, "reason": reason} | values


def _first(scenes: Iterable[Scene], count: int) -> set[str]:
    """Names of the first scenes of each slice (motion and noise)."""
    slices: dict[str, list[str]] = {}
    for each in sorted(scenes, key=lambda scene: scene.name):
        slices.setdefault(each.slice, []).append(each.name)
    return {name for names in slices.values() for name in names[:count]}


def _cameras(samples: pa.Table) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for row in samples.to_pylist():
        found.setdefault(row["scene"], {})[int(row["view"])] = str(row["camera"])
    return found


def _made(rows: Sequence[Row], block: config.Baselines) -> Made:
    columns = ["method", "stage", "scenes", "answered", "CPU ms a scene"]
    table: list[list[Any]] = []
    for method in block.methods:
        for stage in ("minimal", "refined"):
            whole = [row for row in rows if (row["method"], row["stage"], row["triplet"]) == (method, stage, "")]
            if whole:
                answered = sum(row["status"] == "ok" for row in whole)
                spent = float(np.mean([row["cpu_s"] or 0.0 for row in whole]))
                table.append([method, stage, len(whole), answered, round(1000 * spent, 2)])
    facts = {f"{method}/{stage}": spent for method, stage, _, _, spent in table}
    return Made(notes=[Note("Baselines", "table", {"columns": columns, "rows": table})], facts={"cpu_ms": facts})

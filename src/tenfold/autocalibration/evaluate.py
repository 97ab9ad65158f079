"""Our solvers on every scene, beside the baselines' answers on the same tracks: calibrations, metrics, claims (sections 5 to 8).

One scene, solver and seed is one task: it runs in a process of its own and leaves a file behind, so that a killed run goes on where it was.
"""

import json
import resource
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tenfold.autocalibration import claims, config, exact, features, metrics, pool, predictor_folder, wrong_prior
from tenfold.autocalibration.metrics import CALIB_SCHEMA, Answer, Scene
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import atomic, tables, usage
from tenfold.core import claims as core_claims
from tenfold.core import metrics as core_metrics
from tenfold.core.errors import BadData, UsageError
from tenfold.core.metrics import Row, Subject, bootstrap
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note


@dataclass(frozen=True)
class Task:
    """One solver on one scene. `principal` (px) is taken as known, or as a first guess where the solver finds it.

    `method` is what its rows are called; `part` is the file that they go to, if they go to one.
    """

    scene: features.Scene
    solver: str
    start: Path
    seed: int
    size: tuple[int, int]
    principal: tuple[float, float]
    cameras: dict[int, str]
    samples: int
    threshold_px: float
    triplets: int
    method: str
    part: Path | None = None


def run(
    dataset: Path,
    features: Path,
    taxonomy: Path,
    model: Path,
    baselines: Path,
    block: config.Evaluation,
    out: Path,
    progress: Progress,
    identity: dict[str, str],
) -> Made:
    """Evaluate one partition; folders are those of the assets of that name.

    Writes calib.parquet (ours and the baselines'), metrics.parquet, claims.json and summary.json. `identity` fills the metrics columns
    paper, dataset, partition, model_key and data_version. UsageError if the model has no start system of a solver that the recipe asks
    for, BadData if a scene of the features is not in the dataset.
    """
    began, cpu = time.monotonic(), usage.cpu_seconds()
    samples = tables.read(dataset / "samples.parquet")
    scenes = metrics.scenes_of(samples)
    unsaid = [name for name in block.others if name not in block.others_samples]
    if unsaid:
        raise UsageError(f"evaluation.others names {unsaid[0]}, evaluation.others_samples does not. Give its samples a triplet there.")
    starts = start_systems(model, dict.fromkeys([block.assume, *block.others, *block.exact_others]))
    parts = out / "parts"
    _calibrate(scenes, _cameras(samples), features, starts, block, parts, progress)
    calib = _merged(parts, baselines / "calib.parquet")
    tables.write(calib, out / "calib.parquet")
    rows_in = calib.to_pylist()
    progress.stage("metrics", 4)
    rows = metrics.measure(rows_in, scenes, identity, block.bootstrap)
    progress.advance()
    found = {name: _exact(name, starts[name], count, parts) for name, count in _exact_counts(block).items() if count}
    for name, one in found.items():
        rows += metrics.recall_rows(Subject(identity, method_of(name, block)), one.found, one.lost, one.cpu_s, block.bootstrap)
    progress.advance()
    rows += metrics.taxonomy_rows(tables.read(taxonomy / "problems.parquet").to_pylist(), Subject(identity, "ours"))
    rows += metrics.degree_rows(tables.read(model / "degrees.parquet").to_pylist(), identity)
    progress.advance()
    rows += _priors(rows_in, scenes, features, block, parts, identity)
    progress.advance()
    table = core_metrics.to_table(rows)
    judged = claims.judge(table)
    tables.write(table, out / "metrics.parquet")
    core_claims.write(judged, out / "claims.json")
    headline = _headline(rows_in, scenes, block)
    summary = {
        "headline": headline,
        "options": asdict(block),
        "exact": {method_of(name, block): asdict(one) for name, one in found.items()},
        "degrees": {name: StartSystem.load(path).degree for name, path in starts.items()},
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(usage.cpu_seconds() - cpu, 2),
        "peak_rss_bytes": max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024,
        "processes": pool.workers(),
    }
    atomic.write_json(out / "summary.json", summary)
    shutil.rmtree(parts)
    return Made(notes=_notes(table, headline), checks=[core_claims.to_check(c) for c in judged], facts={"headline": headline})


def method_of(solver: str, block: config.Evaluation) -> str:
    """`ours` for the solver that the recipe assumes, `ours_<solver>` for the others."""
    return "ours" if solver == block.assume else f"ours_{solver}"


def start_systems(model: Path, solvers: Iterable[str]) -> dict[str, Path]:
    """Start systems of the solvers. UsageError for one that the model does not have."""
    _, there = predictor_folder.read(model / "predictor")
    missing = [s for s in solvers if s not in there]
    if missing:
        raise UsageError(
            f"evaluation asks for the solver {missing[0]!r}, of which the model has no start system. Add it to model.solvers, or take it "
            "out of evaluation.assume, evaluation.others and evaluation.exact_others."
        )
    return {s: there[s] for s in solvers}


def principal_of(scene: Scene, solver: str) -> tuple[float, float]:
    """The reference's principal point where the solver takes it as known, else the centre of the image (px)."""
    cx, cy = scene.reference[2:4]
    if solver in ("focal", "focal2v") and np.isfinite([cx, cy]).all():
        return cx, cy
    return scene.width / 2, scene.height / 2


def _calibrate(
    scenes: Mapping[str, Scene],
    cameras: Mapping[str, dict[int, str]],
    folder: Path,
    starts: Mapping[str, Path],
    block: config.Evaluation,
    parts: Path,
    progress: Progress,
) -> None:
    """All tasks that an earlier attempt left undone; each writes its rows below `parts`."""
    few = {solver: few_scenes(scenes.values(), count) for solver, count in block.others.items()}
    chosen = chosen_scenes(scenes.values(), block.beside_scenes).union(*few.values())
    total = len(chosen) * len(block.seeds) + sum(map(len, few.values()))
    parts.mkdir(parents=True, exist_ok=True)
    done = sum(1 for _ in parts.glob("calib-*.parquet"))

    def tasks() -> Iterator[Task]:
        number = 0
        for given in features.read_scenes(folder):
            if given.name not in scenes:
                raise BadData(f"{folder}: scene {given.name} is not in the dataset. Make the features again.")
            if given.name not in chosen:
                continue
            scene = scenes[given.name]
            wanted: list[tuple[str, int]] = [(block.assume, seed) for seed in block.seeds]
            wanted += [(solver, block.seeds[0]) for solver, names in few.items() if given.name in names]
            for solver, seed in wanted:
                part = parts / f"calib-{number:06d}.parquet"
                number += 1
                if not part.exists():
                    where = principal_of(scene, solver)
                    size = (scene.width, scene.height)
                    yield Task(
                        given, solver, starts[solver], seed, size, where, cameras.get(given.name, {}),
                        block.samples if solver == block.assume else block.others_samples[solver], block.threshold_px, block.triplets, method_of(solver, block), part,
                    )  # fmt: skip

    progress.stage("calibrate", total, done)
    for _ in pool.each(calibrate, tasks(), total - done):
        progress.advance()


def calibrate(task: Task) -> None:
    """One solver on one scene; writes the rows."""
    assert task.part is not None
    tables.write(pa.Table.from_pylist(rows_of(task), CALIB_SCHEMA), task.part)


def rows_of(task: Task) -> list[dict[str, Any]]:
    """One solver on one scene: rows of the calibration table."""
    from threadpoolctl import threadpool_limits

    from tenfold.autocalibration import estimate, ransac

    settings = ransac.Settings(samples=task.samples, threshold_px=task.threshold_px)
    with threadpool_limits(1):  # a process a core: more threads would only wait
        rows = estimate.scene(
            task.scene, task.solver, _load(task.start), size=task.size, principal=np.array(task.principal), settings=settings,
            triplets=task.triplets, seed=task.seed, cameras=task.cameras or None,
        )  # fmt: skip
    return [{**row, "method": task.method} for row in rows]


@lru_cache(maxsize=4)
def _load(path: Path) -> StartSystem:
    return StartSystem.load(path)


def few_scenes(scenes: Iterable[Scene], count: int) -> set[str]:
    """The first scenes of general motion at 0.5 px, or of photographs without distortion: for what is too costly for all."""
    known = sorted((s for s in scenes if s.known), key=lambda s: s.name)
    made = [s.name for s in known if s.slice == claims.motion("general", 0.5)]
    return set((made or [s.name for s in known if s.photographed and not s.distorted])[:count])


def chosen_scenes(scenes: Iterable[Scene], beside: int) -> set[str]:
    """All scenes on which a claim or the headline rests; of every other motion, noise and jitter the first `beside` ones (0: all)."""
    every = sorted(scenes, key=lambda s: s.name)
    needed = metrics.headline_scenes(every)
    slices: dict[str, list[str]] = {}
    for scene in every:
        slices.setdefault(scene.slice, []).append(scene.name)
    return {name for names in slices.values() for i, name in enumerate(names) if not beside or i < beside or name in needed}


def _cameras(samples: pa.Table) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for row in samples.to_pylist():
        found.setdefault(row["scene"], {})[int(row["view"])] = str(row["camera"])
    return found


def _merged(parts: Path, baselines: Path) -> pa.Table:
    """Our rows, then the baselines', in a fixed order."""
    ours = [tables.read(path) for path in sorted(parts.glob("calib-*.parquet"))]
    rivals = tables.read(baselines)
    missing = [name for name in CALIB_SCHEMA.names if name not in rivals.column_names]
    if missing:
        raise BadData(f"{baselines} has no column {missing[0]!r}. Make the baselines again.")
    return pa.concat_tables([*(t.cast(CALIB_SCHEMA) for t in ours), rivals.select(CALIB_SCHEMA.names).cast(CALIB_SCHEMA)])


def _exact_counts(block: config.Evaluation) -> dict[str, int]:
    return {**block.exact_others, block.assume: block.exact}


def _exact(solver: str, start: Path, samples: int, parts: Path) -> exact.Recall:
    """C3 for one solver, or what an earlier attempt found."""
    from tenfold.autocalibration import estimate

    path = parts / f"exact-{solver}.json"
    if not path.exists():
        atomic.write_json(path, asdict(exact.recall(estimate.solve_of(solver), _load(start), samples, 0, estimate.SOLVERS[solver].kind)))
    return exact.Recall(**json.loads(path.read_text()))


def _priors(
    rows: Sequence[Mapping[str, Any]],
    scenes: Mapping[str, Scene],
    folder: Path,
    block: config.Evaluation,
    parts: Path,
    identity: dict[str, str],
) -> list[Row]:
    """C7: COLMAP left at a wrong prior, and started from our focal length, on photographs (else on a few made-up scenes)."""
    if not block.priors:
        return []
    mine = metrics.by_key(rows).get(("ours", "refined", block.seeds[0]), {})
    photographed = {s.name for s in scenes.values() if s.photographed and s.known and not s.distorted}
    wanted = sorted(n for n in (photographed or few_scenes(scenes.values(), block.prior_scenes)) if n in mine)
    answers = {name: metrics.of_scene(mine[name]) for name in wanted}
    runs: list[wrong_prior.Run] = []
    for given in features.read_scenes(folder, wanted) if wanted else ():
        path = parts / f"prior-{len(runs):06d}.json"
        if not path.exists():
            scene, answer = scenes[given.name], answers[given.name]
            focal = answer.k[0] if answer.good else None
            made = wrong_prior.run(
                given, (scene.width, scene.height), principal_of(scene, "focal"), focal, block.priors, block.threshold_px
            )
            atomic.write_json(path, asdict(made))
        runs.append(wrong_prior.Run(**json.loads(path.read_text())))
    return wrong_prior.rows(runs, scenes, identity, block.priors)


def _headline(rows: Sequence[Mapping[str, Any]], scenes: Mapping[str, Scene], block: config.Evaluation) -> dict[str, Any]:
    """Mean over seeds of the median focal error, with its interval over resampled scenes (the same for all seeds)."""
    metric, better = metrics.HEADLINE
    groups = metrics.by_key(rows)
    picked = sorted(metrics.headline_scenes(scenes.values()))
    seeds = [groups[key] for seed in block.seeds if (key := ("ours", "refined", seed)) in groups]
    made: dict[str, Any] = {"metric": metric, "better": better, "seeds": len(seeds), "scenes": len(picked)}
    if not picked or not seeds:
        return {**made, "value": None, "lo": None, "hi": None, "reason": "no scene has a reference focal length"}
    none = Answer((float("nan"),) * 5, float("nan"), 0.0, "", "no_solution", False)
    errors = np.array([[(metrics.of_scene(g[s]) if s in g else none).error(scenes[s]) for s in picked] for g in seeds])
    value = statistics.fmean(np.median(errors, axis=1).tolist())
    lo, hi = bootstrap(len(picked), lambda i: np.median(errors[:, i], axis=2).mean(axis=0), block.bootstrap if len(picked) > 1 else 0, 0)
    bounded = np.isfinite([lo, hi]).all()
    return {**made, "value": value, "lo": lo if bounded else None, "hi": hi if bounded else None, "reason": ""}


def _notes(table: pa.Table, headline: Mapping[str, Any]) -> list[Note]:
    n = claims.Numbers(table.to_pylist())
    names = ("focal_error", "failure_rate", "answered", "cpu_s")
    rows = []
    for method in n.methods():
        values = [n.either(method, name) for name in names]
        if values[0] is not None:
            rows.append([method, *(round(v, 5) if v is not None else None for v in values)])
    counts = Counter(row["slice"] for row in n.group("focal_error"))
    notes = [Note("Methods", "table", {"columns": ["method", *names], "rows": rows}), Note("Slices", "int", len(counts))]
    if headline["value"] is not None:
        notes.insert(0, Note("Median focal error", "float", round(headline["value"], 5)))
    return notes

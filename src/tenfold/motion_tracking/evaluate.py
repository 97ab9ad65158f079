"""All networks, variants and rivals on the same test clips: three sensor sets, noise, real and generated motion (sections 6 to 8).

One answer (who, which sensors, which noise) is scored at a time and leaves a file behind, so that a killed run goes on where it was.
"""

import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.core import atomic, tables, usage, workers
from tenfold.core import claims as core_claims
from tenfold.core import metrics as core_metrics
from tenfold.core.errors import UsageError
from tenfold.core.metrics import Row, Subject
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note
from tenfold.motion_tracking import (
    baselines,
    claims,
    columns,
    config,
    imu,
    metrics,
    over_time,
    parity,
    rotations,
    shown,
    skeleton,
    streaming,
    tracking,
    train,
    trials,
    variants,
)  # fmt: skip
from tenfold.motion_tracking.body import write_npz
from tenfold.motion_tracking.clips import Clip
from tenfold.motion_tracking.metrics import CLEAN, METRICS, Result
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.trials import Answer, Group, Scored, Trials

Float = npt.NDArray[np.float64]

PER_SEQUENCE = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "subset", "subject", "source", "label")),
        ("frames", pa.int64()),
        *((name, pa.string()) for name in ("method", "variant")),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("sensors", "noise")),
        *((name, pa.float64()) for name in METRICS if not name.endswith("_frames")),
    ]
)
PER_JOINT = pa.schema(
    [
        *((name, pa.string()) for name in ("method", "variant")),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("sensors", "noise", "source", "joint")),
        ("distance", pa.float64()),
        ("angle", pa.float64()),
    ]
)
PICTURED = (("ridge_yaw", "hmd"),)
"""Rivals that are drawn beside ours."""
COST_FRAMES = 300
"""Most frames for which each network is timed."""
PARITY = {"six": "1", "joint_mean": "cm", "joint_most": "cm", "mpjpe": "cm", "jitter": "m/s^3", "mb": "MB", "p50": "ms", "p95": "ms"}
"""Units of what `parity.compare` tells of a step."""


@dataclass(frozen=True)
class Job:
    """One answer to be scored: who gives it, and with which sensors at which noise."""

    method: str
    variant: str
    seed: int
    sensors: str
    noise: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.method}.{self.variant or 'full'}.{self.seed}.{self.sensors}.{self.noise}"


def run(
    features: Path, model: Path, baselines: Path, block: config.Evaluation, out: Path, progress: Progress, identity: dict[str, str]
) -> Made:
    """Evaluate one partition; folders are those of the assets of that name.

    Writes per_sequence.parquet, per_joint.parquet, metrics.parquet, claims.json, curves.parquet, shown.npz with shown.json, and
    summary.json. `identity` fills the metrics columns paper, dataset, partition, model_key and data_version. BadData without a test clip,
    UsageError for a noise level that the features do not have.
    """
    began, cpu = time.monotonic(), usage.cpu_seconds()
    tests = Trials.open(features, block.clips, block.rows)
    known = sorted({CLEAN, *tests.data.levels})
    missing = [level for level in block.noise if level not in known]
    if missing:
        raise UsageError(f"evaluation.noise names {missing[0]!r}; the features have {', '.join(known)}. Add it to features.test_noise.")
    nets = networks(model)
    scored = _scored(tests, nets, model, baselines, block, out / "parts", progress)
    results = [_result(tests, job, one) for job, one in scored.items()]
    progress.stage("live and over time", 5)
    first = nets[0]
    live, curves = _live(tests, train.load_network(model, *first), model / "predictor" / "step.onnx", block, progress)
    live |= _steps(tests, model, nets, block)
    progress.advance()
    kept = _pictures(tests, train.load_network(model, *first), baselines, scored, first, block, out)
    curves += kept
    progress.advance()
    rows = metrics.measure(results, tests.clips, identity, block.bootstrap, block.seed)
    rows += _live_rows(Subject(identity, "ours", "", first[1]), live, block)
    rows += _parity_rows(Subject(identity, "ours", "", first[1]), live["steps"])
    rows += _sizes(identity, model, live["networks"])
    table = core_metrics.to_table(rows)
    judged = claims.judge(table)
    tables.write(_per_sequence(tests, results), out / "per_sequence.parquet")
    tables.write(_per_joint(tests, scored), out / "per_joint.parquet")
    tables.write(pa.Table.from_pylist(curves, schema=over_time.SCHEMA), out / "curves.parquet")
    tables.write(table, out / "metrics.parquet")
    core_claims.write(judged, out / "claims.json")
    groups = metrics.Groups(tests.clips)
    headline = metrics.headline(results, tests.clips, block.bootstrap, block.seed)
    summary = {
        "headline": headline,
        "options": asdict(block),
        "clips": {source or "all": len(groups.members(source)) for source in groups.sources()},
        "frames": sum(clip.length for clip in tests.clips),
        "streaming": live,
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(usage.cpu_seconds() - cpu, 2),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    atomic.write_json(out / "summary.json", summary)
    shutil.rmtree(out / "parts", ignore_errors=True)
    return Made(notes=_notes(table, headline, live), checks=[core_claims.to_check(c) for c in judged], facts={"headline": headline})


def networks(model: Path) -> list[tuple[str, int]]:
    """Variant and seed of all networks of a model folder, those without variant first. UsageError if there is none."""
    records = json.loads((model / "model.json").read_text())["networks"]
    found = sorted(((r["variant"], int(r["seed"])) for r in records), key=lambda pair: (pair[0] != "", pair))
    if not found or found[0][0]:
        raise UsageError(f"{model / 'networks'} has no network without variant; materialize `model` first.")
    return found


def sensor_sets(variant: str) -> list[str]:
    """Sensor sets that a variant was made for."""
    return list(variants.CHANGES.get(variant, {}).get("sensor_sets", columns.MASKS))


def jobs_of(nets: Sequence[tuple[str, int]], noise: Sequence[str]) -> list[Job]:
    """All answers of ours: clean for every network, at each noise level for the first seed of the full one."""
    found = [Job("ours", variant, seed, each, CLEAN) for variant, seed in nets for each in sensor_sets(variant)]
    first = nets[0][1]
    return found + [Job("ours", "", first, each, level) for level in noise if level != CLEAN for each in columns.MASKS]


def _scored(
    tests: Trials, nets: Sequence[tuple[str, int]], model: Path, folder: Path, block: config.Evaluation, parts: Path, progress: Progress
) -> dict[Job, Scored]:
    """Every answer, scored; what an earlier attempt has left is read."""
    rivals = baselines.load(folder)
    ours = jobs_of(nets, block.noise)
    others = [Job(method, "", 0, each, CLEAN) for method in ("truth", *baselines.METHODS) for each in columns.MASKS]
    progress.stage("answers", len(ours) + len(others))
    found: dict[Job, Scored] = {}

    def answer(job: Job) -> Scored:
        subset = tests if job.noise == CLEAN else tests.noisy(job.noise)
        return _kept(parts, job, lambda: _ours(subset, train.load_network(model, job.variant, job.seed), job))

    # as in training one thread an answer: small steps, and the last bits do not depend on the machine
    with workers.single_threaded():
        for job, scored in workers.ordered(answer, ours):
            found[job] = scored
            progress.advance()
    for job in others:
        same = next((j for j in found if j.method == job.method), None) if job.method in ("truth", *baselines.SAME) else None
        found[job] = found[same] if same else _kept(parts, job, lambda j=job: _theirs(tests, rivals, j))  # type: ignore[misc]
        progress.advance()
    return found


def _kept(parts: Path, job: Job, score: Callable[[], Scored]) -> Scored:
    path = parts / f"{job.name}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            return trials.restored({name: file[name] for name in file.files})
    made = score()
    parts.mkdir(parents=True, exist_ok=True)
    with atomic.new_file(path) as temporary:
        write_npz(temporary, trials.arrays(made))
    return made


def _ours(tests: Trials, network: Network, job: Job) -> Scored:
    def answer(group: Group) -> Answer:
        return predicted(network, tests, group, job.sensors, job.noise)

    return tests.score(answer, settle=not job.variant and job.noise == CLEAN, short=bool(job.variant))


def predicted(network: Network, tests: Trials, group: Group, sensor_set: str, noise: str = CLEAN) -> Answer:
    """A network's answer to a group of clips, one behind the other."""
    pairs = list(tracking.predict_clips(network, tests.inputs(group.clips, noise), sensor_set, len(group.clips)))
    return np.concatenate([local for local, _ in pairs]), np.concatenate([betas for _, betas in pairs])


def _theirs(tests: Trials, rivals: baselines.Rivals, job: Job) -> Scored:
    if job.method == "truth":
        return tests.score(lambda group: group.true)
    return tests.score(lambda group: rival(rivals, tests, group, job.method, job.sensors))


def rival(rivals: baselines.Rivals, tests: Trials, group: Group, method: str, sensor_set: str) -> Answer:
    """A baseline's answer to a group of clips, one behind the other."""
    return rivals.predict(method, np.concatenate(tests.inputs(group.clips)), group.lengths, sensor_set, group.pose6d)


def _result(tests: Trials, job: Job, scored: Scored) -> Result:
    """As columns over all test clips; NaN where a clip has no rows at the job's noise. Of the truth only what it has."""
    names = metrics.TRUTH if job.method == "truth" else tuple(scored.clips)
    clips = {name: scored.clips[name] for name in names}
    if job.noise != CLEAN:
        there = np.array([tests.data.has(clip, job.noise) for clip in tests.clips])
        for name, values in clips.items():
            clips[name] = np.full(len(there), np.nan)
            clips[name][there] = values
    return Result(job.method, job.variant, job.seed, job.sensors, job.noise, clips)


def _live(
    tests: Trials, network: Network, graph: Path, block: config.Evaluation, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, object]]]:
    """Streaming against whole clips, the time of a frame, and sensors that come and go; on the first group of clips."""
    found = streaming.differences(network, graph, streaming.stream(tests, block.stream_frames), block.chunks)
    progress.advance()
    group = next(iter(tests.each()))
    world = rotations.matrix_from_six(
        np.concatenate([tests.data.global6d[clip.rows] for clip in group.clips]).reshape(-1, skeleton.COUNT, 6)
    )
    acceleration = imu.acceleration(group.true.positions[:, [*columns.SENSOR_JOINTS[3:]]], "raw")
    timed = streaming.latency(graph, tests.form, group, world, acceleration, block.bench_frames)
    progress.advance()
    switched = streaming.switching(network, tests, group)
    curves = over_time.rows("lost", "ours", "", *over_time.around(switched, switched.lost))
    curves += over_time.rows("back", "ours", "", *over_time.around(switched, switched.back))
    for name, values in (("step", timed.step), ("frame", timed.frame)):
        curves += over_time.rows("latency", name, "", np.linspace(0, 100, 201), np.quantile(values, np.linspace(0, 1, 201)))
    progress.advance()
    return streaming.to_json(found, timed, switched), curves


def _pictures(
    tests: Trials, network: Network, folder: Path, scored: dict[Job, Scored], first: tuple[str, int], block: config.Evaluation, out: Path
) -> list[dict[str, object]]:
    """Keep the clips that the report shows; the curves of ours, a rival and the truth on the first group of clips."""
    rivals = baselines.load(folder)
    error = np.mean([scored[Job("ours", "", first[1], each, CLEAN)].clips["mpjpe"] for each in columns.MASKS], axis=0)
    kept: list[tuple[Clip, str, float, dict[str, Float]]] = []
    for index, why in shown.choose(tests.clips, error, block.shown):
        group = tests.read([tests.clips[index]])
        tracks = {"truth": group.true.positions}
        for each, answer in _answers(tests, network, rivals, group):
            tracks[each] = tests.motion(answer, group.true).positions
        kept.append((tests.clips[index], why, float(error[index]), tracks))
    shown.write(out, kept)
    group = next(iter(tests.each()))
    curves = over_time.rows("spectrum", "truth", "", *over_time.spectrum(group.true, group.lengths))
    for each, answer in _answers(tests, network, rivals, group):
        method, _, sensors = each.partition("/")
        curves += over_time.of_motion(method, sensors, tests.motion(answer, group.true), group.truth)
    return curves


def _answers(tests: Trials, network: Network, rivals: baselines.Rivals, group: Group) -> Iterator[tuple[str, Answer]]:
    """Ours with every sensor set and the pictured rivals, by `method/sensors`."""
    for each in columns.MASKS:
        yield f"ours/{each}", predicted(network, tests, group, each)
    for method, each in PICTURED:
        yield f"{method}/{each}", rival(rivals, tests, group, method, each)


def _live_rows(subject: Subject, live: dict[str, Any], block: config.Evaluation) -> list[Row]:
    found = live["differences"]
    rows = [
        subject.row("stream_difference", max(v for name, v in found.items() if name != "onnx"), block.stream_frames, "down"),
        subject.row("onnx_difference", found["onnx"], block.stream_frames, "down"),
        subject.row("switch_jump", live["switch_jump_cm"], 1, "down", scale="cm"),
    ]
    for name in ("step_ms", "frame_ms"):
        for quantile, value in live[name].items():
            rows.append(subject.row(f"{name}_{quantile}", value, block.bench_frames, "down", scale="ms", timing=True))
    return rows


def _steps(tests: Trials, model: Path, nets: Sequence[tuple[str, int]], block: config.Evaluation) -> dict[str, Any]:
    """`steps`: PyTorch, fp32 and int8 beside each other; `networks`: by variant what a frame costs, of the first seed of each."""
    firsts = {variant: seed for variant, seed in reversed(nets)}
    loaded = {variant: train.load_network(model, variant, firsts[variant]) for variant in sorted(firsts)}
    costs = parity.costs(loaded, min(block.bench_frames, COST_FRAMES))
    return {
        "steps": parity.compare(loaded[""], model / "predictor", tests, block.stream_frames),
        "networks": {variant: {**cost, "seed": firsts[variant]} for variant, cost in costs.items()},
    }


def _parity_rows(subject: Subject, steps: dict[str, dict[str, float]]) -> list[Row]:
    rows = []
    for step, found in steps.items():
        of = metrics.slice_of(step=step)
        for name, scale in PARITY.items():
            better: core_metrics.Better = "none" if name == "jitter" else "down"
            frames, timed = int(found["frames"]), scale == "ms"
            rows.append(subject.row(f"parity_{name}", found[name], frames, better, slice=of, scale=scale, timing=timed))
    return rows


def _sizes(identity: dict[str, str], model: Path, costs: dict[str, dict[str, float]]) -> list[Row]:
    """Parameters and gradient steps of every network; time of a frame and size of its graph, of the first seed of each variant."""
    rows = []
    for record in json.loads((model / "model.json").read_text())["networks"]:
        subject = Subject(identity, "ours", record["variant"], int(record["seed"]))
        for name in ("parameters", "steps"):
            rows.append(subject.row(name, float(record[name]), 1, "none"))
    for variant, cost in costs.items():
        subject = Subject(identity, "ours", variant, int(cost["seed"]))
        rows.append(subject.row("network_ms", cost["ms"], int(cost["frames"]), "down", scale="ms", timing=True))
        rows.append(subject.row("network_mb", cost["mb"], 1, "down", scale="MB"))
    return rows


def _per_sequence(tests: Trials, results: Sequence[Result]) -> pa.Table:
    count = len(tests.clips)
    about = {"clip_id": "id", "subset": "subset", "subject": "subject", "source": "source", "label": "label", "frames": "length"}
    fixed = {column: [getattr(clip, name) for clip in tests.clips] for column, name in about.items()}
    parts = []
    for result in results:
        who = {name: [getattr(result, name)] * count for name in ("method", "variant", "seed", "sensors", "noise")}
        values = {
            name: pa.array(result.clips[name], pa.float64(), from_pandas=True) if name in result.clips else pa.nulls(count, pa.float64())
            for name in PER_SEQUENCE.names
            if name in METRICS
        }
        parts.append(pa.table({**fixed, **who, **values}, schema=PER_SEQUENCE))
    return pa.concat_tables(parts)


def _per_joint(tests: Trials, scored: dict[Job, Scored]) -> pa.Table:
    rows = []
    for job, one in scored.items():
        clips = [clip for clip in tests.clips if tests.data.has(clip, job.noise)]
        if job.method == "truth" or job.variant:
            continue
        for source in sorted({clip.source for clip in clips}):
            mine = np.array([clip.source == source for clip in clips])
            distance, angle = one.distance[mine].mean(axis=0), one.angle[mine].mean(axis=0)
            for joint, name in enumerate(skeleton.JOINTS):
                rows.append(
                    {**asdict(job), "source": source, "joint": name, "distance": float(distance[joint]), "angle": float(angle[joint])}
                )
    return pa.Table.from_pylist(rows, schema=PER_JOINT)


def _notes(table: pa.Table, headline: dict[str, Any], live: dict[str, Any]) -> list[Note]:
    rows = []
    numbers = claims.Numbers(table.to_pylist())
    for method in ("ours", *baselines.METHODS):
        for each in columns.MASKS:
            values = [numbers.get(method, name, f"sensors={each}") for name in ("mpjpe", "mpjre", "mpjve", "jitter")]
            rows.append([method, each, *(round(v, 3) if v is not None else None for v in values)])
    names = ["method", "sensors", "MPJPE, cm", "MPJRE, deg", "MPJVE, cm/s", "jitter, m/s^3"]
    notes = [
        Note("Methods", "table", {"columns": names, "rows": rows}),
        Note("One frame, p95, ms", "float", round(live["frame_ms"]["p95"], 3)),
    ]
    if headline["value"] is not None:
        notes.insert(0, Note("MPJPE, cm", "float", round(headline["value"], 3)))
    return notes

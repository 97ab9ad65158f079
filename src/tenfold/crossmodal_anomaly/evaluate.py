"""Every method on the same test parts: maps, scores, metrics, timings, claims.

Two passes. The first goes part by part, builds the operators and dense features once, and lets every network and baseline turn them
into distances, which go to disk. The second goes method by method: maps of all parts, on disk as well, scores, metrics. In memory stay a
part's maps, and of all parts the masks (packed bits) and what `aupro.count` keeps of a method.
"""

import json
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from tenfold.core import atomic, seeding, tables
from tenfold.core import claims as core_claims
from tenfold.core import metrics as core_metrics
from tenfold.core.errors import BadData, UsageError
from tenfold.core.metrics import Row, Subject
from tenfold.core.progress import Progress
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.stage import Made, Note
from tenfold.crossmodal_anomaly import aupro, claims, config, curves, efficiency, fewshot, maps, metrics, predictor_folder, scoring, train
from tenfold.crossmodal_anomaly import baselines as rivals
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.efficiency import Network, Rival
from tenfold.crossmodal_anomaly.extractors import Extractors, load_extractors
from tenfold.crossmodal_anomaly.maps import Combine, MapOptions
from tenfold.crossmodal_anomaly.operators import operators
from tenfold.crossmodal_anomaly.spool import Maps, Spool

SHARD_BYTES = 16 << 20
COMBINES: tuple[Combine, ...] = ("product", "sum", "max", "d2_only", "d3_only")
SCORES_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("defect", pa.string()),
        ("method", pa.string()),
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("score", pa.float64()),
        ("ms", pa.float64()),
    ]
)

Float32 = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Job:
    """One method to be measured: who it is, and how its values are read from the spool."""

    subject: Subject
    keys: tuple[str, ...]
    combine: Combine | None
    grid: int
    threshold: float | None


@dataclass(frozen=True)
class TestParts:
    """The test split: ids, labels, defect kinds, and what their masks say."""

    ids: list[str]
    labels: npt.NDArray[np.int64]
    kinds: list[str]
    truth: aupro.Truth

    @classmethod
    def read(cls, prepared: Path, features: Path) -> "TestParts":
        """BadData without a test part."""
        table = tables.read(features / "parts.parquet")
        rows = sorted((row for row in table.to_pylist() if row["split"] == "test"), key=lambda row: row["id"])
        if not rows:
            raise BadData(f"{features / 'parts.parquet'} has no part of the split `test`; an evaluation needs good and defective ones.")
        shards = ShardReader(prepared / "parts")
        truth = aupro.Truth()
        for row in rows:
            part = shards.get(row["id"], ["gt", "valid"])
            truth.add(part["gt"], row["defect"], part["valid"])
        return cls([r["id"] for r in rows], np.array([r["label"] for r in rows], np.int64), [r["defect"] for r in rows], truth)


def networks(folder: Path, options: MapOptions) -> list[Network]:
    """All networks of a model folder, those without variant first; no threshold where they were calibrated on other maps.

    UsageError if there is no network without variant.
    """
    calibrated = json.loads((folder / "model.json").read_text())["maps"] == asdict(options)
    found = []
    for path in sorted((folder / "networks").glob("*/seed*"), key=lambda p: (p.parent.name != "full", p.parent.name, int(p.name[4:]))):
        name = "" if path.parent.name == "full" else path.parent.name
        seed = int(path.name.removeprefix("seed"))
        threshold = train.load_calibration(folder, name, seed).image_threshold if calibrated else None
        found.append(Network(fewshot.parse(name), seed, train.load_network(folder, name, seed), threshold))
    if not found or found[0].variant.name:
        raise UsageError(f"{folder / 'networks'} has no network without variant; materialize `model` first.")
    return found


def banks(folder: Path) -> list[Rival]:
    """All baselines of a baselines folder."""
    records = json.loads((folder / "baselines.json").read_text())["banks"]
    return [Rival(r["variant"], r["seed"], rivals.load(folder, r["variant"], r["seed"]), r) for r in records]


def run(
    prepared: Path,
    features: Path,
    model: Path,
    baselines: Path,
    block: config.Evaluation,
    out: Path,
    progress: Progress,
    identity: dict[str, str],
) -> Made:
    """Evaluate one unit.

    Writes scores.parquet, metrics.parquet, claims.json, curves.parquet, summary.json and maps/ (distance maps of the test parts on their
    grid, float16: d2, d3, product and the best bank's). `identity` fills the metrics columns paper, dataset, partition, model_key and
    data_version.
    """
    seeding.deterministic()
    started = time.monotonic()
    parts = TestParts.read(prepared, features)
    options = MapOptions(block.combine, block.smoothing, block.score_norm, block.missing)
    nets, rivals_ = networks(model, options), banks(baselines)
    folder = FeatureFolder(features)
    size, grid = int(folder.info["size"]), int(folder.info["grid"])
    scratch = out / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    jobs = _jobs(nets, rivals_, block, grid, identity)
    spool, masks, ms, factors = _distances(parts, nets, rivals_, folder, scratch, progress)
    results = _measure(parts, jobs, spool, masks, ms, factors, options, block, size, progress)
    rows = [row for r in results for row in r.measured.rows]
    rows += _margins(results, len(parts.ids))
    rows += efficiency.rows(identity, parts.ids, nets, rivals_, folder, options, block.timing_repeats, progress)
    rows += _extraction(identity, parts.ids, nets, prepared, model, block.timing_repeats)
    served = Subject(identity, "ours", "", nets[0].seed)
    rows.append(served.row("peak_rss", float(efficiency.peak_rss()), 1, "down", scale="B", timing=True))
    table = core_metrics.to_table(rows)
    judged = claims.judge(table)
    best = _best_bank(results)
    _write_maps(parts.ids, spool, masks, grid, nets[0], best, out)
    tables.write(_scores(parts, results), out / "scores.parquet")
    tables.write(table, out / "metrics.parquet")
    tables.write(_curves(parts, results), out / "curves.parquet")
    core_claims.write(judged, out / "claims.json")
    headline = _headline(results)
    summary = {
        "headline": headline,
        "best_bank": best.job.subject.method if best else "",
        "options": {**asdict(block), "size": size, "grid": grid},
        "left_out": [id for id, used in zip(parts.ids, parts.truth.used, strict=True) if not used],
        "threads": torch.get_num_threads(),
        "seconds": round(time.monotonic() - started, 2),
        "peak_rss_bytes": efficiency.peak_rss(),
    }
    atomic.write_json(out / "summary.json", summary)
    shutil.rmtree(scratch)
    return Made(notes=_notes(results, headline), checks=[core_claims.to_check(c) for c in judged], facts={"headline": headline})


@dataclass(frozen=True)
class Result:
    """What one job gave."""

    job: Job
    scores: npt.NDArray[np.float64]
    ms: npt.NDArray[np.float64]
    measured: metrics.Measured
    curve: tuple[Float, Float, Float]
    legacy: tuple[Float, Float]


def _jobs(nets: Sequence[Network], found: Sequence[Rival], block: config.Evaluation, grid: int, identity: dict[str, str]) -> list[Job]:
    jobs = []
    for net in nets:
        for how in COMBINES:
            if how == block.combine or not net.variant.name:
                name = "ours" if how == block.combine else how
                subject = Subject(identity, name, net.variant.name, net.seed)
                keys = (f"{net.key}/d2", f"{net.key}/d3")
                jobs.append(Job(subject, keys, how, grid, net.threshold if name == "ours" else None))
    for rival in found:
        for method in rivals.METHODS:
            subject = Subject(identity, method, rival.variant, rival.seed)
            jobs.append(Job(subject, (rival.key(method),), None, rival.bank.grid, None))
    return jobs


Masks = dict[int, npt.NDArray[np.uint8]]  # by grid: (parts, bytes), packed bits


def _distances(
    parts: TestParts, nets: Sequence[Network], found: Sequence[Rival], folder: FeatureFolder, scratch: Path, progress: Progress
) -> tuple[Spool, Masks, dict[str, Float], dict[str, Float]]:
    """First pass: per part, all distances into the spool. Also the feature masks by grid (packed bits), ms and image factors by key."""
    spool = Spool(scratch)
    own = int(folder.info["grid"])
    grids = sorted({own, *(r.bank.grid for r in found)})
    n = len(parts.ids)
    # All that stays of a part has its place from the start: small blocks left between large ones that come and go would hold the heap open.
    masks: Masks = {grid: np.empty((n, -(-(grid**2) // 8)), np.uint8) for grid in grids}
    ms = {f"{net.key}/{name}": np.empty(n) for net in nets for name in ("d2", "d3")}
    ms |= {rival.key(method): np.empty(n) for rival in found for method in rivals.METHODS}
    factors = {rival.key(method): np.empty(n) for rival in found for method in rivals.METHODS}
    progress.stage("distances", n)
    for i, id in enumerate(parts.ids):
        part = folder.part(id)
        made = {grid: operators(part, grid) for grid in grids}
        for grid in grids:
            masks[grid][i] = np.packbits(made[grid].mask)
        for net in nets:
            start = time.perf_counter()
            d2, d3 = scoring.network_distances(net.model, part, net.variant.depth, made[own])
            spent = 1e3 * (time.perf_counter() - start)
            for name, values in (("d2", d2), ("d3", d3)):
                spool.add(f"{net.key}/{name}", values)
                ms[f"{net.key}/{name}"][i] = spent / 2
        for rival in found:
            f2, f3 = rival.bank.features(part, made[rival.bank.grid])
            for method in rivals.METHODS:
                start = time.perf_counter()
                values, factor = rival.bank.score(method, f2, f3)
                key = rival.key(method)
                ms[key][i] = 1e3 * (time.perf_counter() - start)
                factors[key][i] = factor
                spool.add(key, values.numpy())
        progress.advance()
    return spool, masks, ms, factors


def _measure(
    parts: TestParts,
    jobs: Sequence[Job],
    spool: Spool,
    masks: Masks,
    ms: dict[str, Float],
    factors: dict[str, Float],
    options: MapOptions,
    block: config.Evaluation,
    size: int,
    progress: Progress,
) -> list[Result]:
    """Second pass: per method, all maps in one file that the next method overwrites."""
    n = len(parts.ids)
    times = curves.multiplicities(parts.kinds, block.bootstrap, seeding.rng(block.seed, "bootstrap"))
    maps_ = Maps(spool.folder / "maps.f32", n, size)
    members = np.flatnonzero(parts.truth.used)
    results = []
    progress.stage("metrics", len(jobs))
    for job in jobs:
        scores, spent = np.empty(n), np.empty(n)
        for i, values in enumerate(_values(job, spool)):
            start = time.perf_counter()
            mask = _unpacked(masks[job.grid][i], job.grid)
            image = maps.render(values, mask, options, size)
            maps_[i] = image
            factor = factors[job.keys[0]][i] if job.combine is None else 1.0
            scores[i] = factor * maps.image_score(image, options.score_norm)
            spent[i] = sum(ms[key][i] for key in job.keys) + 1e3 * (time.perf_counter() - start)
        ranked = None
        if options.score_norm == "official":
            pixel_maps = _Normalised(maps_, "pixels")
            ranked = aupro.count(parts.truth, pixel_maps, keep=0.0)
            for i in range(n):
                maps_[i] = maps.normalise(maps_[i], options.score_norm, "regions")
        counts = aupro.count(parts.truth, maps_)
        by_part = curves.part_curves(parts.truth, maps_, counts)
        measured = metrics.measure(
            job.subject,
            parts.truth,
            parts.labels,
            scores,
            counts,
            by_part,
            times,
            ties=block.ties,
            p_auroc_counts=ranked,
            threshold=job.threshold,
        )
        results.append(Result(job, scores, spent, measured, by_part.total(members), aupro.legacy_curve(parts.truth, counts)))
        progress.advance()
    maps_.close()
    return results


class _Normalised(Sequence[Float32]):
    """Maps normalised for pixel ranking, made when they are asked for."""

    def __init__(self, raw: Maps, purpose: maps.Purpose) -> None:
        self._raw, self._purpose = raw, purpose

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, i: Any) -> Any:
        return maps.normalise(self._raw[i], "official", self._purpose)


def _values(job: Job, spool: Spool) -> Iterator[Float32]:
    if job.combine is None:
        yield from spool.read(job.keys[0])
    else:
        for d2, d3 in zip(spool.read(job.keys[0]), spool.read(job.keys[1]), strict=True):
            yield maps.combine(d2, d3, job.combine)


def _unpacked(bits: npt.NDArray[np.uint8], grid: int) -> npt.NDArray[np.bool_]:
    return np.unpackbits(bits, count=grid * grid).reshape(grid, grid).view(np.bool_)


def _margins(results: Sequence[Result], n: int) -> list[Row]:
    """Our lead over the better joint bank, by variant and seed, on the same resamples."""
    rows = []
    for result in results:
        subject = result.job.subject
        against = [r.measured for r in results if r.job.subject.method in claims.JOINT_BANKS and r.job.subject.variant == subject.variant]
        if subject.method == "ours" and against:
            row = metrics.margin_row(subject, result.measured, against, claims.MARGIN, n)
            rows += [row] if row else []
    return rows


def _headline(results: Sequence[Result]) -> dict[str, Any]:
    """The headline of ours: mean over seeds, with the interval of that mean."""
    metric, better = metrics.HEADLINE
    ours = [r.measured for r in results if r.job.subject.method == "ours" and not r.job.subject.variant]
    values = [m.headline for m in ours if m.headline is not None]
    if not values:
        return {
            "metric": metric,
            "better": better,
            "value": None,
            "lo": None,
            "hi": None,
            "seeds": len(ours),
            "reason": "no region to find",
        }
    value = statistics.fmean(values)
    lo, hi = curves.interval(np.mean([m.draws for m in ours], axis=0), value)
    return {"metric": metric, "better": better, "value": value, "lo": lo, "hi": hi, "seeds": len(ours), "reason": ""}


def _best_bank(results: Sequence[Result]) -> Result | None:
    """The memory bank with the largest headline, without variant."""
    found = [r for r in results if r.job.subject.method in claims.BANKS and not r.job.subject.variant and r.measured.headline is not None]
    return max(found, key=lambda r: r.measured.headline or 0.0, default=None)


def _write_maps(ids: Sequence[str], spool: Spool, masks: Masks, grid: int, net: Network, best: Result | None, out: Path) -> None:
    """Distances of the first network and of the best bank on their grids, before upsampling and smoothing."""
    shutil.rmtree(out / "maps", ignore_errors=True)
    distances = zip(spool.read(f"{net.key}/d2"), spool.read(f"{net.key}/d3"), strict=True)
    bank = spool.read(best.job.keys[0]) if best else iter(())
    with ShardWriter(out / "maps", SHARD_BYTES) as writer:
        for i, (id, (d2, d3)) in enumerate(zip(ids, distances, strict=True)):
            mask = _unpacked(masks[grid][i], grid)
            arrays: dict[str, npt.NDArray[Any]] = {"mask": mask.astype(np.uint8)}
            for name, values in (("d2", d2), ("d3", d3), ("product", d2 * d3)):
                arrays[name] = maps.scatter(values, mask).astype(np.float16)
            if best:
                bank_mask = _unpacked(masks[best.job.grid][i], best.job.grid)
                arrays["bank"] = maps.scatter(next(bank), bank_mask).astype(np.float16)
                arrays["bank_mask"] = bank_mask.astype(np.uint8)
            writer.add(id, arrays)


def _scores(parts: TestParts, results: Sequence[Result]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in SCORES_SCHEMA.names}
    for result in results:
        subject = result.job.subject
        columns["id"] += parts.ids
        columns["label"] += parts.labels.tolist()
        columns["defect"] += parts.kinds
        columns["method"] += [subject.method] * len(parts.ids)
        columns["variant"] += [subject.variant] * len(parts.ids)
        columns["seed"] += [subject.seed] * len(parts.ids)
        columns["score"] += result.scores.tolist()
        columns["ms"] += result.ms.tolist()
    return pa.table(columns, schema=SCORES_SCHEMA)


def _curves(parts: TestParts, results: Sequence[Result]) -> pa.Table:
    """Points of the PRO and pixel ROC curves of every method without variant (first seed), and the 99-point polygon."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for result in results:
        subject = result.job.subject
        if subject.variant or subject.method in seen:
            continue
        seen.add(subject.method)
        fpr, pro, tpr = result.curve
        for curve, x, y in (("pro", fpr, pro), ("roc", fpr, tpr), ("pro_99pt", *result.legacy)):
            rows += [{"method": subject.method, "curve": curve, "fpr": a, "value": b} for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    schema = pa.schema([("method", pa.string()), ("curve", pa.string()), ("fpr", pa.float64()), ("value", pa.float64())])
    return pa.Table.from_pylist(rows, schema=schema)


def _notes(results: Sequence[Result], headline: dict[str, Any]) -> list[Note]:
    by_method: dict[str, list[Result]] = {}
    for r in results:
        if not r.job.subject.variant:
            by_method.setdefault(r.job.subject.method, []).append(r)

    def mean(group: Sequence[Result], metric: str) -> float | None:
        values = [row.value for r in group for row in r.measured.rows if row.metric == metric and row.slice == "all"]
        known = [v for v in values if v is not None]
        return round(statistics.fmean(known), 4) if known else None

    names = ("aupro_30", "aupro_05", "i_auroc", "p_auroc")
    rows = [[method, *(mean(group, name) for name in names)] for method, group in by_method.items()]
    notes = [Note("Methods (mean of seeds)", "table", {"columns": ["method", *names], "rows": rows})]
    if headline["value"] is not None:
        notes.insert(0, Note("AUPRO@30 %", "float", round(headline["value"], 4)))
    return notes


def _extraction(
    identity: dict[str, str], ids: Sequence[str], nets: Sequence[Network], prepared: Path, model: Path, repeats: int
) -> list[Row]:
    """Extraction times: the served extractors, and for each pruned network extractors that stop at its depth."""
    depths: dict[tuple[str, int], int] = {}
    for net in nets:
        if (not net.variant.name or net.variant.depth) and net.variant.name not in {name for name, _ in depths}:
            depths[net.variant.name, net.seed] = net.variant.depth
    loaded = {key: extractors_of(model / "predictor", depth) for key, depth in depths.items()}
    return efficiency.extraction_rows(identity, ids, ShardReader(prepared / "parts"), loaded, repeats)


def extractors_of(predictor: Path, depth: int) -> Extractors:
    """The extractors of a served model, cut at a pruned depth and no deeper (0: whole), and giving no other depth beside it."""
    block = predictor_folder.read(predictor)[0].features
    if depth:
        # hand-made geometry features have no layers to prune
        geometry = block.depth_3d if block.extractor_3d == "fpfh_covariance" else depth
        block = replace(block, depth_2d=depth, depth_3d=geometry)
    return load_extractors(replace(block, pruned=[]), predictor / "extractor")

"""The report of one unit: what was found, how sure that is, against what, at what cost, on which data."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tenfold.core import atomic, report_folder, tables
from tenfold.core import claims as core_claims
from tenfold.core import figures as core_figures
from tenfold.core import report as page
from tenfold.core.progress import Progress
from tenfold.core.report import Better, Content, Html
from tenfold.core.shards import ShardReader
from tenfold.core.stage import Made
from tenfold.crossmodal_anomaly import claims, config, figures, maps
from tenfold.crossmodal_anomaly.metrics import kind_of

METHODS = tuple(figures.NAMES)
CURVES = ("ours", "bank_joint", "bank_sum", "d2_only", "d3_only")
METRICS = {
    "aupro_30": "AUPRO@30 %",
    "aupro_10": "@10 %",
    "aupro_05": "@5 %",
    "aupro_01": "@1 %",
    "aupro_fg_30": "@30 %, foreground",
    "p_auroc": "P-AUROC",
    "i_auroc": "I-AUROC",
    "best_f1": "best F1",
}
LEGACY = {"aupro_30": "aupro_30_99pt", "aupro_10": "aupro_10_99pt", "aupro_05": "aupro_05_99pt", "aupro_01": "aupro_01_99pt"}
SPINE = ("dataset", "prepared", "features", "model", "baselines")
THUMBNAILS = (("gallery", "Gallery", 700), ("scores", "Scores", 700), ("training", "Training", 900))
TIE = 0.01
"""Linear maps within this of the networks' AUPRO@30 % count as a tie and are named in the verdict's part."""


@dataclass(frozen=True)
class Evaluation:
    """The evaluation folder, read."""

    numbers: claims.Numbers
    rows: list[dict[str, Any]]
    claims: list[core_claims.Claim]
    summary: dict[str, Any]
    scores: pa.Table
    curves: list[dict[str, Any]]
    maps: ShardReader

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """Read an evaluation folder."""
        rows = tables.read(folder / "metrics.parquet").to_pylist()
        return cls(
            numbers=claims.Numbers(rows),
            rows=rows,
            claims=core_claims.read(folder / "claims.json"),
            summary=json.loads((folder / "summary.json").read_text()),
            scores=tables.read(folder / "scores.parquet"),
            curves=tables.read(folder / "curves.parquet").to_pylist(),
            maps=ShardReader(folder / "maps"),
        )

    @property
    def unit(self) -> str:
        """The partition's name."""
        return str(self.rows[0]["partition"])

    @property
    def methods(self) -> list[str]:
        """Methods without variant, ours first."""
        present = {row["method"] for row in self.rows if not row["variant"]}
        return [m for m in METHODS if m in present] + sorted(present - set(METHODS) - {"champion"})

    @property
    def kinds(self) -> list[str]:
        """Defect kinds."""
        return list(dict.fromkeys(kind_of(row["slice"]) for row in self.rows if row["slice"] != "all"))

    def first_scores(self, method: str) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Ids, labels and scores of the first seed without variant."""
        found = self.scores.filter((pc.field("method") == method) & (pc.field("variant") == ""))
        found = found.filter(pc.equal(found["seed"], pc.min(found["seed"])))
        return found["id"].to_pylist(), found["label"].to_numpy(), found["score"].to_numpy()

    def curve(self, method: str, name: str) -> figures.Curve:
        """Points of one stored curve."""
        rows = [row for row in self.curves if row["method"] == method and row["curve"] == name]
        return np.array([row["fpr"] for row in rows]), np.array([row["value"] for row in rows])


def run(folders: dict[str, Path], block: config.Report, out: Path, provenance: dict[str, Any], progress: Progress) -> Made:
    """Write `out/report.html` and `out/figures/*.png`.

    `folders`: dataset, prepared, features, model, baselines, evaluation. `provenance`: plain names and values to print, and under
    `manifests` the manifest of every upstream asset (its block, seconds, key and digest are shown).
    """
    progress.stage("report", 3)
    found = Evaluation.read(folders["evaluation"])
    threshold = _threshold(folders["model"], found)
    charts = _charts(found, folders["model"], threshold)
    report_folder.write_charts(out, charts)
    progress.advance()
    pictures = _Pictures(folders["prepared"], found)
    gallery = _gallery(pictures, found, block, out / "figures")
    extremes = _extremes(pictures, found, block, threshold)
    progress.advance()
    content = page.Page(
        title=f"Crossmodal anomaly detection: {found.unit}",
        subtitle="Crossmodal Feature Mapping (CVPR 2024): colour and geometry predict each other; a defect is where both fail.",
        verdict=_verdict(found),
        claims=found.claims,
        numbers=_numbers(found, charts),
        pictures=page.join(gallery, extremes, report_folder.shown(charts, _CAPTIONS, ("pro", "roc", "scores", "training"))),
        how=_how(folders, found, provenance),
        data=_data(folders, found),
        cost=_cost(found, provenance, charts),
        provenance=page.provenance(provenance),
    )
    made = report_folder.write(out, content, sentence(found), THUMBNAILS)
    progress.advance()
    return made


def sentence(found: Evaluation) -> str:
    """The verdict in one sentence: headline with interval, the lead over the best bank, the claims."""
    headline = found.summary["headline"]
    tally = core_claims.tally(found.claims)
    if headline["value"] is None:
        return f"On {found.unit} segmentation could not be measured ({headline['reason']}); {tally}."
    n = headline["seeds"]
    between = f", 95 % interval {headline['lo']:.3f} to {headline['hi']:.3f}" if headline["lo"] is not None else ""
    text = f"On {found.unit} the method reaches AUPRO@30 % {headline['value']:.3f}{between}, mean of {n} seed{'s' if n > 1 else ''}"
    best = found.summary["best_bank"]
    rival = found.numbers.get(best, "aupro_30") if best else None
    if rival is not None:
        gap = headline["value"] - rival
        side = "above" if gap >= 0 else "below"
        text += f", {abs(gap):.3f} {side} the best memory bank ({figures.NAMES[best]}, {rival:.3f})"
    return f"{text}; {tally}."


def _verdict(found: Evaluation) -> Html:
    n = found.numbers
    headline = found.summary["headline"]
    low = page.interval(headline["value"], headline["lo"], headline["hi"])
    recall, fpr = n.get("ours", "recall"), n.get("ours", "fpr")
    cards: list[tuple[str, Content, Content]] = [
        ("AUPRO@30 %", low, "exact, over all thresholds"),
        ("I-AUROC", n.get("ours", "i_auroc"), "good against defective parts"),
        ("P-AUROC", n.get("ours", "p_auroc"), "all pixels"),
        ("Recall at the threshold", recall, markup_rate(fpr)),
    ]
    notes = []
    ours, linear = n.get("ours", "aupro_30"), n.get("ridge", "aupro_30")
    if ours is not None and linear is not None and linear >= ours - TIE:
        notes.append(
            page.paragraph(
                f"Linear maps fitted in closed form reach AUPRO@30 % {linear:.3f}: by this metric the trained networks add nothing here."
            )
        )
    return page.join(page.markup("<p><strong>{}</strong></p>", sentence(found)), page.cards(cards), *notes)


def markup_rate(fpr: float | None) -> str:
    """The false alarms that go with the recall."""
    return "not calibrated for these maps" if fpr is None else f"with {100 * fpr:.0f} % false alarms on good test parts"


def _numbers(found: Evaluation, charts: Mapping[str, bytes]) -> Html:
    n = found.numbers
    drawn = [page.Row(figures.NAMES.get(m, m), *_triple(n, m, "aupro_30"), strong=m == "ours") for m in found.methods]
    rows = [[figures.NAMES.get(m, m), *(page.interval(*_triple(n, m, metric)) for metric in METRICS)] for m in found.methods]
    legacy = [
        [figures.NAMES.get(m, m), *(value for exact, old in LEGACY.items() for value in (n.get(m, exact), n.get(m, old)))]
        for m in found.methods
    ]
    parts = [
        page.intervals(drawn, "AUPRO@30 % of every method on the same parts, with 95 % intervals"),
        page.table(["method", *METRICS.values()], rows, f"{found.unit}: means over seeds; small print: 95 % interval over resampled parts"),
        page.paragraph(
            "Intervals resample the test parts with replacement within each defect kind, the same draws for all methods; they say nothing "
            "about training, whose spread the seeds show."
        ),
        _kinds(found),
        _seeds(found),
        page.details(
            "Exact area against the 99 thresholds of published tables",
            page.table(["method", *(f"{METRICS[e]}{s}" for e in LEGACY for s in ("", " (99 pt)"))], legacy),
        ),
        _published(found),
        _variants(found, charts),
    ]
    return page.join(*parts)


def _kinds(found: Evaluation) -> Html:
    tables_ = []
    for metric in ("aupro_30", "i_auroc"):
        rows = [[figures.NAMES.get(m, m), *(found.numbers.kind(m, metric, k) for k in found.kinds)] for m in found.methods]
        best: dict[str, Better] = dict.fromkeys(found.kinds, "up")
        tables_.append(page.table(["method", *found.kinds], rows, f"{METRICS[metric]} by defect kind, each against all good parts", best))
    return page.join(page.heading("By defect kind"), *tables_)


def _seeds(found: Evaluation) -> Html:
    rows = []
    for seed in found.numbers.seeds():
        mine = {
            r["metric"]: r for r in found.rows if r["method"] == "ours" and not r["variant"] and r["seed"] == seed and r["slice"] == "all"
        }
        names = ("aupro_30", "aupro_05", "aupro_01", "i_auroc", "p_auroc")
        cells = [page.interval(mine[x]["value"], mine[x]["lo"], mine[x]["hi"]) for x in names if x in mine]
        rows.append([str(seed), *cells])
    return page.details("Every seed", page.table(["seed", "AUPRO@30 %", "@5 %", "@1 %", "I-AUROC", "P-AUROC"], rows))


def _published(found: Evaluation) -> Html:
    """The paper's figures for this unit, if it has any."""
    dataset, _, unit = found.unit.partition(".")
    rows = []
    for row in claims.published_rows():
        if row["dataset"] == dataset and row["slice"] == f"unit={unit}":
            rows.append([row["metric"], found.numbers.get("ours", row["metric"]), float(row["value"]), row["mark"], row["source"]])
    return page.table(["metric", "here", "published", "mark", "source"], rows, "Against the paper") if rows else Html("")


def _variants(found: Evaluation, charts: Mapping[str, bytes]) -> Html:
    n = found.numbers
    shots = sorted((int(v.removeprefix("shots=")) for v in n.variants if v.startswith("shots=") and "," not in v), reverse=True)
    depths = sorted((int(v.removeprefix("depth=")) for v in n.variants if v.startswith("depth=") and "," not in v), reverse=True)
    parts = []
    if shots:
        rows = [
            [
                figures.NAMES[m],
                *(value for v in ("", *(f"shots={s}" for s in shots)) for value in (n.get(m, "aupro_30", v), n.get(m, "i_auroc", v))),
            ]
            for m in ("ours", *claims.BANKS, "padim", "ridge")
            if n.get(m, "aupro_30") is not None
        ]
        columns = ["method", *(f"{metric}, {word}" for word in ("all", *map(str, shots)) for metric in ("AUPRO@30 %", "I-AUROC"))]
        parts += [page.heading("Few shots"), report_folder.shown(charts, _CAPTIONS, ("few_shot",)), page.table(columns, rows)]
    if depths:
        rows = []
        for variant in ("", *(f"depth={d}" for d in depths)):
            ms = [n.get("ours", stage, variant) for stage in ("ms_extract", "ms_map", "ms_score")]
            total = sum(v for v in ms if v is not None) if all(v is not None for v in ms) else None
            bytes_ = n.get("ours", "model_bytes", variant)
            rows.append([variant or "full", n.get("ours", "aupro_30", variant), n.get("ours", "i_auroc", variant), *ms, total, _mb(bytes_)])
        columns = ["depth", "AUPRO@30 %", "I-AUROC", "extract, ms", "map, ms", "score, ms", "total, ms", "mappers, MB"]
        parts += [page.heading("Pruned extractors"), page.table(columns, rows)]
    return page.join(*parts)


@dataclass(frozen=True)
class Tiles:
    """One part's pictures, all (S, S): colours, relief, truth, and maps by name."""

    rgb: figures.Image
    depth: figures.Image
    gt: npt.NDArray[np.uint8]
    maps: dict[str, maps.Array]


class _Pictures:
    """Reads a part's arrays and smooths its maps as the evaluation did."""

    def __init__(self, prepared: Path, found: Evaluation) -> None:
        self._parts, self._maps = ShardReader(prepared / "parts"), found.maps
        options = found.summary["options"]
        self._options = maps.MapOptions("product", options["smoothing"], options["score_norm"], options["missing"])
        self._size = int(options["size"])

    def get(self, id: str) -> Tiles:
        """One part."""
        part, stored = self._parts.get(id), self._maps.get(id)
        out: dict[str, maps.Array] = {}
        for name in ("d2", "d3", "product", "bank"):
            if name in stored:
                mask = stored["bank_mask" if name == "bank" else "mask"].astype(bool)
                out[name] = maps.render(stored[name].astype(np.float32)[mask], mask, self._options, self._size)
        return Tiles(part["rgb"], figures.depth_tile(part["xyz"], part["valid"].astype(bool)), part["gt"], out)


def _gallery(pictures: _Pictures, found: Evaluation, block: config.Report, out: Path) -> Html:
    """`block.gallery` parts of every kind; one colour scale a column, d2 and d3 on the same one."""
    ids, _, scores = found.first_scores("ours")
    by_kind: dict[str, list[tuple[float, str]]] = {}
    for id, score in zip(ids, scores.tolist(), strict=True):
        by_kind.setdefault(_kind(id), []).append((score, id))
    shown = []
    for kind, group in sorted(by_kind.items(), key=lambda item: (item[0] == "good", item[0])):
        # spread over the ranks: not the best ones only
        group.sort(reverse=True)
        picks = sorted({round(q * (len(group) - 1)) for q in np.linspace(0.25, 0.75, block.gallery)}) if block.gallery else []
        shown += [(f"{kind} {_stem(group[i][1])}", pictures.get(group[i][1])) for i in picks]
    if not shown:
        return Html("")
    names = [name for name in ("d2", "d3", "product", "bank") if name in shown[0][1].maps]
    # not the maximum: one bright spot would leave all other parts dark
    top = {name: float(np.quantile(np.stack([t.maps[name] for _, t in shown]), 0.999)) for name in names}
    top["d2"] = top["d3"] = max(top["d2"], top["d3"])
    rows = []
    for label, t in shown:
        heat = [core_figures.heat(t.maps[name], 0.0, top[name]) for name in names]
        rows.append((label, [figures.tile(x) for x in (t.rgb, t.depth, figures.mask_tile(t.gt), *heat)]))
    atomic.write_bytes(out / "gallery.png", figures.png(figures.sheet([tiles for _, tiles in rows])))
    bank = figures.NAMES.get(found.summary["best_bank"], "bank")
    words = {"d2": "d2, colour missed", "d3": "d3, geometry missed", "product": "product", "bank": f"best bank ({bank})"}
    ends = ", ".join(f"{top[name]:.3g} ({name})" for name in names)
    caption = f"Typical parts of each kind, by the quartiles of our score. One colour scale a column over all parts, from 0 to {ends}."
    uris = [(label, [core_figures.image_uri(tile, kind="jpeg") for tile in tiles]) for label, tiles in rows]
    columns = ["colour", "relief", "ground truth", *(words[name] for name in names)]
    return page.join(page.heading("Gallery"), page.matrix(columns, uris, caption))


def _extremes(pictures: _Pictures, found: Evaluation, block: config.Report, threshold: float | None) -> Html:
    """Parts judged most clearly right and most clearly wrong, by the distance of their score from the threshold."""
    ids, labels, scores = found.first_scores("ours")
    middle = float(np.median(scores)) if threshold is None else threshold
    margin = np.where(labels == 1, scores - middle, middle - scores)
    order = np.argsort(margin, kind="stable")
    out = []
    k = min(block.extremes, len(ids))
    top = float(np.max(scores)) if len(ids) else 1.0
    for title, picks in ((f"Worst {k}", order[:k]), (f"Best {k}", order[::-1][:k])):
        rows = []
        for i in picks.tolist():
            t = pictures.get(ids[i])
            seen = core_figures.overlay(t.rgb, t.gt != 0)
            heat = core_figures.heat(t.maps["product"], 0.0, top)
            caption = f"{_kind(ids[i])} {_stem(ids[i])}: score {scores[i]:.3g}, {'above' if scores[i] > middle else 'below'} {middle:.3g}"
            both = figures.sheet([[figures.tile(seen), figures.tile(heat)]])
            rows.append(page.figure(core_figures.image_uri(both, kind="jpeg"), caption))
        out += [page.heading(title), page.grid(rows, columns=5)]
    return page.join(*out)


def _charts(found: Evaluation, model: Path, threshold: float | None) -> dict[str, bytes]:
    n = found.numbers
    present = [m for m in CURVES if m in found.methods]
    charts = {}
    pro = {m: found.curve(m, "pro") for m in present}
    if len(pro["ours"][0]) > 1:
        charts["pro"] = figures.pro_curves(pro, found.curve("ours", "pro_99pt"))
    image = {m: figures.roc(*found.first_scores(m)[1:]) for m in present}
    charts["roc"] = figures.roc_curves(image, {m: found.curve(m, "roc") for m in present})
    _, labels, scores = found.first_scores("ours")
    charts["scores"] = figures.score_histogram(scores[labels == 0], scores[labels == 1], threshold)
    points = []
    for m in ("ours", *claims.BANKS, "padim", "ridge"):
        ms = [n.get(m, stage) for stage in ("ms_map", "ms_score")]
        value, size = n.get(m, "aupro_30"), n.get(m, "model_bytes" if m == "ours" else "bank_bytes")
        if value is not None and size is not None and None not in ms:
            points.append(figures.Point(m, sum(v for v in ms if v is not None), value, size))
    charts["trade_off"] = figures.trade_off(points)
    history = {}
    for path in sorted((model / "networks" / "full").glob("seed*")):
        history[path.name.replace("seed", "seed ")] = tables.read(path / "curves.parquet").to_pydict()
    charts["training"] = figures.training(history)
    shots: dict[str, list[tuple[float, float]]] = {}
    full = n.get("ours", "n_train")
    for row in found.rows:
        variant, method = row["variant"], row["method"]
        few = variant.startswith("shots=") and "," not in variant
        if row["metric"] == "aupro_30" and row["slice"] == "all" and row["value"] is not None and method in ("ours", *claims.JOINT_BANKS):
            at = float(variant.removeprefix("shots=")) if few else full if not variant else None
            if at is not None:
                shots.setdefault(method, []).append((at, row["value"]))
    if any(v.startswith("shots=") for v in n.variants):
        charts["few_shot"] = figures.few_shot(shots)
    return charts


_CAPTIONS = {
    "pro": "Exact per-region overlap. Dotted: the limits of AUPRO. Dashed: the polygon through 99 thresholds equally spaced in rank.",
    "roc": "ROC over parts and over pixels, first seed.",
    "scores": "Scores of the test parts, first seed; the threshold comes from held-out good parts.",
    "training": "Loss = mean(1 - cos) of both directions.",
    "few_shot": "The same number of gradient steps for every number of parts.",
    "trade_off": "Area of a disc: bytes the method keeps.",
}


def _how(folders: Mapping[str, Path], found: Evaluation, provenance: Mapping[str, Any]) -> Html:
    info = json.loads((folders["features"] / "features.json").read_text())
    mode = {
        "eval": "The frozen extractors run in eval mode: features are deterministic.",
        "official_train": "The 3D extractor runs as released, with per-cloud batch statistics and random depth: features are random.",
    }
    steps = [
        "The background plane is removed and the largest cluster kept; colour, points and ground truth are padded and resized alike.",
        "Two frozen extractors give colour tokens and geometry tokens; sparse operators spread both on one grid.",
        "From good parts only, M23 learns to guess geometry from colour and M32 colour from geometry (loss 1 - cos).",
        "d3 = |norm M23(f2) - norm f3|, d2 = |norm M32(f3) - norm f2|; their product, smoothed, is the map; its maximum is the score.",
        "The threshold comes from held-out good parts. Pixels without a point score 0 unless `missing: neighbour` is set, "
        "so a hole without points is hard to see.",
    ]
    options = page.options(provenance, found.summary["options"], SPINE)
    extractors = ", ".join(
        f"{info[k]['name']} {info[k].get('sha256', '')[:12]}".strip() for k in ("extractor_2d", "extractor_3d") if k in info
    )
    return page.join(
        page.bullets(steps),
        page.paragraph(f"Extractors: {extractors}. ", mode.get(str(info.get("mode")), f"Extractor mode: {info.get('mode')}.")),
        options,
    )


def _data(folders: Mapping[str, Path], found: Evaluation) -> Html:
    samples = tables.read(folders["dataset"] / "samples.parquet").to_pylist()
    counts = Counter((row["split"], row["defect"]) for row in samples)
    kinds = sorted({kind for _, kind in counts}, key=lambda k: (k != "good", k))
    rows: list[list[Content]] = [[split, *(counts.get((split, kind), 0) for kind in kinds)] for split in ("train", "validation", "test")]
    quarantine = tables.read(folders["dataset"] / "quarantine.parquet").to_pylist()
    listed = [[str(row["id"]), str(row["reason"]), str(row["detail"])] for row in quarantine]
    unseen = [s for s in found.summary.get("left_out", [])]
    return page.join(
        page.table(["split", *kinds], rows, "Parts"),
        page.heading("Quarantine"),
        page.table(["part", "reason", "detail"], listed) if listed else page.paragraph("No part was set aside."),
        page.paragraph(f"Defective parts with an empty ground truth, left out of all pixel metrics: {', '.join(unseen)}.")
        if unseen
        else "",
        page.heading("Preparation"),
        _preparation(tables.read(folders["prepared"] / "prep.parquet").to_pylist()),
    )


def _preparation(rows: Sequence[Mapping[str, Any]]) -> Html:
    body = []
    for split in ("train", "validation", "test"):
        mine = [row for row in rows if row["split"] == split]
        if mine:
            planes = sum(bool(row["plane_found"]) for row in mine)
            inliers, kept, valid = (
                [float(row[name]) for row in mine if row[name] is not None] for name in ("inlier_ratio", "kept_fraction", "n_valid")
            )
            spread = [_range(values) for values in (inliers, kept, valid)]
            body.append([split, len(mine), planes, *spread, sum(int(row["n_clusters"]) > 1 for row in mine)])
    columns = ["split", "parts", "planes found", "plane inliers", "kept by clustering", "points", "more than one cluster"]
    warned = [[str(row["id"]), str(row["warnings"])] for row in rows if row["warnings"]]
    lowest = sorted(rows, key=lambda row: float(row["kept_fraction"]))[:5]
    outliers = [[str(row["id"]), row["kept_fraction"], row["inlier_ratio"], row["n_valid"]] for row in lowest]
    return page.join(
        page.table(columns, body, "Median, least and greatest value of each split"),
        page.details("Parts that kept least", page.table(["part", "kept", "plane inliers", "points"], outliers)),
        page.details(f"Warnings ({len(warned)})", page.table(["part", "warning"], warned)) if warned else "",
    )


def _cost(found: Evaluation, provenance: Mapping[str, Any], charts: Mapping[str, bytes]) -> Html:
    n = found.numbers
    stages = ("ms_extract", "ms_operators", "ms_dense", "ms_map", "ms_score")
    rows = [
        [figures.NAMES[m], *(n.get(m, s) for s in stages), _mb(n.get(m, "model_bytes" if m == "ours" else "bank_bytes"))]
        for m in ("ours", *claims.BANKS, "padim", "ridge")
        if n.get(m, "ms_map") is not None
    ]
    columns = ["method", "extract, ms", "operators, ms", "dense features, ms", "map or search, ms", "smooth and score, ms", "kept, MB"]
    threads = found.summary["threads"]
    note = (
        f"Medians, warm, one part at a time, methods taking turns, {threads} thread{'s' if threads > 1 else ''} for all. "
        "Extraction and operators are the same for every method and stand at ours; dense features are needed by all baselines and stand "
        f"at the joint bank. Evaluation took {found.summary['seconds']:.1f} s; the largest resident memory of its process was "
        f"{_mb(found.summary['peak_rss_bytes']):.0f} MB."
    )
    return page.join(
        report_folder.shown(charts, _CAPTIONS, ("trade_off",)),
        page.table(columns, rows, "Time and memory"),
        page.paragraph(note),
        page.seconds_taken(provenance, "What this unit took to make"),
    )


def _threshold(model: Path, found: Evaluation) -> float | None:
    """The first seed's image threshold, where it was calibrated on the maps that were evaluated."""
    if found.numbers.get("ours", "fpr") is None and found.numbers.get("ours", "recall") is None:
        return None
    seed = found.numbers.seeds()[0]
    return float(json.loads((model / "networks" / "full" / f"seed{seed}" / "calibration.json").read_text())["image_threshold"])


def _triple(n: claims.Numbers, method: str, metric: str) -> tuple[float | None, float | None, float | None]:
    return n.get(method, metric), n.get(method, metric, column="lo"), n.get(method, metric, column="hi")


def _kind(id: str) -> str:
    return id.split("/")[-2]


def _stem(id: str) -> str:
    return id.split("/")[-1]


def _range(values: Iterable[float]) -> str:
    found = list(values)
    return f"{statistics.median(found):.3g} ({min(found):.3g} to {max(found):.3g})" if found else "–"


def _mb(value: float | None) -> float:
    return float("nan") if value is None else value / 1e6

"""The report of one partition: how well, how sure, against what, how it looks in motion, at what cost, on which data (section 11)."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core import claims as core_claims
from tenfold.core import figures as core_figures
from tenfold.core import report as page
from tenfold.core import report_folder, tables
from tenfold.core.progress import Progress
from tenfold.core.report import Cell, Content, Html
from tenfold.core.stage import Made
from tenfold.motion_tracking import baselines, canvas, claims, columns, config, figures, metrics, shown
from tenfold.motion_tracking.figures import Triple
from tenfold.motion_tracking.shown import Shown

Float = npt.NDArray[np.float64]

METHODS = ("ours", *baselines.METHODS)
SPINE = ("dataset", "features", "model", "baselines")
THUMBNAILS = (("methods", "Methods", 800), ("strip_0", "Tracked and true", 900), ("noise", "Noise", 600))
MAIN = ("mpjpe", "mpjre", "mpjre_official", "mpjve", "jitter", "h_pe", "u_pe", "l_pe", "r_pe")
HONEST = ("mpjpe_p95", "mpjpe_frames", "mpjre_frames", "bone_error", "foot_slide", "floor", "flips", "settle")


@dataclass(frozen=True)
class Evaluation:
    """The evaluation folder, read."""

    numbers: claims.Numbers
    claims: list[core_claims.Claim]
    summary: dict[str, Any]
    joints: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    clips: list[Shown]

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """Read an evaluation folder."""
        return cls(
            numbers=claims.Numbers(tables.read(folder / "metrics.parquet").to_pylist()),
            claims=core_claims.read(folder / "claims.json"),
            summary=json.loads((folder / "summary.json").read_text()),
            joints=tables.read(folder / "per_joint.parquet").to_pylist(),
            curves=tables.read(folder / "curves.parquet").to_pylist(),
            clips=list(shown.read(folder)),
        )

    @property
    def partition(self) -> str:
        """The partition's name."""
        return str(self.numbers.rows[0]["partition"])

    @cached_property
    def methods(self) -> list[str]:
        """Ours, then the rivals that were measured."""
        there = {row["method"] for row in self.numbers.rows if row["metric"] == "mpjpe"}
        return [m for m in METHODS if m in there]

    def curve(self, name: str, method: str, sensors: str = "") -> tuple[Float, Float]:
        """Points of one curve."""
        rows = [r for r in self.curves if (r["curve"], r["method"], r["sensors"]) == (name, method, sensors)]
        return np.array([r["x"] for r in rows]), np.array([r["y"] for r in rows])

    def ours(self, name: str) -> dict[str, tuple[Float, Float]]:
        """One curve of ours a sensor set."""
        found = {figures.SENSORS[each]: self.curve(name, "ours", each) for each in columns.MASKS}
        return {words: curve for words, curve in found.items() if len(curve[0])}

    def triple(self, method: str, metric: str, variant: str = "", **keys: str) -> Triple:
        """Value and interval in a slice."""
        return self.numbers.triple(method, metric, metrics.slice_of(**keys), variant)


def run(
    folders: Mapping[str, Path], block: config.Report, out: Path, provenance: dict[str, Any], progress: Progress, files: Path | None = None
) -> Made:
    """Write `out/report.html` and `out/figures/*.png`.

    `folders`: dataset, features, model, baselines, evaluation. `provenance`: plain names and values to print, and under `manifests` the
    manifest of every upstream asset. `files` is not needed: clips are drawn from the evaluation.
    """
    progress.stage("report", 3)
    found = Evaluation.read(folders["evaluation"])
    charts, captions = _charts(found, folders, block)
    report_folder.write_charts(out, charts)
    progress.advance()
    played = found.clips[: block.played]
    names = {track: figures.track_name(track) for track in (played[0].tracks if played else {}) if track != "truth"}
    strips = [name for name in charts if name.startswith("strip_")]
    content = page.Page(
        title=f"Motion tracking: {found.partition}",
        subtitle="HMD-Poser (CVPR 2024): the whole body and its shape from a headset, two hands and up to three IMUs, frame by frame.",
        verdict=_verdict(found),
        claims=found.claims,
        numbers=_numbers(found),
        pictures=page.join(
            canvas.player(played, names),
            report_folder.shown(charts, captions, strips),
            report_folder.shown(
                charts, captions, ("methods", "joints", "legs", "spectrum", "start", "switch", "noise", "ablations", "training")
            ),
        ),
        how=_how(found, provenance),
        data=_data(folders),
        cost=page.join(report_folder.shown(charts, captions, ("latency", "costs")), _cost(found, folders["model"], provenance)),
        provenance=page.provenance(provenance),
        script=canvas.SCRIPT if played else "",
    )
    progress.advance()
    made = report_folder.write(out, content, sentence(found), THUMBNAILS)
    progress.advance()
    return made


def sentence(found: Evaluation) -> str:
    """The verdict in one sentence: headline with interval, the best rival, the claims."""
    head = found.summary["headline"]
    tally = core_claims.tally(found.claims)
    if head["value"] is None:
        return f"On {found.partition} the error could not be measured ({head['reason']}); {tally}."
    between = f", 95 % interval {head['lo']:.2f} to {head['hi']:.2f}" if head["lo"] is not None else ""
    seeds = f", mean of {head['seeds']} seeds" if head["seeds"] > 1 else ""
    text = f"On {found.partition} joints are {head['value']:.2f} cm off{between}, mean over three sensor sets and {head['clips']} test clips{seeds}"
    best = best_rival(found)
    if best:
        side = "below" if head["value"] < best[1] else "not below"
        text += f", {side} the best rival ({figures.NAMES[best[0]]}, {best[1]:.2f} cm)"
    return f"{text}; {tally}."


def best_rival(found: Evaluation) -> tuple[str, float] | None:
    """The baseline with the smallest error over all sensor sets; the held first pose is told the truth and does not count."""
    values = [(m, v) for m in found.methods if m not in ("ours", "hold") and (v := found.numbers.get(m, "mpjpe")) is not None]
    return min(values, key=lambda item: item[1], default=None)


def _verdict(found: Evaluation) -> Html:
    n, head, live = found.numbers, found.summary["headline"], found.summary["streaming"]
    jitter, true = n.get("ours", "jitter"), n.get("truth", "jitter")
    slide, floor = n.get("ours", "foot_slide"), n.get("truth", "foot_slide")
    cards: list[tuple[str, Content, Content]] = [
        ("MPJPE, cm", page.interval(head["value"], head["lo"], head["hi"], 2), "three sensor sets, all test clips"),
        ("Headset and hands only", page.interval(*found.triple("ours", "mpjpe", sensors="hmd", source="real"), 2), "cm, real motion"),
        ("Jitter, m/s³", jitter, f"truth {page.number(true)}"),
        ("Feet slide, cm/s", slide, f"truth {page.number(floor)}, while the true foot stands"),
        ("One frame, ms", live["frame_ms"]["p95"], "95th percentile, one thread, raw sensors to skeleton"),
    ]
    return page.join(page.markup("<p><strong>{}</strong></p>", sentence(found)), page.cards(cards))


def _numbers(found: Evaluation) -> Html:
    rows = [page.Row(figures.NAMES[m], *found.triple(m, "mpjpe"), strong=m == "ours") for m in found.methods]
    parts = [
        page.intervals(
            [r for r in rows if r.value is not None], "MPJPE (cm), mean over the three sensor sets, all test clips; 95 % intervals"
        ),
        _table(found, "", "All test clips, mean over the three sensor sets", MAIN),
        page.paragraph(
            "Everything is measured in the world frame after moving the skeleton's head onto the tracked one. A clip counts once (as published), "
            "in the columns `mean of frames` every frame once. MPJRE, official, is the mean difference of axis-angle components and is no angle. "
            "Intervals resample the clips, the same draws for all methods; they say nothing about training, whose spread the seeds show. The held "
            "first pose is told the true start: it shows how much the clips move. Jitter is not an error: the truth has some."
        ),
    ]
    for source in found.numbers.sources():
        for each in columns.MASKS:
            title = f"{source} motion, {figures.SENSORS[each]}"
            parts.append(page.details(title, _table(found, source, title, MAIN, each), opened=source == "real"))
    parts.append(page.details("Honest measures beside the published ones", _table(found, "", "All test clips, all sensor sets", HONEST)))
    return page.join(*parts, _pairs(found), _kinds(found), _noise_table(found), _variants(found), _seeds(found), _published(found))


def _table(found: Evaluation, source: str, caption: str, names: Sequence[str], sensors: str = "") -> Html:
    """Methods by measure in one slice."""
    rows: list[list[Cell]] = []
    for method in ("truth", *found.methods):
        cells: list[Cell] = [found.triple(method, name, source=source, sensors=sensors) for name in names]
        if any(isinstance(cell, tuple) and cell[0] is not None for cell in cells):
            rows.append([figures.NAMES[method], *cells])
    heads = [f"{metrics.METRICS[name].words}, {metrics.METRICS[name].scale}" for name in names]
    keep = [
        i
        for i in range(len(heads))
        if any((cell := row[i + 1]) is not None and isinstance(cell, tuple) and cell[0] is not None for row in rows)
    ]
    best: dict[str, page.Better] = {heads[i]: "down" for i in keep if metrics.METRICS[names[i]].better == "down"}
    return page.table(["method", *(heads[i] for i in keep)], [[row[0], *(row[i + 1] for i in keep)] for row in rows], caption, best)


def _pairs(found: Evaluation) -> Html:
    """What C1 and C3 rest on, source by source."""
    n, rows = found.numbers, []
    for source in ("", *n.sources()):
        cells: list[Cell] = [
            found.triple("ours", name, source=source) for name in ("l_pe_hmd_over_2imus", "mpjpe_2imus_over_3imus", "r_pe_2imus_over_3imus")
        ]
        rows.append([source or "all", *cells])
    rivals: list[list[Cell]] = []
    for rival in claims.RIVALS:
        for each in columns.MASKS:
            for source in ("", *n.sources()):
                cells = [found.triple(rival, f"{metric}_ours_over", sensors=each, source=source) for metric in ("mpjpe", "mpjve", "jitter")]
                rivals.append([figures.NAMES[rival], figures.SENSORS[each], source or "all", *cells])
    heads = ["rival", "sensors", "motion", "MPJPE", "MPJVE", "jitter"]
    return page.join(
        page.heading("Pairs of numbers on the same clips"),
        page.table(
            ["motion", "lower body, without over with shin IMUs", "MPJPE, two over three IMUs", "pelvis, two over three IMUs"], rows,
            "More sensors (claim C1): above 1 the added sensors help",
        ),
        page.details("Ours over the ridge's (claim C3): below 1 ours is better", page.table(heads, rivals), opened=True),
    )  # fmt: skip


def _kinds(found: Evaluation) -> Html:
    kinds = sorted({s.removeprefix("kind=") for s in found.numbers.slices() if s.startswith("kind=") and "," not in s})
    rows: list[list[Cell]] = []
    for kind in kinds:
        n = found.numbers.rows
        count = next((r["n"] for r in n if r["method"] == "ours" and r["slice"] == f"kind={kind}" and r["metric"] == "mpjpe"), 0)
        rows.append([kind, count, *(found.triple("ours", "mpjpe", kind=kind, sensors=each) for each in columns.MASKS)])
    heads = ["kind", "clips", *(figures.SENSORS[each] for each in columns.MASKS)]
    return page.join(page.heading("By kind of motion"), page.table(heads, rows, "MPJPE of ours, cm")) if rows else Html("")


def _levels(found: Evaluation) -> list[str]:
    """`clean` and the noise levels that were measured."""
    slices = [s for s in found.numbers.slices() if s.startswith("noise=") and "," not in s]
    return [metrics.CLEAN, *(s.removeprefix("noise=") for s in slices)]


def _noise_table(found: Evaluation) -> Html:
    rows: list[list[Cell]] = []
    for level in _levels(found):
        over: Triple = found.triple("ours", "mpjpe_over_clean", noise=level) if level != metrics.CLEAN else (None, None, None)
        rows.append([level, *(found.triple("ours", "mpjpe", noise=level, sensors=each) for each in columns.MASKS), over])
    heads = ["sensors are", *(figures.SENSORS[each] for each in columns.MASKS), "over clean, all sets"]
    note = page.paragraph(
        "Causal and raw are perfect sensors whose acceleration does not look ahead; light, consumer and harsh have the errors of real ones."
    )
    return (
        page.join(page.heading("Noise and causality of the sensors"), page.table(heads, rows, "MPJPE of ours, cm, first seed"), note)
        if len(rows) > 1
        else Html("")
    )


def _variants(found: Evaluation) -> Html:
    n = found.numbers
    rows: list[list[Cell]] = []
    for variant in n.variants():
        seeds = len(n.seeds(variant=variant))
        cells: list[Cell] = [found.triple("ours", name, variant) for name in ("mpjpe", "mpjve", "jitter", "mpjpe_full_over_this")]
        if cells[0] == (None, None, None):
            each = next((e for e in columns.MASKS if variant.endswith(f"only_{e}")), "")
            cells = [found.triple("ours", name, variant, sensors=each) for name in ("mpjpe", "mpjve", "jitter", "mpjpe_full_over_this")]
        rows.append([variant, seeds, n.get("ours", "parameters", variant=variant), n.get("ours", "steps", variant=variant), *cells])
    heads = ["variant", "seeds", "parameters", "steps", "MPJPE, cm", "MPJVE, cm/s", "jitter, m/s^3", "MPJPE, full over this"]
    caption = "`reference` is the full network, trained as long as the variants; `only_...` is measured with its own sensor set"
    return page.join(page.heading("Variants"), page.table(heads, rows, caption)) if rows else Html("")


def _seeds(found: Evaluation) -> Html:
    rows: list[list[Cell]] = []
    for seed in found.numbers.seeds():
        mine = {
            r["metric"]: r for r in found.numbers.rows if (r["method"], r["variant"], r["seed"], r["slice"]) == ("ours", "", seed, "all")
        }
        rows.append([str(seed), *((mine[name]["value"], mine[name]["lo"], mine[name]["hi"]) for name in MAIN if name in mine)])
    return page.details("Every seed", page.table(["seed", *(metrics.METRICS[name].words for name in MAIN)], rows))


def _published(found: Evaluation) -> Html:
    rows: list[list[Cell]] = [
        [r["method"], r["metric"], r["slice"], float(r["value"]), r["mark"], r["source"]] for r in claims.published_rows()
    ]
    note = page.paragraph("Published, not reproduced here: AMASS and the body model are licensed, and other data are measured above.")
    return page.details("Published figures", page.join(page.table(["method", "metric", "slice", "value", "mark", "source"], rows), note))


def _charts(found: Evaluation, folders: Mapping[str, Path], block: config.Report) -> tuple[dict[str, bytes], dict[str, str]]:
    """Pictures by name, and their captions."""
    charts, captions = {}, dict(_CAPTIONS)
    panels = {}
    for words, metric in (("MPJPE, cm", "mpjpe"), ("jitter, m/s³", "jitter")):
        panels[f"{words}, all test clips"] = {m: {e: found.triple(m, metric, sensors=e) for e in columns.MASKS} for m in found.methods}
    charts["methods"] = figures.methods(panels)
    joints: dict[str, dict[str, list[float]]] = {}
    first = min(found.numbers.seeds(), default=0)
    for row in found.joints:
        if (row["method"], row["seed"], row["noise"]) == ("ours", first, metrics.CLEAN):
            joints.setdefault(row["source"], {}).setdefault(row["sensors"], []).append(row["distance"])
    if joints:
        charts["joints"] = figures.joints(joints)
    for i, clip in enumerate(_drawn(found.clips, block.strips)):
        charts[f"strip_{i}"] = figures.strip(clip, "ours/hmd", block.steps)
        captions[f"strip_{i}"] = (
            f"{clip.kind or 'clip'}, {clip.source} ({clip.why}): headset and hands only, {clip.error:.1f} cm over all sensor sets. Grey: truth."
        )
    walking = next((c for c in found.clips if c.kind == "walk"), found.clips[0] if found.clips else None)
    if walking:
        charts["legs"] = figures.legs(walking)
        captions["legs"] = f"{walking.id}: what the shin IMUs know and the headset does not."
    spectra = {figures.NAMES["truth"]: found.curve("spectrum", "truth"), **found.ours("spectrum")}
    spectra["ridge, headset + hands"] = found.curve("spectrum", "ridge_yaw", "hmd")
    spectra = {name: curve for name, curve in spectra.items() if len(curve[0])}
    colours = {figures.SENSORS[e]: c for e, c in figures.COLOURS.items()} | {"ridge, headset + hands": core_figures.PALETTE[3]}
    if spectra:
        charts["spectrum"] = figures.lines({"What shakes": spectra}, ("Hz", "m/s² per √Hz"), log="y", colours=colours)
    start = {"Error since the start": found.ours("start"), "Bone lengths since the start": found.ours("bones")}
    if all(start.values()):
        charts["start"] = figures.lines(start, ("s", "cm"), colours=colours)
    switch = {"All IMUs lost at 0": {"ours": found.curve("lost", "ours")}, "All IMUs back at 0": {"ours": found.curve("back", "ours")}}
    if all(len(c["ours"][0]) for c in switch.values()):
        charts["switch"] = figures.lines(switch, ("s", "cm"))
    levels = _levels(found)
    if len(levels) > 1:
        charts["noise"] = figures.noise(
            {level: {e: found.triple("ours", "mpjpe", noise=level, sensors=e) for e in columns.MASKS} for level in levels}
        )
    ratios = {v: found.triple("ours", "mpjpe_full_over_this", v) for v in found.numbers.variants()}
    ratios |= {
        f"only_{e}": found.triple("ours", "mpjpe_full_over_this", f"only_{e}", sensors=e) for e in columns.MASKS if f"only_{e}" in ratios
    }
    ratios = {v: t for v, t in ratios.items() if t[0] is not None}
    if ratios:
        charts["ablations"] = figures.ablations(ratios)
    history = _history(folders["model"])
    if history:
        charts["training"] = figures.lines(history, ("seconds of training", "loss; validation, cm"), log="y")
    latency = {name: found.curve("latency", name)[::-1] for name in ("step", "frame")}
    if all(len(c[0]) for c in latency.values()):
        told = {"step": "network alone", "frame": "sensors to skeleton"}
        charts["latency"] = figures.lines({"Frames done within": {told[k]: c for k, c in latency.items()}}, ("ms", "% of frames"), log="x")
    measured = {figures.SENSORS[e]: _costs(found, e) for e in columns.MASKS}
    if any(len(given) > 1 for given in measured.values()):
        charts["costs"] = figures.costs(measured)
        captions["costs"] = _edge(found)
    return charts, captions


_CAPTIONS = {
    "methods": "Every method on the same clips; bars: 95 % intervals over resampled clips. Jitter: the truth has some of its own.",
    "joints": "Mean distance of each joint, first seed.",
    "spectrum": "Spectrum of the joints' accelerations, mean over joints and windows of 2.1 s; the dashed truth is the aim.",
    "start": "A fresh state needs a moment; bone lengths show how fast the shape is known. Means over clips, first seed.",
    "switch": "Error around the frame at which all IMUs fall silent or return; mean over clips, first seed.",
    "noise": "Ours, trained on clean and light noise; 95 % intervals.",
    "ablations": "Equal steps, the same clips; bars: 95 % intervals over resampled clips.",
    "training": "Full network, a line a seed.",
    "latency": "One frame after the other through the exported step, one thread.",
}


def _costs(found: Evaluation, sensors: str) -> dict[str, tuple[float, Triple]]:
    """Each network's ms a frame and error with one sensor set, by its words; those without that set are left out."""
    n, rows = found.numbers, {}
    for variant in ("", *n.variants()):
        ms, error = n.get("ours", "network_ms", variant=variant), found.triple("ours", "mpjpe", variant, sensors=sensors)
        size = n.get("ours", "parameters", variant=variant)
        if ms is not None and error[0] is not None and size is not None:
            rows[f"{variant or 'full'}, {size / 1e6:.2f} M"] = (ms, error)
    return rows


def _edge(found: Evaluation) -> str:
    """The picture's words: which networks no other one beats in both, by sensor set."""
    told = []
    for each in columns.MASKS:
        points = {name.partition(",")[0]: (ms, error[0] or 0.0) for name, (ms, error) in _costs(found, each).items()}
        best = [one for one in points.items() if not any(p != one[1] and p[0] <= one[1][0] and p[1] <= one[1][1] for p in points.values())]
        told.append(f"{figures.SENSORS[each]}: {', '.join(f'{name} ({ms:.2f} ms, {cm:.2f} cm)' for name, (ms, cm) in best)}")
    steps = {variant: found.numbers.get("ours", "steps", variant=variant) or 0 for variant in ("", *found.numbers.variants())}
    shorter = "Variants are trained for fewer steps than `full`: compare them with `reference`. " if min(steps.values()) < steps[""] else ""
    return (
        "Median time of a frame through the exported step, one thread, against the error; M: million parameters. Equal graphs are timed once. "
        f"{shorter}No other network is at least as fast and as accurate as these. {'; '.join(told)}."
    )


def _drawn(clips: Sequence[Shown], count: int) -> list[Shown]:
    """Best, median and worst real clip first."""
    order = sorted(
        clips,
        key=lambda c: (
            c.source != "real",
            ["best", "median", "worst"].index(c.why.split()[0]) if c.why.split()[0] in ("best", "median", "worst") else 3,
        ),
    )
    return order[:count]


def _history(model: Path) -> dict[str, dict[str, tuple[Float, Float]]]:
    """Loss and validation error over seconds of training, a line a seed of the full network."""
    found: dict[str, dict[str, tuple[Float, Float]]] = {"Training loss": {}, "Validation, MPJPE": {}}
    for path in sorted((model / "networks" / "full").glob("seed*")):
        rows = tables.read(path / "curves.parquet").to_pylist()
        seconds = float(json.loads((path / "trained.json").read_text())["seconds"]) / max(len(rows), 1)
        for title, column in (("Training loss", "train/loss"), ("Validation, MPJPE", "validation/mpjpe_cm")):
            points = [(seconds * r["epoch"], r[column]) for r in rows if r.get(column) is not None]
            if points:
                found[title][path.name.replace("seed", "seed ")] = (np.array([p[0] for p in points]), np.array([p[1] for p in points]))
    return {title: given for title, given in found.items() if given}


def _how(found: Evaluation, provenance: Mapping[str, Any]) -> Html:
    steps = [
        "Each frame is 135 numbers: rotations, their changes, positions and speeds of head and hands, hands as the head sees them, and what IMUs on "
        "shins and pelvis say. A sensor that is not worn is zero: one set of weights serves all three sensor sets.",
        "Eight component tokens run through LSTMs of their own; per frame, attention lets them speak to each other. Twice.",
        "One head gives 22 joint rotations, another 16 shape numbers, each frame anew; exact joint kinematics makes a skeleton of them, "
        "which is moved so that its head lies where the headset is.",
        "Own additions, off in the paper's recipe: rows seen from the head's heading, a linear map fitted beforehand to which the network adds, and "
        "low-pass filters that are learned. The variants show what each is worth.",
        "The state (LSTMs and filters) is explicit, so that the exported step runs frame by frame without torch.",
    ]
    return page.join(page.bullets(steps), page.options(provenance, found.summary["options"], SPINE))


def _data(folders: Mapping[str, Path]) -> Html:
    samples = tables.read(folders["dataset"] / "samples.parquet").to_pylist()
    counts = Counter((str(r["source"]), str(r["subset"]), str(r["split"])) for r in samples)
    seconds: dict[tuple[str, str], float] = {}
    for row in samples:
        key = str(row["source"]), str(row["subset"])
        seconds[key] = seconds.get(key, 0.0) + float(row["seconds"] or 0.0)
    subsets = sorted({key[:2] for key in counts})
    rows: list[list[Cell]] = [[subset, source, *(counts.get((source, subset, s), 0) for s in ("train", "validation", "test")), seconds[source, subset]] for source, subset in subsets]  # fmt: skip
    quarantine = tables.read(folders["dataset"] / "quarantine.parquet").to_pylist()
    listed = [[str(r["id"]), str(r["reason"]), str(r["detail"])] for r in quarantine]
    kinds = Counter((str(r["label"]), str(r["split"])) for r in samples)
    by_kind: list[list[Cell]] = [
        [kind or "not told", *(kinds.get((kind, s), 0) for s in ("train", "validation", "test"))] for kind in sorted({k for k, _ in kinds})
    ]
    return page.join(
        page.table(["subset", "source", "train", "validation", "test", "seconds"], rows, "Clips"),
        page.details("Clips by kind", page.table(["kind", "train", "validation", "test"], by_kind)),
        page.heading("Quarantine"),
        page.table(["clip", "reason", "detail"], listed) if listed else page.paragraph("No clip was set aside."),
        _drift(folders["features"]),
    )


def _drift(features: Path) -> Html:
    """Sensor columns token by token, against other rows where the features were compared with any."""
    path = features / "drift.parquet"
    if not path.is_file():
        return Html("")
    rows: list[list[Cell]] = [
        [r["against"], r["token"], r["shift"], r["spread"], "drifted" if r["drifted"] else "as before"]
        for r in tables.read(path).to_pylist()
    ]
    heads = ["against", "token", "shift, standard deviations", "spread, log of ratio", ""]
    return page.join(page.heading("Drift of the sensors' columns"), page.table(heads, rows)) if rows else Html("")


_STEPS = {"torch": "PyTorch", "fp32": "ONNX, fp32", "int8": "ONNX, int8"}


def _eight_bits(steps: Mapping[str, Mapping[str, float]]) -> str:
    """What weights of 8 bits buy and cost."""
    full, small = steps["fp32"], steps["int8"]
    share, slower = small["mb"] / full["mb"], small["p50"] / full["p50"]
    return (
        f"{small['frames']:.0f} frames of {small['clips']:.0f} test clips with all sensors, one thread, each clip from a fresh state. Weights of 8 bits "
        f"take {100 * share:.0f} % of the file and {slower:.2f} times the time of a frame; the error changes by {small['mpjpe'] - full['mpjpe']:+.3f} cm "
        f"and the jitter by {small['jitter'] - full['jitter']:+.1f} m/s³. The linear map, where there is one, keeps 32 bits."
    )


def _cost(found: Evaluation, model: Path, provenance: Mapping[str, Any]) -> Html:
    live, summary = found.summary["streaming"], found.summary
    rows: list[list[Cell]] = [
        [words, *(live[name][q] for q in ("p50", "p95", "p99"))]
        for words, name in (("network alone", "step_ms"), ("sensors to skeleton", "frame_ms"))
    ]
    records = json.loads((model / "model.json").read_text())["networks"]
    made: list[list[Cell]] = [
        [r["variant"] or "full", int(r["seed"]), int(r["parameters"]), int(r["steps"]), float(r["seconds"])] for r in records
    ]
    steps: list[list[Cell]] = [
        [words, *(live["steps"][name][k] for k in ("six", "joint_mean", "joint_most", "mpjpe", "jitter", "mb", "p50", "p95"))]
        for name, words in _STEPS.items()
    ]
    gaps = ", ".join(f"{name}: {value:.1e}" for name, value in live["differences"].items())
    note = (
        f"Greatest difference from the whole stream in one call, by chunk: {gaps}. When all IMUs vanish or return, no joint jumps by more than "
        f"{live['switch_jump_cm']:.1f} cm beyond its true step. Evaluation took {summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} CPU "
        f"seconds); the largest resident memory of its process was {summary['peak_rss_bytes'] / 1e6:.0f} MB."
    )
    return page.join(
        page.table(["one frame, ms", "median", "95 %", "99 %"], rows, "Exported step, one thread"),
        page.paragraph(note),
        page.table(
            ["step", "6D, most", "joints, mean cm", "joints, most cm", "MPJPE, cm", "jitter, m/s³", "MB", "median, ms", "95 %, ms"],
            steps,
            "Three forms of the same step: how far from PyTorch's, and how good",
        ),
        page.paragraph(_eight_bits(live["steps"])),
        page.table(["variant", "seed", "parameters", "steps", "seconds"], made, "Training"),
        page.seconds_taken(provenance, "What this partition took to make"),
    )

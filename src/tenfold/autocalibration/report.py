"""The report of one partition: what was found, how sure that is, against what, at what cost, on which data (section 11)."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tenfold.autocalibration import claims, config, features, figures, metrics, reprojections
from tenfold.autocalibration.figures import Estimate, Point, Reprojection
from tenfold.autocalibration.metrics import Answer, Scene
from tenfold.core import claims as core_claims
from tenfold.core import figures as core_figures
from tenfold.core import report as page
from tenfold.core import report_folder, tables
from tenfold.core.progress import Progress
from tenfold.core.report import Cell, Content, Html
from tenfold.core.stage import Made

METHODS = (
    "ours", "ours_zero_skew", "ours_square", "ours_full", "ours_focal2v", "bougnoux", "sturm", "kruppa", "quadric", "focal6", "focal6_ba", "sweep",
    "ba_only", "colmap", "colmap_radial", "anchor",
)  # fmt: skip
SPINE = ("dataset", "features", "taxonomy", "model", "baselines")
THUMBNAILS = (("noise", "Focal error over noise", 800), ("triplets", "Focal length by triplet", 800), ("cost", "Accuracy and cost", 800))
SHOWN_SIDE = 460
"""Longer side of a photograph on the page, px."""
REPROJECTED = 2
"""Scenes whose reprojections are shown: one a kind."""
TIE = 0.05
"""Rivals within this share of our focal error count as a tie and are named in the verdict's part."""


@dataclass(frozen=True)
class Evaluation:
    """The evaluation folder, read, with the scenes that it is about."""

    numbers: claims.Numbers
    claims: list[core_claims.Claim]
    summary: dict[str, Any]
    calib: list[dict[str, Any]]
    scenes: dict[str, Scene]

    @classmethod
    def read(cls, folder: Path, dataset: Path) -> "Evaluation":
        """Read an evaluation folder and the dataset's table of samples."""
        samples = tables.read(dataset / "samples.parquet")
        return cls(
            numbers=claims.Numbers(tables.read(folder / "metrics.parquet").to_pylist()),
            claims=core_claims.read(folder / "claims.json"),
            summary=json.loads((folder / "summary.json").read_text()),
            calib=tables.read(folder / "calib.parquet").to_pylist(),
            scenes=metrics.scenes_of(samples),
        )

    @property
    def partition(self) -> str:
        """The partition's name."""
        return str(self.numbers.rows[0]["partition"])

    @property
    def methods(self) -> list[str]:
        """Methods that calibrated anything, ours first."""
        present = {row["method"] for row in self.calib}
        return [m for m in METHODS if m in present] + sorted(present - set(METHODS))

    @property
    def slices(self) -> list[str]:
        """Slices of scenes: all, then by motion and noise, or by scene."""
        found = {row["slice"] for row in self.numbers.group("answered")}
        return sorted(found, key=lambda s: (s != "all", s))

    def answers(self, method: str, stage: str) -> dict[str, Answer]:
        """Of the first seed, by scene."""
        groups = metrics.by_key(row for row in self.calib if row["method"] == method and row["stage"] == stage)
        return {name: metrics.of_scene(rows) for name, rows in groups[min(groups)].items()} if groups else {}

    def best(self, method: str) -> dict[str, Answer]:
        """Answers at the stage at which a method is compared, else at its other one."""
        first = metrics.RIVALS.get(method, "refined")
        return self.answers(method, first) or self.answers(method, "minimal" if first == "refined" else "refined")


def run(
    folders: Mapping[str, Path], block: config.Report, out: Path, provenance: dict[str, Any], progress: Progress, files: Path | None = None
) -> Made:
    """Write `out/report.html` and `out/figures/*.png`.

    `folders`: dataset, features, taxonomy, model, baselines, evaluation. `provenance`: plain names and values to print, and under
    `manifests` the manifest of every upstream asset. `files`: where the paths of the samples start; None shows no photographs.
    """
    progress.stage("report", 3)
    found = Evaluation.read(folders["evaluation"], folders["dataset"])
    charts = _charts(found, folders)
    rows = _reprojections(found, folders, files)
    if rows:
        charts["reprojections"] = figures.reprojections(rows)
    report_folder.write_charts(out, charts)
    progress.advance()
    photographs = _photographs(found, folders, block, files)
    progress.advance()
    content = page.Page(
        title=f"Autocalibration: {found.partition}",
        subtitle="Minimal Perspective Autocalibration (CVPR 2024): the camera's K from point matches in two or three views, nothing else.",
        verdict=_verdict(found),
        claims=found.claims,
        numbers=_numbers(found, folders),
        pictures=page.join(
            report_folder.shown(charts, _CAPTIONS, ("reprojections", "noise", "cost", "jitter", "triplets")),
            photographs,
            _graphs(folders["taxonomy"]),
            report_folder.shown(charts, _CAPTIONS, ("growth", "counts")),
        ),
        how=_how(found, provenance),
        data=_data(found, folders),
        cost=_cost(found, provenance),
        provenance=page.provenance(provenance),
    )
    made = report_folder.write(out, content, sentence(found), THUMBNAILS)
    progress.advance()
    return made


def sentence(found: Evaluation) -> str:
    """The verdict in one sentence: headline with interval, the best rival, the claims."""
    head = found.summary["headline"]
    tally = core_claims.tally(found.claims)
    if head["value"] is None:
        return f"On {found.partition} accuracy could not be measured ({head['reason']}); {tally}."
    between = f", 95 % interval {_percent(head['lo'])} to {_percent(head['hi'])}" if head["lo"] is not None else ""
    seeds = f", mean of {head['seeds']} seeds" if head["seeds"] > 1 else ""
    text = f"On {found.partition} the median focal error over {head['scenes']} scenes is {_percent(head['value'])}{between}{seeds}"
    best = _best_rival(found)
    if best is not None:
        side = "below" if head["value"] < best[1] else "above"
        text += f", {side} the best rival ({figures.name(best[0])}, {_percent(best[1])})"
    return f"{text}; {tally}."


def _best_rival(found: Evaluation) -> tuple[str, float] | None:
    """The method, not ours, with the smallest focal error on the same scenes."""
    n = found.numbers
    full = n.n("ours", metrics.HEADLINE[0])
    values = [
        (m, v)
        for m in found.methods
        if not m.startswith("ours") and (v := n.either(m, metrics.HEADLINE[0])) is not None and _n(n, m) == full
    ]
    return min(values, key=lambda item: item[1], default=None)


def _n(n: claims.Numbers, method: str) -> int:
    return n.n(method, metrics.HEADLINE[0]) or n.n(method, metrics.HEADLINE[0], variant="minimal")


def _verdict(found: Evaluation) -> Html:
    n, head = found.numbers, found.summary["headline"]
    cards: list[tuple[str, Content, Content]] = [
        ("Median focal error", page.interval(head["value"], head["lo"], head["hi"], 4), f"relative, {head.get('scenes', 0)} scenes"),
        ("Failures", n.get("ours", "failure_rate"), "no answer, or more than 20 % off"),
        ("Wrong and unsaid", n.get("ours", "confident_wrong"), "offered as good, more than 20 % off"),
        ("CPU seconds a scene", n.get("ours", "cpu_s"), "one process"),
    ]
    notes = []
    value = head["value"]
    if value is not None:
        full = _n(n, "ours")
        same = [m for m in found.methods if not m.startswith("ours") and _n(n, m) == full]
        level = [m for m in same if (v := n.either(m, "focal_error")) is not None and v <= value * (1 + TIE)]
        if level:
            names = ", ".join(f"{figures.name(m)} ({_percent(n.either(m, 'focal_error'))})" for m in level)
            notes.append(
                page.paragraph(f"As accurate or more over all these scenes: {names}. By this number the minimal solver adds nothing there.")
            )
    return page.join(page.markup("<p><strong>{}</strong></p>", sentence(found)), page.cards(cards), *notes)


def _numbers(found: Evaluation, folders: Mapping[str, Path]) -> Html:
    n = found.numbers
    drawn = [page.Row(figures.name(m), *n.triple(m, "focal_error", "all", _variant(n, m)), strong=m == "ours") for m in found.methods]
    parts = [
        page.intervals(
            [row for row in drawn if row.value is not None], "Median relative focal error, all scenes of the headline; 95 % intervals"
        ),
        _methods(found, "all", "Every method on the headline's scenes"),
        page.paragraph(
            "Before: the closed form or the best minimal sample as it is; after: the same refinement for all methods that allow one. An error above "
            "100 % and a missing answer count as 100 %. Intervals resample the scenes, the same draws for all methods."
        ),
    ]
    rest = [s for s in found.slices if s != "all"]
    parts += [page.details(_title(s), _methods(found, s, _title(s))) for s in rest]
    return page.join(
        *parts, _triplet_table(found), _prior_table(found), _catalogue(found, folders["taxonomy"]), _degrees(found), _published()
    )


def _methods(found: Evaluation, where: str, caption: str) -> Html:
    """Accuracy before and after refinement, failures, and what it cost."""
    n = found.numbers
    rows: list[list[Cell]] = []
    for m in found.methods:
        before, after = n.triple(m, "focal_error", where, "minimal"), n.triple(m, "focal_error", where)
        if n.either(m, "answered", where) is None:
            continue
        cost = [n.get(m, "cpu_s", where, v) for v in ("", "minimal")]
        rows.append([
            figures.name(m), n.n(m, "answered", where) or n.n(m, "answered", where, "minimal"), before, after,
            next((c for c in cost if c is not None), None), n.either(m, "failure_rate", where), n.either(m, "answered", where),
            n.either(m, "refused", where), n.either(m, "focal_error_p90", where), n.either(m, "within_2sd", where),
            n.either(m, "centre_error", where), n.either(m, "focal_spread", where),
        ])  # fmt: skip
    columns = [
        "method", "scenes", "focal error before", "focal error after", "CPU s a scene", "failures", "answered", "refused", "90 % below",
        "within 2 sd", "centre error", "spread of triplets",
    ]  # fmt: skip
    keep = [i for i in range(len(columns)) if i < 2 or any(_has(row[i]) for row in rows)]
    best: dict[str, page.Better] = {"focal error after": "down", "failures": "down"}
    shown = [columns[i] for i in keep]
    return page.table(shown, [[row[i] for i in keep] for row in rows], caption, {k: v for k, v in best.items() if k in shown})


def _triplet_table(found: Evaluation) -> Html:
    """Photographs, triplet by triplet."""
    rows: list[list[Cell]] = []
    for row in found.calib:
        scene = found.scenes.get(row["scene"])
        if scene is None or not scene.photographed or not row["method"].startswith("ours") or row["stage"] != "refined":
            continue
        got = metrics.answer(row)
        error = metrics.focal_error(got.k[0], got.k[1], scene) if scene.known else math.nan
        said = "; ".join(part.split(":")[0] for part in row["reason"].split("; "))
        rows.append([
            row["scene"], figures.name(row["method"]), row["triplet"] or "merged", row["seed"], row["tracks"], row["inliers"], _or_nan(row["fx"]),
            _or_nan(row["sd_f"]), error, row["status"], said,
        ])  # fmt: skip
    columns = ["scene", "method", "views", "seed", "tracks", "inliers", "f, px", "sd, px", "error", "status", "reason"]
    return page.join(page.heading("Photographs, triplet by triplet"), page.table(columns, rows)) if rows else Html("")


def _prior_table(found: Evaluation) -> Html:
    n = found.numbers
    rows: list[list[Cell]] = []
    variants = sorted({r["variant"] for r in n.rows if r["variant"].startswith("prior=")})
    for variant in variants:
        cells = [n.get(m, metric, variant=variant) for metric in ("colmap_focal_error", "registered") for m in ("colmap", "ours")]
        rows.append([variant.removeprefix("prior="), *cells])
    if not rows:
        return Html("")
    columns = [
        "prior, times COLMAP's default",
        "focal error, left there",
        "started from ours",
        "images registered, left there",
        "started from ours",
    ]
    # two columns have the same name for the reader, not for the table
    columns[4] += " "
    return page.join(page.heading("COLMAP from a wrong prior"), page.table(columns, rows))


def _catalogue(found: Evaluation, taxonomy: Path) -> Html:
    path = taxonomy / "problems.parquet"
    if not path.exists():
        return Html("")
    names = ("excess", "equations", "unknowns", "dropped", "subsets", "orbits", "nonsingular")
    rows: list[list[Cell]] = []
    for row in tables.read(path).to_pylist():
        wanted = metrics.TABLE_2_3.get(row["problem"], {})
        wrong = [name for name, value in wanted.items() if row.get(name) not in (None, value)]
        rows.append(
            [row["problem"], *(row.get(name) for name in names), ", ".join(wrong) if wrong else "yes" if wanted else "not in the table"]
        )
    return page.join(
        page.heading("Catalogue of problems"), page.table(["problem", *names, "as in the table"], rows, "Relaxations up to relabelling")
    )


def _degrees(found: Evaluation) -> Html:
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found.numbers.rows:
        if row["metric"].startswith("degree_") and row["value"] is not None:
            runs.setdefault((row["metric"].removeprefix("degree_"), row["slice"].removeprefix("orbit=")), []).append(row)
    rows: list[list[Cell]] = [
        [problem, orbit, ", ".join(f"{r['value']:.0f}" for r in sorted(group, key=lambda r: r["seed"])), len(group)]
        for (problem, orbit), group in sorted(runs.items())
    ]
    return (
        page.join(
            page.heading("Number of solutions by monodromy"),
            page.table(["problem", "relaxation", "solutions, a seed each", "seeds"], rows, "In the systems without mirror images in sign"),
        )
        if rows
        else Html("")
    )


def _published() -> Html:
    rows: list[list[Cell]] = [[r["metric"], float(r["value"]), r["mark"], r["source"]] for r in claims.published_rows()]
    return page.details("Published figures", page.table(["metric", "value", "mark", "source"], rows)) if rows else Html("")


def _charts(found: Evaluation, folders: Mapping[str, Path]) -> dict[str, bytes]:
    charts: dict[str, bytes] = {}
    made: dict[str, dict[float, dict[str, list[float]]]] = {}
    rates: dict[str, list[tuple[float, float]]] = {}
    for method in found.methods:
        for name, answer in found.best(method).items():
            scene = found.scenes[name]
            if scene.motion in ("general", "orbit") and scene.known and not scene.jitter and scene.noise is not None:
                made.setdefault(scene.motion, {}).setdefault(scene.noise, {}).setdefault(method, []).append(answer.error(scene))
    if made:
        charts["noise"] = figures.noise({motion: dict(sorted(levels.items())) for motion, levels in sorted(made.items())})
    n = found.numbers
    for method in found.methods:
        for where in found.slices:
            if where.startswith("motion=orbit,noise=0.5"):
                amount = float(where.partition("jitter=")[2] or 0.0)
                rate = n.either(method, "failure_rate", where)
                if rate is not None:
                    rates.setdefault(method, []).append((amount, rate))
    if any(len(points) > 1 for points in rates.values()):
        charts["jitter"] = figures.jitter({m: points for m, points in rates.items() if len(points) > 1})
    panels: dict[str, list[Point]] = {}
    wanted = (("General, 0.5 px", claims.motion("general", 0.5)), ("Orbit, 0.5 px", claims.motion("orbit", 0.5)), ("All scenes", "all"))
    for title, where in wanted:
        for method in found.methods:
            variant = _variant(n, method, where)
            error, lo, hi = n.triple(method, "focal_error", where, variant)
            spent = n.get(method, "cpu_s", where, variant)
            if error is not None and spent is not None and spent > 0:
                panels.setdefault(title, []).append(Point(method, spent, error, lo, hi))
    if len(panels) > 1:
        panels.pop("All scenes", None)
    if panels:
        charts["cost"] = figures.cost(panels)
    ours = found.summary.get("exact", {}).get("ours")
    if ours and ours["found"]:
        charts["counts"] = figures.counts(ours["real"], ours["physical"], ours["solves"])
    curves = growth_curves(folders["model"])
    if curves:
        charts["growth"] = figures.growth(curves)
    shown = _estimates(found)
    if shown[0]:
        charts["triplets"] = figures.triplets(*shown)
    return charts


def growth_curves(model: Path) -> dict[str, list[tuple[list[float], list[float]]]]:
    """Known solutions over loops of each problem's first relaxation, a line a seed, from growth.json: {problem: {orbit: {seed: [known]}}}."""
    path = model / "growth.json"
    if not path.exists():
        return {}
    found: dict[str, list[tuple[list[float], list[float]]]] = {}
    for problem, orbits in json.loads(path.read_text()).items():
        for orbit in sorted(orbits, key=int)[:1]:
            lines = [[float(v) for v in known] for _, known in sorted(orbits[orbit].items(), key=lambda item: int(item[0])) if known]
            if lines:
                found[problem] = [([float(i) for i in range(len(y))], y) for y in lines]
    return found


def _estimates(found: Evaluation) -> tuple[dict[str, list[Estimate]], float | None]:
    """Per scene of photographs: each triplet of ours, the merged value, then the rivals' values of the scene."""
    groups: dict[str, list[Estimate]] = {}
    references: list[float] = []
    for name, scene in found.scenes.items():
        if not scene.photographed:
            continue
        rows = [r for r in found.calib if r["scene"] == name and r["method"] == "ours" and r["stage"] == "refined"]
        first = min((r["seed"] for r in rows), default=0)
        items = []
        for row in sorted((r for r in rows if r["seed"] == first), key=lambda r: (not r["triplet"], r["triplet"])):
            got = metrics.answer(row)
            items.append(Estimate(f"ours {row['triplet'] or 'merged'}", "ours", got.k[0], got.sd, got.good))
        for method in found.methods:
            if method != "ours" and name in (answers := found.best(method)):
                got = answers[name]
                items.append(Estimate(figures.name(method), method, got.k[0] if got.good else math.nan, got.sd, got.good))
        if items:
            groups[name] = items
        if scene.known:
            references.append(scene.reference[0])
    if not references or max(references) - min(references) > 0.01 * max(references):
        return groups, None
    return groups, statistics.fmean(references)


_CAPTIONS = {
    "reprojections": "How well our answer explains its points: K is the answer of that set of views, poses and points are fitted to it. Arrows in all directions are noise, a pattern is something that the model lacks.",
    "noise": "Relative focal error, first seed. Closed forms as they are, the others after refinement. Dotted: 20 %, a failure.",
    "cost": "Median focal error with its 95 % interval over the scenes, and the CPU time it cost.",
    "jitter": "Where the axes do not quite meet two-view formulas recover.",
    "triplets": "Bars: 2 standard deviations as reported. Hollow: not offered as good. Arrow: beyond the axis. Green: the reference and 3 % around it.",
    "growth": "Known solutions after each loop of monodromy, a line a seed.",
    "counts": "Noise-free instances of the main solver.",
}


def _reprojections(found: Evaluation, folders: Mapping[str, Path], files: Path | None) -> list[list[Reprojection]]:
    """A row a scene, a panel a view: of the first scene of each kind the set of three views with most inliers that was answered."""
    best: dict[str, dict[str, Any]] = {}
    for row in found.calib:
        if row["method"] == "ours" and row["stage"] == "refined" and row["triplet"].count("-") == 2 and metrics.answer(row).good:
            if row["scene"] not in best or row["inliers"] > best[row["scene"]]["inliers"]:
                best[row["scene"]] = row
    # without noise there is nothing to see
    order = sorted((s for s in map(found.scenes.__getitem__, best) if s.noise != 0), key=_shown_first)
    kinds = {_shown_first(scene)[:2]: scene.name for scene in reversed(order)}
    names = [kinds[kind] for kind in sorted(kinds)][:REPROJECTED]
    samples = tables.read(folders["dataset"] / "samples.parquet").to_pylist()
    scenes = {scene.name: scene for scene in features.read_scenes(folders["features"], names)} if names else {}
    rows = []
    for name in names:
        row, facts = best[name], found.scenes[name]
        triplet = [int(view) for view in row["triplet"].split("-")]
        k = np.array([row[column] for column in ("fx", "fy", "cx", "cy", "s")], np.float64)
        made = (
            reprojections.of_answer(scenes[name], triplet, k, found.summary["options"].get("threshold_px", 2.0)) if name in scenes else None
        )
        if made is not None:
            noise = f", noise {facts.noise:g} px" if facts.noise is not None else ""
            rows.append([
                Reprojection(
                    f"{name}, view {view}{noise}", (facts.width, facts.height), _view_of(name, view, samples, files),
                    made.observed[i], made.projected[i], made.inlier,
                )
                for i, view in enumerate(triplet)
            ])  # fmt: skip
    return rows


def _shown_first(scene: Scene) -> tuple[bool, int, float, float, str]:
    """Order in which scenes are shown: kind (distorted or not; motion), then those that are typical of it."""
    rank = {"general": 0, "orbit": 1}.get(scene.motion or "", 2)
    return scene.distorted, rank, abs((scene.noise or 0.0) - 0.5), scene.jitter, scene.name


def _view_of(scene: str, view: int, samples: list[dict[str, Any]], files: Path | None) -> figures.Image | None:
    """The photograph of a view; without distortion where another scene of the same photograph knows it and this one is free of it."""
    row = next((r for r in samples if (r["scene"], r["view"]) == (scene, view)), None)
    if files is None or row is None or not row["image_path"]:
        return None
    with Image.open(files / row["image_path"]) as image:
        pixels = np.asarray(image.convert("RGB"))
    bent = next((r for r in samples if r["image_path"] == row["image_path"] and r["ref_k1"]), None)
    if bent is None or row["ref_k1"] != 0:
        return pixels
    k = np.array([bent[f"ref_{column}"] for column in ("fx", "fy", "cx", "cy", "s")], np.float64)
    return figures.straightened(pixels, k, bent["ref_k1"], bent["ref_k2"] or 0.0) if np.isfinite(k).all() else pixels


def _graphs(taxonomy: Path) -> Html:
    path = taxonomy / "graphs.svg"
    if not path.is_file():
        return Html("")
    caption = "One representative of each class of relaxations: an edge is a pair of points, its colour the equations that are kept."
    return page.figure(core_figures.data_uri(path.read_bytes(), "image/svg+xml"), caption)


def _photographs(found: Evaluation, folders: Mapping[str, Path], block: config.Report, files: Path | None) -> Html:
    """Photographs with the tracks of the best triplet, the same colour in every view."""
    if files is None or not block.gallery:
        return Html("")
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in tables.read(folders["dataset"] / "samples.parquet").to_pylist():
        if row["image_path"]:
            rows.setdefault(row["scene"], []).append(row)
    tracks: dict[tuple[str, int], dict[int, tuple[float, float]]] = {}
    for row in tables.read(folders["features"] / "tracks.parquet").to_pylist():
        if row["scene"] in rows:
            tracks.setdefault((row["scene"], row["view"]), {})[row["track"]] = (row["x"], row["y"])
    pieces = []
    for scene in sorted(rows)[: block.gallery]:
        views = sorted(rows[scene], key=lambda row: row["view"])
        seen = Counter(t for row in views for t in tracks.get((scene, row["view"]), {}))
        # tracks seen most often, spread over the picture by their number
        often = sorted(t for t, times in seen.items() if times >= min(3, len(views)))
        step = max(1, len(often) // max(1, block.tracks))
        chosen = often[::step][: block.tracks]
        colours = dict(zip(chosen, figures.spread_colours(len(chosen)), strict=True))
        tiles = []
        for row in views:
            here = {t: p for t, p in tracks.get((scene, row["view"]), {}).items() if t in colours}
            picture = _photograph(files / row["image_path"], here, colours)
            tiles.append(
                page.figure(core_figures.image_uri(picture, SHOWN_SIDE, "jpeg"), f"view {row['view']}: {len(here)} of {len(chosen)} tracks")
            )
        pieces.append(page.join(page.heading(f"Photographs of {scene}"), page.grid(tiles, columns=3)))
    return page.join(*pieces)


def _photograph(path: Path, points: Mapping[int, tuple[float, float]], colours: Mapping[int, tuple[int, int, int]]) -> figures.Image:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    places = np.array(list(points.values()), np.float64).reshape(-1, 2)
    return figures.with_tracks(pixels, places, [colours[t] for t in points], radius=max(3, max(pixels.shape[:2]) // 160))


def _how(found: Evaluation, provenance: Mapping[str, Any]) -> Html:
    steps = [
        "The camera is the same in all views. Distances between points are the same too, so each pair of points gives an equation in K and the "
        "points' depths; poses never appear.",
        "Offline: which equations of a minimal problem to keep, up to relabelling of points; all complex solutions of one random instance, by "
        "monodromy: the start system.",
        "Online: the start system's solutions are tracked to a sample of the user's points; real ones in front of all cameras are candidates.",
        "Candidates are scored on all tracks (truncated Sampson error), the best is refined over K, poses and points with a robust loss; triplets "
        "are merged by the inlier-weighted median.",
        "Scenes whose motion does not determine K are recognised and get a status in place of K.",
    ]
    degrees = ", ".join(f"{name}: {degree} paths" for name, degree in found.summary.get("degrees", {}).items())
    options = page.options(provenance, found.summary["options"], SPINE)
    return page.join(page.bullets(steps), page.paragraph(f"Start systems: {degrees}.") if degrees else "", options)


def _data(found: Evaluation, folders: Mapping[str, Path]) -> Html:
    kinds = Counter((s.motion or "photographs", s.noise, s.jitter) for s in found.scenes.values())
    rows = [
        [motion, noise, jitter, count]
        for (motion, noise, jitter), count in sorted(kinds.items(), key=lambda i: (i[0][0], i[0][1] or 0.0, i[0][2]))
    ]
    quarantine = tables.read(folders["dataset"] / "quarantine.parquet").to_pylist()
    listed = [[str(row["id"]), str(row["reason"]), str(row["detail"])] for row in quarantine]
    return page.join(
        page.table(["motion", "noise, px", "jitter", "scenes"], rows, "Scenes"),
        page.heading("Quarantine"),
        page.table(["sample", "reason", "detail"], listed) if listed else page.paragraph("No sample was set aside."),
        page.heading("Scenes without an answer"),
        _degenerate(found),
        _remarks(folders["features"]),
    )


def _degenerate(found: Evaluation) -> Html:
    """Scenes that got a status in place of K, with the reason; statuses of all."""
    rows = [r for r in found.calib if r["method"] == "ours" and r["stage"] == "refined"]
    first = min((r["seed"] for r in rows), default=0)
    by_scene: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["seed"] == first:
            by_scene.setdefault(row["scene"], []).append(row)
    counts: Counter[tuple[str, str]] = Counter()
    listed = []
    for name, mine in sorted(by_scene.items()):
        got = metrics.of_scene(mine)
        scene = found.scenes[name]
        counts[scene.motion or "photographs", got.status] += 1
        if not got.good:
            reason = next(
                (r["reason"] for r in mine if not r["triplet"] and r["reason"]), next((r["reason"] for r in mine if r["reason"]), "")
            )
            listed.append([name, scene.motion or "photographs", got.status, reason])
    table = page.table(["scene", "motion", "status", "reason"], listed)
    summary = page.table(["motion", "status", "scenes"], [[m, s, c] for (m, s), c in sorted(counts.items())], "What was answered")
    return page.join(
        summary,
        page.details(f"The scenes ({len(listed)})", table, opened=len(listed) <= 20) if listed else page.paragraph("There is none."),
    )


def _remarks(features: Path) -> Html:
    path = features / "scenes.parquet"
    if not path.exists():
        return Html("")
    rows = [[r["scene"], r["status"], r["detail"]] for r in tables.read(path).to_pylist() if r["detail"] or r["status"] != "ok"]
    return page.details(f"Remarks on tracks ({len(rows)})", page.table(["scene", "status", "detail"], rows)) if rows else Html("")


def _cost(found: Evaluation, provenance: Mapping[str, Any]) -> Html:
    n = found.numbers
    rows: list[list[Cell]] = []
    for m in found.methods:
        value = n.get(m, "cpu_s", "all", _variant(n, m))
        if value is not None:
            each = next((v for s in ("minimal", "") if (v := n.get(m, "cpu_per_hypothesis", "all", s)) is not None), None)
            lost = next((v for s in ("minimal", "") if (v := n.get(m, "lost_paths", "all", s)) is not None), None)
            rows.append([figures.name(m), value, each, lost, n.either(m, "focal_error")])
    summary = found.summary
    exact = summary.get("exact", {})
    work: list[list[Cell]] = [
        [figures.name(m), len(r["found"]), statistics.fmean(map(float, r["found"])), statistics.fmean(r["lost"]), statistics.fmean(r["solves"]), statistics.fmean(r["cpu_s"])]
        for m, r in exact.items()
        if r["found"]
    ]  # fmt: skip
    note = (
        f"Evaluation took {summary['seconds']:.0f} s ({summary['cpu_seconds']:.0f} CPU seconds) on {summary['processes']} processes; the "
        f"largest resident memory of one was {summary['peak_rss_bytes'] / 1e6:.0f} MB."
    )
    return page.join(
        page.table(
            ["method", "CPU s a scene", "CPU s a hypothesis", "lost paths", "focal error"], rows, "Medians over the headline's scenes"
        ),
        page.table(
            ["solver", "instances", "true K found", "lost paths", "linear solves a path", "CPU s an instance"], work, "Without noise"
        )
        if work
        else "",
        page.paragraph(note),
        page.seconds_taken(provenance, "What this partition took to make"),
    )


def _variant(n: claims.Numbers, method: str, where: str = "all") -> str:
    """The stage that stands for a method: the one at which it is compared, if there is a number."""
    first = metrics.RIVALS.get(method, "refined")
    order = ("minimal", "") if first == "minimal" else ("", "minimal")
    return next((v for v in order if n.get(method, "focal_error", where, v) is not None), "")


def _title(slice: str) -> str:
    """`motion=general,noise=0.5` for people."""
    found = dict(part.split("=", 1) for part in slice.split(",") if "=" in part)
    if "scene" in found:
        return f"Photographs {found['scene']}"
    jitter = f", distance jittered by {100 * float(found['jitter']):g} %" if "jitter" in found else ""
    return f"{found.get('motion', slice).replace('_', ' ')}, {found.get('noise', '?')} px{jitter}"


def _has(cell: Cell) -> bool:
    value = cell[0] if isinstance(cell, tuple) else cell
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2g} %"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value

"""What must hold of this paper's tables, as plain data.

Rules as in `core.contract`. The function of a table's name adds the columns that rules over several rows, tables or files need.
"""

from collections import Counter, defaultdict
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tenfold.autocalibration.problems import FREE
from tenfold.core import tables
from tenfold.core.contract import SHA256, Rule, given, holds, metrics, present, rule, with_columns

_MOTIONS = ["", "general", "orbit", "jittered_orbit", "forward", "translation", "rotation", "planar_scene"]
STATUSES = [
    "ok", "degenerate_rotation", "degenerate_planar", "degenerate_translation", "degenerate_orbit", "too_few", "low_confidence",
    "no_solution", "failed",
]  # fmt: skip
# Relaxations, orbits and non-singular orbits of each problem, found by enumeration and by Burnside's lemma (section 2.3).
CATALOGUE = {
    "2V5P": (10, 1, 1),
    "2V6P-f": (455, 5, 4),
    "2V7P-fxfy": (54_264, 41, 26),
    "3V4P": (12, 1, 1),
    "3V4P-f": (1, 1, 1),
    "3V5P-fxfy": (4_845, 43, 37),
    "3V5P-square": (1_140, 12, 8),
    "3V5P-zeroskew": (190, 5, 3),
    "3V6P-full": (5_852_925, 4_989, None),
}
# Degrees that are known: a certified count is one of them, any other count is no larger.
DEGREE = {"2V5P": (20,), "2V6P-f": (30,), "3V4P": (320,), "3V4P-f": (667, 668)}
_KINDS = {"": "none", "f": "f", "fxfy": "fxfy", "square": "square", "zeroskew": "zero_skew", "full": "full"}


SAMPLES: list[Rule] = [
    rule("table_row_count_to_be_between", "there are views", min_value=2),
    *given("id", "split", "scene", "view", "camera", "width", "height"),
    rule("column_values_to_be_unique", "an id stands once", column="id"),
    rule("compound_columns_to_be_unique", "a view of a scene stands once", column_list=["scene", "view"]),
    rule("column_values_to_be_in_set", "there is one split", column="split", value_set=["all"]),
    rule("column_values_to_be_in_set", "the motion is known", column="motion", value_set=_MOTIONS),
    rule("column_values_to_be_between", "images have a sensible width (px)", column="width", min_value=64, max_value=20_000),
    rule("column_values_to_be_between", "images have a sensible height (px)", column="height", min_value=64, max_value=20_000),
    rule("column_values_to_match_regex", "the image's hash is a sha256", column="image_sha256", regex=SHA256),
    rule("column_values_to_match_regex", "the tracks' hash is a sha256", column="tracks_sha256", regex=SHA256),
    holds("focal_sensible", "a reference focal length is 0.1 to 10 image widths"),
    holds("one_camera", "all views of a scene have one camera and one size"),
    holds("enough_views", "a scene has two views or more"),
    holds("matchable", "a scene has tracks, or a photo for every view"),
    holds("three_views", "a scene has three views, which three of the solvers need", "warning"),
    holds("files_present", "every file is there, in its recorded size"),
]

TRACKS: list[Rule] = [
    rule("table_row_count_to_be_between", "there are observations", min_value=1),
    *given("scene", "track", "view", "x", "y"),
    rule("compound_columns_to_be_unique", "a track stands once in a view", column_list=["scene", "track", "view"]),
    rule("column_values_to_be_between", "x is finite (px)", column="x", min_value=-1e6, max_value=1e6),
    rule("column_values_to_be_between", "y is finite (px)", column="y", min_value=-1e6, max_value=1e6),
    holds("in_frame", "99 % of the observations lie in their frame", mostly=0.99),
    holds("seen_twice", "a track is seen by two views or more"),
    holds("view_known", "every observation belongs to a view of the table of samples"),
]

RELAXATIONS: list[Rule] = [
    rule("table_row_count_to_be_between", "there are relaxations", min_value=1),
    *given("problem", "orbit", "mask", "size", "singular"),
    rule("compound_columns_to_be_unique", "an orbit stands once", column_list=["problem", "orbit"]),
    rule("compound_columns_to_be_unique", "a mask stands once", column_list=["problem", "mask"]),
    rule("column_values_to_be_between", "an orbit has members", column="size", min_value=1),
    rule("column_values_to_be_between", "a singular value is finite and not negative", column="smin", min_value=0.0, max_value=1e30),
    holds("square", "as many equations are kept as there are unknowns"),
    holds("sizes_fit", "the orbits' sizes add up to the number of subsets"),
    holds("counts_fit", "orbits and non-singular orbits are as many as the catalogue says"),
]

DEGREES: list[Rule] = [
    rule("table_row_count_to_be_between", "there are start systems", min_value=1),
    *given("problem", "orbit", "seed", "solutions", "certified", "lost"),
    rule("compound_columns_to_be_unique", "a seed's run stands once", column_list=["problem", "orbit", "seed"]),
    rule("column_values_to_be_between", "a start system has solutions", column="solutions", min_value=1),
    rule("column_values_to_be_between", "lost paths are counted", column="lost", min_value=0),
    holds("degree_fits", "a certified number of solutions is the known one, any other no larger"),
    holds("sound", "stored solutions are finite, different, solve their equations (relative residual below 1e-8), and are as many as said"),
]

CALIB: list[Rule] = [
    rule("table_row_count_to_be_between", "there are calibrations", min_value=1),
    *given("scene", "triplet", "method", "seed", "stage", "kind", "status", "reason"),
    rule(
        "compound_columns_to_be_unique",
        "one row a scene, triplet, method, seed and stage",
        column_list=["scene", "triplet", "method", "seed", "stage"],
    ),
    rule("column_values_to_be_in_set", "the stage is known", column="stage", value_set=["minimal", "refined"]),
    rule("column_values_to_be_in_set", "what is unknown of K is known", column="kind", value_set=[*FREE, ""]),
    rule("column_values_to_be_in_set", "the status is known", column="status", value_set=STATUSES),
    rule("column_values_to_be_between", "times are not negative (s)", column="cpu_s", min_value=0.0),
    *(
        rule("column_values_to_be_between", f"{name} is over 0 and finite (px)", column=name, min_value=0.0, max_value=1e9, strict_min=True)
        for name in ("fx", "fy")
    ),
    rule(
        "column_values_to_not_be_null",
        "a calibration that is good has its focal length",
        column="fx",
        row_condition='status=="ok"',
        condition_parser="pandas",
    ),
    rule(
        "column_value_lengths_to_be_between",
        "a calibration that failed has its reason",
        column="reason",
        min_value=1,
        row_condition='status!="ok"',
        condition_parser="pandas",
    ),
]

METRICS: list[Rule] = metrics(
    rule(
        "column_values_to_be_between",
        "errors are not negative",
        column="value",
        min_value=0.0,
        row_condition='metric.str.endswith("_error")',
        condition_parser="pandas",
    ),
)


def samples(folder: Path, root: Path | None = None) -> pa.Table:
    """`samples.parquet` in `folder` with the boolean columns that `SAMPLES` asks for.

    `root` is where the photos' paths start from, `folder` where the tracks' do; without `root` `files_present` is null, which no
    rule counts as a breach.
    """
    table = tables.read(folder / "samples.parquet")
    rows = table.to_pylist()
    views = Counter(row["scene"] for row in rows)
    cameras = defaultdict(set)
    ways = defaultdict(set)
    for row in rows:
        cameras[row["scene"]].add((row["camera"], row["width"], row["height"]))
        ways[row["scene"]].add(row["tracks_path"] is not None or row["image_path"] is not None)
    columns: dict[str, list[bool] | list[bool | None]] = {
        "focal_sensible": [_sensible(row) for row in rows],
        "one_camera": [len(cameras[row["scene"]]) == 1 for row in rows],
        "enough_views": [views[row["scene"]] >= 2 for row in rows],
        "three_views": [views[row["scene"]] >= 3 for row in rows],
        "matchable": [ways[row["scene"]] == {True} for row in rows],
        "files_present": [None if root is None else present(row, root, ["image"]) and present(row, folder, ["tracks"]) for row in rows],
    }
    return with_columns(table, columns)


def tracks(folder: Path, samples_folder: Path) -> pa.Table:
    """`tracks.parquet` in `folder` with the boolean columns that `TRACKS` asks for; sizes come from `samples_folder`."""
    table = tables.read(folder / "tracks.parquet")
    known = tables.read(samples_folder / "samples.parquet").select(["scene", "view", "width", "height"]).to_pylist()
    sizes = {(row["scene"], row["view"]): (row["width"], row["height"]) for row in known}
    places = list(zip(table["scene"].to_pylist(), table["view"].to_pylist(), strict=True))
    size = np.array([sizes.get(place, (np.nan, np.nan)) for place in places], float).reshape(-1, 2)
    x, y = (table[name].to_numpy(zero_copy_only=False) for name in ("x", "y"))
    there = ~np.isnan(size[:, 0])
    with np.errstate(invalid="ignore"):
        inside = (x >= 0) & (x <= size[:, 0]) & (y >= 0) & (y <= size[:, 1])
    seen = Counter(zip(table["scene"].to_pylist(), table["track"].to_pylist(), strict=True))
    twice = [seen[scene, track] >= 2 for scene, track in zip(table["scene"].to_pylist(), table["track"].to_pylist(), strict=True)]
    return with_columns(table, {"in_frame": inside.tolist(), "seen_twice": twice, "view_known": there.tolist()})


def relaxations(folder: Path) -> pa.Table:
    """`relaxations.parquet` in `folder` with the boolean columns that `RELAXATIONS` asks for."""
    table = tables.read(folder / "relaxations.parquet")
    rows = table.to_pylist()
    sizes: Counter[str] = Counter()
    orbits: Counter[str] = Counter()
    regular: Counter[str] = Counter()
    for row in rows:
        sizes[row["problem"]] += row["size"]
        orbits[row["problem"]] += 1
        regular[row["problem"]] += not row["singular"]
    square, fit, counts = {}, {}, {}
    for problem in orbits:
        kept, equations = _size(problem)
        square[problem] = kept
        fit[problem] = sizes[problem] == comb(equations, kept)
        known = CATALOGUE.get(problem)
        counts[problem] = known is None or (orbits[problem] == known[1] and known[2] in (None, regular[problem]))
    columns = {
        "square": [row["mask"].bit_count() == square[row["problem"]] for row in rows],
        "sizes_fit": [fit[row["problem"]] for row in rows],
        "counts_fit": [counts[row["problem"]] for row in rows],
    }
    return with_columns(table, columns)


def degrees(folder: Path) -> pa.Table:
    """`degrees.parquet` in `folder` with the boolean columns that `DEGREES` asks for; every stored start system is read and verified."""
    table = tables.read(folder / "degrees.parquet")
    rows = table.to_pylist()
    served = {path.stem: _solutions(path) for path in sorted((folder / "predictor").glob("*.npz"))}
    sound = []
    for row in rows:
        count = _solutions(folder / "systems" / f"{row['problem']}.{row['orbit']}.{row['seed']}.npz")
        sound.append(count == row["solutions"] and served.get(row["problem"], 1) is not None)
    return with_columns(table, {"degree_fits": [_degree_fits(row) for row in rows], "sound": sound})


def _sensible(row: dict[str, Any]) -> bool:
    return row["ref_fx"] is None or 0.1 * row["width"] <= row["ref_fx"] <= 10 * row["width"]


def _size(problem: str) -> tuple[int, int]:
    """Unknowns, and equations to choose from, of a problem named like 3V5P-fxfy."""
    name, _, kind = problem.partition("-")
    views, points = (int(each) for each in name.rstrip("P").split("V"))
    free = len(FREE[_KINDS[kind]])
    return views * points - 1 + free, (views - 1) * comb(points, 2)


def _degree_fits(row: dict[str, Any]) -> bool:
    known = DEGREE.get(row["problem"])
    if known is None:
        return True
    return row["solutions"] in known if row["certified"] else row["solutions"] <= max(known)


def _solutions(path: Path) -> int | None:
    """How many solutions a start system has; None if it is missing or damaged."""
    from tenfold.autocalibration.start_system import StartSystem
    from tenfold.core.errors import Corrupt

    try:
        return StartSystem.load(path).degree
    except (Corrupt, OSError):
        return None

"""What must hold of this paper's tables, as plain data.

Rules as in `core.contract`. `samples` adds the columns that rules over several rows, or over files, need.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from tenfold.core import tables
from tenfold.core.contract import SHA256, Rule, given, holds, metrics, present, rule, with_columns

SAMPLES: list[Rule] = [
    rule("table_row_count_to_be_between", "there are parts", min_value=1),
    *given("id", "split", "label", "defect", "rgb_path", "rgb_sha256", "xyz_path", "xyz_sha256", "height", "width", "n_valid"),
    rule("column_values_to_be_unique", "an id stands once: stems are unique within split and defect", column="id"),
    rule("column_values_to_be_in_set", "the split is known", column="split", value_set=["train", "validation", "test"]),
    rule("column_distinct_values_to_contain_set", "there are parts to train on", column="split", value_set=["train"]),
    rule(
        "column_distinct_values_to_contain_set",
        "there are good parts held out for the threshold and parts to test on",
        "warning",
        column="split",
        value_set=["validation", "test"],
    ),
    rule("column_values_to_be_in_set", "a label is 0 (good) or 1 (defect)", column="label", value_set=[0, 1]),
    rule("column_values_to_match_regex", "the colour file's hash is a sha256", column="rgb_sha256", regex=SHA256),
    rule("column_values_to_match_regex", "the cloud's hash is a sha256", column="xyz_sha256", regex=SHA256),
    rule("column_values_to_be_between", "pictures have a sensible height (px)", column="height", min_value=16, max_value=32768),
    rule("column_values_to_be_between", "pictures have a sensible width (px)", column="width", min_value=16, max_value=32768),
    rule("column_values_to_be_between", "a scan has points", column="n_valid", min_value=128),
    rule("column_values_to_be_between", "coordinates are metres or millimetres", column="xyz_scale", min_value=0.001, max_value=1.0),
    holds("good_outside_test", "only good parts are trained and calibrated on"),
    holds("label_fits_folder", "a part is good exactly if it stands in `good`"),
    holds("same_stem", "colour, cloud and mask of a part carry the same name"),
    holds("not_in_train_and_test", "no file of the test parts is a file of the training parts"),
    holds("mask_for_defect", "every defect part of the test has a mask"),
    holds("files_present", "every file is there, in its recorded size"),
]

PREPARED: list[Rule] = [
    rule("table_row_count_to_be_between", "there are prepared parts", min_value=1),
    *given("id", "split", "label", "inlier_ratio", "kept_fraction", "n_valid", "median_z"),
    rule("column_values_to_be_unique", "an id stands once", column="id"),
    rule("column_values_to_be_between", "the share of plane points is a share", column="inlier_ratio", min_value=0.0, max_value=1.0),
    rule("column_values_to_be_between", "the kept share is a share", column="kept_fraction", min_value=0.0, max_value=1.0),
    rule("column_values_to_be_between", "an object is mostly one piece", "warning", column="kept_fraction", min_value=0.6, strict_min=True),
    rule("column_values_to_be_between", "enough points for any descriptor", column="n_valid", min_value=128),
    rule("column_values_to_be_between", "enough points for the paper's 1024 groups", "warning", column="n_valid", min_value=1024),
    rule(
        "column_values_to_be_between",
        "the part is 5 cm to 5 m away: coordinates are metres from the camera",
        "warning",
        column="median_z",
        min_value=0.05,
        max_value=5.0,
    ),
]

SCORES: list[Rule] = [
    rule("table_row_count_to_be_between", "there are scores", min_value=1),
    *given("id", "label", "method", "variant", "seed", "score"),
    rule(
        "compound_columns_to_be_unique",
        "one row a part, method, variant and seed",
        column_list=["id", "method", "variant", "seed"],
    ),
    rule("column_values_to_be_in_set", "a label is 0 (good) or 1 (defect)", column="label", value_set=[0, 1]),
    rule("column_values_to_be_between", "scores are finite and not negative", column="score", min_value=0.0, max_value=1e30),
]

METRICS: list[Rule] = metrics(
    rule(
        "column_values_to_be_between",
        "areas under curves lie in [0, 1]",
        column="value",
        min_value=0.0,
        max_value=1.0,
        row_condition='metric.str.contains("auroc|aupro") & ~metric.str.contains("margin")',
        condition_parser="pandas",
    ),
)


def samples(folder: Path, root: Path | None = None) -> pa.Table:
    """`samples.parquet` in `folder` with the boolean columns that `SAMPLES` asks for.

    `root` is where the paths start from; without it `files_present` is null, which no rule counts as a breach.
    """
    table = tables.read(folder / "samples.parquet")
    rows = table.to_pylist()
    shared = _shared(rows)
    columns = {
        "good_outside_test": [row["split"] == "test" or row["label"] == 0 for row in rows],
        "label_fits_folder": [(row["defect"] == "good") == (row["label"] == 0) for row in rows],
        "same_stem": [len({Path(row[f"{each}_path"]).stem for each in ("rgb", "xyz", "gt") if row[f"{each}_path"]}) == 1 for row in rows],
        "not_in_train_and_test": [index not in shared for index in range(len(rows))],
        "mask_for_defect": [row["label"] == 0 or row["gt_path"] is not None for row in rows],
        "files_present": [None if root is None else present(row, root, ("rgb", "xyz", "gt")) for row in rows],
    }
    return with_columns(table, columns)


def _shared(rows: list[dict[str, Any]]) -> set[int]:
    """Rows of train and test whose picture or cloud is also one of the other split of their unit."""
    splits: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    keys = [[(row["unit"], name, row[f"{name}_sha256"]) for name in ("rgb", "xyz")] for row in rows]
    for row, mine in zip(rows, keys, strict=True):
        for key in mine:
            splits[key].add(row["split"])
    return {index for index, mine in enumerate(keys) if any({"train", "test"} <= splits[key] for key in mine)}

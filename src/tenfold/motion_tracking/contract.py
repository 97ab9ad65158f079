"""What must hold of this paper's tables, as plain data (specification section 5).

The function of a table's name adds the columns that rules over several rows, tables or files need.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from tenfold.core import tables
from tenfold.core.contract import SHA256, Rule, given, holds, rule, with_columns
from tenfold.core.contract import metrics as common
from tenfold.motion_tracking import columns
from tenfold.motion_tracking.amass import GENDERS, MAX_RATE_HZ
from tenfold.motion_tracking.clips import SPLITS
from tenfold.motion_tracking.features import ABOUT
from tenfold.motion_tracking.samples import SENSIBLE_HEIGHT_M

SAMPLES: list[Rule] = [
    rule("table_row_count_to_be_between", "there are clips", min_value=3),
    *given("id", "split", "label", "subset", "subject", "group", "source", "gender", "fps", "frames", "clip_path", "clip_sha256"),
    rule("column_values_to_be_unique", "an id stands once", column="id"),
    rule("column_values_to_be_unique", "a file's content stands once", "warning", column="clip_sha256"),
    rule("column_values_to_be_in_set", "the split is known", column="split", value_set=list(SPLITS)),
    rule("column_distinct_values_to_contain_set", "every split has clips", column="split", value_set=list(SPLITS)),
    rule("column_values_to_be_in_set", "the source is generated or real", column="source", value_set=["generated", "real"]),
    rule("column_values_to_be_in_set", "the gender is known", column="gender", value_set=list(GENDERS)),
    rule(
        "column_values_to_be_between", "frame rates are over 0 and up to 1000 Hz", column="fps", min_value=0.0, max_value=MAX_RATE_HZ,
        strict_min=True,
    ),
    rule("column_values_to_be_between", "a clip has 10 frames or more at 60 Hz", column="frames", min_value=10),
    rule(
        "column_values_to_be_between", "heads are 0.8 to 2.6 m high; others sit, lie or have another floor", "warning", column="height_m",
        min_value=SENSIBLE_HEIGHT_M[0], max_value=SENSIBLE_HEIGHT_M[1],
    ),
    rule("column_values_to_be_between", "no joint is faster than 30 m/s", column="max_speed", min_value=0.0, max_value=30.0),
    rule("column_values_to_match_regex", "the clip's hash is a sha256", column="clip_sha256", regex=SHA256),
    rule("column_values_to_match_regex", "the poses' hash is a sha256", column="poses_sha256", regex=SHA256),
    rule("column_values_to_match_regex", "the body's hash is a sha256", column="body_sha256", regex=SHA256),
    holds("no_leak", "no motion of the test split trains, nor one of its group"),
    holds("subjects_apart", "split by subject: nobody both trains and tests"),
    holds("files_present", "every file is there, in its recorded size"),
]  # fmt: skip

FEATURES: list[Rule] = [
    rule("table_row_count_to_be_between", "there are clips", min_value=1),
    *given("clip_id"),
    rule("column_values_to_be_unique", "a clip stands once", column="clip_id"),
    holds("finite", "all rows are finite"),
    rule("column_values_to_be_between", "6D columns lie in [-1.001, 1.001]", column="six_most", min_value=0.0, max_value=1.001),
    rule("column_values_to_be_between", "both vectors of a 6D rotation have length 1", column="unit_error", min_value=0.0, max_value=1e-3),
    rule(
        "column_values_to_be_between", "both vectors of a 6D rotation are orthogonal", column="orthogonal_error", min_value=0.0,
        max_value=1e-3,
    ),
    rule("column_values_to_be_between", "accelerations are below 500 m/s^2", column="acceleration_most", min_value=0.0, max_value=500.0),
    rule("column_values_to_be_between", "nothing moves 0.5 m in a frame", column="velocity_most", min_value=0.0, max_value=0.5),
    rule("column_values_to_be_between", "the head is where the sensors say", column="head_error", min_value=0.0, max_value=1e-6),
    holds("rows_fit", "clips have the frames that the table of samples says, less one"),
]  # fmt: skip

SEQUENCES: list[Rule] = [
    rule("table_row_count_to_be_between", "there are clips", min_value=1),
    *given("clip_id", "method", "variant", "seed", "sensors", "noise"),
    rule(
        "column_values_to_not_be_null", "every clean answer has its mpjpe", column="mpjpe",
        row_condition='method != "truth" and noise == "clean"', condition_parser="pandas",
    ),
    rule(
        "compound_columns_to_be_unique", "one row a clip, method, variant, seed, sensor set and noise",
        column_list=["clip_id", "method", "variant", "seed", "sensors", "noise"],
    ),
    rule("column_values_to_be_in_set", "the sensor set is known", column="sensors", value_set=list(columns.MASKS)),
    rule("column_values_to_be_between", "joints are less than 10 m off", column="mpjpe", min_value=0.0, max_value=1000.0),
    rule("column_values_to_be_between", "an angle is at most 180 degrees", column="mpjre", min_value=0.0, max_value=180.0),
]  # fmt: skip

METRICS: list[Rule] = common(
    rule(
        "column_values_to_be_between",
        "errors are not negative",
        column="value",
        min_value=0.0,
        row_condition='metric.str.startswith("mpj")',
        condition_parser="pandas",
    )
)


def samples(folder: Path, root: Path | None = None) -> pa.Table:
    """`samples.parquet` in `folder` with the boolean columns that `SAMPLES` asks for.

    `root` is where the clips' paths start from; without it `files_present` is null, which no rule counts as a breach. `subjects_apart` is
    null unless the dataset is split by subject.
    """
    table = tables.read(folder / "samples.parquet")
    rows = table.to_pylist()
    about = folder / ABOUT
    apart = about.is_file() and json.loads(about.read_bytes())["read"]["split"] == "by_subject"
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        for column in ("poses_sha256", "group", "subject"):
            splits[column, row[column]].add(row["split"])

    def mixed(row: dict[str, Any], column: str) -> bool:
        found = splits[column, row[column]]
        return bool(row[column]) and "test" in found and len(found) > 1

    return with_columns(
        table,
        {
            "no_leak": [not (mixed(row, "poses_sha256") or mixed(row, "group")) for row in rows],
            "subjects_apart": [not mixed(row, "subject") if apart else None for row in rows],
            "files_present": [None if root is None else _present(row, root) for row in rows],
        },
    )


def features(folder: Path, samples_folder: Path) -> pa.Table:
    """`checks.parquet` in `folder`, a row a clip, with the boolean column that `FEATURES` asks for."""
    table = tables.read(folder / "checks.parquet")
    index = tables.read(folder / "index.parquet")
    lengths = dict(zip(index["clip_id"].to_pylist(), index["length"].to_pylist(), strict=True))
    known = tables.read(samples_folder / "samples.parquet")
    frames = dict(zip(known["id"].to_pylist(), known["frames"].to_pylist(), strict=True))
    return with_columns(table, {"rows_fit": [lengths.get(name) == frames.get(name, 0) - 1 for name in table["clip_id"].to_pylist()]})


def _present(row: dict[str, Any], root: Path) -> bool:
    path = root / row["clip_path"]
    return path.is_file() and path.stat().st_size == row["clip_bytes"]

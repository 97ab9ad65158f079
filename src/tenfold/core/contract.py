"""What must hold of a table, as plain data: the rules that papers share.

A rule names a Great Expectations expectation (without `expect_`) and its arguments, how grave a breach is, and what it means.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

Rule = dict[str, Any]

SHA256 = "^[0-9a-f]{64}$"


def rule(expect: str, says: str, severity: str = "critical", **arguments: Any) -> Rule:
    """One rule; `severity` is `critical` or `warning`."""
    return {"expect": expect, **arguments, "severity": severity, "says": says}


def given(*columns: str) -> list[Rule]:
    """No null in any of the columns."""
    return [rule("column_values_to_not_be_null", f"every row has its {name}", column=name) for name in columns]


def holds(column: str, says: str, severity: str = "critical", **arguments: Any) -> Rule:
    """A column of booleans is true; null is no breach."""
    return rule("column_values_to_be_in_set", says, severity, column=column, value_set=[True], **arguments)


def metrics(*own: Rule) -> list[Rule]:
    """The contract of `metrics.parquet` in all papers; `own` says what values this paper's metrics can have."""
    return [
        rule("table_row_count_to_be_between", "there are metrics", min_value=1),
        *given("paper", "dataset", "partition", "method", "variant", "seed", "slice", "metric", "n", "better", "timing"),
        rule(
            "compound_columns_to_be_unique",
            "a number stands once",
            column_list=["partition", "method", "variant", "seed", "slice", "metric"],
        ),
        rule("column_values_to_match_regex", "metric names are plain", column="metric", regex="^[a-z0-9_]+$"),
        rule("column_values_to_be_in_set", "the better direction is known", column="better", value_set=["up", "down", "none"]),
        rule("column_values_to_be_between", "a number rests on samples", column="n", min_value=0),
        rule("column_values_to_be_between", "values are finite", column="value", min_value=-1e30, max_value=1e30),
        *own,
        rule(
            "column_value_lengths_to_be_between",
            "a missing value has its reason",
            column="reason",
            min_value=1,
            row_condition="value.isnull()",
            condition_parser="pandas",
        ),
        rule("column_pair_values_a_to_be_greater_than_b", "an interval's ends are in order", column_A="hi", column_B="lo", or_equal=True),
    ]


def with_columns(table: pa.Table, columns: Mapping[str, Sequence[bool | None]]) -> pa.Table:
    """`table` and the boolean columns that `holds` asks for."""
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.bool_()))
    return table


def present(row: Mapping[str, Any], root: Path, modalities: Iterable[str]) -> bool:
    """Whether each file that a row names (`<modality>_path`, from `root`) is there, in its recorded size."""
    for name in modalities:
        path = row[f"{name}_path"]
        if path is not None and not ((root / path).is_file() and (root / path).stat().st_size == row[f"{name}_bytes"]):
            return False
    return True

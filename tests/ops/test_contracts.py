"""A contract on a small table, as people read it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tenfold.core.errors import UsageError
from tenfold.core.stage import Check
from tenfold.ops import contracts

TABLE = pa.table({"id": ["a", "b", "b"], "label": pa.array([0, 7, None], pa.int64())})
UNIQUE: dict[str, object] = {"expect": "column_values_to_be_unique", "column": "id", "severity": "critical", "says": "Ids are unique."}
LABEL: dict[str, object] = {
    "expect": "column_values_to_be_in_set",
    "column": "label",
    "value_set": [0, 1],
    "severity": "warning",
    "says": "A label is 0 or 1.",
}
ABSENT: dict[str, object] = {
    "expect": "column_values_to_not_be_null",
    "column": "size",
    "severity": "critical",
    "says": "Every row has a size.",
}


def rows(check: Check) -> list[list[object]]:
    return list(check.notes[0].value["rows"])


def test_failures_name_rule_column_count_and_rows() -> None:
    check = contracts.validate(TABLE, [UNIQUE, LABEL, ABSENT], "contract_samples")
    assert (check.name, check.passed, check.severity) == ("contract_samples", False, "error")
    assert rows(check) == [
        ["Ids are unique.", "id", False, 2, "b, b"],
        ["A label is 0 or 1.", "label", False, 1, "b"],
        ["Every row has a size.", "size", False, "", "the table has no column size"],
    ]
    assert "Ids are unique." in check.description
    assert Check.from_json(check.to_json()) == check


def test_only_a_critical_rule_blocks(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    check = contracts.validate(tmp_path / "t.parquet", [LABEL], "c")
    assert (check.passed, check.severity) == (False, "warn")


def test_a_table_that_keeps_its_contract_passes_and_an_empty_one_too() -> None:
    exists: dict[str, object] = {"expect": "column_to_exist", "column": "label", "severity": "critical", "says": "There is a label."}
    rules = [UNIQUE, LABEL, exists]
    for table in (TABLE.slice(0, 1), TABLE.slice(0, 0)):
        assert contracts.validate(table, rules, "c").passed


def test_values_stand_for_rows_where_there_is_no_id() -> None:
    rule = {"expect": "column_values_to_be_between", "column": "value", "min_value": 0, "severity": "critical", "says": "Not negative."}
    check = contracts.validate(pa.table({"value": [1.0, -2.5]}), [rule], "c")
    assert rows(check) == [["Not negative.", "value", False, 1, "-2.5"]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"expect": "column_values_to_be_uniqe"}, "did you mean 'column_values_to_be_unique'"),
        ({"column": 3, "colum": "id"}, "Ids are unique"),
        ({"severity": "fatal"}, "critical or warning"),
    ],
)
def test_a_mistake_in_a_contract_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        contracts.validate(TABLE, [{**UNIQUE, **change}], "c")

"""A contract on a small table, as people read it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

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


def test_ids_are_looked_up_by_row_wherever_nulls_and_conditions_leave_rows_out() -> None:
    table = pa.table({"id": ["a", "b", "c", "d"], "value": [None, -1.0, None, -2.0], "kind": ["x", "y", "x", "x"]})
    low = {"expect": "column_values_to_be_between", "column": "value", "min_value": 0, "severity": "critical", "says": "Not negative."}
    only = {**low, "row_condition": "kind == 'x'", "condition_parser": "pandas"}
    assert [row[3:] for row in rows(contracts.validate(table, [low, only], "c"))] == [[2, "b, d"], [1, "d"]]


def between(column: str, **more: object) -> dict[str, Any]:
    return {"expect": "column_values_to_be_between", "column": column, "min_value": 0, "max_value": 1, **more}


RULES: list[dict[str, Any]] = [
    {"expect": "table_row_count_to_be_between", "min_value": 3},
    {"expect": "column_to_exist", "column": "split"},
    {"expect": "column_values_to_be_unique", "column": "id"},
    {"expect": "column_values_to_not_be_null", "column": "label"},
    {"expect": "column_values_to_not_be_null", "column": "value"},
    {"expect": "column_values_to_be_in_set", "column": "label", "value_set": [0, 1]},
    {"expect": "column_values_to_be_in_set", "column": "flag", "value_set": [True]},
    {"expect": "column_distinct_values_to_contain_set", "column": "split", "value_set": ["train"]},
    {"expect": "column_values_to_match_regex", "column": "split", "regex": "^t"},
    {"expect": "column_value_lengths_to_be_between", "column": "split", "min_value": 4},
    {"expect": "compound_columns_to_be_unique", "column_list": ["split", "label"]},
    {"expect": "column_pair_values_a_to_be_greater_than_b", "column_A": "value", "column_B": "low", "or_equal": True},
    {"expect": "column_mean_to_be_between", "column": "value", "min_value": 0, "max_value": 1},
    {"expect": "column_values_to_not_be_null", "column": "absent"},
    between("value"),
    between("value", mostly=0.5),
    between("value", row_condition="split.str.contains('tr')", condition_parser="pandas"),
    between("low", row_condition="value.isnull()", condition_parser="pandas"),
]
NUMBER = st.none() | st.sampled_from([0.0, 1.0, -1.0, float("nan"), float("inf")])
ROW = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "c", "d", "e", "f"]),
        "label": st.none() | st.integers(0, 2),
        "split": st.none() | st.sampled_from(["train", "test", "trian", ""]),
        "flag": st.none() | st.booleans(),
        "value": NUMBER,
        "low": NUMBER,
    }
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("split", pa.string()),
        ("flag", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
    ]
)


@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, max_size=12))
def test_it_judges_as_great_expectations_does_without_our_short_cuts(drawn: list[dict[str, Any]]) -> None:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    table = pa.Table.from_pylist(drawn, SCHEMA)
    contract = [{**rule, "severity": "critical", "says": f"rule {number}"} for number, rule in enumerate(RULES)]
    suite = gx.ExpectationSuite(name="plain")
    for number, rule in enumerate(RULES):
        name = "Expect" + "".join(part.capitalize() for part in rule["expect"].split("_"))
        kind = getattr(gxe, name)
        suite.add_expectation(kind(**{key: value for key, value in rule.items() if key != "expect"}, meta={"number": number}))
    asset = gx.get_context(mode="ephemeral").data_sources.add_pandas("plain").add_dataframe_asset("plain")
    batch = asset.add_batch_definition_whole_dataframe("plain").get_batch({"dataframe": table.to_pandas()})
    judged = batch.validate(suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}).results
    expected = {}
    for result in judged:
        found = result.result or {}
        ids = [row["id"] for row in found.get("unexpected_index_list") or []][:5]
        expected[result.expectation_config.meta["number"]] = (result.success, found.get("unexpected_count"), ", ".join(ids))
    for number, (_, _, passed, unexpected, examples) in enumerate(rows(contracts.validate(table, contract, "c"))):
        success, count, ids = expected[number]
        assert passed == success, RULES[number]
        assert count is None or unexpected == count, RULES[number]
        assert not ids or examples == ids, RULES[number]

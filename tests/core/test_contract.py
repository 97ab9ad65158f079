from pathlib import Path

import pyarrow as pa
import pytest

from tenfold.core import contract
from tenfold.core.metrics import Row, Subject, to_table
from tenfold.ops import contracts

IDENTITY = {"paper": "zoo", "dataset": "demo", "partition": "demo"}
OWN = contract.rule("column_values_to_be_between", "shares lie in [0, 1]", column="value", min_value=0.0, max_value=1.0)


def table(*rows: Row) -> pa.Table:
    return to_table(rows)


def test_the_metrics_of_any_paper() -> None:
    good = [
        Subject(IDENTITY, "ours").row("share", 0.5, 3, "up", lo=0.4, hi=0.6),
        Subject(IDENTITY, "ours").row("lost", None, 3, "down", reason="none"),
    ]
    assert contracts.validate(table(*good), contract.metrics(OWN), "contract_metrics").passed
    assert not contracts.validate(table(), contract.metrics(OWN), "contract_metrics").passed


@pytest.mark.parametrize(("value", "passes"), [(0.5, True), (1.5, False), (1e31, False)])
def test_the_papers_own_rule_is_held(value: float, passes: bool) -> None:
    rows = table(Subject(IDENTITY, "ours").row("share", value, 3, "up"))
    assert contracts.validate(rows, contract.metrics(OWN), "contract_metrics").passed is passes
    assert contracts.validate(rows, contract.metrics(), "contract_metrics").passed is (value < 1e30)


def test_a_missing_value_needs_its_reason() -> None:
    rows = table(Subject(IDENTITY, "ours").row("share", None, 3, "up", reason="none"))
    bare = rows.set_column(rows.schema.get_field_index("reason"), "reason", pa.array([""]))
    assert not contracts.validate(bare, contract.metrics(), "contract_metrics").passed


def test_booleans_must_hold_and_null_is_no_breach() -> None:
    rules = [contract.holds("there", "every file is there")]
    for values, passes in (([True, None], True), ([True, False], False)):
        found = contract.with_columns(pa.table({"id": ["a", "b"]}), {"there": values})
        assert contracts.validate(found, rules, "contract_samples").passed is passes


def test_files_are_there_in_their_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1234")
    row = {"photo_path": "a.png", "photo_bytes": 4, "mask_path": None, "mask_bytes": None}
    assert contract.present(row, tmp_path, ("photo", "mask"))
    assert not contract.present(row | {"photo_bytes": 5}, tmp_path, ("photo",))
    assert not contract.present(row | {"mask_path": "gone.png"}, tmp_path, ("photo", "mask"))

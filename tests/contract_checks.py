"""A contract judged by Great Expectations, for the tests of every paper's tables."""

from typing import Any

import pyarrow as pa

from tenfold.core.stage import Check
from tenfold.ops.contracts import validate

Rows = list[dict[str, Any]]


def check(table: pa.Table, rules: Rows, says: str | None) -> Check:
    """All rules where none may break, else the one that shall: Great Expectations takes its time for each."""
    return validate(table, rules if says is None else [rule for rule in rules if says in rule["says"]], "table")


def breach(check: Check, says: str | None, severity: str = "error") -> None:
    assert check.passed == (says is None), check.description
    if says:
        assert says in check.description and check.severity == severity

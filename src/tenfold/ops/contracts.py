"""Great Expectations on one table, from plain data, with a result that reads well in the Dagster UI."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core.errors import UsageError
from tenfold.core.params import did_you_mean
from tenfold.core.stage import Check, Note

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ["says", "column", "passed", "unexpected", "examples"]
_EXAMPLES = 5
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "column_set")
_OWN = ("expect", "severity", "says")


def validate(table: "pa.Table | Path", expectations: Sequence[Mapping[str, Any]], name: str) -> Check:
    """Check `table` (or the Parquet file at that path) against a contract; `name` names the check.

    An expectation is {"expect": "column_values_to_be_unique", "column": "id", ..., "severity": "critical"|"warning", "says":
    "what a reader should understand"}: Great Expectations' name without `expect_`, its arguments, and two words of ours.
    The check fails if any of them does, with severity `error` if a critical one does. Raises UsageError for a name or an
    argument that Great Expectations does not know.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    from tenfold.ops import frames

    if isinstance(table, Path):
        import pyarrow.parquet as pq

        table = pq.read_table(table)
    suite = gx.ExpectationSuite(name=name, expectations=[_expectation(entry, number) for number, entry in enumerate(expectations)])
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas(frames.source(name))
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe(name)
        .get_batch({"dataframe": table.to_pandas(ignore_metadata=True)})
    )
    # row numbers, not ids: Great Expectations would look up the id of every row that breaks a rule, to show five
    detail = {"result_format": "SUMMARY", "partial_unexpected_count": _EXAMPLES, "return_unexpected_index_query": False}
    results = batch.validate(suite, result_format=detail).results
    # results come in an order of their own
    ordered = sorted(results, key=lambda result: int(result.expectation_config.meta["number"]))
    rows = [_row(entry, result, table) for entry, result in zip(expectations, ordered, strict=True)]
    failed = [entry for entry, result in zip(expectations, ordered, strict=True) if not result.success]
    critical = any(entry["severity"] == "critical" for entry in failed)
    said = "; ".join(str(entry["says"]) for entry in failed)
    return Check(
        name=name,
        passed=not failed,
        severity="error" if critical else "warn",
        description=f"Does not hold: {said}" if failed else f"All {len(rows)} rules hold on {table.num_rows} rows.",
        notes=[Note("rules", "table", {"columns": COLUMNS, "rows": rows}), Note("rows", "int", table.num_rows)],
    )


def _expectation(entry: Mapping[str, Any], number: int) -> Any:
    """The expectation as an object; it carries its place in the contract."""
    import great_expectations.expectations as gxe
    from pydantic.v1 import ValidationError

    known = [word for word in dir(gxe) if word.startswith("Expect") and word != "Expectation"]
    name = "Expect" + "".join(part.capitalize() for part in str(entry["expect"]).split("_"))
    if name not in known:
        raise UsageError(f"A contract expects '{entry['expect']}'" + did_you_mean(str(entry["expect"]), map(_snake, known)))
    if entry["severity"] not in ("critical", "warning"):
        raise UsageError(f"The severity of '{entry['says']}' is '{entry['severity']}'; it must be critical or warning.")
    arguments = {key: value for key, value in entry.items() if key not in _OWN}
    try:
        return getattr(gxe, name)(**arguments, severity=entry["severity"], meta={"number": number})
    except (ValidationError, TypeError) as error:
        raise UsageError(f"The rule '{entry['says']}' ({entry['expect']}): {error}") from error


def _snake(name: str) -> str:
    """ExpectColumnToExist as column_to_exist."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name.removeprefix("Expect")).removeprefix("_")


def _row(entry: Mapping[str, Any], result: Any, table: "pa.Table") -> list[Any]:
    """One line of the table that people read."""
    columns = [name for key in _COLUMN_ARGUMENTS if key in entry for name in ([entry[key]] if isinstance(entry[key], str) else entry[key])]
    absent = [name for name in columns if name not in table.column_names]
    found = result.result or {}
    message = "" if result.success else f"the table has no column {', '.join(absent)}" if absent else _raised(result.exception_info)
    unexpected = found.get("unexpected_count")
    if unexpected is None:
        unexpected = "" if result.success or message else str(found.get("observed_value", ""))
    return [entry["says"], ", ".join(columns), bool(result.success), unexpected, message or ", ".join(_examples(found, table))]


def _examples(found: Mapping[str, Any], table: "pa.Table") -> list[str]:
    """Ids of rows that break the rule; where a table has no ids, the values that do."""
    rows = found.get("partial_unexpected_index_list") or []
    shown = table["id"].take(rows).to_pylist() if rows and "id" in table.column_names else found.get("partial_unexpected_list") or []
    return [str(value) for value in shown[:_EXAMPLES]]


def _raised(info: Mapping[str, Any] | None) -> str:
    """Why a rule could not be tried, e.g. a column that is not there; flat or keyed by metric."""
    if not info:
        return ""
    messages = [info] if "exception_message" in info else [item for item in info.values() if isinstance(item, Mapping)]
    return next((str(m["exception_message"]).strip().splitlines()[0] for m in messages if m.get("exception_message")), "")

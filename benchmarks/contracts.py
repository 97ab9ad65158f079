"""A contract on a million rows, judged by Great Expectations, against the same checks in pyarrow.

    python benchmarks/contracts.py [--rows 1000000] [--repeats 5]

Six rules on a table of samples by `ops.contracts.validate`, and by hand: both count the rows that break each rule, and must agree. Three
tables: one that keeps its contract, one with a tenth of nulls, one in which a tenth of the rows breaks every rule. CPU seconds, in turn;
loading Great Expectations is paid once a process, whatever the table, and shown apart. Prints one JSON object. Exit code 1 if a contract
takes more than twice pyarrow's time on any of the tables, or counts otherwise.
"""

import argparse
import json
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _turns import turns

from tenfold.ops import contracts

TARGET = 2.0
SPLITS = ["train", "validation", "test"]
SHA256 = "^[0-9a-f]{64}$"
RULES = [
    {"expect": "column_values_to_be_unique", "column": "id", "severity": "critical", "says": "ids are unique"},
    {"expect": "column_values_to_not_be_null", "column": "label", "severity": "critical", "says": "every part has a label"},
    {"expect": "column_values_to_be_in_set", "column": "split", "value_set": SPLITS, "severity": "critical", "says": "splits"},
    {"expect": "column_values_to_be_between", "column": "height", "min_value": 1, "max_value": 4000, "severity": "warning", "says": "heights"},
    {"expect": "column_values_to_match_regex", "column": "sha256", "regex": SHA256, "severity": "critical", "says": "hashes"},
    {"expect": "compound_columns_to_be_unique", "column_list": ["split", "sha256"], "severity": "critical", "says": "no file stands twice"},
]  # fmt: skip


def table_of(rows: int, null: float = 0.0, broken: float = 0.0) -> pa.Table:
    """Samples; a share of them lacks every value but its id, a share breaks every rule."""
    numbers = np.arange(rows)
    draw = np.random.default_rng(0).permutation(rows)
    bad, empty = draw < broken * rows, draw >= rows - null * rows
    hashes = np.char.add("f" * 57, np.char.zfill(numbers.astype(str), 7))
    return pa.table(
        {
            "id": np.where(bad, "twice", np.char.add("unit/train/good/", np.char.zfill(numbers.astype(str), 7))),
            "label": pa.array(numbers % 2, mask=empty | bad),
            "split": pa.array(np.where(bad, "trian", np.array(SPLITS)[numbers % 3]), mask=empty),
            "height": pa.array(np.where(bad, -1, 100 + numbers % 500), mask=empty),
            "sha256": pa.array(np.where(bad, "none", hashes), mask=empty),
        }
    )


def by_arrow(table: pa.Table) -> list[int]:
    """Rows that break each rule. A null breaks the second rule only."""

    def false(holds: pa.ChunkedArray) -> int:
        return int(pc.sum(pc.invert(holds)).as_py() or 0)

    def repeated(counts: pa.Array) -> int:
        return int(pc.sum(pc.filter(counts, pc.greater(counts, 1))).as_py() or 0)

    height = table["height"]
    pair = table.select(["split", "sha256"])
    given = pair.filter(pc.or_(pc.is_valid(pair["split"]), pc.is_valid(pair["sha256"])))
    return [
        repeated(pc.struct_field(pc.value_counts(table["id"]), "counts")),
        table["label"].null_count,
        false(pc.if_else(pc.is_null(table["split"]), None, pc.is_in(table["split"], pa.array(SPLITS)))),
        false(pc.and_(pc.greater_equal(height, 1), pc.less_equal(height, 4000))),
        false(pc.match_substring_regex(table["sha256"], SHA256)),
        repeated(given.group_by(["split", "sha256"]).aggregate([([], "count_all")])["count_all"].combine_chunks()),
    ]


def by_contract(table: pa.Table) -> list[int]:
    """The same counts out of the contract's table of rules."""
    return [row[3] for row in contracts.validate(table, RULES, "rules").notes[0].value["rows"]]


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    started = time.process_time()
    contracts.validate(table_of(3), RULES, "rules")
    result: dict[str, object] = {"rows": args.rows, "rules": len(RULES), "first_contract_s": round(time.process_time() - started, 3)}
    met = {}
    for name, kind in (("kept", {}), ("nulls", {"null": 0.1}), ("broken", {"broken": 0.1})):
        table = table_of(args.rows, **kind)
        met[f"{name}: same counts"] = by_contract(table) == by_arrow(table)
        seconds = turns({"contract": lambda t=table: by_contract(t), "pyarrow": lambda t=table: by_arrow(t)}, args.repeats)
        ratio = seconds["contract"] / seconds["pyarrow"]
        met[f"{name}: at most twice pyarrow"] = ratio <= TARGET
        result[name] = {side: round(value, 3) for side, value in (*seconds.items(), ("ratio", ratio))}
    print(json.dumps({**result, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Reading shards against the page cache itself, and a contract on a large table against the same rules in pyarrow.

    python benchmarks/shards.py [--megabytes 256] [--rows 200000]

Read: items of the size of a part's cached features. Ours: every array of every item by `ShardReader.get`, after the shards' sha256 was checked
once. Raw: the same number of bytes, read from the same files in as large pieces into as many fresh arrays. CPU seconds, in turn.
Contract: five rules on a table of samples by `ops.contracts.validate`, and by pyarrow alone; its import is not counted. For information.
Prints one JSON object. Exit code 1 if reading is below 0.8 of raw.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from _turns import turns

from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.ops import contracts

SHAPES: dict[str, tuple[tuple[int, ...], type]] = {
    "tokens2d": ((28, 28, 768), np.float16),
    "tokens3d": ((1024, 1152), np.float16),
    "nn_idx": ((16000, 3), np.uint16),
    "nn_w": ((16000, 3), np.float16),
    "valid": ((224, 28), np.uint8),
}
RULES = [
    {"expect": "column_values_to_be_unique", "column": "id", "severity": "critical", "says": "ids are unique"},
    {"expect": "column_values_to_not_be_null", "column": "label", "severity": "critical", "says": "every part has a label"},
    {"expect": "column_values_to_be_in_set", "column": "split", "value_set": ["train", "validation", "test"], "severity": "critical", "says": "splits"},
    {"expect": "column_values_to_be_between", "column": "height", "min_value": 1, "max_value": 4000, "severity": "warning", "says": "heights"},
    {"expect": "column_values_to_match_regex", "column": "sha256", "regex": "^[0-9a-f]{64}$", "severity": "critical", "says": "hashes"},
]  # fmt: skip


def reading(folder: Path, megabytes: int, repeats: int) -> dict[str, float]:
    """GB/s of both."""
    rng = np.random.default_rng(0)
    item = {name: rng.integers(0, 255, shape).astype(kind) for name, (shape, kind) in SHAPES.items()}
    size = sum(array.nbytes for array in item.values())
    with ShardWriter(folder) as writer:
        for number in range(max(megabytes * 10**6 // size, 1)):
            writer.add(f"part/{number:05d}", item)
    reader = ShardReader(folder)
    files = sorted(folder.glob("*.safetensors"))
    pieces = [array.nbytes for array in item.values()]

    def ours() -> None:
        for id in reader.ids:
            reader.get(id)

    def raw() -> None:
        for path in files:
            with path.open("rb", buffering=0) as stream:
                left = path.stat().st_size
                while left:
                    arrays = [np.empty(piece, np.uint8) for piece in pieces]
                    for array in arrays:
                        left -= os.readv(stream.fileno(), [array.data])

    first = time.process_time()
    ours()
    first = time.process_time() - first
    seconds = turns({"ours": ours, "raw": raw}, repeats)
    gigabytes = size * len(reader) / 1e9
    return {
        "gigabytes": gigabytes,
        "ours_gb_s": gigabytes / seconds["ours"],
        "raw_gb_s": gigabytes / seconds["raw"],
        "share": seconds["raw"] / seconds["ours"],
        "with_sha256_gb_s": gigabytes / first,
    }


def by_arrow(table: pa.Table) -> bool:
    """The five rules by hand."""
    return bool(
        pc.count_distinct(table["id"]).as_py() == table.num_rows
        and table["label"].null_count == 0
        and pc.all(pc.is_in(table["split"], pa.array(RULES[2]["value_set"]))).as_py()
        and pc.all(pc.and_(pc.greater_equal(table["height"], 1), pc.less_equal(table["height"], 4000))).as_py()
        and pc.all(pc.match_substring_regex(table["sha256"], str(RULES[4]["regex"]))).as_py()
    )


def contract(rows: int) -> dict[str, float]:
    """Both on the same table, which keeps its contract."""
    numbers = np.arange(rows)
    table = pa.table(
        {
            "id": [f"unit/train/good/{number:07d}" for number in numbers],
            "label": numbers % 2,
            "split": np.array(["train", "validation", "test"])[numbers % 3],
            "height": 100 + numbers % 500,
            "sha256": [f"{number:064x}" for number in numbers],
        }
    )
    assert by_arrow(table) and contracts.validate(table, RULES, "rules").passed
    seconds = turns({"contract": lambda: contracts.validate(table, RULES, "rules"), "pyarrow": lambda: by_arrow(table)}, 3)
    return {
        "rows": rows,
        "contract_s": seconds["contract"],
        "pyarrow_s": seconds["pyarrow"],
        "ratio": seconds["contract"] / seconds["pyarrow"],
    }


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        read = reading(Path(folder), args.megabytes, args.repeats)
    ruled = contract(args.rows)
    met = {"at least 0.8 of raw": read["share"] >= 0.8}
    rounded = {name: {key: round(value, 3) for key, value in found.items()} for name, found in (("read", read), ("contract", ruled))}
    print(json.dumps({**rounded, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

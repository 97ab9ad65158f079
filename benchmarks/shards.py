"""Reading shards against the page cache itself.

    python benchmarks/shards.py [--megabytes 256]

Items of the size of a part's cached features. Ours: every array of every item by `ShardReader.get`, after the shards' sha256 was checked
once. Raw: the same number of bytes, read from the same files in as large pieces into as many fresh arrays. CPU seconds, in turn. Prints one
JSON object. Exit code 1 if reading is below 0.8 of raw.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _turns import turns

from tenfold.core.shards import ShardReader, ShardWriter

SHAPES: dict[str, tuple[tuple[int, ...], type]] = {
    "tokens2d": ((28, 28, 768), np.float16),
    "tokens3d": ((1024, 1152), np.float16),
    "nn_idx": ((16000, 3), np.uint16),
    "nn_w": ((16000, 3), np.float16),
    "valid": ((224, 28), np.uint8),
}


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


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        read = reading(Path(folder), args.megabytes, args.repeats)
    met = {"at least 0.8 of raw": read["share"] >= 0.8}
    print(json.dumps({"read": {key: round(value, 3) for key, value in read.items()}, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to bring a dataset in the official layout in: DVC's md5 of every file, our sha256 of every file, the tables.

    python benchmarks/dvc_ingest.py [--megabytes 1500]

Both read the source where it lies; nothing of it is copied. CPU seconds (child processes included) of `ops.dvc.reproduce` on a folder of scans
of 800 x 800 px, less those on a folder of a few, which is what starting DVC and Python costs, against one md5 pass and one sha256 pass over the
same bytes in this process. Twice: with a stage that only hashes (what the platform adds for every paper), and with the stage of
crossmodal_anomaly, which also decodes every picture and looks at every point. The files are in the page cache. Prints one JSON object. Exit
code 1 if the first ratio is above 1.3, or if an unchanged dataset is hashed again.
"""

import argparse
import hashlib
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from PIL import Image

from tenfold.ops import dvc
from tenfold.ops.quiet import quiet

CHECKOUT = Path(__file__).resolve().parent.parent
PAPER = "crossmodal_anomaly"
SIDE, FEW = 800, 3

# Reads each file once, writes one row a file: the least that an ingest of ours does.
HASHES = """
import hashlib, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pyarrow as pa
from tenfold.core import atomic, tables

def row(path):
    content = path.read_bytes()
    return {"id": str(path), "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

source, name = sys.argv[1:]
with atomic.new_folder(Path("data") / name) as folder, ThreadPoolExecutor(2) as pool:
    rows = list(pool.map(row, sorted(path for path in Path(source).rglob("*.*"))))
    tables.write(pa.Table.from_pylist(rows), folder / "samples.parquet")
"""
STAGES = {
    "hashed": {
        "foreach": "${crossmodal_anomaly.datasets}",
        "do": {"cmd": "python hashes.py ${item.source} ${key}", "deps": ["${item.source}"], "outs": ["data/${key}"]},
    },
    "judged": {
        "foreach": "${crossmodal_anomaly.datasets}",
        "do": {
            "cmd": f"python -m tenfold.{PAPER}.data ${{key}}",
            "deps": ["${item.source}"],
            "outs": [f"data/{PAPER}/${{key}}"],
        },
    },
}


def scans(folder: Path, parts: int) -> int:
    """Good parts as the official ones are: PNG and uncompressed float32 TIFF. Returns their bytes."""
    rng = np.random.default_rng(0)
    colour = np.repeat(np.repeat(rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8), 4, axis=0), 4, axis=1)
    cloud = rng.uniform(0.2, 0.4, (SIDE, SIDE, 3)).astype(np.float32)
    here = folder / "part" / "train" / "good"
    for name in ("rgb", "xyz"):
        (here / name).mkdir(parents=True)
    for number in range(parts):
        colour[0, 0], cloud[0, 0] = number % 256, 0.2 + number * 1e-6
        Image.fromarray(colour).save(here / "rgb" / f"{number:03d}.png", compress_level=1)
        tifffile.imwrite(here / "xyz" / f"{number:03d}.tiff", cloud, photometric="rgb")
    return sum(path.stat().st_size for path in folder.rglob("*.*"))


def root(folder: Path, sources: dict[str, Path]) -> Path:
    """A repository whose datasets are these folders."""
    values = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    datasets = {
        name: {"source": str(source), "layout": "mvtec_3d_ad", "units": ["part"], "recipe": "demo"} for name, source in sources.items()
    }
    values[PAPER]["datasets"] = datasets
    (folder / ".dvc").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (folder / "hashes.py").write_text(HASHES)
    return folder


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process and of the children it waited for."""

    def used() -> float:
        return sum(each.ru_utime + each.ru_stime for each in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    start = used()
    work()
    return used() - start


def hash_all(folder: Path, kind: str) -> None:
    """One pass."""
    for path in sorted(folder.rglob("*.*")):
        with path.open("rb") as stream:
            hashlib.file_digest(stream, kind)


def main() -> int:
    """Make the data, time, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1500)
    args = parser.parse_args()
    quiet()
    folder = Path(tempfile.mkdtemp(prefix="tenfold-ingest-"))
    try:
        one = scans(folder / "one", 1)
        sources = {"few": folder / "few", "many": folder / "many"}
        size = {"few": scans(sources["few"], FEW), "many": scans(sources["many"], max(1, args.megabytes * 1_000_000 // one))}
        here = root(folder / "root", sources)
        result: dict[str, Any] = {"gigabytes": round(size["many"] / 1e9, 3), "files": len(list(sources["many"].rglob("*.*")))}
        started = time.perf_counter()
        floor = {kind: seconds(lambda kind=kind: hash_all(sources["many"], kind)) for kind in ("md5", "sha256")}
        share = 1 - size["few"] / size["many"]
        result |= {f"{kind}_s": round(value, 2) for kind, value in floor.items()}
        ratios = {}
        for stage in STAGES:
            took = {
                name: seconds(lambda stage=stage, name=name: dvc.reproduce(f"{stage}@{name}", here, lambda line: None)) for name in sources
            }
            ratios[stage] = (took["many"] - took["few"]) / (sum(floor.values()) * share)
            again = seconds(lambda stage=stage: dvc.reproduce(f"{stage}@many", here, lambda line: None))
            result[stage] = {
                "start_s": round(took["few"], 2),
                "all_s": round(took["many"], 2),
                "ratio": round(ratios[stage], 3),
                "unchanged_s": round(again, 2),
            }
        result["wall_s"] = round(time.perf_counter() - started, 1)
        met = {
            "hashing at most 1.3x one md5 and one sha256 pass": ratios["hashed"] <= 1.3,
            "unchanged: nothing is hashed": again <= floor["md5"],
        }
        print(json.dumps({**result, "met": met}, indent=2))
        return 0 if all(met.values()) else 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())

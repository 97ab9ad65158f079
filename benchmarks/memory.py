"""Peak memory of features and evaluation when the number of parts grows tenfold.

    python benchmarks/memory.py [--parts 12] [--times 10]

Synthetic parts on the small recipe of the tests (112 px), with its real extractors; 8 training parts, a network and baselines, the same in both
sizes; `parts` test parts, and ten times as many. Each stage runs in a process of its own, whose peak resident memory the system reports.
Features hold one shard, whatever the number of parts. Evaluation holds one method's maps (float32) and the packed masks of all test parts, so
a part more may cost a few maps, no more. Prints one JSON object. Exit code 1 if features grow by more than 32 MB, or evaluation by more
than 16 bytes a pixel of each part more (and 32 MB).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAPER = "crossmodal_anomaly"
SIZE = 112
SLACK_MB = 32.0
BYTES_A_PIXEL = 16
TRAIN, VALIDATION = 8, 4
KINDS = ("good", "dent", "stain", "mismatch")


def blocks() -> dict[str, Any]:
    """The small recipe, typed; one network without variants."""
    import yaml

    from tenfold.core import params
    from tenfold.crossmodal_anomaly import config

    recipe = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())[PAPER]["recipes"]["demo"]
    few: dict[str, dict[str, Any]] = {"model": {"seeds": [0], "variants": [], "epochs": 1}, "baselines": {"shots": []}}
    kinds = {"prepared": config.Prepared, "features": config.Features, "model": config.Model, "baselines": config.Baselines}
    kinds |= {"evaluation": config.Evaluation}
    return {name: params.resolve(kind, recipe[name], few.get(name, {}), name) for name, kind in kinds.items()}


def prepared(folder: Path, tests: int) -> None:
    """Discs with a smooth relief, in the format of the asset `prepared`."""
    import numpy as np
    import pyarrow as pa

    from tenfold.core import tables
    from tenfold.core.shards import ShardWriter

    yy, xx = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE - 0.5
    valid = np.hypot(yy, xx) < 0.4
    parts = [("train", "good", i) for i in range(TRAIN)] + [("validation", "good", i) for i in range(VALIDATION)]
    parts += [("test", KINDS[i % len(KINDS)], i) for i in range(tests)]
    rows = []
    with ShardWriter(folder / "parts") as writer:
        for number, (split, defect, index) in enumerate(parts):
            rng = np.random.default_rng(number)
            a, b, c = rng.uniform(0, 6, 3)
            z = 0.5 + 0.004 * np.sin(20 * xx + a) * np.cos(17 * yy + b)
            xyz = np.where(valid[..., None], np.stack([xx * 0.1, yy * 0.1, z], -1), 0).astype(np.float32)
            rgb = np.where(valid[..., None], 128 + 90 * np.sin(9 * np.stack([xx, yy, xx + yy], -1) + c), 0).astype(np.uint8)
            gt = (np.hypot(yy - 0.1, xx) < 0.05) & (defect != "good")
            id = f"disc/{split}/{defect}/{index:05d}"
            writer.add(id, {"xyz": xyz, "rgb": rgb, "gt": gt.astype(np.uint8), "valid": valid.astype(np.uint8)})
            row = {"id": id, "unit": "disc", "split": split, "defect": defect, "label": int(defect != "good"), "n_valid": int(valid.sum())}
            rows.append(
                row | {"inlier_ratio": 0.9, "plane_found": True, "kept_fraction": 1.0, "n_clusters": 1, "median_z": 0.5, "warnings": ""}
            )
    tables.write(pa.Table.from_pylist(rows), folder / "prep.parquet")


def stage(name: str, root: Path, tests: int) -> None:
    """One stage in this process."""
    from tenfold.core.journal import NullJournal
    from tenfold.core.progress import Progress

    block, out = blocks(), root / name
    out.mkdir()
    if name == "prepared":
        prepared(out, tests)
    elif name == "features":
        from tenfold.crossmodal_anomaly import features

        features.run(root / "prepared", block[name], root, out, Progress())
    elif name == "model":
        from tenfold.crossmodal_anomaly import train
        from tenfold.crossmodal_anomaly.predictor_folder import Serving

        serving = Serving(block["prepared"], block["features"], 1.0, root)
        train.run(root / "features", block[name], out, root / "scratch", Progress(), NullJournal(), serving)
    elif name == "baselines":
        from tenfold.crossmodal_anomaly import baselines

        baselines.run(root / "features", block[name], out, Progress())
    else:
        from tenfold.crossmodal_anomaly import evaluate

        identity = {"paper": PAPER, "dataset": "disc", "partition": "disc", "model_key": "0" * 16, "data_version": "0" * 64}
        inputs = [root / each for each in ("prepared", "features", "model", "baselines")]
        evaluate.run(*inputs, block[name], out, Progress(), identity)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peaks(tests: int) -> dict[str, float]:
    """Peak resident memory of each stage, MB."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("prepared", "features", "model", "baselines", "evaluation"):
            words = [sys.executable, __file__, "--stage", name, "--root", folder, "--parts", str(tests)]
            done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode:
                raise SystemExit(done.stderr)
            found[name] = float(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=12, help="test parts of the smaller size")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        stage(args.stage, args.root, args.parts)
        return 0
    few, many = peaks(args.parts), peaks(args.times * args.parts)
    grown = {name: many[name] - few[name] for name in few}
    more = args.parts * (args.times - 1)
    bound = SLACK_MB + more * BYTES_A_PIXEL * SIZE**2 / 2**20
    met = {"features flat": grown["features"] <= SLACK_MB, "evaluation bounded": grown["evaluation"] <= bound}
    result = {
        "test_parts": [args.parts, args.parts * args.times],
        "features_mb": [round(each["features"]) for each in (few, many)],
        "evaluation_mb": [round(each["evaluation"]) for each in (few, many)],
        "evaluation_kb_a_part": round(grown["evaluation"] / more * 1024, 1),
        "evaluation_bound_mb": round(bound),
    }
    print(json.dumps({**result, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Memory and time of features and evaluation when the number of parts grows 10 and 100 times.

    python benchmarks/growth.py [--parts 24] [--times 1 10 100]

Synthetic parts on the small recipe of the tests (112 px), with its real extractors: a third train, a sixth validate, half are tested. Networks
and baselines come from the smallest size, so that the two stages alone grow. Each stage runs in a process of its own, forked after the imports:
peak resident memory as the system reports it, CPU seconds without imports.

Prints one JSON object. Exit code 1 if either stage needs 64 MB more for the largest number of parts than for the smallest (two or three shards of 16 MB, which the
smallest does not fill, and some 20 kB a part), or more than 1.2
times the CPU seconds for each further part: from the first size to the second against from the second to the third.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAPER = "crossmodal_anomaly"
SIZE = 112
SLACK_MB = 64.0
DEARER = 1.2
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


def prepared(folder: Path, parts: int) -> None:
    """Discs with a smooth relief, in the format of the asset `prepared`."""
    import numpy as np
    import pyarrow as pa

    from tenfold.core import tables
    from tenfold.core.shards import ShardWriter

    yy, xx = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE - 0.5
    valid = np.hypot(yy, xx) < 0.4
    train, validation = parts // 3, parts // 6
    named = [("train", "good", i) for i in range(train)] + [("validation", "good", i) for i in range(validation)]
    named += [("test", KINDS[i % len(KINDS)], i) for i in range(parts - train - validation)]
    rows = []
    with ShardWriter(folder / "parts", 16 << 20) as writer:
        for number, (split, defect, index) in enumerate(named):
            rng = np.random.default_rng(number)
            a, b, c = rng.uniform(0, 6, 3)
            z = 0.5 + 0.004 * np.sin(20 * xx + a) * np.cos(17 * yy + b)
            xyz = np.where(valid[..., None], np.stack([xx * 0.1, yy * 0.1, z], -1), 0).astype(np.float32)
            rgb = np.where(valid[..., None], 128 + 90 * np.sin(9 * np.stack([xx, yy, xx + yy], -1) + c), 0).astype(np.uint8)
            gt = (np.hypot(yy - 0.1, xx) < 0.05) & (defect != "good")
            id = f"disc/{split}/{defect}/{index:06d}"
            writer.add(id, {"xyz": xyz, "rgb": rgb, "gt": gt.astype(np.uint8), "valid": valid.astype(np.uint8)})
            row = {"id": id, "unit": "disc", "split": split, "defect": defect, "label": int(defect != "good"), "n_valid": int(valid.sum())}
            rows.append(
                row | {"inlier_ratio": 0.9, "plane_found": True, "kept_fraction": 1.0, "n_clusters": 1, "median_z": 0.5, "warnings": ""}
            )
    tables.write(pa.Table.from_pylist(rows), folder / "prep.parquet")


def stage(name: str, root: Path, small: Path, parts: int) -> None:
    """One stage on the parts below `root`; networks and baselines stand below `small`."""
    from tenfold.core.journal import NullJournal
    from tenfold.core.progress import Progress
    from tenfold.crossmodal_anomaly import baselines, evaluate, features, train
    from tenfold.crossmodal_anomaly.predictor_folder import Serving

    block, out = blocks(), root / name
    out.mkdir()
    match name:
        case "prepared":
            prepared(out, parts)
        case "features":
            features.run(root / "prepared", block[name], root, out, Progress())
        case "model":
            serving = Serving(block["prepared"], block["features"], 1.0, root)
            train.run(root / "features", block[name], out, root / "scratch", Progress(), NullJournal(), serving)
        case "baselines":
            baselines.run(root / "features", block[name], out, Progress())
        case "evaluation":
            identity = {"paper": PAPER, "dataset": "disc", "partition": "disc", "model_key": "0" * 16, "data_version": "0" * 64}
            inputs = [root / "prepared", root / "features", small / "model", small / "baselines"]
            evaluate.run(*inputs, block[name], out, Progress(), identity)


def measured(work: Callable[[], None]) -> dict[str, float]:
    """Peak resident memory (MB) and CPU seconds of `work` in a child of this process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        work()
        used = resource.getrusage(resource.RUSAGE_SELF)
        sender.send({"mb": used.ru_maxrss / 1024, "cpu_s": time.process_time()})

    process = context.Process(target=child)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"a stage ended with exit code {process.exitcode}")
    found: dict[str, float] = receiver.recv()
    return found


def grow(parts: int, times: list[int]) -> dict[str, list[dict[str, float]]]:
    """For features and evaluation what each size needs, and how much of the disk it takes."""
    from tenfold.crossmodal_anomaly import baselines, evaluate, features, train  # noqa: F401  before the fork

    found: dict[str, list[dict[str, float]]] = {"features": [], "evaluation": []}
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, str(times[0]))
        for factor in times:
            root = Path(folder, str(factor))
            root.mkdir()
            names = ["prepared", "features", *(("model", "baselines") if root == small else ()), "evaluation"]
            for name in names:
                used = measured(lambda name=name, root=root, n=parts * factor: stage(name, root, small, n))  # type: ignore[misc]
                if name in found:
                    size = sum(path.stat().st_size for path in (root / name).rglob("*") if path.is_file())
                    found[name].append({"parts": parts * factor, **used, "disk_mb": size / 1e6})
    return found


def dearer(sizes: list[dict[str, float]]) -> float:
    """CPU seconds a further part from the last size but one to the last, over those from the first to the second."""
    steps = [(b["cpu_s"] - a["cpu_s"]) / (b["parts"] - a["parts"]) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    return steps[-1] / steps[0]


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=24)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    args = parser.parse_args()
    found = grow(args.parts, args.times)
    met, shown = {}, {}
    for name, sizes in found.items():
        more_mb, more_parts = sizes[-1]["mb"] - sizes[0]["mb"], sizes[-1]["parts"] - sizes[0]["parts"]
        ratio = dearer(sizes) if len(sizes) > 2 else sizes[-1]["cpu_s"] / sizes[-1]["parts"] / (sizes[0]["cpu_s"] / sizes[0]["parts"])
        met |= {f"{name}: memory": more_mb <= SLACK_MB, f"{name}: time": ratio <= DEARER}
        shown[name] = {
            "parts": [int(size["parts"]) for size in sizes],
            "peak_mb": [round(size["mb"]) for size in sizes],
            "cpu_s": [round(size["cpu_s"], 2) for size in sizes],
            "cpu_ms_a_part": round(1e3 * (sizes[-1]["cpu_s"] - sizes[0]["cpu_s"]) / more_parts, 2),
            "disk_kb_a_part": round(1e3 * (sizes[-1]["disk_mb"] - sizes[0]["disk_mb"]) / more_parts, 1),
            "memory_kb_a_part": round(1024 * more_mb / more_parts, 1),
            "time_ratio": round(ratio, 3),
        }
    print(json.dumps({**shown, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

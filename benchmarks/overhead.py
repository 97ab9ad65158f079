"""What the platform costs above the science, of a first run and of one in which nothing changed.

    python benchmarks/overhead.py [--repeats 2] [--params params.yaml] [--skip-plain]

First: `tenfold run` of one unit in a fresh root and home, against the same rooms called in plain Python, in one process, on as fresh a
folder: the data made, prepared, features, networks, baselines, evaluation and report, each from what the one before wrote. All else is the
platform: Dagster, DVC, the contracts, MLflow with its database, its runs and its registry, keys, hashes and the store, the scoreboard. Both
sides import torch once, so its import cancels out. Again: the same command, with nothing changed.

The small recipe of the tests unless `--params` names another file. CPU seconds with those of child processes, so that a busy machine does
not count; sides take turns, the smallest of each counts. Prints one JSON object. Exit code 1 if the platform costs more than 12 s, a second run more than a tenth of
the first, or if a second run recomputes anything or imports torch.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MOST_S, SHARE = 12.0, 0.1
TARGET = "crossmodal_anomaly.demo.biscuit"

TENFOLD = f"""
import json, sys
from pipelines.cli import main
code = main(["run", "{TARGET}"])
heavy = ("torch", "mlflow", "pandas", "great_expectations", "transformers", "scipy", "sklearn", "matplotlib")
print(json.dumps([name for name in heavy if name in sys.modules]))
sys.exit(code)
"""

PLAIN = """
import json, sys
from pathlib import Path
from tenfold.core import params
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly import baselines, config, data, evaluate, features, prepare, report, train
from tenfold.crossmodal_anomaly.predictor_folder import Serving

PAPER, NAME, UNIT = "crossmodal_anomaly", "demo", "biscuit"
root, out, progress = Path.cwd(), Path.cwd() / "plain", Progress()
tree = params.load(root)
recipe = params.datasets(tree, PAPER)[NAME].recipe
kinds = {"prepared": config.Prepared, "features": config.Features, "model": config.Model, "baselines": config.Baselines,
         "evaluation": config.Evaluation, "report": config.Report}
blocks = {name: params.resolve(kind, params.block(tree, PAPER, recipe, name), {}, name) for name, kind in kinds.items()}
at = {name: out / name for name in ("dataset", *kinds)}
for folder in at.values():
    folder.mkdir(parents=True)
weights = root / "data" / "weights" / PAPER

data.build(root, NAME, progress)
facts = data.take(root / "data" / PAPER / NAME, UNIT, at["dataset"]).facts
prepare.run(at["dataset"], root / facts["root"], blocks["prepared"], at["prepared"], progress, xyz_scale=facts["xyz_scale"])
features.run(at["prepared"], blocks["features"], weights, at["features"], progress)
serving = Serving(blocks["prepared"], blocks["features"], facts["xyz_scale"], weights)
(out / "scratch").mkdir()
train.run(at["features"], blocks["model"], at["model"], out / "scratch", progress, NullJournal(), serving)
baselines.run(at["features"], blocks["baselines"], at["baselines"], progress)
identity = {"paper": PAPER, "dataset": NAME, "partition": f"{NAME}.{UNIT}", "model_key": "", "data_version": ""}
evaluate.run(prepared=at["prepared"], features=at["features"], model=at["model"], baselines=at["baselines"], block=blocks["evaluation"],
             out=at["evaluation"], progress=progress, identity=identity)
report.run({name: folder for name, folder in at.items() if name != "report"}, blocks["report"], at["report"], {}, progress)
"""


def lay_out(root: Path, parameters: Path) -> None:
    """What a checkout has that a run reads."""
    shutil.copy(parameters, root / "params.yaml")
    for name in ("dvc.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, root)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc")
    (root / "src").symlink_to(ROOT / "src")


def measured(root: Path, script: str) -> tuple[float, float, list[str]]:
    """CPU seconds (children included), wall seconds and output of one process on `root`."""
    home = root / ".tenfold"
    environment = {**os.environ, "TENFOLD_ROOT": str(root), "TENFOLD_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, done.stdout.splitlines()


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--params", type=Path, default=ROOT / "tests" / "tiny.yaml")
    parser.add_argument("--skip-plain", action="store_true", help="the first run and the second one only")
    args = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {"first": [], "plain": [], "again": []}
    unchanged, imported = True, set[str]()
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            lay_out(root, args.params)
            taken["first"].append(measured(root, TENFOLD)[:2])
            *seconds, shown = measured(root, TENFOLD)
            taken["again"].append((seconds[0], seconds[1]))
            unchanged &= any(line.startswith("nothing changed") for line in shown)
            imported |= set(json.loads(shown[-1]))
        if not args.skip_plain:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                lay_out(root, args.params)
                taken["plain"].append(measured(root, PLAIN)[:2])
    result: dict[str, Any] = {
        name: {"cpu_s": round(min(one[0] for one in pairs), 2), "wall_s": round(min(one[1] for one in pairs), 2)}
        for name, pairs in taken.items()
        if pairs
    }
    met = {"no science again": unchanged and "torch" not in imported}
    result["again_share"] = {kind: round(result["again"][kind] / result["first"][kind], 3) for kind in ("cpu_s", "wall_s")}
    met["again at most a tenth"] = result["again_share"]["cpu_s"] <= SHARE
    if taken["plain"]:
        result["platform_s"] = round(result["first"]["cpu_s"] - result["plain"]["cpu_s"], 2)
        met["platform at most 12 s"] = result["platform_s"] <= MOST_S
    print(json.dumps({**result, "imported_again": sorted(imported), "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

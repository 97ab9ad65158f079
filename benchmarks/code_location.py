"""Loading the code location against loading as many empty assets, jobs, schedules and sensors that know nothing of tenfold.

    python benchmarks/code_location.py [--repeats 7]

Each load is a process of its own, from `import dagster` to the repository that Dagster shows; the two take turns. Times are CPU seconds of
the whole process, so that a busy machine does not count. Beside it: the same load where Python's garbage collector goes through everything
(`without_freeze_s`), and the imports of all our modules found as the load does and by syntax trees. Prints one JSON object. Exit code 1 if
the median ratio is above 1.3 or a heavy library was imported.
"""

import argparse
import ast
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _turns import turns

from tenfold.core import code

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ["torch", "mlflow", "pandas", "great_expectations", "dvc"]
TARGET = 1.3

OURS = """
import json, sys
from pipelines.definitions import defs
repository = defs().get_repository_def()
graph = repository.asset_graph
assets = {}
for key in sorted(graph.get_all_asset_keys(), key=str):
    node = graph.get(key)
    checks = [check.name for check in graph.asset_check_keys if check.asset_key == key]
    assets["/".join(key.path)] = {
        "deps": ["/".join(parent.path) for parent in node.parent_keys],
        "checks": checks,
        "partitions": list(node.partitions_def.get_partition_keys()) if node.partitions_def else [],
    }
jobs = [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")]
print(json.dumps({
    "assets": assets, "jobs": jobs, "schedules": len(repository.schedule_defs), "sensors": len(repository.sensor_defs),
    "heavy": [name for name in sys.argv[1:] if name in sys.modules],
}))
"""

EMPTY = """
import json, sys, warnings
import dagster as dg

warnings.filterwarnings("ignore", category=dg.PreviewWarning)
shape = json.loads(sys.argv[1])
parts = {}

def asset(name, about):
    keys = tuple(about["partitions"])
    part = parts.setdefault(keys, dg.StaticPartitionsDefinition(list(keys)) if keys else None)
    key = dg.AssetKey(name.split("/"))
    mapping = None if keys else dg.AllPartitionMapping()
    deps = [dg.AssetDep(dg.AssetKey(dep.split("/")), partition_mapping=mapping) for dep in about["deps"]]
    specs = [dg.AssetCheckSpec(check, asset=key, partitions_def=part) for check in about["checks"]]

    @dg.asset(key=key, deps=deps, check_specs=specs, partitions_def=part, group_name=name.split("/")[0])
    def body() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    return body

def job(name):
    part = next((p for keys, p in parts.items() if keys), None) if name != "scoreboard" else None
    return dg.define_asset_job(name, selection=dg.AssetSelection.groups(name), partitions_def=part)

def schedule(number, job):
    @dg.schedule(name=f"schedule_{number}", job=job, cron_schedule="0 3 * * 0")
    def body(context):
        return []
    return body

def sensor(number, job):
    @dg.sensor(name=f"sensor_{number}", job=job)
    def body(context):
        return []
    return body

@dg.definitions
def defs():
    assets = [asset(name, about) for name, about in shape["assets"].items()]
    jobs = [job(name) for name in shape["jobs"]]
    return dg.Definitions(
        assets=assets, jobs=jobs, executor=dg.in_process_executor,
        schedules=[schedule(number, jobs[0]) for number in range(shape["schedules"])],
        sensors=[sensor(number, jobs[0]) for number in range(shape["sensors"])],
    )

repository = defs().get_repository_def()
graph = repository.asset_graph
assert len(graph.get_all_asset_keys()) == len(shape["assets"])
assert len(graph.asset_check_keys) == sum(len(about["checks"]) for about in shape["assets"].values())
"""


def load(script: str, *words: str) -> tuple[float, str]:
    """CPU seconds of one process, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def finding_imports(repeats: int) -> dict[str, float]:
    """CPU seconds to find what all our modules import: by a regular expression, as `core.code` does, and by their syntax trees."""
    sources = [path.read_bytes() for path in sorted((ROOT / "src" / "tenfold").rglob("*.py"))]
    works: dict[str, Callable[[], object]] = {
        "expression": lambda: [code.imports.__wrapped__(each) for each in sources],
        "trees": lambda: [ast.parse(each) for each in sources],
    }
    return {"files": len(sources), **{f"{name}_s": round(seconds, 3) for name, seconds in turns(works, repeats).items()}}


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    shape: dict[str, Any] = json.loads(load(OURS, *HEAVY)[1])
    words = json.dumps(shape)
    load(EMPTY, words)
    pairs = [(load(OURS, *HEAVY)[0], load(EMPTY, words)[0]) for _ in range(args.repeats)]
    ours, empty = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    collected = statistics.median(load(f"import gc\ngc.freeze = lambda: None\n{OURS}", *HEAVY)[0] for _ in range(args.repeats))
    result = {
        "assets": len(shape["assets"]),
        "checks": sum(len(about["checks"]) for about in shape["assets"].values()),
        "jobs": len(shape["jobs"]),
        "schedules": shape["schedules"],
        "sensors": shape["sensors"],
        "ours_s": round(ours, 3),
        "empty_s": round(empty, 3),
        "ratio": round(ratio, 3),
        "without_freeze_s": round(collected, 3),
        "imports": finding_imports(args.repeats),
        "heavy": shape["heavy"],
        "met": {"ratio at most 1.3": ratio <= TARGET, "nothing heavy": not shape["heavy"]},
    }
    print(json.dumps(result, indent=2))
    return 0 if all(result["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a step costs besides its science: an empty spine.

    python benchmarks/spine.py [--repeats 3]

Empty spine: five assets in a row that write nothing, on a temporary home, through the same `begin` and `finish` as every paper's. Once as a
Dagster run in one process, once as plain calls. Start is what a run costs before its first asset begins.

CPU seconds with those of child processes (git), so that a busy machine does not count; sides take turns. Prints one JSON object. Exit code 1
if a step costs more than 1.0 s above plain calls, or a start more than 5 s.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["one", "two", "three", "four", "five"]
PARTITION = "demo"
PARAMS = f"""
empty:
  datasets: {{{PARTITION}: {{source: params.yaml, layout: none, recipe: small}}}}
  recipes: {{small: {{{", ".join(f"{name}: {{}}" for name in NAMES)}}}}}
"""


@dataclass(frozen=True)
class Nothing:
    """A block without numbers."""


def cpu() -> float:
    """CPU seconds of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def spine(plain: bool) -> dict[str, float]:
    """The five assets in this process: CPU seconds until the first begins, and of each step."""
    import dagster as dg

    from assets import shared
    from tenfold.core.stage import Made
    from tenfold.core.store import Working
    from tenfold.ops import home

    settings = shared.Home().settings()
    steps = [shared.Step("empty", name, "tenfold.core.errors", Nothing, tuple(NAMES[:i][-1:])) for i, name in enumerate(NAMES)]
    began: list[float] = []

    def make(work: Working) -> Made:
        (work.out / "nothing.txt").write_text("")
        return Made()

    def body(step: shared.Step, context: Any) -> dg.MaterializeResult:
        began.append(cpu())
        return shared.finish(step.begin(context, shared.Home(), shared.Overrides()), make)

    if plain:

        class Context:
            partition_key, run_id = PARTITION, ""
            log = dg.get_dagster_logger()

        for step in steps:
            body(step, Context())
    else:
        parts = shared.partitions("empty")

        def asset_of(step: shared.Step) -> dg.AssetsDefinition:
            @dg.asset(**step.options(parts, kinds={"python"}))
            def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
                return body(step, context)

            return asset

        job = dg.define_asset_job("empty", selection=dg.AssetSelection.all())
        definitions = dg.Definitions(assets=[asset_of(step) for step in steps], jobs=[job], executor=dg.in_process_executor)
        home.ensure(settings)
        with dg.DagsterInstance.get() as instance:
            config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
            definitions.resolve_job_def("empty").execute_in_process(instance=instance, partition_key=PARTITION, run_config=config)
    return {"start": began[0], "step": (cpu() - began[0]) / len(NAMES)}


def in_process(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """This interpreter on `root`, with its own home."""
    home = root / ".tenfold"
    environment = {**os.environ, "TENFOLD_ROOT": str(root), "TENFOLD_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run([sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done


def empty_spine(repeats: int) -> dict[str, float]:
    """Medians of fresh processes that take turns on one home, after one that makes it."""
    found: dict[str, list[dict[str, float]]] = {"dagster": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "params.yaml").write_text(PARAMS)
        shutil.copy(ROOT / "dagster.yaml", root)
        for turn in range(repeats + 1):
            for side, measured in found.items():
                shutil.rmtree(root / ".tenfold" / "store", ignore_errors=True)
                shown = json.loads(in_process(root, __file__, "--child", side).stdout.splitlines()[-1])
                if turn:
                    measured.append(shown)
    start, step = (statistics.median(one[name] for one in found["dagster"]) for name in ("start", "step"))
    plain = statistics.median(one["step"] for one in found["plain"])
    return {"start_s": start, "step_s": step, "plain_step_s": plain, "above_plain_s": step - plain}


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds are enough."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=["dagster", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(spine(args.child == "plain")))
        return 0
    empty = empty_spine(args.repeats)
    met = {"step at most 1.0 s above plain": empty["above_plain_s"] <= 1.0, "start at most 5 s": empty["start_s"] <= 5.0}
    print(json.dumps({"empty": rounded(empty), "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

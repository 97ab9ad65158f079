"""A second run finds everything, and says so; two runs at once make one output."""

import json
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support import demo_size, environment, start

pytestmark = [pytest.mark.dag, pytest.mark.slow]

WRAPPER = """
import json, sys
from pipelines import cli
code = cli.main(sys.argv[1:])
heavy = [name for name in ("torch", "mlflow", "great_expectations", "dvc") if name in sys.modules]
print(json.dumps([code, heavy]))
"""


def mlflow_runs(root: Path) -> int:
    with closing(sqlite3.connect(root / ".tenfold" / "mlflow" / "mlflow.db")) as database:
        return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])


def test_an_unchanged_run_is_quick_and_loads_nothing_heavy(copied: Path) -> None:
    before, spent = mlflow_runs(copied), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", WRAPPER, "run"]
    done = subprocess.run(command, cwd=copied, env=environment(copied), capture_output=True, text=True, timeout=120)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []], done.stderr
    _, assets = demo_size()
    assert f"nothing changed: {assets} assets checked, none recomputed" in done.stdout
    assert done.stderr.count(": unchanged") == assets and "made in" not in done.stderr
    assert mlflow_runs(copied) == before
    # seconds of work, which other programs on the machine do not change
    assert now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime < 30


def test_two_runs_of_one_partition_make_it_once(copied: Path) -> None:
    words = ["run", "crossmodal_anomaly.demo.peg", "--to", "model", "--set", "model.epochs=8"]
    both = [start(copied, *words) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    made = [errors.count("demo.peg model: made in") for _, errors in said]
    assert sorted(made) == [0, 1], said
    assert sum("demo.peg model: unchanged" in errors for _, errors in said) == 1

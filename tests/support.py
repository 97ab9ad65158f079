"""What tests of several rooms share: roots of their own, so that nothing is ever written into the checkout."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Demo:
    """The root, what the command said, what it asked of the network, how many processes were watched."""

    root: Path
    done: subprocess.CompletedProcess[str]
    network: str
    watched: int


def lay_out(root: Path) -> Path:
    """A root with the tiny params, the real dvc.yaml and a link to the sources."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "tests" / "tiny.yaml", root / "params.yaml")
    for name in ("dvc.yaml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(CHECKOUT / name, root / name)
    (root / ".dvc").mkdir(exist_ok=True)
    shutil.copy(CHECKOUT / ".dvc" / "config", root / ".dvc" / "config")
    (root / "src").symlink_to(CHECKOUT / "src")
    return root


def environment(root: Path, **more: str) -> dict[str, str]:
    """Environment of a command that works on `root`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TENFOLD_", "MLFLOW_TRACKING", "DAGSTER_"))}
    return {**kept, "TENFOLD_ROOT": str(root), "TENFOLD_HOME": str(root / ".tenfold"), **more}


def copy_of(root: Path, target: Path) -> Path:
    """A root with everything another one has made. MLflow's database holds absolute paths: they are rewritten."""
    shutil.copytree(root, target, symlinks=True)
    with closing(sqlite3.connect(target / ".tenfold" / "mlflow" / "mlflow.db")) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                if "CHAR" in kind or "TEXT" in kind:
                    change = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)"
                    database.execute(change, (f"{root}/", f"{target}/", f"{root}/"))
    return target


def tenfold(root: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *words],
        cwd=root,
        env=environment(root, **more),
        capture_output=True,
        text=True,
        timeout=600,
    )


def start(root: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """The real command, its progress readable line by line from `stderr`."""
    command, pipe = [sys.executable, "-m", "pipelines.cli", *words], subprocess.PIPE
    return subprocess.Popen(command, cwd=root, env=environment(root, **more), stdout=pipe, stderr=pipe, text=True, bufsize=1)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What the process wrote to stderr up to a line that holds `words`."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"it ended without '{words}':\n{''.join(lines)}")


def demo_size() -> tuple[int, int]:
    """Partitions and assets (without the scoreboard) of a bare `tenfold run`; the first paper's demo has two units, the others' none."""
    from pipelines.papers import modules

    first, *others = [len(module.ASSETS) for module in modules().values()]
    return 2 + len(others), 2 * first + sum(others)

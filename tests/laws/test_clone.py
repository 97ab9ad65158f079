"""A clone has all that it needs: nothing needed is hidden by .gitignore."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import CHECKOUT, environment


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `git add --all`, commit and clone would give, whether or not the checkout is a repository itself."""
    folder = tmp_path_factory.mktemp("clone")
    subprocess.run(["git", "init", "--quiet", str(folder / "git")], check=True)
    words = ["git", f"--git-dir={folder / 'git' / '.git'}", f"--work-tree={CHECKOUT}", "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    target = folder / "clone"
    for name in filter(None, listed.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target / name, follow_symlinks=False)
    return target


def in_clone(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(clone / "src"), str(clone)])
    return subprocess.run(
        [sys.executable, *words], cwd=clone, env=environment(clone, PYTHONPATH=paths), capture_output=True, text=True, timeout=120
    )


def test_every_source_file_is_in_it(clone: Path) -> None:
    for folder in ("src", "assets", "pipelines", "tests", "requirements", "deploy", "mlflow", "docs", ".ci"):
        here = {p.relative_to(CHECKOUT) for p in (CHECKOUT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts}
        missing = {path for path in here if not (clone / path).exists() and not any(part.endswith(".egg-info") for part in path.parts)}
        assert not missing
    for name in (
        "params.yaml",
        "dvc.yaml",
        "dvc.lock",
        "dagster.yaml",
        "workspace.yaml",
        "pyproject.toml",
        "Makefile",
        ".dvc/config",
        "LICENSE",
    ):
        assert (clone / name).exists(), name


def test_what_is_made_is_not_in_it(clone: Path) -> None:
    assert not (clone / ".tenfold").exists() and not (clone / ".venv").exists() and not list(clone.glob("data/*/*/samples.parquet"))


def test_it_plans_the_demo(clone: Path) -> None:
    where = in_clone(clone, "-c", "import tenfold, pipelines; print(tenfold.__file__, pipelines.__file__)")
    assert where.stdout.count(str(clone)) == 2, where.stderr
    planned = in_clone(clone, "-m", "pipelines.cli", "run", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "crossmodal_anomaly.demo.biscuit" in planned.stdout and "recompute" in planned.stdout

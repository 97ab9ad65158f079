"""What git says, and what is said without git."""

import subprocess
from pathlib import Path

from tenfold.ops import provenance


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_a_tarball_is_unknown_even_inside_another_repository(tmp_path: Path) -> None:
    git(tmp_path, "init")
    inner = tmp_path / "unpacked"
    inner.mkdir()
    (inner / "params.yaml").write_text("a: 1\n")
    (tmp_path / "other.txt").write_text("x")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "-m", "other")
    assert provenance.git(inner) == ("unknown", None)
    assert provenance.of(inner).tags() == {"git.commit": "unknown", "git.dirty": "unknown"}


def test_dirty_means_code_not_data(tmp_path: Path) -> None:
    git(tmp_path, "init")
    for name in ("params.yaml", "dvc.lock", "code.py"):
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit, dirty = provenance.git(tmp_path)
    assert len(commit) == 40 and dirty is False
    (tmp_path / "dvc.lock").write_text("2\n")
    (tmp_path / "notes.txt").write_text("a thought\n")
    assert provenance.git(tmp_path) == (commit, False)
    (tmp_path / "new module.py").write_text("1\n")
    assert provenance.git(tmp_path) == (commit, True)
    (tmp_path / "new module.py").unlink()
    (tmp_path / "code.py").write_text("2\n")
    assert provenance.git(tmp_path) == (commit, True)


def test_versions_name_what_is_installed() -> None:
    import numpy

    assert provenance.versions()["numpy"] == numpy.__version__
    assert provenance.device().strip()

"""DVC's bridge, on a repository of one stage in a temporary folder."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.ops import dvc

STAGES = """
stages:
  paper:
    foreach: ${paper.datasets}
    do:
      cmd: python make.py ${key}
      deps: ["${item.source}", make.py]
      outs: ["data/${key}"]
"""
PARAMS = """
paper:
  datasets:
    demo: {source: source.txt}
    other: {source: source.txt}
    broken: {source: source.txt}
"""
MAKE = """
import pathlib, sys, time
name = sys.argv[1]
print("making", name, "with", sys.executable, flush=True)
with open("runs.log", "a") as log:
    log.write(name + "\\n")
time.sleep(float(pathlib.Path("seconds.txt").read_text()))
if name == "broken":
    print("row 7 has no label", file=sys.stderr)
    sys.exit(3)
folder = pathlib.Path("data") / name
folder.mkdir(parents=True, exist_ok=True)
(folder / "samples.txt").write_text(pathlib.Path("source.txt").read_text())
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {"dvc.yaml": STAGES, "params.yaml": PARAMS, "make.py": MAKE, "source.txt": "one", "seconds.txt": "0"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / ".dvc").mkdir()
    return tmp_path


def ran(root: Path) -> list[str]:
    return (root / "runs.log").read_text().split()


def test_runs_once_and_again_when_the_source_changes(root: Path) -> None:
    lines: list[str] = []
    assert dvc.locked("paper@demo", root) is None
    first = dvc.reproduce("paper@demo", root, say=lines.append)
    assert first.ran and len(first.md5) == 32
    assert any(str(Path(sys.executable).parent) in line for line in lines)  # the stage found this interpreter
    assert dvc.locked("paper@demo", root) == first.md5
    assert dvc.reproduce("paper@demo", root, say=lines.append) == dvc.Version(first.md5, ran=False)
    assert dvc.changes("paper@demo", root) == ""
    (root / "source.txt").write_text("two")
    assert dvc.changes("paper@demo", root) == "source.txt: modified"
    second = dvc.reproduce("paper@demo", root, say=lines.append)
    assert second.ran and second.md5 != first.md5
    assert ran(root) == ["demo", "demo"]


def test_a_failing_stage_shows_its_own_last_lines(root: Path) -> None:
    with pytest.raises(BadData, match="row 7 has no label") as caught:
        dvc.reproduce("paper@broken", root, say=lambda line: None)
    assert "paper@broken" in str(caught.value)
    assert dvc.locked("paper@broken", root) is None


def test_an_unknown_stage_is_wrong_use(root: Path) -> None:
    with pytest.raises(UsageError, match="paper@nothing"):
        dvc.reproduce("paper@nothing", root, say=lambda line: None)


def test_the_same_stage_twice_at_once_runs_once(root: Path) -> None:
    (root / "seconds.txt").write_text("3")
    results: list[dvc.Version] = []
    said: list[str] = []

    def reproduce() -> None:
        results.append(dvc.reproduce("paper@demo", root, say=said.append, poll_s=0.3))

    threads = [threading.Thread(target=reproduce) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ran(root) == ["demo"]
    assert len({r.md5 for r in results}) == 1 and sorted(r.ran for r in results) == [False, True]


def test_stopping_us_stops_the_stage(root: Path) -> None:
    (root / "seconds.txt").write_text("600")

    def interrupt(line: str) -> None:
        if line.startswith("making"):
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        dvc.reproduce("paper@demo", root, say=interrupt)
    assert time.monotonic() - started < 60
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in processes.splitlines() if line.endswith("make.py demo")]
    assert dvc.locked("paper@demo", root) is None


def test_a_damaged_lock_file_is_named(root: Path) -> None:
    (root / "dvc.lock").write_text("stages: {paper@demo: {outs: [{md5: 12")
    with pytest.raises(Corrupt, match="dvc.lock"):
        dvc.locked("paper@demo", root)

"""Ten stages through DVC at once, Ctrl-C in each, then all again: nobody removes a lock by hand."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import environment

pytestmark = pytest.mark.slow

NAMES = [f"set{number}" for number in range(10)]
STAGES = """
stages:
  paper:
    foreach: ${paper.datasets}
    do:
      cmd: python make.py ${key}
      deps: ["${item.source}", make.py]
      outs: ["data/${key}"]
"""
MAKE = """
import pathlib, sys, time
name = sys.argv[1]
folder = pathlib.Path("data") / name
folder.mkdir(parents=True)
(folder / "half").write_text(name)
print("making", name, flush=True)
if not pathlib.Path("go").exists():
    time.sleep(600)
(folder / "whole").write_text(pathlib.Path(name + ".txt").read_text())
"""
# As an asset does it; Ctrl-C of a terminal reaches this process only, DVC runs in a session of its own.
CALL = """
import sys
from pathlib import Path
from tenfold.ops import dvc
print(dvc.reproduce(sys.argv[1], Path.cwd(), poll_s=0.2))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"paper": {"datasets": {name: {"source": f"{name}.txt"} for name in NAMES}}}))
    (tmp_path / "make.py").write_text(MAKE)
    for name in NAMES:
        (tmp_path / f"{name}.txt").write_text(f"the content of {name}")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    return tmp_path


def together(root: Path) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", CALL, f"paper@{name}"],
            cwd=root,
            env=environment(root),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in NAMES
    ]


def below(root: Path) -> list[str]:
    """Processes that still work in the repository."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == root:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it ended
    return found


def test_ten_at_once_stopped_and_again(root: Path) -> None:
    chance = random.Random(0)
    interrupted = together(root)
    # some in the middle of their command, some while they wait for DVC's lock or for Python to start
    while len(list((root / "data").glob("*/half"))) < 3:
        assert all(each.poll() is None for each in interrupted)
        time.sleep(0.05)
    for process in interrupted:
        process.send_signal(signal.SIGINT)
        time.sleep(chance.random() * 0.3)
    for process in interrupted:
        said = process.communicate(timeout=60)[0]
        assert process.returncode == -signal.SIGINT, said
    assert below(root) == []
    assert not (root / "dvc.lock").exists() or not yaml.safe_load((root / "dvc.lock").read_text()).get("stages")

    (root / "go").touch()
    for process in together(root):
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 0 and "ran=True" in said, said
    for name in NAMES:
        assert (root / "data" / name / "whole").read_text() == f"the content of {name}"
    assert sorted(yaml.safe_load((root / "dvc.lock").read_text())["stages"]) == [f"paper@{name}" for name in NAMES]
    # DVC itself hashes everything again and finds dvc.lock right
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=root, env=environment(root, DVC_SITE_CACHE_DIR="other"), capture_output=True, text=True
    )
    assert status.returncode == 0, status.stderr
    assert "up to date" in status.stdout, status.stdout

"""DVC killed in the middle of a file that it writes in place."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import environment

from tenfold.core import atomic
from tenfold.ops import dvc

STAGES = """
stages:
  one: {cmd: echo a > one.txt, deps: [source.txt], outs: [one.txt]}
  two: {cmd: echo b > two.txt, deps: [source.txt], outs: [two.txt]}
"""
# The first words of the file are written, then the process is gone.
KILLED = """
import os, signal, sys
import {module}
from tenfold.ops import dvc as ours

whole = {module}.{name}

def half(data, stream):
    if {file!r} not in stream.name:
        return whole(data, stream)
    stream.write("{{")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)

{module}.{name} = half
ours._main("reproduce", "two")
"""
WRITERS = {"dvc.lock": ("dvc.utils.serialize._yaml", "_dump"), ".dvc/tmp/rwlock": ("dvc.rwlock", "json.dump")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {"dvc.yaml": STAGES, "params.yaml": "{}", "source.txt": "one"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / ".dvc").mkdir()
    assert dvc.reproduce("one", tmp_path).ran
    return tmp_path


@pytest.mark.parametrize("file", WRITERS)
def test_a_kill_in_the_write_leaves_the_old_file(root: Path, file: str) -> None:
    before = (root / file).read_bytes()
    module, name = WRITERS[file]
    script = KILLED.format(module=module, name=name, file=Path(file).name)
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment(root), capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (root / file).read_bytes() == before
    assert [path.name for path in (root / file).parent.iterdir() if atomic.is_leftover(path.name)], "killed before it wrote"

    assert dvc.reproduce("two", root).ran
    assert sorted(yaml.safe_load((root / "dvc.lock").read_text())["stages"]) == ["one", "two"]
    assert not dvc.reproduce("one", root).ran
    assert not [path for path in root.rglob("*") if atomic.is_leftover(path.name)]


def test_half_a_table_of_another_dvc_is_replaced(root: Path) -> None:
    (root / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"/so')
    assert dvc.reproduce("two", root).ran
    (root / ".dvc" / "tmp" / "rwlock").write_text("")
    assert dvc.changes("two", root) == ""

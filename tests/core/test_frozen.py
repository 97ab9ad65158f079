"""What a process hashes and what it runs are the same bytes, whatever happens to the files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = """
import os, sys
from pathlib import Path
from tenfold.core import frozen
folder = Path({folder!r})
sys.path.insert(0, str(folder))
import pk
frozen.freeze("pk")
frozen.freeze("pk")
path = folder / "pk" / "work.py"
"""


def python(folder: Path, text: str) -> str:
    done = subprocess.run([sys.executable, "-c", SETUP.format(folder=str(folder)) + text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path.resolve()
    (folder / "pk").mkdir()
    (folder / "pk" / "__init__.py").touch()
    (folder / "pk" / "work.py").write_text("ANSWER = 1\n")
    return folder


def test_an_edit_between_the_hash_and_the_import_waits_for_the_next_process(package: Path) -> None:
    text = "read = frozen.source(path)\npath.write_text('ANSWER = 2')\nimport pk.work\nprint(pk.work.ANSWER, read)"
    assert python(package, text) == r"1 b'ANSWER = 1\n'"
    assert python(package, "import pk.work\nprint(pk.work.ANSWER)") == "2"


def test_an_edit_between_the_import_and_the_hash_waits_for_the_next_process(package: Path) -> None:
    text = "import pk.work\npath.write_text('ANSWER = 2')\nprint(pk.work.ANSWER, frozen.source(path))"
    assert python(package, text) == r"1 b'ANSWER = 1\n'"


def test_links_on_the_way_do_not_make_two_readings(package: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "pk").symlink_to(package / "pk")
    text = (
        f"read = frozen.source({str(package / 'pk' / 'work.py')!r})\npath.write_text('ANSWER = 2')\nimport pk.work\nprint(pk.work.ANSWER)"
    )
    assert python(tmp_path / "links", text) == "1"


def test_a_file_altered_behind_its_time_and_size_is_what_runs(package: Path) -> None:
    path = package / "pk" / "work.py"
    plain = [sys.executable, "-c", "import pk.work; print(pk.work.ANSWER)"]
    writing = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(plain, cwd=package, env=writing, check=True, capture_output=True)
    assert list(package.glob("pk/__pycache__/work*.pyc"))
    times = path.stat()
    path.write_text("ANSWER = 3\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    stale = subprocess.run(plain, cwd=package, check=True, capture_output=True, text=True).stdout
    assert stale.strip() == "1", "plain Python takes the compiled file"
    assert python(package, "import pk.work\nprint(pk.work.ANSWER, frozen.source(path))") == r"3 b'ANSWER = 3\n'"


def test_everything_of_ours_is_loaded_so() -> None:
    text = """
import sys
import pipelines.definitions
from tenfold.core import frozen
names = [n for n, m in sys.modules.items() if n.startswith("tenfold.") and type(m.__loader__) is not frozen._Loader]
print(sorted(names))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    # the module itself and its package come before it can do anything
    assert done.stdout.strip() == "['tenfold.core', 'tenfold.core.frozen']"

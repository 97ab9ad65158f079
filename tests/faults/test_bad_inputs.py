"""The real command on bad folders and in odd surroundings: a row with a reason or a clear stop, and nothing is written elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image
from support import environment, lay_out

from tenfold.core import tables
from tenfold.core.store import Store

pytestmark = pytest.mark.slow

SIDE = 24

# In every Python process of the command: name whatever is opened for writing, made, renamed or linked.
AUDIT = """
import os, sys

def note(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "sqlite3.connect"):
        path = arguments[0]
    elif event in ("os.rename", "os.link", "os.symlink"):
        path = arguments[1]
    else:
        return
    if isinstance(path, int):
        return
    path = os.path.abspath(os.fsencode(path))
    if path != os.fsencode(os.environ["WRITE_LOG"]) and not path.startswith(os.fsencode(os.environ["MAY_WRITE"])) and path not in (b"/dev/null", b"/dev/tty"):
        descriptor = os.open(os.environ["WRITE_LOG"], os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, event.encode() + b" " + path + b"\\n")
        os.close(descriptor)

sys.addaudithook(note)
"""


class Surroundings:
    """A root whose name has spaces and no ASCII, a source folder outside of it, and a watch on all that is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = lay_out(folder / "may write" / "Prüf stand")
        self.source = folder / "scans élan"
        (folder / "audit").mkdir()
        (folder / "audit" / "sitecustomize.py").write_text(AUDIT)
        (folder / "log").touch()
        (folder / "may write" / "tmp").mkdir()
        for number in range(8):
            self.part("train/good", f"{number:03d}")
        self.part("validation/good", "000")
        self.part("test/good", "000")
        values = yaml.safe_load((self.root / "params.yaml").read_text())
        values["crossmodal_anomaly"]["datasets"]["castings"] = {
            "source": str(self.source),
            "layout": "mvtec_3d_ad",
            "units": ["part"],
            "recipe": "demo",
            "read": {"max_quarantine": 0.9},
        }
        (self.root / "params.yaml").write_text(yaml.safe_dump(values, allow_unicode=True))

    def part(self, place: str, stem: str | bytes) -> tuple[Path, Path]:
        """Files of one good part."""
        rng = np.random.default_rng(len(list(self.source.rglob("*"))))
        made = []
        for name, suffix in (("rgb", ".png"), ("xyz", ".tiff")):
            folder = self.source / "part" / place / name
            folder.mkdir(parents=True, exist_ok=True)
            path = Path(os.fsdecode(os.fsencode(folder) + b"/" + os.fsencode(stem) + suffix.encode()))
            with path.open("wb") as stream:
                if name == "rgb":
                    Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(stream, "PNG")
                else:
                    tifffile.imwrite(stream, rng.uniform(0.2, 0.4, (SIDE, SIDE, 3)).astype(np.float32), photometric="rgb")
            made.append(path)
        return made[0], made[1]

    def run(self, *before: str, umask: int = 0o022, **more: str) -> subprocess.CompletedProcess[str]:
        """`tenfold run` up to the dataset, watched; `before` are words in front of the command."""
        watched = {
            "PYTHONPATH": os.pathsep.join([str(self.folder / "audit"), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "MAY_WRITE": str(self.folder / "may write"),
            "WRITE_LOG": str(self.folder / "log"),
            "TMPDIR": str(self.folder / "may write" / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        given = environment(self.root, **watched, **more)
        given.pop("HOME")
        command = [sys.executable, "-m", "pipelines.cli", "run", "crossmodal_anomaly.castings.part", "--to", "dataset"]
        return subprocess.run([*before, *command], cwd=self.root, env=given, umask=umask, capture_output=True, text=True, timeout=120)

    def written_elsewhere(self) -> list[str]:
        return (self.folder / "log").read_text(errors="replace").splitlines()

    def listing(self) -> dict[bytes, tuple[int, int, bytes]]:
        """All of the source: sizes, times, content."""
        found: dict[bytes, tuple[int, int, bytes]] = {}
        for here, _, names in os.walk(os.fsencode(self.source)):
            for name in names:
                path = os.path.join(here, name)
                stat = os.lstat(path)
                found[path] = (stat.st_size, stat.st_mtime_ns, b"" if os.path.islink(path) else Path(os.fsdecode(path)).read_bytes())
        return found


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


def spoil(made: Surroundings) -> dict[str, str]:
    """Every kind of bad part, by the reason that its row must give."""
    train = "train/good"
    rgb, _ = made.part(train, "empty")
    rgb.write_bytes(b"")
    _, xyz = made.part(train, "truncated")
    xyz.write_bytes(xyz.read_bytes()[:-100])
    _, xyz = made.part(train, "nan")
    tifffile.imwrite(xyz, np.full((SIDE, SIDE, 3), np.nan, np.float32), photometric="rgb")
    _, xyz = made.part(train, "type")
    tifffile.imwrite(xyz, np.zeros((SIDE, SIDE, 3), np.uint16), photometric="rgb")
    made.part(train, "alone")[1].unlink()
    rgb, _ = made.part(train, "linked out")
    outside = made.folder / "elsewhere.png"
    shutil.move(rgb, outside)
    rgb.symlink_to(outside)
    rgb, _ = made.part(train, "twice")
    shutil.copy(rgb, rgb.with_suffix(".jpg"))
    made.part(train, b"latin \xe9")
    made.part(train, "with space é")
    return {
        "empty": "unreadable_image", "truncated": "unreadable_xyz", "nan": "nonfinite_points", "type": "wrong_type",
        "alone": "missing_xyz", "linked out": "link_outside", "twice": "ambiguous",
    }  # fmt: skip


def test_bad_parts_without_a_home_and_with_a_narrow_umask(surroundings: Surroundings) -> None:
    reasons = spoil(surroundings)
    # DVC cannot record such a name at all: the command stops and says which (`tenfold datasets check` gives it a row)
    refused = surroundings.run()
    assert refused.returncode == 1 and "Traceback" not in refused.stderr, refused.stderr
    assert f"{surroundings.source}/part/train/good/rgb/latin \\xe9.png: the name is not UTF-8" in refused.stderr, refused.stderr
    for path in surroundings.source.rglob("latin*"):
        path.unlink()
    before = surroundings.listing()
    done = surroundings.run(umask=0o077)
    assert done.returncode == 0, done.stderr
    assert surroundings.listing() == before
    assert surroundings.written_elsewhere() == []
    folder, manifest = Store(surroundings.root / ".tenfold").open("crossmodal_anomaly", "castings.part", "dataset")
    rows = {row["id"].rpartition("/")[2]: row["reason"] for row in tables.read(folder / "quarantine.parquet").to_pylist()}
    assert rows == reasons
    ids = [row["id"] for row in tables.read(folder / "samples.parquet").to_pylist()]
    assert len(ids) == 11 and "part/train/good/with space é" in ids
    # what others may not see, they do not: the mask holds for all that is ours
    open_to_others = [path for path in folder.rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []


def closed(folder: Path) -> tuple[str, ...]:
    """Take the right to write in a folder; also from root, whose commands then run without the power to override it."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o555)
    return () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")


@pytest.mark.parametrize("place", ["data", ".tenfold"])
def test_a_folder_that_may_not_be_written_is_named(surroundings: Surroundings, place: str) -> None:
    before = closed(surroundings.root / place)
    try:
        done = surroundings.run(*before, umask=0)
        assert list((surroundings.root / place).iterdir()) == []
    finally:
        (surroundings.root / place).chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{surroundings.root / place}/" in done.stderr
    assert ("permissions of data/" if place == "data" else f"user {os.geteuid()} may not") in done.stderr
    assert surroundings.written_elsewhere() == []


def test_the_watch_sees_what_is_written_elsewhere(surroundings: Surroundings) -> None:
    elsewhere = surroundings.folder / "elsewhere"
    code = f"open({str(elsewhere)!r}, 'w'); import sqlite3; sqlite3.connect({str(elsewhere)!r} + '.db')"
    env: dict[str, Any] = {"PYTHONPATH": str(surroundings.folder / "audit"), "MAY_WRITE": str(surroundings.root)}
    subprocess.run([sys.executable, "-c", code], env={**env, "WRITE_LOG": str(surroundings.folder / "log")}, check=True)
    assert surroundings.written_elsewhere() == [f"open {elsewhere}", f"sqlite3.connect {elsewhere}.db"]

"""One byte flips below the store: in a raw file, a table, `dvc.lock`, an object of DVC's cache. It is found before use, named, and made again."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tenfold.core.errors import BadData
from tenfold.ops import dvc, dvc_bytes

pytestmark = pytest.mark.slow

STAGES = """
stages:
  demo:
    cmd: python make.py
    deps: [source, make.py]
    outs: [data/demo]
"""
MAKE = """
import pathlib, shutil
folder = pathlib.Path("data/demo")
shutil.rmtree(folder, ignore_errors=True)
(folder / "files").mkdir(parents=True)
shutil.copyfile("source/table", folder / "samples.parquet")
shutil.copyfile("source/scan", folder / "files" / "scan.tiff")
print("made again", flush=True)
"""
STAGE = "demo"
TABLE, SCAN = Path("data/demo/samples.parquet"), Path("data/demo/files/scan.tiff")


class Repository:
    """A stage with a table and a scan, made once; `kept` is what was written."""

    def __init__(self, root: Path, link: str) -> None:
        self.root = root
        (root / "source").mkdir(parents=True)
        (root / "source" / "table").write_bytes(b"one row a part" * 50)
        (root / "source" / "scan").write_bytes(b"a point a pixel" * 50)
        (root / "dvc.yaml").write_text(STAGES)
        (root / "make.py").write_text(MAKE)
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text(f"[cache]\n    type = {link}\n")
        self.made = self.again()
        self.kept = {path: (root / path).read_bytes() for path in (TABLE, SCAN, Path("dvc.lock"))}
        assert ((root / TABLE).stat().st_nlink == 2) == (link == "hardlink")

    def again(self) -> list[str]:
        """What the next run says."""
        said: list[str] = []
        dvc.reproduce(STAGE, self.root, say=said.append)
        return said

    def sound(self) -> None:
        assert {path: (self.root / path).read_bytes() for path in self.kept} == self.kept
        for path in (self.root / ".dvc/cache/files/md5").glob("*/*"):
            assert hashlib.md5(path.read_bytes()).hexdigest() == (path.parent.name + path.name).removesuffix(".dir"), path

    def cached(self, path: Path) -> Path:
        md5 = hashlib.md5(self.kept[path]).hexdigest()
        return self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def flip(path: Path) -> None:
    """One bit in the middle; size, time and mode stay, as a failing disk leaves them."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as stream:  # the same inode: a hard link shows it too
        stream.write(data)
    path.chmod(stat.st_mode)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The harder form: data and cache are one file, so that both are damaged at once."""
    return Repository(tmp_path_factory.mktemp("damaged") / "root", "hardlink")


def table(repository: Repository) -> str:
    flip(repository.root / TABLE)
    return f"{repository.root / TABLE} is not what"


def object_of_the_cache(repository: Repository) -> str:
    """The dataset's folder was deleted, and what it comes back from is damaged."""
    flip(repository.cached(SCAN))
    shutil.rmtree(repository.root / "data")
    return f"{repository.cached(SCAN)} is not what"


def listing_of_the_cache(repository: Repository) -> str:
    (listing,) = repository.root.glob(".dvc/cache/files/md5/*/*.dir")
    flip(listing)
    return f"{listing} is not what"


@pytest.mark.parametrize("damage", [table, object_of_the_cache, listing_of_the_cache])
def test_it_is_named_and_made_again(repository: Repository, damage: Callable[[Repository], str]) -> None:
    words = damage(repository)
    said = repository.again()
    assert any(line.startswith(words) for line in said), said
    assert "made again" in said
    repository.sound()


def test_where_files_are_copied_too(tmp_path: Path) -> None:
    copied = Repository(tmp_path / "root", "copy")
    object_of_the_cache(copied)
    assert "made again" in copied.again()
    copied.sound()


def test_a_scan_that_prepared_refused_comes_back(repository: Repository) -> None:
    # DVC sees nothing; the sha256 on read does (tests/crossmodal_anomaly/test_prepare.py), and says to delete the folder
    flip(repository.root / SCAN)
    shutil.rmtree(repository.root / "data")
    repository.again()
    repository.sound()


@pytest.mark.parametrize(("before", "after"), [("'2.0'", "'9.0'"), ("outs:", "outs\0")])
def test_a_lock_file_that_cannot_be_read_is_named(repository: Repository, before: str, after: str) -> None:
    lock = repository.root / "dvc.lock"
    text = lock.read_text()
    lock.write_text(text.replace(before, after))
    with pytest.raises(BadData, match=r"dvc.lock is damaged. Restore it \(`git checkout dvc.lock`\) or delete it"):
        repository.again()
    lock.write_text(text)
    repository.sound()


def test_a_digit_in_the_lock_file_is_written_right_again(repository: Repository) -> None:
    lock = repository.root / "dvc.lock"
    text = lock.read_text()
    place = text.rindex("md5: ") + 10
    lock.write_text(text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :])
    repository.again()
    repository.sound()


def test_every_flipped_bit_of_a_file_is_noticed(tmp_path: Path) -> None:
    content = b"scan"
    cache = tmp_path / "cache"
    for bit in range(8 * len(content)):
        data = bytearray(content)
        data[bit // 8] ^= 1 << bit % 8
        (tmp_path / "file").write_bytes(data)
        assert dvc_bytes.damaged(tmp_path / "file", hashlib.md5(content).hexdigest(), cache, whole=True) == [tmp_path / "file"]

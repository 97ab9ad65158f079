"""Which errors mean a full or closed disk, and what is told then. On real disks: tests/faults/test_disk_full.py, test_bad_inputs.py."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from tenfold.core import atomic, disk
from tenfold.core.errors import BadData, Unwritable


def full(*names: str) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_a_full_disk_is_found_below_what_a_library_made_of_it(tmp_path: Path) -> None:
    for error in (full(), caused(RuntimeError("the step failed"), full()), ValueError("I/O error: No space left on device (os error 28)")):
        problem = disk.unwritable(error, tmp_path / "x", needs=1234567)
        assert problem is not None and str(problem).startswith(f"{tmp_path / 'x'} cannot be written: no space is left.")
        assert "it needs 1,234,567 bytes" in str(problem) and "tenfold gc" in str(problem)


def test_a_copy_names_its_target_and_needs_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(5000))
    copied = full(str(source))
    copied.filename2 = str(target)
    for error in (copied, shutil.Error([(str(source), str(target), str(full()))])):
        problem = disk.unwritable(error, tmp_path)
        assert problem is not None and str(problem).startswith(f"{target} cannot be written") and "it needs 5,000 bytes" in str(problem)


def test_a_copy_that_will_not_fit_is_not_begun(tmp_path: Path) -> None:
    with (tmp_path / "source").open("wb") as stream:
        stream.truncate(shutil.disk_usage(tmp_path).free + 1)  # a file of holes
    with pytest.raises(Unwritable, match=f"{tmp_path}/new/target cannot be written"):
        disk.require(tmp_path / "new" / "target", tmp_path / "source")
    os.truncate(tmp_path / "source", 10)
    disk.require(tmp_path / "new" / "target", tmp_path)


def test_a_closed_folder_is_told_apart(tmp_path: Path) -> None:
    problem = disk.unwritable(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x")), tmp_path)
    assert problem is not None and f"{tmp_path / 'x'} cannot be opened or written: user {os.geteuid()} may not" in str(problem)
    problem = disk.unwritable(OSError(errno.EROFS, "Read-only file system", str(tmp_path / "x")), tmp_path)
    assert problem is not None and "its disk is read-only" in str(problem)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        ValueError("a number is wrong"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        # said already, in better words
        caused(BadData("scan.tiff cannot be read"), PermissionError(errno.EACCES, "Permission denied", "scan.tiff")),
        # no file: a port below 1024, another user's process
        PermissionError(errno.EACCES, "Permission denied"),
    ],
)
def test_other_errors_stay_what_they_are(tmp_path: Path, error: BaseException) -> None:
    assert disk.unwritable(error, tmp_path) is None


def test_what_is_translated_once_stays(tmp_path: Path) -> None:
    said = Unwritable("x cannot be written")
    assert disk.unwritable(said, tmp_path) is said


def test_a_failed_write_leaves_the_old_file_and_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.write_text(tmp_path / "x", "old")

    def fail(*_: object) -> None:
        raise full()

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(Unwritable, match="it needs 3 bytes"):
        atomic.write_text(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"


def test_a_translated_error_is_not_its_own_cause(tmp_path: Path) -> None:
    """Whoever follows the chain of causes would never come to its end."""
    with pytest.raises(Unwritable) as caught, atomic.new_folder(tmp_path / "folder") as made, atomic.new_file(made / "file"):
        raise full()
    assert caught.value.__cause__ is not caught.value and isinstance(caught.value.__cause__, OSError)

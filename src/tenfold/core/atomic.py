"""Files and folders that are either wholly there or not there at all, also after a power cut.

New content is written beside its final name, flushed to disk, then renamed over it.
"""

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenfold.core import disk

# A name nobody else uses, so that what a killed process left behind can be told apart from data.
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tenfold-tmp")
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tenfold-tmp")


def is_leftover(name: str) -> bool:
    """True for the name of a temporary file or folder of this module."""
    return _LEFTOVER.fullmatch(name) is not None


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, innermost first; links are not followed."""
    for here, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(here, name)
            if not path.is_symlink():
                sync(path)
        sync(Path(here))


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents; on return their names survive a power cut."""
    missing = [each for each in (path, *path.parents) if not each.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync(each.parent)


@contextmanager
def new_file(path: Path, needs: int = 0) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it replaces `path`, on failure nothing has happened.

    Missing parent folders are made. For writers that want a path (whose suffix is not that
    of `path`); `write_bytes` is for bytes at hand. `needs`: about how many bytes will be written, if known.

    Raises:
        Unwritable: the disk is full, read-only or closed to this user.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        make_folder(path.parent)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        there = os.path.lexists(temporary)
        problem = disk.unwritable(error, path, needs, temporary.lstat().st_size if there else 0)
        if there:
            temporary.unlink()
        if problem is None or problem is error:
            raise
        raise problem from error
    sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, atomically."""
    with new_file(path, len(data)) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically; line ends are kept as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as standard JSON (sorted keys; NaN and infinities are refused with ValueError), atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final`; on success it takes that name, on failure it is removed.

    A folder that already stood at `final` is replaced: both change names in one step, so that a reader finds the old one or the new
    one. Raises Unwritable as `new_file` does.
    """
    final = Path(final)
    temporary = _beside(final)
    try:
        make_folder(final.parent)
        temporary.mkdir()
        yield temporary
        sync_tree(temporary)
        replaced = final.exists()
        if not replaced:
            os.rename(temporary, final)
        elif not _exchange(temporary, final):
            _swap(temporary, final)
    except BaseException as error:
        written = sum(path.lstat().st_size for path in temporary.rglob("*"))
        problem = disk.unwritable(error, final, written=written)
        shutil.rmtree(temporary, ignore_errors=True)
        if problem is None or problem is error:
            raise
        raise problem from error
    sync(final.parent)
    if replaced:
        shutil.rmtree(temporary)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False where the system or the file system (NFS) cannot."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _swap(new: Path, final: Path) -> None:
    """The same in three steps: a crash after the first leaves the old folder under a temporary name and nothing at `final`."""
    old = _beside(final)
    os.rename(final, old)
    try:
        os.rename(new, final)
    except BaseException:
        os.rename(old, final)
        raise
    os.rename(old, new)

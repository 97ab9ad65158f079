"""What a full, read-only or closed disk means to the user: one message, whatever library met it."""

import errno
import os
import shutil
from pathlib import Path

from tenfold.core.errors import TenfoldError, Unwritable

TEMPORARY = ".tenfold-tmp"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# safetensors and SQLite give no number
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_CLOSED_WORDS = ("Read-only file system", "attempt to write a readonly database", "unable to open database file")
# SQLite, which cannot make its shared memory
_SILENT_WORDS = "disk I/O error"
# tifffile and NumPy tell of a full disk only by how little they wrote; a failed write leaves less than this
_NO_ROOM = 64 << 10


def unwritable(error: BaseException, path: Path, needs: int = 0, written: int = 0) -> Unwritable | None:
    """The error to show if `error` came of a disk that takes no more; None for all others.

    Args:
        path: what was being written, or a folder on its disk; a path that the error itself carries comes first.
        needs: its bytes, 0 if unknown; `written`: those that were written when it failed, and will be removed.
    """
    if isinstance(error, TenfoldError) or not isinstance(error, Exception):
        return error if isinstance(error, Unwritable) else None
    chain = _chain(error)
    numbers = {cause.errno for cause in chain if isinstance(cause, OSError)}
    words = " ".join(map(str, chain))
    named, source = next((_named(cause) for cause in chain if _named(cause)[0]), ("", ""))
    where = Path(named) if named and TEMPORARY not in named else path
    needs = needs or (os.path.getsize(source) if os.path.isfile(source) else 0)
    folder = _existing(where)
    left = shutil.disk_usage(folder).free
    silent = left < _NO_ROOM and (isinstance(error, OSError) and error.errno is None or _SILENT_WORDS in words)
    if silent or numbers & set(_FULL) or any(each in words for each in _FULL_WORDS):
        return _full(where, left + written, needs)
    closed = bool(numbers & set(_CLOSED) and named) or any(each in words for each in _CLOSED_WORDS) and not os.access(folder, os.W_OK)
    if closed:
        why = "its disk is read-only" if errno.EROFS in numbers else f"user {os.geteuid()} may not"
        return Unwritable(
            f"{where} cannot be opened or written: {why}. What was finished before is whole. Give that right, or set TENFOLD_HOME (for "
            "data/: TENFOLD_ROOT) to a folder that can be written, then run the same command again."
        )
    return None


def require(path: Path, source: Path) -> None:
    """Raise Unwritable if a file or folder will not fit at `path`: a copy that fails half-way takes the last byte from all others."""
    files = [each for each in source.rglob("*") if each.is_file()] if source.is_dir() else [source]
    needs = sum(each.stat().st_size for each in files)
    free = shutil.disk_usage(_existing(path)).free
    if free < needs + _NO_ROOM:
        raise _full(path, free, needs + _NO_ROOM)


def _full(path: Path, room: int, needs: int) -> Unwritable:
    wanted = f"{needs:,} bytes" if needs else "more"
    return Unwritable(
        f"{path} cannot be written: no space is left. There is room for {room:,} bytes, it needs {wanted}. What was finished before is "
        "whole. Make room (`tenfold gc --delete`, `dvc gc -w`) or use a larger disk, then run the same command again."
    )


def _existing(path: Path) -> Path:
    return next((each for each in (path, *path.parents) if os.path.exists(each)), Path("/"))


def _named(error: BaseException) -> tuple[str, str]:
    """The file that was being written, as far as the error names it, and the one that was copied there."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        source, target = error.args[0][0][:2]  # of a folder: the first that failed
        return str(target), str(source)
    if not isinstance(error, OSError) or not isinstance(error.filename, str | bytes):
        return "", ""
    if isinstance(error.filename2, str | bytes):
        return os.fsdecode(error.filename2), os.fsdecode(error.filename)
    return os.fsdecode(error.filename), ""


def _chain(error: BaseException) -> list[BaseException]:
    """The error, then what led to it."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
    return found

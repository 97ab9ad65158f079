"""Files and folders that are either wholly there or not there at all, also after a power cut.

New content is written beside its final name, flushed to disk, then renamed over it.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# A name nobody else uses, so that what a killed process left behind can be told apart from data.
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tenfold-tmp")


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


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it replaces `path`, on failure nothing has happened.

    Missing parent folders are made. For writers that want a path (whose suffix is not that
    of `path`); `write_bytes` is for bytes at hand.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, atomically."""
    with new_file(path) as temporary:
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

    A folder that already stood at `final` is replaced. Two renames are needed then: a crash between them leaves the old
    folder under a temporary name and nothing at `final`, never a mixture.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(final)
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        old = _beside(final)
        replaced = final.exists()
        if replaced:
            os.rename(final, old)
        try:
            os.rename(temporary, final)
        except BaseException:
            if replaced:
                os.rename(old, final)
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(final.parent)
    if replaced:
        shutil.rmtree(old)

"""Append-only journals: what MLflow shall know is on the disk first, and leaves it when MLflow has it.

One file a session, one JSON object a line. Its writer holds a lock on the file itself (`flock`), which ends with
the process; so a file that can be locked was left behind and may be sent and deleted by whoever finds it.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenfold.core import atomic

Entry = dict[str, Any]


class Spool:
    """A locked journal. `read` gives what was appended since the last `read`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._read_to = 0

    @property
    def confirmed(self) -> int:
        """Bytes of the journal that are with MLflow."""
        return self._read_to

    def append(self, entry: Entry) -> None:
        """Write one entry; on return it survives a kill and a power loss."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        if end and os.pread(self._descriptor, 1, end - 1) != b"\n":
            line = b"\n" + line  # the writer before us was cut off in the middle of a line
        while line:
            line = line[os.write(self._descriptor, line) :]  # a disk that fills up takes a part, then raises
        os.fsync(self._descriptor)

    def read(self) -> list[tuple[Entry, int]]:
        """Entries not yet confirmed, each with the position to confirm; a line that was cut off is left out."""
        size = os.fstat(self._descriptor).st_size
        block = os.pread(self._descriptor, size - self._read_to, self._read_to)
        found, position = [], self._read_to
        for line in block.splitlines(keepends=True):
            position += len(line)
            if not line.endswith(b"\n"):
                break
            try:
                found.append((json.loads(line), position))
            except ValueError:
                continue
        return found

    def confirm(self, position: int) -> None:
        """Everything up to `position` is with MLflow."""
        self._read_to = position

    def close(self) -> bool:
        """Let go of the file and delete it if everything in it was confirmed; return whether it was."""
        done = not self.read()
        if done:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        return done


def open_for(folder: Path, name: str) -> Spool:
    """The journal `name`: the one a killed session left, a new one, or a second one while the first is in use."""
    atomic.make_folder(folder)
    number = 0
    while True:
        path = folder / (f"{name}.jsonl" if number == 0 else f"{name}.{number}.jsonl")
        spool = _lock(path, os.O_CREAT)
        if spool is not None:
            atomic.sync(folder)  # the journal's name, too, survives a power loss
            return spool
        number += 1


def waiting(folder: Path) -> list[Path]:
    """Journals on the disk: sessions in progress and those that wait for MLflow."""
    return sorted(folder.glob("*.jsonl"))


def left_behind(folder: Path) -> Iterator[Spool]:
    """Locked journals whose writers are gone. Close each."""
    for path in waiting(folder):
        spool = _lock(path, 0)
        if spool is not None:
            yield spool


def _lock(path: Path, flags: int) -> Spool | None:
    """The journal at `path`, locked; None if another session has it or it is gone."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o644)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is(descriptor, path):
            return Spool(path, descriptor)
        os.close(descriptor)  # deleted by its last owner between our open and our lock: look again


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

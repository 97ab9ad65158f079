"""Real deaths at chosen moments, and what a power cut would have taken with them."""

import os
import signal
import stat
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Whatever changes a folder or opens a file for writing; fsync, which Python does not audit, is counted as well.
_EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Death:
    """How a child ended: killed before a step, or done. `flushed`: size by inode of what it flushed; `careless`: renames of or
    without what was flushed."""

    killed: bool
    flushed: dict[int, int] = field(default_factory=dict)
    careless: list[str] = field(default_factory=list)


def inodes(root: Path) -> dict[int, int]:
    """Size by inode of every file below `root`."""
    found = (path.lstat() for path in root.rglob("*"))
    return {each.st_ino: each.st_size for each in found if stat.S_ISREG(each.st_mode)}


def die_at(step: int, root: Path, action: Callable[[], Any]) -> Death:
    """Run `action` in a child that gets SIGKILL before its `step`-th touch of the disk.

    A touch is an opening for writing, a flush, a rename, a new folder, a deletion. `root` holds all that is written.
    """
    before = inodes(root)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _child(step, root, before, send, action)
    os.close(send)
    with os.fdopen(receive) as stream:
        lines = stream.read().splitlines()
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "\n".join(lines)
    death = Death(os.WIFSIGNALED(status), dict(before))
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "flushed":
            number, size = map(int, rest.split())
            death.flushed[number] = size
        else:
            death.careless.append(rest)
    return death


def cut_the_power(root: Path, death: Death) -> None:
    """What was never flushed is half there; what was flushed and then grew is as it was."""
    for path in root.rglob("*"):
        seen = path.lstat()
        if stat.S_ISREG(seen.st_mode):
            kept = death.flushed.get(seen.st_ino, seen.st_size // 2)
            if kept < seen.st_size:
                os.truncate(path, kept)


def _child(step: int, root: Path, before: dict[int, int], send: int, action: Callable[[], Any]) -> None:
    left = iter(range(step))
    flushed, pending = dict(before), dict[str, str]()
    fsync, sending = os.fsync, False
    sys.dont_write_bytecode = True
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # the parent's other threads are not here

    def tell(line: str) -> None:
        nonlocal sending
        sending = True
        os.write(send, f"{line}\n".encode())
        sending = False

    def touch() -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def flush(handle: int) -> None:
        touch()
        fsync(handle)
        seen = os.fstat(handle)
        if stat.S_ISDIR(seen.st_mode):
            pending.pop(os.readlink(f"/proc/self/fd/{handle}"), None)
        else:
            flushed[seen.st_ino] = seen.st_size
            tell(f"flushed {seen.st_ino} {seen.st_size}")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if sending or not (event in _EVENTS or event == "open"):
            return
        if event == "open":
            path, _, flags = arguments
            # descriptors, lock files and devices hold no data
            if not isinstance(path, str | os.PathLike) or not flags & _WRITES or os.fspath(path).endswith((".lock", "/dev/null")):
                return
        touch()
        if event == "os.rename" and Path(os.fsdecode(arguments[0])).is_absolute():
            source, target = (Path(os.fsdecode(each)) for each in arguments[:2])
            for path in [source, *source.rglob("*")]:
                seen = path.lstat()
                if stat.S_ISREG(seen.st_mode) and flushed.get(seen.st_ino) != seen.st_size:
                    tell(f"careless {path} was not flushed before it became {target}")
            pending[str(target.parent)] = str(target)

    try:
        os.fsync = flush
        sys.addaudithook(audit)
        action()
        for target in pending.values():
            tell(f"careless the folder of {target} was not flushed after the rename")
    except BaseException:
        tell("\n".join(f"careless {line}" for line in traceback.format_exc().splitlines()))
        os._exit(1)
    os._exit(0)

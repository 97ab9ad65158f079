"""A real disk of a few megabytes: a tmpfs in a mount namespace of its own, which ends with the process that holds it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_HOLD = 'mount -t tmpfs -o "size=$2" none "$1" && echo ready && read -r _'


class SmallDisk:
    """`path` is where commands given to `run` see the disk, `inside` where this process does."""

    def __init__(self, path: Path, holder: int) -> None:
        self.path = path
        self.inside = Path(f"/proc/{holder}/root") / path.relative_to("/")
        self._enter = ["nsenter", f"--target={holder}", "--mount"]
        if os.geteuid() != 0:
            self._enter += ["--user", "--preserve-credentials"]

    def run(self, command: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command that sees the disk at `path`."""
        return subprocess.run(self._inside(command, cwd), env=env, capture_output=True, text=True, timeout=300)

    def start(self, command: Sequence[str], env: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
        """The same, to speak with through its input and output."""
        return subprocess.Popen(self._inside(command, cwd), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _inside(self, command: Sequence[str], cwd: Path | None) -> list[str]:
        # the folder to start in lies on the disk, which only the command sees
        return [*self._enter, "sh", "-c", 'cd "$0" && exec "$@"', str(cwd or self.path), *command]

    def python(self, code: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A piece of Python that sees the disk at `path`, which is its first argument."""
        return self.run([sys.executable, "-c", code, str(self.path), *words])

    def size(self, size: int) -> None:
        """Make the disk larger, or as small as what is on it allows."""
        done = self.run(["mount", "-t", "tmpfs", "-o", f"remount,size={size}", "none", str(self.path)])
        assert done.returncode == 0, done.stderr

    def leave(self, free: int) -> None:
        """Leave `free` bytes on it."""
        stat = os.statvfs(self.inside)
        self.size((stat.f_blocks - stat.f_bfree) * stat.f_frsize + free)

    def files(self, *folders: str) -> dict[str, str]:
        """sha256 of every file below these folders, by its path on the disk."""
        return {
            str(path.relative_to(self.inside)): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in folders
            for path in sorted((self.inside / folder).rglob("*"))
            if path.is_file() and not path.is_symlink()
        }


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """A disk of `size` bytes at `path`. Needs root with the right to mount, or user namespaces; it never goes without."""
    path.mkdir(parents=True)
    names = ["--mount", "--propagation=private"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    holder = subprocess.Popen(
        ["unshare", *names, "sh", "-c", _HOLD, "hold", str(path), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert holder.stdout is not None
    try:
        said = holder.stdout.readline()
        assert said == "ready\n", f"no small disk can be mounted here (root with CAP_SYS_ADMIN or user namespaces are needed): {said}"
        yield SmallDisk(path, holder.pid)
    finally:
        # its input ends, so it does too, and with it the disk
        holder.communicate(timeout=30)

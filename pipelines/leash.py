"""Keeps servers from outliving the command that started them, also where that is killed with SIGKILL.

`tenfold ui` starts this module as a process of its own and tells it the process groups of its servers, a line each.
When the pipe between them closes, which the system does for whoever dies, the groups are ended. A lock tells the next
`tenfold ui` that this is still going on.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock

GRACE_S = 30.0


class Leash:
    """The command's end of the pipe."""

    def __init__(self, lock: Path) -> None:
        command = [sys.executable, "-m", __name__, str(lock)]
        # a session of its own: what ends the command's whole group must not reach it
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        assert self._process.stdout is not None
        # it has the lock and no signal ends it any more
        self._process.stdout.readline()

    def hold(self, group: int) -> None:
        """End this process group when we are gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{group}\n".encode())
        self._process.stdin.flush()

    def release(self) -> None:
        """The groups have ended, and their numbers may belong to others soon: end none of them."""
        self._process.kill()
        self._process.communicate()


def end(groups: Iterable[int], grace_s: float = GRACE_S, reap: Callable[[], object] = lambda: None) -> None:
    """SIGTERM to each process group, SIGKILL to what is left of it, also where the leader is already gone.

    What a group starts after that and leaves without a parent gets its own SIGTERM: Dagster starts a code server again
    if it sees that one end before it has heard itself that it shall end. `reap` waits for leaders that are the caller's
    children: one that ended but was not waited for would still count.
    """
    reap()
    left = [group for group in groups if signalled(group, 0)]
    told = {pid for pid, _ in members(left)}
    left = [group for group in left if signalled(group, signal.SIGTERM)]
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        reap()
        left = [group for group in left if signalled(group, 0)]
        for pid in {pid for pid, orphan in members(left) if orphan} - told:
            told.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    for group in left:
        signalled(group, signal.SIGKILL)


def members(groups: Iterable[int]) -> list[tuple[int, bool]]:
    """Processes of these groups, and whether the parent of each is outside its group."""
    wanted, found = set(groups), []
    for process in psutil.process_iter() if wanted else ():
        try:
            group = os.getpgid(process.pid)
            if group in wanted:
                found.append((process.pid, os.getpgid(process.ppid()) != group))
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def signalled(group: int, number: int) -> bool:
    """Send a signal to a whole process group (0: only look); False if nobody is left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def main(lock: Path) -> None:
    """Read groups until the pipe closes, then end them."""
    # not for us: a closed terminal, a logout, somebody's `kill`; only the pipe says that the command is gone
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    with FileLock(lock):
        print("ready", flush=True)
        end([int(line) for line in sys.stdin])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

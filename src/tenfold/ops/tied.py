"""Run a command that does not outlive the process that started it: `python -m tenfold.ops.tied PID COMMAND...` (Linux)."""

import ctypes
import os
import signal
import sys

PARENT = "TENFOLD_TIED"  # what the command's own children read: the process id that they must not outlive
_PR_SET_PDEATHSIG = 1


def tie(parent: int) -> None:
    """Be killed when `parent`, the process that started this one, ends, however it ends; at once if it is gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    # the command takes this process over, and the tie with it
    os.execve(sys.argv[2], sys.argv[2:], {**os.environ, PARENT: str(os.getpid())})

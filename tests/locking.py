"""Another process that holds SQLite files, as a backup or a slow disk does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLD = """
import sqlite3, sys, time
held = [sqlite3.connect(path, isolation_level=None) for path in sys.argv[2:]]
for each in held:
    each.execute("PRAGMA busy_timeout = 20000")
    each.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[1]))
for each in held:
    each.execute("COMMIT")
"""


@contextmanager
def locked(seconds: float, *paths: Path) -> Iterator[None]:
    """On entry all files are locked; they are free again after so many seconds, and at the latest when the block ends."""
    assert all(path.is_file() for path in paths)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(seconds), *map(str, paths)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        yield
        assert holder.wait(seconds + 30) == 0
    finally:
        holder.kill()
        holder.communicate()

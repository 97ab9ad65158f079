"""No clock decides what is used: not a file's times, and not a clock that was put back. Content does."""

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import PAPER, PARTITION, PREPARED, STEPS, Run
from support import CHECKOUT, tenfold

from pipelines.papers import PAPERS
from tenfold.core import code, params
from tenfold.core.errors import Corrupt
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.store import Store

TWO_HOURS = 7200


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((CHECKOUT / room).rglob("*.py"))]


def test_no_line_of_ours_reads_the_time_of_a_file() -> None:
    times = re.compile(r"st_[acm]time|get[acm]time|\butime\(|-newer|mtime")
    assert [str(path) for path in sources("src", "assets", "pipelines") if times.search(path.read_text())] == []


def test_what_names_keys_and_makes_content_reads_no_calendar() -> None:
    calendar = re.compile(r"time\.time(?:_ns)?\(|datetime\.(?:now|today|utcnow)|date\.today|strftime|gmtime|localtime")
    rooms = sources("src/tenfold/core", *(f"src/tenfold/{paper}" for paper in PAPERS), "assets")
    assert len(rooms) > 40
    assert [str(path) for path in rooms if calendar.search(path.read_text())] == []


def altered(path: Path) -> None:
    """One byte, behind an unchanged time and size."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


@pytest.mark.parametrize("name", ["content", "inputs"])
def test_a_stored_file_altered_behind_its_time_and_size_is_not_used(tiny: Path, name: str) -> None:
    run = Run("a", tiny)
    run.go()
    altered(run.store.open(PAPER, PARTITION, "features")[0] / name)
    with pytest.raises(Corrupt, match="gone or damaged"):
        Store(tiny / ".tenfold").open(PAPER, PARTITION, "features")
    again = Run("again", tiny, says="a")
    again.go()
    assert again.made == ["features"] and again.contents() == {"a"}


def test_a_shard_altered_behind_its_time_and_size_is_not_read(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.add("a", {"x": np.arange(9)})
    altered(min(tmp_path.glob("0*")))
    with pytest.raises(Corrupt, match="damaged"):
        ShardReader(tmp_path).get("a")
    assert not ShardWriter(tmp_path).done


def test_params_and_code_altered_behind_their_time_and_size_are_seen(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "package" / "module.py"
    path.parent.mkdir()
    path.write_text("value = 1\n")
    first = code.content("package.module", tmp_path)
    stamp = path.stat()
    path.write_text("value = 2\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert code.content("package.module", tmp_path) != first
    file, before = tiny / params.FILE, params.load(tiny)
    stamp = file.stat()
    file.write_text(file.read_text().replace("seed: 0", "seed: 1", 1))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert file.stat().st_size == stamp.st_size and params.load(tiny) != before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which the calendar's clock is wrong; tests change the one number."""
    wrong = [0.0]
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + wrong[0])
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(wrong[0] * 1e9))
    return wrong


def set_times(folder: Path, by: float) -> None:
    """Let every file be as old as if it had been written by a clock that was wrong by so many seconds."""
    for path in folder.rglob("*"):
        stamp = path.lstat()
        os.utime(path, (stamp.st_atime + by, stamp.st_mtime + by), follow_symlinks=False)


def test_with_the_clock_put_back_everything_is_found_and_the_new_takes_the_place_of_the_old(tiny: Path, clock: list[float]) -> None:
    first = Run("a", tiny)
    first.go()
    clock[0] = -TWO_HOURS
    again = Run("again", tiny, says="a")
    again.go()
    assert again.made == [] and again.current() == first.current()
    newer = Run("b", tiny)
    newer.go()
    set_times(tiny / ".tenfold" / "store", -TWO_HOURS)
    assert newer.made == [step.name for step in STEPS] and Run("later", tiny).contents() == {"b"}


def test_the_same_work_at_another_time_has_the_same_keys_and_digests(tiny: Path, clock: list[float], monkeypatch: Any) -> None:
    found = []
    for hours in (0, -2, 24 * 365):
        clock[0] = hours * 3600
        monkeypatch.setenv("TENFOLD_HOME", str(tiny / str(hours) / ".tenfold"))
        run = Run("a", tiny / str(hours))
        run.go()
        found.append({name: (manifest.key, manifest.digest, manifest.files) for name, manifest in run.current().items()})
    assert found[0] == found[1] == found[2]


def test_damage_found_twice_in_one_moment_is_set_aside_twice(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1.0)
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    for _ in range(2):
        run = Run("a", tiny)
        run.go(PREPARED)
        altered(run.store.open(PAPER, PARTITION, "prepared")[0] / "content")
    Run("a", tiny).go(PREPARED)
    assert len(list((tiny / ".tenfold" / "work" / "corrupt" / PAPER / "prepared").iterdir())) == 2


def from_the_future(root: Path) -> None:
    """Let all that was recorded be two hours ahead of the clock: what a clock put back by two hours finds."""
    set_times(root, TWO_HOURS)
    shifted = 0
    for path in (root / ".tenfold").rglob("*.db"):
        with closing(sqlite3.connect(path)) as database, database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                    if "time" not in column:
                        continue
                    if any(word in kind for word in ("INT", "FLOAT", "REAL")):
                        by = f"{column} + CASE WHEN {column} > 1e11 THEN {TWO_HOURS * 1000} ELSE {TWO_HOURS} END"
                    else:
                        by = f"strftime('%Y-%m-%d %H:%M:%f000', {column}, '+2 hours')"
                    shifted += database.execute(f"UPDATE {table} SET {column} = {by} WHERE {column} IS NOT NULL").rowcount
    assert shifted > 100


@pytest.mark.dag
@pytest.mark.slow
def test_a_real_run_two_hours_before_the_last_one_changes_nothing(copied: Path) -> None:
    from_the_future(copied)
    done = tenfold(copied, "run", f"{PAPER}.{PARTITION}")
    assert done.returncode == 0, done.stderr
    assert "none recomputed" in done.stdout and "made in" not in done.stderr

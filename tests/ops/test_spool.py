"""Journals survive kills, and each has one owner."""

import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.ops import spool


def entries(journal: spool.Spool) -> list[spool.Entry]:
    return [entry for entry, _ in journal.read()]


def test_confirmed_entries_are_not_read_again_and_an_empty_journal_goes_away(tmp_path: Path) -> None:
    journal = spool.open_for(tmp_path, "a")
    for number in range(3):
        journal.append({"n": number})
    journal.confirm(journal.read()[1][1])
    assert entries(journal) == [{"n": 2}]
    assert not journal.close() and journal.path.exists()
    again = spool.open_for(tmp_path, "a")
    assert entries(again) == [{"n": 0}, {"n": 1}, {"n": 2}]  # a new owner cannot know what was confirmed
    again.confirm(again.read()[-1][1])
    assert again.close() and spool.waiting(tmp_path) == []


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=0))
def test_a_line_that_was_cut_off_costs_that_line_only(cut: int, tmp_path_factory: object) -> None:
    folder = tmp_path_factory.mktemp("spool")  # type: ignore[attr-defined]
    journal = spool.open_for(folder, "a")
    journal.append({"n": 0})
    whole = journal.path.stat().st_size
    journal.append({"n": 1, "text": "ä" * 3})
    journal.close()
    data = journal.path.read_bytes()
    kept = whole + cut % (len(data) - whole)
    journal.path.write_bytes(data[:kept])
    again = spool.open_for(folder, "a")
    assert entries(again) == [{"n": 0}]
    again.append({"n": 2})
    # a cut right before the newline leaves a whole line, which the next writer ends
    assert entries(again) in ([{"n": 0}, {"n": 2}], [{"n": 0}, {"n": 1, "text": "äää"}, {"n": 2}])
    again.close()


def test_a_journal_in_use_is_left_alone(tmp_path: Path) -> None:
    first = spool.open_for(tmp_path, "a")
    first.append({"n": 0})
    second = spool.open_for(tmp_path, "a")
    second.append({"n": 1})
    assert first.path != second.path
    assert list(spool.left_behind(tmp_path)) == []
    first.close()
    left = list(spool.left_behind(tmp_path))
    assert [entries(journal) for journal in left] == [[{"n": 0}]]
    left[0].close()
    second.close()


def test_a_killed_writer_leaves_its_journal_to_others(tmp_path: Path) -> None:
    program = (
        "import os, signal; from pathlib import Path; from tenfold.ops import spool\n"
        f"spool.open_for(Path({str(tmp_path)!r}), 'a').append({{'n': 1}})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (journal,) = spool.left_behind(tmp_path)
    assert entries(journal) == [{"n": 1}]
    journal.close()

"""The stage: its tables, going on after a kill, wrong recipes."""

import math
from pathlib import Path

import pytest

from tenfold.autocalibration import config, taxonomy, taxonomy_stage
from tenfold.core import tables
from tenfold.core.errors import UsageError
from tenfold.core.progress import Event, Progress

LISTED = [problem for problem in taxonomy.PROBLEMS if problem != "3V6P-full"]


def run(out: Path, problems: list[str], seed: int = 0, progress: Progress | None = None) -> object:
    return taxonomy_stage.run(config.Taxonomy(problems=problems, seed=seed), out, progress or Progress())


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_tables_hold_what_the_catalogue_says(tmp_path: Path) -> None:
    made = taxonomy_stage.run(config.Taxonomy(problems=LISTED, seed=0), tmp_path, Progress())
    problems = tables.read(tmp_path / "problems.parquet").to_pylist()
    relaxations = tables.read(tmp_path / "relaxations.parquet").to_pylist()
    assert [row["problem"] for row in problems] == LISTED
    for row in problems:
        own = [each for each in relaxations if each["problem"] == row["problem"]]
        assert [each["orbit"] for each in own] == list(range(row["orbits"]))
        assert [each["mask"] for each in own] == sorted(each["mask"] for each in own)
        assert sum(each["size"] for each in own) == row["subsets"] == math.comb(row["equations"], row["dropped"])
        assert {each["mask"].bit_count() for each in own} == {row["unknowns"]}
        assert sum(not each["singular"] for each in own) == row["nonsingular"]
    excess = {row["problem"]: row["excess"] for row in problems}
    assert excess == {"2V5P": 0, "2V6P-f": 0, "2V7P-fxfy": 0, "3V4P": 1, "3V4P-f": 0, "3V5P-fxfy": 2, "3V5P-square": 1, "3V5P-zeroskew": 0}
    assert made.facts["nonsingular"] == 80
    assert made.facts["burnside"] == {row["problem"]: row["orbits"] for row in problems}
    assert made.facts["chosen"]["3V4P-f"] == 4095
    table = made.notes[0].value
    assert len(table["rows"]) == len(LISTED) and table["columns"][-1] == "orbits by Burnside"
    assert made.notes[1].value == 80
    made.to_json()


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        taxonomy.relaxations.cache_clear()
        run(tmp_path / name, ["2V6P-f", "3V5P-square"], seed=3)
    assert content(tmp_path / "one") == content(tmp_path / "other")
    run(tmp_path / "third", ["2V6P-f", "3V5P-square"], seed=4)
    assert content(tmp_path / "one") != content(tmp_path / "third")


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_killed_run_goes_on_behind_the_last_finished_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Killed before each of the writes in turn; the end is the same to the byte, and what was finished is not done again."""
    names = ["3V4P", "2V6P-f", "3V5P-zeroskew"]
    run(tmp_path / "whole", names)
    left = writes
    write = tables.write

    def dying(*arguments: object) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tables, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", names)
    monkeypatch.setattr(tables, "write", write)
    again: list[str] = []
    enumerate_one = taxonomy.relaxations
    monkeypatch.setattr(taxonomy, "relaxations", lambda problem, seed: again.append(problem) or enumerate_one(problem, seed))
    events: list[Event] = []
    run(tmp_path / "cut", names, progress=Progress(events.append))
    assert again == names[writes // 2 :]
    assert (events[0].done, events[-1].done, events[-1].total) == (writes // 2, 3, 3)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_finished_folder_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, ["2V5P"])
    before = content(tmp_path)
    monkeypatch.setattr(taxonomy, "relaxations", lambda *_: pytest.fail("done again"))
    run(tmp_path, ["2V5P"])
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        ([], "taxonomy.problems is empty"),
        (["3V4P", "3V4P-g"], "'3V4P-g' is not in the catalogue"),
        (["3V4P", "3V4P"], "names 3V4P more than once"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_is_written(tmp_path: Path, problems: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path, problems)
    assert not list(tmp_path.iterdir())

"""The offline stage: degrees, certificates, start systems, resume."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tenfold.autocalibration import config, focal2v, monodromy, taxonomy_stage, train
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import tables
from tenfold.core.errors import UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress

BLOCK = config.Model(
    solvers=["focal2v"],
    stored={},
    degrees=["2V5P"],
    seeds=[0, 1],
    stale=3,
    candidates=2,
    validation=3,
    samples=4,
    threshold_px=2.0,
    triplets=2,
)


@pytest.fixture(scope="module")
def taxonomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taxonomy")
    taxonomy_stage.run(config.Taxonomy(problems=["2V5P", "2V6P-f"], seed=0), folder, Progress())
    return folder


def run(taxonomy: Path, out: Path, block: config.Model = BLOCK) -> Path:
    out.mkdir(exist_ok=True)
    train.run(taxonomy, block, out, out, Progress(), NullJournal())
    return out


def test_degrees_are_certified_and_a_start_system_is_made(taxonomy: Path, tmp_path: Path) -> None:
    out = run(taxonomy, tmp_path / "out")
    rows = tables.read(out / "degrees.parquet").to_pylist()
    assert [(row["problem"], row["solutions"], row["joined"], row["certified"]) for row in rows] == [
        ("2V5P", 20, 20, True), ("2V5P", 20, 20, True), ("2V6P-f", 30, 30, False),
    ], "the solver's own problem from one seed only: not certified"  # fmt: skip
    growth = json.loads((out / "growth.json").read_text())
    assert all(known[-1] == 20 for known in growth["2V5P"]["0"].values())
    start = StartSystem.load(out / "predictor" / "focal2v.npz")
    assert (
        start.degree == 30
        and start.problem.kind == focal2v.KIND
        and not start.facts["certified"]
        and len(start.facts["solves_per_path"]) == 2
    )


def test_a_killed_run_goes_on_to_the_same_end(taxonomy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(taxonomy, tmp_path / "whole")
    real, calls = monodromy.find, []

    def third_dies(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(monodromy, "find", third_dies)
    with pytest.raises(KeyboardInterrupt):
        run(taxonomy, tmp_path / "killed")
    (tmp_path / "killed" / "systems" / "2V5P.0.0.npz").write_bytes(b"half")
    killed = run(taxonomy, tmp_path / "killed")
    assert len(calls) == 3 + 2, "one was whole, one was damaged"
    for name in ("predictor/focal2v.npz", "growth.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes() or name.endswith("npz")
    one, other = (StartSystem.load(folder / "predictor" / "focal2v.npz") for folder in (whole, killed))
    assert (one.solutions == other.solutions).all() and (one.base == other.base).all()


def test_what_does_not_exist_is_named(taxonomy: Path, tmp_path: Path) -> None:
    for change, words in (
        ({"solvers": ["foal"]}, "no solver 'foal'"),
        ({"degrees": ["9V1P"]}, "not in the catalogue"),
        ({"degrees": ["3V4P"]}, "does not hold"),
    ):
        with pytest.raises(UsageError, match=words):
            run(taxonomy, tmp_path / "out", replace(BLOCK, **change))

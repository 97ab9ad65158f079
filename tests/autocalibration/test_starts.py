"""Kept start systems: what is kept solves its equations and is the recipe's, what is damaged or of another problem is refused."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from tenfold.autocalibration import config, exact, full, monodromy, square, starts, taxonomy, taxonomy_stage, train, twins, zero_skew
from tenfold.autocalibration.equations import random_image, relative_residual
from tenfold.autocalibration.problems import all_edges
from tenfold.autocalibration.start_system import StartSystem, fresh, without_twins
from tenfold.core import params, tables
from tenfold.core.errors import Corrupt, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress

CHECKOUT = Path(__file__).parents[2]
KEPT = ("3V5P-zeroskew", "3V6P-full")
QUICK = "2V6P-f"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a start system of a problem that takes no time, found by the command."""
    folder = tmp_path_factory.mktemp("starts")
    (folder / "runs").mkdir()
    runs = [starts.run(QUICK, seed, 3, folder / "runs") for seed in (0, 1)]
    starts.certified(QUICK, runs).save(folder / f"{QUICK}.npz")
    return folder


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("problem_id", KEPT)
def test_what_is_kept_is_what_the_demo_names(problem_id: str) -> None:
    named = params.block(params.load(CHECKOUT), "autocalibration", "demo", "model")["stored"]
    assert set(named) == set(KEPT)
    system = starts.stored(problem_id, named[problem_id])
    assert system.problem == taxonomy.choose(problem_id) and system.degree > 1000
    runs = system.facts["runs"]
    assert len(runs) > 1 and all(run["solutions"] <= system.degree for run in runs)
    assert system.facts["certified"] == all(run["solutions"] == system.degree for run in runs)
    assert (starts.FOLDER / f"{problem_id}.npz").stat().st_size < 1_000_000


def test_the_command_goes_on_after_runs_that_ended(quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, path = tmp_path / "runs", tmp_path / f"{QUICK}.npz"
    runs.mkdir()
    shutil.copy(quick / "runs" / f"{QUICK}.0.npz", runs)
    words = [QUICK, "--seeds", "0", "1", "--runs", str(runs), "--out", str(tmp_path), "--stale"]
    assert starts.main([*words, "4"]) == 2 and "of another search" in capsys.readouterr().err
    assert starts.main([*words, "3"]) == 0
    said = capsys.readouterr().out
    assert "seed 1:" in said and "seed 0:" not in said, "one run was there"
    assert "30 solutions (certified" in said and sha(path) in said and not list(runs.iterdir())
    np.testing.assert_array_equal(StartSystem.load(path).solutions, StartSystem.load(quick / path.name).solutions)
    assert starts.main(["9V9P", "--runs", str(runs), "--out", str(tmp_path)]) == 2


def test_runs_that_differ_are_no_certificate(quick: Path) -> None:
    runs = [StartSystem.load(quick / "runs" / f"{QUICK}.{seed}.npz") for seed in (0, 1)]
    assert starts.certified(QUICK, runs).facts["certified"]
    part = StartSystem(runs[0].problem, runs[0].base, runs[0].solutions[:11], runs[0].facts)
    whole = starts.certified(QUICK, [part, runs[1]])
    assert whole.degree == 30 and not whole.facts["certified"] and [run["solutions"] for run in whole.facts["runs"]] == [11, 30]


def test_damage_is_refused(quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"{QUICK}.npz"
    shutil.copy(quick / path.name, path)
    monkeypatch.setattr(starts, "FOLDER", tmp_path)
    good = sha(path)
    assert starts.stored(QUICK, good).degree == starts.stored(QUICK).degree == 30
    system = StartSystem.load(path)
    system.solutions[7, 3] *= 1 + 1e-4
    system.save(path)
    with pytest.raises(Corrupt, match=r"has the sha256 .*git checkout"):
        starts.stored(QUICK, good)
    with pytest.raises(Corrupt, match="residual"):
        starts.stored(QUICK, sha(path))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(Corrupt, match="no start system"):
        starts.stored(QUICK)
    monodromy.find(taxonomy.choose("2V5P"), 0, 2)[0].save(path)
    with pytest.raises(Corrupt, match="another problem than 2V6P-f"):
        starts.stored(QUICK)
    with pytest.raises(UsageError, match=r"no start system .*kept are: 2V6P-f.*model.stored"):
        starts.stored("3V6P-full")


def test_the_model_takes_what_is_stored_and_says_so(quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "FOLDER", quick)
    taxonomy_stage.run(config.Taxonomy(problems=["2V5P", QUICK], seed=0), tmp_path / "taxonomy", Progress())
    block = config.Model(
        solvers=["focal2v"], stored={QUICK: sha(quick / f"{QUICK}.npz")}, degrees=["2V5P"], seeds=[0, 1], stale=2, candidates=1, validation=2,
        samples=4, threshold_px=2.0, triplets=2,
    )  # fmt: skip
    out = tmp_path / "model"
    out.mkdir()
    train.run(tmp_path / "taxonomy", block, out, out, Progress(), NullJournal())
    row = tables.read(out / "degrees.parquet").to_pylist()[-1]
    assert (row["problem"], row["solutions"], row["certified"]) == (QUICK, 30, True)
    kept = StartSystem.load(quick / f"{QUICK}.npz")
    np.testing.assert_array_equal(StartSystem.load(out / "predictor" / "focal2v.npz").solutions, kept.solutions)


def test_one_path_serves_for_two_solutions_of_six_points() -> None:
    problem = taxonomy.choose("3V6P-full")
    ((at, edge),) = problem.twins
    image, truth = taxonomy.real_scene(problem, np.random.default_rng(3))
    assert edge not in problem.dropped and without_twins(problem, truth[None]).shape == (1, problem.unknowns - 1)
    other = truth.copy()
    other[at] = twins._other_root(problem, truth, image, at, edge)
    assert abs(other[at] - truth[at]) > 1e-6, "the twin differs"
    assert relative_residual(problem, other, image) < 1e-12, "and solves what is kept"
    assert relative_residual(problem, other, image, problem.dropped) > 1e-6, "but not what is left out"
    np.testing.assert_allclose(twins.preferred(problem, np.stack([other, truth]), image), [truth, truth], rtol=1e-9)
    assert fresh(without_twins(problem, np.stack([other, truth]))) == [0]
    assert all(not taxonomy.choose(each).twins for each in taxonomy.PROBLEMS if each != "3V6P-full")


def test_equations_left_out_that_hold_all_the_same() -> None:
    """Five points in three views and one in two leave no constraint over; what the third view says of that one is left out."""
    system = starts.stored("3V6P-full")
    problem = system.problem
    ((_, (view, _, point)),) = problem.twins
    implied = monodromy.holding(problem, system.solutions[:50], system.base)
    beside = {edge for edge in all_edges(3, 6) if edge[0] == view and point in edge[1:]}
    assert set(implied) == set(problem.dropped) - beside and len(implied) == 4
    rng = np.random.default_rng(0)
    assert not monodromy.geometric(problem, system.solutions[:5], random_image(problem, rng), implied).any()


@pytest.mark.parametrize(("solver", "kind"), [(zero_skew, ""), (square, "square"), (full, "")])
@pytest.mark.slow
def test_practical_solvers_find_the_true_camera(solver: object, kind: str) -> None:
    start = starts.stored(solver.ID)  # type: ignore[attr-defined]
    found = exact.recall(solver.solve, start, 3, 1, kind)  # type: ignore[attr-defined]
    assert sum(found.found) >= 2, "of three, 97 % are found"
    assert max(found.lost) < 0.08


@pytest.mark.slow
def test_square_pixels_come_out_square() -> None:
    start = starts.stored(square.ID)
    made = exact.instances(start.problem, 1, 2, "square")
    found = square.solve(made.x, start, principal=np.array(exact.SIZE) / 2, size=exact.SIZE)
    np.testing.assert_array_equal(found.k[:, 0], found.k[:, 1])
    best = int(np.argmin(found.residual))
    np.testing.assert_allclose(found.k[best], made.k[0], atol=1e-4)
    assert found.residual[best] < 1e-9 and len(found.k) == found.physical.sum()

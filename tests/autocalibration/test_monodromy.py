"""Degrees and start systems."""

from pathlib import Path

import numpy as np
import pytest

from tenfold.autocalibration import monodromy, taxonomy
from tenfold.autocalibration.start_system import StartSystem, distinct
from tenfold.autocalibration.tracker import FAST
from tenfold.core.errors import Corrupt


@pytest.mark.parametrize(("problem_id", "degree"), [("2V5P", 20), ("2V6P-f", 30)])
def test_every_relaxation_and_seed_has_the_known_degree(problem_id: str, degree: int) -> None:
    """Twenty: ten essential matrices, twice each; thirty: fifteen focal lengths with fundamental matrices, twice each."""
    for problem in taxonomy.representatives(problem_id):
        for seed in (0, 1, 2):
            system, growth = monodromy.find(problem, seed, 4)
            assert system.degree == degree and growth.known[-1] == degree
            assert system.fault() == ""


@pytest.mark.slow
def test_three_views_of_a_calibrated_camera_and_of_one_with_unknown_focal_length() -> None:
    assert monodromy.find(taxonomy.choose("3V4P"), 0, 3)[0].degree == 320
    assert monodromy.find(taxonomy.choose("3V4P-f"), 0, 3)[0].degree == 668


def test_runs_are_joined_and_moved_to_a_cheaper_image() -> None:
    problem = taxonomy.choose("2V6P-f")
    systems = [monodromy.find(problem, seed, 4)[0] for seed in (0, 1)]
    part = StartSystem(problem, systems[0].base, systems[0].solutions[:11])
    growth = monodromy.Growth()
    whole, each = monodromy.joined([part, systems[1]], growth)
    assert each == [11, 30] and whole.degree == 30
    rng = np.random.default_rng(0)
    scenes = np.stack([taxonomy.real_scene(problem, rng)[0] for _ in range(5)])
    tuned, costs = monodromy.at_best_base(whole, 3, scenes, rng, FAST, growth)
    assert tuned.degree == 30 and tuned.fault() == "" and len(costs) == 3
    assert min(costs) < np.inf and not np.array_equal(tuned.base, whole.base)


def test_the_same_seed_gives_the_same_bits() -> None:
    one, other = (monodromy.find(taxonomy.choose("2V5P"), 5, 3)[0] for _ in range(2))
    np.testing.assert_array_equal(one.solutions, other.solutions)
    np.testing.assert_array_equal(one.base, other.base)


def test_solutions_that_are_no_scene_are_left_out() -> None:
    """The nine equations have more solutions than the twenty for which the tenth holds."""
    problem = taxonomy.choose("2V5P")
    system, _ = monodromy.find(problem, 0, 4)
    implied = monodromy.holding(problem, system.solutions, system.base)
    assert implied == problem.dropped and len(implied) == 1
    assert monodromy.geometric(problem, system.solutions, system.base, implied).all()
    other = system.solutions * (1 + 0.1 * np.arange(problem.unknowns))
    assert not monodromy.geometric(problem, other, system.base, implied).any()


def test_a_file_comes_back_and_damage_is_named(tmp_path: Path) -> None:
    system, _ = monodromy.find(taxonomy.choose("2V5P"), 0, 3)
    path = tmp_path / "start.npz"
    system.save(path)
    again = StartSystem.load(path)
    np.testing.assert_array_equal(again.solutions, system.solutions)
    assert again.problem == system.problem and again.facts == system.facts
    broken = system.solutions.copy()
    broken[3, 2] += 1e-3
    for solutions, words in (
        (broken, "residual"),
        (system.solutions[[0, 0]], "twice"),
        (np.full_like(broken, np.nan), "finite"),
        (broken[:, 1:], "shape"),
    ):
        StartSystem(system.problem, system.base, solutions).save(path)
        with pytest.raises(Corrupt, match=words):
            StartSystem.load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Corrupt, match="no start system"):
        StartSystem.load(path)


def test_distinct_keeps_one_of_each() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 6)) + 1j * rng.standard_normal((40, 6))
    near = rows * (1 + 1e-9)
    assert len(distinct(np.concatenate([rows, near]))) == 40
    assert len(distinct(near, rows)) == 0 and len(distinct(rows + 1e-3, rows)) == 40

"""Noise-free instances: what they should be, and that a solver's roots hold the truth."""

import numpy as np
import pytest

from tenfold.autocalibration import exact, focal2v, geometry, monodromy
from tenfold.autocalibration.problems import Problem, keeping_all_but
from tenfold.autocalibration.roots import Candidates
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.taxonomy import choose

KINDS = {"f": (3, 4, ()), "zero_skew": (3, 5, ((1, 0, 1), (2, 0, 1))), "none": (3, 4, ((1, 0, 1),))}


def problem(kind: str) -> Problem:
    views, points, dropped = KINDS[kind]
    return keeping_all_but(views, points, kind, dropped)


@pytest.mark.parametrize("kind", list(KINDS))
def test_instances_are_in_the_frame_and_obey_the_problem(kind: str) -> None:
    made = exact.instances(problem(kind), 20, 0)
    assert ((made.x > 0) & (made.x < exact.SIZE)).all()
    assert np.isfinite(made.k).all() and (made.k[:, 4] == 0).all()
    if kind != "zero_skew":
        assert (made.k[:, 0] == made.k[:, 1]).all() and (made.k[:, 2:4] == np.array(exact.SIZE) / 2).all()
    again = exact.instances(problem(kind), 20, 0)
    assert np.array_equal(made.x, again.x) and not np.array_equal(made.x, exact.instances(problem(kind), 20, 1).x)
    assert np.array_equal(exact.instances(problem(kind), 5, 0).x, made.x[:5])


def test_distances_agree_between_views() -> None:
    made = exact.instances(problem("f"), 3, 0)
    for k, x in zip(made.k, made.x, strict=True):
        # two views of noise-free points satisfy some epipolar geometry: the essential matrix of the true K has rank 2 and equal values
        rays = geometry.rays(np.broadcast_to(k, (3, 5)), x)
        assert rays.shape == (3, 4, 3) and np.allclose(rays[..., 2], 1.0)


def fake(found: bool) -> object:
    """A solver that knows the truth, or is off by 1e-3."""

    def solve(x: np.ndarray, start: StartSystem, *, principal: np.ndarray, size: tuple[int, int]) -> Candidates:
        n = len(x)
        truth = exact.instances(start.problem, n, 0).k
        k = truth if found else truth * (1 + 1e-3)
        ones = np.ones(n, np.int64)
        return Candidates(np.arange(n), k, np.ones((n, 3, 4)), np.zeros(n), 9 * ones, 5 * ones, ones, ones, 100 * ones)

    return solve


@pytest.mark.parametrize("found", [True, False])
def test_recall_counts_what_is_found(found: bool) -> None:
    start = StartSystem(problem("f"), np.zeros((3, 4, 2), complex), np.zeros((10, 12), complex))
    got = exact.recall(fake(found), start, 4, 0)  # type: ignore[arg-type]
    assert got.found == [found] * 4 and got.lost == [0.1] * 4 and got.solves == [10.0] * 4 and got.physical == [1] * 4


def test_the_two_view_solver_finds_the_truth() -> None:
    start, _ = monodromy.find(choose("2V6P-f"), 0, 3)
    got = exact.recall(focal2v.solve, start, 12, 0)
    assert np.mean(got.found) > 0.9 and np.mean(got.lost) < 0.1

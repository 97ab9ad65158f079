"""Equations and unknowns of minimal problems."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import taxonomy
from tenfold.autocalibration.equations import jacobian, random_scene, residuals, split, unknowns_of
from tenfold.autocalibration.problems import FREE, Problem, all_edges, conic, keeping_all_but, terms, unknowns

IDS = sorted(taxonomy.PROBLEMS)


def first_of(problem_id: str) -> Problem:
    views, points, kind = taxonomy.PROBLEMS[problem_id]
    return Problem(views, points, kind, tuple(all_edges(views, points)[: unknowns(views, points, kind)]))


@pytest.mark.parametrize("problem_id", IDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_scenes_solve_every_equation(problem_id: str, seed: int) -> None:
    problem = first_of(problem_id)
    image, solution = random_scene(problem, np.random.default_rng(seed))
    size = max(1.0, np.abs(solution).max()) ** 3 * max(1.0, np.abs(image).max()) ** 2
    assert np.abs(residuals(problem, solution, image, all_edges(problem.views, problem.points))).max() < 1e-10 * size


@pytest.mark.parametrize("problem_id", IDS)
def test_the_jacobian_is_that_of_complex_differences(problem_id: str) -> None:
    problem = first_of(problem_id)
    rng = np.random.default_rng(1)
    image, solution = random_scene(problem, rng)
    step = 1e-6
    for turn in (1.0, 1j):  # a polynomial's derivative is the same in every direction of the plane
        moves = step * turn * np.eye(len(solution))
        numeric = np.stack(
            [(residuals(problem, solution + m, image) - residuals(problem, solution - m, image)) / (2 * step * turn) for m in moves], axis=1
        )
        assert np.abs(numeric - jacobian(problem, solution, image)).max() < 1e-8 * np.abs(numeric).max()


def test_splitting_is_the_inverse_of_joining() -> None:
    problem = first_of("3V5P-square")
    rng = np.random.default_rng(0)
    depths = rng.uniform(1, 4, (3, 5))
    entries = rng.standard_normal(3)
    found, m, z = split(problem, unknowns_of(problem, entries, depths))
    np.testing.assert_allclose(found, entries)
    np.testing.assert_allclose(m * np.sqrt(z)[:, None] * depths[0, 0], depths)


@pytest.mark.parametrize("kind", sorted(FREE))
def test_terms_are_the_entries_of_the_quadratic_form(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 7, 3))
    entries = rng.standard_normal(len(FREE[kind]))
    expected = np.einsum("ni,ij,nj->n", x, conic(kind, entries), y)
    np.testing.assert_allclose(terms(kind, x, y) @ np.concatenate([[1.0], entries]), expected)


def test_problems_that_are_none_are_refused() -> None:
    edges = all_edges(3, 4)
    with pytest.raises(ValueError, match="as many as unknowns"):
        Problem(3, 4, "f", tuple(edges[:-1]))
    with pytest.raises(ValueError, match="sorted"):
        Problem(3, 4, "f", tuple(reversed(edges)))
    with pytest.raises(ValueError, match="none of"):
        Problem(3, 4, "fisheye", tuple(edges))
    assert keeping_all_but(3, 4, "f").excess == 0 and keeping_all_but(3, 4, "f").dropped == ()

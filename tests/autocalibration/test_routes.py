"""Hard paths: the same roots as small steps find, each once and a root indeed; what is not found is counted."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import exact, monodromy, starts, taxonomy
from tenfold.autocalibration.equations import jacobian, random_image, relative_residual, residuals
from tenfold.autocalibration.kernel import ASTRAY, SOLVES, STEP, TWICE
from tenfold.autocalibration.nearest import nearest
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.routes import STEADY, solutions, straight
from tenfold.autocalibration.solving import normalised
from tenfold.autocalibration.start_system import StartSystem, distinct, fresh, places
from tenfold.autocalibration.tracker import CAREFUL, FAST, FOUND, TIGHT, track

Complex = npt.NDArray[np.complex128]


@pytest.fixture(scope="module")
def six() -> StartSystem:
    """Six points in two views with a common focal length: thirty solutions."""
    return monodromy.find(taxonomy.choose("2V6P-f"), 0, 4)[0]


def real_images(problem: Problem, count: int, seed: int) -> Complex:
    rng = np.random.default_rng(seed)
    return np.stack([taxonomy.real_scene(problem, rng)[0] for _ in range(count)])


def test_the_roots_are_those_that_small_steps_find(six: StartSystem) -> None:
    targets = real_images(six.problem, 40, 0)
    ours = solutions(six.problem, six.base, six.solutions, targets)
    careful = track(six.problem, six.base, six.solutions, targets, CAREFUL, again=(TIGHT,))
    assert (ours.status == FOUND).mean() > 0.998 and ours.lost.sum() <= careful.lost.sum()
    for target in range(len(targets)):
        mine, theirs = (each.ends[target][each.status[target] == FOUND] for each in (ours, careful))
        assert len(distinct(mine)) == len(mine), "no root twice"
        assert relative_residual(six.problem, mine, targets[target], (*six.problem.edges, *six.problem.dropped)).max() < 1e-9
        assert (places(theirs, mine) >= 0).all() or ours.lost[target], "none is missing"


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_paths_to_random_images_do_not_diverge(six: StartSystem, seed: int) -> None:
    """As many finite roots as at the start, at real images and complex ones, each with its own Newton basin; few are too hard to reach."""
    rng = np.random.default_rng(seed)
    targets = np.stack([random_image(six.problem, rng), taxonomy.real_scene(six.problem, rng)[0]])
    found = solutions(six.problem, six.base, six.solutions, targets)
    assert found.lost.sum() <= 4, "of 60; at most 2 in 1,500 seeds"
    for ends, status, image in zip(found.ends, found.status, targets, strict=True):
        for root in ends[status == FOUND]:
            near = root * (1 + 1e-9 * rng.standard_normal(len(root)))
            step = np.linalg.solve(jacobian(six.problem, near, image), residuals(six.problem, near, image))
            assert np.abs(near - step - root).max() < 1e-2 * np.abs(root).max()


def test_neither_threads_nor_neighbours_matter(six: StartSystem) -> None:
    """The same bits alone, in another order of targets, in more threads; also of what is completed."""
    targets = real_images(six.problem, 60, 1)
    hurried = replace(STEADY, most=170)
    whole = solutions(six.problem, six.base, six.solutions, targets, hurried, threads=1)
    assert whole.lost.sum(), "the test needs paths that are lost"
    order = np.random.default_rng(0).permutation(len(targets))
    for other, at in (
        (solutions(six.problem, six.base, six.solutions, targets, hurried, threads=3), np.arange(len(targets))),
        (solutions(six.problem, six.base, six.solutions, targets[order], hurried), order),
    ):
        for name in ("ends", "status", "solves"):
            np.testing.assert_array_equal(getattr(other, name), getattr(whole, name)[at])


def test_what_the_straight_way_misses_is_found_by_the_others(six: StartSystem) -> None:
    """Of paths given up on the way: conjugates of found roots come for nothing, others on the ways around."""
    targets = real_images(six.problem, 30, 2)
    whole = solutions(six.problem, six.base, six.solutions, targets)
    hurried = replace(STEADY, most=170)
    alone, times = straight(six.problem, six.base, six.solutions, targets, hurried, implied=six.problem.dropped)
    conjugated = solutions(six.problem, six.base, six.solutions, targets, hurried, detours=())
    around = solutions(six.problem, six.base, six.solutions, targets, hurried)
    assert alone.lost.sum() > conjugated.lost.sum() > around.lost.sum() > 0
    np.testing.assert_array_equal(alone.solves, conjugated.solves)
    assert (around.solves >= alone.solves).all() and (around.solves > alone.solves)[alone.status != FOUND].any()
    assert (times[alone.status == FOUND] == 1).all() and (times[alone.status == SOLVES] < 1).any()
    for target in range(len(targets)):
        mine = around.ends[target][around.status[target] == FOUND]
        assert len(distinct(mine)) == len(mine)
        assert (places(mine, whole.ends[target][whole.status[target] == FOUND]) >= 0).all() or whole.lost[target]
        np.testing.assert_array_equal(around.ends[target][alone.status[target] == FOUND], alone.ends[target][alone.status[target] == FOUND])


def test_conjugates_are_no_roots_of_complex_images(six: StartSystem) -> None:
    targets = np.stack([random_image(six.problem, np.random.default_rng(seed)) for seed in range(10)])
    hurried = replace(STEADY, most=170)
    alone, _ = straight(six.problem, six.base, six.solutions, targets, hurried, implied=six.problem.dropped)
    assert alone.lost.sum(), "the test needs paths that are lost"
    np.testing.assert_array_equal(solutions(six.problem, six.base, six.solutions, targets, hurried, detours=()).status, alone.status)


def test_no_path_is_lost_silently(six: StartSystem) -> None:
    targets = real_images(six.problem, 3, 3)
    hurried = solutions(six.problem, six.base, six.solutions, targets, replace(STEADY, most=5))
    assert (hurried.status == SOLVES).all() and (hurried.lost == 30).all()
    short = solutions(six.problem, six.base, six.solutions, targets, replace(STEADY, smallest=0.01))
    assert (short.status == STEP).any()
    broken = targets.copy()
    broken[0, 0, 0, 0] = np.nan
    found = solutions(six.problem, six.base, six.solutions, broken)
    assert (found.status[0] != FOUND).all() and found.lost[1:].max() <= 1
    # all points of one view in one place: what is found there, if anything, are roots
    broken[0, 1] = 0.3
    found = solutions(six.problem, six.base, six.solutions, broken)
    assert not np.isnan(found.ends[found.status == FOUND]).any()


def test_paths_that_jump_count_as_lost_or_once(six: StartSystem) -> None:
    """With a predictor that is hardly checked paths end where others do, or at what is no scene; neither is a root more."""
    targets = real_images(six.problem, 30, 4)
    rash = replace(STEADY, accept=0.5, shrink=1.0, aim=0.3, aimed_shrink=0.9)
    alone, _ = straight(six.problem, six.base, six.solutions, targets, rash, implied=six.problem.dropped)
    assert (alone.status == ASTRAY).any() or (alone.status == TWICE).any(), "the test needs paths that jump"
    found = solutions(six.problem, six.base, six.solutions, targets, rash)
    for target in range(len(targets)):
        mine = found.ends[target][found.status[target] == FOUND]
        assert len(distinct(mine)) == len(mine) == 30 - found.lost[target]


def test_places_and_fresh_agree() -> None:
    rng = np.random.default_rng(5)
    known = rng.standard_normal((200, 6)) + 1j * rng.standard_normal((200, 6))
    asked = np.concatenate([known[[7, 100]] * (1 + 1e-9), known[:1] + 1e-3, known[[199]]])
    assert places(asked, known).tolist() == [7, 100, -1, 199]
    assert fresh(asked, known) == [2] and fresh(np.concatenate([asked, asked])) == [0, 1, 2, 3]
    assert places(asked, known[:0]).tolist() == [-1] * 4


@pytest.mark.slow
def test_hard_roots_are_roots_in_more_digits() -> None:
    """Of zero_skew: those that the cubic loop gives up. Newton's steps with residuals of 64 bits go on shrinking, to where they were found."""
    system = starts.stored("3V5P-zeroskew")
    problem = system.problem
    x, _ = normalised(exact.instances(problem, 1, 11).x, np.array(exact.SIZE) / 2)
    target = nearest(problem.kind, x, system.base).x.astype(np.complex128)
    quick = track(problem, system.base, system.solutions, target, FAST)
    ours = solutions(problem, system.base, system.solutions, target)
    roots = ours.ends[0][ours.status[0] == FOUND]
    assert ours.lost[0] < 0.03 * system.degree < quick.lost[0] and ours.solves.sum() < quick.solves.sum()
    hard = roots[places(roots, quick.ends[0][quick.status[0] == FOUND]) < 0]
    assert len(hard) > 100
    moved = []
    for root in hard:
        at = root.astype(np.clongdouble)
        for _ in range(6):
            step = np.linalg.solve(
                jacobian(problem, at.astype(np.complex128), target[0]), residuals(problem, at, target[0]).astype(np.complex128)
            )
            at = at - step
        assert np.abs(step).max() < 1e-7 * np.abs(at).max(), "Newton converges"
        moved.append(float(np.abs(at - root).max() / np.abs(at).max()))
    assert max(moved) < 1e-5 and np.median(moved) < 1e-9

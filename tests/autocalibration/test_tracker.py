"""Program, kernel and tracker against plain NumPy."""

import ctypes

import numpy as np
import pytest

from tenfold.autocalibration import kernel, monodromy, taxonomy
from tenfold.autocalibration.equations import jacobian, random_image, residuals
from tenfold.autocalibration.kernel import LANES
from tenfold.autocalibration.machine import newton
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.program import compiled
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.tracker import CAREFUL, FAST, FOUND, RETRY, TIGHT, TWICE, Options, doubles, moving_terms, track


@pytest.fixture(scope="module")
def five() -> StartSystem:
    """The calibrated two-view problem with its twenty solutions."""
    return monodromy.find(taxonomy.choose("2V5P"), 0, 4)[0]


@pytest.mark.parametrize("problem_id", ["2V5P", "2V6P-f", "3V4P-f", "3V5P-fxfy", "3V5P-square", "3V6P-full"])
def test_the_program_is_a_newton_step(problem_id: str) -> None:
    """J^-1 F and J^-1 dF/dt anywhere on the way, without pivots chosen on the way."""
    problem = taxonomy.choose(problem_id)
    rng = np.random.default_rng(3)
    base, target = random_image(problem, rng), random_image(problem, rng)
    n = problem.unknowns
    points = rng.standard_normal((LANES, n)) + 1j * rng.standard_normal((LANES, n))
    times = rng.uniform(0, 1, LANES)
    coefficients = moving_terms(problem, base, target[None])[0][compiled(problem).moving].reshape(-1)
    lanes = np.ones((1, LANES))
    tables = [
        np.ascontiguousarray(each)
        for each in (points.T.real, points.T.imag, coefficients.real[:, None] * lanes, coefficients.imag[:, None] * lanes, times)
    ]
    out = [np.zeros((2 * n, LANES)) for _ in range(2)]
    code = newton(problem)
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 7)(code.address)(*(each.ctypes.data for each in (*tables, *out)))
    found = out[0] + 1j * out[1]
    for lane in range(0, LANES, 2):
        image = (1 - times[lane]) * base + times[lane] * target
        j = jacobian(problem, points[lane], image)
        step = 1e-6
        ahead = [residuals(problem, points[lane], image + sign * step * (target - base)) for sign in (1, -1)]
        speed = (ahead[0] - ahead[1]) / (2 * step)
        scale = np.linalg.cond(j) * 1e-12
        newton_step, tangent = np.linalg.solve(j, residuals(problem, points[lane], image)), np.linalg.solve(j, speed)
        assert np.abs(found[:n, lane] - newton_step).max() < max(scale, 1e-9) * np.abs(newton_step).max()
        assert np.abs(found[n:, lane] - tangent).max() < max(scale, 1e-6) * np.abs(tangent).max()


def test_there_and_back(five: StartSystem) -> None:
    target = random_image(five.problem, np.random.default_rng(1))
    there = track(five.problem, five.base, five.solutions, target[None], CAREFUL)
    assert (there.status == FOUND).all()
    back = track(five.problem, target, there.ends[0], five.base[None], CAREFUL)
    assert np.abs(back.ends[0] - five.solutions).max() < 1e-8 * np.abs(five.solutions).max()


def test_neither_threads_nor_neighbours_matter(five: StartSystem) -> None:
    """The same bits alone, in another order, in more threads."""
    rng = np.random.default_rng(2)
    targets = np.stack([random_image(five.problem, rng) for _ in range(130)])
    whole = track(five.problem, five.base, five.solutions, targets, FAST, threads=1)
    threads = track(five.problem, five.base, five.solutions, targets, FAST, threads=3)
    np.testing.assert_array_equal(whole.ends, threads.ends)
    order = rng.permutation(len(targets))
    other = track(five.problem, five.base, five.solutions[::-1], targets[order], FAST)
    np.testing.assert_array_equal(other.ends[:, ::-1], whole.ends[order])
    np.testing.assert_array_equal(other.solves[:, ::-1], whole.solves[order])


def test_no_path_is_lost_silently(five: StartSystem) -> None:
    """Every path has an end with a reason: also one that is given too few solves, and one to an image that is no number."""
    target = random_image(five.problem, np.random.default_rng(4))
    hurried = track(five.problem, five.base, five.solutions, target[None], type(FAST)(most=5))
    assert (hurried.status == kernel.SOLVES).all() and hurried.lost == 20
    broken = target.copy()
    broken[0, 0, 0] = np.nan
    assert (track(five.problem, five.base, five.solutions, broken[None], FAST).status != FOUND).all()
    found = track(five.problem, five.base, five.solutions, target[None], FAST)
    assert np.abs(residuals(five.problem, found.ends[0][found.status[0] == FOUND], target)).max() < 1e-8


def test_relabelled_points_give_relabelled_solutions(five: StartSystem) -> None:
    """Permuting points permutes solutions: the relaxation of the relabelled problem has the same depths."""
    problem = five.problem
    target = random_image(problem, np.random.default_rng(5))
    ends = track(problem, five.base, five.solutions, target[None], CAREFUL).ends[0]
    order = np.array([0, 2, 1, 4, 3])
    edges = tuple(
        sorted((v, *sorted((int(np.flatnonzero(order == p)[0]), int(np.flatnonzero(order == q)[0])))) for v, p, q in problem.edges)
    )
    relabelled = Problem(2, 5, "none", edges)
    moved = np.concatenate([ends[:, :4][:, order[1:] - 1], ends[:, 4:8][:, order[1:] - 1], ends[:, 8:]], axis=1)
    assert np.abs(residuals(relabelled, moved, target[:, order])).max() < 1e-8


def test_ends_that_stand_twice_are_seen() -> None:
    rng = np.random.default_rng(6)
    ends = rng.standard_normal((3, 9, 4)) + 1j * rng.standard_normal((3, 9, 4))
    ends[1, 7] = ends[1, 2] * (1 + 1e-9)
    ends[2, [3, 4]] = ends[2, 0]
    found = np.ones((3, 9), bool)
    found[2, 3] = False
    first, other = doubles(ends, found)
    assert not first[0].any() and not other[0].any()
    assert sorted(np.flatnonzero(first[1] | other[1])) == [2, 7] and first[1].sum() == other[1].sum() == 1
    assert sorted(np.flatnonzero(first[2] | other[2])) == [0, 4], "an end that was not found is no end"


def test_paths_that_jump_are_tracked_again() -> None:
    """With steps that are far too long paths end where others do, or at what is no scene; nothing of that is left, and nothing is silent."""
    start = monodromy.find(taxonomy.choose("2V6P-f"), 0, 4)[0]
    rng = np.random.default_rng(7)
    targets = np.stack([random_image(start.problem, rng) for _ in range(20)])
    rash = Options(accept=0.1, again=0.3, aim=0.03)
    jumped = track(start.problem, start.base, start.solutions, targets, rash)
    assert doubles(jumped.ends, jumped.status == FOUND).any(), "the test needs paths that jump"
    mended = track(start.problem, start.base, start.solutions, targets, rash, again=(RETRY, TIGHT))
    assert not doubles(mended.ends, mended.status == FOUND)[1].any()
    assert (mended.status == FOUND).mean() > 0.99 and (mended.solves >= jumped.solves).all()
    careful = track(start.problem, start.base, start.solutions, targets, CAREFUL)
    both = (careful.status == FOUND) & (mended.status == FOUND)
    size = np.maximum(1.0, np.abs(careful.ends).max(axis=-1))
    assert ((np.abs(careful.ends - mended.ends).max(axis=-1) / size)[both] < 1e-6).mean() > 0.995
    same = track(start.problem, start.base, start.solutions, np.repeat(start.base[None], 1, axis=0), FAST, again=(RETRY,))
    assert (same.status == FOUND).all()
    doubled = track(start.problem, start.base, np.concatenate([start.solutions, start.solutions[:1]]), targets[:1], FAST, again=(RETRY,))
    assert (doubled.status == TWICE).sum() == 1, "two paths with one end: the second counts as lost"

"""The catalogue against the published table, against ranks over a finite field, and against itself with other seeds."""

import math
from itertools import combinations, product

import numpy as np
import pytest

from tenfold.autocalibration import graphs, taxonomy
from tenfold.autocalibration.equations import jacobian, residuals
from tenfold.autocalibration.problems import FREE, all_edges, terms, unknowns
from tenfold.core.errors import UsageError

# Equations, unknowns, subsets, orbits, orbits that are not singular.
TABLE = {
    "2V5P": (10, 9, 10, 1, 1),
    "2V6P-f": (15, 12, 455, 5, 4),
    "2V7P-fxfy": (21, 15, 54264, 41, 26),
    "3V4P": (12, 11, 12, 1, 1),
    "3V4P-f": (12, 12, 1, 1, 1),
    "3V5P-fxfy": (20, 16, 4845, 43, 37),
    "3V5P-square": (20, 17, 1140, 12, 8),
    "3V5P-zeroskew": (20, 18, 190, 5, 3),
}
PRIME = 2147483629


@pytest.mark.parametrize("problem", TABLE)
def test_the_table_is_reproduced(problem: str) -> None:
    found = taxonomy.relaxations(problem)
    views, points, kind = taxonomy.PROBLEMS[problem]
    edges, size = len(all_edges(views, points)), unknowns(views, points, kind)
    regular = int((~found.singular).sum())
    assert (edges, size, taxonomy.subsets(problem), len(found.masks), regular) == TABLE[problem]
    assert taxonomy.burnside(problem) == len(found.masks)
    assert found.sizes.sum() == taxonomy.subsets(problem) == math.comb(edges, taxonomy.dropped(problem))


def test_solvable_relaxations_sum_to_eighty() -> None:
    listed = [problem for problem in taxonomy.PROBLEMS if problem not in taxonomy.NOT_SUMMED]
    assert sum(len(taxonomy.representatives(problem)) for problem in listed) == 80


def test_zero_skew_subsets_are_those_of_the_authors_program() -> None:
    """Its flags for two dropped equations: 100 of 190 are not singular."""
    found = taxonomy.relaxations("3V5P-zeroskew")
    assert found.sizes[~found.singular].sum() == 100


def test_six_points_by_burnside() -> None:
    assert taxonomy.burnside("3V6P-full") == 4989
    assert taxonomy.subsets("3V6P-full") == 5852925


@pytest.mark.slow
def test_six_points_enumerated() -> None:
    found = taxonomy.relaxations("3V6P-full")
    assert len(found.masks) == 4989
    assert found.sizes.sum() == 5852925
    assert int((~found.singular).sum()) == 3396
    assert np.array_equal(exactly_singular("3V6P-full", 0), found.singular)
    some = np.random.default_rng(0).choice(4989, 40, replace=False)
    assert np.array_equal(graphs.canonical(3, 6, found.masks[some]), found.masks[some])


@pytest.mark.parametrize("problem", TABLE)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_singular_flags_do_not_depend_on_the_seed(problem: str, seed: int) -> None:
    one, other = taxonomy.relaxations(problem), taxonomy.relaxations(problem, seed)
    assert np.array_equal(one.singular, other.singular)
    assert np.array_equal(one.masks, other.masks)
    assert not np.array_equal(one.smin, other.smin)
    assert other.smin[other.singular].max(initial=0.0) < 1e-14
    assert other.smin[~other.singular].min() > 1e-6


@pytest.mark.parametrize("problem", TABLE)
def test_singular_flags_are_those_over_a_finite_field(problem: str) -> None:
    """No rounding there: the rank is exact."""
    assert np.array_equal(exactly_singular(problem, 0), taxonomy.relaxations(problem).singular)


def test_singularity_belongs_to_the_orbit_not_to_the_representative() -> None:
    """The problem's equations are the same for all points, so a whole orbit is singular or none of it."""
    found = taxonomy.relaxations("3V5P-square")
    group = graphs.group(3, 5)
    rng = np.random.default_rng(4)
    for orbit in range(len(found.masks)):
        rows = graphs.kept(found.masks[orbit : orbit + 1], 20)[0]
        masks = np.array([sum(1 << int(k) for k in symmetry[rows]) for symmetry in group[rng.integers(0, len(group), 10)]])
        smin = taxonomy.relative_smin(3, 5, "square", masks, taxonomy.equations.random_scene, 7, 2).max(axis=0)
        assert np.all((smin < taxonomy.SINGULAR) == found.singular[orbit])


def test_same_seed_same_bits() -> None:
    one = taxonomy.relaxations("3V5P-fxfy", 5)
    taxonomy.relaxations.cache_clear()
    other = taxonomy.relaxations("3V5P-fxfy", 5)
    assert one is not other
    for name in ("masks", "sizes", "smin", "singular"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
        assert not getattr(one, name).flags.writeable


def test_representatives_are_sorted_and_regular() -> None:
    found = taxonomy.representatives("2V6P-f")
    masks = [graphs.mask_of(problem) for problem in found]
    assert masks == sorted(masks) and len(found) == 4
    assert graphs.canonical(2, 6, np.array(masks)).tolist() == masks


@pytest.mark.parametrize("problem", taxonomy.PROBLEMS)
def test_default_is_a_canonical_mask_of_the_problem(problem: str) -> None:
    chosen = taxonomy.choose(problem)
    assert (chosen.views, chosen.points, chosen.kind) == taxonomy.PROBLEMS[problem]
    mask = graphs.mask_of(chosen)
    assert graphs.canonical(chosen.views, chosen.points, np.array([mask])).tolist() == [mask]


@pytest.mark.parametrize("problem", TABLE)
def test_default_is_among_the_best_conditioned(problem: str) -> None:
    ranked = taxonomy.best_conditioned(problem, seed=7, scenes=100)
    means = dict(ranked)
    assert [mean for _, mean in ranked] == sorted(means.values())
    assert means[graphs.mask_of(taxonomy.choose(problem))] <= ranked[0][1] + 0.1


def test_default_of_six_points_is_well_conditioned_among_those_with_fewest_paths() -> None:
    """One point loses all but one equation of one view, the five others one equation of each view: that leaves no constraint over."""
    edges = all_edges(3, 6)
    number = {edge: 1 << index for index, edge in enumerate(edges)}
    five = [edge for edge in edges if 5 not in edge[1:]]
    masks = set()
    for one, other in product((e for e in five if e[0] == 1), (e for e in five if e[0] == 2)):
        kept = sum(number[edge] for edge in five if edge not in (one, other))
        for three in combinations(range(5), 3):
            masks |= {kept + sum(number[1, point, 5] for point in three) + number[2, point, 5] for point in range(5)}
    least = np.unique(graphs.canonical(3, 6, np.array(sorted(masks))))
    assert len(least) == 59 and graphs.mask_of(taxonomy.choose("3V6P-full")) in least
    means = -np.log10(taxonomy.relative_smin(3, 6, "full", least, taxonomy.real_scene, 7, 50)).mean(axis=0)
    assert means[least == taxonomy.DEFAULT["3V6P-full"]][0] <= np.quantile(means, 0.25)


@pytest.mark.parametrize("problem", taxonomy.PROBLEMS)
def test_real_scenes_solve_every_equation_and_lie_before_the_cameras(problem: str) -> None:
    chosen = taxonomy.choose(problem)
    for seed in range(5):
        image, solution = taxonomy.real_scene(chosen, np.random.default_rng(seed))
        assert np.all(image.imag == 0)
        assert np.abs(residuals(chosen, solution, image, all_edges(chosen.views, chosen.points))).max() < 1e-12
        assert np.all(solution.imag == 0) and np.all(solution.real[chosen.free :] > 0)


def test_an_unknown_problem_is_refused_with_the_known_ones() -> None:
    for call in (taxonomy.relaxations, taxonomy.choose, taxonomy.burnside, taxonomy.representatives):
        with pytest.raises(UsageError, match="'4V3P' is not in the catalogue. Take one of 2V5P, "):
            call("4V3P")


def exactly_singular(problem: str, seed: int) -> np.ndarray:
    """Singular flags by Gaussian elimination modulo a prime, at a scene over that field: a scene is rational in random numbers."""
    views, points, kind = taxonomy.PROBLEMS[problem]
    edges = all_edges(views, points)
    whole = jacobian_modulo(views, points, kind, np.random.default_rng(seed))
    masks = taxonomy.relaxations(problem).masks
    return np.array([rank < whole.shape[1] for rank in ranks_modulo(whole[graphs.kept(masks, len(edges))])])


def inverse(value: int) -> int:
    return pow(int(value), -1, PRIME)


def jacobian_modulo(views: int, points: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Derivative of every equation at a random scene over the field, written anew from the equation."""

    def draw(*shape: int) -> np.ndarray:
        return rng.integers(1, PRIME, shape).astype(object)

    # K^-1 = [[1, a, b], [0, c, d], [0, 0, e]] up to scale, with the kind's entries known.
    a, b, c, d, e = draw(5)
    if kind != "full":
        a = 0
    if kind in ("none", "f", "fxfy"):
        b = d = 0
    if kind in ("none", "f", "square"):
        c = 1
    if kind == "none":
        e = 1
    k_inverse = np.array([[1, a, b], [0, c, d], [0, 0, e]], dtype=object)
    w = k_inverse.T @ k_inverse % PRIME
    # K^-1 x = X up to scale, so x = K X.
    world = draw(points, 3)
    x = np.zeros((views, points, 3), dtype=object)
    depth = np.zeros((views, points), dtype=object)
    for view in range(views):
        moved = world
        if view:
            p, q, r = draw(3)
            turn = np.array(  # rational rotation of the quaternion (1, p, q, r)
                [
                    [1 + p * p - q * q - r * r, 2 * (p * q - r), 2 * (p * r + q)],
                    [2 * (p * q + r), 1 - p * p + q * q - r * r, 2 * (q * r - p)],
                    [2 * (p * r - q), 2 * (q * r + p), 1 - p * p - q * q + r * r],
                ],
                dtype=object,
            ) * inverse((1 + p * p + q * q + r * r) % PRIME)
            moved = (world @ turn.T + draw(3)) % PRIME
        for point, (u, v, t) in enumerate(moved):
            z = t * inverse(e)
            y = (v - d * z) * inverse(c)
            seen = np.array([u - a * y - b * z, y, z], dtype=object) % PRIME
            depth[view, point] = seen[2]
            x[view, point] = seen * inverse(seen[2]) % PRIME
    m = depth * np.array([[inverse(first)] for first in depth[:, 0]], dtype=object) % PRIME
    z = np.array([(depth[view, 0] * inverse(depth[0, 0])) ** 2 % PRIME for view in range(views)], dtype=object)
    free = len(FREE[kind])
    columns: dict[tuple[str | int, ...], int] = {("w", k): k for k in range(free)}
    for view in range(views):
        for point in range(1, points):
            columns["m", view, point] = len(columns)
        if view:
            columns["z", view] = len(columns)
    out = np.zeros((len(all_edges(views, points)), len(columns)), dtype=object)
    for row, (view, p, q) in enumerate(all_edges(views, points)):
        sides = [m[v, p] * x[v, p] - m[v, q] * x[v, q] for v in (0, view)]
        assert (sides[0] @ w @ sides[0] - z[view] * (sides[1] @ w @ sides[1])) % PRIME == 0
        for k, (i, j) in enumerate(FREE[kind]):
            twice = 1 if i == j else 2
            out[row, k] = twice * (sides[0][i] * sides[0][j] - z[view] * sides[1][i] * sides[1][j])
        for v, side, sign in ((0, sides[0], 1), (view, sides[1], -z[view])):
            for point, way in ((p, 1), (q, -1)):
                if point:
                    out[row, columns["m", v, point]] = 2 * sign * way * (x[v, point] @ w @ side)
        out[row, columns["z", view]] = -(sides[1] @ w @ sides[1])
    return (out % PRIME).astype(np.int64)


def ranks_modulo(matrices: np.ndarray) -> np.ndarray:
    """Rank of each matrix (k, n, n) modulo the prime."""
    a = matrices.copy()
    count, size, _ = a.shape
    rank = np.zeros(count, dtype=np.int64)
    rows, each = np.arange(size), np.arange(count)
    for column in range(size):
        free = (a[:, :, column] != 0) & (rows >= rank[:, None])
        has = free.any(axis=1)
        pivot, top = np.where(has, free.argmax(axis=1), 0), np.where(has, rank, 0)
        swapped = a[each, pivot].copy()
        a[each, pivot] = np.where(has[:, None], a[each, top], a[each, pivot])
        a[each, top] = np.where(has[:, None], swapped, a[each, top])
        scale = np.array([inverse(value) if there else 0 for value, there in zip(a[each, top, column], has, strict=True)], dtype=np.int64)
        line = a[each, top] * scale[:, None] % PRIME
        below = np.where((rows > top[:, None]) & has[:, None], a[:, :, column], 0)
        a = (a - below[:, :, None] * line[:, None, :] % PRIME) % PRIME
        rank += has
    return rank


def test_jacobian_of_the_library_is_the_one_written_anew() -> None:
    """The same formula over the reals, by complex steps of the residuals."""
    for problem in TABLE:
        chosen = taxonomy.choose(problem)
        image, solution = taxonomy.real_scene(chosen, np.random.default_rng(3))
        whole = jacobian(chosen, solution, image)
        for k in range(chosen.unknowns):
            step = np.zeros(chosen.unknowns, dtype=complex)
            step[k] = 1e-20j
            slope = residuals(chosen, solution.real + step, image.real).imag / 1e-20
            assert np.allclose(whole[:, k].real, slope, atol=1e-10)
        assert terms(chosen.kind, np.ones(3), np.ones(3)).shape == (1 + chosen.free,)

"""Symmetries of relaxations against slow, obvious references; the pictures."""

import math
import xml.etree.ElementTree as ET
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import graphs
from tenfold.autocalibration.problems import Problem, all_edges, keeping_all_but

SMALL = [(2, 4, 2), (2, 5, 1), (2, 5, 5), (2, 6, 3), (3, 3, 0), (3, 3, 2), (3, 4, 1), (3, 4, 4), (3, 4, 12), (3, 5, 2)]


def relabelled(edges: set[tuple[int, int, int]], labels: tuple[int, ...], views: tuple[int, ...]) -> set[tuple[int, int, int]]:
    """The definition: points renamed, views 2, 3, ... renamed."""
    return {(views[view - 1], min(labels[p], labels[q]), max(labels[p], labels[q])) for view, p, q in edges}


def plain_canonical(views: int, points: int, mask: int) -> int:
    edges = all_edges(views, points)
    kept = {edge for index, edge in enumerate(edges) if mask >> index & 1}
    return min(
        sum(1 << edges.index(edge) for edge in relabelled(kept, labels, order))
        for labels in permutations(range(points))
        for order in permutations(range(1, views))
    )


@pytest.mark.parametrize(("views", "points"), [(2, 5), (3, 4), (3, 5)])
def test_group_is_a_group_of_relabellings(views: int, points: int) -> None:
    group = graphs.group(views, points)
    size = math.factorial(points) * math.factorial(views - 1)
    assert group.shape == (size, len(all_edges(views, points)))
    assert group[0].tolist() == list(range(group.shape[1]))
    rows = {tuple(row) for row in group.tolist()}
    assert len(rows) == size
    rng = np.random.default_rng(0)
    for one, other in rng.integers(0, size, (100, 2)):
        assert tuple(group[one][group[other]]) in rows
    assert not group.flags.writeable


@settings(max_examples=40, deadline=None)
@given(shape=st.sampled_from([(2, 4), (2, 5), (3, 3), (3, 4)]), data=st.data())
def test_canonical_form_is_the_plain_one(shape: tuple[int, int], data: st.DataObject) -> None:
    mask = data.draw(st.integers(0, 2 ** len(all_edges(*shape)) - 1))
    found = graphs.canonical(*shape, np.array([mask]))
    assert found.tolist() == [plain_canonical(*shape, mask)]


@pytest.mark.parametrize(("views", "points", "keep"), [(2, 5, 9), (2, 7, 15), (3, 5, 16), (3, 5, 18), (3, 6, 22)])
def test_canonical_form_is_invariant_under_random_relabelings(views: int, points: int, keep: int) -> None:
    rng = np.random.default_rng(1)
    edges = all_edges(views, points)
    kept = {edges[k] for k in rng.choice(len(edges), keep, replace=False)}
    masks = []
    for _ in range(1000):
        moved = relabelled(kept, tuple(rng.permutation(points)), tuple(1 + rng.permutation(views - 1)))
        masks.append(sum(1 << edges.index(edge) for edge in moved))
    assert len(set(masks)) > 1
    assert len(np.unique(graphs.canonical(views, points, np.array(masks)))) == 1


@pytest.mark.parametrize(("views", "points", "dropped"), SMALL)
def test_orbits_are_those_of_all_canonical_forms(views: int, points: int, dropped: int) -> None:
    equations = len(all_edges(views, points))
    full = (1 << equations) - 1
    masks = np.array([full - sum(1 << k for k in each) for each in combinations(range(equations), dropped)])
    expected, sizes = np.unique(graphs.canonical(views, points, masks), return_counts=True)
    found, found_sizes = graphs.orbits(views, points, dropped)
    assert found.tolist() == expected.tolist()
    assert found_sizes.tolist() == sizes.tolist()


@settings(max_examples=30, deadline=None)
@given(shape=st.sampled_from([(2, 4), (2, 5), (2, 6), (3, 3), (3, 4), (3, 5)]), data=st.data())
def test_orbit_sizes_sum_to_binomials_and_burnside_agrees(shape: tuple[int, int], data: st.DataObject) -> None:
    equations = len(all_edges(*shape))
    dropped = data.draw(st.integers(0, min(equations, 7)))
    masks, sizes = graphs.orbits(*shape, dropped)
    assert sizes.sum() == math.comb(equations, dropped)
    assert len(masks) == graphs.burnside(*shape, dropped)
    assert np.all(np.diff(masks) > 0)
    assert np.all(len(graphs.group(*shape)) % sizes == 0)
    assert np.all(np.bitwise_count(masks) == equations - dropped)


def test_burnside_counts_graphs_on_few_vertices() -> None:
    """Graphs up to isomorphism by edges: 1, 1, 2, 3, 2, 1, 1 on four vertices; 156 in all on six."""
    assert [graphs.burnside(2, 4, k) for k in range(7)] == [1, 1, 2, 3, 2, 1, 1]
    assert sum(graphs.burnside(2, 6, k) for k in range(16)) == 156


def test_masks_and_problems_are_the_same_thing() -> None:
    problem = keeping_all_but(3, 5, "zero_skew", ((1, 0, 3), (2, 1, 2)))
    mask = graphs.mask_of(problem)
    assert graphs.problem_of(3, 5, "zero_skew", mask) == problem
    edges = all_edges(3, 5)
    assert [edges[k] for k in graphs.kept(np.array([mask]), 20)[0]] == list(problem.edges)


@pytest.mark.parametrize(("mask", "message"), [(7, "as many as unknowns"), (-1, "not one of 20"), (1 << 20, "not one of 20")])
def test_a_mask_of_another_problem_is_refused(mask: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graphs.problem_of(3, 5, "zero_skew", mask)


def lines(text: str) -> list[ET.Element]:
    return [each for each in ET.fromstring(text).iter() if each.tag == "line"]


def test_picture_shows_each_pair_in_its_colour() -> None:
    problem = keeping_all_but(3, 5, "square", ((1, 0, 3), (2, 0, 3), (2, 1, 2)))
    colours = graphs.colours(problem)
    assert colours[0, 3] == "none" and colours[1, 2] == "12" and colours[0, 1] == "both"
    text = graphs.svg(problem)
    drawn = lines(text)
    assert len(drawn) == 10
    assert len({line.get("stroke") for line in drawn}) == 3
    assert [line[0].text for line in drawn][0] == "1-4: neither", "what is not kept lies below"
    assert ET.fromstring(text).get("aria-label") == "5 points, 3 views; both equations: 8, views 1-2 only: 1, neither: 1"
    swapped = keeping_all_but(3, 5, "square", ((1, 0, 3), (2, 0, 3), (1, 1, 2)))
    assert graphs.colours(swapped)[1, 2] == "13"


def test_picture_of_two_views_and_legend_stand_on_a_page() -> None:
    problem = Problem(2, 5, "none", tuple(all_edges(2, 5)[:9]))
    assert set(graphs.colours(problem).values()) == {"both", "none"}
    assert len(lines(graphs.svg(problem, size=60))) == 10
    root = ET.fromstring(graphs.legend())
    assert len([each for each in root.iter() if each.tag == "line"]) == 4
    assert "kept" in graphs.legend(2) and "views 1-3" not in graphs.legend(2)
    for text in (graphs.svg(problem), graphs.legend()):
        assert "http" not in text and "<script" not in text

"""Relaxations as coloured complete graphs: bit masks, their symmetries, one representative an orbit, Burnside's count, pictures.

Bit `i` of a mask says that equation `i` of `all_edges(views, points)` is kept. Two masks are equal up to relabelling if a permutation of
the points, or the exchange of views 2 and 3, carries one to the other (section 4 of the paper; here exactly, on the graphs themselves).
"""

import math
from collections import Counter
from functools import cache
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.problems import Problem, all_edges
from tenfold.core.report import Html, markup

Masks = npt.NDArray[np.int64]

# Of an edge of the graph, by the views against which the pair of points is kept: colour (Okabe & Ito), dashes, width.
_LOOK = {
    "both": ("#0072B2", "", 3.0),
    "12": ("#E69F00", "7 3", 2.4),
    "13": ("#009E73", "2 3", 2.4),
    "none": ("#999999", "1 3", 1.3),
}


@cache
def group(views: int, points: int) -> Masks:
    """Every symmetry as a permutation of the equations (points! * (views-1)!, equations): equation `i` becomes `group[g, i]`.

    The first row is the identity. The array is shared: it cannot be written.
    """
    pairs = list(combinations(range(points), 2))
    number = np.zeros((points, points), dtype=np.int64)
    for index, (p, q) in enumerate(pairs):
        number[p, q] = number[q, p] = index
    labels = np.array(list(permutations(range(points))))
    ends = np.array(pairs)
    moved = number[labels[:, ends[:, 0]], labels[:, ends[:, 1]]]
    orders = permutations(range(views - 1))
    found = np.concatenate([np.concatenate([moved + view * len(pairs) for view in order], axis=1) for order in orders])
    found.setflags(write=False)
    return found


def canonical(views: int, points: int, masks: Masks) -> Masks:
    """The least mask of each one's orbit (n,). Costs n times the size of the group: for whole classes see `orbits`."""
    masks = np.asarray(masks, dtype=np.int64)
    least = masks.copy()
    for symmetry in group(views, points):
        least = np.minimum(least, _moved(masks, symmetry))
    return least


def _moved(masks: Masks, symmetry: Masks) -> Masks:
    out = np.zeros_like(masks)
    for bit, target in enumerate(symmetry.tolist()):
        out |= (masks >> bit & 1) << target
    return out


def orbits(views: int, points: int, dropped: int) -> tuple[Masks, Masks]:
    """All ways to drop `dropped` equations: canonical masks (ascending) and the number of masks in each orbit.

    Walks through all subsets once in ascending order of the mask kept and marks the orbit of each subset not yet marked, whose mask is
    thus the least of its orbit. So only orbits, not subsets, are multiplied by the group. Memory: one byte a subset.
    """
    symmetries = group(views, points)
    equations = symmetries.shape[1]
    binomial = np.array([[math.comb(n, k) for k in range(dropped + 1)] for n in range(equations + 1)], dtype=np.int64)
    place = np.arange(1, dropped + 1)
    subsets = math.comb(equations, dropped)
    full = (1 << equations) - 1
    seen = np.zeros(subsets, dtype=bool)
    found, sizes = [], []
    at = 0
    while at < subsets:
        # Kept masks ascend as dropped ones descend, and the rank of a set of positions in that order is its combinadic number.
        positions = _unrank(subsets - 1 - at, binomial, dropped)
        ranks = subsets - 1 - binomial[np.sort(symmetries[:, positions], axis=1), place].sum(axis=1)
        before = seen[ranks]
        assert not before.any(), "orbits do not meet"
        seen[ranks] = True
        sizes.append(len(np.unique(ranks)))
        found.append(full - sum(1 << position for position in positions))
        rest = seen[at:]
        step = int(rest.argmin())
        at = subsets if rest[step] else at + step
    return np.array(found, dtype=np.int64), np.array(sizes, dtype=np.int64)


def _unrank(rank: int, binomial: Masks, size: int) -> list[int]:
    """The ascending positions c_1 < c_2 < ... with sum of binomial(c_k, k) = rank."""
    positions = []
    for k in range(size, 0, -1):
        position = int(np.searchsorted(binomial[:, k], rank, side="right")) - 1
        rank -= int(binomial[position, k])
        positions.append(position)
    return positions[::-1]


def burnside(views: int, points: int, dropped: int) -> int:
    """Number of orbits by Burnside's lemma: the mean, over the group, of the subsets that a symmetry leaves as they are.

    Independent of `orbits`: only the lengths of the cycles of each symmetry count. Exact integers.
    """
    symmetries = group(views, points)
    kinds = Counter(tuple(sorted(_cycles(symmetry.tolist()))) for symmetry in symmetries)
    total = 0
    for lengths, times in kinds.items():
        ways = [1] + [0] * dropped
        for length in lengths:
            for size in range(dropped, length - 1, -1):
                ways[size] += ways[size - length]
        total += times * ways[dropped]
    count, rest = divmod(total, len(symmetries))
    assert rest == 0, "Burnside's sum is a multiple of the group's size"
    return count


def _cycles(symmetry: list[int]) -> list[int]:
    lengths = []
    seen = [False] * len(symmetry)
    for start in range(len(symmetry)):
        at, length = start, 0
        while not seen[at]:
            seen[at] = True
            at, length = symmetry[at], length + 1
        if length:
            lengths.append(length)
    return lengths


def kept(masks: Masks, equations: int) -> Masks:
    """Indices of the equations kept (n, kept), ascending; all masks keep equally many."""
    bits = np.asarray(masks, dtype=np.int64)[:, None] >> np.arange(equations) & 1
    return np.nonzero(bits)[1].reshape(len(bits), -1).astype(np.int64)


def mask_of(problem: Problem) -> int:
    """The mask of the equations that a problem keeps."""
    number = {edge: index for index, edge in enumerate(all_edges(problem.views, problem.points))}
    return sum(1 << number[edge] for edge in problem.edges)


def problem_of(views: int, points: int, kind: str, mask: int) -> Problem:
    """The problem that keeps the equations of `mask`; ValueError if they are not as many as the unknowns."""
    edges = all_edges(views, points)
    if not 0 <= mask < 1 << len(edges):
        raise ValueError(f"mask {mask} is not one of {len(edges)} equations")
    return Problem(views, points, kind, tuple(edge for index, edge in enumerate(edges) if mask >> index & 1))


def colours(problem: Problem) -> dict[tuple[int, int], str]:
    """Colour of each pair of points: `both`, `12`, `13` or `none`, by the views whose equation is kept (two views: `both` or `none`)."""
    names = {(): "none", (1,): "12", (2,): "13", (1, 2): "both"} if problem.views == 3 else {(): "none", (1,): "both"}
    pairs = combinations(range(problem.points), 2)
    return {(p, q): names[tuple(v for v in range(1, problem.views) if (v, p, q) in problem.edges)] for p, q in pairs}


def svg(problem: Problem, size: int = 120) -> Html:
    """The coloured graph as an inline SVG of `size` px; edges differ in dashes too, for any colour vision; text takes the page's colour."""
    centre, radius = 60.0, 44.0
    turns = [2 * math.pi * p / problem.points - math.pi / 2 for p in range(problem.points)]

    def spot(point: int, reach: float) -> tuple[str, str]:
        return f"{centre + reach * math.cos(turns[point]):.1f}", f"{centre + reach * math.sin(turns[point]):.1f}"

    drawn = colours(problem)
    pieces = []
    # Faint edges first, so that they do not cross over the kept ones.
    for (p, q), colour in sorted(drawn.items(), key=lambda item: (item[1] != "none", item[0])):
        title = markup("<title>{}-{}: {}</title>", str(p + 1), str(q + 1), _words(problem.views)[colour])
        pieces.append(_line(colour, spot(p, radius), spot(q, radius), title))
    for p in range(problem.points):
        pieces.append(markup('<circle cx="{}" cy="{}" r="4" fill="currentColor"/>', *spot(p, radius)))
        pieces.append(markup(_NUMBER, *spot(p, radius + 11), str(p + 1)))
    tally = Counter(drawn.values())
    words = _words(problem.views)
    label = f"{problem.points} points, {problem.views} views; " + ", ".join(f"{words[n]}: {tally[n]}" for n in _LOOK if tally[n])
    return markup(
        '<svg class="graph" viewBox="0 0 120 120" width="{size}" height="{size}" role="img" aria-label="{label}">{body}</svg>',
        size=str(size),
        label=label,
        body=Html("".join(pieces)),
    )


def _words(views: int) -> dict[str, str]:
    if views == 2:
        return {"both": "kept", "none": "dropped"}
    return {"both": "both equations", "12": "views 1-2 only", "13": "views 1-3 only", "none": "neither"}


_NUMBER = '<text x="{}" y="{}" font-size="10" text-anchor="middle" dominant-baseline="central" fill="currentColor">{}</text>'


def _line(colour: str, start: tuple[str, str], end: tuple[str, str], title: str = "") -> Html:
    stroke, dashes, width = _LOOK[colour]
    return markup(
        '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="{}" stroke-dasharray="{}">{}</line>',
        *(*start, *end),
        *(stroke, str(width), dashes or "none"),
        title,
    )


def legend(views: int = 3) -> Html:
    """What the lines of `svg` mean, as inline HTML."""
    parts = [
        markup(
            '<span><svg viewBox="0 0 28 10" width="28" height="10" aria-hidden="true">{}</svg> {} </span>',
            _line(name, ("0", "5"), ("28", "5")),
            text,
        )
        for name, text in _words(views).items()
    ]
    return markup('<span class="legend">{}</span>', Html("".join(parts)))

"""A minimal problem's Newton step as a straight-line program: sparse, without branches, the same for every path.

Built once for each problem: the equations and their derivatives by Gram matrices, then Gaussian elimination on the
entries that are not zero, in an order chosen for few multiplications among pivots that are large enough at random scenes. No pivot
is chosen while tracking: a path is complex, so a pivot comes near zero so rarely that the lost digits do not matter, and Newton's
next step sees them.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.equations import random_image, random_scene
from tenfold.autocalibration.problems import FREE, Problem, terms

Complex = npt.NDArray[np.complex128]
# Operations of a program: a b; a b + c; c - a b; a + b; a - b; 1 / a; -2 a; 2 a; -a
MUL, MULADD, MULSUB, ADD, SUB, INVERT, MINUS_TWICE, TWICE, NEGATE = range(9)
_OPERANDS = {MUL: 2, MULADD: 3, MULSUB: 3, ADD: 2, SUB: 2, INVERT: 1, MINUS_TWICE: 1, TWICE: 1, NEGATE: 1}
_SAMPLES = 16
# A pivot must be this large beside the largest of its column, in the geometric mean over the samples.
_LARGE = 0.1


@dataclass(frozen=True)
class Program:
    """Values have numbers: the `unknowns`, 1, moving terms with their derivatives by t in turn, then what `code` (op, made, operands) computes.

    `moving`: numbers of the moving terms among all terms. `out`: where J^-1 F and J^-1 dF/dt stand.
    """

    unknowns: int
    moving: npt.NDArray[np.int64]
    code: list[tuple[int, ...]]
    out: list[int]

    @property
    def multiplications(self) -> int:
        """Complex multiplications of one Newton step with its tangent."""
        return sum(op in (MUL, MULADD, MULSUB) for op, *_ in self.code)


class _Builder:
    """Values are numbers of rows; each has a shadow: its value at some random scenes. None is zero."""

    def __init__(self, inputs: list[Complex]) -> None:
        self.shadow = list(inputs)
        self.code: list[tuple[int, ...]] = []

    def op(self, op: int, a: int, b: int = 0, c: int = 0) -> int:
        x, y, z = self.shadow[a], self.shadow[b], self.shadow[c]
        value = {
            MUL: lambda: x * y, MULADD: lambda: x * y + z, MULSUB: lambda: z - x * y, ADD: lambda: x + y, SUB: lambda: x - y,
            INVERT: lambda: 1 / x, MINUS_TWICE: lambda: -2 * x, TWICE: lambda: 2 * x, NEGATE: lambda: -x,
        }[op]()  # fmt: skip
        self.shadow.append(value)
        self.code.append((op, len(self.shadow) - 1, *(a, b, c)[: _OPERANDS[op]]))
        return len(self.shadow) - 1

    def minus(self, c: int | None, a: int, b: int) -> int:
        """c - a b."""
        return self.op(NEGATE, self.op(MUL, a, b)) if c is None else self.op(MULSUB, a, b, c)


@lru_cache(maxsize=64)
def compiled(problem: Problem) -> Program:
    """The program of a problem."""
    rng = np.random.default_rng(0)
    views, points, free = problem.views, problem.points, problem.free
    n = problem.unknowns
    scenes = [random_scene(problem, rng) for _ in range(_SAMPLES)]
    unknowns = np.stack([scene[1] for scene in scenes], axis=1)
    image = np.stack([scene[0] for scene in scenes])
    speed = np.stack([random_image(problem, rng) for _ in range(_SAMPLES)])
    one = np.concatenate([image, np.ones((*image.shape[:-1], 1))], axis=-1)
    rate = np.concatenate([speed, np.zeros((*speed.shape[:-1], 1))], axis=-1)
    pairs = list(combinations_with_replacement(range(points), 2))
    used = _used(problem)
    # (view, pair, term) -> its row; a term that is the constant 1 has none
    constant = [entry == (2, 2) for entry in FREE[problem.kind]]
    moving: list[int] = []
    where: dict[tuple[int, int, int, int], int] = {}
    inputs = [*unknowns, np.ones(_SAMPLES, dtype=np.complex128)]
    for view in range(views):
        for number, (p, q) in enumerate(pairs):
            if (view, p, q) not in used:
                continue
            value = terms(problem.kind, one[:, view, p], one[:, view, q])
            change = terms(problem.kind, one[:, view, p], rate[:, view, q]) + terms(problem.kind, rate[:, view, p], one[:, view, q])
            for term in range(1 + free):
                if term and constant[term - 1]:
                    continue
                where[view, p, q, term] = len(inputs)
                moving.append((view * len(pairs) + number) * (1 + free) + term)
                inputs += [value[:, term], change[:, term]]
    build = _Builder(inputs)

    gram: dict[tuple[int, int, int], int] = {}
    slope: dict[tuple[int, int, int], int] = {}
    for view, p, q in sorted(used):
        g = where[view, p, q, 0]
        d = g + 1
        for a in range(free):
            if constant[a]:
                g = build.op(ADD, g, a)
            else:
                row = where[view, p, q, a + 1]
                g = build.op(MULADD, a, row, g)
                d = build.op(MULADD, a, row + 1, d)
        gram[view, p, q], slope[view, p, q] = g, d

    def ratio(view: int, point: int) -> int | None:
        """Row of m; None is 1."""
        if point == 0:
            return None
        return (free if view == 0 else free + points - 1 + (view - 1) * points) + point - 1

    def times(m: int | None, x: int) -> int:
        return x if m is None else build.op(MUL, m, x)

    def times_minus(c: int, m: int | None, x: int) -> int:
        return build.op(SUB, c, x) if m is None else build.op(MULSUB, m, x, c)

    def times_plus(c: int, m: int | None, x: int) -> int:
        return build.op(ADD, c, x) if m is None else build.op(MULADD, m, x, c)

    scaled: dict[tuple[int, int, int], int] = {}

    def form(view: int, p: int, q: int, table: dict[tuple[int, int, int], int], key: int) -> tuple[int, int, int]:
        """m_p^2 g_pp - 2 m_p m_q g_pq + m_q^2 g_qq and half its derivatives by m_p and m_q."""
        mp, mq = ratio(view, p), ratio(view, q)
        gpq = table[view, p, q]
        for point, m in ((p, mp), (q, mq)):
            if (view, point, key) not in scaled:
                scaled[view, point, key] = times(m, table[view, point, point])
        first = times_minus(scaled[view, p, key], mq, gpq)
        second = times_minus(scaled[view, q, key], mp, gpq)
        return times_plus(times(mp, first), mq, second), first, second

    distances: dict[tuple[int, int, int], tuple[int, int, int, int, list[int]]] = {}

    def distance(view: int, p: int, q: int) -> tuple[int, int, int, int, list[int]]:
        if (view, p, q) not in distances:
            value, by_p, by_q = form(view, p, q, gram, 0)
            by_t = form(view, p, q, slope, 1)[0]
            by_w = []
            for a in range(free):
                if constant[a]:
                    mp, mq = ratio(view, p), ratio(view, q)
                    assert mq is not None
                    difference = build.op(SUB, n, mq) if mp is None else build.op(SUB, mp, mq)
                    by_w.append(build.op(MUL, difference, difference))
                else:
                    table = {key[:3]: row for key, row in where.items() if key[3] == a + 1}
                    by_w.append(form(view, p, q, table, 2 + a)[0])
            distances[view, p, q] = value, by_p, by_q, by_t, by_w
        return distances[view, p, q]

    rows: list[dict[int, int]] = []
    for view, p, q in problem.edges:
        z = free + points - 1 + view * points - 1
        left, by_p1, by_q1, left_t, left_w = distance(0, p, q)
        right, by_p, by_q, right_t, right_w = distance(view, p, q)
        entries = {n: build.op(MULSUB, z, right, left), n + 1: build.op(MULSUB, z, right_t, left_t), z: build.op(NEGATE, right)}
        for a in range(free):
            entries[a] = build.op(MULSUB, z, right_w[a], left_w[a])
        for point, one_by, other_by in ((p, by_p1, by_p), (q, by_q1, by_q)):
            if point:
                entries[_known(ratio(0, point))] = build.op(TWICE, one_by)
                entries[_known(ratio(view, point))] = build.op(MINUS_TWICE, build.op(MUL, z, other_by))
        rows.append(entries)
    solution = _solved(build, rows, n)
    return Program(n, np.array(moving, dtype=np.int64), _lazy(build.code, solution), solution)


def _known(row: int | None) -> int:
    assert row is not None
    return row


def _used(problem: Problem) -> set[tuple[int, int, int]]:
    """Entries (view, p, q) of the Gram matrices, p <= q, that some equation reads."""
    return {(v, *pair) for view, p, q in problem.edges for v in (0, view) for pair in ((p, p), (p, q), (q, q))}


def _solved(build: _Builder, rows: list[dict[int, int]], n: int) -> list[int]:
    """Numbers of the values J^-1 F and J^-1 dF/dt, by Gauss on the entries that are not zero; columns n, n + 1 are F, dF/dt."""
    active = list(range(n))
    done: list[tuple[int, dict[int, int]]] = []
    for _ in range(n):
        pivot_row, pivot = _pivot(build, rows, active, n)
        active.remove(pivot_row)
        top = rows[pivot_row]
        inverse = build.op(INVERT, top.pop(pivot))
        top = {column: build.op(MUL, value, inverse) for column, value in top.items()}
        for row in active:
            if pivot in rows[row]:
                factor = rows[row].pop(pivot)
                for column, value in top.items():
                    rows[row][column] = build.minus(rows[row].get(column), factor, value)
        done.append((pivot, top))
    found: dict[tuple[int, int], int] = {}
    for side in (n, n + 1):
        for pivot, top in reversed(done):
            value = top[side]
            for column, entry in top.items():
                if column < n:
                    value = build.op(MULSUB, entry, found[side, column], value)
            found[side, pivot] = value
    return [found[side, column] for side in (n, n + 1) for column in range(n)]


def _pivot(build: _Builder, rows: list[dict[int, int]], active: list[int], n: int) -> tuple[int, int]:
    """Row and column of the pivot that fills least, among those that are large enough."""
    in_column: dict[int, list[int]] = {}
    for row in active:
        for column in rows[row]:
            if column < n:
                in_column.setdefault(column, []).append(row)
    best: tuple[tuple[float, float], int, int] | None = None
    for column, members in in_column.items():
        size = np.abs(np.stack([build.shadow[rows[row][column]] for row in members]))
        share = np.exp(np.log(np.maximum(size / size.max(axis=0), 1e-300)).mean(axis=1))
        for row, ratio in zip(members, share, strict=True):
            cost = (len(members) - 1) * (len(rows[row]) - 1)
            if ratio >= _LARGE or ratio == share.max():
                found = ((cost, -ratio), row, column)
                if best is None or found < best:
                    best = found
    if best is None:
        raise ValueError("the equations are dependent: this relaxation is singular")
    return best[1], best[2]


def _lazy(code: list[tuple[int, ...]], out: list[int]) -> list[tuple[int, ...]]:
    """The operations that `out` rests on, each shortly before it is wanted: fewer values live at a time, fewer go through memory."""
    line_of = {line[1]: line for line in code}
    made: set[int] = set()
    ordered = []
    for wanted in out:
        stack = [wanted]
        while stack:
            line = line_of.get(stack[-1])
            missing = [value for value in line[2:] if value in line_of and value not in made] if line else []
            if missing:
                stack.append(max(missing))
                continue
            stack.pop()
            if line and line[1] not in made:
                made.add(line[1])
                ordered.append(line)
    return ordered

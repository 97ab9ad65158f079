"""A start system: one image of a minimal problem with all its solutions, from which every other image is solved."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.equations import relative_residual
from tenfold.autocalibration.problems import Problem
from tenfold.core import atomic
from tenfold.core.errors import Corrupt

Complex = npt.NDArray[np.complex128]
# Of the equations, relative to their terms; and the least distance between two solutions.
LARGEST_RESIDUAL, LEAST_DISTANCE = 1e-8, 1e-6


@dataclass(frozen=True)
class StartSystem:
    """`base` (views, points, 2) complex image points; `solutions` (degree, unknowns); `facts`: how it was found, plain JSON."""

    problem: Problem
    base: Complex
    solutions: Complex
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def degree(self) -> int:
        """Number of solutions, twins counted once: paths to be tracked for one instance."""
        return len(self.solutions)

    def save(self, path: Path) -> None:
        """Write an npz file without objects, atomically."""
        with atomic.new_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream, allow_pickle=False, base=self.base, solutions=self.solutions, edges=self.problem.rows,
                views=self.problem.views, points=self.problem.points, kind=self.problem.kind, facts=json.dumps(self.facts, sort_keys=True),
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and verify. Raises Corrupt for a file that is no start system, or whose solutions do not solve its equations."""
        try:
            with np.load(path, allow_pickle=False) as file:
                edges = tuple((int(view), int(p), int(q)) for view, p, q in file["edges"])
                problem = Problem(int(file["views"]), int(file["points"]), str(file["kind"]), edges)
                made = cls(problem, file["base"], file["solutions"], json.loads(str(file["facts"])))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise Corrupt(f"{path} is no start system: {error}. Make the model again.") from error
        reason = made.fault()
        if reason:
            raise Corrupt(f"{path} is damaged: {reason}. Make the model again.")
        return made

    def fault(self) -> str:
        """What is wrong with it, empty if nothing: shapes, numbers, residuals, solutions given twice."""
        problem = self.problem
        if self.base.shape != (problem.views, problem.points, 2) or self.solutions.shape[1:] != (problem.unknowns,):
            return f"arrays of shape {self.base.shape} and {self.solutions.shape} do not belong to this problem"
        if not (np.isfinite(self.base).all() and np.isfinite(self.solutions).all()):
            return "a number is not finite"
        if self.degree:
            worst = float(relative_residual(problem, self.solutions, self.base).max())
            if not worst < LARGEST_RESIDUAL:
                return f"a solution leaves a residual of {worst:.1e}"
            if len(fresh(without_twins(problem, self.solutions))) < self.degree:
                return "a solution stands there twice"
        return ""


def without_twins(problem: Problem, solutions: Complex) -> Complex:
    """The unknowns (..., fewer) in which solutions (..., unknowns) differ that are not twins (see `Problem.twins`)."""
    return np.delete(solutions, [at for at, _ in problem.twins], axis=-1)


def distinct(solutions: Complex, known: Complex | None = None) -> Complex:
    """Rows of `solutions` that differ from `known` and from each other by more than LEAST_DISTANCE, relative to their size."""
    return solutions[fresh(solutions, known)]


def fresh(solutions: Complex, known: Complex | None = None, least: float = LEAST_DISTANCE) -> list[int]:
    """Numbers of the rows that `distinct` keeps; `least`: distance from which rows differ, relative to their size."""
    search = _Search(solutions.shape[1], known, least)
    kept: list[int] = []
    for index, row in enumerate(solutions):
        if search.place(row) < 0:
            kept.append(index)
            search.add(row)
    return kept


def places(solutions: Complex, known: Complex, least: float = LEAST_DISTANCE) -> npt.NDArray[np.int64]:
    """For each of the `solutions` which row of `known` is the same one, -1 if none is; `least` as in `fresh`."""
    search = _Search(known.shape[1], known, least)
    return np.array([search.place(row) for row in solutions], dtype=np.int64)


class _Search:
    """Finds equal rows. One complex number a row narrows the search: the sum with fixed weights."""

    def __init__(self, width: int, known: Complex | None, least: float) -> None:
        at = np.arange(1, width + 1)
        self.weights = np.cos(at) + 1j * np.sin(1.7 * at)
        self.reach, self.least = np.abs(self.weights).sum(), least
        self.rows = np.zeros((0, width), dtype=np.complex128) if known is None else np.asarray(known, dtype=np.complex128)
        self.keys = self.rows @ self.weights
        self.end = len(self.rows)

    def place(self, row: Complex) -> int:
        limit = self.least * max(1.0, np.abs(row).max())
        near = np.flatnonzero(np.abs(self.keys[: self.end] - row @ self.weights) <= limit * self.reach)
        same = near[np.abs(self.rows[near] - row).max(axis=1) <= limit]
        return int(same[0]) if len(same) else -1

    def add(self, row: Complex) -> None:
        if self.end == len(self.rows):
            # room for as many again, so that rows are copied a few times only
            more = max(64, self.end)
            self.rows = np.concatenate([self.rows, np.empty((more, self.rows.shape[1]), dtype=np.complex128)])
            self.keys = np.concatenate([self.keys, np.empty(more, dtype=np.complex128)])
        self.rows[self.end], self.keys[self.end] = row, row @ self.weights
        self.end += 1

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
    """The unknowns (solutions, fewer) in which solutions differ that are not twins (see `Problem.twins`)."""
    return np.delete(solutions, [at for at, _ in problem.twins], axis=1)


def distinct(solutions: Complex, known: Complex | None = None) -> Complex:
    """Rows of `solutions` that differ from `known` and from each other by more than LEAST_DISTANCE, relative to their size."""
    return solutions[fresh(solutions, known)]


def fresh(solutions: Complex, known: Complex | None = None) -> list[int]:
    """Numbers of the rows that `distinct` keeps."""
    count, width = solutions.shape
    first = 0 if known is None else len(known)
    rows = np.empty((first + count, width), dtype=np.complex128)
    if known is not None:
        rows[:first] = known
    # one complex number a row narrows the search: the sum with fixed weights
    at = np.arange(1, width + 1)
    weights = np.cos(at) + 1j * np.sin(1.7 * at)
    keys = np.empty(first + count, dtype=np.complex128)
    keys[:first] = rows[:first] @ weights
    reach = np.abs(weights).sum()
    kept: list[int] = []
    end = first
    for index, row in enumerate(solutions):
        key = row @ weights
        limit = LEAST_DISTANCE * max(1.0, np.abs(row).max())
        near = np.flatnonzero(np.abs(keys[:end] - key) <= limit * reach)
        if not (np.abs(rows[near] - row).max(axis=1) <= limit).any():
            kept.append(index)
            keys[end], rows[end] = key, row
            end += 1
    return kept

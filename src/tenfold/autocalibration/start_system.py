"""A start system: one image of a minimal problem with all its solutions, from which every other image is solved."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.equations import residuals
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
        """Number of solutions: paths to be tracked for one instance."""
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
            if len(distinct(self.solutions)) < self.degree:
                return "a solution stands there twice"
        return ""


def relative_residual(problem: Problem, unknowns: Complex, image: Complex) -> npt.NDArray[np.float64]:
    """Largest residual of each solution (...,), relative to the fourth power of the size of its unknowns."""
    size = np.maximum(1.0, np.abs(unknowns).max(axis=-1))
    return np.asarray(np.abs(residuals(problem, unknowns, image)).max(axis=-1) / size**3)


def distinct(solutions: Complex, known: Complex | None = None) -> Complex:
    """Rows of `solutions` that differ from `known` and from each other by more than LEAST_DISTANCE, relative to their size."""
    kept = list(range(0))
    size = np.maximum(1.0, np.abs(solutions).max(axis=1)) if len(solutions) else np.zeros(0)
    pool = np.zeros((0, solutions.shape[1]), dtype=np.complex128) if known is None else known
    # one complex number a row narrows the search: the sum with fixed odd weights, sorted
    weights = np.cos(np.arange(1, solutions.shape[1] + 1)) + 1j * np.sin(1.7 * np.arange(1, solutions.shape[1] + 1))
    keys = [*(pool @ weights)]
    rows = [*pool]
    for index, row in enumerate(solutions):
        key = row @ weights
        limit = LEAST_DISTANCE * size[index]
        near = np.flatnonzero(np.abs(np.array(keys) - key) <= limit * np.abs(weights).sum()) if keys else np.zeros(0, dtype=int)
        if not any(np.abs(rows[other] - row).max() <= limit for other in near):
            kept.append(index)
            keys.append(key)
            rows.append(row)
    return solutions[kept]

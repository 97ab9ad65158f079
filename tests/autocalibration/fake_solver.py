"""A stand-in for the solvers: it knows the scene, and answers with the truth disturbed, among cameras that are wrong."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry
from tenfold.autocalibration.problems import Problem, keeping_all_but
from tenfold.autocalibration.roots import Candidates
from tenfold.autocalibration.start_system import StartSystem

Floats = npt.NDArray[np.float64]
PROBLEMS = {"focal": keeping_all_but(3, 4, "f"), "none": keeping_all_but(2, 5, "none", ((1, 3, 4),))}


def start(problem: Problem = PROBLEMS["focal"]) -> StartSystem:
    """A start system without solutions."""
    base = np.zeros((problem.views, problem.points, 2), dtype=np.complex128)
    return StartSystem(problem, base, np.zeros((0, problem.unknowns), dtype=np.complex128))


def solver(k: Floats, R: Floats, t: Floats, X: Floats, x: Floats, *, off: float = 0.05, wrong: int = 3) -> Callable[..., Candidates]:
    """`solve` for one scene: the focal is wrong by up to `off`; `wrong` useless cameras a sample. Depends on nothing but the sample."""
    depths = geometry.to_camera(R, t, X)[..., 2]

    def solve(samples: Floats, start: StartSystem, *, principal: Floats, size: tuple[int, int]) -> Candidates:
        sample, ks, found = [], [], []
        for at, points in enumerate(samples):
            rng = np.random.default_rng(abs(int(points.sum() * 1e6)) % 2**32)
            tracks = [int(np.argmin(np.abs(x[0] - point).sum(axis=1))) for point in points[0]]
            for bad in range(wrong + 1):
                factor = rng.uniform(0.4, 3.0) if bad else 1 + off * rng.uniform(-1, 1)
                camera = k.copy()
                camera[:2] *= factor
                sample.append(at)
                ks.append(camera)
                found.append(depths[:, tracks] * (rng.uniform(0.5, 2.0, (len(x), len(tracks))) if bad else 1.0))
        number = np.bincount(np.array(sample, dtype=np.int64), minlength=len(samples))
        none = np.zeros(len(samples), dtype=np.int64)
        return Candidates(
            np.array(sample, dtype=np.int64), np.array(ks), np.array(found), np.zeros(len(ks)), number * 2, number + 1, number, none, none
        )

    return solve

"""The catalogue of minimal problems: every minimal relaxation up to relabelling, and which of them can be solved.

A problem with M equations and n unknowns becomes square by dropping M - n equations. All ways to do so are enumerated up to symmetry
(section 4 of the paper) and those whose Jacobian is singular at a scene are set aside.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import equations, graphs
from tenfold.autocalibration.problems import FREE, Problem, all_edges, unknowns
from tenfold.core.errors import UsageError

# Views, points, what is unknown of K.
PROBLEMS: dict[str, tuple[int, int, str]] = {
    "2V5P": (2, 5, "none"),
    "2V6P-f": (2, 6, "f"),
    "2V7P-fxfy": (2, 7, "fxfy"),
    "3V4P": (3, 4, "none"),
    "3V4P-f": (3, 4, "f"),
    "3V5P-fxfy": (3, 5, "fxfy"),
    "3V5P-square": (3, 5, "square"),
    "3V5P-zeroskew": (3, 5, "zero_skew"),
    "3V6P-full": (3, 6, "full"),
}
# Without these the solvable classes add up to the 80 of the paper's summary: nothing is dropped from one, the other is too large for theirs.
NOT_SUMMED = ("3V4P-f", "3V6P-full")

# Below this relative singular value a Jacobian counts as singular: those of all classes lie below 1e-15 or above 1e-6.
SINGULAR = 1e-10
SCENES = 2

# The best conditioned relaxation of each problem (`best_conditioned`, mean of two seeds, 400 scenes each). Written down, so that neither
# rounding nor the draw moves it. Of 3V6P-full the best conditioned of the 59 that take from one point what two views say of it, and no
# more: five points and that constraint leave nothing over, so that 1,500 paths suffice. Of the best conditioned of all (133149691)
# the first 2,048 solutions found are all different: it has far more.
DEFAULT = {
    "2V5P": 511,
    "2V6P-f": 15870,
    "2V7P-fxfy": 452606,
    "3V4P": 2047,
    "3V4P-f": 4095,
    "3V5P-fxfy": 507615,
    "3V5P-square": 507391,
    "3V5P-zeroskew": 523775,
    "3V6P-full": 58691583,
}

Scene = tuple[equations.Complex, equations.Complex]


@dataclass(frozen=True)
class Relaxations:
    """All minimal relaxations of a problem up to symmetry, ascending by canonical mask. Arrays (orbits,), read-only.

    `sizes`: masks in an orbit. `smin`: the larger, over the scenes, of the least singular value of the scaled Jacobian relative to its
    largest. `singular`: no scene has a regular Jacobian.
    """

    id: str
    views: int
    points: int
    kind: str
    masks: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    smin: npt.NDArray[np.float64]
    singular: npt.NDArray[np.bool_]

    def problem(self, orbit: int) -> Problem:
        """The representative of one orbit."""
        return graphs.problem_of(self.views, self.points, self.kind, int(self.masks[orbit]))


def spec(problem_id: str) -> tuple[int, int, str]:
    """Views, points and kind of a problem; UsageError for an id that is not in the catalogue."""
    try:
        return PROBLEMS[problem_id]
    except KeyError:
        raise UsageError(f"problem {problem_id!r} is not in the catalogue. Take one of {', '.join(PROBLEMS)}.") from None


def dropped(problem_id: str) -> int:
    """Number of equations that a minimal relaxation drops."""
    views, points, kind = spec(problem_id)
    return len(all_edges(views, points)) - unknowns(views, points, kind)


def subsets(problem_id: str) -> int:
    """Number of minimal relaxations, symmetry not counted."""
    views, points, _ = spec(problem_id)
    return math.comb(len(all_edges(views, points)), dropped(problem_id))


def burnside(problem_id: str) -> int:
    """Number of orbits of minimal relaxations by Burnside's lemma; enumerates nothing."""
    views, points, _ = spec(problem_id)
    return graphs.burnside(views, points, dropped(problem_id))


@cache
def relaxations(problem_id: str, seed: int = 0) -> Relaxations:
    """All relaxations of a problem. `seed`: of the random complex scenes of the rank test. At most 2 s (3V6P-full)."""
    views, points, kind = spec(problem_id)
    masks, sizes = graphs.orbits(views, points, dropped(problem_id))
    smin = relative_smin(views, points, kind, masks, equations.random_scene, seed, SCENES).max(axis=0)
    singular = smin < SINGULAR
    for array in (masks, sizes, smin, singular):
        array.setflags(write=False)
    return Relaxations(problem_id, views, points, kind, masks, sizes, smin, singular)


def relative_smin(
    views: int,
    points: int,
    kind: str,
    masks: npt.NDArray[np.int64],
    draw: Callable[[Problem, np.random.Generator], Scene],
    seed: int,
    scenes: int,
) -> npt.NDArray[np.float64]:
    """Least over largest singular value (scenes, masks) of the Jacobian of the equations that each mask keeps.

    The scenes solve every equation, dropped or not: a relaxation that is singular there cannot find a scene, even where it is regular at
    other solutions of its own (which happens in 3V6P-full). Rows and columns are scaled to length 1, which keeps the rank.
    """
    edges = all_edges(views, points)
    size = unknowns(views, points, kind)
    any_relaxation = Problem(views, points, kind, tuple(edges[:size]))
    rows = graphs.kept(masks, len(edges))
    rng = np.random.default_rng([seed, views, points, len(FREE[kind])])
    found = np.empty((scenes, len(masks)))
    for scene in range(scenes):
        image, solution = draw(any_relaxation, rng)
        whole = equations.jacobian(any_relaxation, solution, image, edges)
        whole = whole / np.linalg.norm(whole, axis=1, keepdims=True)
        whole = whole / np.linalg.norm(whole, axis=0, keepdims=True)
        for start in range(0, len(masks), 512):
            values = np.linalg.svd(whole[rows[start : start + 512]], compute_uv=False)
            found[scene, start : start + 512] = values[:, -1] / values[:, 0]
    return found


def representatives(problem_id: str, seed: int = 0) -> list[Problem]:
    """One problem an orbit that is not singular, ascending by canonical mask."""
    found = relaxations(problem_id, seed)
    return [found.problem(orbit) for orbit in np.flatnonzero(~found.singular).tolist()]


def choose(problem_id: str) -> Problem:
    """The default representative: best conditioned at real scenes. Enumerates nothing.

    Without excess constraints every representative has equally many solutions, so conditioning decides; with them, fewer solutions may
    be worth more, which only monodromy tells.
    """
    views, points, kind = spec(problem_id)
    return graphs.problem_of(views, points, kind, DEFAULT[problem_id])


def best_conditioned(problem_id: str, seed: int = 0, scenes: int = 50) -> list[tuple[int, float]]:
    """Masks of all representatives with their mean log10 condition number at real scenes, best first."""
    views, points, kind = spec(problem_id)
    found = relaxations(problem_id)
    masks = found.masks[~found.singular]
    means = -np.log10(relative_smin(views, points, kind, masks, real_scene, seed, scenes)).mean(axis=0)
    order = np.argsort(means, kind="stable")
    return [(int(masks[k]), float(means[k])) for k in order]


def real_scene(problem: Problem, rng: np.random.Generator) -> Scene:
    """A real scene as cameras see it: image points (views, points, 2) in units of their usual radius, and the unknowns that solve it.

    Focal length 2 to 4 of these units (1 where it is known: K is taken out), principal point within 0.2, rotations of 9 to 21 degrees,
    baselines of a quarter of the distance.
    """
    from scipy.spatial.transform import Rotation

    kind, distance = problem.kind, 3.0
    focal = 1.0 if kind == "none" else rng.uniform(2, 4)
    other = focal * (1.0 if kind in ("none", "f", "square") else rng.uniform(0.9, 1.1))
    centre = np.zeros(2) if kind in ("none", "f", "fxfy") else rng.uniform(-0.2, 0.2, 2)
    skew = rng.uniform(-0.02, 0.02) * focal if kind == "full" else 0.0
    matrix = np.array([[focal, skew, centre[0]], [0, other, centre[1]], [0, 0, 1]])
    world = rng.uniform(-1, 1, (problem.points, 3))
    image = np.zeros((problem.views, problem.points, 2))
    depths = np.zeros((problem.views, problem.points))
    for view in range(problem.views):
        moved = world + [0, 0, distance]
        if view:
            axis, step = rng.standard_normal((2, 3))
            turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(rng.uniform(9, 21)))
            moved = turn.apply(world) + [0, 0, distance] + step / np.linalg.norm(step) * distance / 4
        depths[view] = moved[:, 2]
        image[view] = (moved @ matrix.T)[:, :2] / moved[:, 2:]
    inverse = np.linalg.inv(matrix)
    w = inverse.T @ inverse
    entries = np.array([w[row, column] / w[0, 0] for row, column in FREE[kind]])
    return image.astype(np.complex128), equations.unknowns_of(problem, entries, depths.astype(np.complex128))

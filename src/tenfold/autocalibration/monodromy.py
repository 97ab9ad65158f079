"""Find all solutions of a minimal problem: follow the known ones around random loops until no loop finds a new one (section 2.5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.equations import random_image, random_scene, relative_residual, split
from tenfold.autocalibration.geometry import homogeneous
from tenfold.autocalibration.nearest import nearest
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.start_system import StartSystem, fresh, without_twins
from tenfold.autocalibration.tracker import CAREFUL, FOUND, Options, track

Complex = npt.NDArray[np.complex128]
Edges = tuple[tuple[int, int, int], ...]
_FLAT, _HOLDS = 1e-9, 1e-6


@dataclass
class Growth:
    """What the loops did: solutions known after each, paths lost, linear solves; `estimate` of the degree (capture-recapture)."""

    known: list[int] = field(default_factory=list)
    lost: int = 0
    solves: int = 0
    estimate: float = float("nan")


def find(
    problem: Problem, seed: int, stale: int, say: Callable[[int], None] = lambda known: None, most: int = 100_000,
    options: Sequence[Options] = (CAREFUL,),
) -> tuple[StartSystem, Growth]:  # fmt: skip
    """All solutions at a random image, from one random scene; ends after `stale` loops in a row without a new one.

    Also ends, with fact `complete` False, once more than `most` are known. `options` as in `moved`. Of twins (`Problem.twins`) one is found.
    """
    rng = np.random.default_rng([seed, problem.views, problem.points, problem.free])
    growth = Growth()
    known = np.zeros((0, problem.unknowns), dtype=np.complex128)
    # the images of a random scene are of any size: some of its solutions may be badly conditioned, those of these images are less so
    while not len(known):
        image, first = random_scene(problem, rng)
        base = random_image(problem, rng)
        known = moved(problem, image, first[None], base, growth, options)
    known = looped(problem, base, known, rng, stale, growth, say, most, options)
    facts = {"seed": seed, "stale": stale, "loops": len(growth.known), "complete": len(known) <= most, "estimate": growth.estimate}
    return StartSystem(problem, base, known, facts), growth


def looped(
    problem: Problem, base: Complex, known: Complex, rng: np.random.Generator, stale: int, growth: Growth,
    say: Callable[[int], None] = lambda known: None, most: int = 100_000,
    options: Sequence[Options] = (CAREFUL,),
) -> Complex:  # fmt: skip
    """`known` and what loops through two random images find beside them."""
    idle = 0
    implied = holding(problem, known, base)
    while idle < stale and len(known) <= most:
        reached = known
        here = base
        for there in (random_image(problem, rng), random_image(problem, rng), base):
            reached = moved(problem, here, reached, there, growth, options)
            here = there
        reached = reached[geometric(problem, reached, base, implied)]
        new = _new(problem, reached, known)
        if len(new) < len(reached):
            growth.estimate = len(reached) * len(known) / (len(reached) - len(new))
        known = np.concatenate([known, new])
        growth.known.append(len(known))
        say(len(known))
        idle = 0 if len(new) else idle + 1
    return known


def holding(problem: Problem, solutions: Complex, image: Complex) -> Edges:
    """The equations left out that these solutions at a generic image obey all the same: all of them where no constraint is left over."""
    return tuple(edge for edge in problem.dropped if (relative_residual(problem, solutions, image, [edge]) < _HOLDS).all())


def geometric(problem: Problem, solutions: Complex, image: Complex, implied: Edges) -> npt.NDArray[np.bool_]:
    """Which solutions are scenes. A path that jumps may reach others, which loops would then multiply.

    No scene: the points lie in one plane at a generic image (the plane then touches the absolute conic), or one of the equations
    `implied` (see `holding`) does not hold.
    """
    _, m, _ = split(problem, solutions)
    lifted = m[:, 0, :, None] * homogeneous(image)[0]
    spread = np.linalg.svd(lifted[:, 1:] - lifted[:, :1], compute_uv=False)
    good = spread[:, 2] > _FLAT * spread[:, 0]
    if implied:
        good &= relative_residual(problem, solutions, image, implied) < _HOLDS
    return np.asarray(good)


def _new(problem: Problem, solutions: Complex, known: Complex | None = None) -> Complex:
    kept = fresh(without_twins(problem, solutions), None if known is None else without_twins(problem, known))
    return solutions[kept]


def moved(
    problem: Problem, here: Complex, solutions: Complex, there: Complex, growth: Growth, options: Sequence[Options] = (CAREFUL,)
) -> Complex:
    """Solutions at another image; paths that the first of `options` loses are tracked with the next; those lost in the end are counted."""
    if not len(solutions):
        return solutions
    tracks = track(problem, here, solutions, there[None], options[0], again=options[1:])
    growth.lost += int(tracks.lost[0])
    growth.solves += int(tracks.solves.sum())
    return tracks.ends[0][tracks.status[0] == FOUND]


def joined(systems: list[StartSystem], growth: Growth) -> tuple[StartSystem, list[int]]:
    """All solutions that any of several runs found, at the first one's image; and how many each run had found alone.

    The certificate of a degree: runs from different scenes that agree, none adding a solution to another.
    """
    first = systems[0]
    problem = first.problem
    known = first.solutions
    implied = holding(problem, known, first.base)
    for other in systems[1:]:
        reached = moved(problem, other.base, other.solutions, first.base, growth)
        known = np.concatenate([known, _new(problem, reached[geometric(problem, reached, first.base, implied)], known)])
    return StartSystem(problem, first.base, known, dict(first.facts)), [system.degree for system in systems]


def at_best_base(
    system: StartSystem, candidates: int, validation: Complex, rng: np.random.Generator, options: Options, growth: Growth
) -> tuple[StartSystem, list[float]]:
    """Start-system tuning: of some images, the one from which real images take the fewest linear solves.

    `validation` (scenes, views, points, 2): real images. An image at which solutions are missing gets a further loop, and is
    left out if they stay missing. Returns the system there and the mean solves a path of each candidate.
    """
    problem = system.problem
    best, least, costs = system, np.inf, []
    scenes = validation.real / np.sqrt((validation.real**2).sum(axis=-1).mean(axis=(1, 2)))[:, None, None, None]
    for number in range(candidates):
        # as near to real images as the paths keep apart: one of them, and imaginary parts about half as large
        base = scenes[number % len(scenes)] + (0.5j, 0.8j)[number % 2] * rng.standard_normal(system.base.shape)
        known = _new(problem, moved(problem, system.base, system.solutions, base, growth))
        if len(known) < system.degree:
            known = looped(problem, base, known, rng, 1, growth, most=2 * system.degree)
        cost = np.inf
        if len(known) >= system.degree:
            near = nearest(problem.kind, scenes, base).x.astype(np.complex128)
            cost = float(track(problem, base, known, near, options).solves.mean())
        costs.append(cost)
        if cost < least:
            best, least = StartSystem(problem, base, known, dict(system.facts)), cost
    return best, costs

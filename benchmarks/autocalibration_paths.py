"""Where the paths of `zero_skew` are hard to follow, and what finds their ends: the numbers of docs/papers/autocalibration.md.

    python benchmarks/autocalibration_paths.py [--instances 5] [--seed 0]

On the start system that is kept with the code, noise-free scenes (`exact.instances`); CPU seconds of one thread, compilation not counted;
about a minute.

    ways      share of the paths lost, linear solves a path and CPU seconds an instance of: the loop with a cubic predictor (`tracker.FAST`), the
              loop of `hermite`, straight; with conjugates of what it found; with the ways around on both sides, which is the solver.
    stops     of the straight paths that are lost: share that stops before t = 0.9 and in the last thousandth of the way, quantiles of t, and
              median of the largest unknown there.
    ends      of every tenth root that the solver finds: quantiles of the Jacobian's condition (rows and columns scaled), of those that the cubic loop
              gave up and of the others; least distance of two of all roots, over their size; after Newton's steps with residuals of 64
              bits: largest step at the end, and how far it led.
Exit code 1 if more than 3 % of the paths are lost, or a root is none in more digits.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import exact, routes, starts, zero_skew
from tenfold.autocalibration.equations import jacobian, residuals
from tenfold.autocalibration.monodromy import holding
from tenfold.autocalibration.nearest import nearest
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.solving import normalised
from tenfold.autocalibration.start_system import places
from tenfold.autocalibration.tracker import FAST, FOUND, Tracks, track

Complex = npt.NDArray[np.complex128]
# Of so many roots one is refined.
_EVERY = 10
_QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)


def condition(problem: Problem, root: Complex, image: Complex) -> float:
    """Of the Jacobian in relative unknowns, rows scaled to length 1."""
    j = jacobian(problem, root, image) * np.maximum(1e-6, np.abs(root))
    size = np.linalg.svd(j / np.linalg.norm(j, axis=1, keepdims=True), compute_uv=False)
    return float(size[0] / size[-1])


def refined(problem: Problem, root: Complex, image: Complex) -> tuple[float, float]:
    """Last of six Newton steps whose residuals have 64 bits, and how far all led, over the root's size."""
    at: Any = root.astype(np.clongdouble)
    for _ in range(6):
        left: Any = residuals(problem, at, image)
        step = np.linalg.solve(jacobian(problem, at.astype(np.complex128), image), left.astype(np.complex128))
        at = at - step
    return float(np.abs(step).max() / np.abs(at).max()), float(np.abs(at - root).max() / np.abs(at).max())


def nearest_pair(roots: Complex) -> float:
    """Least distance of two roots, over the size of one."""
    size = np.maximum(1.0, np.abs(roots).max(axis=1))
    least = np.inf
    for number, root in enumerate(roots[:-1]):
        least = min(least, float(np.abs(roots[number + 1 :] - root).max(axis=1).min() / size[number]))
    return least


def main() -> int:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    system = starts.stored(zero_skew.ID)
    problem, base, solutions = system.problem, system.base, system.solutions
    implied = holding(problem, solutions, base)
    x, _ = normalised(exact.instances(problem, args.instances, args.seed).x, np.array(exact.SIZE) / 2)
    targets = nearest(problem.kind, x, base).x.astype(np.complex128)
    ways: dict[str, Callable[[Complex, Complex], Tracks]] = {
        "cubic": lambda paths, images: track(problem, base, paths, images, FAST, threads=1),
        "straight": lambda paths, images: routes.straight(problem, base, paths, images, threads=1, implied=implied)[0],
        "with conjugates": lambda paths, images: routes.solutions(problem, base, paths, images, threads=1, detours=()),
        "solver": lambda paths, images: routes.solutions(problem, base, paths, images, threads=1),
    }
    tracks: dict[str, Tracks] = {}
    shown: dict[str, dict[str, float]] = {}
    for name, way in ways.items():
        way(solutions[:8], targets[:1])
        began = time.process_time()
        tracks[name] = way(solutions, targets)
        seconds = time.process_time() - began
        lost = tracks[name].lost / len(solutions)
        shown[name] = {
            "lost": float(lost.mean()), "least": float(lost.min()), "most": float(lost.max()),
            "solves_per_path": float(tracks[name].solves.mean()), "instance_s": seconds / len(targets),
        }  # fmt: skip
    alone, times = routes.straight(problem, base, solutions, targets, threads=1, implied=implied)
    given_up = alone.status != FOUND
    stops = {
        "before 0.9": float((times[given_up] < 0.9).mean()),
        "last thousandth": float((times[given_up] > 0.999).mean()),
        "quantiles": [float(q) for q in np.quantile(times[given_up], _QUANTILES[:3])],
        "largest_unknown": float(np.median(np.abs(alone.ends[given_up]).max(axis=1))),
    }
    conditions: dict[str, list[float]] = {"cubic": [], "given up": []}
    steps, led, apart = [], [], np.inf
    for target, image in enumerate(targets):
        roots, quick = (each.ends[target][each.status[target] == FOUND] for each in (tracks["solver"], tracks["cubic"]))
        apart = min(apart, nearest_pair(roots))
        for root, at in zip(roots[::_EVERY], places(roots[::_EVERY], quick), strict=True):
            conditions["given up" if at < 0 else "cubic"].append(condition(problem, root, image))
            step, way_led = refined(problem, root, image)
            steps.append(step)
            led.append(way_led)
    ends = {
        **{f"condition, {name}": [float(f"{q:.2g}") for q in np.quantile(values, _QUANTILES)] for name, values in conditions.items()},
        "nearest_pair": apart,
        "largest_step": max(steps),
        "led": [float(f"{q:.2g}") for q in np.quantile(led, _QUANTILES)],
        "roots": len(led),
    }
    met = {"solver loses at most 3 %": shown["solver"]["lost"] <= 0.03, "roots in more digits": max(steps) < 1e-7 and max(led) < 1e-4}
    print(json.dumps({"paths": len(solutions), "ways": shown, "stops": stops, "ends": ends, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

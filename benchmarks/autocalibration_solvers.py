"""The solvers that find the principal point, too (`zero_skew`, `square`, `full`): the table of docs/papers/autocalibration.md.

    python benchmarks/autocalibration_solvers.py [--exact 10] [--scenes 10] [--catalogue]

On the start systems that are kept with the code; CPU seconds of all threads together, compilation not counted; about three minutes.

    exact      noise-free scenes (`exact.instances`, seed 0): with the true K among the roots (1e-6), share of the paths lost, CPU seconds each.
    noisy      the first scenes of general motion at 0.5 px of the dataset `demo`, as an evaluation solves them, one sample a triplet:
               scenes with an answer; of these the median errors of the focal length and of the principal point (over the image's diagonal)
               after refinement, and least and largest focal error before it.
    catalogue  3V6P-full: the orbits of its relaxations with their rank tests, CPU seconds; and how many solutions of its best conditioned
               relaxation the loops of monodromy find, each twice as many, before one comes a second time or there are more than 1,500.
"""

import argparse
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import yaml
from threadpoolctl import threadpool_limits

from tenfold.autocalibration import config, demo, estimate, exact, features, graphs, monodromy, ransac, scenes, starts, taxonomy
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import params

SOLVERS = ("zero_skew", "square", "full")
NOISE_PX = 0.5
BEST_CONDITIONED = 133149691
"""Mask of the relaxation of 3V6P-full with the best conditioned Jacobian."""


def start_of(name: str) -> StartSystem:
    """The start system of a solver; one scene compiles what it takes."""
    solver = estimate.SOLVERS[name]
    start = starts.stored(solver.problem)
    exact.recall(estimate.solve_of(name), replace(start, solutions=start.solutions[:10]), 1, 1, solver.kind)
    return start


def noise_free(name: str, start: StartSystem, count: int) -> str:
    """A line of the first table."""
    found = exact.recall(estimate.solve_of(name), start, count, 0, estimate.SOLVERS[name].kind)
    lost, seconds = np.mean(found.lost), np.mean(found.cpu_s)
    return f"{name:10s} {start.degree:6d} {sum(found.found):7d} of {count:<4d} {lost:10.1%} {seconds:13.2f}"


def block_of(*names: str) -> dict[str, Any]:
    """A block of params.yaml below `autocalibration`."""
    block = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())["autocalibration"]
    for name in names:
        block = block[name]
    return dict(block)


def noisy(name: str, start: StartSystem, count: int) -> str:
    """A line of the second table."""
    make = params.typed(config.Make, block_of("datasets", "demo", "make"), "make")
    block = params.typed(config.Features, block_of("recipes", "demo", "features"), "features")
    settings = ransac.Settings(1, block_of("recipes", "demo", "evaluation")["threshold_px"])
    plan = [(label, spec) for label, spec in demo.plan(make) if spec.motion == "general" and spec.noise_px == NOISE_PX][:count]
    size, diagonal = (make.width, make.height), math.hypot(make.width, make.height)
    focal, centre, before, seconds = [], [], [], 0.0
    for label, spec in plan:
        tracks = scenes.generate(spec).tracks()
        points = np.stack([tracks.x, tracks.y], axis=-1)
        given = features.verified(label, features.Observations.of(tracks.track, tracks.view, points), block)
        began = time.process_time()
        rows = estimate.scene(
            given, name, start, size=size, principal=np.array(size) / 2, settings=settings, triplets=1, seed=0
        )  # fmt: skip
        seconds += time.process_time() - began
        minimal, refined = rows[-2:]
        if refined["status"] == "ok":
            focal.append(abs(refined["fx"] / spec.k[0] - 1))
            centre.append(math.hypot(refined["cx"] - spec.k[2], refined["cy"] - spec.k[3]) / diagonal)
            before.append(abs(minimal["fx"] / spec.k[0] - 1))
    answers = f"{name:10s} {len(focal):7d} of {len(plan):<3d}"
    if not focal:
        return f"{answers} {'':40s} {seconds / len(plan):12.2f}"
    least = f"{min(before):.1%} to {max(before):.0%}"
    return f"{answers} {np.median(focal):8.2%} {np.median(centre):15.2%} {least:>16s} {seconds / len(plan):12.2f}"


def catalogue() -> None:
    """Both numbers on 3V6P-full."""
    problem_id = "3V6P-full"
    began = time.process_time()
    orbits = len(taxonomy.relaxations(problem_id).masks)
    print(f"{problem_id}: {orbits} orbits in {time.process_time() - began:.1f} s", flush=True)
    problem = graphs.problem_of(*taxonomy.spec(problem_id), BEST_CONDITIONED)
    began = time.process_time()
    _, growth = monodromy.find(problem, 0, starts.STALE, most=1500, options=starts.SEARCH)
    again = "none of them a second time" if math.isnan(growth.estimate) else f"some a second time (estimate {growth.estimate:.0f})"
    seconds = time.process_time() - began
    print(f"its best conditioned relaxation: {', '.join(map(str, growth.known))} solutions, {again}, in {seconds:.0f} s", flush=True)


def main() -> None:
    """Both tables, and what is asked for beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exact", type=int, default=10, help="noise-free scenes a solver (0: none)")
    parser.add_argument("--scenes", type=int, default=10, help="noisy scenes a solver, at most 20 (0: none)")
    parser.add_argument("--catalogue", action="store_true", help="the relaxations of 3V6P-full, too")
    args = parser.parse_args()
    began = time.process_time()
    with threadpool_limits(1):
        systems = {name: start_of(name) for name in SOLVERS}
        if args.exact:
            print(f"{'noise-free':10s} {'paths':>6s} {'true K found':>15s} {'paths lost':>10s} {'CPU s a scene':>13s}")
            for name, start in systems.items():
                print(noise_free(name, start, args.exact), flush=True)
        if args.scenes:
            print(
                f"\n{'0.5 px':10s} {'answers':>13s} {'focal':>9s} {'principal point':>15s} {'before refining':>16s} {'CPU s a scene':>12s}"
            )
            for name, start in systems.items():
                print(noisy(name, start, args.scenes), flush=True)
        if args.catalogue:
            print()
            catalogue()
    print(f"\n{time.process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()

"""Start systems that take long to find: found once by this code, kept beside it in `kept/`, verified whenever they are read.

    python -m tenfold.autocalibration.starts 3V5P-zeroskew

finds one again and prints its line for `model.stored` in params.yaml. DVC runs the same (`dvc repro -f autocalibration_starts`) and
versions the file. Any file that passes `stored` is as good as any other: what a solution is, the equations decide.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tenfold.autocalibration import monodromy, taxonomy
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.tracker import CAREFUL, Options, track
from tenfold.core.errors import Corrupt, TenfoldError, UsageError

FOLDER = Path(__file__).parent / "kept"
SEEDS, STALE = (0, 1), 4
# Paths that the first loses are tracked again with the second: a third of the time of the second alone.
SEARCH = (Options(accept=1e-3, aim=2e-4, smallest=1e-9, most=6000), CAREFUL)
# Real scenes on which the linear solves a path are counted.
VALIDATION = 3


def stored(problem_id: str, sha256: str = "") -> StartSystem:
    """The start system kept for a problem in FOLDER; with `sha256`, only the one with that hash.

    Raises UsageError if there is none, Corrupt for a file with another hash, of another problem, or whose solutions do not solve their
    equations.
    """
    path = FOLDER / f"{problem_id}.npz"
    command = f"python -m tenfold.autocalibration.starts {problem_id}"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        there = ", ".join(sorted(each.stem for each in FOLDER.glob("*.npz"))) or "none"
        raise UsageError(
            f"There is no start system {path} (kept are: {there}). Take {problem_id} out of model.stored in params.yaml, or find it: {command}"
        ) from None
    if sha256 and found != sha256:
        raise Corrupt(
            f"{path} has the sha256 {found}, model.stored in params.yaml says {sha256}. Restore the file (`git checkout`), or find it again "
            f"({command}) and write the sha256 that is printed there."
        )
    system = StartSystem.load(path)
    if system.problem != taxonomy.choose(problem_id):
        raise Corrupt(f"{path} is a start system of another problem than {problem_id}. Restore it (`git checkout`), or find it: {command}")
    return system


def find(problem_id: str, runs: Path, seeds: Sequence[int] = SEEDS, stale: int = STALE) -> StartSystem:
    """The start system of a problem: one monodromy run a seed, all joined at one image, moved to the cheapest of some images.

    `runs`: folder in which finished runs are kept; an interrupted search goes on after them.
    """
    return certified(problem_id, [run(problem_id, seed, stale, runs) for seed in seeds])


def run(problem_id: str, seed: int, stale: int, runs: Path) -> StartSystem:
    """One monodromy run, or what an earlier search kept of it. UsageError for a file of another search."""
    path = runs / f"{problem_id}.{seed}.npz"
    problem = taxonomy.choose(problem_id)
    if path.exists():
        system = StartSystem.load(path)
        if system.problem != problem or system.facts.get("stale") != stale:
            raise UsageError(f"{path} is of another search. Delete it, or name another folder with --runs.")
        return system
    began = time.process_time()

    def say(known: int) -> None:
        print(f"{problem_id}, seed {seed}: {known} solutions after {time.process_time() - began:.0f} s of CPU", flush=True)

    system, growth = monodromy.find(problem, seed, stale, say, options=SEARCH)
    facts = {"growth": growth.known, "lost": growth.lost, "solves": growth.solves, "seconds": round(time.process_time() - began, 1)}
    system = replace(system, facts={**system.facts, **facts})
    if reason := system.fault():
        raise Corrupt(f"monodromy of {problem_id}, seed {seed}: {reason}.")
    system.save(path)
    return system


def certified(problem_id: str, systems: Sequence[StartSystem]) -> StartSystem:
    """Several runs as one start system, at the image from which real images take the fewest linear solves.

    Its facts say what each run found, and whether all agree and joining them added nothing.
    """
    whole, alone = monodromy.joined(list(systems), monodromy.Growth())
    problem = whole.problem
    rng = np.random.default_rng([0, problem.points, 7])
    scenes = np.stack([taxonomy.real_scene(problem, rng)[0] for _ in range(VALIDATION)])
    bases = [each for each in systems if each.degree == whole.degree] or [whole]
    costs = [float(track(problem, each.base, each.solutions, scenes).solves.mean()) for each in bases]
    best = bases[int(np.argmin(costs))]
    kept = ("seed", "loops", "growth", "lost", "solves", "estimate", "seconds")
    facts = {
        **best.facts,
        "problem": problem_id,
        "certified": len(systems) > 1 and all(each == whole.degree for each in alone),
        "runs": [{**{name: each.facts[name] for name in kept}, "solutions": each.degree} for each in systems],
        "solves_per_path": [round(cost, 1) for cost in costs],
    }
    return replace(best, facts=facts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Find the start system of a problem and keep it."""
    parser = argparse.ArgumentParser(prog="python -m tenfold.autocalibration.starts", description=main.__doc__)
    parser.add_argument("problem", help=", ".join(taxonomy.PROBLEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="one monodromy run each (default: %(default)s)")
    parser.add_argument("--stale", type=int, default=STALE, help="loops without a new solution that end a run (default: %(default)s)")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path(".tenfold/work/autocalibration/starts"),
        help="where finished runs wait for the others (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the file (default: where it is looked for)")
    args = parser.parse_args(arguments)
    try:
        args.runs.mkdir(parents=True, exist_ok=True)
        args.out.mkdir(parents=True, exist_ok=True)
        system = find(args.problem, args.runs, args.seeds, args.stale)
        path = args.out / f"{args.problem}.npz"
        system.save(path)
        for seed in args.seeds:
            (args.runs / f"{args.problem}.{seed}.npz").unlink()
    except TenfoldError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    word = "certified by runs that agree" if system.facts["certified"] else "a lower bound: the runs do not agree"
    print(f"{system.degree} solutions ({word}: {', '.join(str(run['solutions']) for run in system.facts['runs'])}) in {path}")
    print(f"model.stored: {{{args.problem}: {hashlib.sha256(path.read_bytes()).hexdigest()}}}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

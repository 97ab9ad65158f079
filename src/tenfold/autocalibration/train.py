"""The offline stage: solutions of every problem by monodromy, degrees certified over seeds, start systems tuned (section 2.5).

Layout of the made folder:
    systems/<problem>.<orbit>.<seed>.npz   all solutions that one seed's run found, at an image of its own
    degrees.parquet                        a row a problem, orbit and seed
    growth.json                            solutions known after each loop: {problem: {orbit: {seed: [known, ...]}}}
    predictor/                             the start system of each solver and what prediction needs beside it
"""

import time
from collections import defaultdict
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tenfold.autocalibration import config, monodromy, predictor_folder, starts, taxonomy
from tenfold.autocalibration.graphs import problem_of
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.tracker import FAST
from tenfold.core import atomic, tables
from tenfold.core.errors import Corrupt, UsageError
from tenfold.core.journal import Journal
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note

SOLVERS = ("focal", "focal2v", "square", "zero_skew", "full")
DEGREES = pa.schema(
    [
        pa.field("problem", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("orbit", "seed", "loops", "solutions", "joined")),
        pa.field("certified", pa.bool_(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("lost", "solves")),
        pa.field("estimate", pa.float64()),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)


def run(taxonomy_folder: Path, block: config.Model, out: Path, scratch: Path, progress: Progress, journal: Journal) -> Made:
    """Find, certify and store. What an earlier attempt found in `out` is kept.

    A degree is certified if at least two seeds' runs agree and joining them adds nothing; otherwise it is a lower bound. Raises
    UsageError for a solver or problem that does not exist, or one whose problem the taxonomy does not hold.
    """
    modules = {name: solver(name) for name in block.solvers}
    jobs = _jobs(taxonomy_folder, block, modules)
    (out / "systems").mkdir(parents=True, exist_ok=True)
    progress.stage("monodromy", total=sum(len(seeds) for *_, seeds in jobs))
    rows: list[dict[str, Any]] = []
    growth: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(dict))
    joined: dict[tuple[str, int], StartSystem] = {}
    for problem_id, orbit, problem, seeds in jobs:
        found = []
        for seed in seeds:
            found.append(_found(out, problem_id, orbit, problem, seed, block, journal, progress))
            progress.advance()
        whole, added = _joined(found)
        joined[problem_id, orbit] = whole
        agree = len(found) > 1 and all(each.degree == whole.degree for each in found)
        if _is_stored(problem_id, block):
            agree = bool(whole.facts["certified"])
        for seed, each in zip(seeds, found, strict=True):
            facts = each.facts
            growth[problem_id][str(orbit)][str(seed)] = facts["growth"]
            rows.append(
                {
                    "problem": problem_id, "orbit": orbit, "seed": seed, "loops": facts["loops"], "solutions": each.degree,
                    "joined": whole.degree, "certified": agree, "lost": facts["lost"] + added.lost, "solves": facts["solves"],
                    "estimate": facts["estimate"], "seconds": facts["seconds"],
                }
            )  # fmt: skip
    tables.write(pa.Table.from_pylist(rows, DEGREES), out / "degrees.parquet")
    atomic.write_json(
        out / "growth.json", {name: {orbit: dict(seeds) for orbit, seeds in orbits.items()} for name, orbits in growth.items()}
    )
    systems = _tuned(out, block, modules, joined, rows, progress)
    predictor_folder.write(out / "predictor", systems, block)
    return _made(rows, systems)


def solver(name: str) -> ModuleType:
    """The module of a solver. UsageError for one that does not exist."""
    if name not in SOLVERS:
        raise UsageError(f"there is no solver {name!r}. Take one of {', '.join(SOLVERS)} in model.solvers.")
    return import_module(f"tenfold.autocalibration.{name}")


def _jobs(folder: Path, block: config.Model, modules: dict[str, ModuleType]) -> list[tuple[str, int, Problem, list[int]]]:
    """Problem, orbit, relaxation and seeds: every relaxation of `degrees`, and one relaxation and seed for each solver beside them."""
    known = tables.read(folder / "relaxations.parquet")
    jobs = []
    for problem_id in block.degrees:
        views, points, kind = taxonomy.spec(problem_id)
        orbits = known.filter(pc.and_(pc.equal(known["problem"], problem_id), pc.invert(known["singular"]))).to_pylist()
        if not orbits:
            raise UsageError(f"model.degrees names {problem_id}, which the taxonomy does not hold. Add it to taxonomy.problems.")
        # where equations are left over every relaxation has a degree of its own, and their number is for hours: the default stands for them
        if problem_of(views, points, kind, orbits[0]["mask"]).excess > 0:
            orbits = [row for row in orbits if row["mask"] == taxonomy.DEFAULT[problem_id]] or orbits[:1]
        jobs += [(problem_id, row["orbit"], problem_of(views, points, kind, row["mask"]), list(block.seeds)) for row in orbits]
    for problem_id in dict.fromkeys(module.ID for module in modules.values()):
        if problem_id not in block.degrees:
            problem = taxonomy.choose(problem_id)
            mask = taxonomy.DEFAULT[problem_id]
            rows = known.filter(pc.and_(pc.equal(known["problem"], problem_id), pc.equal(known["mask"], mask))).to_pylist()
            jobs.append((problem_id, rows[0]["orbit"] if rows else 0, problem, list(block.seeds[:1])))
    return jobs


def _found(
    out: Path, problem_id: str, orbit: int, problem: Problem, seed: int, block: config.Model, journal: Journal, progress: Progress
) -> StartSystem:
    path = out / "systems" / f"{problem_id}.{orbit}.{seed}.npz"
    if _is_stored(problem_id, block):
        return _stored(path, problem_id, orbit, seed, block, journal)
    if path.exists():
        try:
            return StartSystem.load(path)
        except Corrupt as error:
            progress.say(str(error))
    diary = journal.network(f"problem={problem_id}.{orbit}", seed, {"problem": problem_id, "orbit": orbit, "stale": block.stale})
    loops: list[int] = []

    def say(known: int) -> None:
        loops.append(known)
        diary.epoch(len(loops), {"solutions": float(known)})

    began = time.process_time()
    system, growth = monodromy.find(problem, seed, block.stale, say)
    seconds = time.process_time() - began
    facts = {
        **system.facts, "estimate": growth.estimate if np.isfinite(growth.estimate) else None, "growth": growth.known,
        "lost": growth.lost, "solves": growth.solves, "seconds": round(seconds, 3),
    }  # fmt: skip
    system = StartSystem(problem, system.base, system.solutions, facts)
    if reason := system.fault():
        raise Corrupt(f"monodromy of {problem_id}, seed {seed}: {reason}.")
    system.save(path)
    diary.done({"degree": float(system.degree), "lost": float(growth.lost), "seconds": seconds})
    return system


def _is_stored(problem_id: str, block: config.Model) -> bool:
    """Whether the kept start system is taken: what stands in `degrees` is searched for all the same."""
    return problem_id in block.stored and problem_id not in block.degrees


def _stored(path: Path, problem_id: str, orbit: int, seed: int, block: config.Model, journal: Journal) -> StartSystem:
    system = starts.stored(problem_id, block.stored[problem_id])
    if not path.exists():
        diary = journal.network(f"problem={problem_id}.{orbit}", seed, {"problem": problem_id, "orbit": orbit, "stale": block.stale})
        for loop, known in enumerate(system.facts["growth"], start=1):
            diary.epoch(loop, {"solutions": float(known)})
        system.save(path)
        diary.done({"degree": float(system.degree), "lost": float(system.facts["lost"]), "seconds": float(system.facts["seconds"])})
    return system


def _joined(systems: list[StartSystem]) -> tuple[StartSystem, monodromy.Growth]:
    growth = monodromy.Growth()
    whole, _ = monodromy.joined(systems, growth)
    return whole, growth


def _tuned(
    out: Path, block: config.Model, modules: dict[str, ModuleType], joined: dict[tuple[str, int], StartSystem], rows: list[dict[str, Any]],
    progress: Progress,
) -> dict[str, StartSystem]:  # fmt: skip
    """One start system a solver, at the cheapest of some images."""
    progress.stage("start systems", total=len(modules))
    systems = {}
    for name, module in modules.items():
        path = out / "systems" / f"{name}.npz"
        if path.exists():
            systems[name] = StartSystem.load(path)
        else:
            chosen = taxonomy.choose(module.ID)
            of = [(key, system) for key, system in joined.items() if key[0] == module.ID]
            key, system = next(((k, s) for k, s in of if s.problem == chosen), of[0])
            systems[name] = replace(system, facts=dict(system.facts)) if _is_stored(module.ID, block) else _tune(system, block)
            certified = any(row["certified"] for row in rows if (row["problem"], row["orbit"]) == key)
            systems[name].facts.update(problem=key[0], orbit=key[1], certified=certified)
            systems[name].save(path)
        progress.advance()
    return systems


def _tune(system: StartSystem, block: config.Model) -> StartSystem:
    rng = np.random.default_rng([block.seeds[0], system.problem.points, 7])
    validation = np.stack([taxonomy.real_scene(system.problem, rng)[0] for _ in range(block.validation)])
    growth = monodromy.Growth()
    tuned, costs = monodromy.at_best_base(system, block.candidates, validation, rng, FAST, growth)
    # no times: what is served is the same, byte for byte, whenever it is made
    found = {name: value for name, value in system.facts.items() if name != "seconds"}
    facts = {**found, "solves_per_path": [round(cost, 1) if np.isfinite(cost) else None for cost in costs]}
    return StartSystem(tuned.problem, tuned.base, tuned.solutions, facts)


def _made(rows: list[dict[str, Any]], systems: dict[str, StartSystem]) -> Made:
    columns = ["problem", "orbit", "solutions", "joined", "seeds", "certified", "seconds"]
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["problem"], row["orbit"]].append(row)
    table = [
        [
            name,
            orbit,
            ", ".join(str(r["solutions"]) for r in of),
            of[0]["joined"],
            len(of),
            of[0]["certified"],
            round(sum(r["seconds"] for r in of), 1),
        ]
        for (name, orbit), of in groups.items()
    ]
    notes = [Note("degrees", "table", {"columns": columns, "rows": table})]
    notes += [Note(f"paths of {name}", "int", system.degree) for name, system in systems.items()]
    return Made(notes=notes, facts={"degrees": {name: system.degree for name, system in systems.items()}})

"""The stage that enumerates the minimal relaxations of each problem of the recipe."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from tenfold.autocalibration import config, graphs, taxonomy
from tenfold.core import tables
from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


# A row an orbit: canonical mask (bit i: equation i of `problems.all_edges` is kept), masks in the orbit, see `taxonomy.Relaxations`.
RELAXATIONS = _schema(problem=pa.string(), orbit=pa.int64(), mask=pa.int64(), size=pa.int64(), singular=pa.bool_(), smin=pa.float64())
# A row a problem: the table of the paper's section 4.
PROBLEMS = _schema(
    problem=pa.string(),
    views=pa.int64(),
    points=pa.int64(),
    kind=pa.string(),
    excess=pa.int64(),
    equations=pa.int64(),
    unknowns=pa.int64(),
    dropped=pa.int64(),
    subsets=pa.int64(),
    orbits=pa.int64(),
    nonsingular=pa.int64(),
)


def run(block: config.Taxonomy, out: Path, progress: Progress) -> Made:
    """Enumerate the problems of the recipe.

    Writes `out/relaxations.parquet` and `out/problems.parquet`, rows in the recipe's order. Problems that an earlier attempt finished are
    not done again. UsageError for an empty list, a problem that is not in the catalogue or stands there twice.
    """
    _check(block.problems)
    done = _finished(out)
    todo = [problem for problem in block.problems if problem not in done]
    progress.stage("taxonomy", total=len(block.problems), done=len(block.problems) - len(todo))
    for problem in todo:
        done[problem] = _rows(problem, block.seed)
        _write(done, [name for name in block.problems if name in done], out)
        progress.advance()
    # What an attempt on a longer list left behind goes; the order is the recipe's.
    _write(done, block.problems, out)
    return _made([done[problem][0] for problem in block.problems])


def _check(problems: list[str]) -> None:
    if not problems:
        raise UsageError(f"taxonomy.problems is empty. Name some of {', '.join(taxonomy.PROBLEMS)}.")
    for problem in problems:
        taxonomy.spec(problem)
    twice = sorted({problem for problem in problems if problems.count(problem) > 1})
    if twice:
        raise UsageError(f"taxonomy.problems names {', '.join(twice)} more than once. Name each problem once.")


Rows = tuple[dict[str, Any], list[dict[str, Any]]]


def _finished(out: Path) -> dict[str, Rows]:
    # A problem's relaxations are written before its own row: the row says that they are whole.
    if not all((out / name).exists() for name in ("relaxations.parquet", "problems.parquet")):
        return {}
    done: dict[str, Rows] = {row["problem"]: (row, []) for row in tables.read(out / "problems.parquet").to_pylist()}
    for row in tables.read(out / "relaxations.parquet").to_pylist():
        if row["problem"] in done:
            done[row["problem"]][1].append(row)
    return done


def _write(done: dict[str, Rows], problems: list[str], out: Path) -> None:
    tables.write(pa.Table.from_pylist([row for name in problems for row in done[name][1]], RELAXATIONS), out / "relaxations.parquet")
    tables.write(pa.Table.from_pylist([done[name][0] for name in problems], PROBLEMS), out / "problems.parquet")


def _rows(problem: str, seed: int) -> Rows:
    found = taxonomy.relaxations(problem, seed)
    columns = (found.masks, found.sizes, found.singular, found.smin)
    relaxations = [
        {"problem": problem, "orbit": orbit, "mask": mask, "size": size, "singular": singular, "smin": smin}
        for orbit, (mask, size, singular, smin) in enumerate(zip(*(column.tolist() for column in columns), strict=True))
    ]
    first = found.problem(0)
    dropped = taxonomy.dropped(problem)
    return {
        "problem": problem,
        "views": found.views,
        "points": found.points,
        "kind": found.kind,
        "excess": first.excess,
        "equations": first.unknowns + dropped,
        "unknowns": first.unknowns,
        "dropped": dropped,
        "subsets": taxonomy.subsets(problem),
        "orbits": len(relaxations),
        "nonsingular": int((~found.singular).sum()),
    }, relaxations


def _made(problems: list[dict[str, Any]]) -> Made:
    burnside = {row["problem"]: taxonomy.burnside(row["problem"]) for row in problems}
    columns = [*PROBLEMS.names, "orbits by Burnside"]
    rows = [[*(row[name] for name in PROBLEMS.names), burnside[row["problem"]]] for row in problems]
    summed = sum(row["nonsingular"] for row in problems if row["problem"] not in taxonomy.NOT_SUMMED)
    notes = [
        Note("Minimal problems", "table", {"columns": columns, "rows": rows}),
        Note(f"Solvable relaxations without {' and '.join(taxonomy.NOT_SUMMED)}", "int", summed),
    ]
    chosen = {row["problem"]: graphs.mask_of(taxonomy.choose(row["problem"])) for row in problems}
    return Made(notes=notes, facts={"nonsingular": summed, "burnside": burnside, "chosen": chosen})

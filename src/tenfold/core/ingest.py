"""From a dataset's block in `params.yaml` to `data/<paper>/<name>`: what the `data.py` of all papers share.

Such a module offers `build`, `check`, `check_folder`, `take` and `main`; it adds the paper's layouts, its numbers and its words.
"""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from filelock import FileLock, Timeout

from tenfold.core import atomic, params, tables
from tenfold.core.errors import BadData, TenfoldError, UsageError
from tenfold.core.progress import Progress, TerminalSink
from tenfold.core.stage import Note

T = TypeVar("T")

SHOWN = 20
"""How many remarks of a kind are listed."""
RECIPE = "demo"
"""What a folder unknown to params.yaml is checked with, and its pasted block names."""
_BLOCK = ("source", "layout", "units", "recipe", "make", "read")


@dataclass(frozen=True)
class CheckReport:
    """Verdict on a folder: `text` to read, `block` (YAML) to paste below `datasets:` in params.yaml, `ok` if it can be used."""

    ok: bool
    text: str
    block: str


@dataclass
class Survey:
    """All that was found in a dataset: rows of both tables, errors that stop the import, warnings that do not."""

    samples: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def configured(
    root: Path, paper: str, name: str, options: type[T], check: Callable[[params.Dataset, str], None]
) -> tuple[params.Dataset, T]:
    """A dataset of params.yaml and its numbers: the recipe's block `dataset`, then the dataset's own `read`.

    `check` raises UsageError for what this paper does not allow; it gets the dataset and its place in the file, for the message.
    Raises UsageError for a name that is not there and whatever else is wrong in the block.
    """
    values = params.load(root)
    known = params.datasets(values, paper)
    if name not in known:
        raise UsageError(f"{params.FILE} has no dataset {paper}.datasets.{name}{params.did_you_mean(name, known)}")
    dataset = known[name]
    where = _place(dataset)
    for key in dataset.block:
        if key not in _BLOCK:
            raise UsageError(f"{where}.{key} is unknown{params.did_you_mean(key, _BLOCK)}")
    for key in ("read", "make"):
        if not isinstance(dataset.block.get(key, {}), dict):
            raise UsageError(f"{where}.{key} must be a mapping.")
    check(dataset, where)
    recipe = params.block(values, paper, dataset.recipe, "dataset")
    return dataset, params.resolve(options, recipe, dataset.block.get("read", {}), f"{where}.read")


def make_block(dataset: params.Dataset, kind: type[T]) -> T:
    """The numbers that the generator gets, from the dataset's block `make`."""
    return params.typed(kind, dataset.block["make"], f"{_place(dataset)}.make")


def demo_options(paper: str, options: type[T], root: Path | None) -> T:
    """The block `dataset` of recipe `demo` in the params.yaml of `root` (default: the working directory)."""
    return params.typed(options, params.block(params.load(root or Path.cwd()), paper, RECIPE, "dataset"), params.FILE)


def layout_named(name: str, known: Sequence[str]) -> None:
    """Raises UsageError for a layout that does not exist."""
    if name not in known:
        raise UsageError(f"layout {name!r} is unknown{params.did_you_mean(name, known)}")


def source(root: Path, dataset: params.Dataset) -> Path:
    """The user's folder. Raises BadData if it is not there."""
    folder = root / dataset.source
    if not folder.is_dir():
        raise BadData(f"{folder} is no folder. Put your copy there, link it there, or correct `source` of {dataset.name} in params.yaml.")
    return folder


def build(root: Path, dataset: params.Dataset, fill: Callable[[Path], None]) -> None:
    """Make `data/<paper>/<name>` anew: `fill` gets an empty folder, which replaces what stood there only if all went well.

    Raises UsageError while another process makes the same dataset.
    """
    target = root / "data" / dataset.paper / dataset.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target.with_name(f".{dataset.name}.lock"), timeout=0):
            _remove_leftovers(target)
            with atomic.new_folder(target) as folder:
                fill(folder)
    except Timeout:
        raise UsageError(f"{target} is being made by another process. Wait for it, or stop it.") from None


def too_many(place: Path, good: int, bad: Sequence[Mapping[str, Any]], limit: float, what: str) -> list[str]:
    """The error that more than the share `limit` of a place's samples (`what`, plural) went to the quarantine, with reasons and the first."""
    whole = good + len(bad)
    if not bad or len(bad) <= limit * whole:
        return []
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(row["reason"] for row in bad).most_common())
    first = f"{bad[0]['id']}: {bad[0]['detail']}"
    return [f"{place}: {len(bad)} of {whole} {what} cannot be used ({reasons}), max_quarantine is {limit:.0%}. First: {first}"]


def twins(rows: Iterable[Mapping[str, Any]], column: str) -> list[list[str]]:
    """Ids of the rows that share one content (a sha256 in `column`, null left out), group by group."""
    places: dict[str, list[str]] = {}
    for row in rows:
        if row[column]:
            places.setdefault(row[column], []).append(row["id"])
    return [ids for ids in places.values() if len(ids) > 1]


def files_root(dataset: params.Dataset, inside: bool) -> str:
    """Where the table's paths start, as `dataset.json` names it: `files` in the dataset's folder, or else the source itself."""
    return f"data/{dataset.paper}/{dataset.name}/files" if inside else dataset.source


def write(
    folder: Path,
    dataset: params.Dataset,
    found: Survey,
    samples: pa.Schema,
    quarantine: pa.Schema,
    progress: Progress,
    about: Mapping[str, Any],
) -> None:
    """Write samples.parquet, quarantine.parquet and dataset.json, which says where all comes from and `about` (root, read, counts, ...).

    Raises BadData with the errors of the survey, one a line.
    """
    for warning in found.warnings:
        progress.say(f"warning: {warning}")
    if found.errors:
        more = [f"... and {len(found.errors) - SHOWN} more errors"] if len(found.errors) > SHOWN else []
        raise BadData("\n".join(found.errors[:SHOWN] + more))
    table = pa.Table.from_pylist(found.samples, samples)
    tables.unique_ids(table)
    tables.write(table, folder / "samples.parquet")
    tables.write(pa.Table.from_pylist(found.quarantine, quarantine), folder / "quarantine.parquet")
    common = {"paper": dataset.paper, "name": dataset.name, "source": dataset.source, "layout": dataset.layout, "warnings": found.warnings}
    atomic.write_json(folder / "dataset.json", common | dict(about))


def take(dataset_folder: Path, paper: str, unit: str, out: Path) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    """Copy one partition's rows of both tables to `out`. Returns what dataset.json says, the samples and the quarantine.

    Raises BadData if the dataset is absent or has no such unit; `unit` is empty where a paper has none.
    """
    try:
        about: dict[str, Any] = json.loads((dataset_folder / "dataset.json").read_bytes())
    except FileNotFoundError:
        raise BadData(f"{dataset_folder} holds no dataset. Make it with: dvc repro {paper}@{dataset_folder.name}") from None
    whole = {name: tables.read(dataset_folder / f"{name}.parquet") for name in ("samples", "quarantine")}
    parts = {name: table.filter(pc.equal(table["unit"], unit)) for name, table in whole.items()}
    if not len(parts["samples"]):
        known = sorted(each for each in set(whole["samples"]["unit"].to_pylist()) if each)
        raise BadData(f"{dataset_folder} has no unit {unit!r}; it has {', '.join(known) or 'none'}.")
    tables.unique_ids(parts["samples"])
    for name, table in parts.items():
        tables.write(table, out / f"{name}.parquet")
    return about, parts["samples"], parts["quarantine"]


def notes(
    quarantine: pa.Table, counts: Mapping[str, int], columns: Sequence[str], odd: Mapping[str, str], odd_of: str, warnings: Sequence[str]
) -> list[Note]:
    """Notes on a partition: counts below the heads `columns`, the quarantine, and warnings; `odd` are those of each `odd_of`."""
    found = [
        Note("quarantined", "int", len(quarantine)),
        Note("counts", "table", {"columns": list(columns), "rows": [[place, count] for place, count in counts.items()]}),
    ]
    if len(quarantine):
        rows = [[row["id"], row["reason"], row["detail"]] for row in quarantine.slice(0, SHOWN).to_pylist()]
        found.append(Note("quarantine", "table", {"columns": ["id", "reason", "detail"], "rows": rows}))
    rows = [[name, said] for name, said in list(odd.items())[:SHOWN]] + [["", warning] for warning in warnings]
    if rows:
        found.append(Note("warnings", "table", {"columns": [odd_of, "warning"], "rows": rows}))
    return found


def report(name: str, lines: Sequence[str], found: Survey, odd: Sequence[str], entry: Mapping[str, Any]) -> CheckReport:
    """What was found in a folder: the paper's own `lines`, then quarantine, warnings (`odd`: those of single samples), errors, verdict."""
    text = list(lines)
    sections = (
        ("Quarantined", [f"{row['id']}: {row['reason']}: {row['detail']}" for row in found.quarantine]),
        ("Warnings", [*found.warnings, *odd]),
        ("Errors", found.errors),
    )
    for title, items in sections:
        if items:
            text += ["", f"{title}:", *(f"  {item}" for item in items[:SHOWN])]
            text += [f"  ... and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    ok = not found.errors and bool(found.samples)
    text += ["", "This dataset can be used." if ok else "This dataset cannot be used as it is."]
    return CheckReport(ok, "\n".join(text), paste(name, entry))


def nothing_to_check(dataset: params.Dataset, text: str) -> CheckReport:
    """The verdict on a dataset that does not come from a folder; `text` says from where."""
    return CheckReport(True, text, paste(dataset.name, dataset.block))


def paste(name: str, entry: Mapping[str, Any]) -> str:
    """A dataset's block as YAML, to stand below `datasets:`."""
    return yaml.safe_dump({name: dict(entry)}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)


def plain_name(title: str) -> str:
    """A folder's title as a dataset's name: a-z, 0-9 and _, beginning with a letter."""
    name = "".join(each if each.isascii() and each.isalnum() else "_" for each in title.lower()).strip("_")
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def main(arguments: Sequence[str], paper: str, build: Callable[[Path, str, Progress], None]) -> int:
    """`python -m tenfold.<paper>.data NAME`, from the folder of params.yaml. Returns the exit code."""
    if len(arguments) != 1:
        print(f"usage: python -m tenfold.{paper}.data NAME", file=sys.stderr)
        return 2
    try:
        build(Path.cwd(), arguments[0], Progress(TerminalSink(sys.stderr)))
    except TenfoldError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{arguments[0]}: {error}. Check the free space and the permissions of data/{paper}.", file=sys.stderr)
        return 1
    return 0


def _place(dataset: params.Dataset) -> str:
    return f"{params.FILE}: {dataset.paper}.datasets.{dataset.name}"


def _remove_leftovers(target: Path) -> None:
    """Temporary folders of builds that were killed; the lock is held, so nobody is writing to them."""
    for path in target.parent.iterdir():
        if path.name.startswith(f".{target.name}.") and atomic.is_leftover(path.name):
            shutil.rmtree(path)

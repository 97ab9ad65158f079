"""The gather over all papers and partitions: one table, a page, and a page a dataset of units x methods x metrics."""

import csv
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from tenfold.core import claims, code, report, tables
from tenfold.core.metrics import METRICS_SCHEMA
from tenfold.core.params import split_partition
from tenfold.core.report import Html
from tenfold.core.stage import Note
from tenfold.core.store import Pointer, Store, content_key
from tenfold.ops.settings import Settings

NAME = "scoreboard"
ALL = "all"


@dataclass(frozen=True)
class Board:
    """What the scoreboard came to."""

    folder: Path
    digest: str
    notes: list[Note]


@dataclass(frozen=True)
class Entry:
    """One partition that has been evaluated."""

    paper: str
    partition: str
    pointer: Pointer
    folder: Path

    @property
    def dataset(self) -> str:
        """The partition's dataset."""
        return split_partition(self.partition)[0]

    def rows(self) -> list[dict[str, Any]]:
        """Its metrics."""
        rows: list[dict[str, Any]] = tables.read(self.folder / "metrics.parquet").to_pylist()
        return rows


def update(settings: Settings, partitions: Mapping[str, Sequence[str]], run_id: str) -> Board:
    """Gather what is current; an unchanged set of evaluations is found again. Judges the claims of scope `dataset`."""
    store = Store(settings.home)
    entries = []
    for paper, keys in partitions.items():
        for key in keys:
            if pointer := store.current(paper, key, "evaluation"):
                entries.append(Entry(paper, key, pointer, store.folder(paper, "evaluation", pointer.key)))
    content = code.content("tenfold.ops.scoreboard")
    digests = {f"{entry.paper}.{entry.partition}": entry.pointer.digest for entry in entries}
    key = content_key(NAME, NAME, digests, {}, content, extra=papers_own(partitions))
    manifest = store.find(NAME, NAME, key)
    if manifest is None:
        with store.working(NAME, NAME, key) as working:
            manifest = store.find(NAME, NAME, key)
            if manifest is None:
                started = time.perf_counter()
                for entry in entries:
                    store.open(entry.paper, entry.partition, "evaluation")  # verified before it is read
                notes = make(store, entries, working.out)
                manifest = store.publish(
                    working,
                    partition=ALL,
                    upstream={},
                    block={},
                    overrides={},
                    code=content,
                    versions={},
                    made_by={"run_id": run_id},
                    seconds=time.perf_counter() - started,
                    notes=notes,
                )
    store.set_current(NAME, ALL, NAME, manifest.key, manifest.digest)
    folder = store.folder(NAME, NAME, manifest.key)
    return Board(folder, manifest.digest, [*manifest.notes, Note("page", "path", str(folder / "index.html"))])


def papers_own(papers: Iterable[str]) -> dict[str, list[str]]:
    """What each paper adds to the board, found by name and so not among this module's imports: its rules and its figures."""
    return {
        paper: [
            code.content(f"tenfold.{paper}.claims"),
            hashlib.sha256((files(f"tenfold.{paper}") / "published.csv").read_bytes()).hexdigest(),
        ]
        for paper in papers
    }


def make(store: Store, entries: Sequence[Entry], out: Path) -> list[Note]:
    """scoreboard.parquet, claims.json (scope dataset), index.html and a page a dataset."""
    import pyarrow as pa

    parts = [tables.read(entry.folder / "metrics.parquet") for entry in entries]
    tables.write(pa.concat_tables(parts) if parts else METRICS_SCHEMA.empty_table(), out / "scoreboard.parquet")
    sets: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        sets[entry.paper, entry.dataset].append(entry)
    judged: list[claims.Claim] = []
    sections: dict[str, Html] = {"Partitions": overview(store, entries)}
    rows = []
    for (paper, dataset), members in sets.items():
        metrics = pa.concat_tables([tables.read(member.folder / "metrics.parquet") for member in members])
        verdicts = judged_over_units(paper, metrics)
        judged += verdicts
        page = f"{paper}.{dataset}.html"
        (out / page).write_text(dataset_page(paper, dataset, members, verdicts), encoding="utf-8")
        sections[f"{paper} · {dataset}"] = report.join(
            report.claims_table(verdicts),
            report.markup('<p><a href="{}">units, methods and metrics of {}</a></p>', page, f"{paper}.{dataset}"),
        )
        rows += [[paper, dataset, claim.id, claim.verdict.replace("_", " "), claim.measured, claim.statement] for claim in verdicts]
    claims.write(judged, out / "claims.json")
    html = report.shell("Scoreboard", "every paper and partition that has been evaluated", sections)
    (out / "index.html").write_text(html, encoding="utf-8")
    return [
        Note("partitions", "int", len(entries)),
        Note(
            "claims over a dataset", "table", {"columns": ["paper", "dataset", "claim", "verdict", "measured", "statement"], "rows": rows}
        ),
    ]


def overview(store: Store, entries: Sequence[Entry]) -> Html:
    """A row a partition: headline against the paper's figure, claims, cost."""
    rows = []
    for entry in entries:
        metric = import_module(f"tenfold.{entry.paper}.metrics").HEADLINE[0]
        value, lo, hi = mean_of(entry.rows(), metric, "ours")
        judged = claims.read(entry.folder / "claims.json")
        counts = ", ".join(
            f"{sum(c.verdict == v for c in judged)} {w}" for v, w in (("holds", "hold"), ("fails", "fail"), ("not_judged", "open"))
        )
        rows.append([entry.paper, entry.partition, metric, (value, lo, hi), published(entry, metric), counts, seconds_of(store, entry)])
    columns = ["paper", "partition", "headline", "measured (95 %)", "paper's figure", "claims", "seconds of work"]
    return report.table(columns, rows)


def dataset_page(paper: str, dataset: str, members: Sequence[Entry], verdicts: Sequence[claims.Claim]) -> str:
    """Units x methods x metrics."""
    found = {(entry.partition, row["method"]) for entry in members for row in entry.rows() if row["variant"] == "" and not row["timing"]}
    by_entry = {entry.partition: entry.rows() for entry in members}
    sections: dict[str, Html] = {"Claims": report.claims_table(verdicts)}
    for metric in compared(paper, by_entry.values()):
        methods = sorted({method for _, method in found}, key=lambda name: (name != "ours", name))
        rows = [[method, *(mean_of(by_entry[entry.partition], metric, method) for entry in members)] for method in methods]
        if any(value[0] is not None for row in rows for value in row[1:]):
            sections[metric] = report.table(["method", *(entry.partition for entry in members)], rows)
    return report.shell(f"{paper} on {dataset}", "means over seeds, 95 % intervals over parts", sections)


def compared(paper: str, tables_of_rows: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Metrics of quality on which several methods were measured, the headline first."""
    methods: dict[str, set[str]] = {import_module(f"tenfold.{paper}.metrics").HEADLINE[0]: {"", "ours"}}
    for rows in tables_of_rows:
        for row in rows:
            if row["slice"] == ALL and row["variant"] == "" and not row["timing"] and row["scale"] == "1" and row["better"] != "none":
                methods.setdefault(row["metric"], set()).add(row["method"])
    return [metric for metric, names in methods.items() if len(names) > 1]


def mean_of(rows: Sequence[Mapping[str, Any]], metric: str, method: str) -> tuple[float | None, float | None, float | None]:
    """Mean over seeds of a whole-set metric and of its interval's ends."""
    mine = [
        r
        for r in rows
        if r["metric"] == metric and r["method"] == method and r["variant"] == "" and r["slice"] == "all" and not r["timing"]
    ]

    def mean(column: str) -> float | None:
        values = [row[column] for row in mine if row[column] is not None]
        return sum(values) / len(values) if values else None

    return mean("value"), mean("lo"), mean("hi")


def judged_over_units(paper: str, metrics: Any) -> list[claims.Claim]:
    """The claims (on a table of metrics) that a paper with units judges over them; a paper without has judged all of its own in its evaluations."""
    judge = getattr(import_module(f"tenfold.{paper}.claims"), "judge_dataset", None)
    return list(judge(metrics)) if judge else []


def published(entry: Entry, metric: str) -> str:
    """The paper's figure for this partition's unit, with its mark; the same words wherever it is shown."""
    unit = split_partition(entry.partition)[1]
    slices = (unit, f"unit={unit}") if unit else (ALL,)
    figures = (files(f"tenfold.{entry.paper}") / "published.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(figures.splitlines()):
        if (row["metric"], row["dataset"], row["method"]) == (metric, entry.dataset, "ours") and row["slice"] in slices:
            return f"{row['value']} ({row['mark']})"
    return "none for this data"


def seconds_of(store: Store, entry: Entry) -> float:
    """Seconds that making the evaluation and all upstream of it took."""
    made = store.lineage(entry.paper, ("evaluation", entry.pointer.key)).values()
    return round(sum(manifest.seconds for manifest in made if manifest is not None), 1)

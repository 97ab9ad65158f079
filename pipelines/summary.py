"""The table with which a run ends."""

import csv
import json
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core import tables
from tenfold.core.store import Store
from tenfold.ops.settings import Settings

if TYPE_CHECKING:
    from pipelines.commands.run import Outcome

MARKS = {"holds": "holds", "fails": "FAILS", "not_judged": "not judged"}
MOST_OTHERS = 3


def summary(settings: Settings, outcomes: Sequence["Outcome"], seconds: float) -> str:
    """A row a partition, the claims below it, then where to look."""
    store = Store(settings.home)
    lines: list[str] = [""]
    rows = [["paper", "partition", "headline", "others", "claims", "wall"]]
    claims: list[str] = []
    reports: list[str] = []
    for outcome in outcomes:
        target = outcome.target
        row = [target.paper, target.partition, *row_of(outcome, "-"), f"{outcome.seconds:.1f} s"]
        evaluation = store.current(target.paper, target.partition, "evaluation")
        # the numbers of an earlier run are none of this one's
        if not outcome.error and evaluation is not None and "evaluation" in [*outcome.made, *outcome.unchanged]:
            folder = store.folder(target.paper, "evaluation", evaluation.key)
            headline, others = numbers(folder / "metrics.parquet", target.paper)
            judged = json.loads((folder / "claims.json").read_text())
            counts = [
                f"{sum(c['verdict'] == verdict for c in judged)} {word}"
                for verdict, word in (("holds", "hold"), ("fails", "FAIL"), ("not_judged", "open"))
            ]
            row[2:5] = [headline, others, ", ".join(counts)]
            claims += [f"  {target.partition:<14} {c['id']:<4} {MARKS[c['verdict']]:<10} {claim_line(c)}" for c in judged]
            report = store.current(target.paper, target.partition, "report")
            if report and "report" in [*outcome.made, *outcome.unchanged]:
                reports.append(f"  {store.folder(target.paper, 'report', report.key) / 'report.html'}")
        rows.append(row)
    lines += columns(rows)
    if claims:
        lines += ["", "claims", *claims]
    board = store.current("scoreboard", "all", "scoreboard")
    if reports and board:
        reports.append(f"  {store.folder('scoreboard', 'scoreboard', board.key) / 'index.html'}")
    if reports:
        lines += ["", "reports", *reports]
    made = sum(len(o.made) for o in outcomes)
    total = made + sum(len(o.unchanged) for o in outcomes)
    done = f"{made} of {total} assets made" if made else f"nothing changed: {total} assets checked, none recomputed"
    if any(outcome.error for outcome in outcomes):
        done = f"not finished: {made} assets made, {total - made} unchanged"
    lines += ["", f"{done}, {seconds:.1f} s in all"]
    if reports:
        lines.append("Look around: `tenfold ui` (in .venv/bin) starts Dagster and MLflow and prints their addresses.")
    return "\n".join(lines)


def row_of(outcome: "Outcome", nothing: str) -> list[str]:
    """Headline, others and claims of a run that has no numbers of its own."""
    state = "stopped" if outcome.stopped else "FAILED" if outcome.error else nothing
    return [state, nothing, nothing]


def numbers(path: Path, paper: str) -> tuple[str, str]:
    """The headline with its interval, and the other metrics that the paper publishes (means over seeds, `ours`)."""
    headline = import_module(f"tenfold.{paper}.metrics").HEADLINE[0]
    wanted = {"method": "ours", "variant": "", "slice": "all", "timing": False}
    rows = [row for row in tables.read(path).to_pylist() if all(row[column] == value for column, value in wanted.items())]

    def mean(metric: str, column: str = "value") -> float | None:
        values = [row[column] for row in rows if row["metric"] == metric and row[column] is not None]
        return sum(values) / len(values) if values else None

    value, lo, hi = mean(headline), mean(headline, "lo"), mean(headline, "hi")
    text = "-" if value is None else f"{headline} {value:.3f}" + (f" [{lo:.3f}, {hi:.3f}]" if lo is not None and hi is not None else "")
    text_of_figures = (files(f"tenfold.{paper}") / "published.csv").read_text(encoding="utf-8")
    published = dict.fromkeys(row["metric"] for row in csv.DictReader(text_of_figures.splitlines()))
    others = [f"{name} {found:.3f}" for name in published if name != headline and (found := mean(name)) is not None]
    return text, " ".join(others[:MOST_OTHERS])


def claim_line(claim: dict[str, Any]) -> str:
    """`measured 0.031 >= 0.02 (3 seeds): statement`."""
    if claim["verdict"] == "not_judged":
        return f"{claim['statement']} ({claim['reason']})"
    measured = f"{claim['measured']:.3g} {claim['op']} {claim['threshold']:.3g}" if claim["measured"] is not None else ""
    return f"{measured}  {claim['statement']}"


def columns(rows: list[list[str]]) -> list[str]:
    """Aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]

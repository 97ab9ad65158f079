"""The table with which a run ends."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenfold.core.store import Store
from tenfold.ops.settings import Settings

if TYPE_CHECKING:
    from pipelines.commands.run import Outcome

MARKS = {"holds": "holds", "fails": "FAILS", "not_judged": "not judged"}


def summary(settings: Settings, outcomes: Sequence["Outcome"], seconds: float) -> str:
    """A row a partition, the claims below it, then where to look."""
    store = Store(settings.home)
    lines: list[str] = [""]
    rows = [["paper", "partition", "headline", "others", "claims", "wall"]]
    claims: list[str] = []
    reports: list[str] = []
    for outcome in outcomes:
        target = outcome.target
        evaluation = store.current(target.paper, target.partition, "evaluation")
        if evaluation is None:
            rows.append([target.paper, target.partition, "-", "-", "-", f"{outcome.seconds:.1f} s"])
            continue
        folder = store.folder(target.paper, "evaluation", evaluation.key)
        headline, others = numbers(folder / "metrics.parquet", target.paper)
        judged = json.loads((folder / "claims.json").read_text())
        counts = [
            f"{sum(c['verdict'] == verdict for c in judged)} {word}"
            for verdict, word in (("holds", "hold"), ("fails", "FAIL"), ("not_judged", "open"))
        ]
        rows.append([target.paper, target.partition, headline, others, ", ".join(counts), f"{outcome.seconds:.1f} s"])
        claims += [f"  {target.partition:<14} {c['id']:<4} {MARKS[c['verdict']]:<10} {claim_line(c)}" for c in judged]
        report = store.current(target.paper, target.partition, "report")
        if report:
            reports.append(f"  {store.folder(target.paper, 'report', report.key) / 'report.html'}")
    lines += columns(rows)
    if claims:
        lines += ["", "claims", *claims]
    if reports:
        lines += ["", "reports", *reports]
    board = settings.home / "current" / "scoreboard" / "scoreboard.html"
    if board.exists():
        lines += [f"  {board}"]
    made = sum(len(o.made) for o in outcomes)
    total = made + sum(len(o.unchanged) for o in outcomes)
    done = f"{made} of {total} assets made" if made else f"nothing changed: {total} assets checked, none recomputed"
    lines += [
        "",
        f"{done}, {seconds:.1f} s in all",
        "Look around: `tenfold ui` (in .venv/bin) starts Dagster and MLflow and prints their addresses.",
    ]
    return "\n".join(lines)


def numbers(path: Any, paper: str) -> tuple[str, str]:
    """The headline with its interval, and the other whole-set metrics of `ours` (means over seeds)."""
    from importlib import import_module

    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    headline = import_module(f"tenfold.{paper}.metrics").HEADLINE[0]
    table = pq.read_table(path)
    mine = table.filter((pc.field("method") == "ours") & (pc.field("variant") == "") & (pc.field("slice") == "all") & ~pc.field("timing"))
    rows = mine.to_pylist()

    def mean(metric: str, column: str = "value") -> float | None:
        values = [row[column] for row in rows if row["metric"] == metric and row[column] is not None]
        return sum(values) / len(values) if values else None

    value, lo, hi = mean(headline), mean(headline, "lo"), mean(headline, "hi")
    text = "-" if value is None else f"{headline} {value:.3f}" + (f" [{lo:.3f}, {hi:.3f}]" if lo is not None and hi is not None else "")
    others = [f"{name} {mean(name):.3f}" for name in ("i_auroc", "p_auroc") if mean(name) is not None]
    return text, " ".join(others)


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

"""Tell a journal what a stored model's training told, for a tracking server that never heard of it."""

import json
from pathlib import Path

from tenfold.core import tables
from tenfold.core.journal import Journal


def retell(model: Path, journal: Journal) -> None:
    """Every network's epochs and final numbers, from the model's folder (`train` names its files). Throughput was not stored."""
    for record in json.loads((model / "model.json").read_text())["networks"]:
        variant, seed = record["variant"], record["seed"]
        history = tables.read(model / "networks" / (variant or "full") / f"seed{seed}" / "curves.parquet").to_pylist()
        diary = journal.network(variant, seed, {name: record[name] for name in ("seed", "steps", "parameters")})
        for row in history:
            diary.epoch(row["epoch"], {name: value for name, value in row.items() if name != "epoch" and value is not None})
        best = {f"best/{name}": value for name, value in history[record["best_epoch"] - 1].items() if name != "epoch" and value is not None}
        diary.done({**best, "best_epoch": record["best_epoch"]})

"""Tell a journal what a stored model's monodromy told, for a tracking server that never heard of it."""

import json
from pathlib import Path

from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import tables
from tenfold.core.journal import Journal


def retell(model: Path, journal: Journal) -> None:
    """Every run of monodromy: its growth loop by loop and final numbers, from the model's folder (`train` names its files)."""
    stale = json.loads((model / "predictor" / "predictor.json").read_text())["model"]["stale"]
    for row in tables.read(model / "degrees.parquet").to_pylist():
        problem, orbit, seed = row["problem"], row["orbit"], row["seed"]
        system = StartSystem.load(model / "systems" / f"{problem}.{orbit}.{seed}.npz")
        diary = journal.network(f"problem={problem}.{orbit}", seed, {"problem": problem, "orbit": orbit, "stale": stale})
        for loop, known in enumerate(system.facts["growth"], start=1):
            diary.epoch(loop, {"solutions": float(known)})
        diary.done({"degree": float(system.degree), "lost": float(system.facts["lost"]), "seconds": float(system.facts["seconds"])})

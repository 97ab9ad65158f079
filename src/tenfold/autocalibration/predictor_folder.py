"""The folder that prediction needs and nothing else: start systems and numbers.

predictor.json         the content of `Serving`, which solvers there are, how they were made
<solver>.npz           start system of each solver
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tenfold.autocalibration import config
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import atomic, params
from tenfold.core.errors import BadData, Corrupt, UsageError

FORMAT = 1


@dataclass(frozen=True)
class Serving:
    """How a request is answered: samples a set of views, sets of views at most, thresholds (px), matching of photographs, seed."""

    samples: int
    triplets: int
    threshold_px: float
    max_keypoints: int
    min_matches: int
    seed: int


# For what the recipe of the model does not say.
SERVING = Serving(samples=8, triplets=10, threshold_px=2.0, max_keypoints=4096, min_matches=15, seed=0)


def write(folder: Path, systems: Mapping[str, StartSystem], block: config.Model) -> None:
    """Write a predictor with the start system of each solver, the default one first; an earlier one is replaced."""
    serving = replace(SERVING, samples=block.samples, triplets=block.triplets, threshold_px=block.threshold_px)
    if not systems:
        raise UsageError("a predictor needs the start system of at least one solver; name it in model.solvers")
    with atomic.new_folder(folder) as made:
        for name, system in systems.items():
            system.save(made / f"{name}.npz")
        values = {"format": FORMAT, "solvers": list(systems), "serving": asdict(serving), "model": asdict(block)}
        atomic.write_json(made / "predictor.json", values)


def read(folder: Path) -> tuple[Serving, dict[str, Path]]:
    """The numbers, and the file of each solver's start system. BadData if it is no predictor, Corrupt if it is damaged."""
    path = folder / "predictor.json"
    if not path.is_file():
        raise BadData(f"{folder} is no predictor of autocalibration: it has no predictor.json; take the folder `predictor` of a model")
    try:
        values = json.loads(path.read_text())
        if values["format"] != FORMAT:
            raise BadData(f"{path} has format {values['format']}, this version reads {FORMAT}; make the model again")
        serving = params.typed(Serving, values["serving"], f"{path}: serving")
        files = {str(name): folder / f"{name}.npz" for name in values["solvers"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise Corrupt(f"{folder} is damaged ({type(error).__name__}: {error}); take it from the model again") from error
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        raise Corrupt(f"{missing[0]} is missing; take the folder from the model again")
    return serving, files

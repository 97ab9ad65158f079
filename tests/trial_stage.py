"""A stage of a moment that worker processes can do. `registered` makes them know it as `tenfold.trial`."""

import importlib.util
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tenfold.core import code
from tenfold.core.errors import BadData
from tenfold.core.journal import Journal
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note

NAME = "tenfold.trial"
SITE = """
import sys
sys.path.insert(0, {tests!r})
import trial_stage
trial_stage.register()
"""


@dataclass(frozen=True)
class Block:
    """What happens: nothing ("train"), an error in the second process, its death at its first try, or slow steps."""

    act: str
    epochs: int


def registered(folder: Path) -> ModuleType:
    """This module under its name in tenfold; with `folder` on PYTHONPATH it has it in every new process as well."""
    (folder / "sitecustomize.py").write_text(SITE.format(tests=str(Path(__file__).parent)))
    return register()


def register() -> ModuleType:
    """The same in this process alone."""
    spec = importlib.util.spec_from_file_location(NAME, __file__)
    assert spec is not None and spec.loader is not None
    module = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    locate = code._locate
    code._locate = lambda name, source: Path(__file__) if name == NAME else locate(name, source)
    return module


def run(block: Block, features: Path, scratch: Path, progress: Progress, journal: Journal) -> Made:
    """Train a network of a few weights."""
    from tenfold.core import distributed

    here = distributed.world()
    print("a library talks")
    if block.act == "bad data":
        distributed.end_together(BadData("part-13 holds no pixel") if here.rank == 1 else None)
    from small_training import Ragged

    training = Ragged()

    def before_step(step: int) -> None:
        if block.act == "slow":
            time.sleep(0.05)
        if here.rank == 1 and step == 8 and block.act == "die" and not (scratch / "died").exists():
            scratch.joinpath("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    training.before_step = before_step
    progress.stage("networks", 1)
    diary = journal.network("", 3, {"shots": 5})

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        diary.epoch(epoch, metrics)
        progress.say(f"epoch {epoch}")

    result = training.fit(scratch / "training", epochs=block.epochs, on_epoch=on_epoch)
    diary.done({"best": float(result.best_epoch or 0)})
    progress.advance()
    outcome = training.outcome(result)
    facts = {"processes": here.size, "resumed_from": result.resumed_from, "features": str(features), "history": outcome["history"]}
    return Made(notes=[Note("weights", "text", outcome["weights"])], facts=facts)

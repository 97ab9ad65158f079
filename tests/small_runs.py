"""Four made-up assets and runs over them, without Dagster's machinery: what the platform does with keys, pointers and folders."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from assets import shared
from assets.shared import Home, Overrides, Stage, Step
from tenfold.core.stage import Made
from tenfold.core.store import Manifest, Store, Working
from tenfold.crossmodal_anomaly import config

PAPER, PARTITION = "crossmodal_anomaly", "demo.peg"
PREPARED = Step(PAPER, "prepared", "tenfold.core.stage", config.Prepared)
FEATURES = Step(PAPER, "features", "tenfold.core.stage", config.Features, ("prepared",))
MODEL = Step(PAPER, "model", "tenfold.core.stage", config.Model, ("features",))
REPORT = Step(PAPER, "report", "tenfold.core.stage", config.Report, ("prepared", "features", "model"))
STEPS = [PREPARED, FEATURES, MODEL, REPORT]


class Run:
    """A run that goes asset by asset, so that a test can let another one go in between. What it makes says `says`, or its name.

    Attributes:
        made: the assets that were made, not found.
    """

    def __init__(self, name: str, root: Path, says: str = "") -> None:
        self.name, self.says, self.store = name, says or name, Store(root / ".tenfold")
        self.made: list[str] = []
        self._log = SimpleNamespace(info=lambda text: None, warning=lambda text: None)

    def begin(self, step: Step) -> Stage:
        context = SimpleNamespace(partition_key=PARTITION, run_id=self.name, log=self._log)
        return step.begin(context, Home(), Overrides(), extra={"says": self.says} if step is PREPARED else None)

    def finish(self, stage: Stage, first: Callable[[], Any] = lambda: None) -> None:
        """Make it; `first` happens before anything upstream is read."""

        def make(work: Working) -> Made:
            self.made.append(stage.asset)
            first()
            inputs = {name: (stage.input(name) / "content").read_text() for name in stage.step.after}
            (work.out / "content").write_text(inputs.get("prepared", "") or inputs.get("features", "") or self.says)
            (work.out / "inputs").write_text(json.dumps(inputs))
            return Made()

        shared.finish(stage, make)

    def go(self, *steps: Step) -> None:
        for step in steps or STEPS:
            self.finish(self.begin(step))

    def current(self) -> dict[str, Manifest]:
        found = {step.name: self.store.open(PAPER, PARTITION, step.name)[1] for step in STEPS}
        for manifest in found.values():
            for name, used in manifest.upstream.items():
                assert used == {"key": found[name].key, "digest": found[name].digest}, f"{manifest.asset} rests on another {name}"
        return found

    def contents(self) -> set[str]:
        return {(self.store.open(PAPER, PARTITION, name)[0] / "content").read_text() for name in self.current()}

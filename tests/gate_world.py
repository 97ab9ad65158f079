"""A partition whose networks are made up, for tests of the gate: what is trained, measured and decided costs nothing."""

import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa

from assets import shared, tracked
from assets.shared import Home, Overrides, Step
from tenfold.core import metrics, tables
from tenfold.core.stage import Check
from tenfold.core.store import Manifest, Store
from tenfold.crossmodal_anomaly import config
from tenfold.ops import predictors, registry
from tenfold.ops.settings import Settings

PAPER, PARTITION = "crossmodal_anomaly", "demo.peg"
NAME = f"{PAPER}.{PARTITION}"
STEP = Step(PAPER, "champion", "tenfold.ops.gate", config.Champion, ("dataset", "model", "evaluation"))
EXAMPLE = pd.DataFrame({"image": [b"1234"]})


class World:
    """A partition whose networks are made up: `train` makes one current, `decide` runs the asset."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.home)
        self.headline: dict[str, float] = {}
        self.measured: list[str] = []
        self._publish("dataset", "d" * 16, {}, facts={"root": ".", "xyz_scale": 1.0, "dvc_md5": "0" * 32})

    def train(self, key: str, headline: float, contract: bool = True) -> None:
        key = key * 16
        self.headline[key] = headline
        self._publish("model", key, {"dataset": "d" * 16}, block={"seeds": [0]})
        row = metrics.Row(
            paper=PAPER, dataset="demo", partition=PARTITION, method="ours", variant="", seed=0, slice="all", metric="aupro_30", value=headline,
            lo=None, hi=None, reason="", n=9, better="up", scale="1", timing=False, model_key=key, data_version="v",
        )  # fmt: skip
        check = Check("contract_metrics", contract, "error", "made up", [])
        self._publish("evaluation", key, {"model": key}, checks=[check], table=metrics.to_table([row]))

    def use(self, key: str) -> None:
        """Make what `train` made in another process current again."""
        for asset in ("model", "evaluation"):
            self.store.set_current(PAPER, PARTITION, asset, key * 16, key * 16)

    def _publish(
        self, asset: str, key: str, upstream: dict[str, str], block: Any = None, facts: Any = None, checks: Any = (), table: pa.Table = None
    ) -> None:
        with self.store.working(PAPER, asset, key) as working:
            (working.out / "predictor").mkdir()
            (working.out / "predictor" / "content").write_text(key)
            if table is not None:
                tables.write(table, working.out / "metrics.parquet")
            made = self.store.publish(
                working, partition=PARTITION, upstream={name: {"key": other, "digest": other} for name, other in upstream.items()},
                block=block or {}, overrides={}, code="", versions={}, made_by={}, seconds=0.0, checks=checks, facts=facts,
                digest=key,
            )  # fmt: skip
        self.store.set_current(PAPER, PARTITION, asset, made.key, made.digest)

    def rescore(self, predictor: Path, inputs: Any, files: Any, scale: float, metric: str, identity: Any, out: Path, progress: Any) -> Any:
        """The champion's headline is its own, whatever the samples."""
        key = (predictor / "content").read_text() if predictor.is_dir() else str(predictor)
        self.measured.append(key)
        return SimpleNamespace(value=self.headline[key], drift=Check("drift", True, "warn", "made up", []))

    def decide(self) -> Manifest:
        """Run the asset once; what it published or found."""
        context = SimpleNamespace(
            partition_key=PARTITION, run_id="r", log=SimpleNamespace(info=lambda text: None, warning=lambda text: None)
        )
        stage = tracked.begin_champion(STEP, context, Home(), Overrides())
        science: Any = SimpleNamespace(rescore=self.rescore, example=lambda dataset, files: EXAMPLE, PARAMS={"maps": True})
        shared.finish(stage, lambda work: tracked.promote(stage, work.out, ("aupro_30", "up"), science, 1.0))
        found = self.store.find(PAPER, "champion", stage.key)
        assert found is not None and self.store.current(PAPER, PARTITION, "champion") is not None
        return found

    @property
    def champion(self) -> str | None:
        found = registry.peek(self.settings, NAME)
        return found[1][0] if found else None


class Score:
    """A predictor that needs no paper."""

    def predict(self, frame: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """The length of each image."""
        return pd.DataFrame({"score": [float(len(value)) for value in frame["image"]]})


def any_paper(folder: Path, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let this process register models of made-up networks, with hardly any code; `put` is `setattr` or what undoes it."""
    source = folder / "tenfold"
    (source / "ops").mkdir(parents=True, exist_ok=True)
    shutil.copy(registry._SOURCE / "ops" / "serving.py", source / "ops" / "serving.py")
    put(registry, "_SOURCE", source)
    put(predictors, "load", lambda paper, folder: Score())
    put(registry, "requirements", lambda paper: ["mlflow"])


def at(home: Path) -> Settings:
    """Work on this home from now on."""
    os.environ["TENFOLD_HOME"] = str(home)
    return Settings()


def forked(work: Callable[[], object]) -> int:
    """Process id of a fork that does the work and exits with 0, or 1 if it raises."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            work()
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code)
    return child

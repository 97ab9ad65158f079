"""The gate as an asset: who becomes champion, what a crash or a hand in the registry leads to."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from assets import shared, tracked
from assets.shared import Home, Overrides, Step
from tenfold.core import metrics, tables
from tenfold.core.stage import Check, Note
from tenfold.core.store import Manifest, Store
from tenfold.crossmodal_anomaly import config
from tenfold.ops import home, registry
from tenfold.ops.settings import Settings

PAPER, PARTITION = "crossmodal_anomaly", "demo.peg"
NAME = f"{PAPER}.{PARTITION}"
STEP = Step(PAPER, "champion", "tenfold.ops.gate", config.Champion, ("dataset", "model", "evaluation"))
LEAST = 0.005


@dataclass
class Registry:
    """MLflow's registry in memory; `fail_at` breaks the next alias."""

    keys: list[str] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)
    fail_at: str = ""

    def peek(self, settings: Settings, name: str, alias: str = "champion") -> tuple[str, str] | None:
        version = self.aliases.get(alias)
        return (str(version), self.keys[version - 1]) if version else None

    def champion(self, settings: Settings, name: str) -> registry.Champion:
        version, key = self.peek(settings, name) or ("", "")
        return registry.Champion(name, version, key, Path(key))

    def register(
        self, settings: Settings, name: str, folder: Path, example: Any, run_id: Any, key: str, metadata: Any, params: Any = None
    ) -> registry.Registered:
        new = key not in self.keys
        if new:
            self.keys.append(key)
        return registry.Registered(name, str(self.keys.index(key) + 1), key, new)

    def promote(self, settings: Settings, registered: registry.Registered, decision: registry.Decision) -> None:
        for alias in ("challenger", *(["champion"] if decision.promote else [])):
            if alias == self.fail_at:
                self.fail_at = ""
                raise KeyboardInterrupt
            self.aliases[alias] = int(registered.version)


class World:
    """A partition whose networks are made up: `train` makes one current, `decide` runs the asset."""

    def __init__(self, settings: Settings, found: Registry) -> None:
        self.settings, self.registry = settings, found
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

    def _publish(
        self, asset: str, key: str, upstream: dict[str, str], block: Any = None, facts: Any = None, checks: Any = (), table: pa.Table = None
    ) -> None:
        with self.store.working(PAPER, asset, key) as working:
            (working.out / "content").write_text(key)
            if table is not None:
                tables.write(table, working.out / "metrics.parquet")
            made = self.store.publish(
                working, partition=PARTITION, upstream={name: {"key": other, "digest": other} for name, other in upstream.items()},
                block=block or {}, overrides={}, code="", versions={}, made_by={}, seconds=0.0, checks=checks, facts=facts,
            )  # fmt: skip
        self.store.set_current(PAPER, PARTITION, asset, made.key, made.digest)

    def rescore(self, predictor: Path, inputs: Any, files: Any, scale: float, metric: str, identity: Any, out: Path, progress: Any) -> Any:
        """The champion's headline is its own, whatever the samples."""
        self.measured.append(str(predictor))
        return SimpleNamespace(value=self.headline[str(predictor)], drift=Check("drift", True, "warn", "made up", []))

    def decide(self) -> Manifest:
        """Run the asset once; what it published or found."""
        context = SimpleNamespace(
            partition_key=PARTITION, run_id="r", log=SimpleNamespace(info=lambda text: None, warning=lambda text: None)
        )
        stage = tracked.begin_champion(STEP, context, Home(), Overrides())
        science: Any = SimpleNamespace(rescore=self.rescore, example=lambda dataset, files: None, PARAMS={"maps": True})
        shared.finish(stage, lambda work: tracked.promote(stage, work.out, ("aupro_30", "up"), science))
        found = self.store.find(PAPER, "champion", stage.key)
        assert found is not None and self.store.current(PAPER, PARTITION, "champion") is not None
        return found

    @property
    def champion(self) -> str | None:
        found = self.registry.peek(self.settings, NAME)
        return found[1][0] if found else None


@pytest.fixture
def world(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    found = Registry()
    for name in ("peek", "champion", "register", "promote"):
        monkeypatch.setattr(registry, name, getattr(found, name))
    nothing: Callable[[Settings], None] = lambda settings: None  # noqa: E731
    monkeypatch.setattr(home, "ensure_mlflow", nothing)
    yield World(Settings(), found)


def reason(decision: Manifest) -> str:
    return next(str(note.value) for note in decision.notes if note.label == "decision")


def test_the_first_that_passes_is_champion(world: World) -> None:
    world.train("a", 0.5)
    assert world.decide().facts["promoted"] and world.champion == "a"
    assert world.measured == [] and world.registry.aliases == {"champion": 1, "challenger": 1}


def test_the_first_that_breaks_a_contract_is_not(world: World) -> None:
    world.train("a", 0.5, contract=False)
    decision = world.decide()
    assert not decision.facts["promoted"] and world.champion is None and "contract" in reason(decision)
    assert world.registry.aliases == {"challenger": 1}


@pytest.mark.parametrize(("gain", "wins"), [(0.1, True), (LEAST, True), (LEAST / 2, False), (0.0, False), (-0.1, False)])
def test_it_takes_the_least_gain_on_the_same_samples(world: World, gain: float, wins: bool) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.5 + gain)
    decision = world.decide()
    assert world.champion == ("b" if wins else "a") and decision.facts["promoted"] is wins
    assert world.measured == ["a" * 16], "the present champion is measured, once"
    assert (decision.facts["new"], decision.facts["champion"]) == (0.5 + gain, 0.5)
    assert world.registry.aliases["challenger"] == 2
    assert bool(re.search("tie", reason(decision))) is (gain == 0.0)


def test_a_better_one_that_breaks_a_contract_does_not_win(world: World) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.9, contract=False)
    assert not world.decide().facts["promoted"] and world.champion == "a"


def test_again_is_the_same_decision(world: World) -> None:
    world.train("a", 0.5)
    first = world.decide()
    assert world.decide().key == first.key
    for key, value, winner in (("b", 0.4, "a"), ("c", 0.6, "c")):
        world.train(key, value)
        decision, measured = world.decide(), len(world.measured)
        assert world.decide().key == decision.key and len(world.measured) == measured
        assert world.champion == winner


def test_going_back_to_the_champions_numbers_changes_nothing(world: World) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.4)
    world.decide()
    world.train("a", 0.5)
    assert not world.decide().facts["promoted"] or world.champion == "a"
    assert world.registry.keys == ["a" * 16, "b" * 16], "no version is registered twice"


def test_an_alias_moved_by_hand_is_noticed_and_stays(world: World) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.6)
    promoted = world.decide()
    world.registry.aliases["champion"] = 1
    noticed = world.decide()
    assert noticed.key != promoted.key and not noticed.facts["promoted"] and world.champion == "a"
    assert "by hand" in reason(noticed) and "version 1" in reason(noticed)
    assert world.decide().key == noticed.key
    world.registry.aliases["champion"] = 2
    assert world.decide().key != noticed.key and world.champion == "b"


def test_an_alias_moved_to_a_third_network_is_compared_with(world: World) -> None:
    for key, value in (("a", 0.5), ("b", 0.7), ("c", 0.6)):
        world.train(key, value)
        world.decide()
    assert world.champion == "b"
    world.registry.aliases["champion"] = 1
    assert world.decide().facts["promoted"] and world.champion == "c"


def test_an_alias_that_was_removed_is_given_again(world: World) -> None:
    world.train("a", 0.5)
    first = world.decide()
    del world.registry.aliases["champion"]
    again = world.decide()
    assert again.key != first.key and again.facts["promoted"] and world.champion == "a"
    assert world.decide().key == again.key


@pytest.mark.parametrize("alias", ["challenger", "champion"])
def test_a_crash_between_register_and_alias_converges(world: World, alias: str) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.6)
    world.registry.fail_at = alias
    with pytest.raises(KeyboardInterrupt):
        world.decide()
    assert world.champion == "a"
    world.decide()
    assert world.champion == "b" and world.registry.keys == ["a" * 16, "b" * 16]
    assert world.registry.aliases == {"champion": 2, "challenger": 2}


def test_a_crash_after_the_alias_converges(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.train("a", 0.5)
    publish = Store.publish

    def killed(*arguments: Any, **named: Any) -> Manifest:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "publish", killed)
    with pytest.raises(KeyboardInterrupt):
        world.decide()
    monkeypatch.setattr(Store, "publish", publish)
    assert world.champion == "a"
    decision = world.decide()
    assert world.champion == "a" and world.registry.keys == ["a" * 16] and "already" in reason(decision)
    assert Note("version", "text", f"{NAME} version 1") in decision.notes

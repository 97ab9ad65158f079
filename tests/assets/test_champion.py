"""The gate as an asset: who becomes champion, what a crash or a hand in the registry leads to."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gate_world import NAME, World

from tenfold.core.stage import Note
from tenfold.core.store import Manifest, Store
from tenfold.ops import home, registry
from tenfold.ops.settings import Settings

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

    def known(self, settings: Settings, name: str) -> bool:
        return bool(self.keys)

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


class Remembered(World):
    """The world with a registry in memory."""

    def __init__(self, settings: Settings, found: Registry) -> None:
        super().__init__(settings)
        self.registry = found


@pytest.fixture
def world(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remembered]:
    found = Registry()
    for name in ("peek", "champion", "known", "register", "promote"):
        monkeypatch.setattr(registry, name, getattr(found, name))
    nothing: Callable[[Settings], None] = lambda settings: None  # noqa: E731
    monkeypatch.setattr(home, "ensure_mlflow", nothing)
    yield Remembered(Settings(), found)


def reason(decision: Manifest) -> str:
    return next(str(note.value) for note in decision.notes if note.label == "decision")


def test_the_first_that_passes_is_champion(world: Remembered) -> None:
    world.train("a", 0.5)
    assert world.decide().facts["promoted"] and world.champion == "a"
    assert world.measured == [] and world.registry.aliases == {"champion": 1, "challenger": 1}


def test_the_first_that_breaks_a_contract_is_not(world: Remembered) -> None:
    world.train("a", 0.5, contract=False)
    decision = world.decide()
    assert not decision.facts["promoted"] and world.champion is None and "contract" in reason(decision)
    assert world.registry.aliases == {"challenger": 1}


@pytest.mark.parametrize(("gain", "wins"), [(0.1, True), (LEAST, True), (LEAST / 2, False), (0.0, False), (-0.1, False)])
def test_it_takes_the_least_gain_on_the_same_samples(world: Remembered, gain: float, wins: bool) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.5 + gain)
    decision = world.decide()
    assert world.champion == ("b" if wins else "a") and decision.facts["promoted"] is wins
    assert world.measured == ["a" * 16], "the present champion is measured, once"
    assert (decision.facts["new"], decision.facts["champion"]) == (0.5 + gain, 0.5)
    assert world.registry.aliases["challenger"] == 2
    assert bool(re.search("tie", reason(decision))) is (gain == 0.0)


def test_a_better_one_that_breaks_a_contract_does_not_win(world: Remembered) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.9, contract=False)
    assert not world.decide().facts["promoted"] and world.champion == "a"


def test_again_is_the_same_decision(world: Remembered) -> None:
    world.train("a", 0.5)
    first = world.decide()
    assert world.decide().key == first.key
    for key, value, winner in (("b", 0.4, "a"), ("c", 0.6, "c")):
        world.train(key, value)
        decision, measured = world.decide(), len(world.measured)
        assert world.decide().key == decision.key and len(world.measured) == measured
        assert world.champion == winner


def test_going_back_to_the_champions_numbers_changes_nothing(world: Remembered) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("b", 0.4)
    world.decide()
    world.train("a", 0.5)
    assert not world.decide().facts["promoted"] or world.champion == "a"
    assert world.registry.keys == ["a" * 16, "b" * 16], "no version is registered twice"


def test_an_alias_moved_by_hand_is_noticed_and_stays(world: Remembered) -> None:
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


def test_an_alias_moved_to_a_third_network_is_compared_with(world: Remembered) -> None:
    for key, value in (("a", 0.5), ("b", 0.7), ("c", 0.6)):
        world.train(key, value)
        world.decide()
    assert world.champion == "b"
    world.registry.aliases["champion"] = 1
    assert world.decide().facts["promoted"] and world.champion == "c"


def test_an_alias_that_was_removed_is_given_again(world: Remembered) -> None:
    world.train("a", 0.5)
    first = world.decide()
    del world.registry.aliases["champion"]
    again = world.decide()
    assert again.key != first.key and again.facts["promoted"] and world.champion == "a"
    assert world.decide().key == again.key


@pytest.mark.parametrize("alias", ["challenger", "champion"])
def test_a_crash_between_register_and_alias_converges(world: Remembered, alias: str) -> None:
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


def test_a_crash_after_the_alias_converges(world: Remembered, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_new_registry_gets_the_champion_of_the_old_one(world: Remembered) -> None:
    world.train("a", 0.7)
    world.decide()
    world.train("b", 0.6)
    world.decide()
    assert world.champion == "a"
    world.registry.keys.clear()
    world.registry.aliases.clear()
    decision = world.decide()
    assert world.champion == "a" and world.registry.keys == ["a" * 16, "b" * 16]
    assert (decision.facts["champion"], decision.facts["promoted"]) == (0.7, False) and world.registry.aliases["challenger"] == 2
    for _ in range(2):
        world.decide()
        assert world.champion == "a" and world.registry.keys == ["a" * 16, "b" * 16]


def test_a_champion_that_became_one_meanwhile_is_the_one_to_beat(world: Remembered, monkeypatch: pytest.MonkeyPatch) -> None:
    world.train("a", 0.5)
    world.decide()
    world.train("c", 0.7)
    world.registry.keys.append("c" * 16)
    world.train("b", 0.6)

    @contextmanager
    def overtaken(settings: Settings, name: str) -> Iterator[None]:
        world.registry.aliases["champion"] = 2  # another run, between our look and our turn
        yield

    with monkeypatch.context() as patch:
        patch.setattr(registry, "locked", overtaken)
        lost = world.decide()
    assert not lost.facts["promoted"] and lost.facts["champion"] == 0.7 and world.champion == "c"
    # what was decided against `c` says nothing about `a`
    world.registry.aliases["champion"] = 1
    assert world.decide().facts["promoted"] and world.champion == "b"

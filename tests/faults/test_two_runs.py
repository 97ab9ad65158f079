"""Two runs of one partition at once: one wins, the other waits or refuses, and what they made is never mixed.

One key in two processes, where the second waits and then finds a hit: `tests/core/test_store.py`, `tests/pipelines/test_again.py`.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from small_runs import FEATURES, MODEL, PAPER, PARTITION, PREPARED, REPORT, STEPS, Run

from tenfold.core.store import Store


def stopped(action: Callable[[], Any]) -> str:
    with pytest.raises(dg.Failure) as failure:
        action()
    assert failure.value.allow_retries is False
    return str(failure.value.description)


REFUSED = f"{PAPER}.{PARTITION}: another run has made another `prepared` current meanwhile."


def test_the_one_that_was_overtaken_while_it_worked_refuses(tiny: Path) -> None:
    a, b = Run("a", tiny), Run("b", tiny)
    a.go(PREPARED)
    stage = a.begin(FEATURES)
    said = stopped(lambda: a.finish(stage, first=b.go))
    assert said.startswith(REFUSED) and "run the same command again" in said
    assert b.contents() == {"b"}
    # what it had made by then was made from its own inputs, and is found again
    kept = a.store.find(PAPER, "features", stage.key)
    assert kept is not None and (a.store.folder(PAPER, "features", stage.key) / "content").read_text() == "a"
    a.go()
    assert a.contents() == {"a"} and a.current()["features"].key == stage.key


def test_the_one_that_was_overtaken_between_two_assets_refuses(tiny: Path) -> None:
    a, b = Run("a", tiny), Run("b", tiny)
    a.go(PREPARED, FEATURES)
    b.go(PREPARED, FEATURES)
    assert "another `features` current meanwhile" in stopped(lambda: a.go(MODEL))
    b.go(MODEL, REPORT)
    assert b.contents() == {"b"}


@pytest.mark.parametrize("order", ["abababab", "aabbaabb", "abbaabba", "abbbaaab", "aaabbbba", "abaabbab"])
def test_in_any_order_one_gets_through_and_nothing_is_mixed(tiny: Path, order: str) -> None:
    runs = {name: Run(name, tiny) for name in "ab"}
    left = {name: list(STEPS) for name in "ab"}
    refused = set()
    for name in order:
        if name not in refused:
            try:
                runs[name].go(left[name].pop(0))
            except dg.Failure:
                refused.add(name)
    winners = set("ab") - refused
    assert len(winners) == 1, f"{refused} refused"
    assert runs["a"].contents() == winners


def test_two_that_make_the_same_content_both_get_through(tiny: Path) -> None:
    a, b = Run("a", tiny), Run("b", tiny, says="a")
    a.go(PREPARED)
    b.go(PREPARED, FEATURES)
    a.go(FEATURES, MODEL)
    b.go(MODEL, REPORT)
    a.go(REPORT)
    assert a.contents() == {"a"}


def test_what_does_not_belong_together_is_not_used_together(tiny: Path) -> None:
    Run("a", tiny).go()
    Run("b", tiny).go(PREPARED)
    said = stopped(lambda: Run("later", tiny).go(REPORT))
    assert "the current `features` was made from another `prepared` than the current one" in said
    assert f"`tenfold run {PAPER}.{PARTITION} --to features`" in said
    Run("later", tiny).go(FEATURES, MODEL, REPORT)
    assert Run("later", tiny).contents() == {"b"}


RACER = """
import sys, time
from pathlib import Path
from tenfold.core.errors import Superseded
from tenfold.core.store import Store
home, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = Store(home)
fields = dict(partition="demo", block={}, overrides={}, code="", versions={}, made_by={}, seconds=0.0)
print("ready", flush=True)
while not (home / "go").exists():
    time.sleep(0.001)
won = 0
for number in range(rounds):
    used = {}
    try:
        for asset in ("features", "model", "evaluation"):
            key = f"{name}{number}{asset}"
            with store.working("p", asset, key) as working:
                (working.out / "content").write_text(f"{name}{number}")
                made = store.publish(working, upstream=dict(used), **fields)
            store.set_current("p", "demo", asset, made.key, made.digest, used)
            used[asset] = {"key": made.key, "digest": made.digest}
        won += 1
    except Superseded:
        pass
print(won)
"""


def test_a_race_of_two_processes_ends_with_outputs_of_one(tmp_path: Path) -> None:
    words = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen([*words, name, "15"], stdout=subprocess.PIPE, text=True) for name in "ab"]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    won = [int(racer.communicate(timeout=120)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0] and sum(won) > 0
    store = Store(tmp_path)
    # the last to get through is whole; one that was refused later may have begun to replace it from the front
    contents = [(store.open("p", "demo", asset)[0] / "content").read_text() for asset in ("features", "model", "evaluation")]
    for asset in ("model", "evaluation"):
        manifest = store.open("p", "demo", asset)[1]
        used = {(store.folder("p", name, pointer["key"]) / "content").read_text() for name, pointer in manifest.upstream.items()}
        assert used == {contents[("features", "model", "evaluation").index(asset)]}, "made from one run's outputs alone"
    assert store.warnings == [] and list(store.unfinished()) == []

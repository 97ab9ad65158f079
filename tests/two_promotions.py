"""Two processes that decide about two networks of one partition at once; each one's decision is printed as JSON.

`python two_promotions.py FOLDER`. Both orders are tried: the better network is first at the gate, then the worse one.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from gate_world import NAME, PAPER, World, any_paper, at, forked

from tenfold.ops import home, registry
from tenfold.ops.settings import Settings

VALUES = {"a": 0.6, "b": 0.7}


def until(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def decide(folder: Path, mine: str, other: str, first: bool) -> None:
    """The champion asset; the first one stays in the gate until the second one stands before it."""
    locked, register = registry.locked, registry.register

    @contextmanager
    def at_the_gate(settings: Settings, name: str) -> Iterator[None]:
        (folder / f"{mine}.waits").touch()
        with locked(settings, name):
            yield

    def registering(*arguments: Any, **named: Any) -> registry.Registered:
        if first:
            (folder / f"{mine}.inside").touch()
            until(folder / f"{other}.waits")
            time.sleep(0.3)
        return register(*arguments, **named)

    registry.locked, registry.register = at_the_gate, registering
    world = World(at(folder))
    world.headline = {key * 16: value for key, value in VALUES.items()}
    if not first:
        until(folder / f"{other}.inside")
    world.use(mine)
    try:
        world.decide()
    except dg.Failure as failure:  # the other one's model counts now
        (folder / f"{mine}.failure").write_text(str(failure.description))


def both(folder: Path, first: str, second: str) -> dict[str, Any]:
    world = World(at(folder))
    for key, value in VALUES.items():
        world.train(key, value)
    assert os.waitpid(forked(lambda: home.ensure_mlflow(world.settings)), 0)[1] == 0
    children = [forked(lambda: decide(folder, first, second, True)), forked(lambda: decide(folder, second, first, False))]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    decisions = [entry.manifest for entry in world.store.entries() if entry.asset == "champion"]
    return {
        "facts": {decision.upstream["model"]["key"][0]: decision.facts for decision in decisions if decision},
        "failures": {key: path.read_text() for key in VALUES if (path := folder / f"{key}.failure").exists()},
        "current": world.store.current(PAPER, "demo.peg", "champion") is not None,
        **{alias: registry.peek(world.settings, NAME, alias) for alias in ("champion", "challenger")},
    }


def main() -> None:
    folder = Path(sys.argv[1])
    any_paper(folder)
    warm = World(at(folder / "warm"))  # here, so that no fork has to import anything
    warm.train("a", 0.5)
    warm.decide()
    print(json.dumps({first: both(folder / first, first, second) for first, second in (("a", "b"), ("b", "a"))}))


if __name__ == "__main__":
    main()

"""Names on the command line: `PAPER`, `PAPER.PARTITION`, `PAPER.PARTITION@ALIAS`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.papers import PAPERS
from tenfold.core import params
from tenfold.core.errors import UsageError


@dataclass(frozen=True)
class Target:
    """One partition of one paper."""

    paper: str
    partition: str

    def __str__(self) -> str:
        return f"{self.paper}.{self.partition}"


def paper_named(word: str) -> str:
    """A paper's name; a hyphen reads as an underscore."""
    name = word.replace("-", "_")
    if name not in PAPERS:
        raise UsageError(f"there is no paper `{word}`{params.did_you_mean(name, PAPERS)}")
    return name


def targets(word: str | None, root: Path) -> list[Target]:
    """What a `run` means: all demos, all partitions of a paper's demo, one dataset's partitions, or one partition."""
    tree = params.load(root)
    if not word:
        return [
            Target(paper, p) for paper in PAPERS for p in params.partitions(tree, paper, root) if params.split_partition(p)[0] == "demo"
        ]
    name, _, rest = word.partition(".")
    paper = paper_named(name)
    known = params.partitions(tree, paper, root)
    wanted = rest or "demo"
    found = [p for p in known if p == wanted] or [p for p in known if params.split_partition(p)[0] == wanted]
    if found:
        return [Target(paper, p) for p in found]
    dataset, unit = params.split_partition(wanted)
    sets = params.datasets(tree, paper)
    if dataset in sets and (not unit or unit in sets[dataset].units):
        source = sets[dataset].source
        raise UsageError(f"`{paper}.{wanted}` has no data yet: {source} does not exist. Put the folder there, or link it, and run again.")
    raise UsageError(f"{paper} has no partition `{wanted}` (your own data need a block in params.yaml){params.did_you_mean(wanted, known)}")


def one(word: str, root: Path) -> Target:
    """Exactly one partition."""
    found = targets(word, root)
    if len(found) != 1:
        raise UsageError(f"`{word}` names {len(found)} partitions: {', '.join(map(str, found))}. Name one.")
    return found[0]


def needed(steps: Iterable[Any], asset: str) -> set[str]:
    """The asset and everything it is made from."""
    after = {step.name: step.after for step in steps}
    found: set[str] = set()
    waiting = [asset]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += after[name]
    return found


def check_words(target: Target, root: Path, steps: Iterable[Any], overrides: Mapping[str, Mapping[str, Any]], to: str | None) -> None:
    """Raise UsageError before anything runs for an asset or a number that does not exist, or a value of the wrong type."""
    by_name = {step.name: step for step in steps}
    for asset in [*overrides, *([to] if to else [])]:
        if asset not in by_name:
            raise UsageError(f"{target.paper} has no asset `{asset}`{params.did_you_mean(asset, by_name)}")
    tree = params.load(root)
    recipe = params.datasets(tree, target.paper)[params.split_partition(target.partition)[0]].recipe
    for asset, values in overrides.items():
        if asset == "dataset":
            raise UsageError("--set dataset...: the numbers of `dataset` are read by DVC. Change them in params.yaml.")
        if to and asset not in needed(by_name.values(), to):
            raise UsageError(f"--set {asset}.{next(iter(values))} has no effect with --to {to}: {asset} comes after it.")
        block = params.block(tree, target.paper, recipe, asset)
        params.resolve(by_name[asset].block, block, values, f"{target.paper}.recipes.{recipe}.{asset}")

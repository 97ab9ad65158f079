"""Names on the command line: `PAPER`, `PAPER.PARTITION`, `PAPER.PARTITION@ALIAS`."""

import difflib
from dataclasses import dataclass
from pathlib import Path

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
        raise UsageError(f"there is no paper `{word}`{nearest(name, PAPERS)}. Papers: {', '.join(PAPERS)}.")
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
    raise UsageError(
        f"{paper} has no partition `{wanted}`{nearest(wanted, known)}. Partitions: {', '.join(known)}. Add a block to params.yaml for your own data."
    )


def one(word: str, root: Path) -> Target:
    """Exactly one partition."""
    found = targets(word, root)
    if len(found) != 1:
        raise UsageError(f"`{word}` names {len(found)} partitions: {', '.join(map(str, found))}. Name one.")
    return found[0]


def nearest(word: str, known: list[str]) -> str:
    """` (did you mean ...?)`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""

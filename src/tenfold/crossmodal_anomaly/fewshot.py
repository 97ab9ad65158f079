"""Variants of a network: fewer training parts (`shots=10`), pruned extractors (`depth=8`)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.core.errors import UsageError


@dataclass(frozen=True)
class Variant:
    """`shots` 0 means all parts, `depth` 0 the extractors' full depth."""

    name: str
    shots: int = 0
    depth: int = 0

    @property
    def folder(self) -> str:
        """Folder name: `full` for the network without variant."""
        return self.name or "full"


def parse(name: str, where: str = "model.variants") -> Variant:
    """Read `""`, `shots=10`, `depth=8` or both with a comma between; UsageError for anything else."""
    numbers = {"shots": 0, "depth": 0}
    for part in name.split(",") if name else []:
        key, _, text = part.partition("=")
        if key not in numbers or not text.isdecimal() or int(text) == 0 or numbers[key]:
            raise UsageError(f"{where}: `{name}` is no variant; write `shots=10`, `depth=8` or `shots=10,depth=8` (numbers above 0)")
        numbers[key] = int(text)
    return Variant(name, **numbers)


def choose(ids: Sequence[str], shots: int, seed: int) -> list[str]:
    """The training parts of one few-shot run, sorted: seeded, nested (5 within 10 within 50), independent of the order of `ids`.

    The order is that of a hash of seed and id, so parts added to the dataset leave the choice among the old ones as it was.
    `shots` 0, or more than there are, takes all.
    """
    if len(set(ids)) != len(ids):
        raise UsageError("few-shot choice: part ids are not unique")
    ranked = sorted(ids, key=lambda part: hashlib.sha256(f"{seed}/{part}".encode()).digest())
    return sorted(ranked[:shots] if shots else ranked)

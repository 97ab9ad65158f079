"""Time and memory of every method, side by side: warm, one part at a time, the same threads, methods taking turns.

Stages of a part: `ms_extract` (frozen extractors, the same for all methods), `ms_operators` (the sparse operators that spread tokens, the
same for all), `ms_dense` (dense features, which only the baselines need), `ms_map` (to per-pixel distances: our two networks with the
interpolation inside, or a bank's search alone), `ms_score` (distances to smoothed map and score). Medians; `n` is the number of repeats.
"""

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch

from tenfold.core.metrics import Row, Subject
from tenfold.core.progress import Progress
from tenfold.core.shards import ShardReader
from tenfold.crossmodal_anomaly import baselines as rivals
from tenfold.crossmodal_anomaly import maps, operators, scoring
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.extractors import Extractors
from tenfold.crossmodal_anomaly.fewshot import Variant
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.model import CrossModal

P = ParamSpec("P")
T = TypeVar("T")
WARM_UP = 2
EXTRACT_SHARE = 10
"""Extraction takes up to a hundred times as long as the rest and is the same for all methods: a tenth of the repeats, at least three."""


@dataclass(frozen=True)
class Network:
    """One trained pair of mappers, its calibrated image threshold and where it stands."""

    variant: Variant
    seed: int
    model: CrossModal
    threshold: float | None

    @property
    def key(self) -> str:
        """Its folder below `networks/`."""
        return f"{self.variant.folder}/seed{self.seed}"


@dataclass(frozen=True)
class Rival:
    """The baselines of one variant and seed, with the record of how they were made."""

    variant: str
    seed: int
    bank: rivals.Bank
    record: dict[str, Any]

    def key(self, method: str) -> str:
        """Name of one method's values."""
        return f"{self.variant or 'full'}/seed{self.seed}/{method}"


class Clock:
    """Milliseconds by (who, stage); calls before `warm` are run and not counted."""

    def __init__(self) -> None:
        self.warm = False
        self.spent: dict[tuple[Subject, str], list[float]] = {}

    def time(self, subject: Subject, stage: str, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Run `work`, keep its time, hand back what it returned."""
        start = time.perf_counter()
        result = work(*args, **options)
        if self.warm:
            self.spent.setdefault((subject, stage), []).append(1e3 * (time.perf_counter() - start))
        return result

    def rows(self) -> list[Row]:
        """Medians."""
        return [s.row(stage, statistics.median(ms), len(ms), "down", scale="ms", timing=True) for (s, stage), ms in self.spent.items()]


def rows(
    identity: dict[str, str],
    ids: Sequence[str],
    nets: Sequence[Network],
    found: Sequence[Rival],
    folder: FeatureFolder,
    options: MapOptions,
    repeats: int,
    progress: Progress,
) -> list[Row]:
    """Timing rows of our networks (first seed of each variant) and of the baselines without variant; sizes of all. Parts take turns too."""
    clock = Clock()
    first = {net.variant.name: net for net in reversed(nets)}.values()
    ours = {net.key: Subject(identity, "ours", net.variant.name, net.seed) for net in nets}
    theirs = {r.key(m): Subject(identity, m, r.variant, r.seed) for r in found for m in rivals.METHODS}
    timed = [rival for rival in found if not rival.variant]
    served = ours[nets[0].key]
    size = int(folder.info["size"])

    def to_score(values: maps.Array, mask: maps.Mask) -> float:
        return maps.image_score(maps.render(values, mask, options, size), options.score_norm)

    progress.stage("timings", repeats + WARM_UP)
    for turn in range(repeats + WARM_UP):
        clock.warm = turn >= WARM_UP
        part = folder.part(ids[turn % len(ids)])
        made = clock.time(served, "ms_operators", operators.operators, part)
        for net in first:
            d2, d3 = clock.time(ours[net.key], "ms_map", scoring.network_distances, net.model, part, net.variant.depth, made)
            clock.time(ours[net.key], "ms_score", to_score, maps.combine(d2, d3, options.combine), made.mask)
        for rival in timed:
            grid = operators.operators(part, rival.bank.grid)
            f2, f3 = clock.time(theirs[rival.key("bank_joint")], "ms_dense", rival.bank.features, part, grid)
            for method in rivals.METHODS:
                subject = theirs[rival.key(method)]
                values, _ = clock.time(subject, "ms_map", rival.bank.score, method, f2, f3)
                clock.time(subject, "ms_score", to_score, values.numpy(), grid.mask)
        progress.advance()
    out = clock.rows()
    for net in first:
        out.append(ours[net.key].row("model_bytes", float(net.model.parameter_bytes()), 1, "down", scale="B"))
    out.append(served.row("n_train", float(len(folder.train)), 1, "none"))
    for rival in found:
        for method in rivals.METHODS:
            subject = theirs[rival.key(method)]
            out.append(subject.row("bank_bytes", float(rival.bank.bytes(method)), 1, "down", scale="B"))
            out.append(subject.row("n_train", float(rival.record["parts"]), 1, "none"))
    out.append(served.row("threads", float(torch.get_num_threads()), 1, "none"))
    return out


def extraction_rows(
    identity: dict[str, str], ids: Sequence[str], parts: ShardReader, extractors: dict[tuple[str, int], Extractors], repeats: int
) -> list[Row]:
    """`ms_extract` of the full and the pruned extractors, by (variant, seed) of the network that uses them, taking turns."""
    clock = Clock()
    count = max(3, repeats // EXTRACT_SHARE)
    for turn in range(count + 1):
        clock.warm = turn > 0
        scan = parts.get(ids[turn % len(ids)], ["rgb", "xyz", "valid"])
        for (variant, seed), extractor in extractors.items():
            subject = Subject(identity, "ours", variant, seed)
            clock.time(subject, "ms_extract", extractor.extract, scan["rgb"], scan["xyz"], scan["valid"].astype(bool))
    return clock.rows()


def peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes (the system answers in kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

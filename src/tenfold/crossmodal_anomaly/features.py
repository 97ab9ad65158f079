"""Frozen features of every prepared part: colour tokens, geometry tokens at farthest-point centres, and what ties them to the pixels.

Computed once for all seeds, variants and baselines; `Extractors.extract` is the same code in prediction.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
from numpy.typing import NDArray

from tenfold.core import atomic, tables
from tenfold.core.errors import BadData
from tenfold.core.progress import Progress
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.stage import Made, Note
from tenfold.core.workers import Each, ordered, single_threaded
from tenfold.crossmodal_anomaly import config
from tenfold.crossmodal_anomaly.extractors import Extractors, load_extractors
from tenfold.crossmodal_anomaly.operators import PartFeatures, dense, operators
from tenfold.crossmodal_anomaly.packing import Arrays, pack, unpack

PARTS = pa.schema({"id": pa.string(), "split": pa.string(), "defect": pa.string(), "label": pa.int64(), "n_valid": pa.int64()})
NORMS = ("mean2d", "std2d", "mean3d", "std3d")
SHARD_BYTES = 16 << 20  # what a kill may cost
LEAST_SPREAD = 1e-6  # a channel that varies less than this share of its mean square is constant: it is not scaled

Load = Callable[[config.Features, Path], Extractors]


@dataclass(frozen=True)
class Extraction:
    """Stored features of a part, by its id. Sent elsewhere it takes only its fields along; scans and networks are opened on first use."""

    prepared: Path
    block: config.Features
    weights: Path
    load: Load

    @cached_property
    def source(self) -> ShardReader:
        """The prepared parts."""
        return ShardReader(self.prepared / "parts")

    @cached_property
    def extractors(self) -> Extractors:
        """The frozen networks of the recipe."""
        return self.load(self.block, self.weights)

    def __call__(self, id: str) -> Arrays:
        scan = self.source.get(id, ["rgb", "xyz", "valid"])
        try:
            part = self.extractors.extract(scan["rgb"], scan["xyz"], scan["valid"].astype(bool))
        except BadData as error:
            raise BadData(f"{id}: {error}") from error
        return pack(part, id)

    def __reduce__(self) -> tuple[type["Extraction"], tuple[Any, ...]]:
        return Extraction, (self.prepared, self.block, self.weights, self.load)


def run(
    prepared: Path,
    block: config.Features,
    weights: Path,
    out: Path,
    progress: Progress,
    load: Load = load_extractors,
    each: Each = ordered,
) -> Made:
    """Features of every part of a prepared folder.

    Writes `out/parts/` (shards, see `packing`), `out/parts.parquet`, `out/norm.safetensors` (mean and std a channel, `mean2d@8` for a
    pruned depth) and `out/features.json`. Goes on behind the last whole shard of an earlier attempt; memory does not grow with the parts.
    `load` gives the extractors. `each` maps the extraction over the parts; the bytes made depend on neither it nor the number of cores.
    """
    table = tables.read(prepared / "prep.parquet")
    rows = {row["id"]: row for row in table.select(PARTS.names).to_pylist()}
    extraction = Extraction(prepared, block, weights, load)
    source, extractors = extraction.source, extraction.extractors
    with ShardWriter(out / "parts", SHARD_BYTES) as writer, single_threaded():
        todo = [id for id in source.ids if id not in writer.done]
        progress.stage("features", total=len(source), done=len(source) - len(todo))
        for id, arrays in each(extraction, todo):
            writer.add(id, arrays)
            progress.advance()
    parts = ShardReader(out / "parts")
    info = _info(block, extractors, unpack(parts.get(parts.ids[0]), _head(block)))
    tables.write(pa.Table.from_pylist([rows[id] for id in parts.ids], PARTS), out / "parts.parquet")
    train = [id for id in parts.ids if rows[id]["split"] == "train"]
    norms = channel_norms((unpack(parts.get(id), info) for id in train), info, progress)
    atomic.write_bytes(out / "norm.safetensors", safetensors.numpy.save(norms))
    atomic.write_json(out / "features.json", info)
    few = [[id, rows[id]["n_valid"]] for id in parts.ids if rows[id]["n_valid"] < block.centres]
    for id, points in few:
        progress.say(f"{id}: {points} points, so as many centres instead of {block.centres}")
    return _made(info, few, len(parts), out)


def channel_norms(parts: Iterator[PartFeatures], info: dict[str, Any], progress: Progress) -> dict[str, NDArray[np.float32]]:
    """Mean and standard deviation a channel over the feature masks' pixels of the parts given, for every depth; 0 and 1 for `norm: none`.

    Streams, float64. A constant channel gets 1.
    """
    depths = [info["depth"], *info["pruned"]]
    widths = {(k, d): info["channels"][str(d)][k] for k in (0, 1) for d in depths}
    means = {key: np.zeros(width) for key, width in widths.items()}
    squares = {key: np.zeros(width) for key, width in widths.items()}
    count = 0
    if info["norm"] == "standardise":
        progress.stage("channel norms")
        for part in parts:
            made = operators(part)
            pixels = int(np.count_nonzero(made.mask))
            for depth in depths:
                for k, rows in enumerate(dense(part, depth, made)):
                    _merge(means[k, depth], squares[k, depth], count, rows)
            count += pixels
            progress.advance()
    norms = {}
    for k, depth in widths:
        spread = np.sqrt(squares[k, depth] / max(count, 1))
        spread[spread <= LEAST_SPREAD * np.sqrt(means[k, depth] ** 2 + spread**2)] = 1.0
        suffix = "" if depth == info["depth"] else f"@{depth}"
        norms[NORMS[2 * k] + suffix] = means[k, depth].astype(np.float32)
        norms[NORMS[2 * k + 1] + suffix] = spread.astype(np.float32)
    return norms


def _merge(mean: NDArray[np.float64], square: NDArray[np.float64], count: int, rows: NDArray[np.float32]) -> None:
    """Adds rows (m, C) to a running mean and sum of squared deviations of `count` rows, in place (Chan et al., 1979)."""
    values = rows.astype(np.float64)
    own = values.mean(0)
    step = own - mean
    total = count + len(values)
    square += ((values - own) ** 2).sum(0) + step**2 * (count * len(values) / total)
    mean += step * (len(values) / total)


def _head(block: config.Features) -> dict[str, Any]:
    return {"grid": block.grid, "size": block.size, "depth": block.depth_2d, "pruned": list(block.pruned)}


def _info(block: config.Features, extractors: Extractors, part: PartFeatures) -> dict[str, Any]:
    return {
        **_head(block),
        "tokens": list(part.tokens2d[part.depth].shape[:2]),
        "channels": {str(d): [part.tokens2d[d].shape[-1], part.tokens3d[d].shape[-1]] for d in part.tokens2d},
        "centres": block.centres,
        "neighbours": block.neighbours,
        "norm": block.norm,
        "offset": block.offset,
        "mode": block.extractor_mode,
        "seed": block.seed,
        "extractor_2d": {"name": extractors.colour.name, "sha256": extractors.colour.sha256},
        "extractor_3d": {"name": extractors.geometry.name, "sha256": extractors.geometry.sha256},
    }


def _made(info: dict[str, Any], few: list[list[Any]], parts: int, out: Path) -> Made:
    size = sum(path.stat().st_size for path in (out / "parts").iterdir())
    names = [f"{info[which]['name']} {info[which]['sha256'][:12]}".strip() for which in ("extractor_2d", "extractor_3d")]
    notes = [
        Note("Parts", "int", parts),
        Note("Extractors", "text", ", ".join(names)),
        Note("Extractor mode", "text", info["mode"]),
        Note("Channels", "json", info["channels"]),
        Note("Megabytes a part", "float", round(size / max(parts, 1) / 1e6, 3)),
        Note("Fewer centres", "table", {"columns": ["id", "points"], "rows": few}),
    ]
    return Made(notes=notes, facts={name: info[name] for name in ("channels", "extractor_2d", "extractor_3d", "mode", "norm")})

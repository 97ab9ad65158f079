"""Reads the folder that `features.run` made: its parts by split, their tokens, the channel norms."""

import json
from pathlib import Path

import safetensors.torch
from torch import Tensor

from tenfold.core import tables
from tenfold.core.shards import ShardReader
from tenfold.crossmodal_anomaly.operators import Operators, PartFeatures, operators
from tenfold.crossmodal_anomaly.packing import unpack

Norm = tuple[Tensor, Tensor, Tensor, Tensor]


class FeatureFolder:
    """The cached features of one partition.

    Attributes:
        path, info: the folder, and the content of its `features.json`.
        train, validation, test: ids of each split, sorted.
        offset: common component of all features before angles are taken (see `model`).
        unit: the partition's unit, the first part of every id.
        grid, size: sides (px) of the map on which features meet, and of the prepared images.
        depths: extractor depths at hand, the unpruned one first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = json.loads((path / "features.json").read_text())
        self.grid, self.size = int(self.info["grid"]), int(self.info["size"])
        self.offset = float(self.info["offset"])
        self.depths: list[int] = [self.info["depth"], *self.info["pruned"]]
        rows = tables.read(path / "parts.parquet").select(["id", "split"]).to_pylist()
        splits = {split: sorted(row["id"] for row in rows if row["split"] == split) for split in ("train", "validation", "test")}
        self.train, self.validation, self.test = splits["train"], splits["validation"], splits["test"]
        self.unit = str(rows[0]["id"]).split("/")[0] if rows else ""
        self._parts = ShardReader(path / "parts")
        self._norms = safetensors.torch.load_file(path / "norm.safetensors")

    def part(self, part: str) -> PartFeatures:
        """Tokens of one part at all depths, float32; KeyError for an id that is not there."""
        return unpack(self._parts.get(part), self.info)

    def operators(self, part: PartFeatures, grid: int = 0) -> Operators:
        """What makes dense features of a part's tokens on a grid of side `grid` px (0: the features' own)."""
        return operators(part, grid or self.grid)

    def norm(self, depth: int = 0) -> Norm:
        """mean2d, std2d, mean3d, std3d `(channels,)` at a depth (0: unpruned); zeros and ones where the recipe does not standardise."""
        suffix = "" if depth in (0, self.depths[0]) else f"@{depth}"
        mean2d, std2d, mean3d, std3d = (self._norms[name + suffix] for name in ("mean2d", "std2d", "mean3d", "std3d"))
        return mean2d, std2d, mean3d, std3d

    def channels(self, depth: int = 0) -> tuple[int, int]:
        """Widths of the colour and of the geometry features."""
        mean2d, _, mean3d, _ = self.norm(depth)
        return mean2d.numel(), mean3d.numel()

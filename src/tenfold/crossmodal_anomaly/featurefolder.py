"""Reads the folder that `features.run` made: its parts by split, their tokens, the channel norms."""

import json
from pathlib import Path

import numpy as np
import safetensors.torch
from torch import Tensor

from tenfold.core import tables
from tenfold.core.shards import ShardReader
from tenfold.crossmodal_anomaly.operators import PartFeatures

Norm = tuple[Tensor, Tensor, Tensor, Tensor]


class FeatureFolder:
    """Attributes: `path`; `info`, the content of `features.json`; `train`, `validation` and `test`, the ids of each split; `unit`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = json.loads((path / "features.json").read_text())
        table = tables.read(path / "parts.parquet")
        splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for part, split in zip(table.column("id").to_pylist(), table.column("split").to_pylist(), strict=True):
            splits[split].append(part)
        self.train, self.validation, self.test = splits["train"], splits["validation"], splits["test"]
        self.unit = table.column("id")[0].as_py().split("/")[0] if len(table) else ""
        self._parts = ShardReader(path / "parts")

    def part(self, part: str) -> PartFeatures:
        """Tokens of one part, all depths, float32."""
        raise NotImplementedError

    def norm(self, depth: int = 0) -> Norm:
        """mean2d, std2d, mean3d, std3d at a depth (0: unpruned); zeros and ones without standardising."""
        raise NotImplementedError

    def channels(self, depth: int = 0) -> tuple[int, int]:
        """Widths of the colour and the geometry features."""
        norm = self.norm(depth)
        return norm[0].numel(), norm[2].numel()

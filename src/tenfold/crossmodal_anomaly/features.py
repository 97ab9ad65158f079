"""Frozen features of every prepared part: colour tokens, geometry tokens at farthest-point centres, and what ties them to the pixels.

Computed once for all seeds, variants and baselines; `Extractors.extract` is the same code in prediction (CFM, section 3.1).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import safetensors.numpy
from numpy.typing import NDArray

from tenfold.core import atomic, tables
from tenfold.core.errors import BadData, UsageError
from tenfold.core.progress import Progress
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.stage import Made, Note
from tenfold.crossmodal_anomaly import config, covariance, fpfh
from tenfold.crossmodal_anomaly.geometry import farthest_points, interpolation_weights, nearest_neighbours
from tenfold.crossmodal_anomaly.operators import PartFeatures, dense, operators
from tenfold.crossmodal_anomaly.packing import pack, unpack

PARTS = pa.schema({"id": pa.string(), "split": pa.string(), "defect": pa.string(), "label": pa.int64(), "n_valid": pa.int64()})
NORMS = ("mean2d", "std2d", "mean3d", "std3d")
LEAST_SPREAD = 1e-6  # a channel that varies less than this share of its mean square is constant: it is not scaled

Tokens = dict[int, NDArray[np.float32]]


class Extractor2d(Protocol):
    """(S, S, 3) uint8 to {depth: (h, w, C2) float32}."""

    name: str
    sha256: str

    def __call__(self, rgb: NDArray[np.uint8]) -> Tokens: ...


class Extractor3d(Protocol):
    """Points (N, 3) m, centres (G,) and neighbours (G, k), both indices into the points, to {depth: (G, C3) float32}."""

    name: str
    sha256: str

    def __call__(self, points: NDArray[np.float32], centres: NDArray[np.integer], neighbours: NDArray[np.integer]) -> Tokens: ...

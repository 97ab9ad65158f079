"""One part's features as the arrays of a shard: half precision, never the dense maps, a hundredth of their size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import BadData
from tenfold.crossmodal_anomaly.operators import PartFeatures

Arrays = dict[str, NDArray[Any]]


def pack(part: PartFeatures, id: str) -> Arrays:
    """Arrays to store: `tokens2d`, `tokens3d`, `centres`, `nn_idx`, `nn_w`, `valid` (packed bits), and `tokens2d@8`, `tokens3d@8` for a
    pruned depth, the latter only where it differs. Raises BadData if a token is not finite in half precision.
    """
    arrays: Arrays = {
        "centres": part.centres.astype(np.float32),
        "nn_idx": part.nn_idx.astype(np.uint16),
        "nn_w": part.nn_w.astype(np.float16),
        "valid": np.packbits(part.valid),
    }
    for name, by_depth in (("tokens2d", part.tokens2d), ("tokens3d", part.tokens3d)):
        for depth, tokens in by_depth.items():
            if depth != part.depth and np.array_equal(tokens, by_depth[part.depth]):
                continue
            if not np.abs(tokens).max(initial=0) <= np.finfo(np.float16).max:
                raise BadData(f"{id}: {name} at depth {depth} holds values that are not finite or beyond half precision.")
            arrays[_key(name, depth, part.depth)] = tokens.astype(np.float16)
    return arrays


def unpack(arrays: Mapping[str, NDArray[Any]], info: Mapping[str, Any]) -> PartFeatures:
    """Back from the arrays of a shard; `info` is the content of `features.json`. The weights sum to one again."""
    full, size = int(info["depth"]), int(info["size"])
    weights = arrays["nn_w"].astype(np.float32)
    return PartFeatures(
        grid=int(info["grid"]),
        depth=full,
        tokens2d=_tokens(arrays, "tokens2d", full, info["pruned"]),
        tokens3d=_tokens(arrays, "tokens3d", full, info["pruned"]),
        centres=arrays["centres"],
        nn_idx=arrays["nn_idx"].astype(np.int32),
        nn_w=weights / weights.sum(1, keepdims=True),
        valid=np.unpackbits(arrays["valid"], count=size * size).reshape(size, size).astype(bool),
    )


def _tokens(arrays: Mapping[str, NDArray[Any]], name: str, full: int, pruned: list[int]) -> dict[int, NDArray[np.float32]]:
    tokens = {full: arrays[name].astype(np.float32)}
    for depth in pruned:
        stored = arrays.get(_key(name, depth, full))
        tokens[depth] = tokens[full] if stored is None else stored.astype(np.float32)
    return tokens


def _key(name: str, depth: int, full: int) -> str:
    return name if depth == full else f"{name}@{depth}"

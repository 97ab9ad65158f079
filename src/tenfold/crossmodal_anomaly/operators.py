"""Every dense feature map is linear in the tokens: the two sparse operators that make it, and nothing else.

2D: bilinear interpolation of the token grid. 3D: three nearest centres a point, scattered on the pixel grid, 3x3 mean without padding,
adaptive mean to the feature grid (CFM, section 3.1). Rows are the pixels of the feature mask only: no dense map of the background is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

if TYPE_CHECKING:
    import torch

BOX = 3  # side of the mean after scattering, px (CFM's released code)


@dataclass(frozen=True)
class PartFeatures:
    """Frozen features of one part, as tokens.

    `tokens2d[depth]` is (h, w, C2) and `tokens3d[depth]` (G, C3), float32; `depth` is the unpruned one, the others are layer-pruned
    variants. `centres` (G, 3) in metres; `nn_idx` and `nn_w` (N, 3) tie each of the N valid pixels (row-major) to its nearest centres,
    weights summing to one. `valid` (S, S) says which pixels carry a point. `grid` is the side of the map on which both modalities meet.
    """

    grid: int
    depth: int
    tokens2d: Mapping[int, NDArray[np.float32]]
    tokens3d: Mapping[int, NDArray[np.float32]]
    centres: NDArray[np.float32]
    nn_idx: NDArray[np.integer]
    nn_w: NDArray[np.float32]
    valid: NDArray[np.bool_]


class Operators(NamedTuple):
    """`interpolate` (M, h*w), `spread` (M, G), float32 CSR, and the feature mask (grid, grid) whose M pixels, row-major, are their rows."""

    interpolate: sparse.csr_array
    spread: sparse.csr_array
    mask: NDArray[np.bool_]


def operators(part: PartFeatures, grid: int = 0) -> Operators:
    """The operators of one part on a grid of side `grid` px (0: the part's own)."""
    grid = grid or part.grid
    pool = _pool(part.valid.shape[0], grid)
    mask = (pool @ part.valid.ravel().astype(np.float32)) > 0
    rows = np.flatnonzero(mask)
    height, width = part.tokens2d[part.depth].shape[:2]
    spread = pool[rows] @ _scatter(part)
    return Operators(_bilinear(height, width, grid)[rows], spread.astype(np.float32, copy=False), mask.reshape(grid, grid))


def dense(part: PartFeatures, depth: int = 0, made: Operators | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Dense features at the M pixels of the feature mask: f2 (M, C2), f3 (M, C3), float32. `depth` 0 is the unpruned one."""
    made = made or operators(part)
    tokens = part.tokens2d[depth or part.depth]
    return made.interpolate @ tokens.reshape(-1, tokens.shape[-1]), made.spread @ part.tokens3d[depth or part.depth]


def tensor(operator: sparse.csr_array, device: "torch.device | str" = "cpu") -> "torch.Tensor":
    """The same operator as a sparse COO tensor, for autograd or a GPU (on a CPU, SciPy's product is twice as fast)."""
    import torch

    coo = operator.tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data.astype(np.float32))
    return torch.sparse_coo_tensor(index, values, operator.shape, check_invariants=False, is_coalesced=True).to(device)


def _scatter(part: PartFeatures) -> sparse.csr_array:
    """(S*S, G): each valid pixel's weights on its nearest centres; empty rows elsewhere."""
    nearest = part.nn_idx.shape[1]
    starts = np.concatenate([[0], np.cumsum(part.valid.ravel().astype(np.int32) * nearest)]).astype(np.int32)
    shape = (part.valid.size, len(part.centres))
    return sparse.csr_array((part.nn_w.astype(np.float32).ravel(), part.nn_idx.astype(np.int32).ravel(), starts), shape=shape)


@lru_cache(maxsize=8)
def _bilinear(height: int, width: int, grid: int) -> sparse.csr_array:
    """(grid*grid, height*width): bilinear, pixel centres aligned (`align_corners=False`), edges clamped."""
    return _two_dimensional(_linear(height, grid), _linear(width, grid))


@lru_cache(maxsize=8)
def _pool(size: int, grid: int) -> sparse.csr_array:
    """(grid*grid, size*size): box mean without padding, then adaptive mean to the grid. Both are separable."""
    inner = size - BOX + 1
    box = sparse.diags_array([1.0 / BOX] * BOX, offsets=range(BOX), shape=(inner, size))
    starts = np.arange(grid) * inner // grid
    ends = -(-(np.arange(grid) + 1) * inner // grid)
    lengths = ends - starts
    rows = np.repeat(np.arange(grid), lengths)
    columns = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(starts, lengths)
    mean = sparse.csr_array((1.0 / lengths[rows], (rows, columns)), shape=(grid, inner))
    line = sparse.csr_array(mean @ box)
    return _two_dimensional(line, line)


def _linear(length: int, grid: int) -> sparse.csr_array:
    """(grid, length): one-dimensional linear interpolation."""
    at = np.clip((np.arange(grid) + 0.5) * length / grid - 0.5, 0, None)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    rows = np.arange(grid)
    weights = np.concatenate([1 - (at - low), at - low])
    return sparse.csr_array((weights, (np.concatenate([rows, rows]), np.concatenate([low, high]))), shape=(grid, length))


def _two_dimensional(vertical: sparse.csr_array, horizontal: sparse.csr_array) -> sparse.csr_array:
    product = sparse.csr_array(sparse.kron(vertical, horizontal, format="csr"), dtype=np.float32)
    product.eliminate_zeros()
    return product

"""Inference with the first layer moved in front of the interpolation: the same numbers for about a quarter of the work.

Every dense feature map is linear in the tokens (see `operators`), so the first linear layer, with the channel norm folded in, may act
on some thousand tokens instead of on every pixel; its bias is added after the operator. Only pixels of the feature mask are rows of the
operators, so background costs nothing.
"""

from collections.abc import Iterator
from typing import TypeAlias

import torch
from scipy import sparse
from torch import Tensor, nn

from tenfold.crossmodal_anomaly.model import CrossModal, chord

Operator: TypeAlias = sparse.csr_array | Tensor

# Pixels mapped at a time on a CPU: their hidden layers stay in its cache, and memory does not grow with the image.
ROWS = 1024


def distances_fast(model: CrossModal, tokens2d: Tensor, tokens3d: Tensor, interpolate: Operator, spread: Operator) -> tuple[Tensor, Tensor]:
    """`CrossModal.distances` of the dense features, `(pixels,)` each, to 1e-4.

    Shapes: tokens2d `(h * w, channels2d)`, tokens3d `(centres, channels3d)`, and the sparse operators interpolate `(pixels, h * w)`,
    spread `(pixels, centres)`, as SciPy matrices (CPU) or sparse tensors.
    """
    both2, bias2 = _first(model.m23, model.mean2d, model.std2d, tokens2d)
    both3, bias3 = _first(model.m32, model.mean3d, model.std3d, tokens3d)
    d2, d3 = [], []
    for rows2, rows3 in zip(_rows(interpolate, both2), _rows(spread, both3), strict=True):
        f2, start2 = rows2.split([tokens2d.shape[1], len(bias2)], dim=1)
        f3, start3 = rows3.split([tokens3d.shape[1], len(bias3)], dim=1)
        z2, z3 = model.normalise(f2, f3)
        d2.append(chord(model.m32[1:](start3 + bias3), z2, model.offset))
        d3.append(chord(model.m23[1:](start2 + bias2), z3, model.offset))
    return torch.cat(d2), torch.cat(d3)


def _first(mapper: nn.Sequential, mean: Tensor, std: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens and the mapper's first layer on them, side by side, so that one sparse product spreads both; and the bias that comes after."""
    layer = mapper[0]
    assert isinstance(layer, nn.Linear)
    weight = layer.weight / std
    return torch.cat([tokens, tokens @ weight.T], dim=1), layer.bias - weight @ mean


def _rows(operator: Operator, tokens: Tensor) -> Iterator[Tensor]:
    """The product, some rows at a time on a CPU."""
    if isinstance(operator, Tensor):
        yield operator @ tokens
        return
    dense = tokens.numpy()
    # one piece even without any pixel
    for start in range(0, max(operator.shape[0], 1), ROWS):
        yield torch.from_numpy(operator[start : start + ROWS] @ dense)

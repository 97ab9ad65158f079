"""The commuted first layer gives the plain path's numbers, the rim of the mask included."""

import numpy as np
import pytest
import torch

from tenfold.crossmodal_anomaly.fast import distances_fast
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.operators import PartFeatures, dense, operators, tensor


def part(channels2d: int, channels3d: int, size: int, centres: int, seed: int = 0) -> PartFeatures:
    """A disc with a hole and random tokens."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    valid = (np.hypot(y, x) < 0.35 * size) & (np.hypot(y - 3, x + 4) > 2)
    pixels = int(valid.sum())
    weights = rng.random((pixels, 3)).astype(np.float32)
    tokens2d, tokens3d = rng.standard_normal((28, 28, channels2d), np.float32), rng.standard_normal((centres, channels3d), np.float32)
    return PartFeatures(
        grid=size,
        depth=12,
        tokens2d={12: tokens2d},
        tokens3d={12: tokens3d},
        centres=rng.random((centres, 3)).astype(np.float32),
        nn_idx=rng.integers(0, centres, (pixels, 3)).astype(np.uint16),
        nn_w=weights / weights.sum(1, keepdims=True),
        valid=valid,
    )


@pytest.mark.parametrize(("channels2d", "channels3d", "normed"), [(768, 1152, False), (176, 73, True)])
def test_fast_equals_plain(channels2d: int, channels3d: int, normed: bool) -> None:
    torch.manual_seed(0)
    model = CrossModal(channels2d, channels3d).eval()
    if normed:
        norms = (torch.randn(channels2d), torch.rand(channels2d) + 0.5, torch.randn(channels3d), torch.rand(channels3d) + 0.5)
        model.set_norm(*norms, offset=0.5)
    made = part(channels2d, channels3d, 56, 64)
    spreads = operators(made)
    tokens = (torch.from_numpy(made.tokens2d[12].reshape(784, -1)), torch.from_numpy(made.tokens3d[12]))
    rim = spreads.mask & ~made.valid
    assert rim.any(), "the feature mask is wider than the cloud's own"
    with torch.inference_mode():
        plain = model.distances(*(torch.from_numpy(f) for f in dense(made)))
        for pair in (spreads[:2], (tensor(spreads.interpolate), tensor(spreads.spread))):
            fast = distances_fast(model, *tokens, *pair)
            for a, b in zip(plain, fast, strict=True):
                assert a.shape == (spreads.mask.sum(),)
                assert (a - b).abs().max() <= 1e-4

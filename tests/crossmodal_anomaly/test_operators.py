import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tenfold.crossmodal_anomaly.geometry import farthest_points, interpolation_weights
from tenfold.crossmodal_anomaly.operators import PartFeatures, dense, operators, tensor


def disc(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.hypot(y, x) < 0.4 * size


def part(valid: np.ndarray, grid: int, tokens: tuple[int, int] = (28, 28), widths: tuple[int, int] = (3, 4), seed: int = 0) -> PartFeatures:
    rng = np.random.default_rng(seed)
    y, x = np.nonzero(valid)
    points = np.stack([x * 5e-4, y * 5e-4, 0.4 + rng.normal(0, 1e-3, len(x))], 1).astype(np.float32)
    centres = points[farthest_points(points, 60)]
    idx, weights = interpolation_weights(points, centres)
    tokens2d = rng.normal(size=(*tokens, widths[0])).astype(np.float32)
    tokens3d = rng.normal(size=(len(centres), widths[1])).astype(np.float32)
    return PartFeatures(grid, 16, {16: tokens2d, 8: tokens2d[..., :2]}, {16: tokens3d, 8: tokens3d}, centres, idx, weights, valid)


def reference(made: PartFeatures, grid: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paper's text in dense tensors: 2D map (grid, grid, C2), 3D map (grid, grid, C3), feature mask."""
    colour = torch.from_numpy(made.tokens2d[16]).permute(2, 0, 1)[None].double()
    f2 = F.interpolate(colour, (grid, grid), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()

    def pooled(values: np.ndarray) -> np.ndarray:
        image = np.zeros((*made.valid.shape, values.shape[1]))
        image[made.valid] = values
        box = F.avg_pool2d(torch.from_numpy(image).permute(2, 0, 1)[None], 3, stride=1)
        return F.adaptive_avg_pool2d(box, grid)[0].permute(1, 2, 0).numpy()

    spread = (made.tokens3d[16].astype(np.float64)[made.nn_idx] * made.nn_w[..., None]).sum(1)
    return f2, pooled(spread), pooled(made.nn_w.sum(1, keepdims=True))[..., 0] > 0


@pytest.mark.parametrize("grid", [56, 224])
def test_dense_maps_equal_the_dense_reference_rim_included(grid: int) -> None:
    made = part(disc(224), grid)
    f2, f3, mask = reference(made, grid)
    ops = operators(made)
    np.testing.assert_array_equal(ops.mask, mask)
    got2, got3 = dense(made)
    np.testing.assert_allclose(got2, f2[mask], atol=2e-6)
    np.testing.assert_allclose(got3, f3[mask], atol=2e-6)
    assert not f3[~mask].any()
    assert got2.dtype == got3.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 30), st.integers(2, 34), st.tuples(st.integers(1, 9), st.integers(1, 40)), st.floats(0.02, 1.0))
def test_any_size_any_mask(seed: int, size: int, grid: int, tokens: tuple[int, int], share: float) -> None:
    valid = np.random.default_rng(seed).random((size, size)) < share
    valid[size // 2, size // 2] = True
    made = part(valid, grid, tokens, seed=seed)
    f2, f3, mask = reference(made, grid)
    ops = operators(made, grid)
    np.testing.assert_array_equal(ops.mask, mask)
    got2, got3 = dense(made, made=ops)
    np.testing.assert_allclose(got2, f2[mask], atol=1e-5)
    np.testing.assert_allclose(got3, f3[mask], atol=1e-5)


@pytest.mark.parametrize("grid", [56, 224])
def test_a_constant_stays_constant_inside_and_fades_at_the_rim(grid: int) -> None:
    made = part(disc(224), grid)
    ops = operators(made)
    np.testing.assert_allclose(ops.interpolate.sum(1), 1, atol=1e-6)
    weight = np.zeros((grid, grid))
    weight[ops.mask] = ops.spread.sum(1)
    y, x = (np.mgrid[:grid, :grid] + 0.5) * 224 / grid - 112
    inside = np.hypot(y, x) < 0.4 * 224 - 8
    np.testing.assert_allclose(weight[inside], 1, atol=1e-5)
    rim = ops.mask & ~inside
    assert weight[rim].min() < 0.5 and weight.max() < 1 + 1e-5
    assert (weight[ops.mask] > 0).all()


def test_another_grid_and_a_pruned_depth() -> None:
    made = part(disc(64), 16)
    assert operators(made, 8).mask.shape == (8, 8)
    np.testing.assert_array_equal(operators(made, 16).mask, operators(made).mask)
    ops = operators(made)
    np.testing.assert_array_equal(dense(made, 8, ops)[0], ops.interpolate @ made.tokens2d[8].reshape(-1, 2))


def test_sparse_tensors_are_the_same_operators() -> None:
    ops = operators(part(disc(48), 24))
    for operator in (ops.interpolate, ops.spread):
        np.testing.assert_allclose(tensor(operator).to_dense().numpy(), operator.toarray(), atol=0)

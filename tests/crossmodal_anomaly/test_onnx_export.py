"""ONNX graphs give what the networks give, in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from torch.nn import functional as F

from tenfold.crossmodal_anomaly import dino, onnx_export
from tenfold.crossmodal_anomaly.efficientnet_lite import EfficientNetLite0Tokens

Layers = list[tuple[np.ndarray, np.ndarray]]


def layers(rng: np.random.Generator, *widths: int) -> Layers:
    pairs = zip(widths, widths[1:], strict=False)
    return [((rng.normal(size=(b, a)) / a**0.5).astype(np.float32), rng.normal(size=b).astype(np.float32)) for a, b in pairs]


def run(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


def mapped(mapper: Layers, x: np.ndarray) -> np.ndarray:
    """The mapper in double precision."""
    y = torch.tensor(x, dtype=torch.float64)
    for i, (weight, bias) in enumerate(mapper):
        y = F.linear(y, torch.tensor(weight, dtype=torch.float64), torch.tensor(bias, dtype=torch.float64))
        y = F.gelu(y) if i < len(mapper) - 1 else y
    return y.numpy()


@pytest.mark.parametrize("widths", [(768, 960, 960, 1152), (176, 124, 124, 73), (40, *(32,) * 6, 24)])
def test_mapper_parity_at_any_number_of_pixels(tmp_path: Path, widths: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    mapper = layers(rng, *widths)
    onnx_export.export_mapper(mapper, tmp_path / "m.onnx")
    for n in (0, 1, 777):
        x = rng.normal(size=(n, widths[0])).astype(np.float32)
        found = run(tmp_path / "m.onnx", features=x)[0]
        assert found.shape == (n, widths[-1]) and found.dtype == np.float32
        np.testing.assert_allclose(found, mapped(mapper, x), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_normalisation_is_folded_in(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    m23, m32 = layers(rng, 7, 6, 5), layers(rng, 5, 6, 7)
    norm2d = (rng.normal(size=7) * 3, rng.uniform(0.5, 4, 7))
    norm3d = (rng.normal(size=5) * 3, rng.uniform(0.5, 4, 5))
    f2 = (rng.normal(size=(9, 7)) * norm2d[1] + norm2d[0]).astype(np.float32)
    f3 = (rng.normal(size=(9, 5)) * norm3d[1] + norm3d[0]).astype(np.float32)
    path = tmp_path_factory.mktemp("onnx") / "both.onnx"
    onnx_export.export_mappers(m23, m32, path, norm2d, norm3d)
    f3_from_f2, f2_from_f3 = run(path, f2=f2, f3=f3)
    np.testing.assert_allclose(f3_from_f2, mapped(m23, (f2 - norm2d[0]) / norm2d[1]), atol=1e-5)
    np.testing.assert_allclose(f2_from_f3, mapped(m32, (f3 - norm3d[0]) / norm3d[1]), atol=1e-5)


def test_the_same_arrays_give_the_same_file(tmp_path: Path) -> None:
    mapper = layers(np.random.default_rng(0), 7, 6, 5)
    for name in ("a/m.onnx", "b/m.onnx"):
        onnx_export.export_mapper(mapper, tmp_path / name)
    assert (tmp_path / "a/m.onnx").read_bytes() == (tmp_path / "b/m.onnx").read_bytes()


def test_efficientnet_lite0_parity_on_a_photograph(tmp_path: Path) -> None:
    rgb = np.asarray(Image.fromarray(data.coffee()).resize((224, 224)))
    tokens = EfficientNetLite0Tokens(16, (8, 4), device="cpu")
    onnx_export.export_efficientnet_lite0(tokens, tmp_path / "lite0.onnx")
    found = run(tmp_path / "lite0.onnx", rgb=np.stack([rgb[::-1], rgb]))
    for depth, expected in tokens(rgb).items():
        np.testing.assert_allclose(found[tokens.depths.index(depth)][1], expected, atol=1e-5 * np.abs(expected).max())


def test_efficientnet_lite0_needs_a_side_of_whole_strides(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        onnx_export.export_efficientnet_lite0(EfficientNetLite0Tokens(8, (), device="cpu"), tmp_path / "lite0.onnx", 100)


def test_dino_parity(tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = dino.VitSize(width=24, blocks=3, heads=3, patch=8, side=32)
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=96, image_size=32, patch_size=8, initializer_range=0.3
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokens = dino.DinoTokens(tmp_path / "model.safetensors", 3, (1,), size, "cpu")
    onnx_export.export_dino(tokens, tmp_path / "dino.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    found = run(tmp_path / "dino.onnx", rgb=images)
    for image, *at_depths in zip(images, *found, strict=True):
        for depth, ours in zip(tokens.depths, at_depths, strict=True):
            np.testing.assert_allclose(ours, tokens(image)[depth], atol=2e-5)

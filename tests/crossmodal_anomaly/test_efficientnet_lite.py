"""EfficientNet-Lite0: the real ImageNet weights recognise real photographs, and the tokens are the maps they claim to be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from torch.nn import functional as F

from tenfold.core.errors import BadData, UsageError
from tenfold.crossmodal_anomaly import efficientnet_lite, weights
from tenfold.crossmodal_anomaly.efficientnet_lite import EfficientNetLite0, EfficientNetLite0Tokens, same_padding

ESPRESSO, CATS = 967, (281, 282, 283, 284, 285)


def photo(name: str, side: int = 224) -> np.ndarray:
    image = Image.fromarray(getattr(data, name)())
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def batch(rgb: np.ndarray) -> torch.Tensor:
    return (torch.tensor(rgb).permute(2, 0, 1)[None].float() - 127) / 128


@pytest.fixture(scope="module")
def classifier() -> EfficientNetLite0:
    return efficientnet_lite.load(weights.packaged())


@pytest.fixture(scope="module")
def tokens() -> EfficientNetLite0Tokens:
    return EfficientNetLite0Tokens(16, (8, 4), device="cpu")


@pytest.mark.parametrize(("name", "classes", "least"), [("coffee", (ESPRESSO,), 0.8), ("chelsea", CATS, 0.8)])
def test_real_weights_recognise_photographs(classifier: EfficientNetLite0, name: str, classes: tuple[int, ...], least: float) -> None:
    with torch.inference_mode():
        probability = classifier(batch(photo(name))).softmax(1)[0]
    assert int(probability.argmax()) in classes
    assert float(probability[list(classes)].sum()) > least


def test_parameters_are_lite0s(classifier: EfficientNetLite0) -> None:
    assert sum(p.numel() for p in classifier.parameters()) == 4_652_008


def test_tokens_are_the_maps_of_the_unfolded_network(classifier: EfficientNetLite0, tokens: EfficientNetLite0Tokens) -> None:
    rgb = photo("coffee")
    with torch.inference_mode():
        x, maps = classifier.stem(batch(rgb)), []
        for block in classifier._blocks:
            x = block(x)
            maps.append(x)
        fine = F.avg_pool2d(maps[2], 2)
        coarse = F.interpolate(maps[10], scale_factor=2, mode="bilinear", align_corners=False)
        expected = torch.cat([fine, maps[4], coarse], 1)[0].permute(1, 2, 0).numpy()
    found = tokens(rgb)
    assert {d: t.shape for d, t in found.items()} == {4: (28, 28, 24), 8: (28, 28, 64), 16: (28, 28, 176)}
    assert all(t.dtype == np.float32 and t.flags.c_contiguous for t in found.values())
    np.testing.assert_allclose(found[16], expected, atol=5e-4)
    assert tokens.channels == {4: 24, 8: 64, 16: 176}


def test_a_pruned_depth_is_a_run_of_its_own(tokens: EfficientNetLite0Tokens) -> None:
    rgb = photo("chelsea")
    alone = EfficientNetLite0Tokens(8, (), device="cpu")
    assert len(alone.network._blocks) == 5
    np.testing.assert_allclose(alone(rgb)[8], tokens(rgb)[8], atol=1e-5)


def test_same_input_same_tokens_and_the_input_is_left_alone(tokens: EfficientNetLite0Tokens) -> None:
    rgb = photo("rocket")
    before = rgb.copy()
    a, b = tokens(rgb), tokens(rgb)
    assert all(np.array_equal(a[d], b[d]) for d in a)
    assert np.array_equal(rgb, before)


def test_sides_that_are_no_multiple_of_the_strides(tokens: EfficientNetLite0Tokens) -> None:
    assert tokens(photo("coffee", 100))[16].shape == (13, 13, 176)


def test_a_safetensors_copy_gives_the_same_tokens(tmp_path: Path, tokens: EfficientNetLite0Tokens) -> None:
    copy = tmp_path / "lite0.safetensors"
    sha = weights.to_safetensors(weights.packaged(), copy)
    other = EfficientNetLite0Tokens(16, (), path=copy, device="cpu")
    assert (tokens.sha256, other.sha256) == (weights.LITE0.sha256, sha)
    assert np.array_equal(other(photo("coffee"))[16], tokens(photo("coffee"))[16])


def test_bad_input(tmp_path: Path, tokens: EfficientNetLite0Tokens) -> None:
    with pytest.raises(UsageError, match=r"\[4, 8, 16\].*not 5"):
        EfficientNetLite0Tokens(5)
    with pytest.raises(ValueError, match="uint8"):
        tokens(np.zeros((224, 224, 3), np.float32))
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(BadData, match="missing _blocks.0._bn1.bias.* and"):
        EfficientNetLite0Tokens(path=tmp_path / "w.pth")


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 300), kernel=st.sampled_from([1, 3, 5, 7]), stride=st.sampled_from([1, 2, 4]))
def test_same_padding_gives_the_size_rounded_up(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(size, kernel, stride)
    assert 0 <= before <= after <= before + 1
    if kernel >= stride:
        assert (size + before + after - kernel) // stride + 1 == -(-size // stride)

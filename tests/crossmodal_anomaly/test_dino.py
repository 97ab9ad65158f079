"""DINO: both key layouts give the same network, pruned depths come from the same pass, wrong files are told apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.core.errors import BadData, UsageError
from tenfold.crossmodal_anomaly import dino
from tenfold.crossmodal_anomaly.dino import MEAN, STD, DinoTokens, VitSize

TINY = VitSize(width=24, blocks=3, heads=3, patch=8, side=32)


def timm_state(size: VitSize, seed: int = 0) -> dict[str, Tensor]:
    """Random weights in timm's layout, the original DINO's."""
    generator = torch.Generator().manual_seed(seed)
    width, tokens = size.width, (size.side // size.patch) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, size.patch, size.patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(size.blocks):
        for name, out, inp in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
            shapes |= {f"blocks.{i}.{name}.weight": (out * width, inp * width), f"blocks.{i}.{name}.bias": (out * width,)}
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{name}.weight": (width,), f"blocks.{i}.{name}.bias": (width,)}
    return {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}


def hugging_face_state(timm: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as `facebook/dino-vitb8` spells them."""
    names = {
        "pos_embed": "embeddings.position_embeddings",
        "cls_token": "embeddings.cls_token",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    state: dict[str, Tensor] = {}
    for key, value in timm.items():
        if key.startswith("norm."):
            state["layernorm." + key.removeprefix("norm.")] = value
        elif "attn.qkv" in key:
            head, kind = key.replace("blocks.", "encoder.layer.").split("attn.qkv.")
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[f"{head}attention.attention.{name}.{kind}"] = part
        else:
            for ours, theirs in names.items():
                key = key.replace(ours, theirs)
            state[key.replace("blocks.", "encoder.layer.")] = value
    return state


def reference(state: dict[str, Tensor], size: VitSize, rgb: np.ndarray) -> list[Tensor]:
    """A vision transformer written out from timm's layout; the normalised patch tokens after each block."""
    image = (torch.tensor(rgb).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    x = F.conv2d(image.permute(2, 0, 1)[None], state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], size.patch)
    x = torch.cat([state["cls_token"], x.flatten(2).transpose(1, 2)], 1) + state["pos_embed"]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (size.width,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    outputs = []
    for i in range(size.blocks):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").unflatten(2, (3, size.heads, -1)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + linear(attention.transpose(1, 2).flatten(2), f"blocks.{i}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")), f"blocks.{i}.mlp.fc2")
        outputs.append(norm(x, "norm")[0, 1:])
    return outputs


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (TINY.side, TINY.side, 3), dtype=np.uint8)


def test_both_layouts_equal_a_network_written_out(tmp_path: Path, rgb: np.ndarray) -> None:
    timm = timm_state(TINY)
    save_file({key: value.contiguous() for key, value in hugging_face_state(timm).items()}, tmp_path / "hf.safetensors")
    torch.save(timm, tmp_path / "timm.pth")
    expected = reference(timm, TINY, rgb)
    for name in ("hf.safetensors", "timm.pth"):
        found = DinoTokens(tmp_path / name, 3, (2, 1), TINY, "cpu")(rgb)
        assert set(found) == {1, 2, 3}
        for depth, tokens in found.items():
            assert tokens.shape == (4, 4, TINY.width) and tokens.dtype == np.float32
            np.testing.assert_allclose(tokens, expected[depth - 1].reshape(4, 4, -1).numpy(), atol=2e-5)


def test_what_transformers_itself_saves_loads(tmp_path: Path, rgb: np.ndarray) -> None:
    save_file(timm_state(TINY), tmp_path / "timm.safetensors")
    network = dino.load(tmp_path / "timm.safetensors", TINY)
    network.save_pretrained(tmp_path / "saved")
    a = DinoTokens(tmp_path / "timm.safetensors", 3, (), TINY, "cpu")(rgb)
    b = DinoTokens(tmp_path / "saved" / "model.safetensors", 3, (), TINY, "cpu")(rgb)
    assert np.array_equal(a[3], b[3])


def test_a_pruned_depth_is_a_run_of_its_own(tmp_path: Path, rgb: np.ndarray) -> None:
    save_file(timm_state(TINY), tmp_path / "w.safetensors")
    alone = DinoTokens(tmp_path / "w.safetensors", 1, (), TINY, "cpu")
    assert len(alone.blocks) == 1 and alone.channels == {1: TINY.width}
    assert np.array_equal(alone(rgb)[1], DinoTokens(tmp_path / "w.safetensors", 3, (1,), TINY, "cpu")(rgb)[1])


def test_a_pooler_is_left_out_and_anything_else_is_listed(tmp_path: Path) -> None:
    state = timm_state(TINY)
    save_file(state | {"pooler.dense.weight": torch.zeros(1)}, tmp_path / "pooler.safetensors")
    assert isinstance(dino.load(tmp_path / "pooler.safetensors", TINY), nn.Module)
    del state["norm.bias"]
    save_file(state | {"head.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(BadData, match=r"missing layernorm\.bias; unexpected head\.weight"):
        dino.load(tmp_path / "w.safetensors", TINY)


def test_other_sizes_are_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    save_file(timm_state(TINY), tmp_path / "w.safetensors")
    with pytest.raises(BadData, match="shapes: "):
        dino.load(tmp_path / "w.safetensors", VitSize(width=24, blocks=3, heads=3, patch=8, side=40))
    with pytest.raises(UsageError, match="features.size"):
        DinoTokens(tmp_path / "w.safetensors", 3, (), TINY, "cpu")(rgb[:24, :24])
    with pytest.raises(UsageError, match="no depth 4"):
        DinoTokens(tmp_path / "w.safetensors", 4, (), TINY, "cpu")


@pytest.mark.slow
def test_the_papers_size(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(timm_state(dino.VITB8), path)
    tokens = DinoTokens(path, device="cpu")
    found = tokens(np.zeros((224, 224, 3), np.uint8))
    assert {d: t.shape for d, t in found.items()} == dict.fromkeys((1, 4, 8, 12), (28, 28, 768))
    assert sum(p.numel() for m in (tokens.embeddings, tokens.blocks, tokens.norm) for p in m.parameters()) == 85_807_872
    assert all(np.isfinite(t).all() for t in found.values())

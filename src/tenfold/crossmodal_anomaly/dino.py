"""DINO ViT-B/8 as a frozen 2D token extractor, through `transformers`' ViT built from a configuration in code (no hub).

Two layouts of the same weights load: the Hugging Face one (`facebook/dino-vitb8`) and timm's, which is also the original one
(`vit_base_patch8_224.dino`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.core.errors import UsageError
from tenfold.crossmodal_anomaly import weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The original network's; the `config.json` on the hub says 1e-12.
LAYER_NORM_EPS = 1e-6


@dataclass(frozen=True)
class VitSize:
    """Architecture of a plain vision transformer; `side` and `patch` in px."""

    width: int
    blocks: int
    heads: int
    patch: int
    side: int


VITB8 = VitSize(width=768, blocks=12, heads=12, patch=8, side=224)

# Spelling of each layout -> the common name; applied in order.
SPELLINGS = (
    (r"^(vit|model|backbone)\.", ""),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^(encoder\.layer|layers)\.(\d+)\.", r"blocks.\2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)


def common_name(key: str) -> str:
    """A key of any layout in the common one: timm's, with query, key and value apart."""
    for pattern, replacement in SPELLINGS:
        key = re.sub(pattern, replacement, key)
    return key


def common_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under their common names; `attn.qkv` is cut in three; a pooler, which DINO was not trained with, is left out."""
    common: dict[str, Tensor] = {}
    for key, value in state.items():
        name = common_name(key)
        if name.startswith("pooler."):
            continue
        if ".attn.qkv." in name:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                common[name.replace(".qkv.", f".{part}.")] = third
        else:
            common[name] = value
    return common


def load(path: Path, size: VitSize = VITB8) -> nn.Module:
    """The ViT with the weights of `path`, in eval mode; raises BadData listing keys that are missing, unexpected or misshapen."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=size.width,
        num_hidden_layers=size.blocks,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        image_size=size.side,
        patch_size=size.patch,
        layer_norm_eps=LAYER_NORM_EPS,
        qkv_bias=True,
    )
    with torch.device("meta"):
        network: nn.Module = ViTModel(config, add_pooling_layer=False)
    common = common_layout(weights.read(path))
    own = {common_name(key): key for key in network.state_dict()}
    weights.load_strict(network, {own.get(name, name): value for name, value in common.items()}, path)
    return network.eval()


class DinoTokens:
    """Patch tokens of a DINO ViT: the final LayerNorm applied to the output of block `depth`, class token dropped.

    path: the weight file (`weights.user`); depth: number of blocks run; pruned: smaller depths, taken from the same pass.
    At ViT-B/8 and 224 px each depth gives (28, 28, 768). device: a torch device; without it the GPU where there is one.
    """

    name = "dino_vitb8"

    def __init__(
        self, path: Path, depth: int = 12, pruned: Sequence[int] = (8, 4, 1), size: VitSize = VITB8, device: str | None = None
    ) -> None:
        for d in (depth, *pruned):
            if not 1 <= d <= size.blocks:
                raise UsageError(f"{self.name} has {size.blocks} blocks, there is no depth {d}: see features.depth_2d and features.pruned")
        self.sha256 = weights.sha256(path)
        self.size = size
        self.depths = sorted({depth, *(d for d in pruned if d < depth)})
        self.channels = dict.fromkeys(self.depths, size.width)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network: Any = load(path, size).requires_grad_(False)
        self.embeddings = network.embeddings.to(self.device)
        # The list of blocks is `layers` or `encoder.layer`, depending on the release of transformers; it is the only list.
        blocks = next(module for module in network.modules() if isinstance(module, nn.ModuleList))
        self.blocks = blocks[:depth].to(self.device)
        self.norm = network.layernorm.to(self.device)

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """(side, side, 3) uint8 RGB to {depth: (side/patch, side/patch, width) float32}."""
        side, patch = self.size.side, self.size.patch
        if rgb.shape != (side, side, 3) or rgb.dtype != np.uint8:
            raise UsageError(f"{self.name} takes ({side}, {side}, 3) uint8, got {rgb.shape} {rgb.dtype}: set features.size to {side}")
        image = torch.tensor(rgb, device=self.device).float().div_(255)
        image = (image - image.new_tensor(MEAN)) / image.new_tensor(STD)
        x = self.embeddings(image.permute(2, 0, 1)[None])
        tokens = {}
        for d, block in enumerate(self.blocks, 1):
            x = block(x)
            x = x[0] if isinstance(x, tuple) else x
            if d in self.channels:
                tokens[d] = self.norm(x)[0, 1:].reshape(side // patch, side // patch, -1).cpu().numpy()
        return tokens

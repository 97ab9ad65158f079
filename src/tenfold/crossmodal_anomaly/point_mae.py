"""Point-MAE's encoder (masked autoencoder on point clouds, ECCV 2022) as a frozen 3D token extractor.

The attributes of the modules carry the official checkpoint's own names, so that its state dict loads strictly.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.core.errors import UsageError
from tenfold.crossmodal_anomaly import weights

# depth -> the blocks whose outputs are concatenated (layer pruning of the crossmodal paper)
BLOCKS_READ = {12: (4, 8, 12), 8: (2, 5, 8), 4: (2, 3, 4), 1: (1,)}
# parts of the masked autoencoder that only pretraining uses
PRETRAINING_ONLY = ("MAE_decoder.", "decoder_pos_embed.", "increase_dim.", "mask_token")
# groups a pass through the mini-PointNet: bounds its memory (32 MB at 128 points a group), changes no result
GROUPS_AT_ONCE = 128

Mode = Literal["eval", "official_train"]


@dataclass(frozen=True)
class PointMAESize:
    """Architecture: `drop_path` is the rate of the last block, growing linearly from 0 at the first."""

    width: int
    blocks: int
    heads: int
    drop_path: float


OFFICIAL = PointMAESize(width=384, blocks=12, heads=6, drop_path=0.1)


class GroupEncoder(nn.Module):
    """Mini-PointNet: (groups, points, 3) coordinates relative to the centre to one token a group, (groups, width).

    Exact savings. The first half of the 512 -> 512 layer sees the group's maximum, equal for all its points: it runs once a group.
    The second half follows the 128 -> 256 layer with nothing between, so both are one 128 -> 512 matrix. 295 k multiplications
    a point instead of 492 k.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1))
        self.second_conv = nn.Sequential(nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, width, 1))

    def forward(self, groups: Tensor) -> Tensor:
        widen, mix = self.first_conv[3], self.second_conv[0]
        joined = (mix.weight[:, 256:, 0].double() @ widen.weight[..., 0].double()).to(widen.weight.dtype)
        # Batch statistics need the whole cloud at once.
        at_once = len(groups) if self.training else GROUPS_AT_ONCE
        return torch.cat([self._tokens(part, joined) for part in groups.split(at_once)])

    def _tokens(self, groups: Tensor, joined: Tensor) -> Tensor:
        count, points = groups.shape[:2]
        lift, bn1, _, widen = self.first_conv
        mix, bn2, _, project = self.second_conv
        from_global, from_local = mix.weight[:, :256, 0], mix.weight[:, 256:, 0]

        h = F.relu_(bn1(F.linear(groups.flatten(0, 1), lift.weight[..., 0], lift.bias)))
        maximum = F.linear(h, widen.weight[..., 0]).view(count, points, -1).amax(1) + widen.bias
        per_group = F.linear(maximum, from_global, mix.bias) + F.linear(widen.bias, from_local)
        h = F.linear(h, joined).view(count, points, -1).add_(per_group[:, None])
        h = F.relu_(bn2(h.flatten(0, 1)))
        return F.linear(h, project.weight[..., 0]).view(count, points, -1).amax(1) + project.bias


class Attention(nn.Module):
    """Multi-head self-attention, no bias on queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    """Two linear layers with GELU between, hidden width x4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block. With a generator each branch is skipped at random (DropPath), as in the official training mode."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)
        self.drop_path = drop_path

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        for norm, branch in ((self.norm1, self.attn), (self.norm2, self.mlp)):
            if generator is None or self.drop_path == 0:
                x = x + branch(norm(x))
            elif torch.rand((), generator=generator).item() >= self.drop_path:
                x = x + branch(norm(x)) / (1 - self.drop_path)
        return x


class Blocks(nn.Module):
    """The stack; the position is added before every block."""

    def __init__(self, size: PointMAESize) -> None:
        super().__init__()
        rates = torch.linspace(0, size.drop_path, size.blocks, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(size.width, size.heads, rate) for rate in rates)

    def forward(self, x: Tensor, position: Tensor, generator: torch.Generator | None) -> list[Tensor]:
        """(batch, groups, width) tokens and positions to the outputs of all blocks."""
        outputs = []
        for block in self.blocks:
            x = block(x + position, generator)
            outputs.append(x)
        return outputs


class PointTransformer(nn.Module):
    """Encoder of Point-MAE: groups of points and their centres to one token a group after every block."""

    def __init__(self, size: PointMAESize = OFFICIAL) -> None:
        super().__init__()
        self.encoder = GroupEncoder(size.width)
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, size.width))
        self.blocks = Blocks(size)
        self.norm = nn.LayerNorm(size.width)

    def forward(self, groups: Tensor, centres: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """groups (G, k, 3) relative to their centres, centres (G, 3) to one (G, width) a block, the final LayerNorm applied."""
        tokens, position = self.encoder(groups)[None], self.pos_embed(centres)[None]
        return [self.norm(x)[0] for x in self.blocks(tokens, position, generator)]


def official_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors without the prefixes `module.`, `base_model.` and `MAE_encoder.`, and without the pretraining's own parts."""
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if not key.startswith(PRETRAINING_ONLY):
            plain[key.removeprefix("base_model.").removeprefix("MAE_encoder.")] = value
    return plain


def load(path: Path, size: PointMAESize = OFFICIAL) -> PointTransformer:
    """The encoder with the weights of `path`, in eval mode; raises BadData listing keys that are missing, unexpected or misshapen."""
    with torch.device("meta"):
        network = PointTransformer(size)
    weights.load_strict(network, official_layout(weights.read(path, under=("base_model",))), path)
    return network.eval()


class PointMAETokens:
    """Tokens at the centres: the final LayerNorm applied to the outputs of the blocks that `BLOCKS_READ` names, concatenated.

    path: the weight file (`weights.user`); depth: number of blocks run; pruned: smaller depths, taken from the same pass.
    Depth 12 gives 1152 channels, depth 1 384.
    mode: `eval` (deterministic) or `official_train`, how the authors' code ran it: batch norms use the cloud's own statistics and
    branches of blocks are skipped at random. The draws depend on `seed` and the cloud, never on the order of the parts.
    device: a torch device; without it the GPU where there is one.
    """

    name = "point_mae"

    def __init__(
        self,
        path: Path,
        depth: int = 12,
        pruned: Sequence[int] = (8, 4, 1),
        mode: Mode = "eval",
        seed: int = 0,
        size: PointMAESize = OFFICIAL,
        device: str | None = None,
    ) -> None:
        known = sorted(d for d in BLOCKS_READ if d <= size.blocks)
        for d in (depth, *pruned):
            if d not in known:
                raise UsageError(f"{self.name} has the depths {known}, not {d}: see features.depth_3d and features.pruned")
        self.sha256 = weights.sha256(path)
        self.depths = sorted({depth, *(d for d in pruned if d < depth)})
        self.channels = {d: len(BLOCKS_READ[d]) * size.width for d in self.depths}
        self.mode, self.seed = mode, seed
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network = load(path, size)
        del network.blocks.blocks[depth:]
        self.network = network.requires_grad_(False).to(self.device).train(mode == "official_train")

    @torch.inference_mode()
    def __call__(
        self, points: NDArray[np.float32], centre_index: NDArray[np.integer], neighbour_index: NDArray[np.integer]
    ) -> dict[int, NDArray[np.float32]]:
        """points (N, 3) m, centre_index (G,), neighbour_index (G, k) into the points to {depth: (G, channels[depth]) float32}."""
        centres = points[centre_index]
        groups = points[neighbour_index] - centres[:, None]
        outputs = self.network(self._tensor(groups), self._tensor(centres), self._generator(centres))
        return {d: torch.cat([outputs[block - 1] for block in BLOCKS_READ[d]], 1).cpu().numpy() for d in self.depths}

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)

    def _generator(self, centres: NDArray[np.float32]) -> torch.Generator | None:
        if self.mode == "eval":
            return None
        digest = hashlib.sha256(f"{self.seed}".encode() + np.ascontiguousarray(centres, np.float32).tobytes()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

"""The network (specification section 2.3): component tokens, an LSTM a token along time, attention across tokens within a frame.

All of it is causal: frame by frame with the state carried on, it gives what it gives for the whole sequence.
Own additions, each an option that the paper's recipe leaves off: a canonical frame that moves with the head (`canonical`), standardised
inputs, a linear map from slowly changing inputs to which the network adds (`skip`), low-pass filters on what comes out (`poles`).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import canonical, columns, config, filters, memory, skeleton, torch_window
from tenfold.motion_tracking.torch_lstm import BatchedGRU, BatchedLSTM

LEAK = 0.01
NORM_EPS = 1e-6
ACCELERATION_WIDTH = 16  # of an IMU token, the rest is shared by its rotation and the rotation's change
OUT = columns.POSE_WIDTH + skeleton.BETAS
HANDS_IN_HEAD = ("lhand_in_head", "rhand_in_head")
SHINS, PELVIS = slice(18, 30), slice(30, 36)

# x (B, T, 135), h, c to pose, betas, h, c
Body = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


def _owner() -> list[int]:
    """The sensor that each column comes from; what is seen from the head belongs to the hand."""
    found = [0] * columns.WIDTH
    for name, ranges in columns.TOKENS.items():
        for start, end in ranges:
            found[start:end] = [columns.SENSORS.index(name.removesuffix("_in_head"))] * (end - start)
    return found


OWNER = _owner()


class State(NamedTuple):
    """What is carried from frame to frame: h, c (blocks, tokens, B, ...), and the filters' memory (B, M). All zero: a fresh start.

    Behind B an LSTM has (hidden,) in both, a window of frames what `torch_window.carried` says.
    """

    h: Tensor
    c: Tensor
    memory: Tensor


class Embedding(nn.Module):
    """135 columns to tokens (..., K, H): a linear map for each column group, LeakyReLU, one LayerNorm for all tokens.

    The small matrices are kept one after the other in `weight` and laid into one sparse (K H, 135) matrix for the product.
    """

    def __init__(self, groups: list[list[tuple[tuple[int, int], int]]], hidden: int) -> None:
        """groups: for each token its (column range, output width) pairs."""
        super().__init__()
        self.groups, self.hidden = groups, hidden
        places, weights, biases = [], [], []
        self.slices: list[list[tuple[int, int, int, int]]] = []  # (offset in weight, outputs, inputs, offset in bias) by token and group
        at = row = 0
        for token in groups:
            mine = []
            for (start, end), width in token:
                layer = nn.Linear(end - start, width)
                weights.append(layer.weight.detach().flatten())
                biases.append(layer.bias.detach())
                rows = torch.arange(row, row + width)[:, None]
                places.append((rows * columns.WIDTH + torch.arange(start, end)[None]).flatten())
                mine.append((at, width, end - start, row))
                at, row = at + width * (end - start), row + width
            self.slices.append(mine)
        self.weight = nn.Parameter(torch.cat(weights))
        self.bias = nn.Parameter(torch.cat(biases))
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPS)
        self.register_buffer("places", torch.cat(places), persistent=False)

    def matrix(self) -> Tensor:
        """(K H, 135)."""
        places = self.get_buffer("places")
        dense = self.weight.new_zeros(len(self.groups) * self.hidden * columns.WIDTH)
        return dense.index_copy(0, places, self.weight).view(-1, columns.WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.leaky_relu(functional.linear(x, self.matrix(), self.bias), LEAK)
        normed: Tensor = self.norm(y.unflatten(-1, (-1, self.hidden)))
        return normed


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of a frame; parameters named as in `nn.MultiheadAttention`."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * hidden, hidden)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.out_proj = nn.Linear(hidden, hidden)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, K, H) to the same."""
        rows, tokens, hidden = x.shape
        packed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = packed.view(rows, tokens, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax((q * (hidden // self.heads) ** -0.5) @ k.transpose(-1, -2), -1)
        weights = functional.dropout(weights, self.dropout, self.training)
        mixed: Tensor = self.out_proj((weights @ v).transpose(1, 2).reshape(rows, tokens, hidden))
        return mixed


class Layer(nn.Module):
    """A post-norm Transformer encoder layer with ReLU; parameters named as in `nn.TransformerEncoderLayer`."""

    def __init__(self, hidden: int, heads: int, ff: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(hidden, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(hidden, ff), nn.Linear(ff, hidden)
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self._drop(self.self_attn(x)))
        y = self.linear2(self._drop(functional.relu(self.linear1(x))))
        found: Tensor = self.norm2(x + self._drop(y))
        return found

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


class Network(nn.Module):
    """Sensors to pose and shape. Buffers `mean`, `std` (135,) are the standardisation, 0 and 1 without it."""

    def __init__(self, options: config.Network) -> None:
        super().__init__()
        self.options = options
        self.embedding = Embedding(_groups(options), options.hidden)
        self.tokens = len(self.embedding.groups)
        self.temporal = nn.ModuleList([_temporal(options, self.tokens) for _ in range(options.blocks)])
        self.spatial = nn.ModuleList([_spatial(options) for _ in range(options.blocks)])
        wide = self.tokens * options.hidden
        self.pose_head = _head(wide, options.head_hidden, columns.POSE_WIDTH)
        self.shape_head = _head(wide, options.head_hidden, skeleton.BETAS) if options.shape == "estimate" else None
        self.skip: nn.Linear | None = None
        if options.skip == "linear":
            # side by side: for the headset alone, and what shin IMUs and the pelvis IMU add
            self.skip = nn.Linear(columns.WIDTH * len(options.skip_alphas), 3 * OUT)
            # training starts from the linear map, which is fitted before
            for layer in (self.skip, self.pose_head[2], *([self.shape_head[2]] if self.shape_head else [])):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        alpha = math.log(options.pole_alpha / (1 - options.pole_alpha)) if options.poles else 0.0
        self.poles = nn.Parameter(torch.full((options.poles, columns.POSE_WIDTH), alpha)) if options.poles else None
        self.register_buffer("mean", torch.zeros(columns.WIDTH))
        self.register_buffer("std", torch.ones(columns.WIDTH))
        self.places = memory.layout(options)

    def start(self, batch: int) -> State:
        """The state before the first frame."""
        like = self.get_buffer("mean")
        h, c = (like.new_zeros(self.options.blocks, self.tokens, batch, *sides) for sides in carried(self.options))
        return State(h, c, like.new_zeros(batch, memory.width(self.places)))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, Tensor, State]:
        """x (B, T, 135), masked, to local rotations in 6D (B, T, 132), betas (B, T, 16) and the state after the last frame."""
        return self.through(x, self.start(len(x)) if state is None else state, self.body)

    def through(self, x: Tensor, state: State, body: Body) -> tuple[Tensor, Tensor, State]:
        """`forward` with `body` in the place of tokens, blocks and heads."""
        kept = memory.Memory(state.memory, self.places)
        x, towards = self.inputs(x, kept)
        pose, betas, h, c = body(x, state.h, state.c)
        if self.skip is not None:
            linear = self._linear(x, kept)
            pose, betas = pose + linear[..., : columns.POSE_WIDTH], betas + linear[..., columns.POSE_WIDTH :]
        if towards is not None:
            pose = torch.cat([canonical.back(pose[..., :6], towards), pose[..., 6:]], -1)
        pose, betas = self._smoothed(pose, betas, kept)
        return pose, betas, State(h, c, kept.made())

    def inputs(self, x: Tensor, kept: memory.Memory) -> tuple[Tensor, Tensor | None]:
        """x (B, T, 135) as tokens and linear map read it, and the canonical frame's heading (B, T, 2) if there is one.

        Columns of a sensor that is not worn stay 0.
        """
        towards = None
        worn = (x[..., : columns.ROTATION[1]].unflatten(-1, (-1, 6)) != 0).any(-1)[..., OWNER]
        if self.options.canonical == "yaw_xy":
            left = x[..., slice(*canonical.HEAD_LEFT)]
            slow, last = filters.smooth(left, left.new_tensor([self.options.yaw_alpha]), kept.before("yaw", left[:, 0]))
            kept.keep("yaw", last)
            towards = canonical.direction(slow)
            x = canonical.seen_from(x, towards)
        if self.options.standardise:
            x = (x - self.get_buffer("mean")) / self.get_buffer("std")
        return torch.where(worn, x, 0.0), towards

    def linear_inputs(self, x: Tensor, kept: memory.Memory) -> Tensor:
        """What the linear map reads: the inputs (B, T, 135) low-passed at each scale, (B, T, scales 135)."""
        alphas = x.new_tensor(self.options.skip_alphas)
        before = kept.before("skip", x[:, 0].repeat(1, len(alphas))).unflatten(-1, (-1, columns.WIDTH))
        slow, last = filters.smooth_scales(x, alphas, before)
        kept.keep("skip", last.flatten(1))
        return slow

    def body(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens, blocks and heads: pose (B, T, 132), betas (B, T, 16) and the new h, c."""
        batch, frames = x.shape[:2]
        y = self.embedding(x)  # (B, T, K, H)
        hs, cs = [], []
        for number, (temporal, spatial) in enumerate(zip(self.temporal, self.spatial, strict=True)):
            if self.options.temporal != "none":
                z, last_h, last_c = temporal(y.permute(2, 1, 0, 3), h[number], c[number])
                y = z.permute(2, 1, 0, 3)
                hs.append(last_h)
                cs.append(last_c)
            y = spatial(y.reshape(batch * frames, self.tokens, -1)).view(batch, frames, self.tokens, -1)
        pose, betas = self.heads(y.flatten(-2))
        return pose, betas, torch.stack(hs) if hs else h, torch.stack(cs) if cs else c

    def heads(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Pose (..., 132) and betas (..., 16) from all tokens (..., K H)."""
        joined = functional.dropout(joined, self.options.head_dropout, self.training)
        betas = joined.new_zeros(*joined.shape[:-1], skeleton.BETAS) if self.shape_head is None else self.shape_head(joined)
        return self.pose_head(joined), betas

    def _linear(self, x: Tensor, kept: memory.Memory) -> Tensor:
        assert self.skip is not None
        made = self.skip(self.linear_inputs(x, kept))
        shins = (x[..., SHINS] != 0).any(-1, keepdim=True)
        pelvis = (x[..., PELVIS] != 0).any(-1, keepdim=True)
        return made[..., :OUT] + torch.where(shins, made[..., OUT : 2 * OUT], 0.0) + torch.where(pelvis, made[..., 2 * OUT :], 0.0)

    def _smoothed(self, pose: Tensor, betas: Tensor, kept: memory.Memory) -> tuple[Tensor, Tensor]:
        if self.poles is not None:
            for pole, alpha in enumerate(torch.sigmoid(self.poles)):
                pose, last = filters.smooth(pose, alpha, kept.before(f"pole{pole}", pose[:, 0]))
                kept.keep(f"pole{pole}", last)
        if self.options.shape == "zero":
            betas = torch.zeros_like(betas)
        if self.options.shape_alpha < 1:
            betas, last = filters.smooth(betas, betas.new_tensor([self.options.shape_alpha]), kept.before("shape", betas[:, 0]))
            kept.keep("shape", last)
        return pose, betas


def _groups(options: config.Network) -> list[list[tuple[tuple[int, int], int]]]:
    hidden = options.hidden
    if options.tokens == "one":
        return [[((0, columns.WIDTH), hidden)]]
    found = []
    for name, ranges in columns.TOKENS.items():
        if name in HANDS_IN_HEAD and not options.hand_in_head:
            continue
        half = (hidden - ACCELERATION_WIDTH) // 2
        widths = [hidden // 4] * 4 if len(ranges) == 4 else [half, half, ACCELERATION_WIDTH]
        if sum(widths) != hidden or half < 1:
            raise UsageError(f"model.hidden is {hidden}: with component tokens it must be a multiple of 4 above {ACCELERATION_WIDTH}")
        found.append(list(zip(ranges, widths, strict=True)))
    return found


def carried(options: config.Network) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sides of h and c behind (blocks, tokens, B)."""
    if options.temporal == "transformer_window":
        return torch_window.carried(options.hidden, options.temporal_window)
    return (options.hidden,), (options.hidden,)


def _temporal(options: config.Network, tokens: int) -> nn.Module:
    if options.temporal == "lstm":
        return BatchedLSTM(tokens, options.hidden, options.weight_norm)
    if options.temporal == "transformer_window":
        if options.temporal_window < 2:
            raise UsageError(f"model.temporal_window is {options.temporal_window}: it must be 2 frames or more")
        return torch_window.BatchedWindow(tokens, options.hidden, _heads(options), options.temporal_window, options.dropout)
    return BatchedGRU(tokens, options.hidden) if options.temporal == "gru" else nn.Identity()


def _spatial(options: config.Network) -> nn.Module:
    if options.spatial == "none":
        return nn.Identity()
    return nn.Sequential(*(Layer(options.hidden, _heads(options), options.ff, options.dropout) for _ in range(options.layers)))


def _heads(options: config.Network) -> int:
    if options.hidden % options.heads:
        raise UsageError(f"model.heads is {options.heads}: it must divide model.hidden, {options.hidden}")
    return options.heads


def _head(wide: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, hidden), nn.LeakyReLU(LEAK), nn.Linear(hidden, out))


def parameters(options: config.Network) -> int:
    """How many numbers a network of these options learns."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Network(options).parameters())

"""Transformer layers that look back over a window of frames, several of one size side by side: the rival of an LSTM along time (section 6, B6).

Where a frame stands is told by how long ago it was: a learned number a lag and head, added to the scores. So the answer does not depend on where
a stream began, and a frame at a time with what is carried on gives what the whole sequence gives.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 64  # frames whose scores are held at once
WIDER = 2  # feed-forward to hidden: with attention's four matrices as many weights as an LSTM has


class BatchedWindow(nn.Module):
    """`tokens` post-norm Transformer layers, hidden to hidden, in which a frame attends to itself and the `window` - 1 frames before it.

    The norms are shared by all tokens.
    """

    def __init__(self, tokens: int, hidden: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.before, self.dropout = heads, window - 1, dropout
        sizes = {"qkv": (3 * hidden, hidden), "mix": (hidden, hidden), "up": (WIDER * hidden, hidden), "down": (hidden, WIDER * hidden)}
        for name, size in sizes.items():
            matrices = [nn.init.xavier_uniform_(torch.empty(size)) for _ in range(tokens)]
            self.register_parameter(name, nn.Parameter(torch.stack(matrices)))
            self.register_parameter(f"bias_{name}", nn.Parameter(torch.zeros(tokens, size[0])))
        # from the start each head has a reach of its own, as in ALiBi (Press et al. 2022)
        slopes = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)
        self.lag = nn.Parameter((-slopes[:, None] * torch.arange(window)).repeat(tokens, 1, 1))
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (tokens, T, B, hidden) to the same, and what is carried on: h, c as `carried` says, oldest frame first."""
        # in half precision the gradient turns away from the true one (measured: cosine 0.93 against 0.97)
        with torch.autocast(x.device.type, enabled=False):
            return self._whole(*(each.float() if each.dtype == torch.bfloat16 else each for each in (x, h, c)))

    def _whole(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = x.shape[-1]
        mixed = []
        # (tokens, B, T, 3 hidden); in pieces, so that memory grows with T and not with its square
        for piece in self._linear("qkv", x).transpose(1, 2).split(CHUNK, 2):
            q, new = piece.split([hidden, 2 * hidden], -1)
            h, c = torch.cat([h, new], 2), torch.cat([c, c.new_ones(new.shape[:-1])], 2)
            mixed.append(self._attend(q, h, c))
            h, c = h[:, :, -self.before :], c[:, :, -self.before :]
        x = self.norm1(x + self._drop(self._linear("mix", torch.cat(mixed, 2).transpose(1, 2))))
        y = self._linear("down", self._drop(functional.relu(self._linear("up", x))))
        return self.norm2(x + self._drop(y)), h, c

    def _attend(self, q: Tensor, h: Tensor, c: Tensor) -> Tensor:
        """q (tokens, B, T, hidden) against the keys and values of `before` + T frames to (tokens, B, T, hidden)."""
        frames = q.shape[2]
        q = q.unflatten(-1, (self.heads, -1)).transpose(2, 3)
        k, v = h.unflatten(-1, (2, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + self._band(frames)[:, None]
        weights = torch.softmax(scores.masked_fill(c[:, :, None, None] == 0, -math.inf), -1)
        return (self._drop(weights) @ v).transpose(2, 3).flatten(3)

    def _band(self, frames: int) -> Tensor:
        """What is added to the scores (tokens, heads, frames, before + frames): by lag within the window, minus infinity outside of it."""
        row = functional.pad(self.lag.flip(-1), (0, frames), value=-math.inf)
        # the same row again and again, cut one shorter than it is: each line begins one further to the right
        short = row.shape[-1] - 1
        return row[..., None, :].expand(-1, -1, frames, -1).flatten(-2)[..., : frames * short].unflatten(-1, (frames, short))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        """(tokens, T, B, in) to (tokens, T, B, out)."""
        made = torch.baddbmm(self.get_parameter(f"bias_{name}")[:, None], x.flatten(1, 2), self.get_parameter(name).transpose(1, 2))
        return made.unflatten(1, x.shape[1:3])

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def carried(hidden: int, window: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a token carries: keys and values of the frames before (window - 1, 2 hidden), and 1 for each that was seen (window - 1,)."""
    return (window - 1, 2 * hidden), (window - 1,)

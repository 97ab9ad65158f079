"""Several one-layer LSTMs of one size side by side, their weights in one array each.

Whole sequences go through PyTorch's fused kernel token by token, which is faster than batched products frame by frame (measured, with a
gradient written by hand); a single frame is one batched product over the tokens (`step`).
"""

import torch
from torch import Tensor, nn


class BatchedLSTM(nn.Module):
    """`tokens` LSTMs, each hidden to hidden. With `weight_norm` a matrix is g v / |v| by row, as in the official code.

    Gates stand in PyTorch's order: input, forget, cell, output.
    """

    def __init__(self, tokens: int, hidden: int, weight_norm: bool) -> None:
        super().__init__()
        self.tokens, self.hidden, self.weight_norm = tokens, hidden, weight_norm
        wide = 4 * hidden
        for name in ("ih", "hh"):
            matrix = torch.stack([_orthogonal(wide, hidden) for _ in range(tokens)])
            if weight_norm:
                self.register_parameter(f"{name}_g", nn.Parameter(torch.stack([_orthogonal(wide, 1) for _ in range(tokens)])))
                self.register_parameter(f"{name}_v", nn.Parameter(matrix))
            else:
                self.register_parameter(f"{name}", nn.Parameter(matrix))
            bias = (2 * torch.rand(tokens, wide) - 1) * hidden**-0.5
            if not weight_norm and name == "ih":
                bias[:, hidden : 2 * hidden] += 1  # remember at first
            self.register_parameter(f"bias_{name}", nn.Parameter(bias))

    def weight(self, name: str) -> Tensor:
        """Matrix `ih` or `hh` (tokens, 4 hidden, hidden), weight norm folded in."""
        if not self.weight_norm:
            return self.get_parameter(name)
        v = self.get_parameter(f"{name}_v")
        return self.get_parameter(f"{name}_g") * v / v.norm(dim=-1, keepdim=True)

    def bias(self) -> Tensor:
        """Sum of both biases (tokens, 4 hidden)."""
        return self.get_parameter("bias_ih") + self.get_parameter("bias_hh")

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (tokens, T, B, hidden), h and c (tokens, B, hidden) to the hidden values (tokens, T, B, hidden), and h, c after the last frame."""
        # errors of half precision would add up along time
        with torch.autocast(x.device.type, enabled=False):
            x, h, c = (each.float() if each.dtype == torch.bfloat16 else each for each in (x, h, c))
            matrices = (self.weight("ih"), self.weight("hh"), self.get_parameter("bias_ih"), self.get_parameter("bias_hh"))
            weights = zip(*(part.unbind(0) for part in matrices), strict=True)
            found = [
                torch.lstm(x[token], (h[token : token + 1], c[token : token + 1]), some, True, 1, 0.0, False, False, False)
                for token, some in enumerate(weights)
            ]
        outs, hs, cs = zip(*found, strict=True)
        return torch.stack(outs), torch.cat(hs), torch.cat(cs)


class BatchedGRU(nn.Module):
    """The same with GRUs (no cell state): gates reset, update, new, as in PyTorch."""

    def __init__(self, tokens: int, hidden: int) -> None:
        super().__init__()
        for name in ("ih", "hh"):
            self.register_parameter(name, nn.Parameter(torch.stack([_orthogonal(3 * hidden, hidden) for _ in range(tokens)])))
            self.register_parameter(f"bias_{name}", nn.Parameter((2 * torch.rand(tokens, 3 * hidden) - 1) * hidden**-0.5))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `BatchedLSTM.forward`; `c` is handed through."""
        given = torch.baddbmm(self.get_parameter("bias_ih")[:, None], x.flatten(1, 2), self.get_parameter("ih").transpose(1, 2))
        given = given.unflatten(1, x.shape[1:3])
        matrix, bias = self.get_parameter("hh").transpose(1, 2), self.get_parameter("bias_hh")[:, None]
        outs = []
        for t in range(x.shape[1]):
            reset, update, new = given[:, t].chunk(3, -1)
            h_reset, h_update, h_new = torch.baddbmm(bias, h, matrix).chunk(3, -1)
            update = torch.sigmoid(update + h_update)
            new = torch.tanh(new + torch.sigmoid(reset + h_reset) * h_new)
            h = new + update * (h - new)
            outs.append(h)
        return torch.stack(outs, 1), h, c


def cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One frame: gates (..., 4 hidden) before their nonlinearities and c (..., hidden) to h and c."""
    i, f, g, o = gates.chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _orthogonal(rows: int, columns: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns))

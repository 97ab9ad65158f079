"""The network one frame at a time, with all that can be computed beforehand done: weight norm folded, both LSTM products in one."""

import torch
from torch import Tensor, nn

from tenfold.motion_tracking.network import LEAK, Network, State
from tenfold.motion_tracking.torch_lstm import BatchedLSTM, cell


class Step(nn.Module):
    """A trained network as a function of one frame and the state. Shares no state between callers: it is handed in and out.

    Equals `Network.forward` on the frames one after the other, to rounding.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        with torch.no_grad():
            # contiguous (135, K H): products with a single row read the weights in their order
            self.register_buffer("embedding", network.embedding.matrix().T.contiguous())
            for number, temporal in enumerate(network.temporal):
                if isinstance(temporal, BatchedLSTM):
                    both = torch.cat([temporal.weight("ih"), temporal.weight("hh")], -1)
                    self.register_buffer(f"gates{number}", both.transpose(1, 2).contiguous())
                    self.register_buffer(f"bias{number}", temporal.bias()[:, None].contiguous())
        self.eval().requires_grad_(False)

    def start(self, batch: int = 1) -> State:
        """The state before the first frame: zeros."""
        return self.network.start(batch)

    def forward(self, x: Tensor, h: Tensor, c: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x (B, 135), masked, and the state to local rotations in 6D (B, 132), betas (B, 16) and the new state."""
        pose, betas, state = self.network.through(x[:, None], State(h, c, memory), self._body)
        return pose[:, 0], betas[:, 0], state.h, state.c, state.memory

    def _body(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        network = self.network
        embedding = network.embedding
        y = nn.functional.leaky_relu(torch.addmm(embedding.bias, x[:, 0], self.get_buffer("embedding")), LEAK)
        y = embedding.norm(y.unflatten(-1, (network.tokens, -1)))  # (B, K, H)
        hs, cs = [], []
        for number, (temporal, spatial) in enumerate(zip(network.temporal, network.spatial, strict=True)):
            if isinstance(temporal, BatchedLSTM):
                both = torch.cat([y.transpose(0, 1), h[number]], -1)
                one, other = cell(torch.baddbmm(self.get_buffer(f"bias{number}"), both, self.get_buffer(f"gates{number}")), c[number])
                y = one.transpose(0, 1)
                hs.append(one)
                cs.append(other)
            elif not isinstance(temporal, nn.Identity):
                out, one, other = temporal(y.transpose(0, 1)[:, None], h[number], c[number])
                y = out[:, 0].transpose(0, 1)
                hs.append(one)
                cs.append(other)
            y = spatial(y)
        pose, betas = network.heads(y.flatten(-2)[:, None])
        return pose, betas, torch.stack(hs) if hs else h, torch.stack(cs) if cs else c

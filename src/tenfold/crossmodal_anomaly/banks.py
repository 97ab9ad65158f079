"""Memory banks of good patches: building, exact nearest-neighbour search, PatchCore's re-weighting."""

import torch
from torch import Tensor

CHUNK_BYTES = 64 << 20


def nearest(patches: Tensor, bank: Tensor, squares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Exact distance `(pixels,)` to the nearest row of the bank, and that row's index.

    patches `(pixels, channels)`, bank `(size, channels)`, float32; `squares` are the bank's squared row lengths, if known. One matrix
    product and a minimum a chunk; the winner's distance is then taken directly, free of the cancellation in `|x|^2 - 2 x.c + |c|^2`.
    """
    squares = bank.square().sum(1) if squares is None else squares
    rows = max(1, CHUNK_BYTES // (4 * len(bank)))
    winners = [torch.addmm(squares, part, bank.T, alpha=-2).argmin(1) for part in patches.split(rows)]
    winner = torch.cat(winners)
    return torch.linalg.vector_norm(patches - bank[winner], dim=1), winner


def reweight(patches: Tensor, bank: Tensor, distance: Tensor, winner: Tensor, neighbours: int) -> float:
    """PatchCore's factor on the image score, in [0, 1] (Roth et al. 2022, equation 7).

    The farthest patch's distance counts less when its nearest row m* lies among rows that are as near to the patch:
    `1 - exp(d(m*)) / sum over m* and its neighbours of exp(d)`. `neighbours` counts m* as the first of them; 0 and 1 leave the score alone.
    """
    if neighbours < 2:
        return 1.0
    top = int(distance.argmax())
    around = torch.linalg.vector_norm(bank - bank[winner[top]], dim=1).topk(min(neighbours, len(bank)), largest=False).indices
    logits = torch.linalg.vector_norm(bank[around] - patches[top], dim=1)
    return float(1 - (distance[top] - logits.logsumexp(0)).exp())

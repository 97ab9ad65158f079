"""Linear crossmodal maps: what remains of the method when its two networks are ridge regressions."""

import torch
from torch import Tensor

from tenfold.crossmodal_anomaly.gaussian import Moments
from tenfold.crossmodal_anomaly.model import chord


def fit(moments: Moments, inputs: slice, targets: slice, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights `(channels_in, channels_out)` and bias `(channels_out,)`, float32, of least squares with `penalty * |weights|^2`.

    `inputs` and `targets` are channel ranges of the moments; the penalty stands against the sum over pixels and spares the bias.
    """
    gram = moments.count * moments.covariance[inputs, inputs]
    cross = moments.count * moments.covariance[inputs, targets]
    weights = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), cross)
    return weights.float(), (moments.mean[targets] - moments.mean[inputs] @ weights).float()


def distance(f2: Tensor, f3: Tensor, forth: tuple[Tensor, Tensor], back: tuple[Tensor, Tensor], offset: Tensor | float = 0.0) -> Tensor:
    """Product `(pixels,)` of both directions' distances, as for the networks; `forth` maps colour to geometry."""
    guess3 = torch.addmm(forth[1], f2, forth[0])
    guess2 = torch.addmm(back[1], f3, back[0])
    return chord(guess2, f2, offset) * chord(guess3, f3, offset)

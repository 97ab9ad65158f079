"""One Gaussian of the good pixels' joint features: streaming moments, shrinkage, Mahalanobis distance (PaDiM without positions)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Number of pixels, mean `(channels,)` and covariance `(channels, channels)` (divided by the number), float64."""

    count: int
    mean: Tensor
    covariance: Tensor


class Accumulator:
    """Sums over patches seen part by part; float64, so that their order matters to the last digits only."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.outer = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, patches: Tensor) -> None:
        """Add `(pixels, channels)`."""
        wide = patches.double()
        self.count += len(wide)
        self.total += wide.sum(0)
        self.outer.addmm_(wide.T, wide)

    def moments(self) -> Moments:
        """What was seen so far."""
        mean = self.total / self.count
        return Moments(self.count, mean, self.outer / self.count - torch.outer(mean, mean))


def shrinkage(moments: Moments) -> float:
    """Weight of the scaled identity by the oracle approximating shrinkage estimator (Chen et al. 2010), in (0, 1]; no number to choose."""
    covariance = moments.covariance
    scale = float(covariance.diagonal().mean())
    power = float(covariance.square().mean())
    below = (moments.count + 1) * (power - scale**2 / len(covariance))
    return min((power + scale**2) / below, 1.0) if below > 0 else 1.0


def whitener(moments: Moments) -> Tensor:
    """Lower triangular `(channels, channels)` W, float32, with `|W (x - mean)|` the Mahalanobis distance under the shrunk covariance."""
    share = shrinkage(moments)
    eye = torch.eye(len(moments.mean), dtype=torch.float64)
    shrunk = (1 - share) * moments.covariance + share * moments.covariance.diagonal().mean() * eye
    return torch.linalg.solve_triangular(torch.linalg.cholesky(shrunk), eye, upper=False).float()


def mahalanobis(patches: Tensor, mean: Tensor, white: Tensor) -> Tensor:
    """Distance `(pixels,)` of `(pixels, channels)` from the Gaussian."""
    return torch.linalg.vector_norm((patches - mean) @ white.T, dim=1)

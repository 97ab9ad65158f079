"""The trained part: two pixel-wise networks, colour to geometry and geometry to colour (CFM, section 3).

Guess and observation are compared by angle. Features that were centred channel by channel have no common direction left: near the mean,
where most good pixels are, their angle is noise. `offset` gives every vector, guessed or observed, one more component of a fixed length,
`offset * sqrt(channels)`, before angles are taken. The mappers themselves do not see it. 0 is the paper's angle.
"""

from typing import Literal

import torch
from torch import Tensor, nn

EPS = 1e-12
LAYERS = {"standard": 3, "deep": 7}


def mapper(channels_in: int, channels_out: int, kind: Literal["standard", "deep"] = "standard") -> nn.Sequential:
    """`channels_in -> hidden -> ... -> channels_out`, GELU between, hidden = mean of in and out.

    `standard` has three linear layers, as the paper's, `deep` seven. Maps `(pixels, channels_in)` to `(pixels, channels_out)`.
    """
    hidden = (channels_in + channels_out) // 2
    widths = [channels_in] + [hidden] * (LAYERS[kind] - 1) + [channels_out]
    layers: list[nn.Module] = []
    for wide_in, wide_out in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(wide_in, wide_out), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class CrossModal(nn.Module):
    """The pair of mappers, and the channel norms and the offset they were trained with.

    `f2` is `(pixels, channels2d)`, `f3` `(pixels, channels3d)`, row for row the same pixel. With `norm: none` the norms are 0 and 1.
    """

    mean2d: Tensor
    std2d: Tensor
    mean3d: Tensor
    std3d: Tensor
    offset: Tensor

    def __init__(self, channels2d: int, channels3d: int, kind: Literal["standard", "deep"] = "standard") -> None:
        super().__init__()
        self.kind = kind
        self.m23 = mapper(channels2d, channels3d, kind)
        self.m32 = mapper(channels3d, channels2d, kind)
        self.register_buffer("mean2d", torch.zeros(channels2d))
        self.register_buffer("std2d", torch.ones(channels2d))
        self.register_buffer("mean3d", torch.zeros(channels3d))
        self.register_buffer("std3d", torch.ones(channels3d))
        self.register_buffer("offset", torch.zeros(()))

    @property
    def channels(self) -> tuple[int, int]:
        """Widths of the colour and of the geometry features."""
        return self.mean2d.numel(), self.mean3d.numel()

    def set_norm(self, mean2d: Tensor, std2d: Tensor, mean3d: Tensor, std3d: Tensor, offset: float = 0.0) -> None:
        """Fix the channel norms, shapes `(channels2d,)` twice, `(channels3d,)` twice, and the offset (see the module's text)."""
        for name, value in (("mean2d", mean2d), ("std2d", std2d), ("mean3d", mean3d), ("std3d", std3d)):
            getattr(self, name).copy_(value)
        self.offset.fill_(offset)

    def normalise(self, f2: Tensor, f3: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features to the space in which the mappers work and distances are taken."""
        return (f2 - self.mean2d) / self.std2d, (f3 - self.mean3d) / self.std3d

    def cosines(self, z2: Tensor, z3: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines `(pixels,)` of guess and observation, colour to geometry and back, for normalised features."""
        return cosine(self.m23(z2), z3, self.offset), cosine(self.m32(z3), z2, self.offset)

    def loss(self, f2: Tensor, f3: Tensor) -> dict[str, Tensor]:
        """`loss`: `mean(1 - cos)` over the given pixels, both directions added; and the mean cosines `cosine_2to3`, `cosine_3to2`."""
        return losses(*self.cosines(*self.normalise(f2, f3)))

    def distances(self, f2: Tensor, f3: Tensor) -> tuple[Tensor, Tensor]:
        """`d2 = |norm(M32 f3) - norm(f2)|` and `d3 = |norm(M23 f2) - norm(f3)|`, `(pixels,)` each, in [0, 2] (CFM, inference)."""
        z2, z3 = self.normalise(f2, f3)
        return chord(self.m32(z3), z2, self.offset), chord(self.m23(z2), z3, self.offset)

    def parameter_bytes(self) -> int:
        """Size of both mappers in bytes."""
        return sum(p.numel() * p.element_size() for p in self.parameters())


def losses(cos23: Tensor, cos32: Tensor) -> dict[str, Tensor]:
    """Training terms from the cosines of both directions."""
    forth, back = cos23.mean(), cos32.mean()
    return {"loss": (1 - forth) + (1 - back), "cosine_2to3": forth, "cosine_3to2": back}


def cosine(guess: Tensor, target: Tensor, offset: Tensor | float = 0.0) -> Tensor:
    """Row-wise cosine after the offset was appended to both sides. The target carries no gradient."""
    target = target.detach()
    common = offset**2 * target.shape[1]
    lengths = (guess.square().sum(1) + common) * (target.square().sum(1) + common)
    return ((guess * target).sum(1) + common) * lengths.clamp_min(EPS**2).rsqrt()


def chord(guess: Tensor, target: Tensor, offset: Tensor | float = 0.0) -> Tensor:
    """Row-wise distance of the same two directions on the unit sphere, `sqrt(2 (1 - cos))`, without its cancellation near 0."""
    common = offset**2 * target.shape[1]
    one, two = ((v.square().sum(1, keepdim=True) + common).clamp_min(EPS**2).rsqrt() for v in (guess, target))
    squared = (guess * one - target * two).square().sum(1) + common * (one - two)[:, 0].square()
    return squared.sqrt()

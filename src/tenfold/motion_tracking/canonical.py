"""A frame of reference that moves with the wearer: turned about the vertical with the head, its origin on the floor below the head.

What the network then sees does not depend on where the wearer stands or faces. It is causal: the direction is that of the head's left axis,
low-passed if asked for. The left axis keeps its heading when the head nods, where the line of sight would lose it.
"""

import torch
from torch import Tensor

from tenfold.motion_tracking import columns

VECTORS = (*range(0, 36, 3), *range(72, 90, 3), *range(126, 135, 3))
"""First columns of the 3-vectors that are given in the world."""
POINTS = (72, 75, 78)
"""First columns of those that are places."""
HEAD_LEFT = (0, 2)
"""Horizontal part of the head's left axis."""


def _tables() -> tuple[list[int], list[float], list[float], list[float], list[float]]:
    partner, sign, flat = list(range(columns.WIDTH)), [0.0] * columns.WIDTH, [0.0] * columns.WIDTH
    east, north = [0.0] * columns.WIDTH, [0.0] * columns.WIDTH
    for x in VECTORS:
        partner[x], partner[x + 1] = x + 1, x
        sign[x], sign[x + 1] = 1.0, -1.0
        flat[x] = flat[x + 1] = 1.0
    for x in POINTS:
        east[x], north[x + 1] = 1.0, 1.0
    return partner, sign, flat, east, north


PARTNER, SIGN, FLAT, EAST, NORTH = _tables()


def direction(left: Tensor) -> Tensor:
    """Unit vectors (..., 2) along `left` (..., 2)."""
    return left * torch.rsqrt((left * left).sum(-1, keepdim=True) + 1e-12)


def seen_from(x: Tensor, towards: Tensor) -> Tensor:
    """Rows (..., 135) in the frame whose x axis has the heading `towards` (..., 2) and whose origin is below the head."""
    east, north = x.new_tensor(EAST), x.new_tensor(NORTH)
    x = x - x[..., 72:73] * east - x[..., 73:74] * north
    flat, sign = x.new_tensor(FLAT), x.new_tensor(SIGN)
    cos, sin = towards[..., :1], towards[..., 1:]
    return x * (1 + flat * (cos - 1)) + x[..., PARTNER] * (sin * sign)


def back(six: Tensor, towards: Tensor) -> Tensor:
    """A rotation in 6D (..., 6), given in that frame, in the world."""
    cos, sin = towards[..., :1], towards[..., 1:]
    ax, ay, az, bx, by, bz = six.split(1, -1)
    return torch.cat([cos * ax - sin * ay, sin * ax + cos * ay, az, cos * bx - sin * by, sin * bx + cos * by, bz], -1)

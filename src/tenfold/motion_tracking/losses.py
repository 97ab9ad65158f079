"""The six losses of the paper (specification section 2.4) and three of our own, each a mean over elements.

Own, 0 in the paper's recipe: `velocity`, L1 of first differences of positions; `jerk`, L1 of third differences; `bone`, L1 of the rest
positions against the wearer's own, which gives the shape a truth to learn from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tenfold.motion_tracking import skeleton
from tenfold.motion_tracking import torch_kinematics as kinematics
from tenfold.motion_tracking.torch_rotations import EPS

PAPER = {"root": 1.0, "local": 5.0, "global": 1.0, "position": 1.0, "acceleration": 0.5, "shape": 0.1}
NAMES = (*PAPER, "velocity", "jerk", "bone")


@dataclass(frozen=True)
class Truth:
    """What a batch should come to: local and world rotations in 6D (B, T, 132), positions (B, T, 22, 3) in metres, rest joints (B, 22, 3)."""

    pose: Tensor
    world: Tensor
    positions: Tensor
    joints: Tensor


@dataclass(frozen=True)
class Posed:
    """A prediction as a body, frames last: world rotations in 6D (22, 2, 3, N), head-aligned positions (22, 3, B, T), rest joints (22, 3, N)."""

    world: Tensor
    positions: Tensor
    joints: Tensor


def posed(pose: Tensor, betas: Tensor, head: Tensor, rest: Tensor, modes: Tensor, rot6d: str) -> Posed:
    """The neutral body in the predicted pose (B, T, 132) and shape (B, T, 16), its head joint at `head` (B, T, 3)."""
    a, b = pose.flatten(0, 1).T.reshape(skeleton.COUNT, 2, 3, -1).unbind(1)
    if rot6d == "gram_schmidt":
        a = a * torch.rsqrt((a * a).sum(1, keepdim=True) + EPS**2)
        b = b - (a * b).sum(1, keepdim=True) * a
        b = b * torch.rsqrt((b * b).sum(1, keepdim=True) + EPS**2)
    local = torch.stack([a, b, torch.linalg.cross(a, b, dim=1)], 2)
    joints = rest.flatten()[:, None] + modes.flatten(0, 1) @ betas.flatten(0, 1).T
    joints = joints.view(skeleton.COUNT, 3, -1)
    world, positions = kinematics.chain(local, joints)
    positions = positions + (head.flatten(0, 1).T - positions[skeleton.HEAD])
    return Posed(world[:, :, :2].transpose(1, 2), positions.unflatten(-1, pose.shape[:2]), joints)


def losses(pose: Tensor, betas: Tensor, body: Posed, truth: Truth, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Every loss whose weight is not 0, and their weighted sum as "loss". Differences are per frame, not per second.

    The rotation losses compare the network's own 6D numbers (`pose`), as the paper does, not those of the rotations made of them.
    """
    found: dict[str, Tensor] = {}
    wanted = {name for name in NAMES if weights.get(name, 0.0)}

    def add(name: str, one: Tensor, other: Tensor) -> None:
        if name in wanted:
            found[name] = torch.nn.functional.l1_loss(one, other)

    add("root", pose[..., :6], truth.pose[..., :6])
    add("local", pose[..., 6:], truth.pose[..., 6:])
    if "global" in wanted:
        add("global", body.world.flatten(0, 2), truth.world.flatten(0, 1).T)
    error = body.positions - truth.positions.permute(2, 3, 0, 1)
    for name, order in (("position", 0), ("velocity", 1), ("acceleration", 2), ("jerk", 3)):
        if name in wanted:
            found[name] = torch.diff(error, n=order).abs().mean()
    if "shape" in wanted:
        add("shape", betas, betas.mean(1, keepdim=True).expand_as(betas))
    if "bone" in wanted:
        true = truth.joints.permute(1, 2, 0).repeat_interleave(pose.shape[1], -1)
        add("bone", body.joints, true)
    found["loss"] = torch.stack([weights[name] * value for name, value in found.items()]).sum()
    return found

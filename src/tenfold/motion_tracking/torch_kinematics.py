"""Joint-only forward kinematics in PyTorch, exact and differentiable (specification section 2.1): no vertex, no skinning.

Inside, the frames are the last dimension: products of 3 x 3 matrices then run along whole rows of memory. Joints of equal depth are turned
together, so 22 joints are eight steps.
"""

import torch
from torch import Tensor

from tenfold.motion_tracking import skeleton


def _levels() -> list[tuple[list[int], list[int]]]:
    """(joints, where their parents stand in the level above) for each depth from 1."""
    depth = [0] * skeleton.COUNT
    for joint, parent in enumerate(skeleton.PARENTS):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    levels, above = [], [0]
    for level in range(1, max(depth) + 1):
        joints = [joint for joint in range(skeleton.COUNT) if depth[joint] == level]
        levels.append((joints, [above.index(skeleton.PARENTS[joint]) for joint in joints]))
        above = joints
    return levels


LEVELS = _levels()
_ORDER = [0, *(joint for joints, _ in LEVELS for joint in joints)]
_BACK = [_ORDER.index(joint) for joint in range(skeleton.COUNT)]
_PARENT = [max(parent, 0) for parent in skeleton.PARENTS]


def rest_joints(betas: Tensor, rest: Tensor, modes: Tensor) -> Tensor:
    """(..., 16) shape to (..., 22, 3) rest positions in metres; `rest` (22, 3), `modes` (22, 3, 16)."""
    return rest + (betas @ modes.reshape(-1, modes.shape[-1]).T).unflatten(-1, rest.shape)


def forward(local: Tensor, joints: Tensor, root: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """World rotations (..., 22, 3, 3) and positions (..., 22, 3) of a pose.

    local: (..., 22, 3, 3), joint 0's is the world orientation of the body. joints: rest positions (..., 22, 3), broadcast against the pose.
    root: world position (..., 3) of the pelvis; without it the pelvis is at the origin.
    """
    many = local.shape[:-3]
    turns = local.reshape(-1, skeleton.COUNT * 9).T.contiguous().view(skeleton.COUNT, 3, 3, -1)
    places = joints.expand(*many, skeleton.COUNT, 3).reshape(-1, skeleton.COUNT * 3).T.contiguous().view(skeleton.COUNT, 3, -1)
    world, positions = chain(turns, places)
    found = positions.flatten(0, 1).T.reshape(*many, skeleton.COUNT, 3)
    if root is not None:
        found = found + root.unsqueeze(-2)
    return world.flatten(0, 2).T.reshape(*many, skeleton.COUNT, 3, 3), found


def chain(local: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """The same with frames last: local (22, 3, 3, N) and rest positions (22, 3, N) to rotations and positions, the pelvis at the origin."""
    offsets = joints - joints[_PARENT]
    turned, placed = local[:1], torch.zeros_like(offsets[:1])
    rotations, positions = [turned], [placed]
    for here, parents in LEVELS:
        above, start = turned[parents], placed[parents]
        placed = start + _times(above, offsets[here].unsqueeze(2))[:, :, 0]
        turned = _times(above, local[here])
        rotations.append(turned)
        positions.append(placed)
    return torch.cat(rotations)[_BACK], torch.cat(positions)[_BACK]


def align_head(positions: Tensor, head: Tensor) -> Tensor:
    """(..., 22, 3) moved so that the head joint lies at `head` (..., 3)."""
    return positions + (head - positions[..., skeleton.HEAD, :]).unsqueeze(-2)


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Products (J, 3, 3, N) times (J, 3, K, N)."""
    product = a[:, :, 0:1] * b[:, 0:1]
    return torch.addcmul(torch.addcmul(product, a[:, :, 1:2], b[:, 1:2]), a[:, :, 2:3], b[:, 2:3])

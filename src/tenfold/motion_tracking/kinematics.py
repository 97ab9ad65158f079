"""Forward kinematics of the joints alone: exact without a single vertex (specification section 2.1)."""

import numpy as np
from numpy.typing import ArrayLike

from tenfold.motion_tracking import skeleton
from tenfold.motion_tracking.rotations import Floats


def _levels() -> tuple[tuple[list[int], list[int]], ...]:
    depth = [0] * skeleton.COUNT
    for joint, parent in enumerate(skeleton.PARENTS[1:], 1):
        depth[joint] = depth[parent] + 1
    groups = [[joint for joint in range(skeleton.COUNT) if depth[joint] == level] for level in range(1, max(depth) + 1)]
    return tuple((joints, [skeleton.PARENTS[joint] for joint in joints]) for joints in groups)


_LEVELS = _levels()
_TOGETHER = 512
"""Frames at a time: what is worked on stays in the processor's cache."""


def forward(local: ArrayLike, rest: ArrayLike, root: ArrayLike) -> tuple[Floats, Floats]:
    """World rotations (..., 22, 3, 3) and positions (..., 22, 3), m, of local rotations (..., 22, 3, 3).

    `rest` (..., 22, 3): joint positions at rest, m. `root` (..., 3): AMASS's `trans`, m; the pelvis lies at rest[0] + root.
    """
    turned = np.asarray(local, np.float64)
    shape = np.broadcast_shapes(turned.shape[:-3], np.shape(rest)[:-2], np.shape(root)[:-1])
    turned = np.broadcast_to(turned, (*shape, skeleton.COUNT, 3, 3)).reshape(-1, skeleton.COUNT, 3, 3)
    world = np.empty(turned.shape)
    for start in range(0, len(turned), _TOGETHER):
        # Frames last: numpy then works along them, not through one small product after the other.
        own = np.array(np.moveaxis(turned[start : start + _TOGETHER], 0, -1), order="C")
        for level, parents in _LEVELS:
            above, here = own[parents], own[level]
            own[level] = sum(above[:, :, each, None] * here[:, each, None] for each in range(3))
        world[start : start + _TOGETHER] = np.moveaxis(own, -1, 0)
    world = world.reshape(*shape, skeleton.COUNT, 3, 3)
    return world, positions(world, rest, root)


def positions(world: ArrayLike, rest: ArrayLike, root: ArrayLike) -> Floats:
    """Positions (..., 22, 3) of joints with world rotations (..., 22, 3, 3); `rest` and `root` as in `forward`."""
    turned, joints = np.asarray(world, np.float64), np.asarray(rest, np.float64)
    shape = np.broadcast_shapes(turned.shape[:-3], joints.shape[:-2], np.shape(root)[:-1])
    parents = list(skeleton.PARENTS[1:])
    offset = joints[..., 1:, :] - joints[..., parents, :]
    carrying = turned[..., parents, :, :]
    bones = carrying[..., 0] * offset[..., 0, None] + carrying[..., 1] * offset[..., 1, None] + carrying[..., 2] * offset[..., 2, None]
    out = np.empty((*shape, skeleton.COUNT, 3))
    out[..., 0, :] = joints[..., 0, :] + np.asarray(root, np.float64)
    for joint, parent in enumerate(parents, 1):
        np.add(out[..., parent, :], bones[..., joint - 1, :], out=out[..., joint, :])
    return out


def local_from_global(world: ArrayLike) -> Floats:
    """The inverse of `forward`'s rotations: local (..., 22, 3, 3) from world (..., 22, 3, 3)."""
    turned = np.asarray(world, np.float64)
    parents = list(skeleton.PARENTS[1:])
    return np.concatenate([turned[..., :1, :, :], np.swapaxes(turned[..., parents, :, :], -1, -2) @ turned[..., 1:, :, :]], -3)


def align_head(positions: ArrayLike, head: ArrayLike) -> Floats:
    """Skeletons (..., 22, 3) moved, not turned, so that the head joint lies on the tracked `head` (..., 3) exactly."""
    given, tracked = np.asarray(positions, np.float64), np.asarray(head, np.float64)
    moved = given + (tracked - given[..., skeleton.HEAD, :])[..., None, :]
    moved[..., skeleton.HEAD, :] = tracked
    return moved


def _turned(matrix: Floats, vector: Floats) -> Floats:
    """matrix (..., 3, 3) @ vector (..., 3), column by column: for matrices this small a third of the cost of `@`."""
    wide = np.repeat(vector, 3, -1).reshape(*vector.shape, 3)
    return matrix[..., 0] * wide[..., 0, :] + matrix[..., 1] * wide[..., 1, :] + matrix[..., 2] * wide[..., 2, :]

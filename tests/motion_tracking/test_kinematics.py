"""Forward kinematics against explicit 4 x 4 chains."""

import numpy as np
from scipy.spatial.transform import Rotation

from tenfold.motion_tracking import kinematics, skeleton


def _pose(frames: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    local = Rotation.random(frames * skeleton.COUNT, rng=rng).as_matrix().reshape(frames, skeleton.COUNT, 3, 3)
    return local, rng.normal(size=(skeleton.COUNT, 3)), rng.normal(size=(frames, 3))


def test_forward_is_the_product_of_the_chain() -> None:
    local, rest, root = _pose()
    world, positions = kinematics.forward(local, rest, root)
    for frame in range(len(local)):
        chain: list[np.ndarray] = []
        for joint, parent in enumerate(skeleton.PARENTS):
            step = np.eye(4)
            step[:3, :3] = local[frame, joint]
            step[:3, 3] = rest[joint] + root[frame] if parent < 0 else rest[joint] - rest[parent]
            chain.append(step if parent < 0 else chain[parent] @ step)
        assert np.allclose(world[frame], [each[:3, :3] for each in chain], atol=1e-12)
        assert np.allclose(positions[frame], [each[:3, 3] for each in chain], atol=1e-12)


def test_a_rest_per_frame_and_one_for_all_agree() -> None:
    local, rest, root = _pose()
    one = kinematics.forward(local, rest, root)
    many = kinematics.forward(local, np.broadcast_to(rest, (len(local), *rest.shape)), root)
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


def test_any_number_of_frames_and_axes_gives_the_same_and_leaves_what_it_was_given() -> None:
    local, rest, root = _pose(frames=1100)
    kept = local.copy()
    world, positions = kinematics.forward(local, rest, root)
    for frame in (0, 511, 512, 1099):
        one = kinematics.forward(local[frame], rest, root[frame])
        assert np.array_equal(one[0], world[frame]) and np.array_equal(one[1], positions[frame])
    folded = kinematics.forward(local.reshape(11, 100, skeleton.COUNT, 3, 3), rest, root.reshape(11, 100, 3))
    assert np.array_equal(folded[0].reshape(world.shape), world) and np.array_equal(folded[1].reshape(positions.shape), positions)
    single = kept[:1].copy()
    kinematics.forward(single, rest, root[:1])
    assert np.array_equal(local, kept) and np.array_equal(single, kept[:1])
    assert kinematics.forward(local[:0], rest, root[:0])[1].shape == (0, skeleton.COUNT, 3)


def test_local_from_global_inverts_forward() -> None:
    local, rest, root = _pose()
    world, _ = kinematics.forward(local, rest, root)
    assert np.allclose(kinematics.local_from_global(world), local, atol=1e-12)


def test_bones_keep_their_lengths() -> None:
    local, rest, root = _pose()
    _, positions = kinematics.forward(local, rest, root)
    parents = list(skeleton.PARENTS[1:])
    lengths = np.linalg.norm(positions[:, 1:] - positions[:, parents], axis=-1)
    assert np.allclose(lengths, np.linalg.norm(rest[1:] - rest[parents], axis=-1), atol=1e-12)


def test_align_head_puts_the_head_exactly_there_and_moves_nothing_else() -> None:
    local, rest, root = _pose()
    _, positions = kinematics.forward(local, rest, root)
    head = np.random.default_rng(3).normal(size=(len(local), 3))
    moved = kinematics.align_head(positions, head)
    assert np.array_equal(moved[:, skeleton.HEAD], head)
    assert np.allclose(moved - moved[:, :1], positions - positions[:, :1], atol=1e-12)

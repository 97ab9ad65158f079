"""Rotations and kinematics in PyTorch against an explicit chain of 4 x 4 matrices, SciPy, finite differences and the NumPy twins."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tenfold.motion_tracking import kinematics as in_numpy
from tenfold.motion_tracking import losses, skeleton
from tenfold.motion_tracking import torch_kinematics as kinematics
from tenfold.motion_tracking import torch_rotations as rotations

torch.set_num_threads(1)


def turns(seed: int, *shape: int) -> np.ndarray:
    return Rotation.random(int(np.prod(shape)), random_state=seed).as_matrix().reshape(*shape, 3, 3)


def body(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(22, 3))), torch.tensor(0.05 * rng.normal(size=(22, 3, 16)))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.05, 20), st.floats(0.05, 20))
def test_gram_schmidt_gives_rotations_whatever_the_lengths(seed: int, one: float, other: float) -> None:
    six = torch.tensor(np.random.default_rng(seed).normal(size=(7, 6)))
    found = rotations.matrix_from_six(six)
    assert torch.allclose(found @ found.transpose(-1, -2), torch.eye(3, dtype=six.dtype), atol=1e-7)
    assert torch.allclose(torch.linalg.det(found), torch.ones(7, dtype=six.dtype))
    scaled = torch.cat([one * six[:, :3], other * six[:, 3:]], -1)
    assert torch.allclose(rotations.matrix_from_six(scaled), found, atol=1e-6)


@pytest.mark.parametrize("how", ["gram_schmidt", "cross"])
def test_six_numbers_and_back(how: str) -> None:
    true = torch.tensor(turns(1, 5, 4))
    assert torch.allclose(rotations.matrix_from_six(rotations.six_from_matrix(true), how), true, atol=1e-7)


def test_cross_takes_the_columns_as_they_are() -> None:
    six = torch.tensor([2.0, 0, 0, 1, 3, 0])
    assert rotations.matrix_from_six(six, "cross").tolist() == [[2, 1, 0], [0, 3, 0], [0, 0, 6]]
    with pytest.raises(ValueError, match="svd"):
        rotations.matrix_from_six(six, "svd")


def test_forward_equals_a_chain_of_homogeneous_matrices() -> None:
    local, root = turns(2, 3, 22), np.random.default_rng(0).normal(size=(3, 3))
    rest, modes = body()
    betas = torch.tensor(np.random.default_rng(1).normal(size=(3, 16)))
    joints = kinematics.rest_joints(betas, rest, modes)
    world, positions = kinematics.forward(torch.tensor(local), joints, torch.tensor(root))
    for frame in range(3):
        chain: list[np.ndarray] = []
        for joint, parent in enumerate(skeleton.PARENTS):
            step = np.eye(4)
            step[:3, :3] = local[frame, joint]
            step[:3, 3] = root[frame] if parent < 0 else (joints[frame, joint] - joints[frame, parent]).numpy()
            chain.append(step if parent < 0 else chain[parent] @ step)
        assert np.allclose(world[frame], [each[:3, :3] for each in chain])
        assert np.allclose(positions[frame], [each[:3, 3] for each in chain])


def test_the_twin_in_numpy_agrees() -> None:
    local, rest = turns(3, 4, 22), body()[0].numpy()
    root = np.random.default_rng(0).normal(size=(4, 3))
    world, positions = in_numpy.forward(local, rest, root)
    ours = kinematics.forward(torch.tensor(local), torch.tensor(rest), torch.tensor(root))
    apart = positions - ours[1].numpy()
    assert np.allclose(world, ours[0]) and np.allclose(apart - apart[:, :1], 0)  # a root may be the pelvis' place or what is added to it


def test_gradients_equal_finite_differences() -> None:
    rest, modes = body()
    six = torch.randn(1, 2, 132, dtype=torch.float64, requires_grad=True)
    betas = torch.randn(1, 2, 16, dtype=torch.float64, requires_grad=True)
    head = torch.randn(1, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, b: losses.posed(p, b, head, rest, modes, "gram_schmidt").positions, (six, betas))


def test_head_lies_where_it_is_tracked_and_both_ways_agree() -> None:
    rest, modes = body()
    pose, betas, head = torch.randn(2, 3, 132).double(), torch.randn(2, 3, 16).double(), torch.randn(2, 3, 3).double()
    found = losses.posed(pose, betas, head, rest, modes, "gram_schmidt")
    assert torch.allclose(found.positions[skeleton.HEAD].permute(1, 2, 0), head, atol=1e-12)
    local = rotations.matrix_from_six(pose.unflatten(-1, (22, 6)))
    world, positions = kinematics.forward(local, kinematics.rest_joints(betas, rest, modes))
    assert torch.allclose(kinematics.align_head(positions, head), found.positions.permute(2, 3, 0, 1), atol=1e-9)
    assert torch.allclose(rotations.six_from_matrix(world).flatten(0, 1).permute(1, 2, 0).reshape(22, 2, 3, -1), found.world, atol=1e-9)


def test_losses_are_those_of_the_paper() -> None:
    rest, modes = body()
    torch.manual_seed(0)
    pose, betas, head = torch.randn(2, 5, 132).double(), torch.randn(2, 5, 16).double(), torch.randn(2, 5, 3).double()
    truth = losses.Truth(torch.randn(2, 5, 132), torch.randn(2, 5, 132), torch.randn(2, 5, 22, 3), torch.randn(2, 22, 3))
    truth = losses.Truth(*(getattr(truth, name).double() for name in ("pose", "world", "positions", "joints")))
    found = losses.losses(pose, betas, losses.posed(pose, betas, head, rest, modes, "gram_schmidt"), truth, losses.PAPER)
    world, positions = kinematics.forward(
        rotations.matrix_from_six(pose.unflatten(-1, (22, 6))), kinematics.rest_joints(betas, rest, modes)
    )
    error = kinematics.align_head(positions, head) - truth.positions
    expected = {
        "root": (pose - truth.pose)[..., :6], "local": (pose - truth.pose)[..., 6:],
        "global": rotations.six_from_matrix(world).flatten(-2) - truth.world, "position": error,
        "acceleration": error[:, 2:] - 2 * error[:, 1:-1] + error[:, :-2], "shape": betas - betas.mean(1, keepdim=True),
    }  # fmt: skip
    for name, difference in expected.items():
        assert float(found[name]) == pytest.approx(float(difference.abs().mean())), name
    assert float(found["loss"]) == pytest.approx(sum(weight * float(found[name]) for name, weight in losses.PAPER.items()))


def test_own_losses_vanish_for_the_truth() -> None:
    rest, modes = body()
    pose = rotations.six_from_matrix(torch.tensor(turns(5, 1, 6, 22))).flatten(-2)
    betas = torch.ones(1, 6, 16, dtype=torch.float64)
    made = losses.posed(pose, betas, torch.zeros(1, 6, 3, dtype=torch.float64), rest, modes, "gram_schmidt")
    joints = kinematics.rest_joints(betas[:, 0], rest, modes)
    truth = losses.Truth(pose, made.world.flatten(0, 2).T.view(1, 6, 132), made.positions.permute(2, 3, 0, 1), joints)
    found = losses.losses(pose, betas, made, truth, dict.fromkeys(losses.NAMES, 1.0))
    assert set(found) == {*losses.NAMES, "loss"} and float(found["loss"]) < 1e-6

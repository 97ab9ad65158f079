"""Rotations against scipy, their inverses, and the corners: half turns, near zero, q and -q, straight up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation, Slerp

from tenfold.core.errors import BadData
from tenfold.motion_tracking import kinematics, rotations, skeleton

VECTORS = hnp.arrays(np.float64, (5, 3), elements=st.floats(-4.0, 4.0, width=32))
SIX = hnp.arrays(np.float64, (4, 6), elements=st.floats(-3.0, 3.0, width=32))


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    count = int(np.prod(shape))
    return Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix().reshape(*shape, 3, 3)


@given(VECTORS)
@settings(max_examples=60, deadline=None)
def test_matrix_from_axis_angle_is_scipys(vectors: np.ndarray) -> None:
    assert np.allclose(rotations.matrix_from_axis_angle(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-7, 1e-4, 1.0, np.pi - 1e-9, np.pi])
def test_axis_angle_comes_back_near_zero_and_near_a_half_turn(size: float) -> None:
    axes = np.random.default_rng(1).normal(size=(50, 3))
    vectors = size * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    matrices = rotations.matrix_from_axis_angle(vectors)
    back = rotations.axis_angle_from_matrix(matrices)
    assert np.abs(np.linalg.norm(back, axis=1) - size).max() < 1e-7
    assert np.allclose(rotations.matrix_from_axis_angle(back), matrices, atol=1e-7)


def test_axis_angle_from_matrix_is_scipys() -> None:
    matrices = _random(500)
    assert np.allclose(rotations.axis_angle_from_matrix(matrices), Rotation.from_matrix(matrices).as_rotvec(), atol=1e-9)


def test_quaternions_are_wxyz_and_scipys() -> None:
    matrices = _random(300, seed=2)
    expected = Rotation.from_matrix(matrices).as_quat(scalar_first=True, canonical=True)
    assert np.allclose(rotations.quaternion_from_matrix(matrices), expected, atol=1e-12)
    assert np.allclose(rotations.matrix_from_quaternion(expected), matrices, atol=1e-12)


def test_a_quaternions_sign_and_length_do_not_matter() -> None:
    quaternion = np.random.default_rng(3).normal(size=(40, 4))
    assert np.allclose(rotations.matrix_from_quaternion(quaternion), rotations.matrix_from_quaternion(-2.5 * quaternion), atol=1e-12)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_quaternion_that_is_no_rotation_is_refused(bad: float) -> None:
    with pytest.raises(BadData, match="quaternion"):
        rotations.matrix_from_quaternion([[1.0, 0, 0, 0], [bad, 0, 0, 0]])


def test_six_holds_the_first_two_columns_and_both_readings_invert_it() -> None:
    matrices = _random(3, 7, seed=4)
    six = rotations.six_from_matrix(matrices)
    assert np.array_equal(six[..., :3], matrices[..., 0]) and np.array_equal(six[..., 3:], matrices[..., 1])
    assert np.allclose(rotations.matrix_from_six(six), matrices, atol=1e-12)
    assert np.allclose(rotations.matrix_from_six(six, how="cross"), matrices, atol=1e-12)


@given(SIX, st.floats(0.1, 50.0))
@settings(max_examples=80, deadline=None)
def test_gram_schmidt_gives_rotations_and_ignores_scale(six: np.ndarray, scale: float) -> None:
    across = np.linalg.norm(np.cross(six[:, :3], six[:, 3:]), axis=1)
    six = six[across > 1e-2]
    matrices = rotations.matrix_from_six(six)
    assert np.allclose(np.swapaxes(matrices, 1, 2) @ matrices, np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(matrices), 1.0, atol=1e-9)
    assert np.allclose(rotations.matrix_from_six(scale * six), matrices, atol=1e-9)


def test_cross_keeps_columns_that_are_neither_unit_nor_orthogonal() -> None:
    six = np.random.default_rng(5).normal(size=(9, 6))
    matrices = rotations.matrix_from_six(six, how="cross")
    assert np.array_equal(matrices[..., 0], six[:, :3]) and np.array_equal(matrices[..., 1], six[:, 3:])
    assert np.allclose(matrices[..., 2], np.cross(six[:, :3], six[:, 3:]))


def test_slerp_is_scipys_and_exact_at_the_keys() -> None:
    keys = _random(6, seed=6)
    times, new = np.array([0.0, 0.1, 0.35, 0.4, 1.0, 1.7]), np.linspace(0.0, 1.7, 53)
    expected = Slerp(times, Rotation.from_matrix(keys))(new).as_matrix()
    assert np.allclose(rotations.slerp(keys, times, new), expected, atol=1e-9)
    assert np.allclose(rotations.slerp(keys, times, times), keys, atol=1e-9)


def test_slerp_of_many_joints_is_slerp_of_each() -> None:
    keys, times, new = _random(5, 4, seed=7), np.arange(5.0), np.array([0.2, 1.5, 3.9])
    both = rotations.slerp(keys, times, new)
    assert all(np.allclose(both[:, joint], rotations.slerp(keys[:, joint], times, new)) for joint in range(4))


@pytest.mark.parametrize(
    ("times", "new"), [([0.0, 1.0, 1.0], [0.5]), ([0.0, 2.0, 1.0], [0.5]), ([0.0, 1.0], [0.5]), ([0.0, 1.0, 2.0], [2.5]), ([0.0, 1, 2], [-1])]
)  # fmt: skip
def test_slerp_refuses_times_that_do_not_increase_or_do_not_cover(times: list[float], new: list[float]) -> None:
    with pytest.raises(BadData, match="times"):
        rotations.slerp(_random(3), times, new)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, np.pi / 2, np.pi - 1e-9, np.pi])
def test_angle_between_is_exact_at_both_ends(angle: float) -> None:
    left = _random(20, seed=8)
    axis = np.array([2.0, -1.0, 0.5]) / np.linalg.norm([2.0, -1.0, 0.5])
    right = left @ rotations.matrix_from_axis_angle(angle * axis)
    assert np.abs(rotations.angle_between(left, right) - angle).max() < 1e-8


@given(st.floats(-3.1, 3.1), st.floats(-1.4, 1.4), st.floats(-1.4, 1.4))
@settings(max_examples=100, deadline=None)
def test_yaw_is_the_heading_and_a_turn_of_the_scene_adds_to_it(turn: float, pitch: float, roll: float) -> None:
    facing = rotations.about("z", turn) @ rotations.STANDING
    assert abs(np.angle(np.exp(1j * (rotations.yaw(facing) - turn)))) < 1e-9
    tilted = rotations.about("y", pitch) @ rotations.about("x", roll) @ rotations.STANDING
    gained = rotations.yaw(rotations.about("z", turn) @ tilted) - rotations.yaw(tilted)
    assert abs(np.angle(np.exp(1j * (gained - turn)))) < 1e-9


def test_yaw_is_continuous_through_straight_down() -> None:
    pitch = np.linspace(0.0, 0.9 * np.pi, 200)
    headings = rotations.yaw(rotations.about("z", 0.7) @ rotations.about("y", pitch) @ rotations.STANDING)
    assert np.abs(headings - 0.7).max() < 1e-9


def test_mirrored_motion_is_the_mirror_image_of_every_joint() -> None:
    rng = np.random.default_rng(9)
    local, root = _random(4, skeleton.COUNT, seed=9), rng.normal(size=(4, 3))
    rest = rng.normal(size=(skeleton.COUNT, 3))
    # A body of two equal halves.
    rest = 0.5 * (rest + rest[list(skeleton.MIRROR)] * [-1, 1, 1])
    _, here = kinematics.forward(local, rest, root)
    _, there = kinematics.forward(*_swap(rotations.mirror(local, root), rest))
    assert np.allclose(there, here[:, list(skeleton.MIRROR)] * [-1, 1, 1], atol=1e-12)
    again = rotations.mirror(*rotations.mirror(local, root))
    assert np.array_equal(again[0], local) and np.array_equal(again[1], root)


def _swap(mirrored: tuple[np.ndarray, np.ndarray], rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return mirrored[0], rest, mirrored[1]

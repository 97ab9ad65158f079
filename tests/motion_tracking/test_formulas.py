"""The formulas of section 7 against slow, explicit versions of themselves, with scipy's rotations as the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tenfold.motion_tracking import formulas, kinematics, skeleton
from tenfold.motion_tracking.formulas import Motion, Truth

LENGTHS = [9, 1, 2, 14, 5]
RATE = 60.0


def motion(seed: int, frames: int = sum(LENGTHS), spread: float = 0.6) -> Motion:
    rng = np.random.default_rng(seed)
    local = Rotation.from_rotvec(rng.normal(0, spread, (frames * 22, 3))).as_matrix().reshape(frames, 22, 3, 3)
    rest = np.random.default_rng(99).normal(0, 0.2, (22, 3))
    _, positions = kinematics.forward(local, rest, rng.normal(0, 1, (frames, 3)))
    return Motion(local, positions)


def slow(found: Motion, true: Motion) -> dict[str, float]:
    """One clip, loops only, as the papers write them."""
    n = len(true)
    official, geodesic, distance, velocity, jerk = [], [], [], [], []
    for t in range(n):
        for j in range(22):
            distance.append(100 * np.linalg.norm(found.positions[t, j] - true.positions[t, j]))
            if j:
                one, two = (Rotation.from_matrix(m.local[t, j]) for m in (found, true))
                gap = one.as_rotvec() - two.as_rotvec()
                gap = np.where(gap > np.pi, gap - 2 * np.pi, np.where(gap < -np.pi, gap + 2 * np.pi, gap))
                official.append(np.degrees(np.abs(gap).mean()))
                geodesic.append(np.degrees((one.inv() * two).magnitude()))
            if t:
                moved = (found.positions[t, j] - found.positions[t - 1, j]) - (true.positions[t, j] - true.positions[t - 1, j])
                velocity.append(100 * RATE * np.linalg.norm(moved))
            if t >= 3:
                p = found.positions[t - 3 : t + 1, j]
                jerk.append(RATE**3 * np.linalg.norm(p[3] - 3 * p[2] + 3 * p[1] - p[0]))

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    by_joint = np.array(distance).reshape(n, 22)
    return {
        "mpjre_official": mean(official), "mpjre": mean(geodesic), "mpjpe": mean(distance), "mpjve": mean(velocity), "jitter": mean(jerk),
        "h_pe": by_joint[:, [20, 21]].mean(), "r_pe": by_joint[:, 0].mean(),
        "u_pe": by_joint[:, [3, 6, 9, *range(12, 22)]].mean(), "l_pe": by_joint[:, [0, 1, 2, 4, 5, 7, 8, 10, 11]].mean(),
    }  # fmt: skip


def test_equal_explicit_loops_clip_by_clip() -> None:
    found, true = motion(0), motion(1)
    clips = formulas.per_clip(formulas.per_frame(found, Truth.of(true, LENGTHS)), LENGTHS)
    for i, (start, length) in enumerate(zip(formulas.starts(LENGTHS), LENGTHS, strict=True)):
        a, b = (m.part(int(start), int(start) + length) for m in (found, true))
        for name, value in slow(a, b).items():
            np.testing.assert_allclose(clips[name][i], value, rtol=1e-9, atol=1e-9, err_msg=name)
        alone = formulas.score(a, b)
        for name, values in clips.items():
            np.testing.assert_allclose(values[i], alone[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_groups_of_joints_are_those_of_the_specification() -> None:
    assert sorted({*formulas.UPPER, *formulas.LOWER, *formulas.HANDS}) == list(range(22))
    assert [skeleton.JOINTS[j] for j in formulas.FEET] == ["left_foot", "right_foot"]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, np.pi), st.integers(0, 2**20))
def test_angles_are_exact_from_nothing_to_half_a_turn(angle: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    base = Rotation.random(random_state=seed % 1000)
    other = base * Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle)
    assert formulas.angles(base.as_matrix(), other.as_matrix()) == pytest.approx(np.degrees(angle), abs=2e-6)


def test_a_perfect_prediction_has_no_error_and_the_true_jitter() -> None:
    true = motion(3)
    frames = formulas.per_frame(true, Truth.of(true, LENGTHS))
    for name in ("mpjre", "mpjre_official", "mpjpe", "mpjve", "bone_error", "floor", "h_pe", "u_pe", "l_pe", "r_pe"):
        assert np.nanmax(frames[name]) == 0.0, name
    assert np.nanmin(frames["jitter"]) > 0


def test_official_angle_is_no_angle() -> None:
    """A turn about one axis counts a third: three components share it."""
    still = Motion(np.tile(np.eye(3), (2, 22, 1, 1)), np.zeros((2, 22, 3)))
    turned = Motion(np.tile(Rotation.from_rotvec([0.3, 0, 0]).as_matrix(), (2, 22, 1, 1)), np.zeros((2, 22, 3)))
    found = formulas.score(turned, still)
    assert found["mpjre"] == pytest.approx(np.degrees(0.3))
    assert found["mpjre_official"] == pytest.approx(np.degrees(0.1))


def test_official_angle_wraps_at_half_a_turn() -> None:
    """Axis-angle flips its sign past pi: 3.1 about +x and 3.1 about -x differ by 2 pi - 6.2."""
    one, other = (formulas.vectors(np.tile(Rotation.from_rotvec([s * 3.1, 0, 0]).as_matrix(), (1, 22, 1, 1))) for s in (1, -1))
    assert formulas.official_angles(one, other)[0] == pytest.approx(np.degrees(2 * np.pi - 6.2) / 3, rel=1e-9)


def standing(frames: int) -> Motion:
    positions = np.zeros((frames, 22, 3))
    positions[:, :, 2] = np.linspace(1.7, 1.0, 22)
    positions[:, list(formulas.SOLES), 2] = [0.08, 0.08, 0.02, 0.02]
    return Motion(np.tile(np.eye(3), (frames, 22, 1, 1)), positions)


def test_feet_slide_and_sink_in_units() -> None:
    true = standing(30)
    positions = true.positions.copy()
    positions[:, 10, 0] += 0.002 * np.arange(30)
    positions[:, 10, 2] -= 0.05
    found = formulas.score(Motion(true.local, positions), true)
    assert found["foot_slide"] == pytest.approx(100 * 0.002 * 60 / 2)
    assert found["floor"] == pytest.approx(5.0)
    assert formulas.score(true, true)["foot_slide"] == 0.0


def test_no_contact_no_slide() -> None:
    true = standing(30)
    moving = Motion(true.local, true.positions + np.linspace(0, 3, 30)[:, None, None] * np.array([1.0, 0, 0]))
    assert np.isnan(formulas.score(moving, moving)["foot_slide"])


def test_flips_are_counted_a_minute() -> None:
    true = standing(61)
    local = true.local.copy()
    local[30:, 18] = Rotation.from_rotvec([0, 2.0, 0]).as_matrix()
    assert formulas.score(Motion(local, true.positions), true)["flips"] == pytest.approx(60 * 60 / 60)
    assert formulas.score(Motion(local, true.positions), Motion(local, true.positions))["flips"] == 0.0


def test_shape_settles() -> None:
    positions = standing(40).positions.copy()
    positions[:12, 15] += [0.0, 0.0, 0.3]
    assert formulas.settle(positions) == 12
    assert formulas.settle(standing(40).positions) == 0


def test_jitter_and_velocity_do_not_depend_on_where_the_scene_lies() -> None:
    found, true = motion(4), motion(5)
    turn = Rotation.from_rotvec([0.0, 0.0, 1.1]).as_matrix()
    moved = [Motion(m.local, m.positions @ turn.T + [3.0, -2.0, 0.0]) for m in (found, true)]
    here, there = (formulas.per_clip(formulas.per_frame(a, Truth.of(b, LENGTHS)), LENGTHS) for a, b in ((found, true), tuple(moved)))
    for name, values in here.items():
        np.testing.assert_allclose(values, there[name], rtol=1e-7, atol=1e-7, err_msg=name)


def test_lengths_must_add_up() -> None:
    with pytest.raises(ValueError, match="frames in clips"):
        Truth.of(motion(1), [4])
    with pytest.raises(ValueError, match="were found"):
        formulas.per_frame(motion(0, 7), Truth.of(motion(1, 8), [8]))


def test_the_short_form_agrees_with_the_long_one() -> None:
    found, true = motion(0), Truth.of(motion(1), LENGTHS)
    long, short = formulas.per_frame(found, true), formulas.per_frame(found, true, short=True)
    assert set(short) == {"mpjre", "mpjpe", "l_pe", "mpjve", "jitter", "bone_error"}
    for name, values in short.items():
        np.testing.assert_array_equal(values, long[name])


@settings(max_examples=30, deadline=None)
@given(st.one_of(st.floats(0.0, 1e-5), st.floats(0.0, np.pi), st.floats(np.pi - 1e-4, np.pi - 1e-7)), st.integers(0, 2**20))
def test_vectors_are_those_of_scipy(angle: float, seed: int) -> None:
    axes = np.random.default_rng(seed).normal(size=(22, 3))
    given_ = Rotation.from_rotvec(axes / np.linalg.norm(axes, axis=1, keepdims=True) * angle)
    np.testing.assert_allclose(formulas.vectors(given_.as_matrix()[None])[0], given_.as_rotvec()[1:], atol=1e-7)

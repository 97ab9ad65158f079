"""The 135 input values: against explicit loops, under motions of the whole scene, with silent sensors, and in a live stream."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import columns, sensors, skeleton

Floats = npt.NDArray[np.float64]
HEAD, LEFT, RIGHT = 15, 20, 21


def scene(seed: int, frames: int = 20) -> tuple[Floats, Floats, Floats]:
    """World rotations (T, 22, 3, 3), positions (T, 22, 3), accelerations (T, 3, 3) that mean nothing."""
    rng = np.random.default_rng(seed)
    turns = rng.normal(size=(1, 22, 3)) + np.cumsum(0.05 * rng.normal(size=(frames, 22, 3)), 0)
    rotation = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(frames, 22, 3, 3)
    return rotation, rng.normal(size=(1, 22, 3)) + np.cumsum(0.01 * rng.normal(size=(frames, 22, 3)), 0), rng.normal(size=(frames, 3, 3))


def reference(rotation: Floats, position: Floats, acceleration: Floats) -> Floats:
    """The specification's table, row by row and value by value."""
    order = [15, 20, 21, 4, 5, 0]

    def six(matrix: Floats) -> list[float]:
        return [matrix[0, 0], matrix[1, 0], matrix[2, 0], matrix[0, 1], matrix[1, 1], matrix[2, 1]]

    out = []
    for t in range(1, len(rotation)):
        row: list[float] = []
        for joint in order:
            row += six(rotation[t, joint])
        for joint in order:
            row += six(np.linalg.inv(rotation[t - 1, joint]) @ rotation[t, joint])
        for joint in order[:3]:
            row += list(position[t, joint])
        for joint in order[:3]:
            row += list(position[t, joint] - position[t - 1, joint])
        hands = {u: {joint: rotation[u, HEAD].T @ rotation[u, joint] for joint in (LEFT, RIGHT)} for u in (t - 1, t)}
        for joint in (LEFT, RIGHT):
            row += six(hands[t][joint])
        for joint in (LEFT, RIGHT):
            row += six(np.linalg.inv(hands[t - 1][joint]) @ hands[t][joint])
        places = {u: {j: rotation[u, HEAD].T @ (position[u, j] - position[u, HEAD]) for j in (LEFT, RIGHT)} for u in (t - 1, t)}
        for joint in (LEFT, RIGHT):
            row += list(places[t][joint])
        for joint in (LEFT, RIGHT):
            row += list(places[t][joint] - places[t - 1][joint])
        for imu in range(3):
            row += list(acceleration[t, imu])
        out.append(row)
    return np.array(out)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(2, 12))
def test_rows_are_the_specification_s(seed: int, frames: int) -> None:
    given_scene = scene(seed, frames)
    x = sensors.features(*given_scene)
    assert x.dtype == np.float32 and x.shape == (frames - 1, 135)
    np.testing.assert_allclose(x, reference(*given_scene), atol=1e-6)


def test_tokens_and_masks_cover_the_columns() -> None:
    places = sorted(column for ranges in columns.TOKENS.values() for first, last in ranges for column in range(first, last))
    assert places == list(range(135))
    imu = {name: {c for first, last in columns.TOKENS[name] for c in range(first, last)} for name in ("lshin", "rshin", "pelvis")}
    for name, lacks in (("hmd", ("lshin", "rshin", "pelvis")), ("hmd_2imus", ("pelvis",)), ("hmd_3imus", ())):
        assert (
            set(np.flatnonzero(~sensors.mask(name))) == set().union(*(imu[each] for each in lacks)) if lacks else sensors.mask(name).all()
        )


def test_a_mask_zeroes_and_copies() -> None:
    x = sensors.features(*scene(1))
    before = x.copy()
    masked = sensors.apply_mask(x, "hmd")
    np.testing.assert_array_equal(x, before)
    assert masked.dtype == np.float32 and not masked[:, 18:36].any() and not masked[:, 54:72].any() and not masked[:, 126:].any()
    np.testing.assert_array_equal(masked[:, sensors.mask("hmd")], x[:, sensors.mask("hmd")])
    noise = np.where(sensors.mask("hmd"), x, np.float32(np.nan))
    np.testing.assert_array_equal(sensors.apply_mask(noise, "hmd"), masked)
    with pytest.raises(UsageError, match="hmd_2imus"):
        sensors.apply_mask(x, "hmd+2")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), angle=st.floats(-3.1, 3.1), shift=st.tuples(*[st.floats(-3, 3)] * 3))
def test_turning_and_moving_the_scene(seed: int, angle: float, shift: tuple[float, float, float]) -> None:
    """Hand in head and all changes of rotation stay; positions, world rotations, velocities and accelerations turn with the scene."""
    rotation, position, acceleration = scene(seed)
    turn = Rotation.from_rotvec([0.0, 0.0, angle]).as_matrix()
    x = sensors.features(rotation, position, acceleration)
    y = sensors.features(turn @ rotation, position @ turn.T + np.array(shift), acceleration @ turn.T)
    for first, last in ((36, 72), (90, 126)):
        np.testing.assert_allclose(y[:, first:last], x[:, first:last], atol=2e-6)
    for first, last in ((0, 36), (81, 90), (126, 135)):
        turned = x[:, first:last].reshape(len(x), -1, 3) @ turn.T
        np.testing.assert_allclose(y[:, first:last].reshape(len(x), -1, 3), turned, atol=2e-6)
    moved = x[:, 72:81].reshape(len(x), 3, 3) @ turn.T + np.array(shift)
    np.testing.assert_allclose(y[:, 72:81].reshape(len(x), 3, 3), moved, atol=2e-6)


def test_a_mirrored_scene_gives_mirrored_rows() -> None:
    rotation, position, acceleration = scene(3)
    flip = np.diag([-1.0, 1.0, 1.0])
    order = list(skeleton.MIRROR)
    x = sensors.features(rotation, position, acceleration)
    y = sensors.features(flip @ rotation[:, order] @ flip, position[:, order] @ flip, acceleration[:, [1, 0, 2]] @ flip)
    swap = {"head": "head", "pelvis": "pelvis", "lhand": "rhand", "lshin": "rshin", "lhand_in_head": "rhand_in_head"}
    pairs = [*swap.items(), *((right, left) for left, right in swap.items() if left != right)]
    sign6 = np.array([1, -1, -1, -1, 1, 1])  # F R F: first column (x, -y, -z), second (-x, y, z)
    for token, other in pairs:
        for (first, last), (start, end) in zip(columns.TOKENS[token], columns.TOKENS[other], strict=True):
            sign = sign6 if last - first == 6 else np.array([-1, 1, 1])
            np.testing.assert_allclose(y[:, start:end], x[:, first:last] * sign, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(2, 15), share=st.floats(0, 1))
def test_a_stream_frame_by_frame_equals_the_clip(seed: int, frames: int, share: float) -> None:
    read = sensors.readings(*scene(seed, frames))
    present = np.random.default_rng(seed).random((frames, 6)) >= share
    whole = sensors.rows(read, present)
    online = sensors.Online()
    rows = [online.step(*(each[t] for each in read), present[t]) for t in range(frames)]
    np.testing.assert_array_equal(np.array(rows[1:]), whole)


def test_the_first_frame_of_a_stream_stands_still() -> None:
    read = sensors.readings(*scene(4))
    online = sensors.Online()
    first = online.step(*(each[0] for each in read))
    still = np.tile([1, 0, 0, 0, 1, 0], 6)
    np.testing.assert_allclose(first[36:72], still, atol=1e-7)
    np.testing.assert_allclose(first[102:114], still[:12], atol=1e-7)
    assert not first[81:90].any() and not first[120:126].any()
    np.testing.assert_allclose(first[72:81], read.position[0].ravel(), rtol=1e-6)
    online.step(*(each[1] for each in read))
    online.reset()
    np.testing.assert_array_equal(online.step(*(each[0] for each in read)), first)


def test_a_stream_keeps_no_hold_on_what_it_was_given() -> None:
    read = sensors.readings(*scene(5))
    online, other = sensors.Online(), sensors.Online()
    buffer = [each[0].copy() for each in read]
    online.step(*buffer)
    for each in buffer:
        each[:] = np.nan
    other.step(*(each[0] for each in read))
    now = [each[1] for each in read]
    np.testing.assert_array_equal(online.step(*now), other.step(*now))


SILENCED = {
    "head": ("head", "lhand_in_head", "rhand_in_head"), "lhand": ("lhand", "lhand_in_head"), "rhand": ("rhand", "rhand_in_head"),
    "lshin": ("lshin",), "rshin": ("rshin",), "pelvis": ("pelvis",),
}  # fmt: skip


@pytest.mark.parametrize("sensor", columns.SENSORS)
def test_a_silent_sensor_zeroes_its_tokens_and_nothing_else(sensor: str) -> None:
    read = sensors.readings(*scene(6))
    number = columns.SENSORS.index(sensor)
    present = np.ones((20, 6), np.bool_)
    present[8:12, number] = False
    spoiled = sensors.Readings(*(each.copy() for each in read))
    for values, column in ((spoiled.rotation, number), (spoiled.position, number), (spoiled.acceleration, number - 3)):
        if 0 <= column < values.shape[1]:
            values[8:12, column] = np.nan
    clean, x = sensors.rows(read), sensors.rows(spoiled, present)
    assert np.isfinite(x).all()
    silent = np.zeros(135, np.bool_)
    for token in SILENCED[sensor]:
        for first, last in columns.TOKENS[token]:
            silent[first:last] = True
    gone, back = slice(7, 11), 11  # rows of frames 8..11, row of frame 12
    assert not x[gone][:, silent].any()
    np.testing.assert_allclose(x[:, ~silent], clean[:, ~silent], atol=1e-7)
    untouched = np.r_[0:7, 12:19]
    np.testing.assert_allclose(x[untouched], clean[untouched], atol=1e-7)
    # In its first frame back it says where it is, but not how it moved.
    for token in SILENCED[sensor]:
        place, change, *rest = columns.TOKENS[token]
        np.testing.assert_allclose(x[back, slice(*place)], clean[back, slice(*place)], atol=1e-7)
        np.testing.assert_allclose(x[back, slice(*change)], [1, 0, 0, 0, 1, 0], atol=1e-6)
        if len(rest) == 2:
            np.testing.assert_allclose(x[back, slice(*rest[1])], 0, atol=1e-7)


@pytest.mark.parametrize(("sensor_set", "silent"), [("hmd", (3, 4, 5)), ("hmd_2imus", (5,)), ("hmd_3imus", ())])
def test_a_sensor_that_is_never_there_is_the_sensor_set_without_it(sensor_set: str, silent: tuple[int, ...]) -> None:
    read = sensors.readings(*scene(7))
    present = np.ones((20, 6), np.bool_)
    present[:, list(silent)] = False
    np.testing.assert_allclose(sensors.rows(read, present), sensors.apply_mask(sensors.rows(read), sensor_set), atol=1e-7)


def test_a_quaternion_and_its_negative_are_one_rotation() -> None:
    from tenfold.motion_tracking.rotations import matrix_from_quaternion, quaternion_from_matrix

    rotation, position, acceleration = scene(8)
    quaternion = quaternion_from_matrix(rotation)
    flips = np.random.default_rng(0).choice([-1.0, 1.0], quaternion.shape[:-1])[..., None]
    one, other = (sensors.features(matrix_from_quaternion(q), position, acceleration) for q in (quaternion, quaternion * flips))
    np.testing.assert_array_equal(one, other)

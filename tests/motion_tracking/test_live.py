"""A live stream: equal to the offline network, exact at the head, and every fault of section 3.4 with its stated answer."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_human import human
from motion_tracking.small_live import IMUS, moved, run, swaying, without, write

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import body, columns, kinematics, predictor_folder, rotations, sensors, skeleton, tracking, train
from tenfold.motion_tracking.carried import Carried
from tenfold.motion_tracking.live import EASE, EASE_M, HOLD_S, RESTART, Live, sensor_set
from tenfold.motion_tracking.stream import Reading, Unread

FRAMES = 60
READINGS = swaying(FRAMES)
HELD = 6  # frames of 100 ms
HEAD, LEFT, RIGHT = 0, 1, 2


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write(tmp_path_factory.mktemp("predictor") / "predictor")


@pytest.fixture(scope="module")
def parts(predictor: Path) -> predictor_folder.Parts:
    return predictor_folder.read(predictor)


@pytest.fixture
def live(parts: predictor_folder.Parts) -> Live:
    return Live(parts.step, parts.body)


def places(readings: list[Reading]) -> np.ndarray:
    return np.stack([reading.values[HEAD, :3] for reading in readings])


def count(live: Live, what: str, sensor: str = "") -> int:
    return live.record.found.get((what, sensor), (0, ""))[0]


# -- what comes out ---------------------------------------------------------------------------------------------------


def test_a_stream_is_the_offline_network(live: Live, predictor: Path) -> None:
    """Frame by frame from raw sensors = the rows of the whole clip through the torch network (first frame left out there)."""
    poses = run(live, READINGS)
    values = np.stack([reading.values for reading in READINGS])
    turned = rotations.matrix_from_quaternion(np.concatenate([values[:, :3, 3:], values[:, 3:, :4]], axis=1))
    read = sensors.Readings(turned, values[:, :3, :3], values[:, 3:, 4:])
    first = sensors.rows(sensors.Readings(*(np.stack([part[0], part[0]]) for part in read)))
    rows = np.concatenate([first, sensors.rows(read)])
    local, betas = tracking.predict_clip(train.read_network(predictor), rows, "hmd_3imus")
    assert len(poses) == FRAMES
    assert np.abs(np.stack([pose.local for pose in poses]) - local).max() < 1e-4
    assert np.abs(np.stack([pose.betas for pose in poses]) - betas).max() < 1e-4
    assert all(pose.sensor_set == "hmd_3imus" and not pose.held.any() for pose in poses)
    assert poses[0].flags == ("first",) and not any(pose.flags for pose in poses[1:])


@pytest.mark.parametrize("missing", [(), IMUS, (LEFT,)])
def test_the_head_is_where_the_sensor_says(live: Live, missing: tuple[int, ...]) -> None:
    poses = run(live, READINGS, lambda _, reading: without(reading, *missing))
    for pose, head in zip(poses, places(READINGS), strict=True):
        _, positions = kinematics.forward(pose.local, body.joints(human(), pose.betas), pose.root)
        assert np.abs(positions[skeleton.HEAD] - head).max() < 1e-6
        assert np.abs(positions - pose.positions).max() < 1e-9
        assert np.abs(pose.local @ pose.local.swapaxes(-1, -2) - np.eye(3)).max() < 1e-9


@given(st.integers(0, 2**32 - 1), st.sampled_from(["hmd", "hmd_2imus"]))
@settings(max_examples=8, deadline=None)
def test_what_a_masked_sensor_says_is_of_no_influence(parts: predictor_folder.Parts, seed: int, use: str) -> None:
    """Bit-equal, whatever noise, NaN or absurd number the sensor brings that the set has not."""
    rng = np.random.default_rng(seed)
    off = {"hmd": [3, 4, 5], "hmd_2imus": [5]}[use]

    def noisy(_: int, reading: Reading) -> Reading:
        values = reading.values.copy()
        values[off] = rng.choice([np.nan, np.inf, 0.0, 1.0, 1e30], (len(off), 7)) * rng.standard_normal((len(off), 7))
        return Reading(reading.t, values)

    one, other = Live(parts.step, parts.body), Live(parts.step, parts.body)
    for number, reading in enumerate(READINGS[:12]):
        (a,), (b,) = one.push(noisy(number, reading), use), other.push(without(reading, *off), use)
        assert a.sensor_set == b.sensor_set == use
        assert np.array_equal(a.local, b.local) and np.array_equal(a.root, b.root) and np.array_equal(a.betas, b.betas)


def test_the_sensor_set_is_that_of_each_frame(live: Live) -> None:
    def some(number: int, reading: Reading) -> Reading:
        return without(reading, *(IMUS if number < 10 else (5,) if number < 20 else ()))

    poses = run(live, READINGS, some)
    assert {pose.sensor_set for pose in poses[:10]} == {"hmd"}
    assert {pose.sensor_set for pose in poses[10:20]} == {"hmd_2imus"}
    assert {pose.sensor_set for pose in poses[20:]} == {"hmd_3imus"}
    assert sensor_set(np.array([1, 1, 1, 1, 0, 1], np.bool_)) == "hmd"


def test_the_sign_of_a_quaternion_means_nothing(parts: predictor_folder.Parts) -> None:
    def flipped(number: int, reading: Reading) -> Reading:
        values = reading.values.copy()
        values[number % 3, 3:] *= -1
        values[3 + number % 3, :4] *= -1
        return Reading(reading.t, values)

    one, other = run(Live(parts.step, parts.body), READINGS), run(Live(parts.step, parts.body), READINGS, flipped)
    assert np.abs(np.stack([p.local for p in one]) - np.stack([p.local for p in other])).max() < 1e-6


# -- sensors that come and go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [IMUS, (5,), (3,), (LEFT,), (LEFT, RIGHT), (HEAD,), (HEAD, LEFT, RIGHT)])
def test_a_lost_sensor_is_held_then_masked_and_used_again_at_once(live: Live, lost: tuple[int, ...]) -> None:
    def gone(number: int, reading: Reading) -> Reading:
        return without(reading, *lost) if 20 <= number < 40 else reading

    poses = run(live, READINGS, gone)
    assert len(poses) == FRAMES
    for sensor in lost:
        assert [pose.held[sensor] for pose in poses] == [20 <= n < 20 + HELD for n in range(FRAMES)]
        assert [pose.present[sensor] for pose in poses] == [not 20 + HELD <= n < 40 for n in range(FRAMES)]
        name = columns.SENSORS[sensor]
        assert (count(live, "lost", name), count(live, "back", name)) == (1, 1)
        assert live.record.found["lost", name][1] == f"frame {20 + HELD}, t = {READINGS[20 + HELD].t:.3f}"
    assert all(np.isfinite(pose.positions).all() for pose in poses)


def test_the_features_of_a_returning_sensor_have_no_leap(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """After being held the change since the frame before is none: it would be that of seven frames."""
    seen: list[np.ndarray] = []
    rows = sensors.rows

    def noting(*some: object) -> np.ndarray:
        seen.append(rows(*some))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(sensors, "rows", noting)
    run(live, READINGS[:30], lambda number, reading: without(reading, LEFT, 3) if 20 <= number < 24 else reading)
    left = [columns.VELOCITY[0] + 3, columns.VELOCITY[0] + 4, columns.VELOCITY[0] + 5]
    assert np.abs(seen[19][0, left]).max() > 1e-5 and not seen[24][0, left].any() and np.abs(seen[25][0, left]).max() > 1e-5
    turns = [np.abs(seen[number][0, 54:60] - [1, 0, 0, 0, 1, 0]).max() for number in (24, 25)]
    assert turns[0] < 1e-9 < 1e-5 < turns[1]


@pytest.mark.parametrize("lost", [IMUS, (5,), (LEFT,), (HEAD,)])
def test_no_joint_jumps_when_sensors_go_or_come(tmp_path: Path, lost: tuple[int, ...]) -> None:
    """A wild network, which jumps by far more than 15 cm on its own: no joint may, as seen from the head."""
    parts = predictor_folder.read(write(tmp_path / "wild", seed=3, scale=30.0, poles=0, shape_alpha=1.0))

    def gone(number: int, reading: Reading) -> Reading:
        return without(reading, *lost) if 20 <= number < 40 else reading

    live = Live(parts.step, parts.body)
    poses = run(live, READINGS, gone)
    changes = [20 + HELD - 1, 39]
    assert moved(poses)[changes].max() <= EASE_M + 1e-9 < 0.15
    for change in changes:
        assert moved(poses)[change : change + EASE].max() <= EASE_M + 1e-9


def test_without_easing_that_network_would_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr("tenfold.motion_tracking.live.EASE", 0)
    parts = predictor_folder.read(write(tmp_path / "wild", seed=3, scale=30.0, poles=0, shape_alpha=1.0))
    poses = run(Live(parts.step, parts.body), READINGS, lambda n, reading: without(reading, *IMUS) if 20 <= n < 40 else reading)
    assert moved(poses)[[20 + HELD - 1, 39]].max() > 0.15


def test_without_a_head_the_pose_stands_still_and_before_the_first_there_is_none(live: Live) -> None:
    poses = run(live, READINGS[:30], lambda n, reading: without(reading, HEAD) if n < 5 or n >= 15 else reading)
    assert poses[0].t == READINGS[5].t
    still = [pose for pose in poses if "head" in pose.flags]
    assert [pose.t for pose in still] == [reading.t for reading in READINGS[15 + HELD : 30]]
    assert all(np.array_equal(pose.positions, still[0].positions) for pose in still)


# -- readings that cannot be ----------------------------------------------------------------------------------------


def broken(values: np.ndarray, kind: str) -> None:
    sensor = LEFT
    if kind == "not_finite":
        values[sensor, 4] = math.nan
    elif kind == "infinite":
        values[sensor, 1] = math.inf
    elif kind == "quaternion":
        values[sensor, 3:] *= 1.02
    elif kind == "zeros":
        values[sensor] = 0
    elif kind == "untracked":
        values[sensor] = [0, 0, 0, 1, 0, 0, 0]
    elif kind == "absurd":
        values[sensor, 0] = 1e20


@pytest.mark.parametrize(
    ("kind", "noted"),
    [
        ("not_finite", "not_finite"),
        ("infinite", "not_finite"),
        ("quaternion", "quaternion"),
        ("zeros", "zeros"),
        ("untracked", "zeros"),
        ("absurd", "absurd"),
    ],
)
def test_a_reading_that_cannot_be_is_held_then_masked(parts: predictor_folder.Parts, kind: str, noted: str) -> None:
    def wrong(number: int, reading: Reading) -> Reading:
        values = reading.values.copy()
        if 20 <= number < 40:
            broken(values, kind)
        return Reading(reading.t, values)

    live, same = Live(parts.step, parts.body), Live(parts.step, parts.body)
    poses = run(live, READINGS, wrong)
    silent = run(same, READINGS, lambda n, reading: without(reading, LEFT) if 20 <= n < 40 else reading)
    assert all(np.array_equal(a.local, b.local) and np.array_equal(a.present, b.present) for a, b in zip(poses, silent, strict=True))
    assert count(live, noted, "lhand") == 20 and live.record.found[noted, "lhand"][1].startswith("frame 20, (")
    assert count(live, "lost", "lhand") == count(live, "back", "lhand") == 1
    assert any(line.startswith("lhand: ") and ": 20, first at frame 20" in line for line in live.record.lines())


def test_a_quaternion_nearly_of_unit_length_is_used(parts: predictor_folder.Parts) -> None:
    def longer(_: int, reading: Reading) -> Reading:
        values = reading.values.copy()
        values[:3, 3:] *= 1.009
        return Reading(reading.t, values)

    live = Live(parts.step, parts.body)
    poses, plain = run(live, READINGS[:10], longer), run(Live(parts.step, parts.body), READINGS[:10])
    assert not live.record.found
    assert np.abs(np.stack([p.local for p in poses]) - np.stack([p.local for p in plain])).max() < 1e-6


def test_an_imu_of_zeros_says_nothing_and_one_at_rest_does(live: Live) -> None:
    def zero(number: int, reading: Reading) -> Reading:
        values = reading.values.copy()
        values[5] = 0
        return Reading(reading.t, values)

    poses = run(live, READINGS[:10], zero)
    assert not any(pose.present[5] for pose in poses) and count(live, "zeros", "pelvis") == 10
    # the swaying sensors' accelerations are 0 without being wrong
    assert all(pose.present[3] for pose in poses) and not READINGS[0].values[3, 4:].any()


# -- time -----------------------------------------------------------------------------------------------------------


def test_lines_and_times_that_are_none_are_left_out(parts: predictor_folder.Parts) -> None:
    live = Live(parts.step, parts.body)
    poses = []
    for reading in READINGS[:20]:
        poses += live.push(reading)
        assert live.push(Unread("no JSON")) == []
        assert live.push(Reading(math.nan, reading.values)) == []
        assert live.push(reading) == []  # a duplicate
        assert live.push(Reading(reading.t - 0.5, reading.values)) == []
    plain = run(Live(parts.step, parts.body), READINGS[:20])
    assert all(np.array_equal(a.local, b.local) for a, b in zip(poses, plain, strict=True))
    assert [count(live, what) for what in ("unread", "no_time", "duplicate", "backwards", "clock")] == [20, 20, 20, 20, 0]


def test_a_clock_that_is_set_back_is_believed_after_ten_readings(live: Live) -> None:
    late = [Reading(reading.t + 1000, reading.values) for reading in READINGS[:20]]
    poses = run(live, [*late, *READINGS])
    assert [pose.t for pose in poses[:20]] == [reading.t for reading in late]
    assert [pose.t for pose in poses[20:]] == [reading.t for reading in READINGS[RESTART - 1 :]]
    assert "gap" in poses[20].flags and count(live, "clock") == 1 and count(live, "backwards") == RESTART
    assert np.isfinite(poses[20].positions).all()


def test_one_time_far_ahead_costs_ten_readings(live: Live) -> None:
    poses = run(live, [*READINGS[:20], Reading(1e9, READINGS[20].values), *READINGS[21:]])
    assert [pose.t for pose in poses[21:]] == [reading.t for reading in READINGS[20 + RESTART :]]
    assert all(np.isfinite(pose.positions).all() for pose in poses)


@pytest.mark.parametrize("epoch", [1.7e9, -50.0])
def test_where_time_begins_is_of_no_influence(parts: predictor_folder.Parts, epoch: float) -> None:
    """Seconds since 1970 have a resolution of 0.2 microseconds."""

    def gone(number: int, reading: Reading) -> Reading:
        return without(reading, *IMUS) if 20 <= number < 40 else reading

    late = [Reading(reading.t + epoch, reading.values) for reading in READINGS]
    poses, plain = run(Live(parts.step, parts.body), late, gone), run(Live(parts.step, parts.body), READINGS, gone)
    assert all(np.array_equal(a.local, b.local) and np.array_equal(a.held, b.held) for a, b in zip(poses, plain, strict=True))


@pytest.mark.parametrize("lost", [1, 2, 3, 5])
def test_gaps_up_to_100_ms_are_bridged(live: Live, lost: int) -> None:
    poses = run(live, [*READINGS[:20], *READINGS[20 + lost :]])
    assert len(poses) == FRAMES and not any(pose.flags for pose in poses[1:])
    assert np.abs(np.diff([pose.t for pose in poses]) - 1 / 60).max() < 1e-6
    assert count(live, "gap") == (lost >= 2) and not count(live, "long_gap")
    # between the readings at both ends, exactly in line
    head = np.stack([pose.head for pose in poses])
    middle = head[19] + (head[20 + lost] - head[19]) * np.arange(1, lost + 1)[:, None] / (lost + 1)
    assert np.abs(head[20 : 20 + lost] - middle).max() < 1e-9


@pytest.mark.parametrize("lost", [7, 30, 600])
def test_after_longer_gaps_the_stream_goes_on_with_the_next_reading(live: Live, lost: int) -> None:
    readings = [*READINGS[:20], *(Reading(reading.t + lost / 60, reading.values) for reading in READINGS[20:])]
    poses = run(live, readings)
    assert [pose.t for pose in poses] == [reading.t for reading in readings]
    assert "gap" in poses[20].flags and poses[20].present.all() and not poses[21].held.any()
    assert count(live, "long_gap") == 1 and "from t = " in live.record.found["long_gap", ""][1]
    assert moved(poses)[19:].max() <= EASE_M + 1e-9


def test_after_a_second_of_silence_the_network_starts_anew(parts: predictor_folder.Parts) -> None:
    live, fresh = Live(parts.step, parts.body), Live(parts.step, parts.body)
    run(live, READINGS[:20])
    run(live, [Reading(reading.t + 2, reading.values) for reading in READINGS[20:]])
    run(fresh, READINGS[20:])
    assert all(np.array_equal(live.carried.network[name], fresh.carried.network[name]) for name in fresh.carried.network)


@pytest.mark.parametrize("rate", [11.0, 30.0, 50.0, 72.0, 90.0, 120.0, 500.0])
def test_other_rates_come_out_at_60_hz(parts: predictor_folder.Parts, rate: float) -> None:
    """A head that moves evenly is where it was at that time, whatever the rate; no pose looks ahead of its reading."""
    live, poses = Live(parts.step, parts.body), []
    start, speed = READINGS[0].values, np.array([0.5, -0.2, 0.1])
    for number in range(int(rate)):
        values = start.copy()
        values[:3, :3] += speed * number / rate
        made = live.push(Reading(100 + number / rate, values))
        assert all(pose.t <= 100 + number / rate + 1e-6 for pose in made)
        poses += made
    times = np.array([pose.t for pose in poses])
    assert np.abs(np.diff(times) - 1 / 60).max() < 1e-6 and 1 - times[-1] + times[0] < 1 / rate + 2 / 60
    wanted = start[HEAD, :3] + speed * (times - 100)[:, None]
    assert np.abs(np.stack([pose.head for pose in poses]) - wanted).max() < 1e-9
    assert not any(pose.held.any() or not pose.present.all() for pose in poses) and not count(live, "gap")


def test_readings_at_nearly_60_hz_are_taken_as_they_are(parts: predictor_folder.Parts) -> None:
    rng = np.random.default_rng(0)
    late = [Reading(reading.t * 1.001 + rng.uniform(0, 0.002), reading.values) for reading in READINGS]
    poses, plain = run(Live(parts.step, parts.body), late), run(Live(parts.step, parts.body), READINGS)
    assert abs(len(poses) - FRAMES) <= 1
    ahead = len(poses) - FRAMES
    assert np.array_equal(np.stack([pose.head for pose in poses[-30:]]), np.stack([pose.head for pose in plain[-30:]])), ahead


@given(
    st.lists(
        st.tuples(st.floats(-0.3, 0.6) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0]), st.integers(0, 63), st.integers(0, 6)),
        max_size=40,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_comes_no_pose_is_wrong(parts: predictor_folder.Parts, stream: list[tuple[float, int, int]]) -> None:
    live, t = Live(parts.step, parts.body), 0.0
    kinds = ["", "not_finite", "infinite", "quaternion", "zeros", "untracked", "absurd"]
    last = -math.inf
    for number, (step, gone, kind) in enumerate(stream):
        t = t + step if math.isfinite(step) else t
        values = READINGS[number].values.copy()
        broken(values, kinds[kind])
        values[[sensor for sensor in range(6) if gone >> sensor & 1]] = np.nan
        for pose in live.push(Reading(t if math.isfinite(step) else step, values)):
            assert np.isfinite(pose.positions).all() and np.isfinite(pose.root).all() and np.isfinite(pose.betas).all()
            assert np.abs(np.linalg.det(pose.local) - 1).max() < 1e-6
            assert pose.t > last or "gap" in pose.flags
            last = pose.t
    assert sum(found for found, _ in live.record.found.values()) >= 0


# -- state ------------------------------------------------------------------------------------------------------------


def test_two_streams_of_one_step_do_not_share_their_state(parts: predictor_folder.Parts) -> None:
    one, other = Live(parts.step, parts.body), Live(parts.step, parts.body)
    backwards = [Reading(reading.t, READINGS[-1 - n].values) for n, reading in enumerate(READINGS)]
    mixed: tuple[list, list] = ([], [])
    for a, b in zip(READINGS, backwards, strict=True):
        mixed[0].extend(one.push(a))
        mixed[1].extend(other.push(b))
    for poses, readings in zip(mixed, (READINGS, backwards), strict=True):
        alone = run(Live(parts.step, parts.body), readings)
        assert all(np.array_equal(p.local, q.local) and np.array_equal(p.root, q.root) for p, q in zip(poses, alone, strict=True))


@pytest.mark.parametrize("cut", [1, 23, 28])
def test_a_state_as_bytes_goes_on_where_it_stopped(parts: predictor_folder.Parts, cut: int) -> None:
    def gone(number: int, reading: Reading) -> Reading:
        return without(reading, *IMUS) if 20 <= number < 40 else reading

    readings = [gone(n, reading) for n, reading in enumerate(READINGS)]
    whole = run(Live(parts.step, parts.body, shape="steady"), readings)
    first, second = Live(parts.step, parts.body, shape="steady"), Live(parts.step, parts.body, shape="steady")
    poses = run(first, readings[:cut])
    second.from_bytes(first.to_bytes())
    poses += run(second, readings[cut:])
    assert all(
        np.array_equal(a.local, b.local) and np.array_equal(a.betas, b.betas) and a.flags == b.flags
        for a, b in zip(whole, poses, strict=True)
    )


def test_a_state_that_is_none_is_refused(parts: predictor_folder.Parts, live: Live, tmp_path: Path) -> None:
    run(live, READINGS[:5])
    good = live.to_bytes()
    other = predictor_folder.read(write(tmp_path / "other", seed=5)).step
    for data in (b"", b"x" * 100, good[:-10], good + b"0", other.sha256.encode(), b"\xff" * 8):
        with pytest.raises(BadData, match="state"):
            live.from_bytes(data)
    with pytest.raises(BadData, match="not one of this model"):
        Carried.from_bytes(good, other.sha256, other.start())
    wrong = Carried.fresh(parts.step.start())
    wrong.positions = np.zeros((3, 3))
    with pytest.raises(BadData, match="positions is float64"):
        live.from_bytes(wrong.to_bytes(parts.step.sha256))
    wrong = Carried.fresh(parts.step.start())
    wrong.network["h"][:] = np.nan
    with pytest.raises(BadData, match="no number"):
        live.from_bytes(wrong.to_bytes(parts.step.sha256))
    live.from_bytes(good)


def test_the_carried_state_does_not_grow(live: Live) -> None:
    sizes = set()
    for reading in READINGS:
        live.push(reading)
        sizes.add(len(live.to_bytes()))
    assert len(sizes) == 1


# -- the rest -----------------------------------------------------------------------------------------------------------


def test_rows_of_135_values_give_what_the_sensors_give(parts: predictor_folder.Parts) -> None:
    live = Live(parts.step, parts.body)
    online, poses = sensors.Online(), []
    for reading in READINGS[:20]:
        values = reading.values
        turned = rotations.matrix_from_quaternion(np.concatenate([values[:3, 3:], values[3:, :4]]))
        pose = live.row(online.step(turned, values[:3, :3], values[3:, 4:]))
        assert pose is not None
        poses.append(pose)
    plain = run(Live(parts.step, parts.body), READINGS[:20])
    assert all(np.array_equal(a.local, b.local) for a, b in zip(poses, plain, strict=True))
    assert np.abs(np.stack([p.root for p in poses]) - np.stack([p.root for p in plain])).max() < 1e-6
    stopped = live.row(np.full(135, np.nan))
    assert stopped is not None and "head" in stopped.flags and np.array_equal(stopped.positions, poses[-1].positions)


def test_a_row_masked_by_a_set_is_that_of_the_set(parts: predictor_folder.Parts) -> None:
    one, other = Live(parts.step, parts.body), Live(parts.step, parts.body)
    rng = np.random.default_rng(0)
    for x in rng.standard_normal((5, 135)).astype(np.float32):
        a, b = one.row(x, "hmd"), other.row(sensors.apply_mask(x, "hmd"))
        assert a is not None and b is not None and np.array_equal(a.local, b.local) and a.sensor_set == "hmd"


def test_a_steady_shape_settles(parts: predictor_folder.Parts) -> None:
    poses = run(Live(parts.step, parts.body, shape="steady"), swaying(400))
    betas = np.stack([pose.betas for pose in poses])
    assert np.array_equal(betas[-1], betas[-60]) and not np.array_equal(betas[0], betas[30])
    free = np.stack([pose.betas for pose in run(Live(parts.step, parts.body), swaying(400))])
    settled = 1 + int(np.flatnonzero((np.diff(betas, axis=0) != 0).any(axis=1)).max())
    assert np.abs(betas[-1] - free[: settled + 1].mean(axis=0)).max() < 1e-9


def test_without_a_body_there_are_rotations_and_no_places(parts: predictor_folder.Parts) -> None:
    poses, plain = run(Live(parts.step, None), READINGS[:10]), run(Live(parts.step, parts.body), READINGS[:10])
    assert all(np.array_equal(a.local, b.local) and np.isnan(a.root).all() for a, b in zip(poses, plain, strict=True))


def test_wrong_words_are_refused(parts: predictor_folder.Parts, live: Live) -> None:
    with pytest.raises(UsageError, match="sensor set 'hdm' is unknown; there are auto, hmd"):
        live.push(READINGS[0], "hdm")
    with pytest.raises(UsageError, match="shape is 'soft'"):
        Live(parts.step, parts.body, shape="soft")
    assert HOLD_S == 0.1

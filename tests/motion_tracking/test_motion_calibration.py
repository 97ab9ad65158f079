"""Calibration: the constant rotations are found again, and whoever moves or holds another pose is told so."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_human import human
from scipy.spatial.transform import Rotation

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import calibration, columns, kinematics, rotations, skeleton, tools
from tenfold.motion_tracking.sensors import Readings
from tenfold.motion_tracking.stream import Reading


def standing(pose: str, heading: float, frames: int = 90, sway: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """World rotations (T, 22, 3, 3) and positions (T, 22, 3) of somebody who stands in the pose, swaying by `sway` degrees."""
    rng = np.random.default_rng(0)
    local = np.broadcast_to(np.eye(3), (frames, 22, 3, 3)).copy()
    sways = np.radians(sway) * np.sin(np.arange(frames)[:, None] / 20 + rng.uniform(0, 6, 3))
    local[:, 0] = rotations.about("z", heading) @ rotations.STANDING @ rotations.matrix_from_axis_angle(sways)
    if pose == "n":
        local[:, 16], local[:, 17] = rotations.about("z", -np.pi / 2), rotations.about("z", np.pi / 2)
    body = human()
    return kinematics.forward(local, body.rest, [0.3, -2.0, -body.rest[10, 1] - body.rest[0, 1] + body.rest[0, 1]])


def worn(readings: list[Reading], mounts: np.ndarray, imu_turn: np.ndarray) -> list[Reading]:
    """What sensors say that sit turned by `mounts` (6, 3, 3) on their bones; the IMUs' world is turned by `imu_turn`."""
    out = []
    for reading in readings:
        values = reading.values.copy()
        turned = rotations.matrix_from_quaternion(np.concatenate([values[:3, 3:], values[3:, :4]])) @ mounts
        turned[3:] = imu_turn @ turned[3:]
        quaternions = rotations.quaternion_from_matrix(turned)
        values[:3, 3:], values[3:, :4] = quaternions[:3], quaternions[3:]
        values[3:, 4:] = values[3:, 4:] @ imu_turn.T
        out.append(Reading(reading.t, values))
    return out


def turned_of(reading: Reading) -> Readings:
    values = reading.values
    matrices = rotations.matrix_from_quaternion(np.concatenate([values[:3, 3:], values[3:, :4]]))
    return Readings(matrices, values[:3, :3], values[3:, 4:])


@given(st.sampled_from("tn"), st.floats(-3.1, 3.1), st.integers(0, 10**6), st.sampled_from([0.0, 0.7]))
@settings(max_examples=15, deadline=None)
def test_mounts_are_found_again(pose: str, heading: float, seed: int, imu: float) -> None:
    """Sensors turned at will: after calibration they say what sensors on the bones say, in any other pose."""
    mounts = Rotation.random(6, random_state=seed).as_matrix()
    world, places = standing(pose, heading, sway=0.0)
    still = tools.readings(world, places, np.zeros((len(world), 3, 3)))
    turn = rotations.about("z", imu)
    found = calibration.solve(worn(still, mounts, turn.T), pose, imu_heading=imu)
    assert np.abs(np.exp(1j * found.heading) - np.exp(1j * heading)) < 1e-6 and found.solved == columns.SENSORS
    moving = tools.swaying(3, human())[2]
    moving = Reading(0.0, moving.values + np.pad(np.ones((3, 3)), ((3, 0), (4, 0))))
    seen, bones = found.apply(turned_of(worn([moving], mounts, turn.T)[0])), turned_of(moving)
    assert np.abs(seen.rotation - bones.rotation).max() < 1e-6
    assert np.abs(seen.position - bones.position).max() < 1e-12 and np.abs(seen.acceleration - bones.acceleration).max() < 1e-9


def test_swaying_is_averaged_and_the_file_keeps_all(tmp_path: Path) -> None:
    mounts = Rotation.random(6, random_state=3).as_matrix()
    world, places = standing("t", 0.4)
    lines = worn(tools.readings(world, places + [0, 0, 0.25], np.zeros((90, 3, 3))), mounts, np.eye(3))
    found = calibration.solve([line for line in lines], "t", floor=0.25)
    assert np.degrees(rotations.angle_between(found.rotation, mounts.swapaxes(-1, -2))).max() < 1.0
    calibration.write(tmp_path / "c.json", found)
    again = calibration.read(tmp_path / "c.json")
    assert np.abs(again.rotation - found.rotation).max() < 1e-12
    assert again.floor == 0.25 and again.pose == "t" and again.solved == columns.SENSORS
    assert abs(found.apply(turned_of(lines[0])).position[0, 2] - places[0, skeleton.HEAD, 2]) < 1e-9


def test_an_offset_may_be_written_by_hand(tmp_path: Path) -> None:
    world, places = standing("t", 0.0)
    lines = tools.readings(world, places, np.zeros((90, 3, 3)))
    calibration.write(tmp_path / "c.json", calibration.solve(lines, "t"))
    found = json.loads((tmp_path / "c.json").read_text())
    found["sensors"]["head"]["offset_m"] = [0.0, -0.1, -0.08]
    (tmp_path / "c.json").write_text(json.dumps(found))
    seen = calibration.read(tmp_path / "c.json").apply(turned_of(lines[0]))
    head = turned_of(lines[0])
    assert np.abs(seen.position[0] - head.position[0] - head.rotation[0] @ [0.0, -0.1, -0.08]).max() < 1e-12


def test_sensors_that_are_not_there_stay_as_they_are() -> None:
    world, places = standing("t", 1.0)
    lines = tools.readings(world, places, np.zeros((90, 3, 3)))
    for line in lines:
        line.values[4:] = np.nan
    found = calibration.solve(lines, "t")
    assert found.solved == columns.SENSORS[:4] and np.array_equal(found.rotation[4:], np.broadcast_to(np.eye(3), (2, 3, 3)))


def refused(says: str, pose: str = "t", change: object = None, held: str = "", **more: float) -> None:
    world, places = standing(held or pose, 0.2)
    lines = tools.readings(world, places, np.zeros((90, 3, 3)))
    if callable(change):
        lines = change(lines)
    with pytest.raises(BadData, match=says):
        calibration.solve(lines, pose, **more)


def moving(sensor: int, column: int, by: float) -> Callable[[list[Reading]], list[Reading]]:
    def change(lines: list[Reading]) -> list[Reading]:
        for number, line in enumerate(lines):
            line.values[sensor, column] += by * (number % 20) / 20
        return lines

    return change


def turning(lines: list[Reading]) -> list[Reading]:
    for number, line in enumerate(lines):
        half = np.radians(number / 90 * 30) / 2
        line.values[4, :4] = [np.cos(half), 0, 0, np.sin(half)]
    return lines


def test_whoever_moves_is_told_so() -> None:
    refused("did not stand still: rhand moved by .* cm", change=moving(2, 0, 0.2))
    refused("did not stand still: rshin turned by .* degrees", change=turning)
    refused("lshin felt .* m/s.2 .is gravity removed", change=moving(3, 6, 9.8))


def test_another_pose_is_told_so() -> None:
    refused("this is no T-pose: .* as in an N-pose", pose="t", held="n")
    refused("this is no N-pose: .* as in a T-pose", pose="n", held="t")
    refused("the head is .* m above the floor", floor=-3.0)
    refused("the head is .* m above the floor", floor=1.0)


def test_too_little_is_told_so() -> None:
    refused("frames lie in the 1 s from 5 s on", start=5.0)
    refused("at least 15 over 0.5 s", change=lambda lines: lines[:10])
    refused("0 frames lie", change=lambda lines: [])
    refused(
        "lhand: not tracked",
        change=lambda lines: [Reading(line.t, np.where(np.arange(6)[:, None] == 1, np.nan, line.values)) for line in lines],
    )
    with pytest.raises(UsageError, match="pose is 'x'"):
        calibration.solve([], "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no calibration"), ("[]", "is no calibration"), ("[" * 10**5, "is no calibration"), ('{"format": "1"}', "has format '1'"),
        ("ROTATION", "quaternions have length 1"), ("SHORT", "a rotation has four numbers"), ("NAN", "all finite"), ("FAR", "below 1 m"),
        ("MISSING", "is no calibration"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    world, places = standing("t", 0.0)
    path = tmp_path / "c.json"
    calibration.write(path, calibration.solve(tools.readings(world, places, np.zeros((90, 3, 3))), "t"))
    if text.isupper():
        found = json.loads(path.read_text())
        head = found["sensors"]["head"]
        if text == "ROTATION":
            head["rotation"] = [0, 0, 0, 0]
        elif text == "SHORT":
            for entry in found["sensors"].values():
                entry["rotation"] = [1, 0, 0]
        elif text == "NAN":
            found["floor_m"] = float("nan")
        elif text == "FAR":
            head["offset_m"] = [5, 0, 0]
        else:
            del found["sensors"]["pelvis"]
        text = json.dumps(found)
    path.write_text(text)
    with pytest.raises(BadData, match=says):
        calibration.read(path)
    with pytest.raises(BadData, match="cannot be read"):
        calibration.read(tmp_path / "none.json")

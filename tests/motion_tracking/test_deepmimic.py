"""DeepMimic's files: rest pose, hinges and axes where the eye expects them, uneven frames, broken files."""

import json
from pathlib import Path

import numpy as np
import pytest
from motion_tracking.small_human import rest_joints

from tenfold.core.errors import BadData
from tenfold.motion_tracking import deepmimic, kinematics, rotations, skeleton


def _rows(count: int = 4, duration: float = 1 / 30) -> np.ndarray:
    """Standing still with hanging arms, facing +x in the file and -y in the world."""
    rows = np.zeros((count, deepmimic.WIDTH))
    rows[:, 0] = duration
    rows[:, 2] = 0.9
    for first in (4, 8, 12, 16, 21, 25, 30, 35, 39):
        rows[:, first] = 1.0
    return rows


def _quaternion(axis: str, degrees: float) -> np.ndarray:
    return rotations.quaternion_from_matrix(rotations.about(axis, np.radians(degrees)))  # type: ignore[arg-type]


def _read(folder: Path, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    path = folder / "motion.txt"
    path.write_text(json.dumps({"Loop": "none", "Frames": rows.tolist()}))
    read = deepmimic.read(path, rest_joints())
    world, positions = kinematics.forward(read.local, rest_joints(), read.root)
    turn = rotations.about("z", np.pi / 2)
    return turn @ world, positions @ turn.T, read.fps


def test_the_character_at_rest_stands_upright_faces_x_and_lets_its_arms_hang(tmp_path: Path) -> None:
    world, positions, fps = _read(tmp_path, _rows())
    assert fps == pytest.approx(30.0)
    assert np.allclose(world[0, 0], rotations.STANDING, atol=1e-9)
    for wrist, shoulder in ((20, 16), (21, 17)):
        arm = positions[0, wrist] - positions[0, shoulder]
        assert arm[2] < -0.98 * np.linalg.norm(arm)
    assert positions[0, skeleton.LEFT_WRIST, 1] > 0.1 > -0.1 > positions[0, skeleton.RIGHT_WRIST, 1]
    assert positions[0, 10, 0] > positions[0, 7, 0]


@pytest.mark.parametrize(("side", "column", "knee"), [("right", 20, 5), ("left", 34, 4)])
def test_a_knee_bends_backward_on_its_own_side(side: str, column: int, knee: int, tmp_path: Path) -> None:
    rows = _rows()
    rows[:, column] = -1.2
    _, bent, _ = _read(tmp_path, rows)
    _, straight, _ = _read(tmp_path, _rows())
    moved = bent[0] - straight[0]
    assert moved[knee + 3, 0] < -0.2 and moved[knee + 3, 2] > 0.05
    other = 4 if knee == 5 else 5
    assert np.allclose(moved[[other, other + 3]], 0.0, atol=1e-9)


@pytest.mark.parametrize(("column", "wrist", "elbow"), [(29, 21, 19), (43, 20, 18)])
def test_an_elbow_bends_forward(column: int, wrist: int, elbow: int, tmp_path: Path) -> None:
    rows = _rows()
    rows[:, column] = np.pi / 2
    _, positions, _ = _read(tmp_path, rows)
    forearm = positions[0, wrist] - positions[0, elbow]
    assert forearm[0] > 0.9 * np.linalg.norm(forearm)


@pytest.mark.parametrize(("first", "hip"), [(16, 2), (30, 1)])
def test_a_hip_turns_its_own_leg_forward(first: int, hip: int, tmp_path: Path) -> None:
    rows = _rows()
    rows[:, first : first + 4] = _quaternion("z", 60)
    _, positions, _ = _read(tmp_path, rows)
    thigh = positions[0, hip + 3] - positions[0, hip]
    assert np.degrees(np.arctan2(thigh[0], -thigh[2])) == pytest.approx(60, abs=4)


def test_the_chest_turns_by_its_whole_angle_in_three_parts(tmp_path: Path) -> None:
    rows = _rows()
    rows[:, 8:12] = _quaternion("y", 75)
    world, _, _ = _read(tmp_path, rows)
    headings = np.degrees(rotations.yaw(world[0, [0, 3, 6, 9]]))
    assert headings == pytest.approx([0, 25, 50, 75], abs=1e-6)


def test_the_root_moves_in_leg_lengths(tmp_path: Path) -> None:
    rows = _rows()
    rows[:, 1:4] = np.arange(len(rows))[:, None] * [0.42, 0.0, 0.21] + [0, 0.9, 0]
    _, positions, _ = _read(tmp_path, rows)
    rest = rest_joints()
    leg = np.linalg.norm(rest[4] - rest[1]) + np.linalg.norm(rest[7] - rest[4])
    # Its right is +z, ours is -y.
    assert np.diff(positions[:, 0], axis=0) == pytest.approx(np.tile([0.5 * leg, -0.25 * leg, 0.0], (3, 1)), abs=1e-9)


def test_the_quaternions_sign_does_not_matter(tmp_path: Path) -> None:
    rows = _rows()
    rows[:, 8:12] = _quaternion("z", 20)
    flipped = rows.copy()
    flipped[1::2, 8:12] *= -1
    assert np.allclose(_read(tmp_path, rows)[0], _read(tmp_path, flipped)[0], atol=1e-12)


def test_uneven_frames_are_read_at_the_median_rate(tmp_path: Path) -> None:
    rows = _rows(9)
    rows[:, 0] = [0.05, 0.05, 0.1, 0.05, 0.05, 0.05, 0.1, 0.05, 0.0]
    times = np.append(0, np.cumsum(rows[:-1, 0]))
    rows[:, 1] = times
    _, positions, fps = _read(tmp_path, rows)
    assert fps == pytest.approx(20.0) and len(positions) == 11
    assert np.allclose(np.diff(positions[:, 0, 0]), np.diff(positions[:2, 0, 0])[0], atol=1e-9)


@pytest.mark.parametrize("case", ["narrow", "nan", "one", "zero_step", "zero_quaternion", "text", "no_frames", "ragged", "missing"])
def test_a_broken_file_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "motion.txt"
    rows = _rows()
    if case == "narrow":
        rows = rows[:, :43]
    elif case == "nan":
        rows[1, 3] = np.nan
    elif case == "one":
        rows = rows[:1]
    elif case == "zero_step":
        rows[1, 0] = 0.0
    elif case == "zero_quaternion":
        rows[1, 8:12] = 0.0
    content = {"text": "{", "no_frames": "{}", "ragged": '{"Frames": [[1, 2], [1]]}'}.get(case, json.dumps({"Frames": rows.tolist()}))
    if case != "missing":
        path.write_text(content)
    with pytest.raises(BadData):
        deepmimic.read(path, rest_joints())

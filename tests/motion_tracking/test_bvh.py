"""BVH files: the parser against scipy's Euler angles, carrying over against a body that is its own source, and broken files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_human import rest_joints
from scipy.spatial.transform import Rotation

from tenfold.core.errors import BadData
from tenfold.motion_tracking import bvh, kinematics, rotations, skeleton

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 1.0 2.0 3.0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Arm
  {
    OFFSET 0.0 10.0 0.0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0.0 5.0 0.0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.02
7 8 9 10 20 30 40 50 60
0 0 0 0 0 0 0 0 90
"""


def text_of(rest: np.ndarray, local: np.ndarray, root: np.ndarray, scale: float = 1.0, fps: float = 60.0) -> str:
    """A BVH file, y-up and with the CMU names, of a motion of `rest`."""
    names = [bvh.CMU[name] for name in skeleton.JOINTS]
    lines = ["HIERARCHY"]
    order: list[int] = []

    def joint(number: int, depth: int) -> None:
        order.append(number)
        parent = skeleton.PARENTS[number]
        offset = (rest[number] - (rest[parent] if parent >= 0 else rest[0])) / scale
        lines.append("\t" * depth + ("ROOT " if parent < 0 else "JOINT ") + names[number])
        lines.append("\t" * depth + "{")
        lines.append("\t" * depth + "\tOFFSET " + " ".join(f"{value:.9f}" for value in offset))
        places = "6 Xposition Yposition Zposition " if parent < 0 else "3 "
        lines.append("\t" * depth + "\tCHANNELS " + places + "Zrotation Yrotation Xrotation")
        children = [child for child, own in enumerate(skeleton.PARENTS) if own == number]
        for child in children:
            joint(child, depth + 1)
        if not children:
            lines.extend("\t" * depth + part for part in ("\tEnd Site", "\t{", "\t\tOFFSET 0 0.1 0", "\t}"))
        lines.append("\t" * depth + "}")

    joint(0, 0)
    down = rotations.about("x", -np.pi / 2)
    turned = local.copy()
    turned[:, 0] = down @ local[:, 0]
    euler = np.stack([Rotation.from_matrix(turned[:, number]).as_euler("ZYX", degrees=True) for number in order], 1)
    place = (root + rest[0]) @ down.T / scale
    lines += ["MOTION", f"Frames: {len(local)}", f"Frame Time: {1 / fps:.9f}"]
    lines += [" ".join(f"{value:.9f}" for value in (*place[frame], *euler[frame].ravel())) for frame in range(len(local))]
    return "\n".join(lines) + "\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "motion.bvh"
    path.write_text(text)
    return path


def test_channels_are_euler_angles_in_their_order(tmp_path: Path) -> None:
    read = bvh.read(_write(tmp_path, SMALL))
    assert read.names == ["Hips", "Arm"] and read.parents == [-1, 0] and read.fps == pytest.approx(50.0)
    hips = Rotation.from_euler("ZYX", [10, 20, 30], degrees=True).as_matrix()
    arm = hips @ Rotation.from_euler("ZXY", [40, 50, 60], degrees=True).as_matrix()
    assert np.allclose(read.rotations[0], [hips, arm])
    assert np.allclose(read.positions[0], [[7, 8, 9], np.array([7, 8, 9]) + hips @ [0, 10, 0]])
    assert np.allclose(read.positions[1, 1], [0, 10, 0])


@given(st.integers(0, 10**6), st.floats(0.01, 10.0))
@settings(max_examples=15, deadline=None)
def test_a_motion_of_our_own_skeleton_comes_back_as_it_went(seed: int, scale: float) -> None:
    import tempfile

    rng = np.random.default_rng(seed)
    local = rotations.matrix_from_axis_angle(0.4 * rng.normal(size=(4, skeleton.COUNT, 3)))
    local[:, 0] = rotations.about("z", rng.normal()) @ rotations.STANDING @ local[:, 0]
    root, rest = rng.normal(size=(4, 3)), rest_joints()
    with tempfile.TemporaryDirectory() as folder:
        carried = bvh.carry_over(bvh.read(_write(Path(folder), text_of(rest, local, root, scale))), rest, metres_per_unit=scale)
    assert np.allclose(carried.local, local, atol=1e-5) and np.allclose(carried.root, root, atol=1e-5)
    assert carried.fps == pytest.approx(60.0, rel=1e-6)


def test_a_taller_body_takes_longer_steps_with_the_same_angles(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rest = rest_joints()
    local = rotations.STANDING @ rotations.matrix_from_axis_angle(0.3 * rng.normal(size=(5, skeleton.COUNT, 3)))
    root = rng.normal(size=(5, 3))
    source = bvh.read(_write(tmp_path, text_of(rest, local, root)))
    small, tall = (bvh.carry_over(source, size * rest, metres_per_unit=1.0) for size in (1.0, 1.2))
    assert np.allclose(small.local, tall.local, atol=1e-9)
    assert np.allclose(tall.root + 1.2 * rest[0], 1.2 * (small.root + rest[0]), atol=1e-9)


def test_splayed_legs_at_rest_are_straightened(tmp_path: Path) -> None:
    """The CMU skeleton's legs point outward at rest; the bones' directions in the world must still be those of the file."""
    rest = rest_joints()
    splayed = rest.copy()
    for side, hip in ((1, 1), (-1, 2)):
        turn = rotations.about("z", side * 0.35)
        for joint in (hip + 3, hip + 6, hip + 9):
            splayed[joint] = rest[hip] + turn @ (rest[joint] - rest[hip])
    rng = np.random.default_rng(2)
    local = rotations.matrix_from_axis_angle(0.3 * rng.normal(size=(6, skeleton.COUNT, 3)))
    local[:, 0] = rotations.STANDING @ local[:, 0]
    root = np.zeros((6, 3))
    carried = bvh.carry_over(bvh.read(_write(tmp_path, text_of(splayed, local, root))), rest, metres_per_unit=1.0)
    _, theirs = kinematics.forward(local, splayed, root)
    _, ours = kinematics.forward(carried.local, rest, carried.root)
    for start, end in ((1, 4), (2, 5), (4, 7), (5, 8), (16, 18), (18, 20)):
        assert np.allclose(ours[:, end] - ours[:, start], theirs[:, end] - theirs[:, start], atol=1e-6)


def test_joints_left_out_stay_straight(tmp_path: Path) -> None:
    rest = rest_joints()
    local = np.tile(np.eye(3), (2, skeleton.COUNT, 1, 1))
    local[:, 0] = rotations.about("z", 0.3) @ rotations.STANDING
    local[:, 3] = rotations.about("x", 0.4)
    read = bvh.read(_write(tmp_path, text_of(rest, local, np.zeros((2, 3)))))
    names = {ours: theirs for ours, theirs in bvh.CMU.items() if ours not in ("spine1", "left_collar")}
    carried = bvh.carry_over(read, rest, names, metres_per_unit=1.0)
    assert np.allclose(carried.local[:, [3, 13]], np.eye(3), atol=1e-9)
    assert np.allclose(carried.local[:, 6], rotations.about("x", 0.4), atol=1e-7)


@pytest.mark.parametrize("change", [("left_knee", None), ("left_knee", "Schenkel"), ("tail", "Hips")])
def test_a_map_that_does_not_fit_is_refused(change: tuple[str, str | None], tmp_path: Path) -> None:
    rest = rest_joints()
    local = np.tile(rotations.about("x", 1.2), (2, skeleton.COUNT, 1, 1))
    read = bvh.read(_write(tmp_path, text_of(rest, local, np.zeros((2, 3)))))
    names = {**bvh.CMU, change[0]: change[1]} if change[1] else {key: bvh.CMU[key] for key in bvh.CMU if key != change[0]}
    with pytest.raises(BadData, match=change[1] if change[0] == "left_knee" and change[1] else change[0]):
        bvh.carry_over(read, rest, names, metres_per_unit=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("up", "forward"), [("y", "y"), ("x", "z"), ("z", "z"), ("y", "up")])
def test_axes_that_make_no_frame_are_refused(up: str, forward: str, tmp_path: Path) -> None:
    read = bvh.read(_write(tmp_path, text_of(rest_joints(), np.tile(np.eye(3), (1, skeleton.COUNT, 1, 1)), np.zeros((1, 3)))))
    with pytest.raises(BadData, match="forward"):
        bvh.carry_over(read, rest_joints(), metres_per_unit=1.0, up=up, forward=forward)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("HIERARCHY", "HIRARCHIE", "not a BVH"),
        ("MOTION", "MOVEMENT", "not a BVH"),
        ("Frames: 2", "Frames: 3", "3 frames are announced, 2"),
        ("Frames: 2", "Frames: two", "Frames"),
        ("Frames: 2", "Frames: 0", "plausible"),
        ("Frames: 2", "Frames: 99999999999", "plausible"),
        ("Frame Time: 0.02", "Frame Time: 0", "plausible"),
        ("Frame Time: 0.02", "Frame Time: nan", "plausible"),
        ("40 50 60", "40 50", "line 19"),
        ("40 50 60", "40 nan 60", "line 19"),
        ("40 50 60", "40 fifty 60", "line 19"),
        ("OFFSET 0.0 10.0 0.0", "OFFSET 0.0 10.0", "line 8"),
        ("CHANNELS 3", "CHANNELS 2", "line 9"),
        ("Zrotation Xrotation Yrotation", "Zrotation Wrotation Yrotation", "line 9"),
        ("  JOINT Arm", "  JOINT Arm\n  JOINT Leg", "line"),
        ("  JOINT Arm\n", "", "line"),
        ("  JOINT Arm", "  ROOT Arm", "line 6"),
        ("}\nMOTION", "MOTION", "cut off"),
        ("}\nMOTION", "}\n}\nMOTION", "brace too many"),
        ("    OFFSET 0.0 10.0 0.0", "    SCALE 3", "not understood"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in SMALL
    path = _write(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(BadData, match=words) as caught:
        bvh.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("up", "forward"), [("z", "-y"), ("z", "y"), ("z", "x"), ("y", "-x"), ("y", "-z")])
def test_other_axes_of_the_file_give_the_same_motion_up_to_a_turn(up: str, forward: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rest = rest_joints()
    local = rotations.matrix_from_axis_angle(0.3 * rng.normal(size=(3, skeleton.COUNT, 3)))
    local[:, 0] = rotations.STANDING @ local[:, 0]
    root = rng.normal(size=(3, 3))
    plain = bvh.read(_write(tmp_path, text_of(rest, local, root)))
    # The file as a program with other axes would write it: columns are our axes in its own.
    axes = {"x": [1, 0, 0], "y": [0, 1, 0], "z": [0, 0, 1]}
    top = np.array(axes[up], float)
    front = np.array(axes[forward.lstrip("-")], float) * (-1 if forward.startswith("-") else 1)
    turn = np.stack([np.cross(top, front), top, front], 1)
    other = bvh.Bvh(
        plain.names, plain.parents, plain.offsets @ turn.T, turn @ plain.rotations @ turn.T, plain.positions @ turn.T, plain.fps
    )
    carried = bvh.carry_over(other, rest, metres_per_unit=1.0, up=up, forward=forward)  # type: ignore[arg-type]
    expected = bvh.carry_over(plain, rest, metres_per_unit=1.0)
    assert np.allclose(carried.local, expected.local, atol=1e-9) and np.allclose(carried.root, expected.root, atol=1e-9)


def test_empty_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.bvh").write_bytes(b"")
    (tmp_path / "binary.bvh").write_bytes(bytes(range(256)) * 20)
    for name in ("empty.bvh", "binary.bvh", "missing.bvh"):
        with pytest.raises(BadData, match=name):
            bvh.read(tmp_path / name)

"""The tools: BVH through a joint map into AMASS's layout, the step exported again, calibration, latency."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_human import human
from motion_tracking.small_live import write
from scipy.spatial.transform import Rotation

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import amass, bvh, bvh_write, calibration, kinematics, rotations, skeleton
from tenfold.motion_tracking.stream import NAMES
from tenfold.motion_tracking.tools import TOOLS, readings, swaying

IDENTITY = {name: name for name in skeleton.JOINTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tools") / "predictor")


def motion(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    local = Rotation.from_rotvec(rng.normal(0, 0.4, (frames * 22, 3))).as_matrix().reshape(frames, 22, 3, 3)
    local[:, 0] = rotations.STANDING @ local[:, 0]
    return local, rng.normal(0, 1, (frames, 3))


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_bvh_written_and_read_is_the_same_motion(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    local, root = motion(4, seed)
    local[1] = Rotation.from_euler("x", 90, degrees=True).as_matrix()  # both outer axes in line
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    bvh_write.write(path, local, root, human().rest, 60.0)
    found = bvh.read(path)
    _, positions = kinematics.forward(local, human().rest, root)
    order = [found.names.index(name) for name in skeleton.JOINTS]
    upright = positions @ rotations.about("x", -np.pi / 2).T
    assert np.abs(found.positions[:, order] / 100 - upright).max() < 1e-6
    carried = bvh.carry_over(found, human().rest, IDENTITY, metres_per_unit=0.01)
    assert rotations.angle_between(carried.local, local).max() < 1e-5 and np.abs(carried.root - root).max() < 1e-4


@pytest.mark.parametrize(("fps", "frames"), [(60.0, 30), (30.0, 15), (120.0, 60)])
def test_convert_bvh(tmp_path: Path, capsys: pytest.CaptureFixture[str], fps: float, frames: int) -> None:
    """Through a map of names, at 60 Hz, where the importer finds it."""
    time = np.arange(frames) / fps
    local = np.broadcast_to(np.eye(3), (frames, 22, 3, 3)).copy()
    local[:, 0] = rotations.about("z", time) @ rotations.STANDING
    local[:, 18] = rotations.about("y", -time)
    root = np.stack([time, 0 * time, 0 * time + 0.2], axis=1)
    bvh_write.write(tmp_path / "walk.bvh", local, root, human().rest, fps)
    text = (tmp_path / "walk.bvh").read_text()
    (tmp_path / "walk.bvh").write_text(text.replace("ROOT pelvis", "ROOT Hips"))
    (tmp_path / "map.json").write_text(json.dumps(IDENTITY | {"pelvis": "Hips"}))
    words = [str(tmp_path / "walk.bvh"), "--out", str(tmp_path / "out"), "--map", str(tmp_path / "map.json"), "--subject", "me"]
    assert TOOLS["convert-bvh"](words) == 0
    assert f"at 60 Hz from {frames} at {fps:g} Hz" in capsys.readouterr().out
    (place,) = amass.clips(tmp_path / "out", tmp_path / "out/Own")
    read = amass.read(tmp_path / "out", place.path)
    assert place.id == "Own/me/walk" and read.fps == 60 and abs(len(read.poses) - 30) <= 1
    new = np.arange(len(read.poses)) / 60
    assert np.abs(read.trans[:, 0] - np.minimum(new, time[-1])).max() < 1e-3
    elbow = rotations.matrix_from_axis_angle(read.poses[:, 18])
    assert rotations.angle_between(elbow, rotations.about("y", -np.minimum(new, time[-1]))).max() < 1e-4


def test_convert_bvh_cuts_the_rest_pose_and_stands_on_the_floor(tmp_path: Path) -> None:
    rest = human().rest
    local = np.broadcast_to(np.eye(3), (20, 22, 3, 3)).copy()
    local[:, 0] = rotations.about("z", 0.3) @ rotations.STANDING
    local[:, 16] = rotations.matrix_from_axis_angle(np.linspace(0, 1, 20)[:, None] * [0.0, -1.0, 0.0])
    bvh_write.write(tmp_path / "walk.bvh", local, np.tile([0.0, 0.0, 5.0], (20, 1)), rest, 60.0)
    (tmp_path / "map.json").write_text(json.dumps(IDENTITY))
    words = [str(tmp_path / "walk.bvh"), "--map", str(tmp_path / "map.json"), "--out"]
    found = []
    for name, options in (("floor", ["--skip-first"]), ("high", ["--keep-height"])):
        assert TOOLS["convert-bvh"]([*words, str(tmp_path / name), *options]) == 0
        found.append(amass.read(tmp_path / name, Path("Own/s1/walk_poses.npz")))
    floor, high = found
    assert not floor.notes and floor.gender == "neutral" and len(high.poses) == 20
    assert np.allclose(rotations.matrix_from_axis_angle(floor.poses), local[1:], atol=1e-6)
    lowest = [
        kinematics.forward(rotations.matrix_from_axis_angle(each.poses), rest, each.trans)[1][:, 10:12, 2].min() for each in (floor, high)
    ]
    assert lowest[0] == pytest.approx(0.025, abs=1e-6) and lowest[1] > 3


def test_convert_bvh_goes_on_after_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.bvh").write_text("HIERARCHY")
    bvh_write.write(tmp_path / "short.bvh", *motion(1), human().rest, 60.0)
    bvh_write.write(tmp_path / "good.bvh", *motion(3), human().rest, 60.0)
    (tmp_path / "map.json").write_text(json.dumps(IDENTITY))
    words = [str(tmp_path / f"{name}.bvh") for name in ("bad", "short", "good")]
    with pytest.raises(BadData, match="2 of 3 BVH files"):
        TOOLS["convert-bvh"]([*words, "--out", str(tmp_path / "out"), "--map", str(tmp_path / "map.json"), "--skip-first"])
    told = capsys.readouterr()
    assert "bad.bvh: not a BVH file" in told.err and "short.bvh: no frame is left after the first" in told.err
    assert "2 frames at 60 Hz from 2 at" in told.out
    assert [path.name for path in tmp_path.glob("out/**/*.npz")] == ["good_poses.npz"]


def test_joint_maps_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bvh_write.write(tmp_path / "a.bvh", *motion(3), human().rest, 60.0)
    words = [str(tmp_path / "a.bvh"), "--out", str(tmp_path / "out"), "--map", str(tmp_path / "map.json")]
    for text, says in [("", "cannot be read"), ("[]", "is no joint map"), ('{"pelvis": 1}', "is no joint map")]:
        (tmp_path / "map.json").write_text(text)
        with pytest.raises(BadData, match=says):
            TOOLS["convert-bvh"](words)
    (tmp_path / "map.json").write_text("{}")
    for given_words, says in [(words, "a.bvh: the joint map has no pelvis"), (words[:3], "names what is not there: pelvis -> Hips")]:
        with pytest.raises(BadData, match="1 of 1 BVH files"):
            TOOLS["convert-bvh"](given_words)
        assert says in capsys.readouterr().err


def test_export_onnx(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same graph as the predictor's own."""
    assert TOOLS["export-onnx"]([str(folder), "--out", str(tmp_path / "step.onnx")]) == 0
    assert "largest difference from PyTorch" in capsys.readouterr().out
    assert (tmp_path / "step.onnx").read_bytes() == (folder / "step.onnx").read_bytes()
    assert TOOLS["export-onnx"]([str(folder), "--out", str(tmp_path / "small.onnx"), "--precision", "int8"]) == 0
    assert (tmp_path / "small.onnx").read_bytes() == (folder / "step_int8.onnx").read_bytes()
    assert [path.name for path in tmp_path.glob("*.onnx*")] in (["step.onnx", "small.onnx"], ["small.onnx", "step.onnx"])


def test_calibrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = np.broadcast_to(np.eye(3), (120, 22, 3, 3)).copy()
    local[:, 0] = rotations.about("z", 0.5) @ rotations.STANDING
    world, places = kinematics.forward(local, human().rest, [0, 0, -human().rest[10, 1]])
    lines = readings(world, places, np.zeros((120, 3, 3)))
    rows = ["t," + ",".join(NAMES)]
    rows += [",".join(map(repr, [line.t, *line.values.ravel().tolist()])) for line in lines]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    assert TOOLS["calibrate"]([str(tmp_path / "a.csv"), "--pose", "t", "--out", str(tmp_path / "c.json"), "--at", "0.5"]) == 0
    assert "facing 28.6 degrees" in capsys.readouterr().out
    found = calibration.read(tmp_path / "c.json")
    assert rotations.angle_between(found.rotation, np.eye(3)).max() < 1e-6
    with pytest.raises(BadData, match="frames lie in"):
        TOOLS["calibrate"]([str(tmp_path / "a.csv"), "--pose", "t", "--out", str(tmp_path / "d.json"), "--at", "9"])


def test_bench(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--precision", "int8"]):
        assert TOOLS["bench"]([str(folder), "--frames", "20", *words]) == 0
    shown = capsys.readouterr().out
    assert all(shown.count(word) == 2 for word in ("step alone: p50", "reading to pose: p50", "MB"))
    with pytest.raises(UsageError, match="1 or more"):
        TOOLS["bench"]([str(folder), "--frames", "0"])


def test_every_tool_says_what_it_is() -> None:
    assert all((tool.__doc__ or "").count(":") == 1 for tool in TOOLS.values())


def test_swaying_is_a_standing_person() -> None:
    values = np.stack([reading.values for reading in swaying(60, human())])
    assert 1.2 < values[:, 0, 2].mean() < 1.9 and np.abs(np.diff(values, axis=0)[:, :, :3]).max() < 0.05


def test_the_export_runs_with_onnxruntime_alone(folder: Path) -> None:
    session = onnxruntime.InferenceSession((folder / "step.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == {"x", "h", "c", "memory"}

"""PICO-FreeDancing's layout: a generated recording in it comes out as our stream and its truth; whatever is wrong is named."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from motion_tracking.small_features import motion
from motion_tracking.small_human import human

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import amass, body, columns, freedancing, imu, kinematics, rotations, stream, tools
from tenfold.motion_tracking.tools import TOOLS

FRAMES = 40
SENSOR, TRUTH = freedancing.SENSOR_FILE, freedancing.TRUTH_FILE
Tensors = dict[str, Any]


def recording() -> tuple[Tensors, Tensors, list[stream.Reading]]:
    """What the two files hold, of a body whose sensors are perfect, and what these sensors say in our own words."""
    rng = np.random.default_rng(3)
    local, root = motion(rng, FRAMES)
    betas = rng.normal(size=10)
    world, positions = kinematics.forward(local, body.joints(human(), betas), root)
    acceleration = imu.acceleration(body.mount_positions(human(), local, world, root, betas), "raw")
    joints = list(columns.SENSOR_JOINTS[:5])
    felt = np.concatenate([rng.normal(size=(FRAMES, 3, 3)), acceleration[:, :2]], axis=1)
    found = {"sensor_coordinates": positions[:, joints[:3]], "sensor_orientation": world[:, joints], "sensor_acceleration": felt}
    turned = rotations.axis_angle_from_matrix(local).reshape(FRAMES, -1)
    parameters = {
        "global_orient": turned[:, :3], "body_pose": np.hstack([turned[:, 3:], np.zeros((FRAMES, 6))]), "transl": root,
        "betas": np.tile(betas, (FRAMES, 1)), "joints": np.zeros((FRAMES, 24, 3)),
    }  # fmt: skip
    says = tools.readings(world, positions, acceleration)
    for reading in says:
        reading.values[5] = np.nan
    return tensors(found), {**tensors(parameters), "gender": "female"}, says


def tensors(arrays: dict[str, np.ndarray]) -> Tensors:
    return {name: torch.from_numpy(np.ascontiguousarray(array)).float() for name, array in arrays.items()}


def put(folder: Path, found: object, parameters: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(found, folder / SENSOR)
    torch.save(parameters, folder / TRUTH)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return put(tmp_path / "female1" / "dance", *recording()[:2])


def test_a_clip_becomes_our_stream_and_its_truth(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert TOOLS["convert-freedancing"]([str(clip), "--out", str(tmp_path / "out")]) == 0
    with stream.opened(str(tmp_path / "out/female1_dance.csv"), sys.stdin) as lines:
        found = [line for line in lines if isinstance(line, stream.Reading)]
    _, _, says = recording()
    np.testing.assert_allclose([each.t for each in found], np.arange(FRAMES) / 60, atol=1e-8)
    ours, theirs = (np.stack([each.values for each in readings]) for readings in (found, says))
    # a quaternion and its negative are one rotation
    for values in (ours, theirs):
        for sensor in range(5):
            quaternion = values[:, sensor, 3:] if sensor < 3 else values[:, sensor, :4]
            quaternion *= np.where(quaternion[:, :1] < 0, -1.0, 1.0)
    np.testing.assert_allclose(ours[:, :5], theirs[:, :5], rtol=1e-5, atol=1e-5)
    assert np.isnan(ours[:, 5]).all() and "pelvis" not in (tmp_path / "out/female1_dance.csv").read_text()
    (place,) = amass.clips(tmp_path / "out/amass", tmp_path / "out/amass/FreeDancing")
    true = amass.read(tmp_path / "out/amass", place.path)
    assert place.id == "FreeDancing/female1/dance" and true.gender == "female" and true.fps == 60
    given = recording()[1]
    np.testing.assert_allclose(
        true.poses.reshape(FRAMES, -1), torch.cat([given["global_orient"], given["body_pose"][:, :63]], 1), atol=1e-6
    )
    np.testing.assert_allclose(true.trans, given["transl"], atol=1e-7)
    np.testing.assert_allclose(true.betas, [*given["betas"][0].tolist(), *[0.0] * 6], atol=1e-7)
    shown = capsys.readouterr().out
    assert "head 0.0, lhand 0.0, rhand 0.0, lshin 0.0, rshin 0.0" in shown and "40 frames at 60 Hz" in shown


def whole(given: Tensors) -> Tensors:
    return {"poses": torch.cat([given["global_orient"], given["body_pose"]], 1), "trans": given["transl"], "betas": given["betas"][0]}


def of_amass(given: Tensors) -> Tensors:
    named = {"root_orient": given["global_orient"], "pose_body": given["body_pose"].reshape(FRAMES, 23, 3)[:, :21]}
    return named | {"trans": given["transl"], "betas": given["betas"][:1], "gender": "FEMALE"}


@pytest.mark.parametrize("named", [whole, of_amass])
def test_parameters_under_their_other_names(tmp_path: Path, clip: Path, named: Callable[[Tensors], Tensors]) -> None:
    found, given, _ = recording()
    other = freedancing.read(put(tmp_path / "other", found, named(given)))
    one = freedancing.read(clip)
    for field in ("local", "trans", "betas", "rotation"):
        np.testing.assert_array_equal(getattr(other, field), getattr(one, field))
    assert other.gender == ("neutral" if named is whole else "female")


def test_sensors_that_sit_askew_are_said(tmp_path: Path) -> None:
    found, given, _ = recording()
    found["sensor_orientation"][:, 3] @= torch.from_numpy(rotations.about("x", 0.5)).float()
    apart = freedancing.read(put(tmp_path / "askew", found, given)).apart()
    assert apart["lshin"] == pytest.approx(np.degrees(0.5), abs=1e-3) and apart["rshin"] < 0.01


def test_other_rates(tmp_path: Path, clip: Path) -> None:
    assert TOOLS["convert-freedancing"]([str(clip), "--out", str(tmp_path / "out"), "--fps", "90"]) == 0
    with stream.opened(str(tmp_path / "out/female1_dance.csv"), sys.stdin) as lines:
        assert [line.t for line in lines if isinstance(line, stream.Reading)][-1] == pytest.approx((FRAMES - 1) / 90)
    assert amass.read(tmp_path / "out/amass", Path("FreeDancing/female1/dance_poses.npz")).fps == 90
    for rate in ("0", "-1", "nan", "2000"):
        with pytest.raises(UsageError, match="--fps"):
            TOOLS["convert-freedancing"]([str(clip), "--out", str(tmp_path / "out"), f"--fps={rate}"])


def without(key: str) -> Callable[[Tensors], Tensors]:
    return lambda given: {name: value for name, value in given.items() if name != key}


def changed(key: str, change: Callable[[torch.Tensor], object]) -> Callable[[Tensors], Tensors]:
    return lambda given: given | {key: change(given[key])}


def nan(values: torch.Tensor) -> torch.Tensor:
    values = values.clone()
    values[7].view(-1)[0] = float("nan")
    return values


def mirrored(values: torch.Tensor) -> torch.Tensor:
    values = values.clone()
    values[5, 4] = -values[5, 4]
    return values


def tipped(values: torch.Tensor) -> torch.Tensor:
    """The world turned so that y is up."""
    turn = rotations.about("x", -np.pi / 2)
    return torch.from_numpy(rotations.axis_angle_from_matrix(turn @ rotations.matrix_from_axis_angle(values.numpy()))).float()


BAD = [
    (SENSOR, without("sensor_orientation"), "no key sensor_orientation; there are sensor_acceleration, sensor_coordinates"),
    (SENSOR, changed("sensor_coordinates", lambda v: v[:, :2]), "sensor_coordinates is 40 x 2 x 3, wanted is N x 3 x 3"),
    (SENSOR, changed("sensor_acceleration", lambda v: v[:, :3]), "sensor_acceleration is 40 x 3 x 3, wanted is N x 5 x 3"),
    (SENSOR, changed("sensor_orientation", lambda v: v[..., :2]), "wanted is N x 5 x 3 x 3"),
    (SENSOR, changed("sensor_orientation", nan), "sensor_orientation has NaN or infinity in frame 7"),
    (SENSOR, changed("sensor_orientation", mirrored), "in frame 5 that of rshin is no rotation"),
    (SENSOR, changed("sensor_orientation", lambda v: 1.01 * v), "in frame 0 that of head is no rotation"),
    (SENSOR, changed("sensor_coordinates", lambda v: v[:-1]), "sensor_coordinates 39, sensor_orientation 40"),
    (SENSOR, changed("sensor_coordinates", lambda v: 100 * v), "looks like centimetres"),
    (SENSOR, changed("sensor_coordinates", lambda v: v.int()), "a tensor of torch.int32"),
    (SENSOR, changed("sensor_coordinates", lambda v: v.tolist()), "a list, wanted is a tensor"),
    (SENSOR, lambda given: [given["sensor_coordinates"]], "holds a list, not named tensors"),
    (SENSOR, lambda given: {name: value[:0] for name, value in given.items()}, "sensor_coordinates is empty (0 x 3 x 3)"),
    (TRUTH, without("global_orient"), "no key global_orient or root_orient; there are betas, body_pose, gender, joints, transl"),
    (TRUTH, without("transl"), "no key transl or trans"),
    (TRUTH, without("betas"), "no key betas"),
    (TRUTH, changed("betas", lambda v: v[:, :0]), "betas is empty"),
    (TRUTH, changed("betas", lambda v: v[0, 0]), "betas is one number"),
    (TRUTH, lambda given: {"joints": given["joints"]}, "has no poses: neither poses or fullpose or pose nor global_orient with body_pose; there are joints"),
    (TRUTH, changed("body_pose", lambda v: v[:, :60]), "63 values a frame"),
    (TRUTH, changed("body_pose", lambda v: v[:-1]), "the root has 40 frames, the body 39"),
    (TRUTH, changed("body_pose", lambda v: 60 * v), "Are these degrees"),
    (TRUTH, changed("transl", nan), "transl has NaN or infinity in frame 7"),
    (TRUTH, changed("betas", lambda v: v + torch.arange(40.0)[:, None]), "a clip is of one person"),
    (TRUTH, changed("betas", lambda v: v[:3]), "betas has 3 rows"),
    (TRUTH, changed("global_orient", tipped), "looks y-up, wanted is z-up"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "spoil", "says"), BAD)
def test_what_is_wrong_is_named(clip: Path, file: str, spoil: Callable[[Tensors], object], says: str) -> None:
    found, given, _ = recording()
    torch.save(spoil(found if file == SENSOR else given), clip / file)
    with pytest.raises(BadData) as caught:
        freedancing.read(clip)
    assert says in str(caught.value) and str(clip) in str(caught.value)


def test_a_bad_clip_does_not_keep_the_others(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, given, _ = recording()
    good = put(tmp_path / "male2" / "dance", found, given)
    (clip / TRUTH).unlink()
    with pytest.raises(BadData, match="1 of 2 clips"):
        TOOLS["convert-freedancing"]([str(clip), str(good), "--out", str(tmp_path / "out")])
    assert f"{TRUTH} is missing" in capsys.readouterr().err
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert made == ["amass/FreeDancing/male2/dance_poses.npz", "male2_dance.csv"]


def test_files_that_are_none(tmp_path: Path, clip: Path) -> None:
    whole = (clip / SENSOR).read_bytes()
    for data in (b"", b"no torch file", whole[: len(whole) // 2]):
        (clip / SENSOR).write_bytes(data)
        with pytest.raises(BadData, match=f"{SENSOR} is no file of plain tensors .*nothing in it was executed"):
            freedancing.read(clip)
    (clip / SENSOR).unlink()
    with pytest.raises(BadData, match=f"{SENSOR} is missing"):
        freedancing.read(clip)
    (clip / SENSOR).mkdir()
    with pytest.raises(BadData, match="no regular file"):
        freedancing.read(clip)
    (clip / SENSOR).rmdir()
    (tmp_path / "elsewhere.pt").write_bytes(whole)
    (clip / SENSOR).symlink_to(tmp_path / "elsewhere.pt")
    with pytest.raises(BadData, match="outside"):
        freedancing.read(clip)


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, clip: Path, new: bool) -> None:
    found, _, _ = recording()
    torch.save(found | {"more": Payload(tmp_path / "executed")}, clip / SENSOR, _use_new_zipfile_serialization=new)
    with pytest.raises(BadData, match="holds other objects.*nothing in it was executed") as caught:
        freedancing.read(clip)
    assert not (tmp_path / "executed").exists() and "weights_only" not in str(caught.value)

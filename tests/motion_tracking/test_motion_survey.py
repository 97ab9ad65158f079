"""A dataset as a whole: what goes to the quarantine with which reason, what stops the import, and what is only said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motion_tracking.small_amass import BLOCK, body, folder, lists, motion, put, read
from scipy.spatial.transform import Rotation

from tenfold.core.errors import BadData
from tenfold.motion_tracking import body as bodies
from tenfold.motion_tracking import kinematics, resample
from tenfold.motion_tracking.amass import read as read_clip
from tenfold.motion_tracking.survey import Survey

LOOSE = replace(BLOCK, max_quarantine=1.0)
VICTIM = "GenWalk/s01/clip"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder(tmp_path / "source")


def spoiled(source: Path, place: str = VICTIM, **changed: Any) -> Survey:
    """The survey after one train clip was replaced."""
    put(source, place, motion(1, **changed))
    return read(source, LOOSE)


def quarantined(found: Survey, reason: str, *told: str) -> None:
    assert not found.errors
    (row,) = found.quarantine
    assert row["id"] == VICTIM and row["reason"] == reason, row
    for word in ("GenWalk/s01/clip_poses.npz", *told):
        assert word in row["detail"], row["detail"]


def test_a_good_folder(source: Path) -> None:
    found = read(source)
    assert not found.errors and not found.warnings and not found.quarantine
    assert [row["split"] for row in found.samples].count("train") == 4
    row = next(row for row in found.samples if row["id"] == "RealClips/t1/clip")
    assert (row["split"], row["source"], row["label"], row["subset"], row["subject"]) == (
        "test",
        "real",
        "walk",
        "RealClips",
        "RealClips/t1",
    )
    assert (row["fps"], row["frames"], row["seconds"], row["warnings"]) == (60.0, 60, 1.0, "")
    assert row["clip_path"] == "amass/RealClips/t1/clip_poses.npz" and row["clip_bytes"] == (source / row["clip_path"]).stat().st_size
    counts = found.counts()
    assert (counts["train/GenWalk"], counts["test/RealClips"], counts["frames"], counts["quarantine"]) == (4, 1, 7 * 60, 0)


def test_height_and_speed_are_those_of_the_skeleton(source: Path) -> None:
    row = next(row for row in read(source).samples if row["id"] == VICTIM)
    clip = read_clip(source, Path(row["clip_path"]))
    local, trans = resample.resample(clip, "slerp")
    rest = bodies.joints(bodies.load(source / "smplh/neutral/model.npz"), clip.betas)
    _, positions = kinematics.forward(local, rest, trans)
    fastest = max(np.linalg.norm(positions[t + 1, j] - positions[t, j]) * 60 for t in range(59) for j in range(22))
    assert row["max_speed"] == pytest.approx(fastest)
    assert row["height_m"] == pytest.approx(np.quantile(positions[:, 15, 2], 0.95))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["poses", "trans"])
def test_nan_and_inf_name_their_frame(source: Path, key: str, value: float) -> None:
    arrays = motion(1)[key]
    arrays[17, 2] = value
    quarantined(spoiled(source, **{key: arrays}), "nonfinite", key, "frame 17")


def test_a_position_over_100_m_names_its_frame(source: Path) -> None:
    trans = motion(1)["trans"]
    trans[:, 0] = 99.0 + 0.05 * np.arange(60) + 0.01
    quarantined(spoiled(source, trans=trans), "far_away", "trans", "frame 20")


def test_a_rotation_over_a_full_turn_names_frame_and_joint(source: Path) -> None:
    poses = motion(1)["poses"]
    poses[23, 9:12] = [6.5, 0, 0]
    quarantined(spoiled(source, poses=poses), "rotation_over_turn", "frame 23", "spine1")
    poses[23, 9:12] = [2 * np.pi, 0, 0]
    assert not spoiled(source, poses=poses).quarantine


@pytest.mark.parametrize("fps", [60.0, 120.0, 100.0])
def test_a_glitch_names_its_frame_in_the_file(source: Path, fps: float) -> None:
    arrays = motion(1, 120, fps)
    arrays["trans"][50:, 1] += 0.7  # 42 m/s at 60 Hz
    quarantined(spoiled(source, **arrays), "too_fast", "m/s", "frame 50", "glitch")


@pytest.mark.parametrize(
    ("frames", "fps", "good"), [(9, 60.0, False), (10, 60.0, True), (18, 120.0, False), (19, 120.0, True), (4, 30.0, False)]
)
def test_ten_frames_at_60_hz_are_needed(source: Path, frames: int, fps: float, good: bool) -> None:
    found = spoiled(source, frames=frames, fps=fps)
    if good:
        assert not found.quarantine and not found.errors
    else:
        quarantined(found, "too_short", "10 needed")


@pytest.mark.parametrize("rate", [None, np.array(0.0), np.array(-1.0), np.array(2000.0)])
def test_frame_rates(source: Path, rate: Any) -> None:
    quarantined(spoiled(source, mocap_framerate=rate), "bad_frame_rate", "mocap_framerate")


def test_a_wrong_width_and_a_missing_key(source: Path) -> None:
    quarantined(spoiled(source, poses=np.zeros((60, 165))), "wrong_width", "poses")
    quarantined(spoiled(source, trans=None), "missing_key", "trans")


def test_a_truncated_file(source: Path) -> None:
    path = source / "amass" / f"{VICTIM}_poses.npz"
    path.write_bytes(path.read_bytes()[:-500])
    quarantined(read(source, LOOSE), "unreadable_file")


def test_too_much_quarantine_stops_the_import(source: Path) -> None:
    put(source, VICTIM, motion(1, 5))
    (error,) = read(source).errors
    assert "1 of 7 clips" in error and "max_quarantine is 2%" in error and "1 too_short" in error
    assert not read(source, replace(BLOCK, max_quarantine=0.15)).errors


def test_an_empty_split_after_quarantine(source: Path) -> None:
    put(source, "GenWalk/v0/clip", motion(1, 5))
    assert "split validation is empty after quarantine" in read(source, LOOSE).errors


def turned_up(arrays: dict[str, Any], axis: str) -> dict[str, Any]:
    """The motion as a program with another vertical axis would write it."""
    turn = {"y": Rotation.from_euler("x", -90, degrees=True), "-z": Rotation.from_euler("x", 180, degrees=True)}[axis]
    poses = arrays["poses"].copy()
    poses[:, :3] = (turn * Rotation.from_rotvec(poses[:, :3])).as_rotvec()
    return arrays | {"poses": poses, "trans": turn.apply(arrays["trans"])}


@pytest.mark.parametrize("axis", ["y", "-z"])
def test_a_subset_with_another_vertical_axis_says_which(source: Path, axis: str) -> None:
    for number in range(4):
        put(source, f"GenWalk/s{number:02d}/clip", turned_up(motion(number), axis))
    errors = read(source, LOOSE).errors
    assert any(f"GenWalk looks like {axis}-up, not z-up (4 of 6 clips)" in error for error in errors)


def test_one_clip_that_lies_down_is_flagged_not_refused(source: Path) -> None:
    found = spoiled(source, **turned_up(motion(1), "y"))
    assert not found.errors and not found.quarantine
    assert "lies down, or is y-up" in next(row["warnings"] for row in found.samples if row["id"] == VICTIM)


def test_a_subset_in_centimetres_says_so(source: Path) -> None:
    for number in range(4):
        arrays = motion(number)
        put(source, f"GenWalk/s{number:02d}/clip", arrays | {"trans": arrays["trans"] * 100})
    errors = read(source, LOOSE).errors
    assert any("GenWalk looks like centimetres, not metres (4 of 6 clips)" in error for error in errors)
    arrays = motion(1)
    reasons = {row["reason"] for row in read(source, LOOSE).quarantine}
    assert reasons == {"too_high"}


def test_a_body_that_sits_is_flagged_not_refused(source: Path) -> None:
    trans = motion(1)["trans"] - [0, 0, 1.0]
    found = spoiled(source, trans=trans)
    assert not found.errors and not found.quarantine
    assert "sits, lies" in next(row["warnings"] for row in found.samples if row["id"] == VICTIM)


def test_the_same_motion_in_train_and_test_is_a_leak(source: Path) -> None:
    arrays = motion(0)
    put(source, "GenWalk/t0/clip", arrays | {"gender": np.array("female"), "trans": arrays["trans"] + 1.0})
    errors = read(source).errors
    assert any("leak: GenWalk/s00/clip (train) and GenWalk/t0/clip (test) have the same poses" in error for error in errors)


def test_the_same_motion_twice_in_one_split_is_a_warning(source: Path) -> None:
    put(source, VICTIM, motion(0))
    found = read(source)
    assert not found.errors and any("stand more than once in their split" in each for each in found.warnings)


def test_one_group_in_train_and_test_is_a_leak(source: Path) -> None:
    put(source, VICTIM, motion(1, group=np.array("walking")))
    put(source, "RealClips/t1/clip", motion(6, group=np.array("walking")))
    assert any("of group 'walking'" in error for error in read(source).errors)


def test_people_on_both_sides_are_counted_and_by_subject_parts_them(source: Path) -> None:
    put(source, "GenWalk/t0/other", motion(20))
    lists(source, train=[*(f"GenWalk/s{number:02d}/clip" for number in range(4)), "GenWalk/t0/other"])
    found = read(source)
    assert not found.errors and any("1 subjects of the test split also train" in each for each in found.warnings)
    parted = read(source, replace(BLOCK, split="by_subject"))
    assert not parted.errors and not any("also train" in each for each in parted.warnings)


def test_missing_lines_fail_over_one_percent(source: Path) -> None:
    places = [f"GenWalk/s{number:02d}/clip" for number in range(4)]
    lists(source, train=[*places, "GenWalk/s99/gone"])
    (error,) = read(source).errors
    assert "1 of 8 lines of the lists have no file" in error and "GenWalk/s99/gone_poses.npz" in error
    found = read(source, replace(BLOCK, max_missing=0.2))
    assert not found.errors and any("1 of 8 lines" in each for each in found.warnings)


def test_shape_files_are_skipped_and_listed(source: Path) -> None:
    path = source / "splits/GenWalk/train_split.txt"
    path.write_text(path.read_text() + "GenWalk/s00/shape.npz\nGenWalk/s01/shape.npz\n")
    found = read(source)
    assert not found.errors and found.counts()["skipped: shape file"] == 2
    assert any("skipped: shape file, 2 lines" in each for each in found.warnings)


def test_the_wrong_download_is_one_clear_error(source: Path) -> None:
    for number in range(4):
        poses = np.zeros((60, 63))
        put(source, f"GenWalk/s{number:02d}/clip", motion(poses=None, mocap_framerate=None, root_orient=poses[:, :3], pose_body=poses))
    errors = [error for error in read(source, LOOSE).errors if "SMPL+H G" in error]
    assert len(errors) == 1 and "4 files such as" in errors[0]


def test_an_unknown_gender_is_counted(source: Path) -> None:
    found = spoiled(source, gender=np.array("?"))
    assert found.counts()["gender unknown"] == 1 and not found.quarantine


def test_a_missing_body_says_what_to_obtain(source: Path) -> None:
    with pytest.raises(BadData, match=r"smplh/male/model.npz.*mano.is.tue.mpg.de.*amass.is.tue.mpg.de"):
        read(source, replace(BLOCK, body="gendered"))
    (source / "smplh/neutral/model.npz").unlink()
    with pytest.raises(BadData, match="SMPL"):
        read(source)


def test_gendered_bodies_are_used(source: Path) -> None:
    body(source, "male")
    body(source, "female")
    arrays = dict(np.load(source / "smplh/male/model.npz"))
    arrays["v_template"] = arrays["v_template"] * 1.1
    np.savez(source / "smplh/male/model.npz", **arrays)
    put(source, VICTIM, motion(1, gender=np.array("female")))
    neutral = {row["id"]: row for row in read(source).samples}
    own = {row["id"]: row for row in read(source, replace(BLOCK, body="gendered")).samples}
    assert own["GenWalk/s00/clip"]["body_sha256"] != neutral["GenWalk/s00/clip"]["body_sha256"]
    assert own["GenWalk/s00/clip"]["height_m"] > neutral["GenWalk/s00/clip"]["height_m"] + 0.02
    assert own[VICTIM]["height_m"] == neutral[VICTIM]["height_m"]


@pytest.mark.parametrize("how", ["kintree_table", "shapedirs", "v_template"])
def test_a_wrong_body_stops_at_load(source: Path, how: str) -> None:
    path = source / "smplh/neutral/model.npz"
    arrays = dict(np.load(path))
    if how == "kintree_table":
        arrays[how] = arrays[how].copy()
        arrays[how][0, 5] = 0
    else:
        arrays[how] = arrays[how][..., :10] if how == "shapedirs" else arrays[how][:-1]
    np.savez(path, **arrays)
    with pytest.raises(BadData, match="model.npz"):
        read(source)


def test_reading_is_the_same_in_any_order_of_threads(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenfold.motion_tracking import survey

    once = read(source)
    monkeypatch.setattr(survey, "_WORKERS", 1)
    assert read(source).samples == once.samples

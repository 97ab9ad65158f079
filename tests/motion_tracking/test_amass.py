"""The reader of AMASS files: every odd file of specification section 3.4 gets its stated answer."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_amass import motion, put

from tenfold.core.files import Unreadable
from tenfold.motion_tracking import amass


def read(tmp_path: Path, arrays: dict[str, Any] | bytes) -> amass.Motion:
    path = put(tmp_path, "CMU/01/01_01", arrays)
    return amass.read(tmp_path, path.relative_to(tmp_path))


def refused(tmp_path: Path, arrays: dict[str, Any] | bytes, reason: str, *told: str) -> None:
    with pytest.raises(Unreadable) as problem:
        read(tmp_path, arrays)
    assert problem.value.reason == reason
    for word in ("01_01_poses.npz", *told):
        assert word in problem.value.detail


def test_a_good_file_is_read_as_it_is(tmp_path: Path) -> None:
    arrays = motion(1, 30, 120.0, kind=np.array("kick"), group=np.array("kicks"), source=np.array("generated"))
    found = read(tmp_path, arrays)
    np.testing.assert_array_equal(found.poses.reshape(30, 66), arrays["poses"][:, :66])
    np.testing.assert_array_equal(found.trans, arrays["trans"])
    np.testing.assert_array_equal(found.betas, arrays["betas"])
    assert (found.gender, found.fps, found.kind, found.group, found.source, found.notes) == (
        "male",
        120.0,
        "kick",
        "kicks",
        "generated",
        [],
    )


def test_amass_itself_names_no_kind_and_is_real(tmp_path: Path) -> None:
    found = read(tmp_path, motion())
    assert (found.kind, found.group, found.source) == ("", "", "real")


@pytest.mark.parametrize("width", [66, 72])
def test_bodies_without_hands_are_taken_with_a_note(tmp_path: Path, width: int) -> None:
    arrays = motion(2, width=width)
    found = read(tmp_path, arrays)
    np.testing.assert_array_equal(found.poses.reshape(-1, 66), arrays["poses"][:, :66])
    assert any(str(width) in note for note in found.notes)


@pytest.mark.parametrize("width", [63, 65, 67, 155, 157, 165])
def test_other_widths_are_refused(tmp_path: Path, width: int) -> None:
    wide = np.zeros((30, width))
    refused(tmp_path, motion(frames=30, poses=wide), "wrong_width", "poses", str(width))


def test_files_that_are_no_whole_npz(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez(whole, **motion())
    data = whole.getvalue()
    refused(tmp_path, b"", "unreadable_file")
    refused(tmp_path, b"no npz at all", "unreadable_file")
    refused(tmp_path, data[: len(data) // 2], "unreadable_file")
    spoiled = bytearray(data)
    spoiled[5000:5100] = b"\xff" * 100
    refused(tmp_path, bytes(spoiled), "unreadable_file", "poses")
    packed = io.BytesIO()
    np.savez_compressed(packed, **motion())
    torn = bytearray(packed.getvalue())
    torn[3000:3100] = b"\x00" * 100
    refused(tmp_path, bytes(torn), "unreadable_file", "poses")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amass, "MAX_FILE_BYTES", 200_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("poses.npy", b"\0" * 10_000_000)
    assert len(packed.getvalue()) < 200_000
    refused(tmp_path, packed.getvalue(), "absurd_size")
    refused(tmp_path, motion(frames=1000), "absurd_size")


@pytest.mark.parametrize("key", ["poses", "trans", "betas"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    refused(tmp_path, motion(**{key: None}), "missing_key", key)


@pytest.mark.parametrize("key", ["poses", "trans", "betas", "mocap_framerate"])
def test_objects_are_never_unpickled(tmp_path: Path, key: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    refused(
        tmp_path, motion(**{key: np.array([Trap()], dtype=object)}), "bad_frame_rate" if key == "mocap_framerate" else "missing_key", key
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "rate", [None, np.array(0.0), np.array(-60.0), np.array(1000.5), np.array(np.nan), np.array(np.inf), np.array([60, 60]), np.array("60")]
)
def test_bad_frame_rates(tmp_path: Path, rate: Any) -> None:
    refused(tmp_path, motion(mocap_framerate=rate), "bad_frame_rate", "mocap_framerate")


@pytest.mark.parametrize("rate", [np.array(120), np.array([59.94]), np.array(1000.0, np.float32)])
def test_good_frame_rates(tmp_path: Path, rate: Any) -> None:
    assert read(tmp_path, motion(mocap_framerate=rate)).fps == pytest.approx(float(rate.reshape(())))


@pytest.mark.parametrize(
    ("values", "gender"),
    [
        (np.array("female"), "female"), (np.array(b"male"), "male"), (np.array("b'female'"), "female"), (np.array("Male"), "male"),
        (np.array("neutral"), "neutral"), (np.array(["m"]), "male"),
    ],
)  # fmt: skip
def test_genders_in_all_their_forms(tmp_path: Path, values: Any, gender: str) -> None:
    found = read(tmp_path, motion(gender=values))
    assert found.gender == gender and not found.notes


@pytest.mark.parametrize("values", [None, np.array("unknown"), np.array(3), np.array(["male", "female"]), np.array([None], dtype=object)])
def test_an_unknown_gender_is_neutral_and_noted(tmp_path: Path, values: Any) -> None:
    found = read(tmp_path, motion(gender=values))
    assert found.gender == "neutral" and found.notes == ["gender unknown: taken as neutral"]


def test_betas_of_other_lengths(tmp_path: Path) -> None:
    found = read(tmp_path, motion(betas=np.ones(10)))
    np.testing.assert_array_equal(found.betas, [1.0] * 10 + [0.0] * 6)
    assert any("10 values" in note for note in found.notes)
    assert len(read(tmp_path, motion(betas=np.ones(300))).betas) == 16
    refused(tmp_path, motion(betas=np.full(16, np.nan)), "nonfinite", "betas")
    refused(tmp_path, motion(betas=np.ones((1, 16))), "wrong_shape", "betas")


def test_translations_must_fit(tmp_path: Path) -> None:
    refused(tmp_path, motion(trans=np.zeros((59, 3))), "wrong_shape", "trans")
    refused(tmp_path, motion(trans=np.zeros((60, 2))), "wrong_shape", "trans")


def test_the_smplx_download_is_told_apart(tmp_path: Path) -> None:
    arrays = motion(poses=None, mocap_framerate=None, root_orient=np.zeros((60, 3)), pose_body=np.zeros((60, 63)), mocap_frame_rate=60.0)
    refused(tmp_path, arrays, "smplx_download", "SMPL+H G")


def test_links_that_leave_and_folders(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    outside = put(tmp_path / "outside", "CMU/01/01_01", motion())
    link = inside / "amass/CMU/01/01_01_poses.npz"
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    for path, reason in ((link, "link_outside"), (link.parent, "not_a_file"), (inside / "amass/CMU/01/none_poses.npz", "missing_file")):
        with pytest.raises(Unreadable) as problem:
            amass.read(inside, path.relative_to(inside))
        assert problem.value.reason == reason


def test_the_content_s_hash_does_not_know_the_file(tmp_path: Path) -> None:
    arrays = motion(3)
    one = read(tmp_path, arrays)
    other = read(tmp_path, arrays | {"gender": np.array("female"), "poses": arrays["poses"].astype(np.float64)})
    assert one.sha256 != other.sha256 and one.poses_sha256 == other.poses_sha256
    assert read(tmp_path, motion(4)).poses_sha256 != one.poses_sha256


def test_renamed_folders_are_the_same_subsets(tmp_path: Path) -> None:
    for name in ("BMLrub", "CMU", "HDM05", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "readme.txt").write_text("no folder")
    assert {name: path.name for name, path in amass.subsets(tmp_path).items()} == {
        "BioMotionLab_NTroje": "BMLrub", "CMU": "CMU", "MPI_HDM05": "HDM05",
    }  # fmt: skip
    (tmp_path / "BioMotionLab_NTroje").mkdir()
    with pytest.raises(Unreadable, match="BMLrub"):
        amass.subsets(tmp_path)


def test_clips_of_a_subset(tmp_path: Path) -> None:
    for place in ("BMLrub/rub001/0000_treadmill", "BMLrub/rub001/0001_walk"):
        put(tmp_path, place, motion(frames=12))
    np.savez(tmp_path / "amass/BMLrub/rub001/shape.npz", betas=np.zeros(16))
    found = amass.clips(tmp_path, tmp_path / "amass/BMLrub")
    assert [each.id for each in found] == [f"BioMotionLab_NTroje/rub001/{name}" for name in ("0000_treadmill", "0001_walk")]
    assert found[0].path == Path("amass/BMLrub/rub001/0000_treadmill_poses.npz")


@settings(max_examples=150, deadline=None)
@given(packed=st.booleans(), damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6), cut=st.floats(0, 1))
def test_whatever_happens_to_a_file_it_is_read_or_refused(packed: bool, damage: list[tuple[float, int]], cut: float) -> None:
    """Never another exception, never a motion of another shape."""
    import tempfile

    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, **motion(0, 12))
    data = bytearray(buffer.getvalue())
    for place, value in damage:
        data[int(place * (len(data) - 1))] = value
    if cut < 0.3:
        del data[int(cut / 0.3 * len(data)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), "CMU/01/01_01", bytes(data))
        try:
            found = amass.read(Path(folder), path.relative_to(folder))
        except Unreadable as problem:
            assert "01_01_poses.npz" in problem.detail and problem.reason
        else:
            assert found.poses.shape[1:] == (22, 3) and len(found.trans) == len(found.poses) and found.betas.shape == (16,)

"""Splits: the protocols' lists as they are found in the wild, subsets, subjects, and the validation split that is cut from train."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_amass import BLOCK, lists, motion, put

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import splits


def clips(source: Path, *places: str) -> Path:
    for seed, place in enumerate(places):
        put(source, place, motion(seed, 12))
    return source


def split_of(found: splits.Split) -> dict[str, str]:
    return {place.id: split for place, split in found.places}


def listed(source: Path, subset: str, split: str, text: str) -> None:
    path = source / "splits" / subset / f"{split}_split.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def test_lists_with_foreign_paths_line_ends_and_shape_files(tmp_path: Path) -> None:
    """The published lists hold the authors' absolute paths; six lines of CMU name a `shape.npz`."""
    clips(tmp_path, *(f"CMU/{number:02d}/{number:02d}_01" for number in range(6)))
    listed(tmp_path, "CMU", "train", "\ufeff/home/somebody/amass/CMU/00/00_01_poses.npz\r\n\r\nCMU/01/01_01_poses.npz  \nCMU\\02\\02_01_poses.npz\n"
           "/home/somebody/amass/CMU/18_19_rory/shape.npz\n")  # fmt: skip
    listed(tmp_path, "CMU", "test", "./CMU/03/03_01_poses.npz\n./CMU/04/04_01_poses.npz\n")
    found = splits.find(tmp_path, replace(BLOCK, validation=0.01))
    made = split_of(found)
    assert {name for name, split in made.items() if split == "test"} == {"CMU/03/03_01", "CMU/04/04_01"}
    assert len(made) == 5 and sorted(made.values()).count("validation") == 1 and "CMU/05/05_01" not in made
    assert found.skipped == ["/home/somebody/amass/CMU/18_19_rory/shape.npz"] and found.lines == 5
    assert not found.errors and not found.missing


def test_lists_find_renamed_folders(tmp_path: Path) -> None:
    clips(tmp_path, *(f"BMLrub/rub{number:03d}/walk" for number in range(4)))
    lines = [f"BioMotionLab_NTroje/rub{number:03d}/walk_poses.npz\n" for number in range(4)]
    listed(tmp_path, "BioMotionLab_NTroje", "train", "".join(lines[:3]))
    listed(tmp_path, "BioMotionLab_NTroje", "test", lines[3])
    found = splits.find(tmp_path, BLOCK)
    assert split_of(found)["BioMotionLab_NTroje/rub003/walk"] == "test" and not found.errors and not found.missing
    assert found.places[0][0].path.parts[1] == "BMLrub"
    assert "folder BMLrub is BioMotionLab_NTroje" in found.warnings


def test_lines_without_a_file_are_listed(tmp_path: Path) -> None:
    clips(tmp_path, "CMU/00/a", "CMU/01/b", "CMU/02/c")
    lists(tmp_path, train=["CMU/00/a", "CMU/01/b", "CMU/09/gone", "KIT/1/far"], test=["CMU/02/c"])
    found = splits.find(tmp_path, BLOCK)
    assert found.lines == 5 and len(found.missing) == 2
    assert any("CMU/09/gone_poses.npz" in each for each in found.missing) and any("KIT/1/far" in each for each in found.missing)


def test_a_clip_in_two_splits_is_an_error_and_twice_in_one_a_warning(tmp_path: Path) -> None:
    clips(tmp_path, "CMU/00/a", "CMU/01/b", "CMU/02/c")
    lists(tmp_path, train=["CMU/00/a", "CMU/01/b", "CMU/00/a"], test=["CMU/02/c", "CMU/01/b"])
    found = splits.find(tmp_path, BLOCK)
    assert len(found.places) == 3
    assert any("CMU/01/b stands in" in each for each in found.errors)
    assert any("names CMU/00/a twice" in each for each in found.warnings)


def test_a_line_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    clips(tmp_path, "CMU/00/a", "CMU/01/b", "CMU/02/c")
    lists(tmp_path, train=["CMU/00/a", "CMU/01/b"], test=["CMU/02/c"])
    listed(tmp_path, "CMU", "validation", "../../etc/passwd_poses.npz\na_poses.npz\n")
    errors = splits.find(tmp_path, BLOCK).errors
    assert sum("names no <Subset>" in each for each in errors) == 2


def test_folders_and_lists_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="amass_dir"):
        splits.find(tmp_path, BLOCK)
    clips(tmp_path, "CMU/00/a")
    with pytest.raises(BadData, match="splits_dir"):
        splits.find(tmp_path, BLOCK)
    (tmp_path / "splits").mkdir()
    with pytest.raises(BadData, match="train_split.txt"):
        splits.find(tmp_path, BLOCK)
    listed(tmp_path, "CMU", "train", "")
    with pytest.raises(BadData, match="cannot be read as text"):
        (tmp_path / "splits/CMU/train_split.txt").write_bytes(b"\xff\xfe\x00")
        splits.find(tmp_path, BLOCK)
    for outside in ("/somewhere", "../amass"):
        with pytest.raises(UsageError, match="below the source"):
            splits.find(tmp_path, replace(BLOCK, amass_dir=outside))
    put(tmp_path, "BMLrub/r/a", motion(frames=12))
    put(tmp_path, "BioMotionLab_NTroje/r/a", motion(frames=12))
    with pytest.raises(BadData, match="same subset"):
        splits.find(tmp_path, BLOCK)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    clips(tmp_path, "CMU/00/a", "CMU/01/b")
    lists(tmp_path, train=["CMU/00/a", "CMU/01/b"])
    assert "split test is empty" in splits.find(tmp_path, BLOCK).errors


def test_a_list_of_validation_clips_is_kept(tmp_path: Path) -> None:
    clips(tmp_path, "CMU/00/a", "CMU/01/b", "CMU/02/c", "CMU/03/d")
    lists(tmp_path, train=["CMU/00/a", "CMU/01/b"], validation=["CMU/02/c"], test=["CMU/03/d"])
    assert list(split_of(splits.find(tmp_path, BLOCK)).values()) == ["train", "train", "validation", "test"]


def test_validation_is_cut_by_subject_and_never_from_test(tmp_path: Path) -> None:
    places = [f"CMU/s{number}/{clip}" for number in range(10) for clip in "ab"]
    clips(tmp_path, *places)
    lists(tmp_path, train=places[:16], test=places[16:])
    made = split_of(splits.find(tmp_path, BLOCK))
    assert all(made[place] == "test" for place in places[16:])
    assert any(split == "validation" for split in made.values())
    for number in range(8):
        assert made[f"CMU/s{number}/a"] == made[f"CMU/s{number}/b"]


def test_protocol_2_goes_by_subset(tmp_path: Path) -> None:
    clips(tmp_path, "KIT/1/a", "KIT/2/a", "MoSh/3/a", "HumanEva/S1/a", "Transitions/t/a", "Mine/m/a")
    put(tmp_path, "KIT/1/odd", motion(frames=12)).rename(tmp_path / "amass/KIT/1/odd.npz")
    found = splits.find(tmp_path, replace(BLOCK, split="by_subset"))
    made = split_of(found)
    assert made["HumanEva/S1/a"] == made["Transitions_mocap/t/a"] == "test"
    assert set(made) == {"KIT/1/a", "KIT/2/a", "MPI_mosh/3/a", "HumanEva/S1/a", "Transitions_mocap/t/a"}
    assert sorted(made[name] for name in ("KIT/1/a", "KIT/2/a", "MPI_mosh/3/a")) == ["train", "train", "validation"]
    assert any("Mine belongs to no split" in each for each in found.warnings) and any("ACCAD" in each for each in found.warnings)


def test_by_subject_keeps_people_whole(tmp_path: Path) -> None:
    places = [f"CMU/s{number:02d}/{clip}" for number in range(12) for clip in "ab"]
    clips(tmp_path, *places)
    made = split_of(splits.find(tmp_path, replace(BLOCK, split="by_subject")))
    assert set(made.values()) == {"train", "validation", "test"} and len(made) == 24
    for number in range(12):
        assert made[f"CMU/s{number:02d}/a"] == made[f"CMU/s{number:02d}/b"]


NAMES = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), min_size=0, max_size=60)


@settings(max_examples=60, deadline=None)
@given(names=NAMES, test=st.floats(0.05, 0.4), validation=st.floats(0.05, 0.4), seed=st.integers(0, 99))
def test_shares_fill_every_split_where_there_are_people(names: set[str], test: float, validation: float, seed: int) -> None:
    made = splits.by_share(names, {"test": test, "validation": validation}, seed)
    assert set(made) == names
    assert made == splits.by_share(sorted(names, reverse=True), {"test": test, "validation": validation}, seed)
    if len(names) >= 3:
        assert set(made.values()) == {"train", "validation", "test"}


def test_new_people_do_not_move_old_ones() -> None:
    shares = {"test": 0.2, "validation": 0.1}
    old = [f"old{number}" for number in range(200)]
    before = splits.by_share(old, shares, 0)
    after = splits.by_share([*old, *(f"new{number}" for number in range(300))], shares, 0)
    assert all(before[name] == after[name] for name in old)
    counts = np.unique(list(after.values()), return_counts=True)
    assert dict(zip(*counts, strict=True))["test"] == pytest.approx(100, abs=30)

"""Pairing by stem, and what the official layout refuses."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.crossmodal_anomaly import mvtec


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def place(root: Path, where: str, *stems: str, kinds: tuple[str, ...] = ("rgb", "xyz")) -> None:
    for stem in stems:
        touch(*(root / where / kind / f"{stem}.{'tiff' if kind == 'xyz' else 'png'}" for kind in kinds))


def problems(root: Path) -> dict[str, str]:
    return {each.id: each.problem[0] for each in mvtec.find(root, "part").candidates if each.problem}


def test_a_whole_unit(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "000", "001")
    place(tmp_path, "part/validation/good", "000")
    place(tmp_path, "part/test/good", "000", kinds=("rgb", "xyz", "gt"))
    place(tmp_path, "part/test/crack", "000", kinds=("rgb", "xyz", "gt"))
    found = mvtec.find(tmp_path, "part")
    assert [each.id for each in found.candidates] == [
        "part/test/crack/000",
        "part/test/good/000",
        "part/train/good/000",
        "part/train/good/001",
        "part/validation/good/000",
    ]
    assert [each.label for each in found.candidates] == [1, 0, 0, 0, 0]
    assert found.candidates[0].paths["gt"] == Path("part/test/crack/gt/000.png")
    assert not found.errors and not found.notes and not any(each.problem for each in found.candidates)


def test_one_missing_file_shifts_no_pair(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "000", "001", "002", "003")
    (tmp_path / "part/train/good/xyz/001.tiff").unlink()
    (tmp_path / "part/train/good/rgb/003.png").unlink()
    assert problems(tmp_path) == {"part/train/good/001": "missing_xyz", "part/train/good/003": "missing_rgb"}
    for each in mvtec.find(tmp_path, "part").candidates:
        assert len({path.stem for path in each.paths.values()}) == 1


def test_missing_mask_matters_for_defects_only(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "000")
    place(tmp_path, "part/test/good", "000")
    place(tmp_path, "part/test/hole", "000")
    assert problems(tmp_path) == {"part/test/hole/000": "missing_gt"}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_defect_part_outside_test_is_an_error(tmp_path: Path, split: str) -> None:
    place(tmp_path, "part/train/good", "000")
    place(tmp_path, f"part/{split}/crack", "000")
    found = mvtec.find(tmp_path, "part")
    assert any(f"{split}/crack" in error and "only good parts" in error for error in found.errors)
    assert all(each.defect == "good" for each in found.candidates)


def test_an_empty_train_split_names_the_folder(tmp_path: Path) -> None:
    place(tmp_path, "part/test/good", "000")
    (error,) = mvtec.find(tmp_path, "part").errors
    assert str(tmp_path / "part/train/good") in error


def test_an_unknown_unit_names_those_there_are(tmp_path: Path) -> None:
    place(tmp_path, "bagel/train/good", "000")
    (error,) = mvtec.find(tmp_path, "bagle").errors
    assert "bagle" in error and "bagel" in error


def test_names_with_spaces_and_beyond_ascii(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "part 7 über", "零件")
    assert [each.stem for each in mvtec.find(tmp_path, "part").candidates] == ["part 7 über", "零件"]


def test_the_same_name_in_two_unicode_forms_is_one_part(tmp_path: Path) -> None:
    here = tmp_path / "part/train/good"
    touch(here / "rgb" / f"{unicodedata.normalize('NFC', 'ü1')}.png", here / "xyz" / f"{unicodedata.normalize('NFD', 'ü1')}.tiff")
    (only,) = mvtec.find(tmp_path, "part").candidates
    assert only.problem is None and (tmp_path / only.paths["xyz"]).is_file()


def test_a_name_that_is_no_text_goes_to_quarantine(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "000")
    for kind, suffix in (("rgb", b".png"), ("xyz", b".tiff")):
        folder = os.fsencode(tmp_path / "part/train/good" / kind)
        Path(os.fsdecode(folder + b"/\xff" + suffix)).touch()
    found = problems(tmp_path)
    assert list(found.values()) == ["unreadable_name"]
    assert all(name.encode() for name in found)


def test_two_files_of_one_stem_are_ambiguous(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "000")
    touch(tmp_path / "part/train/good/rgb/000.jpg")
    assert problems(tmp_path) == {"part/train/good/000": "ambiguous"}


def test_hidden_and_foreign_files_do_not_count(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "000")
    touch(tmp_path / "part/train/good/rgb/._000.png", tmp_path / "part/train/good/rgb/Thumbs.db")
    found = mvtec.find(tmp_path, "part")
    assert len(found.candidates) == 1 and any("1 files ignored" in note for note in found.notes)


def test_a_mask_without_part_is_noted(tmp_path: Path) -> None:
    place(tmp_path, "part/train/good", "000")
    place(tmp_path, "part/test/crack", "000", kinds=("rgb", "xyz", "gt"))
    place(tmp_path, "part/test/crack", "001", kinds=("gt",))
    assert any("001" in note and "no part" in note for note in mvtec.find(tmp_path, "part").notes)


def test_known_counts_are_a_warning_only() -> None:
    assert [sum(column) for column in zip(*mvtec.KNOWN_COUNTS.values(), strict=True)] == [2656, 294, 249, 948]
    assert mvtec.count_notes("bagel", (244, 22, 22, 88)) == [] == mvtec.count_notes("housing", (1, 2, 3, 4))
    (note,) = mvtec.count_notes("bagel", (240, 22, 22, 88))
    assert "240/22/22/88" in note and "244/22/22/88" in note


names = st.text(st.characters(min_codepoint=48, max_codepoint=0x17F, categories=("L", "N")), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(rgb=st.sets(names, max_size=6), xyz=st.sets(names, max_size=6))
def test_every_stem_becomes_one_candidate(tmp_path_factory: pytest.TempPathFactory, rgb: set[str], xyz: set[str]) -> None:
    root = tmp_path_factory.mktemp("law")
    place(root, "part/train/good", *rgb, kinds=("rgb",))
    place(root, "part/train/good", *xyz, kinds=("xyz",))
    forms = [{unicodedata.normalize("NFC", each) for each in side} for side in (rgb, xyz)]
    found = mvtec.find(root, "part").candidates
    assert {each.stem for each in found} == forms[0] | forms[1]
    assert len(found) == len(forms[0] | forms[1])
    fit = {each.stem for each in found if each.problem is None}
    assert fit <= forms[0] & forms[1]

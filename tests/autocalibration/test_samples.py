"""Tracks as files and rows as tables."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tenfold.autocalibration.samples import Tracks, file_facts, image_size, numbers, parquet, read_tracks, text
from tenfold.core import tables
from tenfold.core.errors import BadData, Corrupt
from tenfold.core.files import Unreadable


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.floats(-1e4, 1e4), st.booleans()), max_size=30), st.booleans())
def test_tracks_come_back_sorted_to_the_bit(rows: list[tuple[int, int, float, bool]], known: bool) -> None:
    column = list(zip(*rows, strict=True)) or [(), (), (), ()]
    tracks = Tracks(
        np.array(column[0], np.int64), np.array(column[1], np.int64), np.array(column[2], float), np.array(column[2], float) / 3,
        np.array(column[3], bool) if known else None,
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        path.write_bytes(parquet(tracks))
        found = read_tracks(path)
    assert parquet(found) == parquet(tracks)
    assert (found.inlier is not None) == known
    one = sorted(zip(tracks.track.tolist(), tracks.view.tolist(), tracks.x.tolist(), tracks.y.tolist(), strict=True))
    assert one == sorted(zip(found.track.tolist(), found.view.tolist(), found.x.tolist(), found.y.tolist(), strict=True))


def test_a_file_of_tracks_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="missing"):
        read_tracks(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"x")
    with pytest.raises(Corrupt):
        read_tracks(tmp_path / "t.parquet")
    tables.write(Tracks(*(np.zeros(1, np.int64),) * 2, *(np.zeros(1),) * 2).table().drop(["y"]), tmp_path / "t.parquet")
    with pytest.raises(BadData, match="no column 'y'"):
        read_tracks(tmp_path / "t.parquet")


def test_files_outside_the_folder_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (inside / "a.png").symlink_to(tmp_path / "secret.png")
    (inside / "b.png").mkdir()
    for name, reason in (("a.png", "link_outside"), ("b.png", "not_a_file"), ("c.png", "missing_image")):
        with pytest.raises(Unreadable, match=name) as caught:
            file_facts(inside, Path(name))
        assert caught.value.reason == reason


def test_a_picture_is_read_whole(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)).save(tmp_path / "a.jpg")
    assert image_size(tmp_path, Path("a.jpg"), decode=True) == (90, 80)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-300])
    assert image_size(tmp_path, Path("a.jpg"), decode=False) == (90, 80)
    with pytest.raises(Unreadable, match="a.jpg"):
        image_size(tmp_path, Path("a.jpg"), decode=True)


def test_text_and_numbers_name_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1 2\n\xff\xfe")
    with pytest.raises(Unreadable, match="a.txt: byte 4"):
        text(tmp_path / "a.txt")
    assert numbers("1 -2.5e3", 2, "here") == [1.0, -2500.0]
    for line in ("1", "1 2 3", "1 x"):
        with pytest.raises(Unreadable, match="here: 2 numbers are wanted"):
            numbers(line, 2, "here")

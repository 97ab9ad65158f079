"""Bundler's files: flips, means, unregistered cameras, and where a file is cut off."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold.autocalibration import bundler, scenes, survey
from tenfold.autocalibration.config import Dataset
from tenfold.autocalibration.samples import read_tracks
from tenfold.core.files import Unreadable
from tenfold.core.progress import Progress

SPEC = scenes.SceneSpec(5, "general", 9, 3, 320, 240, (300.0, 300.0, 160.0, 120.0, 0.0), 0.0, 0.0)
FLIP = np.diag([1.0, -1, -1])


def written(folder: Path, focals: tuple[float, ...] = (299.0, 300.0, 301.0)) -> scenes.Synthetic:
    """A scene in Bundler's convention: camera looking along -z, y up, centred points."""
    made = scenes.generate(SPEC)
    lines = ["# Bundle file v0.3", f"{len(focals)} 9"]
    for view, f in enumerate(focals):
        lines.append(f"{f} {0.01 * view} 0.0")
        lines += [" ".join(map(repr, row)) for row in (FLIP @ made.R[view]).tolist()]
        lines.append(" ".join(map(repr, (FLIP @ made.t[view]).tolist())))
    for point in range(9):
        seen = [(view, *(made.x[view, point] - (160, 120))) for view in range(3)]
        lines += [" ".join(map(repr, made.X[point].tolist())), "0 0 0"]
        lines.append(f"{len(seen)} " + " ".join(f"{view} {point} {float(x)!r} {float(-y)!r}" for view, x, y in seen))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.out").write_text("\n".join(lines) + "\n")
    (folder / "list.txt").write_text("".join(f"{view}.png 0 300\n" for view in range(len(focals))))
    for view in range(len(focals)):
        Image.new("RGB", (320, 240), (view, 0, 0)).save(folder / f"{view}.png")
    return made


def test_points_and_poses_come_back_in_our_convention(tmp_path: Path) -> None:
    made = written(tmp_path / "scene")
    bundle = bundler.read_out(tmp_path / "scene" / "bundle.out")
    np.testing.assert_allclose(bundle.R, made.R, atol=1e-15)
    np.testing.assert_allclose(bundle.t, made.t, atol=1e-15)
    scene = bundler.read(tmp_path, Path("scene"), "scene")
    assert [view.image for view in scene.views] == [Path(f"scene/{view}.png") for view in range(3)]
    assert {(view.camera, view.width, view.height) for view in scene.views} == {("0", 320, 240)}
    known = scene.views[0].reference
    assert known is not None and known.k == (300.0, 300.0, 160.0, 120.0, 0.0) and known.k1 == pytest.approx(0.01)
    assert scene.tracks is not None and len(scene.tracks) == 27
    for view in range(3):
        mine = scene.tracks.where(scene.tracks.view == view)
        np.testing.assert_allclose(np.stack([mine.x, mine.y], -1), made.x[view][mine.track], atol=1e-9)


def test_an_unregistered_camera_is_left_out_and_its_number_closed(tmp_path: Path) -> None:
    written(tmp_path, (299.0, 0.0, 301.0))
    scene = bundler.read(tmp_path, Path(), "scene")
    assert [view.name for view in scene.views] == ["0.png", "2.png"] and "1 images are not registered" in scene.warnings[0]
    assert scene.tracks is not None and set(scene.tracks.view.tolist()) == {0, 1}


def edit(path: Path, change: Callable[[list[str]], object]) -> None:
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda lines: lines.__setitem__(0, "# something"), "unreadable_file", "line 1"),
        (
            lambda lines: lines.__delitem__(slice(10, None)),
            "truncated_file",
            "line 10: the file ends there, 3 cameras and 9 points need more",
        ),
        (lambda lines: lines.__delitem__(slice(20, None)), "truncated_file", "line 20: the file ends there"),
        (lambda lines: lines.__setitem__(4, "0 1"), "truncated_file", "line 5: 3 numbers are wanted, 2"),
        (lambda lines: lines.__setitem__(4, "0 one 1"), "unreadable_file", "line 5"),
        (
            lambda lines: lines.__setitem__(19, lines[19].rsplit(" ", 1)[0]),
            "truncated_file",
            "line 20: a track of 3 views has 12 numbers, 11",
        ),
        (lambda lines: lines.__setitem__(19, "1 7 0 1.0 1.0"), "unknown_image", "line 20: there is no camera 7"),
    ],
)
def test_a_broken_file_says_the_line(tmp_path: Path, change: Callable[[list[str]], object], reason: str, words: str) -> None:
    written(tmp_path)
    edit(tmp_path / "bundle.out", change)
    with pytest.raises(Unreadable, match=words) as caught:
        bundler.read(tmp_path, Path(), "scene")
    assert caught.value.reason == reason


def test_names_and_cameras_must_be_as_many(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "list.txt").write_text("0.png\n1.png\n")
    with pytest.raises(Unreadable, match="names 2 photos, bundle.out has 3"):
        bundler.read(tmp_path, Path(), "scene")
    (tmp_path / "list.txt").unlink()
    with pytest.raises(Unreadable, match="list.txt"):
        bundler.read(tmp_path, Path(), "scene")
    (tmp_path / "other.out").write_text("")
    with pytest.raises(Unreadable, match="2 files end with .out"):
        bundler.read(tmp_path, Path(), "scene")


def test_a_missing_photo_takes_only_its_own_observations_away(tmp_path: Path) -> None:
    written(tmp_path / "in" / "scene")
    (tmp_path / "in" / "scene" / "1.png").unlink()
    block = Dataset(min_views=2, max_dropped=0.05, max_quarantine=0.5)
    found = survey.survey(survey.find(tmp_path / "in", "bundler"), tmp_path / "in", block, tmp_path / "files", Progress())
    assert [row["reason"] for row in found.quarantine] == ["missing_image"] and [row["name"] for row in found.samples] == ["0.png", "2.png"]
    assert len(read_tracks(tmp_path / "files" / "tracks" / "scene.parquet")) == 18

"""What becomes of a scene: observations that cannot be, views that do not belong together, files that are not as said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tenfold.autocalibration import scenes, survey
from tenfold.autocalibration.config import Dataset
from tenfold.autocalibration.samples import Reference, Scene, Tracks, View, read_tracks
from tenfold.autocalibration.survey import Pending, Survey
from tenfold.core.errors import UsageError
from tenfold.core.files import Unreadable
from tenfold.core.progress import Progress

BLOCK = Dataset(min_views=3, max_dropped=0.05, max_quarantine=0.9)
SPEC = scenes.SceneSpec(7, "general", 40, 4, 320, 240, (300.0, 300.0, 160.0, 120.0, 0.0), 0.3, 0.0)


@pytest.fixture
def scene() -> Scene:
    return scenes.generate(SPEC).scene("one")


def judged(tmp_path: Path, *given: Scene, block: Dataset = BLOCK) -> Survey:
    pending = [Pending(each.name, lambda each=each: each) for each in given]  # type: ignore[misc]
    return survey.survey(pending, tmp_path, block, tmp_path / "files", Progress())


def tracks_of(scene: Scene) -> Tracks:
    assert scene.tracks is not None
    return scene.tracks


def changed(scene: Scene, rows: int, **values: Any) -> Scene:
    """The scene with the first `rows` observations of its tracks set to values."""
    tracks = tracks_of(scene)
    new = {}
    for name, value in values.items():
        column = getattr(tracks, name).copy()
        column[:rows] = value
        new[name] = column
    return replace(scene, tracks=replace(tracks, **new))


def test_a_good_scene_gets_a_row_a_view_and_a_file_of_tracks(tmp_path: Path, scene: Scene) -> None:
    found = judged(tmp_path, scene)
    assert [row["id"] for row in found.samples] == [f"one/{view}" for view in range(4)] and not found.quarantine and not found.errors
    row = found.samples[2]
    assert (row["scene"], row["view"], row["camera"], row["width"], row["label"], row["motion"]) == (
        "one",
        2,
        "0",
        320,
        "general",
        "general",
    )
    assert row["ref_fx"] == 300 and row["noise_px"] == 0.3 and row["tracks_path"] == "tracks/one.parquet" and row["image_path"] is None
    saved = read_tracks(tmp_path / "files" / row["tracks_path"])
    assert len(saved) == 160 and (tmp_path / "files" / row["tracks_path"]).stat().st_size == row["tracks_bytes"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -161.0, 481.0])
def test_a_few_wrong_coordinates_are_dropped_and_counted(tmp_path: Path, scene: Scene, bad: float) -> None:
    found = judged(tmp_path, changed(scene, 5, x=bad))
    assert len(read_tracks(tmp_path / "files/tracks/one.parquet")) == 155 and not found.quarantine
    assert "5 observations dropped" in found.samples[0]["warnings"]


def test_half_a_frame_outside_is_kept(tmp_path: Path, scene: Scene) -> None:
    judged(tmp_path, changed(scene, 5, x=-159.0))
    assert len(read_tracks(tmp_path / "files/tracks/one.parquet")) == 160


def test_many_wrong_coordinates_quarantine_the_scene_and_the_rest_goes_on(tmp_path: Path, scene: Scene) -> None:
    good = replace(scene, name="two", warnings=[])
    found = judged(tmp_path, changed(scene, 9, y=np.nan), good)
    assert [row["reason"] for row in found.quarantine] == ["bad_coordinates"] * 4 and "9 of 160" in found.quarantine[0]["detail"]
    assert {row["scene"] for row in found.samples} == {"two"} and not found.errors


def test_of_a_track_twice_in_a_view_none_is_kept(tmp_path: Path, scene: Scene) -> None:
    tracks = tracks_of(scene)
    again = tracks.where(np.array([0, 0]))
    double = Tracks(*(np.concatenate([getattr(tracks, name), getattr(again, name)]) for name in ("track", "view", "x", "y")))
    found = judged(tmp_path, replace(scene, tracks=double))
    saved = read_tracks(tmp_path / "files/tracks/one.parquet")
    assert len(saved) == 159 and not ((saved.track == 0) & (saved.view == 0)).any()
    assert "3 observations dropped: their track stands twice in a view" in found.samples[0]["warnings"]


def test_views_of_different_size_or_camera_become_groups(tmp_path: Path, scene: Scene) -> None:
    more = scenes.generate(replace(SPEC, views=8)).scene("one")
    views = [replace(view, camera="b" if index % 2 else "a") for index, view in enumerate(more.views)]
    views[6] = replace(views[6], width=400)
    found = judged(tmp_path, replace(more, views=views))
    assert {row["scene"]: row["camera"] for row in found.samples} == {"one-0": "a", "one-1": "b"}
    assert [row["name"] for row in found.samples if row["scene"] == "one-1"] == ["001", "003", "005", "007"]
    assert [row["view"] for row in found.samples if row["scene"] == "one-1"] == [0, 1, 2, 3]
    assert [row["reason"] for row in found.quarantine] == ["too_few_views"]
    assert "needs at least 3 views with one camera id; camera a (400 x 240 px) has 1" in found.quarantine[0]["detail"]
    whole, part = tracks_of(more), read_tracks(tmp_path / "files/tracks/one-1.parquet")
    one, two = whole.where((whole.view == 5) & (whole.track == 3)), part.where((part.view == 2) & (part.track == 3))
    assert one.x == two.x


def test_too_few_views(tmp_path: Path) -> None:
    two = scenes.generate(replace(SPEC, views=2)).scene("pair")
    found = judged(tmp_path, two)
    assert "no scene can be used" in found.errors[0] and "needs at least 3 views" in found.errors[0]
    assert len(judged(tmp_path, two, block=replace(BLOCK, min_views=2)).samples) == 2


def test_views_that_share_no_point(tmp_path: Path, scene: Scene) -> None:
    tracks = tracks_of(scene)
    apart = replace(scene, tracks=replace(tracks, track=np.arange(len(tracks))))
    found = judged(tmp_path, apart)
    assert {row["reason"] for row in found.quarantine} == {"no_tracks"}


def photographed(tmp_path: Path, scene: Scene) -> Scene:
    views = []
    for index, view in enumerate(scene.views):
        Image.new("RGB", (320, 240), (index, 9, 9)).save(tmp_path / f"{index}.png")
        views.append(replace(view, image=Path(f"{index}.png")))
    return replace(scene, views=views)


def test_a_missing_or_broken_photo_is_quarantined_alone_and_the_tracks_are_numbered_anew(tmp_path: Path, scene: Scene) -> None:
    given = photographed(tmp_path, scene)
    (tmp_path / "1.png").unlink()
    found = judged(tmp_path, given)
    assert [(row["id"], row["reason"]) for row in found.quarantine] == [("one/001", "missing_image")]
    assert [row["image_path"] for row in found.samples] == ["0.png", "2.png", "3.png"]
    saved, whole = read_tracks(tmp_path / "files/tracks/one.parquet"), tracks_of(scene)
    assert (saved.where(saved.view == 1).x == whole.where(whole.view == 2).x).all()
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:50])
    found = judged(tmp_path, given)
    assert {row["reason"] for row in found.quarantine} == {"missing_image", "unreadable_image", "too_few_views"}


def test_a_photo_of_another_size_than_its_camera(tmp_path: Path, scene: Scene) -> None:
    given = photographed(tmp_path, scene)
    Image.new("RGB", (300, 240)).save(tmp_path / "3.png")
    found = judged(tmp_path, given)
    assert found.quarantine[0]["reason"] == "wrong_size" and "3.png is 300 x 240 px, its camera 320 x 240" in found.quarantine[0]["detail"]


def test_one_photo_given_twice_is_told(tmp_path: Path, scene: Scene) -> None:
    given = photographed(tmp_path, scene)
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes())
    assert "1 photos stand more than once, such as one/0 and one/3" in judged(tmp_path, given).warnings[0]


def test_too_much_quarantine_stops_with_count_and_reason(tmp_path: Path, scene: Scene) -> None:
    bad = [replace(changed(scene, 40, x=np.nan), name=f"bad{index}") for index in range(3)]
    found = judged(tmp_path, scene, *bad, block=replace(BLOCK, max_quarantine=0.5))
    assert "12 of 16 images cannot be used (12 bad_coordinates), max_quarantine is 50%" in found.errors[0]


def test_a_reader_s_failure_is_the_scene_s_only(tmp_path: Path, scene: Scene) -> None:
    def fail() -> Scene:
        raise Unreadable("truncated_file", "database.db byte 7: it ends there")

    found = survey.survey([Pending("broken", fail), Pending("one", lambda: scene)], tmp_path, BLOCK, None, Progress())
    assert (found.quarantine[0]["id"], found.quarantine[0]["detail"]) == ("broken", "database.db byte 7: it ends there")
    assert len(found.samples) == 4 and not (tmp_path / "files").exists()


def test_a_reference_far_from_the_centre_or_none_is_accepted(tmp_path: Path, scene: Scene) -> None:
    far = Reference((300.0, 300.0, 20.0, 230.0, 0.0))
    views = [replace(view, reference=far if index < 2 else None) for index, view in enumerate(scene.views)]
    found = judged(tmp_path, replace(scene, views=views))
    assert [row["ref_cx"] for row in found.samples] == [20.0, 20.0, None, None] and found.samples[0]["ref_k1"] is None


def test_layouts_are_recognised_by_their_files(tmp_path: Path) -> None:
    for layout, file in (
        ("eth3d", "courtyard/dslr_calibration_undistorted/cameras.txt"),
        ("strecha", "fountain/0000.jpg.camera"),
        ("colmap", "sparse/0/cameras.bin"),
        ("images", "mine/a.JPG"),
    ):
        path = tmp_path / layout / file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        assert survey.recognise(tmp_path / layout) == layout
    (tmp_path / "bundler").mkdir()
    for name in ("a.out", "list.txt"):
        (tmp_path / "bundler" / name).write_bytes(b"")
    assert survey.recognise(tmp_path / "bundler") == "bundler"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="looks like none of"):
        survey.recognise(tmp_path / "empty")


def test_scenes_get_names_that_are_files_and_different(tmp_path: Path) -> None:
    for name in ("my scene", "my_scene", "Gehäuse"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"")
    assert [each.name for each in survey.find(tmp_path, "images")] == ["Gehäuse", "my_scene", "my_scene-3"]


def test_views_without_files_need_no_size_of_a_photo(tmp_path: Path) -> None:
    views = [View(str(index), "0", 100, 100) for index in range(3)]
    found = judged(tmp_path, Scene("bare", views, None))
    assert len(found.samples) == 3 and found.samples[0]["tracks_path"] is None

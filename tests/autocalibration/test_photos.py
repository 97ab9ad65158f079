"""A plain folder of photos: cameras by size and EXIF, broken ones left to the judgement."""

from pathlib import Path

from PIL import Image

from tenfold.autocalibration import photos


def save(path: Path, model: str = "", focal: float = 0.0, orientation: int = 1, size: tuple[int, int] = (64, 48)) -> None:
    image = Image.new("RGB", size)
    exif = image.getexif()
    if model:
        exif[272] = model
    if orientation != 1:
        exif[274] = orientation
    if focal:
        exif.get_ifd(34665)[37386] = focal
    image.save(path, exif=exif)


def test_exif_tells_cameras_and_zooms_apart(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", "X100", 18)
    save(tmp_path / "b.JPG", "X100", 18)
    save(tmp_path / "c.jpg", "X100", 35)
    save(tmp_path / "d.jpg")
    save(tmp_path / "e.jpg", orientation=6)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.jpg").write_bytes(b"")
    scene = photos.read(tmp_path.parent, Path(tmp_path.name), "mine")
    assert [view.name for view in scene.views] == ["a.jpg", "b.JPG", "c.jpg", "d.jpg", "e.jpg"]
    assert [view.camera for view in scene.views] == ["X100 18 mm", "X100 18 mm", "X100 35 mm", "", ""]
    assert scene.views[0].image == Path(tmp_path.name) / "a.jpg" and (scene.views[0].width, scene.views[0].height) == (64, 48)
    assert scene.tracks is None and scene.warnings == ["e.jpg is turned by EXIF only: read as it is stored"]


def test_a_broken_photo_stays_a_view(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert photos.read(tmp_path, Path(), "mine").views[0].width == 0 and photos.is_scene(tmp_path)
    assert not photos.is_scene(tmp_path / "absent")

"""ETH3D's folders: one model, several cameras, photos below `images`."""

from dataclasses import replace
from pathlib import Path

import pytest

from tenfold.autocalibration import colmap_model, eth3d, scenes
from tenfold.core.files import Unreadable

SPEC = scenes.SceneSpec(4, "general", 10, 4, 640, 480, (700.0, 710.0, 321.0, 239.0, 0.0), 0.0, 0.0)


def written(root: Path) -> None:
    """A scene with two cameras of one size, in ETH3D's places."""
    scenes.write_colmap(scenes.generate(SPEC), root / "made")
    model = colmap_model.read(root / "made" / "sparse" / "0")
    images = {key: replace(image, name=f"dslr_images_undistorted/{image.name}", camera=1 + key % 2) for key, image in model.images.items()}
    model = colmap_model.Model({1: model.cameras[1], 2: model.cameras[1]}, images, model.points)
    colmap_model.write_text(model, root / "courtyard" / eth3d.MODEL)


def test_photos_cameras_and_tracks(tmp_path: Path) -> None:
    written(tmp_path)
    assert eth3d.read(tmp_path, Path("courtyard"), "courtyard").views[0].image is None
    (tmp_path / "courtyard" / "images").mkdir()
    assert eth3d.is_scene(tmp_path / "courtyard") and not eth3d.is_scene(tmp_path / "made")
    scene = eth3d.read(tmp_path, Path("courtyard"), "courtyard")
    assert scene.views[0].image == Path("courtyard/images/dslr_images_undistorted/000.png")
    assert [view.camera for view in scene.views] == ["2", "1", "2", "1"]
    assert scene.tracks is not None and len(scene.tracks) == 40


def test_a_model_without_images(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "courtyard" / eth3d.MODEL / "images.txt").write_text("# none\n")
    with pytest.raises(Unreadable, match="lists no image"):
        eth3d.read(tmp_path, Path("courtyard"), "courtyard")

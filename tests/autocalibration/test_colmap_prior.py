"""The copy of a COLMAP database: only its cameras differ; bad inputs leave nothing behind."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tenfold.autocalibration import colmap_db, colmap_prior, scenes
from tenfold.core.errors import BadData, UsageError

K = (500.0, 500.0, 321.0, 241.0, 0.0)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    scenes.write_colmap(
        scenes.generate(scenes.SceneSpec(0, "general", 30, 3, 640, 480, (600.0, 600.0, 320.0, 240.0, 0.0), 0.5, 0.1)), folder
    )
    return folder / "database.db"


def test_camera_is_put_in_and_all_else_kept(database: Path, tmp_path: Path) -> None:
    before = database.read_bytes()
    target = tmp_path / "new.db"
    colmap_prior.write(database, target, {1: K})
    old, new = colmap_db.read(database), colmap_db.read(target)
    assert database.read_bytes() == before
    assert new.cameras[1].params[:4] == (500.0, 500.0, 321.0, 241.0)
    assert all(np.array_equal(old.keypoints[i], new.keypoints[i]) for i in old.keypoints)
    assert old.images == new.images and all(np.array_equal(old.pairs[i], new.pairs[i]) for i in old.pairs)
    with sqlite3.connect(target) as link:
        assert link.execute("SELECT prior_focal_length FROM cameras").fetchall() == [(1,)]


def test_pycolmap_reads_it(database: Path, tmp_path: Path) -> None:
    import pycolmap

    colmap_prior.write(database, tmp_path / "new.db", {1: (500.0, 510.0, 321.0, 241.0, 0.0)})
    with pycolmap.Database.open(tmp_path / "new.db") as opened:
        camera = opened.read_camera(1)
    assert camera.has_prior_focal_length and camera.params.tolist() == [500.0, 510.0, 321.0, 241.0]


@pytest.mark.parametrize(
    ("model", "k", "radial", "wanted"),
    [
        ("SIMPLE_PINHOLE", K, (), ("SIMPLE_PINHOLE", (500.0, 321.0, 241.0))),
        ("SIMPLE_RADIAL", K, (-0.1, 0.0), ("SIMPLE_RADIAL", (500.0, 321.0, 241.0, -0.1))),
        ("SIMPLE_PINHOLE", K, (-0.1, 0.0), ("SIMPLE_RADIAL", (500.0, 321.0, 241.0, -0.1))),
        ("SIMPLE_RADIAL", K, (-0.1, 0.02), ("RADIAL", (500.0, 321.0, 241.0, -0.1, 0.02))),
        ("SIMPLE_PINHOLE", K, (-0.1, 0.02), ("RADIAL", (500.0, 321.0, 241.0, -0.1, 0.02))),
        ("SIMPLE_RADIAL", (500.0, 510.0, 321.0, 241.0, 0.0), (), ("OPENCV", (500.0, 510.0, 321.0, 241.0, 0.0, 0.0, 0.0, 0.0))),
        ("OPENCV_FISHEYE", K, (), ("SIMPLE_PINHOLE", (500.0, 321.0, 241.0))),
    ],
)
def test_models(model: str, k: tuple[float, ...], radial: tuple[float, ...], wanted: tuple[str, tuple[float, ...]]) -> None:
    assert colmap_prior.params(model, k, radial) == wanted


def test_bad_inputs(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.db"
    with pytest.raises(BadData, match="no skew"):
        colmap_prior.write(database, target, {1: (500.0, 500.0, 320.0, 240.0, 3.0)})
    with pytest.raises(BadData, match="camera 7"):
        colmap_prior.write(database, target, {7: K})
    with pytest.raises(BadData, match="missing"):
        colmap_prior.write(tmp_path / "none.db", target, {1: K})
    (tmp_path / "broken.db").write_bytes(database.read_bytes()[:5000])
    with pytest.raises(BadData, match="COLMAP"):
        colmap_prior.write(tmp_path / "broken.db", target, {1: K})
    assert not target.exists() and [path.name for path in tmp_path.iterdir()] == ["broken.db"]
    target.write_text("mine")
    with pytest.raises(UsageError, match="already"):
        colmap_prior.write(database, target, {1: K})
    assert target.read_text() == "mine"

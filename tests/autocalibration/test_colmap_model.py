"""COLMAP's sparse model: text and binary say the same, pycolmap agrees, what is cut off says where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.autocalibration import colmap_model, scenes
from tenfold.autocalibration.colmap_model import Camera
from tenfold.core.files import Unreadable

SPEC = scenes.SceneSpec(1, "general", 12, 3, 640, 480, (700.0, 710.0, 321.0, 239.0, 0.0), 0.3, 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scenes.write_colmap(scenes.generate(SPEC), tmp_path)
    return tmp_path / "sparse" / "0"


def binary(folder: Path, tmp_path: Path) -> Path:
    pycolmap = pytest.importorskip("pycolmap")
    out = tmp_path / "binary"
    out.mkdir()
    pycolmap.Reconstruction(str(folder)).write_binary(str(out))
    return out


def test_text_and_binary_give_one_model(folder: Path, tmp_path: Path) -> None:
    one, two = colmap_model.read(folder), colmap_model.read(binary(folder, tmp_path))
    assert one.cameras == two.cameras == {1: Camera("PINHOLE", 640, 480, (700.0, 710.0, 321.0, 239.0))}
    assert set(one.images) == set(two.images) == {1, 2, 3} and len(one.points) == len(two.points) == 12
    for key, image in one.images.items():
        other = two.images[key]
        assert image.name == other.name and image.camera == other.camera
        np.testing.assert_allclose(image.R, other.R, atol=1e-12)
        np.testing.assert_allclose(image.t, other.t, atol=1e-12)
        assert (image.x == other.x).all() and (image.point == other.point).all()


def test_a_model_becomes_a_scene_with_tracks_and_reference(folder: Path) -> None:
    made = scenes.generate(SPEC)
    scene = colmap_model.scene(colmap_model.read(folder), "here", lambda name: Path("images") / name)
    assert [view.image for view in scene.views] == [Path(f"images/00{index}.png") for index in range(3)]
    assert scene.tracks is not None and len(scene.tracks) == 36
    known = scene.views[1].reference
    assert known is not None and known.k == SPEC.k and (known.k1, known.k2) == (0.0, 0.0) and known.pose is not None
    np.testing.assert_allclose(np.array(known.pose[:9]).reshape(3, 3), made.R[1], atol=1e-12)
    seen = scene.tracks.where(scene.tracks.view == 2)
    order = np.argsort(seen.track)
    np.testing.assert_allclose(seen.x[order], made.x[2, :, 0], atol=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_quaternion_and_matrix_are_inverse(values: list[float]) -> None:
    R = colmap_model.matrix(np.array(values))
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(colmap_model.matrix(colmap_model.quaternion(R)), R, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "params", "k", "radial"),
    [
        ("SIMPLE_PINHOLE", (5.0, 1.0, 2.0), (5.0, 5.0, 1.0, 2.0, 0.0), (0.0, 0.0)),
        ("SIMPLE_RADIAL", (5.0, 1.0, 2.0, 0.1), (5.0, 5.0, 1.0, 2.0, 0.0), (0.1, 0.0)),
        ("RADIAL", (5.0, 1.0, 2.0, 0.1, 0.2), (5.0, 5.0, 1.0, 2.0, 0.0), (0.1, 0.2)),
        ("PINHOLE", (5.0, 6.0, 1.0, 2.0), (5.0, 6.0, 1.0, 2.0, 0.0), (0.0, 0.0)),
        ("OPENCV", (5.0, 6.0, 1.0, 2.0, 0.1, 0.2, 0.3, 0.4), (5.0, 6.0, 1.0, 2.0, 0.0), (0.1, 0.2)),
    ],
)
def test_reference_of_each_model(model: str, params: tuple[float, ...], k: tuple[float, ...], radial: tuple[float, float]) -> None:
    known = colmap_model.reference(Camera(model, 10, 10, params))
    assert known is not None and known.k == k and (known.k1, known.k2) == radial


def test_fisheye_has_no_reference_and_is_told(folder: Path) -> None:
    edit(folder / "cameras.txt", "PINHOLE 640 480 700.0 710.0 321.0 239.0", "FOV 640 480 700 710 321 239 0.9")
    scene = colmap_model.scene(colmap_model.read(folder), "here", lambda name: None)
    assert all(view.reference is None for view in scene.views) and scene.warnings == ["camera 1 is FOV: no perspective reference"]


def test_points_without_a_3d_point_are_no_tracks_and_a_last_image_may_be_empty(folder: Path) -> None:
    lines = (folder / "images.txt").read_text().splitlines()
    lines[3] = lines[3].replace(" 1 ", " -1 ", 1) if lines[3].split()[2] == "1" else lines[3]
    (folder / "images.txt").write_text("\n".join(lines[:-1]) + "\n\n")
    model = colmap_model.read(folder)
    assert len(model.images[3].x) == 0 and len(colmap_model.tracks(model, [1, 2, 3])) == 23


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def missing(folder: Path) -> None:
    (folder / "images.txt").unlink()


def no_cameras(folder: Path) -> None:
    (folder / "cameras.txt").unlink()


def cut_images(folder: Path) -> None:
    path = folder / "images.txt"
    path.write_text(path.read_text().rstrip().rsplit(" ", 1)[0])


def short_image(folder: Path) -> None:
    lines = (folder / "images.txt").read_text().splitlines()
    lines[4] = " ".join(lines[4].split()[:6])
    (folder / "images.txt").write_text("\n".join(lines))


def letters(folder: Path) -> None:
    edit(folder / "cameras.txt", "710.0", "abc")


def few_params(folder: Path) -> None:
    edit(folder / "cameras.txt", " 239.0", "")


def nan_focal(folder: Path) -> None:
    edit(folder / "cameras.txt", "700.0", "nan")


def odd_model(folder: Path) -> None:
    edit(folder / "cameras.txt", "PINHOLE", "PINHALL")


def other_camera(folder: Path) -> None:
    edit(folder / "images.txt", " 1 000.png", " 9 000.png")


def twice(folder: Path) -> None:
    edit(folder / "images.txt", " 1 001.png", " 1 000.png")


def zero_quaternion(folder: Path) -> None:
    edit(folder / "images.txt", "1 1.0 0.0 0.0 0.0", "1 0 0 0 0")


def cut_points(folder: Path) -> None:
    path = folder / "points3D.txt"
    path.write_text(path.read_text() + "99 1.0 2.0\n")


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        (missing, "missing_file", "images.txt is missing"),
        (no_cameras, "missing_file", "neither cameras.txt"),
        (cut_images, "unreadable_file", "images.txt line 8.*cut off"),
        (short_image, "unreadable_file", "images.txt line 5"),
        (letters, "unreadable_file", "cameras.txt line 2"),
        (few_params, "unreadable_file", "cameras.txt line 2: PINHOLE has 4 parameters, 3"),
        (nan_focal, "unreadable_file", "cameras.txt line 2.*not finite"),
        (odd_model, "unknown_camera", "PINHALL"),
        (other_camera, "unknown_camera", "000.png has camera 9"),
        (twice, "duplicate_image", "000.png"),
        (zero_quaternion, "unreadable_file", "quaternion"),
        (cut_points, "unreadable_file", "points3D.txt line 14"),
    ],
)
def test_broken_text_says_the_line(folder: Path, spoil: Callable[[Path], None], reason: str, words: str) -> None:
    spoil(folder)
    with pytest.raises(Unreadable, match=words) as caught:
        colmap_model.read(folder)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_truncated_binary_says_the_byte(folder: Path, tmp_path: Path, name: str) -> None:
    out = binary(folder, tmp_path)
    path = out / f"{name}.bin"
    whole = path.read_bytes()
    for size in (4, 20, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(Unreadable, match=rf"{name}.bin byte \d+") as caught:
            colmap_model.read(out)
        assert caught.value.reason == "truncated_file"

"""Eyecandies: geometry of a synthetic belt, splits, and items that are missing."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly import eyecandies
from tenfold.crossmodal_anomaly.config import Dataset
from tenfold.crossmodal_anomaly.images import read_xyz

BLOCK = Dataset(xyz_unit="m", max_quarantine=0.05, max_nonfinite=0.2, light=4)
SIDE = 64
LOW, HIGH = 0.5, 4.0


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (m), pose (world to camera) and candy mask: a camera pitched down on a level belt (y = 0) with a box of 0.15."""
    pitch = np.deg2rad(50)
    rotation = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    pose = np.eye(4)
    eye = np.array([0.1, -1.6, 0.2])
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    focal = eyecandies.FOCAL_PX * SIDE / eyecandies.FOCAL_SIDE
    v, u = np.indices((SIDE, SIDE))
    rays = np.stack([(u - SIDE / 2) / focal, (v - SIDE / 2) / focal, np.ones((SIDE, SIDE))], axis=-1) @ rotation
    belt = -eye[1] / rays[..., 1]
    top = (-0.15 - eye[1]) / rays[..., 1]
    place = eye + rays * top[..., None]
    candy = (np.abs(place[..., 0] - 0.1) < 0.25) & (np.abs(place[..., 2] - 1.55) < 0.2)
    return np.where(candy, top, belt), pose, candy


def write(root: Path, folder: str, number: str, anomalous: int = 0, skip: tuple[str, ...] = ()) -> None:
    depth, pose, candy = scene()
    here = root / "CandyCane" / folder / "data"
    here.mkdir(parents=True, exist_ok=True)
    mask = (candy & bool(anomalous)).astype(np.uint8) * 255
    pictures = {f"image_{light}": np.full((SIDE, SIDE, 3), 40 * light, np.uint8) for light in range(6)}
    pictures |= {"mask": mask, "bumps_mask": mask, "dents_mask": 0 * mask}
    pictures["depth"] = np.round((depth - LOW) / (HIGH - LOW) * 65535).astype(np.uint16)
    for item, array in pictures.items():
        if item not in skip:
            Image.fromarray(array).save(here / f"{number}_{item}.png")
    texts = {
        "info_depth.yaml": yaml.safe_dump({"normalization": {"min": LOW, "max": HIGH}}),
        "metadata.yaml": yaml.safe_dump({"anomalous": anomalous}),
        "pose.txt": "\n".join(" ".join(f"{each:.9f}" for each in row) for row in pose),
    }
    for item, text in texts.items():
        if item.partition(".")[0] not in skip:
            (here / f"{number}_{item}").write_text(text)


def test_world_points_lie_on_the_belt_and_the_candy() -> None:
    depth, pose, candy = scene()
    world = eyecandies.unproject(depth, pose)
    np.testing.assert_allclose(world[~candy][:, 1], 0, atol=1e-9)
    np.testing.assert_allclose(world[candy][:, 1], -0.15, atol=1e-9)


def test_background_becomes_zero_in_all_three_coordinates() -> None:
    depth, pose, candy = scene()
    world = eyecandies.unproject(depth, pose)
    cloud = eyecandies.cut_background(world)
    assert cloud.dtype == np.float32
    np.testing.assert_array_equal(cloud.any(axis=-1), candy)
    np.testing.assert_allclose(cloud[candy], world[candy][:, [0, 2, 1]] * [0.1, -0.1, 0.1], atol=1e-7)


@pytest.mark.parametrize("tilt", [-0.1, 0.05, 0.2])
def test_a_tilted_belt_is_levelled(tilt: float) -> None:
    depth, pose, candy = scene()
    world = eyecandies.unproject(depth, pose)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    cloud = eyecandies.cut_background(world @ turn.T)
    np.testing.assert_array_equal(cloud.any(axis=-1), candy)


def test_far_and_wide_points_go() -> None:
    depth, pose, candy = scene()
    world = eyecandies.unproject(depth, pose)
    v, u = (int(each[0]) for each in np.nonzero(candy))
    world[v, u, 0] = 1.5
    assert not eyecandies.cut_background(world)[v, u].any()
    world[v, u, 0], world[v, u, 2] = 0.0, 9.0
    assert not eyecandies.cut_background(world)[v, u].any()


def test_no_belt_is_refused() -> None:
    with pytest.raises(Unreadable, match="belt"):
        eyecandies.cut_background(np.zeros((SIDE, SIDE, 3)))


def test_conversion_to_the_official_layout(tmp_path: Path) -> None:
    write(tmp_path / "in", "train", "000")
    write(tmp_path / "in", "val", "000")
    write(tmp_path / "in", "test_public", "00")
    write(tmp_path / "in", "test_public", "01", anomalous=1)
    write(tmp_path / "in", "test_private", "000")
    found = eyecandies.find(tmp_path / "in", "CandyCane", BLOCK)
    assert [each.id for each in found.candidates] == [
        "CandyCane/test/bad/01",
        "CandyCane/test/good/00",
        "CandyCane/train/good/000",
        "CandyCane/validation/good/000",
    ]
    assert not found.errors and any("test_private" in note and "predict" in note for note in found.notes)
    for candidate in found.candidates:
        assert candidate.problem is None
        made = eyecandies.convert(tmp_path / "in", candidate, tmp_path / "out", BLOCK)
        assert np.asarray(Image.open(tmp_path / "out" / made.paths["rgb"])).min() == 160
        cloud, warnings = read_xyz((tmp_path / "out" / made.paths["xyz"]).read_bytes())
        assert warnings == [] and 50 < np.count_nonzero(cloud.any(axis=-1)) < SIDE * SIDE / 2
        assert ("gt" in made.paths) == (candidate.split == "test")
    kinds = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("kinds/*/*.png")}
    assert kinds == {f"CandyCane/test/bad/kinds/{kind}/01.png" for kind in ("bumps", "dents")}


@pytest.mark.parametrize("item", ["image_4", "depth", "pose", "info_depth"])
def test_a_missing_item_is_named(tmp_path: Path, item: str) -> None:
    write(tmp_path, "train", "000")
    write(tmp_path, "train", "001", skip=(item,))
    good, bad = eyecandies.find(tmp_path, "CandyCane", BLOCK).candidates
    assert good.problem is None and bad.problem is not None and item in bad.problem[1]


def test_a_test_part_needs_its_label(tmp_path: Path) -> None:
    write(tmp_path, "train", "000")
    write(tmp_path, "test_public", "00")
    (tmp_path / "CandyCane/test_public/data/00_metadata.yaml").write_text("anomalous: perhaps")
    (part,) = [each for each in eyecandies.find(tmp_path, "CandyCane", BLOCK).candidates if each.split == "test"]
    assert part.problem is not None and part.problem[0] == "unreadable_metadata"


def test_a_defect_in_train_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "train", "000", anomalous=1)
    (error,) = eyecandies.find(tmp_path, "CandyCane", BLOCK).errors
    assert "000_metadata.yaml" in error and "good parts" in error


@pytest.mark.parametrize(
    ("item", "content"),
    [
        ("pose.txt", "1 2 3"),
        ("pose.txt", "x"),
        ("info_depth.yaml", "{}"),
        ("info_depth.yaml", "normalization: 3"),
        ("info_depth.yaml", ":\n:"),
    ],
)
def test_unreadable_side_files_are_told(tmp_path: Path, item: str, content: str) -> None:
    write(tmp_path, "train", "000")
    (tmp_path / "CandyCane/train/data" / f"000_{item}").write_text(content)
    (candidate,) = eyecandies.find(tmp_path, "CandyCane", BLOCK).candidates
    with pytest.raises(Unreadable):
        eyecandies.convert(tmp_path, candidate, tmp_path / "out", BLOCK)


def test_an_unknown_light_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "train", "000")
    (error,) = eyecandies.find(tmp_path, "CandyCane", Dataset("m", 0.05, 0.2, 9)).errors
    assert "light" in error

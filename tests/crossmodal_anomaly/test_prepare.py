import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.cluster import DBSCAN

from tenfold.core import seeding, tables
from tenfold.core.errors import BadData, Corrupt
from tenfold.core.progress import Progress
from tenfold.core.shards import ShardReader
from tenfold.crossmodal_anomaly import config, prepare
from tenfold.crossmodal_anomaly.dbscan import dbscan
from tenfold.crossmodal_anomaly.plane import Plane, fit_plane
from tenfold.crossmodal_anomaly.resize import bicubic, nearest, pad, square_of

BLOCK = config.Prepared(
    size=64,
    pad_multiple=100,
    plane="optional",
    plane_threshold_m=0.004,
    plane_cut_m=0.005,
    plane_draws=200,
    plane_sample=50,
    plane_border_px=10,
    plane_min_inliers=0.30,
    cluster_eps_m=0.006,
    cluster_min_points=30,
    keep="largest",
    keep_fraction=0.05,
    split_warning=0.60,
    min_points=128,
    max_quarantine=0.05,
    validity="finite",
    seed=0,
)


def clean(xyz: np.ndarray, block: config.Prepared = BLOCK) -> tuple[np.ndarray, prepare.Cleaning]:
    cleaned, _, found = prepare.clean(xyz, np.zeros(xyz.shape, np.uint8), block, seeding.rng(block.seed, "plane"))
    return cleaned, found


def table_with_box(
    tilt: float, side: int = 100, seed: int = 0, boxes: tuple[slice, ...] = (slice(30, 70),)
) -> tuple[np.ndarray, np.ndarray]:
    """A table at 0.4 m, tilted by degrees, with boxes 15 mm high on it; height above the table."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side] - side / 2) * 1e-3
    height = np.zeros((side, side))
    for box in boxes:
        height[35:65, box] = 0.015
    a = np.radians(tilt)
    normal = np.array([np.sin(a), 0, -np.cos(a)])
    point = np.stack([x * np.cos(a), y, 0.4 + x * np.sin(a)], -1) + height[..., None] * normal + rng.normal(0, 2e-4, (side, side, 3))
    return point.astype(np.float32), height


@pytest.mark.parametrize("tilt", [0, 7, 20])
def test_the_table_goes_and_the_box_stays(tilt: float) -> None:
    xyz, height = table_with_box(tilt)
    rng = np.random.default_rng(1)
    outliers = rng.random(height.shape) < 0.05
    xyz[outliers] += rng.normal(0, 0.03, (outliers.sum(), 3)).astype(np.float32)
    cleaned, found = clean(xyz)
    assert found.plane_found and found.plane is not None
    assert found.plane.inlier_ratio > 0.9
    a = np.radians(tilt)
    np.testing.assert_allclose([found.plane.a, found.plane.b, found.plane.c], [np.sin(a), 0, -np.cos(a)], atol=0.01)
    kept = cleaned.any(-1)
    table = (height == 0) & ~outliers
    assert kept[table].mean() < 0.01
    assert kept[(height > 0.006) & ~outliers].mean() > 0.98
    np.testing.assert_array_equal(cleaned[kept], xyz[kept])

    again, second = clean(cleaned)
    assert not second.plane_found and any("no background plane" in warning for warning in second.warnings)
    np.testing.assert_array_equal(again, cleaned)


def test_a_plane_is_fitted_exactly_and_faces_the_camera() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-0.1, 0.1, (900, 2)), np.zeros(900)])
    points[:, 2] = 0.5 + 0.25 * points[:, 0] - 0.1 * points[:, 1]
    points[:300] += [0, 0, -0.05]
    plane = fit_plane(points, 0.001, 400, 5, np.random.default_rng(0))
    assert plane is not None and plane.d > 0
    assert plane.inlier_ratio == pytest.approx(2 / 3)
    np.testing.assert_allclose(plane.height(points[300:]), 0, atol=1e-9)
    assert (plane.height(points[:300]) > 0.04).all()
    assert fit_plane(points[:4], 0.001, 400, 5, rng) is None
    assert fit_plane(points, 0.001, 400, 5, np.random.default_rng(0)) == plane


@pytest.mark.parametrize(("plane", "message"), [("required", "plane: optional"), ("optional", ""), ("off", "")])
def test_without_a_table_all_points_stay_unless_a_plane_is_required(plane: Any, message: str) -> None:
    xyz, height = table_with_box(0)
    xyz[height == 0] = 0
    block = replace(BLOCK, plane=plane)
    if message:
        with pytest.raises(BadData, match=message):
            clean(xyz, block)
        return
    cleaned, found = clean(xyz, block)
    np.testing.assert_array_equal(cleaned, xyz)
    assert found.plane is None and not found.plane_found
    assert len(found.warnings) == (plane == "optional")


def test_a_border_that_is_no_plane_removes_nothing() -> None:
    xyz, _ = table_with_box(0)
    xyz[..., 2] += np.random.default_rng(0).uniform(-0.1, 0.1, xyz.shape[:2]).astype(np.float32)
    _, found = clean(xyz, replace(BLOCK, cluster_min_points=2, cluster_eps_m=1.0))
    assert found.plane is not None and found.plane.inlier_ratio < 0.3
    assert not found.plane_found and found.kept_fraction == 1.0


def test_of_a_split_object_the_largest_piece_is_kept_or_all_pieces() -> None:
    xyz, height = table_with_box(0, boxes=(slice(20, 45), slice(60, 82)))
    cleaned, found = clean(xyz)
    assert found.n_clusters == 2 and 0.5 < found.kept_fraction < 0.6
    assert cleaned[:, :50].any() and not cleaned[:, 55:].any()
    assert "keep: multi" in found.warnings[0]
    cleaned, found = clean(xyz, replace(BLOCK, keep="multi"))
    assert found.kept_fraction == 1.0 and cleaned[:, 55:].any()
    assert len(found.warnings) == 1
    nothing, found = clean(xyz, replace(BLOCK, cluster_min_points=5000))
    assert not nothing.any() and found.n_clusters == 0 and "cluster" in found.warnings[0]


def test_broken_numbers_are_no_points_and_a_point_with_a_zero_coordinate_is_one() -> None:
    xyz, height = table_with_box(0)
    xyz[40, 40] = np.nan
    xyz[41, 41, 2] = np.inf
    xyz[42, 42, 0] = 0.0
    before = xyz.copy()
    cleaned, _ = clean(xyz)
    np.testing.assert_array_equal(xyz, before)
    assert not cleaned[40, 40].any() and not cleaned[41, 41].any() and np.isfinite(cleaned).all()
    assert cleaned[42, 42].any()
    official, _ = clean(xyz, replace(BLOCK, validity="official"))
    assert not official[42, 42].any()


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(BadData, match="20x10 px"):
        prepare.clean(np.ones((10, 20, 3), np.float32), np.zeros((20, 10, 3), np.uint8), BLOCK, seeding.rng(0))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 300),
    st.sampled_from([1.0, 0.1, 0.0]),
    st.sampled_from([0.05, 0.1, 0.2, 0.5]),
    st.integers(1, 30),
)
def test_dbscan_labels_equal_scikit_learns(seed: int, points: int, flat: float, eps: float, min_points: int) -> None:
    xyz = np.random.default_rng(seed).random((points, 3)) * [1, 1, flat]
    xyz[: points // 3] *= 0.2
    wanted = DBSCAN(eps=eps, min_samples=min_points).fit(xyz).labels_ if points else np.empty(0)
    np.testing.assert_array_equal(dbscan(xyz, eps, min_points), wanted)


def test_dbscan_joins_crowded_cells_that_touch_in_one_point_only() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 0.02, (400, 3)), rng.normal(0, 0.02, (400, 3)) + [0.5, 0, 0]
    bridge = np.column_stack([np.linspace(0, 0.5, 60), np.zeros((60, 2))])
    for points, clusters in ((np.concatenate([one, two]), 2), (np.concatenate([one, two, bridge]), 1)):
        labels = dbscan(points, 0.02, 3)
        np.testing.assert_array_equal(labels, DBSCAN(eps=0.02, min_samples=3).fit(points).labels_)
        assert len(np.unique(labels[labels >= 0])) >= clusters
    assert labels[0] == labels[400]


@pytest.mark.parametrize(("height", "width"), [(37, 91), (800, 800), (900, 400)])
@pytest.mark.parametrize("size", [56, 224])
def test_colour_cloud_and_mask_stay_aligned(height: int, width: int, size: int) -> None:
    square = square_of(height, width, 100)
    assert square.side == {91: 100, 800: 800, 400: 900}[width]
    wide = max(3, -(-square.side // size) + 1)
    row, column = height // 3, width // 2
    spot = np.s_[row : row + wide, column : column + wide]
    xyz, rgb, gt = np.full((height, width, 3), 0.4, np.float32), np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    xyz[spot][..., 2], rgb[spot], gt[spot] = 0.3, 255, 1
    cloud, image = prepare.to_grid(pad(xyz, square), pad(rgb, square, "edge"), size)
    mask = nearest(pad(gt, square), size)
    np.testing.assert_array_equal(mask == 1, cloud[..., 2] == np.float32(0.3))
    weight = image[..., 0].astype(float)
    centre = np.array([(weight * axis).sum() for axis in np.mgrid[:size, :size]]) / weight.sum()
    np.testing.assert_allclose(centre, np.argwhere(mask).mean(0), atol=0.6)
    assert cloud.dtype == np.float32 and image.shape == (size, size, 3)


def test_padding_repeats_the_edge_of_the_colours_only() -> None:
    square = square_of(37, 91, 100)
    assert (square.top, square.left) == (31, 4)
    rgb = np.full((37, 91, 3), 9, np.uint8)
    assert (pad(rgb, square, "edge") == 9).all()
    assert pad(rgb, square).sum() == rgb.sum()
    assert (bicubic(pad(rgb, square, "edge"), 20) == 9).all()


def dataset(folder: Path, parts: int = 6, small: tuple[int, ...] = (), scale: float = 1.0) -> tuple[Path, Path]:
    """`samples.parquet` and its raw files; parts in `small` hold a box of a few points."""
    files, rows = folder / "raw", []
    for number in range(parts):
        xyz, height = table_with_box(5, seed=number, boxes=(slice(48, 52) if number in small else slice(30, 70),))
        if number in small:
            xyz[:48][height[:48] > 0] = 0
        defect = "dent" if number % 3 == 2 else "good"
        row: dict[str, Any] = {"id": f"u/t/{defect}/{number:03d}", "unit": "u", "split": "test" if number % 3 == 2 else "train"}
        row |= {"label": int(defect == "dent"), "defect": defect, "gt_path": None, "gt_sha256": None}
        images: dict[str, Any] = {
            "xyz": xyz / np.float32(scale),
            "rgb": np.random.default_rng(number).integers(0, 256, xyz.shape, np.uint8),
        }
        if defect == "dent":
            images["gt"] = np.where(height > 0, 255, 0).astype(np.uint8)
        for name, image in images.items():
            path = files / f"{number:03d}_{name}.{'tiff' if name == 'xyz' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == "xyz":
                tifffile.imwrite(path, image)
            else:
                Image.fromarray(image).save(path)
            row |= {f"{name}_path": path.name, f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        rows.append(row)
    (folder / "dataset").mkdir()
    tables.write(pa.Table.from_pylist(rows), folder / "dataset" / "samples.parquet")
    return folder / "dataset", files


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_run_writes_every_part_and_leaves_the_source_alone(tmp_path: Path) -> None:
    samples, files = dataset(tmp_path)
    before = contents(files)
    made = prepare.run(samples, files, BLOCK, tmp_path / "a", Progress())
    prepare.run(samples, files, BLOCK, tmp_path / "b", Progress())
    assert contents(files) == before
    assert contents(tmp_path / "a") == contents(tmp_path / "b")

    prep = tables.read(tmp_path / "a" / "prep.parquet")
    rows = {row["id"]: row for row in prep.to_pylist()}
    assert prep.schema == prepare.PREP and len(rows) == 6 == made.facts["parts"]
    reader = ShardReader(tmp_path / "a" / "parts")
    for id, row in rows.items():
        part = reader.get(id)
        assert part["xyz"].shape == (64, 64, 3) and part["xyz"].dtype == np.float32 and part["rgb"].dtype == np.uint8
        np.testing.assert_array_equal(part["valid"].astype(bool), prepare.valid_points(part["xyz"]))
        assert row["n_valid"] == part["valid"].sum() > 400
        assert row["plane_found"] and row["side"] == 100 and row["kept_fraction"] == 1.0
        assert 0.38 < row["median_z"] < 0.39
        if row["defect"] == "dent":
            assert (part["gt"].astype(bool) & part["valid"].astype(bool)).sum() > 0.98 * part["valid"].sum()
        else:
            assert not part["gt"].any()


def test_coordinates_in_millimetres_are_scaled(tmp_path: Path) -> None:
    samples, files = dataset(tmp_path, 1, scale=0.001)
    prepare.run(samples, files, BLOCK, tmp_path / "out", Progress(), xyz_scale=0.001)
    row = tables.read(tmp_path / "out" / "prep.parquet").to_pylist()[0]
    assert row["plane_found"] and 0.38 < row["median_z"] < 0.39


def test_a_killed_run_goes_on_and_makes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, files = dataset(tmp_path)
    monkeypatch.setattr(prepare, "SHARD_BYTES", 150_000)
    prepare.run(samples, files, BLOCK, tmp_path / "whole", Progress())
    table = tables.read(samples / "samples.parquet")
    fifth = files / table.column("xyz_path")[4].as_py()
    content, stamp = fifth.read_bytes(), fifth.stat()
    fifth.write_bytes(content[:-1] + b"?")
    os.utime(fifth, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # neither its time nor its size tells
    with pytest.raises(Corrupt, match="Put the original back"):
        prepare.run(samples, files, BLOCK, tmp_path / "killed", Progress())
    fifth.write_bytes(content)
    asked: list[str] = []
    whole = prepare.clean
    monkeypatch.setattr(prepare, "clean", lambda *args: asked.append("") or whole(*args))
    prepare.run(samples, files, BLOCK, tmp_path / "killed", Progress())
    assert 0 < len(asked) < 6
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_missing_raw_file_is_named(tmp_path: Path) -> None:
    samples, files = dataset(tmp_path, 1)
    (files / "000_rgb.png").unlink()
    with pytest.raises(BadData, match=r"000_rgb\.png"):
        prepare.run(samples, files, BLOCK, tmp_path / "out", Progress())


def test_parts_with_too_few_points_go_to_quarantine_and_too_many_stop_the_run(tmp_path: Path) -> None:
    samples, files = dataset(tmp_path, small=(1,))
    made = prepare.run(samples, files, replace(BLOCK, max_quarantine=0.5), tmp_path / "out", Progress())
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [row["id"] for row in quarantine] == ["u/t/good/001"] and quarantine[0]["reason"] == "too few points"
    assert made.facts == {"parts": 5, "quarantined": 1, "warned": 0, "size": 64}
    assert "u/t/good/001" not in ShardReader(tmp_path / "out" / "parts")
    with pytest.raises(BadData, match="u/t/good/001"):
        prepare.run(samples, files, BLOCK, tmp_path / "strict", Progress())


def test_no_training_part_left_is_an_error(tmp_path: Path) -> None:
    samples, files = dataset(tmp_path, 3, small=(0, 1))
    with pytest.raises(BadData, match="train/good"):
        prepare.run(samples, files, replace(BLOCK, max_quarantine=1.0), tmp_path / "out", Progress())


def test_the_heights_of_a_plane_keep_the_type_of_the_cloud() -> None:
    assert Plane(0, 0, -1, 0.4, 1.0).height(np.zeros((2, 3), np.float32)).dtype == np.float32

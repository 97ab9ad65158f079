"""Depth images and organised clouds become the official layout."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tenfold.core.errors import BadData
from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly import convert
from tenfold.crossmodal_anomaly.config import Dataset
from tenfold.crossmodal_anomaly.images import read_xyz

BLOCK = Dataset(xyz_unit="m", max_quarantine=0.05, max_nonfinite=0.2, light=4)
CAMERA = {"fx": 50.0, "fy": 52.0, "cx": 3.5, "cy": 4.0, "depth_scale": 0.001}
RNG = np.random.default_rng(0)
XYZ = RNG.uniform(0.2, 1, (9, 7, 3)).astype(np.float32)


def ply(xyz: np.ndarray, form: str = "binary_little_endian", size_lines: bool = True) -> bytes:
    height, width = xyz.shape[:2]
    lines = ["ply", f"format {form} 1.0", *([f"obj_info num_cols {width}", f"obj_info num_rows {height}"] if size_lines else [])]
    lines += [f"element vertex {height * width}", "property uchar red", *(f"property float {axis}" for axis in "xyz")]
    lines += ["element face 0", "property list uchar int vertex_indices", "end_header\n"]
    points = xyz.reshape(-1, 3)
    if form == "ascii":
        body = "\n".join(" ".join(["9", *(f"{each:.9g}" for each in point)]) for point in points).encode()
    else:
        order = "<" if "little" in form else ">"
        table = np.zeros(len(points), [("red", "u1"), *((axis, order + "f4") for axis in "xyz")])
        for i, axis in enumerate("xyz"):
            table[axis] = points[:, i]
        body = table.tobytes()
    return "\n".join(lines).encode() + body


def pcd(xyz: np.ndarray, form: str = "binary") -> bytes:
    height, width = xyz.shape[:2]
    head = [
        "# .PCD v0.7", "VERSION 0.7", "FIELDS x y z _", "SIZE 4 4 4 1", "TYPE F F F U", "COUNT 1 1 1 4",
        f"WIDTH {width}", f"HEIGHT {height}", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {height * width}", f"DATA {form}\n",
    ]  # fmt: skip
    points = xyz.reshape(-1, 3)
    if form == "ascii":
        body = "\n".join(" ".join([*(f"{each:.9g}" for each in point), "0 0 0 0"]) for point in points).encode()
    else:
        table = np.zeros(len(points), [("xyz", "<f4", 3), ("_", "u1", 4)])
        table["xyz"] = points
        body = table.tobytes()
    return "\n".join(head).encode() + body


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("size_lines", [True, False])
def test_organised_ply(form: str, size_lines: bool) -> None:
    np.testing.assert_array_equal(convert.read_ply(ply(XYZ, form, size_lines), (9, 7)), XYZ)


@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_organised_pcd(form: str) -> None:
    np.testing.assert_array_equal(convert.read_pcd(pcd(XYZ, form)), XYZ)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(2, 6), width=st.integers(2, 6), seed=st.integers(0, 99))
def test_both_formats_keep_every_float(height: int, width: int, seed: int) -> None:
    xyz = np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)
    np.testing.assert_array_equal(convert.read_ply(ply(xyz), (1, 1)), xyz)
    np.testing.assert_array_equal(convert.read_pcd(pcd(xyz)), xyz)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ply\nformat ascii 1.0\n",
        ply(XYZ)[:-8],
        ply(XYZ, "ascii")[:-200],
        ply(XYZ).replace(b"property float y\n", b""),
        ply(XYZ).replace(b"property float z", b"property list uchar float z"),
        ply(XYZ).replace(b"little_endian", b"middle_endian"),
        ply(XYZ).replace(b"vertex 63", b"vertex 62"),
    ],
)
def test_useless_ply_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        convert.read_ply(data, (9, 7))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pcd(XYZ)[:-8],
        pcd(XYZ).replace(b"DATA binary", b"DATA binary_compressed"),
        pcd(XYZ).replace(b"HEIGHT 9", b"HEIGHT 1").replace(b"WIDTH 7", b"WIDTH 63"),
        pcd(XYZ).replace(b"FIELDS x y z _", b"FIELDS x y q _"),
        pcd(XYZ).replace(b"SIZE 4 4 4 1", b"SIZE 4 4 four 1"),
        pcd(XYZ).replace(b"POINTS 63", b"POINTS 62"),
    ],
)
def test_useless_pcd_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        convert.read_pcd(data)


def test_an_unorganised_cloud_says_so() -> None:
    with pytest.raises(Unreadable, match="one point a pixel"):
        convert.read_ply(ply(XYZ, size_lines=False), (10, 10))


def test_unproject_inverts_the_pinhole() -> None:
    depth = RNG.integers(300, 900, (9, 7)).astype(float)
    depth[2, 3], depth[0, 0] = 0, np.nan
    xyz = convert.unproject(depth, CAMERA).astype(float)
    assert not xyz[2, 3].any() and not xyz[0, 0].any()
    z = xyz[..., 2]
    v, u = np.indices(z.shape)
    seen = z > 0
    np.testing.assert_allclose(z[seen], depth[seen] * 0.001, rtol=1e-6)
    np.testing.assert_allclose((CAMERA["fx"] * xyz[..., 0] / np.where(seen, z, 1) + CAMERA["cx"])[seen], u[seen], atol=1e-4)
    np.testing.assert_allclose((CAMERA["fy"] * xyz[..., 1] / np.where(seen, z, 1) + CAMERA["cy"])[seen], v[seen], atol=1e-4)


def tree(root: Path, cloud: str, name: str, content: bytes) -> None:
    for kind, file in (("rgb", "a 1.png"), (cloud, name)):
        (root / "part/train/good" / kind).mkdir(parents=True)
        if kind == "rgb":
            Image.fromarray(np.full((9, 7, 3), 5, np.uint8)).save(root / "part/train/good/rgb" / file)
        else:
            (root / "part/train/good" / kind / file).write_bytes(content)


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_depth_layout(tmp_path: Path, suffix: str) -> None:
    depth = RNG.integers(300, 900, (9, 7)).astype(np.uint16)
    stream = io.BytesIO()
    if suffix == ".png":
        Image.fromarray(depth).save(stream, "PNG")
    else:
        np.save(stream, depth)
    tree(tmp_path / "in", "depth", f"a 1{suffix}", stream.getvalue())
    (tmp_path / "in/part/intrinsics.json").write_text(json.dumps(CAMERA))
    (candidate,) = convert.find_depth(tmp_path / "in", "part", BLOCK).candidates
    made = convert.convert_depth(tmp_path / "in", candidate, tmp_path / "out", BLOCK)
    assert made.id == "part/train/good/a 1" and set(made.paths) == {"rgb", "xyz"}
    xyz, warnings = read_xyz((tmp_path / "out" / made.paths["xyz"]).read_bytes())
    np.testing.assert_array_equal(xyz, convert.unproject(depth, CAMERA))
    assert warnings == []
    assert (tmp_path / "out" / made.paths["rgb"]).read_bytes() == (tmp_path / "in" / candidate.paths["rgb"]).read_bytes()


@pytest.mark.parametrize(("unit", "scale"), [("m", 1.0), ("mm", 0.001)])
def test_cloud_layout_ends_in_metres_with_zeros_for_no_point(tmp_path: Path, unit: str, scale: float) -> None:
    xyz = XYZ.copy()
    xyz[4, 4] = np.nan
    tree(tmp_path / "in", "cloud", "a 1.pcd", pcd(xyz))
    block = Dataset(unit, 0.05, 0.2, 4)  # type: ignore[arg-type]
    (candidate,) = convert.find_cloud(tmp_path / "in", "part", block).candidates
    made = convert.convert_cloud(tmp_path / "in", candidate, tmp_path / "out", block)
    found = read_xyz((tmp_path / "out" / made.paths["xyz"]).read_bytes())[0]
    np.testing.assert_allclose(found, np.nan_to_num(xyz) * np.float32(scale), rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing"),
        ("{", "JSON"),
        ("[]", "fx"),
        (json.dumps({**CAMERA, "fy": 0}), "fy"),
        (json.dumps({**CAMERA, "cx": "3"}), "cx"),
        (json.dumps({k: v for k, v in CAMERA.items() if k != "depth_scale"}), "depth_scale"),
        ("[" * 200_000, "cannot be read as JSON"),
    ],
)
def test_senseless_intrinsics_name_the_file(tmp_path: Path, content: str | None, words: str) -> None:
    (tmp_path / "part").mkdir()
    if content is not None:
        (tmp_path / "intrinsics.json").write_text(content)
    with pytest.raises(BadData, match=words) as caught:
        convert.find_depth(tmp_path, "part", BLOCK)
    assert "intrinsics.json" in str(caught.value)


def test_depth_refuses_a_second_unit(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="depth_scale"):
        convert.find_depth(tmp_path, "part", Dataset("mm", 0.05, 0.2, 4))

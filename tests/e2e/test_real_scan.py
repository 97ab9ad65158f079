"""Real colour with dense real depth, as a user's own dataset: scikit-image's motorcycle (Middlebury 2014), cut into parts.

One scene and no real defects: this shows that real scans go through every stage, not how well defects are found.
"""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import yaml
from e2e.running import command, tenfold
from PIL import Image
from support import environment, lay_out

from tenfold.crossmodal_anomaly import convert
from tenfold.crossmodal_anomaly.images import read_rgb

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# calibration published with the scene, for this size: focal length (px), principal point (px), baseline (m), shift of the principal points (px)
FOCAL, CX, CY, BASELINE, SHIFT = 994.978, 311.193, 254.877, 0.193001, 31.086
CAMERA = {"fx": FOCAL, "fy": FOCAL, "cx": CX, "cy": CY, "depth_scale": 0.001}
SIDE = 100
PARTITION = "crossmodal_anomaly.motorcycle.street"
# the demo's lengths are those of a part at arm's length; here a pixel is some 3 mm wide and nothing lies on a plane
LENGTHS = {"plane": "off", "cluster_eps_m": 0.1}


def scene() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Colour (500, 741, 3) and depth (500, 741) in millimetres, 0 where the disparity is not known."""
    from skimage import data

    colour, _, disparity = data.stereo_motorcycle()
    known = np.isfinite(disparity)
    return colour, np.where(known, 1000 * BASELINE * FOCAL / (np.where(known, disparity, 0) + SHIFT), 0)


def write(
    folder: Path, stem: str, rgb: npt.NDArray[np.uint8], xyz: npt.NDArray[np.float32], gt: npt.NDArray[np.uint8] | None = None
) -> None:
    """One part in the official layout."""
    for name in ("rgb", "xyz", *(("gt",) if gt is not None else ())):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(folder / "rgb" / f"{stem}.png")
    tifffile.imwrite(folder / "xyz" / f"{stem}.tiff", xyz, photometric="rgb")
    if gt is not None:
        Image.fromarray(gt).save(folder / "gt" / f"{stem}.png")


def cut(root: Path) -> int:
    """Parts of the street below `root/street`: good ones, and ones with another place's colour on the inner third."""
    colour, depth = scene()
    cloud = convert.unproject(depth, CAMERA)
    corners = [(v, u) for v in range(0, 500 - SIDE + 1, SIDE) for u in range(0, 741 - SIDE + 1, SIDE)]
    whole = [(v, u) for v, u in corners if (depth[v : v + SIDE, u : u + SIDE] > 0).mean() > 0.9]
    for number, (v, u) in enumerate(whole):
        rgb, xyz = colour[v : v + SIDE, u : u + SIDE].copy(), cloud[v : v + SIDE, u : u + SIDE]
        stem, kind = f"{number:03d}", ("train", "train", "validation", "test")[number % 4]
        if kind != "test":
            write(root / "street" / kind / "good", stem, rgb, xyz)
            continue
        gt = np.zeros((SIDE, SIDE), np.uint8)
        write(root / "street" / "test" / "good", stem, rgb, xyz, gt)
        other_v, other_u = whole[(number + len(whole) // 2) % len(whole)]
        inner = slice(SIDE // 3, 2 * SIDE // 3)
        rgb[inner, inner] = colour[other_v : other_v + SIDE, other_u : other_u + SIDE][inner, inner]
        gt[inner, inner] = 255
        write(root / "street" / "test" / "swapped", stem, rgb, xyz, gt)
    return len(whole)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny root whose params.yaml has got the block that `datasets check` prints."""
    base = tmp_path_factory.mktemp("real")
    root, scans = lay_out(base / "root"), base / "motorcycle"
    cut(scans)
    told = command(root, "datasets", "check", "crossmodal-anomaly", str(scans)).stdout
    block = yaml.safe_load(told.split("datasets:\n\n", 1)[1].split("\nA running", 1)[0])
    tree = yaml.safe_load((root / "params.yaml").read_text())
    tree["crossmodal_anomaly"]["datasets"].update(block)
    (root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return root


def test_a_depth_image_with_intrinsics_gives_the_cloud_of_the_scene(tmp_path: Path) -> None:
    """Layout `rgb_depth`, the whole picture: what is written is the cloud that the calibration gives."""
    from tenfold.crossmodal_anomaly import data

    colour, depth = scene()
    root = lay_out(tmp_path / "root")
    folder = tmp_path / "scans" / "street"
    for name in ("rgb", "depth"):
        (folder / "train" / "good" / name).mkdir(parents=True)
    Image.fromarray(colour).save(folder / "train" / "good" / "rgb" / "000.png")
    np.save(folder / "train" / "good" / "depth" / "000.npy", depth.astype(np.float32))
    (folder / "intrinsics.json").write_text(json.dumps(CAMERA))
    tree = yaml.safe_load((root / "params.yaml").read_text())
    entry = {"source": str(folder.parent), "layout": "rgb_depth", "units": ["street"], "recipe": "demo"}
    tree["crossmodal_anomaly"]["datasets"]["scene"] = entry
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    data.build(root, "scene")
    xyz = tifffile.imread(root / "data/crossmodal_anomaly/scene/files/street/train/good/xyz/000.tiff")
    np.testing.assert_allclose(xyz, convert.unproject(depth, CAMERA), rtol=1e-5, atol=1e-6)
    assert 2.0 < np.median(xyz[xyz[..., 2] > 0, 2]) < 5.0


def test_lengths_that_do_not_fit_the_scene_are_named(root: Path) -> None:
    """With the demo's lengths no point has enough neighbours: that is said, with the numbers to change."""
    words = tenfold("run", PARTITION, "--to", "prepared")
    done = subprocess.run(words, env=environment(root), cwd=root, capture_output=True, text=True, timeout=180)
    assert done.returncode == 1
    assert "none of the" in done.stderr and "cluster_eps_m" in done.stderr


def test_a_real_scan_goes_through_the_whole_pipeline(root: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load((root / "params.yaml").read_text())
    paper = tree["crossmodal_anomaly"]
    paper["recipes"]["street"] = {**paper["recipes"]["demo"], "prepared": {**paper["recipes"]["demo"]["prepared"], **LENGTHS}}
    paper["datasets"]["motorcycle"]["recipe"] = "street"
    (root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    done = command(root, "run", PARTITION)
    assert "aupro_30" in done.stdout
    street = root.parent / "motorcycle" / "street"
    command(root, "predict", PARTITION, str(street / "test" / "swapped"), "--out", str(tmp_path))
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len(rows) == len(list((street / "test" / "swapped" / "rgb").iterdir()))
    assert all(0 < float(row["score"]) < 10 for row in rows)
    heat = read_rgb((tmp_path / "heat" / f"{rows[0]['name']}.png").read_bytes())[0]
    assert heat.std() > 0

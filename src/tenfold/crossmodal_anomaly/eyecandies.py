"""Eyecandies, converted to the official MVTec 3D-AD layout: zeros where there is no point, float32, RGB kept whole.

    <root>/<Class>/{train,val,test_public,test_private}/data/<number>_<item>.<suffix>

Geometry as published on the dataset's site; the background cut follows the preparation that the paper builds on.
"""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly.config import Dataset
from tenfold.crossmodal_anomaly.convert import write_part
from tenfold.crossmodal_anomaly.images import read_depth
from tenfold.crossmodal_anomaly.mvtec import Candidate, Found, folders
from tenfold.crossmodal_anomaly.samples import file_bytes

SPLITS = {"train": "train", "val": "validation", "test_public": "test"}
KINDS = ("bumps", "dents", "colors", "normals")
FOCAL_PX, FOCAL_SIDE = 711.11, 512
# Above the belt, along it from the lower edge of the picture, and to either side (the dataset's own unit).
_LEAST_HEIGHT, _FARTHEST, _WIDEST = 0.02, 1.8, 1.0
_SCALE = 0.1
_NAME = re.compile(r"(\d+)_([a-z_]+[0-9]?)\.[a-z]+")


def find(root: Path, unit: str, block: Dataset) -> Found:
    """Every part of one class. `block.light` chooses the picture (0 all spots, 1 bottom, 2 right, 3 top, 4 left, 5 global)."""
    found = Found()
    base = root / unit
    if not base.is_dir():
        there = ", ".join(folders(root)) or "nothing"
        found.errors.append(f"{base}: no such folder (in {root}: {there}). Correct `units` in params.yaml or the folder's name.")
        return found
    if not 0 <= block.light <= 5:
        found.errors.append(f"light is {block.light}; Eyecandies has pictures 0 to 5.")
        return found
    for folder in SPLITS:
        for number, items in sorted(_numbers(base / folder / "data").items()):
            found.candidates.append(_candidate(root, unit, folder, number, items, block, found))
    if (base / "test_private").is_dir():
        found.notes.append(f"{unit}: test_private has no labels and is left out; use `predict` on it")
    if not any(each.split == "train" for each in found.candidates):
        found.errors.append(f"{base / 'train' / 'data'}: no parts.")
    found.candidates.sort(key=lambda each: each.id)
    return found


def convert(root: Path, candidate: Candidate, files: Path, block: Dataset) -> Candidate:
    """Write one part below `files` in the official layout; the masks of single defect kinds go to `kinds/` beside gt."""
    depth = read_depth(file_bytes(root, candidate.paths["depth"]), ".png")
    span = _mapping(file_bytes(root, candidate.paths["info_depth"]), "info_depth").get("normalization", {})
    try:
        low, high = float(span["min"]), float(span["max"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable("unreadable_depth", f"info_depth.yaml has no normalization min and max: {error!r}") from error
    metres = depth / 65535 * (high - low) + low
    points = unproject(metres, _pose(file_bytes(root, candidate.paths["pose"])))
    done = write_part(root, candidate, files, cut_background(points))
    if candidate.label:
        for kind in set(KINDS) & set(candidate.paths):
            side = files / candidate.unit / "test" / candidate.defect / "kinds" / kind / f"{candidate.stem}.png"
            side.parent.mkdir(parents=True, exist_ok=True)
            side.write_bytes(file_bytes(root, candidate.paths[kind]))
    return done


def unproject(depth_m: NDArray[np.float64], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points (H, W, 3) of a depth image: inv(K pose) (u, v, 1, 1/z) z with K = (711.11 px at 512 px, centre W/2, H/2)."""
    height, width = depth_m.shape
    focal = FOCAL_PX * width / FOCAL_SIDE
    v, u = np.indices(depth_m.shape)
    camera = np.stack([(u - width / 2) / focal * depth_m, (v - height / 2) / focal * depth_m, depth_m, np.ones_like(depth_m)], axis=-1)
    world: NDArray[np.float64] = (camera @ np.linalg.inv(pose).T)[..., :3]
    return world


def cut_background(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Zero what is no candy, then axes (x, z, y) scaled by (0.1, -0.1, 0.1): points (H, W, 3) float32.

    The belt is the line between the middle of the lower and the upper edge of the picture; heights count from it
    (y points down), distances along it from the lower edge.
    """
    middle = slice(points.shape[1] // 2 - 2, points.shape[1] // 2 + 3)
    near, far = (np.median(points[rows, middle].reshape(-1, 3), axis=0) for rows in (slice(-3, None), slice(0, 3)))
    rise, run = far[1] - near[1], far[2] - near[2]
    length = np.hypot(rise, run)
    if not np.isfinite(length) or length == 0:
        raise Unreadable("unreadable_depth", "the belt cannot be found: no depth at the upper and lower edge")
    y, z = points[..., 1] - near[1], points[..., 2] - near[2]
    height, along = -(run * y - rise * z) / length, (rise * y + run * z) / length
    candy = (height >= _LEAST_HEIGHT) & (along <= _FARTHEST) & (np.abs(points[..., 0]) <= _WIDEST)
    turned = points[..., [0, 2, 1]] * np.array([_SCALE, -_SCALE, _SCALE])
    return np.where(candy[..., None], turned, 0).astype(np.float32)


def _numbers(folder: Path) -> dict[str, dict[str, str]]:
    """Number -> item -> file name."""
    numbers: dict[str, dict[str, str]] = defaultdict(dict)
    if folder.is_dir():
        for path in folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match:
                numbers[match[1]][match[2]] = path.name
    return numbers


def _candidate(root: Path, unit: str, folder: str, number: str, items: dict[str, str], block: Dataset, found: Found) -> Candidate:
    split = SPLITS[folder]
    names = {"rgb": f"image_{block.light}", "depth": "depth", "info_depth": "info_depth", "pose": "pose"}
    if split == "test":
        names |= {"gt": "mask", "metadata": "metadata"}
    here = Path(unit, folder, "data")
    paths = {name: here / items[item] for name, item in names.items() if item in items}
    paths |= {kind: here / items[f"{kind}_mask"] for kind in KINDS if f"{kind}_mask" in items}
    candidate = Candidate(unit, split, "good", number, paths)
    missing = [item for name, item in names.items() if name not in paths]
    if missing:
        return replace(candidate, problem=(f"missing_{missing[0]}", f"{here / number}: no file for {', '.join(missing)}"))
    if "metadata" not in items:
        return candidate
    try:
        anomalous = bool(int(_mapping(file_bytes(root, here / items["metadata"]), "metadata")["anomalous"]))
    except (Unreadable, KeyError, TypeError, ValueError) as error:
        return replace(candidate, problem=("unreadable_metadata", f"{here / items['metadata']}: {error}"))
    if anomalous and split != "test":
        found.errors.append(f"{root / here / items['metadata']}: a defect part stands in {folder}. Only good parts may be trained on.")
    return replace(candidate, defect="bad" if anomalous and split == "test" else "good")


def _mapping(data: bytes, name: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Unreadable(f"unreadable_{name}", " ".join(str(error).split())) from error
    if not isinstance(values, dict):
        raise Unreadable(f"unreadable_{name}", f"{name}.yaml is no mapping")
    return values


def _pose(data: bytes) -> NDArray[np.float64]:
    try:
        pose = np.array([[float(each) for each in line.split()] for line in data.decode().splitlines() if line.strip()])
        if pose.shape != (4, 4) or not np.isfinite(pose).all() or abs(np.linalg.det(pose)) < 1e-9:
            raise ValueError(f"shape {pose.shape}, wanted an invertible (4, 4)")
    except (ValueError, UnicodeDecodeError) as error:
        raise Unreadable("unreadable_pose", f"pose.txt: {error}") from error
    return pose

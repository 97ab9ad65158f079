"""Own scans in other forms, converted part by part to the official layout.

Layout `rgb_depth`: `depth/` instead of `xyz/` (16-bit PNG or .npy) and `intrinsics.json` in the unit's folder or above it:
`{"fx": px, "fy": px, "cx": px, "cy": px, "depth_scale": metres per stored unit}`. Layout `rgb_cloud`: `cloud/` with organised
.ply or .pcd files, one point a pixel, rows first.
"""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tenfold.core.errors import BadData
from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly.config import Dataset
from tenfold.crossmodal_anomaly.images import MAX_PIXELS, read_depth, read_rgb
from tenfold.crossmodal_anomaly.mvtec import Candidate, Found, find
from tenfold.crossmodal_anomaly.samples import file_bytes, xyz_scale

DEPTH_SUFFIXES = (".png", ".npy")
CLOUD_SUFFIXES = (".ply", ".pcd")
INTRINSICS = "intrinsics.json"

_KINDS = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip


def find_depth(root: Path, unit: str, block: Dataset) -> Found:
    """Candidates of layout `rgb_depth`. Raises BadData if the camera's numbers are missing or senseless."""
    if block.xyz_unit != "m":
        raise BadData("layout rgb_depth takes its unit from depth_scale in intrinsics.json: set xyz_unit: m.")
    intrinsics(root, unit)
    return find(root, unit, "depth", DEPTH_SUFFIXES)


def find_cloud(root: Path, unit: str, block: Dataset) -> Found:
    """Candidates of layout `rgb_cloud`."""
    return find(root, unit, "cloud", CLOUD_SUFFIXES)


def convert_depth(root: Path, candidate: Candidate, files: Path, block: Dataset) -> Candidate:
    """Write one part of layout `rgb_depth` below `files`; the candidate returned names the new files."""
    path = candidate.paths["depth"]
    depth = read_depth(file_bytes(root, path), path.suffix.lower())
    return write_part(root, candidate, files, unproject(depth, intrinsics(root, candidate.unit)))


def convert_cloud(root: Path, candidate: Candidate, files: Path, block: Dataset) -> Candidate:
    """Write one part of layout `rgb_cloud` below `files`, in metres; the candidate returned names the new files."""
    path = candidate.paths["cloud"]
    data = file_bytes(root, path)
    grid = read_rgb(file_bytes(root, candidate.paths["rgb"]))[0].shape[:2]
    cloud = read_ply(data, grid) if path.suffix.lower() == ".ply" else read_pcd(data)
    # Cloud formats mark a pixel without a point by NaN.
    cloud = np.where(np.isfinite(cloud).all(axis=-1, keepdims=True), cloud, np.float32(0))
    return write_part(root, candidate, files, cloud * np.float32(xyz_scale(block)))


def write_part(root: Path, candidate: Candidate, files: Path, xyz: NDArray[np.float32]) -> Candidate:
    """Put rgb, xyz and gt (if there is one) below `files` in the official layout."""
    here = Path(candidate.unit, candidate.split, candidate.defect)
    paths = {"xyz": here / "xyz" / f"{candidate.stem}.tiff"}
    for name in {"rgb", "gt"} & set(candidate.paths):
        paths[name] = here / name / f"{candidate.stem}{candidate.paths[name].suffix}"
    for path in paths.values():
        (files / path).parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(files / paths["xyz"], np.ascontiguousarray(xyz, np.float32), photometric="rgb", metadata=None)
    for name in paths.keys() - {"xyz"}:
        (files / paths[name]).write_bytes(file_bytes(root, candidate.paths[name]))
    return replace(candidate, paths=paths)


def intrinsics(root: Path, unit: str) -> dict[str, float]:
    """fx, fy, cx, cy (px) and depth_scale (m per stored unit) of a unit. Raises BadData naming the file and what is wrong."""
    places = [root / unit / INTRINSICS, root / INTRINSICS]
    path = next((each for each in places if each.is_file()), None)
    if path is None:
        raise BadData(f"{places[0]} is missing. It must hold fx, fy, cx, cy (px) and depth_scale (metres per stored unit).")
    try:
        values: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path} cannot be read as JSON: {error}") from error
    camera: dict[str, float] = {}
    for name in ("fx", "fy", "cx", "cy", "depth_scale"):
        value = values.get(name) if isinstance(values, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadData(f"{path}: {name} is missing or no number.")
        if name not in ("cx", "cy") and value <= 0:
            raise BadData(f"{path}: {name} must be over 0, it is {value}.")
        camera[name] = float(value)
    return camera


def unproject(depth: NDArray[np.float64], camera: dict[str, float]) -> NDArray[np.float32]:
    """Pinhole: depth (H, W) along the axis, in stored units, to points (H, W, 3) in metres; 0 and non-finite mean no point."""
    z = np.where(np.isfinite(depth), depth, 0) * camera["depth_scale"]
    v, u = np.indices(z.shape)
    points = np.stack([(u - camera["cx"]) / camera["fx"] * z, (v - camera["cy"]) / camera["fy"] * z, z], axis=-1)
    return points.astype(np.float32)


def read_ply(data: bytes, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Organised PLY (ascii or binary) as (H, W, 3). Its size stands in num_cols/num_rows or width/height lines; else it is `grid`."""
    head, found, body = data.partition(b"end_header")
    if not found or not head.startswith(b"ply"):
        raise Unreadable("unreadable_cloud", "no PLY header")
    body = body.partition(b"\n")[2]
    lines = head.decode("ascii", "replace").splitlines()
    form = next((line.split()[1] for line in lines if line.startswith("format ") and len(line.split()) > 1), "")
    elements = [i for i, line in enumerate(lines) if line.startswith("element ")]
    if not elements or not re.fullmatch(r"element\s+vertex\s+\d+\s*", lines[elements[0]]):
        raise Unreadable("unreadable_cloud", "the first element of the PLY must be its vertices")
    count = int(lines[elements[0]].split()[2])
    until = elements[1] if len(elements) > 1 else len(lines)
    properties = [line.split()[1:] for line in lines[elements[0] + 1 : until] if line.startswith("property ")]
    if any(len(each) != 2 or each[0] not in _KINDS for each in properties):
        raise Unreadable("unreadable_cloud", "PLY vertices may have plain numbers only")
    told = "\n".join(lines)
    size = [re.search(rf"(?m)^(?:obj_info|comment)\s+(?:{name})\s+(\d+)\s*$", told) for name in ("num_rows|height", "num_cols|width")]
    height, width = (int(size[0][1]), int(size[1][1])) if size[0] and size[1] else grid
    _check_grid(height, width, count)
    fields = [(name, _KINDS[kind]) for kind, name in properties]
    if form == "ascii":
        return _from_text(body, [name for name, _ in fields], height, width)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(form)
    if order is None:
        raise Unreadable("unreadable_cloud", f"PLY format {form!r} is unknown")
    return _from_binary(body, [(name, order + kind) for name, kind in fields], height, width)


def read_pcd(data: bytes) -> NDArray[np.float32]:
    """Organised PCD (ascii or binary) as (H, W, 3); its size stands in WIDTH and HEIGHT."""
    match = re.search(rb"(?m)^DATA\s+(\w+)[^\n]*\n", data)
    if match is None:
        raise Unreadable("unreadable_cloud", "no PCD header")
    header = {line.split()[0]: line.split()[1:] for line in data[: match.start()].decode("ascii", "replace").splitlines() if line.split()}
    form, body = match[1].decode(), data[match.end() :]
    try:
        names = header["FIELDS"]
        width, height = int(header["WIDTH"][0]), int(header["HEIGHT"][0])
        counts = [int(each) for each in header.get("COUNT", ["1"] * len(names))]
        kinds = [{"F": "f", "I": "i", "U": "u"}[kind] + str(int(size)) for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)]
        _check_grid(height, width, int(header.get("POINTS", [str(width * height)])[0]))
        if form == "ascii":
            columns = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
            return _from_text(body, columns, height, width)
        if form == "binary":
            fields = [(name, "<" + kind, (count,)) for name, kind, count in zip(names, kinds, counts, strict=True)]
            return _from_binary(body, fields, height, width)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Unreadable("unreadable_cloud", f"PCD header: {error!r}") from error
    raise Unreadable("unreadable_cloud", f"PCD data is {form}; save it as binary or ascii")


def _check_grid(height: int, width: int, count: int) -> None:
    if height < 2 or width < 2 or height * width != count:
        raise Unreadable("not_organised", f"{count} points do not fill a grid of {width} x {height}: the cloud must have one point a pixel")
    if count > MAX_PIXELS:
        raise Unreadable("absurd_size", f"{count} points; at most {MAX_PIXELS} are read")


def _from_text(body: bytes, names: list[str], height: int, width: int) -> NDArray[np.float32]:
    lines = body.decode("ascii", "replace").split("\n", height * width)[: height * width]
    try:
        values = np.array([[float(each) for each in line.split()[: len(names)]] for line in lines])
        points = np.stack([values[:, names.index(axis)] for axis in "xyz"], axis=-1)
        return points.reshape(height, width, 3).astype(np.float32)
    except (ValueError, IndexError) as error:
        raise Unreadable("unreadable_cloud", f"the points do not fit the header: {error}") from error


def _from_binary(body: bytes, fields: list[Any], height: int, width: int) -> NDArray[np.float32]:
    try:
        # PCD may repeat a name for padding ("_"), numpy may not.
        kind = np.dtype([(f"{index}{field[0]}", *field[1:]) for index, field in enumerate(fields)])
        table = np.frombuffer(body, kind, count=height * width)
        names = [field[0] for field in fields]
        points = np.stack([table[f"{names.index(axis)}{axis}"].reshape(height, width) for axis in "xyz"], axis=-1)
        return points.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise Unreadable("unreadable_cloud", f"the points do not fit the header: {error}") from error

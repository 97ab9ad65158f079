"""Scans to training size: background plane removed, clutter dropped, squared, resized (CFM, supplementary).

The user's files are read, compared with the table's sha256, and never written to.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tenfold.core import seeding, tables
from tenfold.core.errors import BadData, Corrupt
from tenfold.core.files import Unreadable
from tenfold.core.progress import Progress
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.stage import Made, Note
from tenfold.core.workers import ordered
from tenfold.crossmodal_anomaly import config, images
from tenfold.crossmodal_anomaly.dbscan import dbscan
from tenfold.crossmodal_anomaly.plane import Plane, border, fit_plane
from tenfold.crossmodal_anomaly.resize import Square, bicubic, nearest, pad, square_of

SHARD_BYTES = 16 << 20  # what a kill may cost: some twenty parts
SHOWN = 5
IDENTITY = {"id": pa.string(), "unit": pa.string(), "split": pa.string(), "label": pa.int64(), "defect": pa.string()}
PREP = pa.schema({
    **IDENTITY,
    "plane_a": pa.float64(), "plane_b": pa.float64(), "plane_c": pa.float64(), "plane_d": pa.float64(), "inlier_ratio": pa.float64(),
    "plane_found": pa.bool_(), "n_clusters": pa.int64(), "kept_fraction": pa.float64(), "n_valid": pa.int64(), "median_z": pa.float64(),
    "side": pa.int64(), "warnings": pa.string(),
})  # fmt: skip
QUARANTINE = pa.schema({**IDENTITY, "reason": pa.string(), "detail": pa.string()})

Cloud = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Cleaning:
    """What `clean` found. `plane` is the best one even where it was not removed (`plane_found` False); lengths in metres."""

    plane: Plane | None
    plane_found: bool
    n_clusters: int
    kept_fraction: float
    square: Square
    warnings: tuple[str, ...]


def valid_points(xyz: Cloud, validity: str = "finite") -> NDArray[np.bool_]:
    """Pixels (H, W) that carry a point: finite and not all zero; `official` drops points with any coordinate exactly 0 as well."""
    present = (xyz != 0).all(-1) if validity == "official" else (xyz != 0).any(-1)
    return np.asarray(present & np.isfinite(xyz).all(-1))


def clean(xyz: Cloud, rgb: Image, block: config.Prepared, rng: np.random.Generator) -> tuple[Cloud, Image, Cleaning]:
    """Cloud (H, W, 3) in metres and image of the same size to their padded square, background points zero, colours untouched.

    Neither input is changed. Raises BadData if the sizes differ, or without a background plane where the recipe requires one.
    """
    if xyz.shape[:2] != rgb.shape[:2]:
        raise BadData(f"the cloud has {_pixels(xyz)}, the image {_pixels(rgb)}; the scanner must give both pixel by pixel.")
    warnings: list[str] = []
    valid = valid_points(xyz, block.validity)
    plane, found = None, False
    if block.plane != "off":
        plane = fit_plane(xyz[border(valid, block.plane_border_px)], block.plane_threshold_m, block.plane_draws, block.plane_sample, rng)
        found = plane is not None and plane.inlier_ratio >= block.plane_min_inliers
        if plane is not None and found:
            valid &= np.abs(plane.height(xyz)) >= block.plane_cut_m
        else:
            warnings.append(_no_plane(plane, block))
    clusters, kept_fraction = _keep(xyz, valid, block, warnings)
    square = square_of(len(xyz), xyz.shape[1], block.pad_multiple)
    cleaned = pad(np.where(valid[..., None], xyz, np.float32(0)), square)
    return cleaned, pad(rgb, square, "edge"), Cleaning(plane, found, clusters, kept_fraction, square, tuple(warnings))


def to_grid(xyz: Cloud, rgb: Image, size: int) -> tuple[Cloud, Image]:
    """Squares of one side to (size, size, 3) each: the cloud by nearest neighbour, so that points stay points, colours bicubic."""
    return np.ascontiguousarray(nearest(xyz, size)), bicubic(rgb, size)


def run(dataset: Path, files: Path, block: config.Prepared, out: Path, progress: Progress, xyz_scale: float = 1.0) -> Made:
    """Prepare every part of `dataset/samples.parquet`, whose paths start from `files`; coordinates times `xyz_scale` are metres.

    Writes `out/parts/` (shards: xyz, rgb, gt, valid at `block.size`), `out/prep.parquet` and `out/quarantine.parquet`. Goes on behind the
    last whole shard of an earlier attempt. Raises Corrupt for a raw file that is not the table's, BadData if more parts than
    `max_quarantine` have too few points, or no training part is left.
    """
    rows = tables.read(dataset / "samples.parquet").select([*IDENTITY, *_paths("rgb"), *_paths("xyz"), *_paths("gt")]).to_pylist()
    rows.sort(key=lambda row: str(row["id"]))
    quarantined: list[dict[str, Any]] = []
    with ShardWriter(out / "parts", SHARD_BYTES, (row["id"] for row in rows)) as writer:
        todo = [row for row in rows if row["id"] not in writer.done]
        progress.stage("prepare", total=len(rows), done=len(rows) - len(todo))
        for row, (arrays, facts) in ordered(lambda row: _part(row, files, block, xyz_scale), todo):
            if facts["n_valid"] < block.min_points:
                detail = f"{facts['n_valid']} points are left, fewer than min_points = {block.min_points}. {facts['warnings']}".strip()
                quarantined.append({**{name: row[name] for name in IDENTITY}, "reason": "too few points", "detail": detail})
            else:
                writer.add(row["id"], {**arrays, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)})
            progress.advance()
    return _finish(rows, quarantined, block, out)


def _finish(rows: list[dict[str, Any]], quarantined: list[dict[str, Any]], block: config.Prepared, out: Path) -> Made:
    reader = ShardReader(out / "parts")
    identity = {row["id"]: {name: row[name] for name in IDENTITY} for row in rows}
    prep = [{**identity[id], **json.loads(reader.get(id, ["facts"])["facts"].tobytes())} for id in reader.ids]
    tables.write(pa.Table.from_pylist(prep, PREP), out / "prep.parquet")
    tables.write(pa.Table.from_pylist(quarantined, QUARANTINE), out / "quarantine.parquet")
    if len(quarantined) > block.max_quarantine * len(rows):
        first = "; ".join(f"{row['id']}: {row['detail']}" for row in quarantined[:SHOWN])
        raise BadData(
            f"{len(quarantined)} of {len(rows)} parts have too few points after cleaning, more than "
            f"max_quarantine = {block.max_quarantine:.0%}. {first}. "
            f"Look at plane_cut_m and cluster_eps_m (metres), and at the scans' unit (xyz_unit)."
        )
    if not any(row["split"] == "train" for row in prep):
        raise BadData("no training part is left after cleaning. Put good scans into train/good.")
    warned = [[row["id"], row["warnings"]] for row in prep if row["warnings"]]
    notes = [
        Note("Parts", "int", len(prep)),
        Note("Without a background plane", "int", sum(not row["plane_found"] for row in prep)),
        Note("Smallest kept fraction", "float", min(row["kept_fraction"] for row in prep)),
        Note("Fewest points", "int", min(row["n_valid"] for row in prep)),
        Note("Quarantined", "table", {"columns": ["id", "detail"], "rows": [[row["id"], row["detail"]] for row in quarantined]}),
        Note("Warnings", "table", {"columns": ["id", "warning"], "rows": warned}),
    ]
    return Made(notes=notes, facts={"parts": len(prep), "quarantined": len(quarantined), "warned": len(warned), "size": block.size})


def _part(row: dict[str, Any], files: Path, block: config.Prepared, xyz_scale: float) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    rgb = read_file(row, "rgb", files, images.read_rgb)
    xyz = read_file(row, "xyz", files, images.read_xyz)
    where = files / row["xyz_path"]
    try:
        # Every part, and every later prediction, draws the same random numbers: a scan is cleaned alike wherever it comes from.
        cleaned, squared, found = clean(xyz * np.float32(xyz_scale), rgb, block, seeding.rng(block.seed, "plane"))
    except BadData as error:
        raise BadData(f"{where}: {error}") from error
    cloud, image = to_grid(cleaned, squared, block.size)
    valid = valid_points(cloud, block.validity)
    gt = np.zeros(valid.shape, np.uint8)
    if row["gt_path"]:
        mask = read_file(row, "gt", files, images.read_gt)
        if mask.shape != xyz.shape[:2]:
            raise BadData(f"{files / row['gt_path']}: {_pixels(mask)}, but {where} has {_pixels(xyz)}.")
        gt = nearest(pad(mask, found.square), block.size).astype(np.uint8)
    plane = found.plane
    facts = {
        **{f"plane_{name}": getattr(plane, name, None) for name in "abcd"},
        "inlier_ratio": plane.inlier_ratio if plane else 0.0,
        "plane_found": found.plane_found,
        "n_clusters": found.n_clusters,
        "kept_fraction": found.kept_fraction,
        "n_valid": int(valid.sum()),
        "median_z": float(np.median(cloud[valid][:, 2])) if valid.any() else None,
        "side": found.square.side,
        "warnings": "; ".join(found.warnings),
    }
    return {"xyz": cloud, "rgb": image, "gt": gt, "valid": valid.astype(np.uint8)}, facts


def _keep(xyz: Cloud, valid: NDArray[np.bool_], block: config.Prepared, warnings: list[str]) -> tuple[int, float]:
    """Clears `valid` outside the clusters to keep; the number of clusters and the kept fraction of the foreground."""
    labels = dbscan(xyz[valid], block.cluster_eps_m, block.cluster_min_points)
    sizes = np.bincount(labels[labels >= 0])
    if not len(sizes):
        warnings.append(f"none of the {len(labels)} points belongs to a cluster")
        valid[:] = False
        return 0, 0.0
    keep = np.arange(len(sizes)) == sizes.argmax()
    if block.keep == "multi":
        keep |= sizes >= block.keep_fraction * len(labels)
    if sizes.max() < block.split_warning * len(labels):
        lost = "" if block.keep == "multi" else "; the rest is dropped (is the part broken? `keep: multi` keeps its pieces)"
        warnings.append(f"the largest of {len(sizes)} clusters holds {sizes.max() / len(labels):.0%} of the foreground{lost}")
    kept = (labels >= 0) & keep[labels]
    valid[valid] = kept
    return len(sizes), float(kept.mean())


def _no_plane(plane: Plane | None, block: config.Prepared) -> str:
    why = f"the border has fewer than {block.plane_sample} points"
    if plane:
        why = f"the best plane holds {plane.inlier_ratio:.0%} of the border's points"
    if block.plane == "required":
        raise BadData(f"no background plane ({why}) and `plane: required`. Use `plane: optional` for scans without a table.")
    return f"no background plane ({why}); all points kept"


def _pixels(image: NDArray[Any]) -> str:
    return f"{image.shape[1]}x{image.shape[0]} px"


def _paths(modality: str) -> tuple[str, str]:
    return f"{modality}_path", f"{modality}_sha256"


def read_file(row: dict[str, Any], modality: str, files: Path, decode: Callable[[bytes], tuple[NDArray[Any], list[str]]]) -> NDArray[Any]:
    """Decoded raw file of a part (a row of samples); what the decoder remarks stands in the dataset's own table already.

    Raises Corrupt if the file is not the table's, BadData if it is gone or cannot be decoded.
    """
    try:
        return decode(_verified(row, modality, files))[0]
    except Unreadable as error:
        raise BadData(f"{files / row[f'{modality}_path']}: {error}") from error


def _verified(row: dict[str, Any], modality: str, files: Path) -> bytes:
    path, sha = _paths(modality)
    try:
        content: bytes = (files / row[path]).read_bytes()
    except OSError as error:
        raise BadData(f"{files / row[path]} cannot be read ({error.strerror}). Put it back, or make the dataset again.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != row[sha]:
        change = f"its sha256 is {found[:16]}..., was {row[sha][:16]}..."
        raise Corrupt(
            f"{files / row[path]} is not the file the dataset was made from: {change}. Put the original back; what was generated or "
            "converted is made again once the dataset's folder in data/ is deleted."
        )
    return content

"""One part's files, read and judged: a row of `samples.parquet`, or one of `quarantine.parquet` with its reason."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tenfold.core import files, tables
from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly.config import Dataset
from tenfold.crossmodal_anomaly.images import MAX_FILE_BYTES, read_gt, read_rgb, read_xyz
from tenfold.crossmodal_anomaly.mvtec import Candidate

MODALITIES = ("rgb", "xyz", "gt")
EXTRA = {
    "defect": pa.string(),
    "height": pa.int64(),
    "width": pa.int64(),
    "n_valid": pa.int64(),
    "n_nonfinite": pa.int64(),
    "xyz_scale": pa.float64(),
    "warnings": pa.string(),
}
SAMPLES_SCHEMA = tables.samples_schema(MODALITIES, EXTRA)
QUARANTINE_SCHEMA = tables.quarantine_schema(MODALITIES, EXTRA)
_FEWEST_POINTS = 128


@dataclass
class Examined:
    """The row of one part; `reason` is set if it goes to quarantine, `error` if it stops the import.

    `median_z` is in the file's own unit, NaN if there is no point.
    """

    row: dict[str, Any]
    reason: str | None = None
    detail: str | None = None
    error: str | None = None
    median_z: float = float("nan")
    warnings: list[str] = field(default_factory=list)


def xyz_scale(block: Dataset) -> float:
    """Metres per unit of the stored coordinates."""
    return {"m": 1.0, "mm": 0.001}[block.xyz_unit]


def examine(root: Path, candidate: Candidate, block: Dataset, scale: float) -> Examined:
    """Read every file of `candidate` once: hash, decode, compare. `scale` (m per stored unit) is recorded, not applied.

    Never raises for what is wrong with a file; that ends in the row.
    """
    done = Examined(_empty_row(candidate))
    try:
        if candidate.problem:
            raise Unreadable(*candidate.problem)
        _read(root, candidate, block, scale, done)
    except Unreadable as problem:
        done.reason, done.detail = problem.reason, problem.detail
    done.row["warnings"] = "; ".join(done.warnings)
    return done


def failed(candidate: Candidate, reason: str, detail: str) -> Examined:
    """The quarantine row of a part that could not even be converted: no official file exists, so it names none."""
    row = _empty_row(candidate) | {f"{name}_path": None for name in MODALITIES}
    return Examined(row, reason, detail)


def _empty_row(candidate: Candidate) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SAMPLES_SCHEMA.names)
    row |= {"id": candidate.id, "unit": candidate.unit, "split": candidate.split, "label": candidate.label, "defect": candidate.defect}
    row |= {f"{name}_path": candidate.paths[name].as_posix() for name in MODALITIES if name in candidate.paths}
    return row | {"warnings": ""}


def _read(root: Path, candidate: Candidate, block: Dataset, scale: float, done: Examined) -> None:
    data = {name: file_bytes(root, candidate.paths[name]) for name in MODALITIES if name in candidate.paths}
    for name, content in data.items():
        done.row[f"{name}_sha256"] = hashlib.sha256(content).hexdigest()
        done.row[f"{name}_bytes"] = len(content)
    rgb, warnings = read_rgb(data["rgb"])
    done.warnings += warnings
    xyz, warnings = read_xyz(data["xyz"])
    done.warnings += warnings
    sizes = {"rgb": rgb.shape[:2], "xyz": xyz.shape[:2]}
    mask = None
    if "gt" in data:
        mask, warnings = read_gt(data["gt"])
        done.warnings += warnings
        sizes["gt"] = mask.shape
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {width} x {height}" for name, (height, width) in sizes.items())
        raise Unreadable("sizes_differ", f"{told} px: all must be the same grid")
    if mask is not None:
        _judge_mask(candidate, bool(mask.any()), done)

    finite = np.isfinite(xyz).all(axis=-1)
    points = finite & (xyz != 0).any(axis=-1)
    n_valid, n_nonfinite = int(points.sum()), int((~finite).sum())
    done.row |= {"height": xyz.shape[0], "width": xyz.shape[1], "n_valid": n_valid, "n_nonfinite": n_nonfinite, "xyz_scale": scale}
    if n_nonfinite:
        done.warnings.append(f"{n_nonfinite} px with NaN or inf set to no point")
        share = n_nonfinite / (n_valid + n_nonfinite)
        if share > block.max_nonfinite:
            raise Unreadable("nonfinite_points", f"{share:.0%} of the points are NaN or inf, allowed are {block.max_nonfinite:.0%}")
    if n_valid < _FEWEST_POINTS:
        raise Unreadable("too_few_points", f"{n_valid} points, at least {_FEWEST_POINTS} are needed")
    done.median_z = float(np.median(xyz[points][:, 2]))


def _judge_mask(candidate: Candidate, marked: bool, done: Examined) -> None:
    if marked and candidate.defect == "good":
        done.error = f"{candidate.id}: {done.row['gt_path']} marks a defect, but the part is in `good`. Move it or empty the mask."
    elif not marked and candidate.defect != "good":
        done.warnings.append("gt is empty: counts for image metrics, not for region metrics")


def file_bytes(root: Path, relative: Path) -> bytes:
    """Content of `root/relative`. Raises Unreadable for links that leave the root, giants and whatever is no regular file."""
    try:
        real, _ = files.regular(root, relative, MAX_FILE_BYTES)
        return real.read_bytes()
    except (OSError, RuntimeError) as error:
        raise Unreadable("unreadable_file", f"{relative}: {error}") from error

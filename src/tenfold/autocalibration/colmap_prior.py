"""A copy of a COLMAP database whose cameras start from our intrinsics (`prior_focal_length` = 1); the original is not touched."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np

from tenfold.autocalibration.colmap_model import MODELS, NUMBERS
from tenfold.core import atomic
from tenfold.core.errors import BadData, UsageError

# Models with one focal, and what takes their place where fx and fy differ.
ONE_FOCAL = {"SIMPLE_PINHOLE": "PINHOLE", "SIMPLE_RADIAL": "OPENCV", "RADIAL": "OPENCV"}
TERMS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 0, "SIMPLE_RADIAL": 1, "RADIAL": 2, "OPENCV": 4}
LEAST_SKEW = 1e-6  # of fx: below this a skew is none


def params(model: str, k: Sequence[float], radial: Sequence[float] = ()) -> tuple[str, tuple[float, ...]]:
    """Model and parameters for intrinsics k = fx, fy, cx, cy, s: `model` itself if it can hold them, else the nearest that can.

    `radial`: k1, k2 as far as they are known; the model's other terms are 0. Raises BadData for skew, which COLMAP has not.
    """
    fx, fy, cx, cy, s = map(float, k)
    if abs(s) > LEAST_SKEW * fx:
        raise BadData(f"COLMAP's cameras have no skew, ours is {s:.3g} px; calibrate with --assume zero_skew")
    if model not in TERMS:
        model = "SIMPLE_PINHOLE"
    needed = 2 if any(radial[1:]) else 1 if any(radial) else 0
    if needed > TERMS[model]:
        model = {0: "", 1: "SIMPLE_RADIAL", 2: "RADIAL"}[needed] if model in ONE_FOCAL else "OPENCV"
    if model in ONE_FOCAL and abs(fx - fy) > 1e-9 * fx:
        model = ONE_FOCAL[model]
    focals = (fx,) if model in ONE_FOCAL else (fx, fy)
    terms = (*map(float, radial), 0.0, 0.0, 0.0, 0.0)[: TERMS[model]]
    return model, (*focals, cx, cy, *terms)


def write(source: Path, target: Path, cameras: Mapping[int, Sequence[float]], radial: Mapping[int, Sequence[float]] | None = None) -> None:
    """Copy the database `source` to the new file `target` and put intrinsics (5,) and radial terms k1, k2 into its cameras, by camera id.

    Raises UsageError if `target` is there already, BadData if `source` is no database of COLMAP or lacks a camera.
    """
    if target.exists():
        raise UsageError(f"{target} is there already; name another file for the copy of the database")
    if not source.is_file():
        raise BadData(f"{source} is missing; name the database.db of a COLMAP project")
    with atomic.new_file(target, source.stat().st_size) as temporary:
        try:
            address = f"file:{quote(str(source.resolve()))}?mode=ro"
            with closing(sqlite3.connect(address, uri=True)) as old, closing(sqlite3.connect(temporary)) as new:
                old.backup(new)
                with new:
                    for key, k in cameras.items():
                        _update(new, key, k, (radial or {}).get(key, ()), source)
        except sqlite3.Error as error:
            raise BadData(
                f"{source} cannot be read as a COLMAP database ({error}); make it again with COLMAP's feature_extractor"
            ) from error


def _update(link: sqlite3.Connection, key: int, k: Sequence[float], radial: Sequence[float], source: Path) -> None:
    row = link.execute("SELECT model FROM cameras WHERE camera_id = ?", (key,)).fetchone()
    if row is None:
        raise BadData(f"{source} has no camera {key}; its matches and its cameras do not belong together")
    name, values = params(MODELS[row[0]][0] if row[0] in MODELS else "", k, radial)
    data = np.array(values, dtype="<f8").tobytes()
    link.execute("UPDATE cameras SET model = ?, params = ?, prior_focal_length = 1 WHERE camera_id = ?", (NUMBERS[name], data, key))

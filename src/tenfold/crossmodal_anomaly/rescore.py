"""The present champion on an evaluation's samples: what the promotion gate compares with, and whether the data have drifted."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tenfold.core import metrics as core_metrics
from tenfold.core import seeding, tables
from tenfold.core.metrics import Subject
from tenfold.core.progress import Progress
from tenfold.core.stage import Check, Note, Rescored
from tenfold.crossmodal_anomaly import aupro, curves, images, metrics, prepare
from tenfold.crossmodal_anomaly.evaluate import TestParts
from tenfold.crossmodal_anomaly.predict import Predictor
from tenfold.crossmodal_anomaly.predictor_folder import CALIBRATION
from tenfold.crossmodal_anomaly.spool import Maps

if TYPE_CHECKING:
    import pandas as pd

PARAMS = {"maps": True}
"""Options of a served request, with their defaults."""

MAD_LIMIT = 3.0
"""Drift is a quantile of the validation scores that moved by more than this many median absolute deviations (section 5)."""


def rescore(
    predictor: Path,
    inputs: Mapping[str, Path],
    files: Path,
    xyz_scale: float,
    headline: str,
    identity: Mapping[str, str],
    out: Path,
    progress: Progress,
) -> Rescored:
    """Run the champion in `predictor` from the raw scans on; rows with method `champion` go to `out/metrics.parquet`.

    `inputs` holds the folders of dataset, prepared, features and evaluation; `xyz_scale` is metres per unit of the dataset's files.
    """
    champion = Predictor.load(predictor)
    options = json.loads((inputs["evaluation"] / "summary.json").read_text())["options"]
    parts = TestParts.read(inputs["prepared"], inputs["features"])
    rows = {row["id"]: row for row in tables.read(inputs["dataset"] / "samples.parquet").to_pylist()}
    held_out = sorted(id for id, row in rows.items() if row["split"] == "validation")
    progress.stage("present champion", len(parts.ids) + len(held_out))
    scores = np.empty(len(parts.ids))
    file = out / "scratch.f32"
    maps = Maps(file, len(parts.ids), options["size"])
    for i, id in enumerate(parts.ids):
        found = champion.examine(*_read(rows[id], files), xyz_scale)
        scores[i], maps[i] = found.score, _resized(found.map, options["size"])
        progress.advance()
    counts = aupro.count(parts.truth, maps)
    by_part = curves.part_curves(parts.truth, maps, counts)
    maps.close()
    file.unlink()
    measured = metrics.measure(
        Subject(dict(identity), "champion", "", 0),
        parts.truth,
        parts.labels,
        scores,
        counts,
        by_part,
        curves.multiplicities(parts.kinds, options["bootstrap"], seeding.rng(options["seed"], "bootstrap")),
        ties=options["ties"],
        threshold=champion.recipe.image_threshold,
    )
    tables.write(core_metrics.to_table(measured.rows), out / "metrics.parquet")
    now = []
    for id in held_out:
        now.append(champion.examine(*_read(rows[id], files), xyz_scale).score)
        progress.advance()
    before = json.loads((predictor / CALIBRATION).read_text())["scores"]
    value = next((r.value for r in measured.rows if r.metric == headline and r.slice == "all"), None)
    return Rescored(float("nan") if value is None else value, drift(list(before.values()), now))


def drift(before: Sequence[float], now: Sequence[float]) -> Check:
    """Whether the champion scores the good validation parts of `now` as it did those of its calibration."""
    name, says = "drift", "The champion scores new good parts as it scored those it was calibrated on."
    if not before or not now:
        return Check(name, True, "warn", "No validation parts to compare: drift is not judged.")
    old, new = np.asarray(before), np.asarray(now)
    middle = float(np.median(old))
    spread = float(np.median(np.abs(old - middle)))
    quantiles = (0.5, 0.9)
    moved = {q: float(np.quantile(new, q) - np.quantile(old, q)) for q in quantiles}
    # equal scores have no spread: any move then counts
    worst = max(abs(move) for move in moved.values())
    passed = worst <= MAD_LIMIT * spread
    table = [[q, float(np.quantile(old, q)), float(np.quantile(new, q)), moved[q]] for q in quantiles]
    return Check(
        name,
        passed,
        "warn",
        says,
        [
            Note("quantiles of the validation scores", "table", {"columns": ["quantile", "calibration", "now", "moved"], "rows": table}),
            Note("median absolute deviation at calibration", "float", spread),
            Note("parts", "text", f"{len(before)} at calibration, {len(now)} now"),
        ],
    )


def example(dataset: Path, files: Path) -> "pd.DataFrame":
    """A request of one row, as bytes: the first training part."""
    import pandas as pd

    rows = [row for row in tables.read(dataset / "samples.parquet").to_pylist() if row["split"] == "train"]
    row = min(rows, key=lambda each: str(each["id"]))
    return pd.DataFrame({name: [(files / row[f"{name}_path"]).read_bytes()] for name in ("rgb", "xyz")})


def _read(row: dict[str, Any], files: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Both images of a part."""
    return prepare.read_file(row, "rgb", files, images.read_rgb), prepare.read_file(row, "xyz", files, images.read_xyz)


def _resized(image: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """A champion of another grid is compared on this evaluation's grid."""
    if image.shape == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR), np.float32)

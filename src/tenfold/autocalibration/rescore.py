"""The present champion on an evaluation's scenes: what the promotion gate compares with, and whether the data have drifted."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tenfold.autocalibration import exact, features, metrics, pool, predict, predictor_folder
from tenfold.autocalibration.evaluate import Task, principal_of, rows_of
from tenfold.autocalibration.metrics import CALIB_SCHEMA
from tenfold.autocalibration.scenes import SceneSpec, generate
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import metrics as core_metrics
from tenfold.core import tables
from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress
from tenfold.core.stage import Check, Note, Rescored

if TYPE_CHECKING:
    import pandas as pd

SEEDS_OF = "evaluation"
"""Whose first seed the gate looks at: a start system has none of its own."""

PARAMS = predict.OPTIONS
"""Options of a served request, with their defaults."""

LOST_LIMIT = 0.02
"""Drift: paths lost on the scenes, beyond those lost on the generator's instances."""
_INSTANCES = 20


def rescore(
    predictor: Path, inputs: Mapping[str, Path], files: Path, headline: str, identity: Mapping[str, str], out: Path, progress: Progress
) -> Rescored:
    """Run the champion in `predictor` on the headline's scenes; rows with method `champion` go to `out/metrics.parquet`.

    `inputs` holds the folders of dataset, features and evaluation. UsageError if it has not the solver that the evaluation assumes.
    """
    options = json.loads((inputs["evaluation"] / "summary.json").read_text())["options"]
    settings, starts = predictor_folder.read(predictor)
    solver, seed = str(options["assume"]), int(options["seeds"][0])
    if solver not in starts:
        raise UsageError(
            f"the present champion has no start system of {solver!r}, which evaluation.assume names; it has {', '.join(starts)}."
        )
    samples = tables.read(inputs["dataset"] / "samples.parquet")
    scenes = metrics.scenes_of(samples)
    wanted = sorted(metrics.headline_scenes(scenes.values()))
    cameras: dict[str, dict[int, str]] = {}
    for row in samples.to_pylist():
        cameras.setdefault(row["scene"], {})[int(row["view"])] = str(row["camera"])
    progress.stage("present champion", len(wanted))
    tasks = (
        Task(
            given, solver, starts[solver], seed, (scenes[given.name].width, scenes[given.name].height), principal_of(scenes[given.name], solver),
            cameras[given.name], settings.samples, settings.threshold_px, settings.triplets, "champion",
        )
        for given in (features.read_scenes(inputs["features"], wanted) if wanted else ())
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for found in pool.each(rows_of, tasks, len(wanted)):
        rows += found
        progress.advance()
    rows.sort(key=lambda row: (row["scene"], row["stage"], row["triplet"]))
    table = pa.Table.from_pylist(rows, CALIB_SCHEMA)
    measured = metrics.measure(table.to_pylist(), scenes, dict(identity), int(options["bootstrap"]))
    tables.write(core_metrics.to_table(measured), out / "metrics.parquet")
    value = next((r.value for r in measured if (r.metric, r.slice, r.variant) == (headline, "all", "")), None)
    return Rescored(math.nan if value is None else value, drift(rows, before(starts[solver], solver)))


def before(start: Path, solver: str) -> float:
    """Share of paths that the champion loses on instances of the generator, which are always the same."""
    from tenfold.autocalibration import estimate

    return float(
        np.mean(exact.recall(estimate.solve_of(solver), StartSystem.load(start), _INSTANCES, 0, estimate.SOLVERS[solver].kind).lost)
    )


def drift(rows: list[dict[str, Any]], lost_before: float) -> Check:
    """Whether the champion follows its paths on these scenes as it does on the generator's instances."""
    name, says = "drift", "The champion loses no more paths on these scenes than on the generator's instances."
    tried = [row for row in rows if row["triplet"] and row["stage"] == "minimal" and row["hypotheses"]]
    paths = sum(row["roots"] + row["lost"] for row in tried)
    if not paths:
        return Check(name, True, "warn", "No path was tracked on these scenes: drift is not judged.")
    now = sum(row["lost"] for row in tried) / paths
    merged = [row for row in rows if not row["triplet"] and row["stage"] == "refined"]
    answered = sum(row["status"] in metrics.ANSWERED for row in merged)
    return Check(
        name,
        now <= lost_before + LOST_LIMIT,
        "warn",
        says,
        [
            Note("lost paths on these scenes", "float", now),
            Note("lost paths on the generator's instances", "float", lost_before),
            Note("scenes answered", "text", f"{answered} of {len(merged)}"),
        ],
    )


def example(dataset: Path, files: Path) -> "pd.DataFrame":
    """A request: the tracks of the first scene that has any, a row an observation; of a made-up scene where photographs wait for matching."""
    import pandas as pd

    rows = tables.read(dataset / "samples.parquet").to_pylist()
    row = min((r for r in rows if r["tracks_path"]), key=lambda r: (str(r["scene"]), r["view"]), default=None)
    if row is None:
        spec = SceneSpec(0, "general", 40, 3, 640, 480, (600.0, 600.0, 320.0, 240.0, 0.0), 0.5, 0.0)
        row, tracks = {"scene": "example", "width": spec.width, "height": spec.height}, generate(spec).scene("example").tracks
        assert tracks is not None
        columns = {"track_id": tracks.track, "view_id": tracks.view, "x": tracks.x, "y": tracks.y}
    else:
        table = tables.read(dataset / row["tracks_path"]).to_pandas()
        columns = {"track_id": table["track"], "view_id": table["view"], "x": table["x"], "y": table["y"]}
    return pd.DataFrame({"scene": row["scene"], **columns, "width": row["width"], "height": row["height"]})

"""The present champion on an evaluation's clips: what the promotion gate compares with, and whether the sensors' rows have drifted."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tenfold.core import metrics as core_metrics
from tenfold.core import tables, workers
from tenfold.core.progress import Progress
from tenfold.core.stage import Check, Note, Rescored
from tenfold.motion_tracking import columns, features, memory, metrics, predict, skeleton, train
from tenfold.motion_tracking import drift as drifting
from tenfold.motion_tracking.clips import Clips
from tenfold.motion_tracking.evaluate import predicted
from tenfold.motion_tracking.metrics import CLEAN, Result
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.trials import Trials

if TYPE_CHECKING:
    import pandas as pd

PARAMS = predict.OPTIONS
"""Options of a served request, with their defaults."""

LOOKED_AT = 64
"""Training clips whose rows are compared with those that the champion was trained on."""
EXAMPLE = 30
"""Frames of the example request."""


def rescore(
    predictor: Path, inputs: Mapping[str, Path], files: Path, headline: str, identity: Mapping[str, str], out: Path, progress: Progress
) -> Rescored:
    """Run the champion in `predictor` on this evaluation's test clips; rows with method `champion` go to `out/metrics.parquet`.

    `inputs` holds the folders of features and evaluation. `files` is not needed: the rows of the features are the champion's inputs.
    """
    options = json.loads((inputs["evaluation"] / "summary.json").read_text())["options"]
    network = train.read_network(predictor)
    tests = Trials.open(inputs["features"], int(options["clips"]), int(options["rows"]))
    progress.stage("present champion", len(columns.MASKS) + 1)
    results = []
    for each in columns.MASKS:
        with workers.single_threaded():
            scored = tests.score(lambda group, each=each: predicted(network, tests, group, each))  # type: ignore[misc]
        results.append(Result("champion", "", 0, each, CLEAN, scored.clips))
        progress.advance()
    rows = metrics.measure(results, tests.clips, dict(identity), int(options["bootstrap"]), int(options["seed"]))
    tables.write(core_metrics.to_table(rows), out / "metrics.parquet")
    value = next((r.value for r in rows if (r.metric, r.slice) == (headline, "all")), None)
    found = drift(network, tests.data)
    progress.advance()
    return Rescored(math.nan if value is None else value, found)


def drift(network: Network, data: Clips) -> Check:
    """Whether the training rows look to the champion as those did that it was trained on: its own standardisation says."""
    name, says = "drift", "The sensors' rows have the means and spreads that the champion was trained on."
    clips = data.rows("train")
    if not network.options.standardise or not clips:
        return Check(name, True, "warn", "The champion does not standardise its inputs, or there is no training clip: drift is not judged.")
    moments = drifting.Moments.none()
    for i in sorted({int(i) for i in np.linspace(0, len(clips) - 1, LOOKED_AT)}):
        x = torch.from_numpy(np.array(data.features(clips[i]), np.float32))[None]
        with torch.no_grad():
            seen, _ = network.inputs(x, memory.Memory(network.start(1).memory, network.places))
        moments.add(seen[0].numpy())
    shift = np.abs(moments.mean)
    spread = np.abs(np.log(np.maximum(np.sqrt(moments.square / moments.count), 1e-6)))
    of = np.array(drifting.tokens())
    rows, worst = [], False
    for token in columns.TOKENS:
        moved = float(np.sqrt(np.square(shift[of == token]).mean()))
        wider = float(np.median(spread[of == token]))
        worst |= moved > drifting.FAR or wider > drifting.WIDE
        rows.append([token, round(moved, 4), round(wider, 4)])
    heads = ["token", "shift, standard deviations", "spread, log of ratio"]
    return Check(name, not worst, "warn", says, [Note("tokens", "table", {"columns": heads, "rows": rows})])


def example(dataset: Path, files: Path) -> "pd.DataFrame":
    """A request: the first frames of a training clip as raw sensors, all six of them."""
    import pandas as pd

    from tenfold.motion_tracking import amass, bodies, config, imu, rotations, sensors

    rows = sorted((r for r in tables.read(dataset / "samples.parquet").to_pylist() if r["split"] == "train"), key=lambda r: str(r["id"]))
    read = config.Dataset(**json.loads((dataset / features.ABOUT).read_text())["read"])
    on = bodies.load(files / read.body_dir, read.body).of(rows[0]["gender"])
    made = features.truth(amass.read(files, Path(rows[0]["clip_path"])), on, read.resample)
    said = sensors.readings(made.world[:EXAMPLE], made.positions[:EXAMPLE], imu.acceleration(made.mounts, "raw")[:EXAMPLE])
    turned = rotations.quaternion_from_matrix(said.rotation)
    frame: dict[str, object] = {"t": np.arange(len(turned)) / skeleton.RATE_HZ}
    for number, sensor in enumerate(columns.SENSORS):
        frame |= {f"{sensor}_q{axis}": turned[:, number, k] for k, axis in enumerate("wxyz")}
        places, word = (said.position[:, number], "p") if number < 3 else (said.acceleration[:, number - 3], "a")
        frame |= {f"{sensor}_{word}{axis}": places[:, k] for k, axis in enumerate("xyz")}
    return pd.DataFrame(frame)

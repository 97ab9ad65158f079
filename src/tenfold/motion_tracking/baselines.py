"""The rivals on the same rows and the same split (section 6, B1 to B5): mean pose, held first pose, ridge, analytic arms, perceptron.

`run` fits them; `load` gives back `Rivals`, which answer as the network does. B6 and B7 are variants of the model.
"""

import json
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note
from tenfold.motion_tracking import body, columns, config, heading, hold, ik, mean_pose, mlp, ridge, rotations, skeleton
from tenfold.motion_tracking.clips import Clip, Clips

Float = npt.NDArray[np.float64]

METHODS = ("mean_pose", "hold", "ik", "ridge", "ridge_yaw", "mlp")
"""`ridge` reads the rows as they are, `ridge_yaw` seen from the head's heading, which suits it better on known motions."""
SAME = ("mean_pose", "hold", "ik")
"""Methods that read head and hands only: one answer for all sensor sets."""
CHUNK = 20_000
"""Rows that are stacked at once (135 doubles and lags each)."""


@dataclass(frozen=True)
class Rivals:
    """All baselines: lags (frames), mean shape (16,), mean pose, maps by method and sensor set, perceptron, joints at rest (22, 3)."""

    lags: tuple[int, ...]
    betas: Float
    mean: mean_pose.MeanPose
    maps: dict[str, dict[str, ridge.Map]]
    net: mlp.Perceptron
    rest: Float

    def predict(
        self, method: str, x: npt.NDArray[np.floating], lengths: Sequence[int], sensor_set: str, pose6d: npt.NDArray[np.floating]
    ) -> tuple[Float, Float]:
        """Local rotations (N, 22, 3, 3) and shapes (N, 16) of clips that lie one behind the other.

        `x` (N, 135) all sensors, masked here. `pose6d`: the truth, of which `hold` alone reads, each clip's first row.
        """
        if method == "ik":
            return ik.solve(x, self.rest), self._shapes(len(x))
        if method == "mean_pose":
            found: npt.NDArray[np.floating] = self.mean.predict(x)
        elif method == "hold":
            found = hold.predict(x, pose6d, lengths)
        elif method == "mlp":
            found = mlp.predict(self.net, x, lengths, sensor_set, self.lags)
        elif method in self.maps:
            found = ridge.predict(self.maps[method][sensor_set], x, lengths, sensor_set, self.lags, method == "ridge_yaw")
        else:
            raise UsageError(f"no baseline is called {method!r}; there are {', '.join(METHODS)}")
        return rotations.matrix_from_six(found.reshape(len(x), skeleton.COUNT, 6)), self._shapes(len(x))

    def _shapes(self, count: int) -> Float:
        return np.broadcast_to(self.betas, (count, skeleton.BETAS))


def run(features: Path, block: config.Baselines, out: Path, progress: Progress) -> Made:
    """Fit every baseline on the training clips; writes baselines.npz and baselines.json. BadData without a training clip."""
    began = time.monotonic()
    clips = Clips.open(features)
    train = clips.rows("train")
    if not train:
        raise BadData(f"{features} has no clip of the split `train`; the baselines have nothing to be fitted on.")
    lags = tuple(block.lags)
    progress.stage("ridge", len(list(_chunks(train))))
    moments = {name: ridge.Moments.empty(columns.WIDTH * (1 + len(lags))) for name in ("ridge", "ridge_yaw")}
    for chunk in _chunks(train):
        x, pose, lengths = _read(clips, chunk)
        for name, sums in moments.items():
            stacked, yaw = heading.stack(x, lengths, lags, name == "ridge_yaw")
            sums.add(stacked, heading.turn_root(pose, -yaw) if name == "ridge_yaw" else pose.astype(np.float64))
        progress.advance()
    maps = {name: {each: ridge.fit(sums, each, block.strength, 1 + len(lags)) for each in columns.MASKS} for name, sums in moments.items()}
    # the yaw frame's targets are the pose as the head's heading sees it: their mean is the mean pose
    mean = mean_pose.MeanPose(moments["ridge_yaw"].y / moments["ridge_yaw"].count)
    progress.stage("perceptron", 1)
    x, pose, lengths = _read(clips, _some(train, block.mlp_rows, block.seed))
    net, loss = mlp.fit(
        x, pose, lengths, lags, hidden=block.mlp_hidden, steps=block.mlp_steps, batch=block.mlp_batch, lr=block.mlp_lr, seed=block.seed
    )
    progress.advance()
    weights = np.array([clip.length for clip in train], np.float64)
    betas = np.average([clip.betas for clip in train], axis=0, weights=weights)
    rest = body.joints(body.load_small(features / "body.npz"), betas)
    arrays: dict[str, Any] = {"lags": np.array(lags), "betas": betas, "mean_pose": mean.pose6d, "rest": rest}
    for name, sets in maps.items():
        for each, one in sets.items():
            arrays |= {f"{name}/{each}/weights": one.weights.astype(np.float32), f"{name}/{each}/bias": one.bias.astype(np.float32)}
    arrays |= {f"mlp/{name}": array for name, array in net.arrays().items()}
    body.write_npz(out / "baselines.npz", arrays)
    rows = int(weights.sum())
    record = {"rows": rows, "clips": len(train), "mlp_loss": loss, "methods": list(METHODS), "seconds": round(time.monotonic() - began, 2)}
    atomic.write_json(out / "baselines.json", record)
    return Made(notes=[Note("Training rows", "int", rows), Note("Perceptron's last loss", "float", round(loss, 5))], facts=record)


def load(folder: Path) -> Rivals:
    """The baselines of a folder that `run` made. BadData if there are none, Corrupt if they cannot be read."""
    path = folder / "baselines.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        maps = {
            name: {
                each: ridge.Map(*(arrays[f"{name}/{each}/{part}"].astype(np.float64) for part in ("weights", "bias")))
                for each in columns.MASKS
            }
            for name in ("ridge", "ridge_yaw")
        }
        net = mlp.Perceptron.of({name.removeprefix("mlp/"): array for name, array in arrays.items() if name.startswith("mlp/")})
        lags = tuple(int(lag) for lag in arrays["lags"])
        return Rivals(lags, arrays["betas"], mean_pose.MeanPose(arrays["mean_pose"]), maps, net, arrays["rest"])
    except FileNotFoundError:
        raise BadData(f"{path} is missing. Run the step `baselines` again.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise Corrupt(f"{path} cannot be read ({error}). Delete its folder and run the step `baselines` again.") from error


def summary(folder: Path) -> dict[str, Any]:
    """What `run` wrote of the fit."""
    found: dict[str, Any] = json.loads((folder / "baselines.json").read_text())
    return found


def _chunks(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Clips in groups of about CHUNK rows."""
    group: list[Clip] = []
    for clip in clips:
        group.append(clip)
        if sum(each.length for each in group) >= CHUNK:
            yield group
            group = []
    if group:
        yield group


def _some(clips: Sequence[Clip], rows: int, seed: int) -> list[Clip]:
    """Clips drawn without replacement until there are `rows` rows (0: all): what the perceptron holds in memory."""
    if not rows:
        return list(clips)
    order = np.random.default_rng(seed).permutation(len(clips))
    total = np.cumsum([clips[i].length for i in order])
    count = int(np.searchsorted(total, rows)) + 1
    return [clips[i] for i in sorted(order[:count].tolist())]


def _read(clips: Clips, chosen: Sequence[Clip]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[int]]:
    x = np.concatenate([clips.features(clip) for clip in chosen])
    return x, np.concatenate([clips.pose6d[clip.rows] for clip in chosen]), [clip.length for clip in chosen]

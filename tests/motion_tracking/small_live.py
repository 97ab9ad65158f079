"""A predictor of a small random network, and what sensors on somebody who sways say, for tests of live prediction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from motion_tracking.small_features import NETWORK
from motion_tracking.small_human import human

from tenfold.motion_tracking import predictor_folder, tools
from tenfold.motion_tracking.live import Live, Pose
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.stream import Reading

IMUS = (3, 4, 5)


def write(folder: Path, seed: int = 0, scale: float = 1.0, **options: object) -> Path:
    """A predictor whose every part speaks; `scale` makes its answers wilder."""
    torch.manual_seed(seed)
    network = Network(replace(NETWORK, **options)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
        network.pose_head[2].weight *= scale  # type: ignore[operator]
    predictor_folder.write(folder, network.requires_grad_(False), human(), predictor_folder.Serving("central"))
    return folder


def swaying(frames: int) -> list[Reading]:
    """At 60 Hz, all six sensors."""
    return tools.swaying(frames, human())


def without(reading: Reading, *sensors: int) -> Reading:
    """The same where some sensors say nothing."""
    values = reading.values.copy()
    values[list(sensors)] = np.nan
    return Reading(reading.t, values)


def run(live: Live, readings: Sequence[Reading], change: Callable[[int, Reading], Reading] = lambda _, reading: reading) -> list[Pose]:
    """All poses of a stream."""
    return [pose for number, reading in enumerate(readings) for pose in live.push(change(number, reading))]


def moved(poses: Sequence[Pose]) -> np.ndarray:
    """How far (m) the farthest joint moves from each pose to the next, seen from the head (N - 1)."""
    places = np.stack([pose.positions - pose.positions[15] for pose in poses])
    return np.linalg.norm(np.diff(places, axis=0), axis=-1).max(axis=1)

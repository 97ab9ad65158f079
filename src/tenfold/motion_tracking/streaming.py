"""A network as it runs live, measured: streaming against whole clips, sensors that come and go, and the time of a frame (section 9)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tenfold.motion_tracking import body, columns, formulas, kinematics, rotations, sensors, skeleton, tracking
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.onnx_step import OnnxStep
from tenfold.motion_tracking.sensors import Online
from tenfold.motion_tracking.step import Step
from tenfold.motion_tracking.trials import Group, Trials

Float = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]

WARM_UP = 60
"""Frames that are run before any is timed."""
FULL = "hmd_3imus"
LEAST = "hmd"


@dataclass(frozen=True)
class Latency:
    """Milliseconds of each timed frame: the exported step alone, and all from raw sensors to a skeleton."""

    step: Float
    frame: Float


def stream(trials: Trials, frames: int) -> Rows:
    """At least `frames` rows (N, 135), all sensors: test clips one behind the other, as often as it takes."""
    rows: list[Rows] = []
    while sum(map(len, rows)) < frames:
        rows += trials.inputs(trials.clips[:64])
    return np.concatenate(rows)[:frames]


def differences(network: Network, graph: Path, rows: Rows, chunks: Sequence[int]) -> dict[str, float]:
    """Greatest difference of any output (6D, betas) from the whole stream in one call, by how the stream was cut.

    A chunk's name is its frames; `step` is the folded torch step, `onnx` the exported graph, both frame by frame.
    """
    x = torch.from_numpy(np.array(rows, np.float32))[None]
    found: dict[str, float] = {}
    with torch.no_grad():
        whole = _joined(*network(x)[:2])
        for chunk in chunks:
            state, parts = network.start(1), []
            for piece in x.split(chunk, dim=1):
                pose, betas, state = network(piece, state)
                parts.append(_joined(pose, betas))
            found[str(chunk)] = _gap(torch.cat(parts, 1), whole)
        step, state, parts = Step(network), network.start(1), []
        for t in range(len(rows)):
            pose, betas, *rest = step(x[:, t], *state)
            state = type(state)(*rest)
            parts.append(_joined(pose, betas)[:, None])
        found["step"] = _gap(torch.cat(parts, 1), whole)
    live, carried = OnnxStep(graph), None
    outputs = []
    for row in rows:
        frame, carried = live(row[None], carried if carried is not None else live.start())
        outputs.append(np.concatenate([frame.pose, frame.betas], axis=1))
    found["onnx"] = _gap(torch.from_numpy(np.concatenate(outputs))[None], whole)
    return found


def latency(graph: Path, form: body.Body, group: Group, world: Float, acceleration: Float, frames: int) -> Latency:
    """Time the exported step on one thread, frame by frame; `world` (T, 22, 3, 3) and `acceleration` (T, 3, 3) are what sensors read."""
    live, online = OnnxStep(graph, threads=1), Online()
    read = sensors.readings(world, group.true.positions, acceleration)
    state, keep = live.start(), sensors.mask(FULL)
    step, whole = np.empty(frames), np.empty(frames)
    for number in range(-WARM_UP, frames):
        t = number % len(world)
        began = time.perf_counter()
        row = np.where(keep, online.step(read.rotation[t], read.position[t], read.acceleration[t]), np.float32(0))
        before = time.perf_counter()
        frame, state = live(row[None], state)
        after = time.perf_counter()
        local = rotations.matrix_from_six(frame.pose.reshape(1, skeleton.COUNT, 6))
        _, positions = kinematics.forward(local, body.joints(form, frame.betas), np.zeros(3))
        kinematics.align_head(positions, read.position[t, 0])
        if number >= 0:
            step[number], whole[number] = 1e3 * (after - before), 1e3 * (time.perf_counter() - began)
    return Latency(step, whole)


@dataclass(frozen=True)
class Switching:
    """IMUs lost in a clip's middle third: error (cm) of every frame, the frames of loss and return, the greatest jump (cm) at either."""

    error: list[Float]
    lost: list[int]
    back: list[int]
    jump: float
    finite: bool


def switching(network: Network, trials: Trials, group: Group) -> Switching:
    """Lose all IMUs after a third of each clip, get them back after another.

    A jump is what a joint moves from one frame to the next beyond what it truly moves.
    """
    masked, lost, back = [], [], []
    keep = sensors.mask(LEAST)
    for x in trials.inputs(group.clips):
        first, second = len(x) // 3, 2 * len(x) // 3
        rows = np.array(x, np.float32)
        rows[first:second] = np.where(keep, rows[first:second], np.float32(0))
        masked.append(rows)
        lost.append(first)
        back.append(second)
    answer = whole(network, masked)
    motion = trials.motion(answer, group.true)
    error = 100 * np.linalg.norm(motion.positions - group.true.positions, axis=-1).mean(axis=1)
    gap = formulas.difference(motion.positions, group.lengths) - formulas.difference(group.true.positions, group.lengths)
    moved = 100 * np.linalg.norm(gap, axis=-1).max(axis=1)
    starts = formulas.starts(group.lengths)
    at = np.concatenate([starts + lost, starts + back])
    pieces = [error[start : start + n] for start, n in zip(starts, group.lengths, strict=True)]
    return Switching(pieces, lost, back, float(np.nanmax(moved[at])), bool(np.isfinite(motion.positions).all()))


def whole(network: Network, masked: Sequence[Rows]) -> tuple[Float, Float]:
    """Local rotations (N, 22, 3, 3) and shapes (N, 16) of clips that are masked already, one behind the other."""
    with torch.no_grad():
        pose, betas, _ = network(tracking.padded(masked))
    six = np.concatenate([pose[i, : len(x)].numpy() for i, x in enumerate(masked)]).reshape(-1, skeleton.COUNT, 6)
    return rotations.matrix_from_six(six, network.options.rot6d), np.concatenate([betas[i, : len(x)].numpy() for i, x in enumerate(masked)])


def to_json(found: dict[str, float], timed: Latency, switched: Switching) -> dict[str, Any]:
    """For summary.json."""
    quantiles = {f"p{q}": q / 100 for q in (50, 95, 99)}
    return {
        "differences": found,
        "step_ms": {name: float(np.quantile(timed.step, q)) for name, q in quantiles.items()},
        "frame_ms": {name: float(np.quantile(timed.frame, q)) for name, q in quantiles.items()},
        "switch_jump_cm": switched.jump,
        "switch_finite": switched.finite,
    }


def _joined(pose: Tensor, betas: Tensor) -> Tensor:
    return torch.cat([pose, betas], -1)


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


assert {FULL, LEAST} <= set(columns.MASKS)

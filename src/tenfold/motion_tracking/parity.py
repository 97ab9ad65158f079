"""What the exported steps lose against PyTorch's on true test motion, and what a frame of every network costs (sections 5, 9, 11)."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tenfold.core import workers
from tenfold.motion_tracking import columns, formulas, onnx_export, predictor_folder, rotations, skeleton
from tenfold.motion_tracking.network import Network, State
from tenfold.motion_tracking.onnx_step import OnnxStep
from tenfold.motion_tracking.step import Step
from tenfold.motion_tracking.trials import Trials

Rows = npt.NDArray[np.float32]
Frame = Callable[[Rows], tuple[Rows, Rows]]
"""One row (1, 135) to pose (1, 132) and betas (1, 16), on from the frame before."""

TORCH = "torch"
TURN = 20
"""Frames that one network is timed for before it is the next one's turn."""
WARM_UP = 10


def compare(network: Network, predictor: Path, tests: Trials, frames: int) -> dict[str, dict[str, float]]:
    """PyTorch's step and the predictor's, by `torch`, `fp32`, `int8`, on test clips of about `frames` frames, all sensors, clip by clip in turn.

    `six`: largest change of a number of the 6D rotations against PyTorch; `joint_mean`, `joint_most`: distance (cm) of its joints from
    PyTorch's; `mpjpe` (cm) and `jitter` (m/s^3) against the truth, means of the clips; `mb`: the weights' or the graph's file, 10^6 bytes;
    `p50`, `p95`: ms of a frame, one thread; `frames`, `clips`: on how many.
    """
    count = min(len(tests.clips), max(1, round(frames * len(tests.clips) / sum(clip.length for clip in tests.clips))))
    group = tests.read([tests.clips[int(i)] for i in np.linspace(0, len(tests.clips) - 1, count)])
    steps: dict[str, Callable[[], Frame]] = {TORCH: _of_torch(Step(network))}
    sizes = {TORCH: predictor / "weights.safetensors"}
    for precision, (name, _) in predictor_folder.STEPS.items():
        steps[precision] = _of_graph(predictor_folder.read(predictor, precision).step)
        sizes[precision] = predictor / name
    answers: dict[str, list[tuple[Rows, Rows]]] = {name: [] for name in steps}
    times: dict[str, list[float]] = {name: [] for name in steps}
    with workers.single_threaded(), torch.no_grad():
        for clip in tests.inputs(group.clips):
            rows = np.array(clip, np.float32)
            for name, begin in steps.items():
                frame = begin()
                for number in range(-min(WARM_UP, len(rows)), len(rows)):
                    if number == 0:
                        frame = begin()
                    began = time.perf_counter()
                    answer = frame(rows[[max(number, 0)]])
                    if number >= 0:
                        times[name].append(1e3 * (time.perf_counter() - began))
                        answers[name].append(answer)
    found: dict[str, dict[str, float]] = {}
    first: tuple[Rows, formulas.Motion] | None = None
    for name, pairs in answers.items():
        six, betas = (np.concatenate(each) for each in zip(*pairs, strict=True))
        local = rotations.matrix_from_six(six.reshape(-1, skeleton.COUNT, 6), network.options.rot6d)
        motion = tests.motion((local, betas), group.true)
        first = first or (six, motion)
        moved = 100 * np.linalg.norm(motion.positions - first[1].positions, axis=-1)
        scores = formulas.per_clip(formulas.per_frame(motion, group.truth, short=True), group.lengths)
        found[name] = {
            "six": float(np.abs(six - first[0]).max()), "joint_mean": float(moved.mean()), "joint_most": float(moved.max()),
            **{each: float(np.nanmean(scores[each])) for each in ("mpjpe", "jitter")}, "mb": sizes[name].stat().st_size / 1e6,
            "p50": float(np.quantile(times[name], 0.5)), "p95": float(np.quantile(times[name], 0.95)),
            "frames": len(six), "clips": len(group.clips),
        }  # fmt: skip
    return found


def costs(networks: Mapping[str, Network], frames: int) -> dict[str, dict[str, float]]:
    """`ms` of a frame through each network's exported step (median of about `frames`, one thread, in turn) and its `mb`.

    Networks of the same options cost the same and are measured once.
    """
    keys = {name: json.dumps(asdict(network.options)) for name, network in networks.items()}
    row = np.random.default_rng(0).standard_normal((1, columns.WIDTH)).astype(np.float32)
    steps, sizes = {}, {}
    with tempfile.TemporaryDirectory(prefix="tenfold-") as folder:
        for number, (name, key) in enumerate(keys.items()):
            if key not in steps:
                path = Path(folder) / f"{number}.onnx"
                onnx_export.export(networks[name], path, "")
                steps[key], sizes[key] = _of_graph(OnnxStep(path))(), path.stat().st_size / 1e6
    times: dict[str, list[float]] = {key: [] for key in steps}
    while min(map(len, times.values())) < frames:
        for key, frame in steps.items():
            for number in range(-WARM_UP, TURN):
                began = time.perf_counter()
                frame(row)
                if number >= 0:
                    times[key].append(1e3 * (time.perf_counter() - began))
    return {name: {"ms": float(np.median(times[key])), "mb": sizes[key], "frames": len(times[key])} for name, key in keys.items()}


def _of_torch(step: Step) -> Callable[[], Frame]:
    def begin() -> Frame:
        state = step.start()

        def frame(x: Rows) -> tuple[Rows, Rows]:
            nonlocal state
            pose, betas, *rest = step(torch.from_numpy(x), *state)
            state = State(*rest)
            return pose.numpy(), betas.numpy()

        return frame

    return begin


def _of_graph(step: OnnxStep) -> Callable[[], Frame]:
    def begin() -> Frame:
        state = step.start()

        def frame(x: Rows) -> tuple[Rows, Rows]:
            nonlocal state
            made, state = step(x, state)
            return made.pose, made.betas

        return frame

    return begin

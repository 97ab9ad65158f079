"""Before the training: the inputs' mean and spread, and the linear map in closed form, a ridge regression for each sensor set.

The map is fitted through the output's low-pass filters: as both are linear, filtering its inputs is filtering its output. So it makes
up for their delay as well as a linear map can.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.core import seeding
from tenfold.motion_tracking import canonical, columns, config, filters, memory, sensors
from tenfold.motion_tracking.clips import Clip
from tenfold.motion_tracking.network import OUT, Network
from tenfold.motion_tracking.windows import Source

STD_FLOOR = 1e-3  # of a column that hardly changes
SETS = ("hmd", "hmd_2imus", "hmd_3imus")
"""The order of the map's three parts: each adds to those before it."""


Fits = dict[Any, dict[str, Tensor]]


def prepare(network: Network, source: Source, block: config.Model, fits: Fits | None = None) -> None:
    """Set the network's standardisation and linear map from at most `block.fit_frames` training frames.

    Networks that differ in other things only have the same ones: `fits` keeps what was found for them.
    """
    options = network.options
    of = (options.canonical, options.yaw_alpha, options.standardise, options.skip, tuple(options.skip_alphas), options.poles)
    key = (*of, options.pole_alpha, block.ridge, block.shape_ridge, block.fit_frames)
    known = fits.get(key) if fits is not None else None
    tensors = {name: network.get_buffer(name) for name in ("mean", "std")}
    if network.skip is not None:
        tensors |= {"weight": network.skip.weight, "bias": network.skip.bias}
    with torch.no_grad():
        if known is not None:
            for name, tensor in tensors.items():
                tensor.copy_(known[name])
            return
        clips = _some(source.clips.rows("train"), block.fit_frames)
        if options.standardise:
            _standardise(network, source, clips)
        if network.skip is not None:
            _linear(network, source, clips, block.ridge, block.shape_ridge)
    if fits is not None:
        fits[key] = {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _some(clips: Sequence[Clip], frames: int) -> list[Clip]:
    found: list[Clip] = []
    total = 0
    for at in seeding.rng(0, "linear map").permutation(len(clips)):
        if total + clips[at].length > frames and found:
            break
        found.append(clips[at])
        total += clips[at].length
    return found


def _standardise(network: Network, source: Source, clips: Sequence[Clip]) -> None:
    count, first, second = 0, torch.zeros(columns.WIDTH, dtype=torch.float64), torch.zeros(columns.WIDTH, dtype=torch.float64)
    for clip in clips:
        x, _, _ = _inputs(network, source.clip("x", clip)[None])
        x = x[0].double()
        count, first, second = count + len(x), first + x.sum(0), second + (x * x).sum(0)
    mean = first / count
    network.get_buffer("mean").copy_(mean)
    network.get_buffer("std").copy_((second / count - mean**2).clamp(min=0).sqrt().clamp(min=STD_FLOOR))


def _linear(network: Network, source: Source, clips: Sequence[Clip], ridge: float, shape_ridge: float) -> None:
    assert network.skip is not None
    wide = network.skip.in_features
    square, product = torch.zeros(wide + 1, wide + 1, dtype=torch.float64), torch.zeros(wide + 1, OUT, dtype=torch.float64)
    for clip in clips:
        x, towards, fresh = _inputs(network, source.clip("x", clip)[None])
        rows = network.linear_inputs(x, fresh)
        if network.poles is not None:
            for alpha in torch.sigmoid(network.poles[:, :1]):
                rows, _ = filters.smooth_scales(rows, alpha, rows[:, :1])
        rows = torch.nn.functional.pad(rows[0], (0, 1), value=1.0)
        pose = source.clip("pose6d", clip)
        if towards is not None:
            # the inverse turn
            pose[:, :6] = canonical.back(pose[:, :6], towards[0] * towards.new_tensor([1.0, -1.0]))
        wanted = torch.cat([pose, torch.tensor(clip.betas, dtype=torch.float32).expand(len(pose), -1)], -1)
        square += (rows.T @ rows).double()
        product += (rows.T @ wanted).double()
    solved = []
    for sensor_set in SETS:
        # a sensor that is not worn has no column, and changes no other one
        used = torch.from_numpy(np.append(np.tile(sensors.mask(sensor_set), wide // columns.WIDTH), True)).nonzero()[:, 0]
        found = square.new_zeros(wide + 1, OUT)
        for outputs, strength in ((slice(0, columns.POSE_WIDTH), ridge), (slice(columns.POSE_WIDTH, OUT), shape_ridge)):
            matrix = square[used[:, None], used]
            matrix.diagonal()[:-1].add_(strength)
            found[used, outputs] = torch.linalg.solve(matrix, product[used, outputs])
        solved.append(found.T)
    parts = torch.cat([solved[0], solved[1] - solved[0], solved[2] - solved[1]]).float()
    network.skip.weight.copy_(parts[:, :-1])
    network.skip.bias.copy_(parts[:, -1])


def _inputs(network: Network, x: Tensor) -> tuple[Tensor, Tensor | None, memory.Memory]:
    fresh = memory.Memory(network.start(1).memory, network.places)
    x, towards = network.inputs(x, fresh)
    return x, towards, fresh

"""Whole clips through a trained network: what evaluation scores."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tenfold.motion_tracking import sensors
from tenfold.motion_tracking import torch_rotations as rotations
from tenfold.motion_tracking.network import Network

Floats = npt.NDArray[np.float32]


def predict_clip(network: Network, x: Floats, sensor_set: str) -> tuple[Floats, Floats]:
    """Local rotations (T, 22, 3, 3) and betas (T, 16) of a clip x (T, 135), raw and unmasked, from a fresh state."""
    return next(predict_clips(network, [x], sensor_set, 1))


def predict_clips(network: Network, clips: Sequence[Floats], sensor_set: str, batch: int) -> Iterator[tuple[Floats, Floats]]:
    """`predict_clip` for several clips in their order, `batch` at a time. What a clip is batched with does not change its result."""
    kept = torch.from_numpy(sensors.mask(sensor_set))
    with torch.no_grad():
        for at in range(0, len(clips), batch):
            some = clips[at : at + batch]
            pose, betas, _ = network(torch.where(kept, padded(some), 0.0))
            local = rotations.matrix_from_six(pose.unflatten(-1, (-1, 6)), network.options.rot6d)
            for number, clip in enumerate(some):
                yield local[number, : len(clip)].numpy(), betas[number, : len(clip)].numpy()


def padded(clips: Sequence[Floats]) -> Tensor:
    """(B, longest, ...): clips one above the other, zeros behind the shorter ones, which a causal network does not see in time."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.array(clip, np.float32)) for clip in clips], batch_first=True)

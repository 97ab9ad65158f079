"""A multi-layer perceptron on the same three frames as the ridge (section 6, B5): what learning without a memory gives.

Two hidden layers, one set of weights for all sensor sets (each training row gets one of them), rows seen from the head's heading.
Written out in numpy: two hundred thousand weights need no more, and the stage starts without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import columns, heading, ridge, sensors

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
SLOPE = 0.01


@dataclass(frozen=True)
class Perceptron:
    """Weights and biases of the layers, first to last; `mean` and `scale` of the stacked rows (a masked column is 0 after them)."""

    mean: Float32
    scale: Float32
    weights: tuple[Float32, ...]
    biases: tuple[Float32, ...]

    def __call__(self, x: Float32) -> Float32:
        """Poses (N, 132) of standardised rows."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i:
                x = np.where(x > 0, x, SLOPE * x)
            x = x @ weight + bias
        return x

    def arrays(self) -> dict[str, npt.NDArray[np.floating]]:
        """What `of` reads."""
        layers = {f"w{i}": w for i, w in enumerate(self.weights)} | {f"b{i}": b for i, b in enumerate(self.biases)}
        return {"mean": self.mean, "scale": self.scale, **layers}

    @classmethod
    def of(cls, arrays: dict[str, npt.NDArray[np.floating]]) -> "Perceptron":
        """From what `arrays` gave."""
        count = sum(name.startswith("w") for name in arrays)
        layers = [tuple(arrays[f"{kind}{i}"].astype(np.float32) for i in range(count)) for kind in "wb"]
        return cls(arrays["mean"].astype(np.float32), arrays["scale"].astype(np.float32), layers[0], layers[1])


def masks(frames: int) -> Float32:
    """Columns (3, 135 frames) that each sensor set leaves."""
    return np.stack([np.tile(sensors.mask(name), frames) for name in columns.MASKS]).astype(np.float32)


def fit(
    x: npt.NDArray[np.floating],
    pose6d: npt.NDArray[np.floating],
    lengths: Sequence[int],
    lags: Sequence[int],
    *,
    hidden: int,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> tuple[Perceptron, float]:
    """Train on rows of clips that lie one behind the other; also the mean loss (L1 on 6D) of the last tenth of the steps.

    The same seed gives the same weights, with another number of threads up to rounding.
    """
    stacked, yaw = heading.stack(x, lengths, lags, canonical=True)
    target = heading.turn_root(pose6d, -yaw).astype(np.float32)
    mean, spread = stacked.mean(axis=0), stacked.std(axis=0)
    scale = np.where(spread > ridge.STILL, 1 / np.maximum(spread, ridge.STILL), 0.0)
    given = ((stacked - mean) * scale).astype(np.float32)
    keep = masks(1 + len(lags))
    draw = np.random.default_rng(seed)
    widths = [given.shape[1], hidden, hidden, columns.POSE_WIDTH]
    weights = [draw.normal(0, np.sqrt(2 / a), (a, b)).astype(np.float32) for a, b in zip(widths, widths[1:], strict=False)]
    biases = [np.zeros(b, np.float32) for b in widths[1:]]
    # it begins near the mean pose
    weights[-1] *= 0.1
    biases[-1] += target.mean(axis=0)
    adam, last = _Adam([*weights, *biases]), []
    for step in range(steps):
        rows, sets = draw.integers(0, len(given), batch), draw.integers(0, len(keep), batch)
        loss, gradients = _gradients(weights, biases, given[rows] * keep[sets], target[rows])
        adam.step(gradients, lr * 0.5 * (1 + np.cos(np.pi * step / steps)))
        if step >= steps - max(1, steps // 10):
            last.append(loss)
    return Perceptron(mean.astype(np.float32), scale.astype(np.float32), tuple(weights), tuple(biases)), float(np.mean(last))


def _gradients(weights: Sequence[Float32], biases: Sequence[Float32], x: Float32, target: Float32) -> tuple[float, list[Float32]]:
    """L1 loss and its gradients: of the weights, then of the biases."""
    inputs, slopes = [x], []
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        out = inputs[-1] @ weight + bias
        if i + 1 < len(weights):
            slopes.append(np.where(out > 0, np.float32(1), np.float32(SLOPE)))
            inputs.append(out * slopes[-1])
    gap = out - target
    back = (np.sign(gap) / gap.size).astype(np.float32)
    by_weight: list[Float32] = []
    by_bias: list[Float32] = []
    for i in reversed(range(len(weights))):
        by_weight.insert(0, inputs[i].T @ back)
        by_bias.insert(0, back.sum(axis=0))
        if i:
            back = (back @ weights[i].T) * slopes[i - 1]
    return float(np.abs(gap).mean()), by_weight + by_bias


class _Adam:
    """Kingma and Ba 2015, with their constants; changes the arrays in place."""

    def __init__(self, arrays: Sequence[Float32]) -> None:
        self._arrays = arrays
        self._first = [np.zeros_like(a) for a in arrays]
        self._second = [np.zeros_like(a) for a in arrays]
        self._count = 0

    def step(self, gradients: Sequence[Float32], lr: float) -> None:
        self._count += 1
        one, two = 1 - 0.9**self._count, 1 - 0.999**self._count
        for array, gradient, first, second in zip(self._arrays, gradients, self._first, self._second, strict=True):
            first += np.float32(0.1) * (gradient - first)
            second += np.float32(0.001) * (gradient * gradient - second)
            array -= (lr / one) * first / (np.sqrt(second / two) + 1e-8)


def predict(
    net: Perceptron, x: npt.NDArray[np.floating], lengths: Sequence[int], sensor_set: str, lags: Sequence[int]
) -> npt.NDArray[np.floating]:
    """Poses (N, 132) of clips that lie one behind the other."""
    stacked, yaw = heading.stack(x, lengths, lags, canonical=True)
    keep = np.tile(sensors.mask(sensor_set), 1 + len(lags))
    given = np.where(keep, (stacked - net.mean) * net.scale, 0.0).astype(np.float32)
    return heading.turn_root(net(given), yaw)

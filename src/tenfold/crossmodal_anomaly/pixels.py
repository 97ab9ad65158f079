"""Training pixels: the cached features of a set of parts, normalised, in memory as far as they fit."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.operators import dense, operators, tensor

# What a training may keep in memory, all its caches together; parts beyond it are rebuilt from their tokens whenever a batch needs them.
# The numbers are the same.
CACHE_BYTES = 1 << 30

Held = tuple[Tensor, ...]


class PixelCache:
    """Normalised features `(z2, z3)` of the foreground pixels of some parts, by number.

    On a CPU the dense rows are kept. On a GPU tokens and sparse operators are kept instead, a tenth of the size, and multiplied there.

    Attributes:
        ids: the parts, in the order of their numbers.
        held: parts kept in memory so far.
    """

    def __init__(
        self,
        folder: FeatureFolder,
        ids: Sequence[str],
        depth: int,
        network: CrossModal,
        budget: int = CACHE_BYTES,
        compact: bool | None = None,
    ) -> None:
        self.ids = list(ids)
        self._folder, self._depth, self._network, self._left = folder, depth, network, budget
        self._device = network.mean2d.device
        self._compact = self._device.type != "cpu" if compact is None else compact
        self._kept: dict[int, Held] = {}

    @property
    def held(self) -> int:
        return len(self._kept)

    def pixels(self, number: int) -> tuple[Tensor, Tensor]:
        """`(pixels, channels2d)` and `(pixels, channels3d)` of one part."""
        kept = self._kept.get(number)
        if kept is None:
            kept = self._load(number)
            size = sum(_bytes(each) for each in kept)
            if size <= self._left:
                self._kept[number] = kept
                self._left -= size
        if not self._compact:
            return kept[0], kept[1]
        tokens2d, tokens3d, interpolate, spread = kept
        return self._network.normalise(interpolate @ tokens2d, spread @ tokens3d)

    def batch(self, numbers: Sequence[int], per_part: int = 0) -> tuple[Tensor, Tensor]:
        """Pixels of several parts, one part after the other; `per_part` random ones of each (PyTorch's global generator), 0 for all."""
        rows2, rows3 = [], []
        for number in numbers:
            z2, z3 = self.pixels(number)
            if 0 < per_part < len(z2):
                # drawn on the CPU, whose generator a checkpoint restores bit for bit
                drawn = torch.randperm(len(z2))[:per_part].to(z2.device)
                z2, z3 = z2[drawn], z3[drawn]
            rows2.append(z2)
            rows3.append(z3)
        return torch.cat(rows2), torch.cat(rows3)

    def _load(self, number: int) -> Held:
        part = self._folder.part(self.ids[number])
        depth = self._depth or part.depth
        made = operators(part)
        if not self._compact:
            f2, f3 = (torch.from_numpy(rows) for rows in dense(part, depth, made))
            return self._network.normalise(f2, f3)
        tokens2d = part.tokens2d[depth]
        tokens = (torch.from_numpy(tokens2d.reshape(-1, tokens2d.shape[-1])), torch.from_numpy(part.tokens3d[depth]))
        return (*(t.to(self._device) for t in tokens), tensor(made.interpolate, self._device), tensor(made.spread, self._device))


def _bytes(held: Tensor) -> int:
    parts = (held._indices(), held._values()) if held.is_sparse else (held,)
    return sum(part.numel() * part.element_size() for part in parts)

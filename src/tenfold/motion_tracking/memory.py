"""What the filters carry from frame to frame, as one row of numbers a sequence."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tenfold.motion_tracking import columns, config, skeleton

Layout = dict[str, tuple[int, int]]


def layout(options: config.Network) -> Layout:
    """Where each filter's last value stands in the row; empty if there is no filter. The first number says whether a frame was seen."""
    widths = {}
    if options.canonical != "none":
        widths["yaw"] = 2
    if options.skip != "none":
        widths["skip"] = columns.WIDTH * len(options.skip_alphas)
    for pole in range(options.poles):
        widths[f"pole{pole}"] = columns.POSE_WIDTH
    if options.shape_alpha < 1:
        widths["shape"] = skeleton.BETAS
    found: Layout = {}
    at = 1
    for name, width in widths.items():
        found[name] = (at, at + width)
        at += width
    return found


def width(places: Mapping[str, tuple[int, int]]) -> int:
    """Numbers in a row."""
    return max((end for _, end in places.values()), default=0)


class Memory:
    """One row (B, M) being read and written anew."""

    def __init__(self, row: Tensor, places: Layout) -> None:
        self._row, self._places = row, places
        self._kept: dict[str, Tensor] = {}

    def before(self, name: str, first: Tensor) -> Tensor:
        """The filter's value before this frame (B, C); on a fresh start its first input."""
        start, end = self._places[name]
        return torch.where(self._row[:, :1] > 0, self._row[:, start:end], first)

    def keep(self, name: str, last: Tensor) -> None:
        """Note the filter's value after the last frame (B, C)."""
        self._kept[name] = last

    def made(self) -> Tensor:
        """The new row (B, M)."""
        if not self._places:
            return self._row
        return torch.cat([torch.ones_like(self._row[:, :1]), *(self._kept[name] for name in self._places)], -1)

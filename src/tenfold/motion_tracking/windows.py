"""Training windows, cut at random places from the memory-mapped features; only the rows of a batch are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import body, sensors
from tenfold.motion_tracking.clips import Clip, Clips
from tenfold.motion_tracking.losses import Truth

CLEAN = "clean"


@dataclass(frozen=True)
class Batch:
    """x (B, T, 135), masked, and the truth."""

    x: Tensor
    truth: Truth


class Source:
    """A features folder: its clips, and the neutral body's rest joints (22, 3) and modes (22, 3, 16)."""

    def __init__(self, folder: Path) -> None:
        """Raises BadData if a file is missing, Corrupt if one does not fit."""
        self.clips = Clips.open(folder)
        self.body = body.load_small(folder / "body.npz")
        self.rest, self.modes = (torch.from_numpy(np.array(array, np.float32)) for array in (self.body.rest, self.body.modes))

    def clip(self, name: str, clip: Clip) -> Tensor:
        """All rows of a clip in one of the arrays x, pose6d, global6d, pos."""
        return torch.from_numpy(np.array(getattr(self.clips, name)[clip.rows], np.float32))

    def rest_joints(self, clips: Sequence[Clip]) -> Tensor:
        """Rest joints (clips, 22, 3) of the neutral body in each clip's shape."""
        return torch.from_numpy(body.joints(self.body, np.array([clip.betas for clip in clips])).astype(np.float32))


class Windows:
    """Items of a training: `per_clip` windows of each training clip that is long enough, placed anew each time they are asked for.

    Where, with which sensors and at which noise level is drawn from PyTorch's global generator, whose state a checkpoint keeps.
    """

    def __init__(
        self, source: Source, frames: int, per_clip: int, sensor_sets: Sequence[str], masks: str, switch: float, noise: Sequence[str]
    ) -> None:
        """Raises BadData if no clip is long enough, UsageError for a noise level that the features lack."""
        self.source, self.frames, self.masks, self.switch = source, frames, masks, switch
        self.clips = [clip for clip in source.clips.rows("train") if clip.length >= frames]
        if not self.clips:
            raise BadData(f"{source.clips.folder}: no training clip has {frames} frames; add longer clips or lower model.window")
        for level in noise:
            if not all(source.clips.has(clip, level) for clip in self.clips):
                raise UsageError(f"model.noise names {level!r}, but the training clips have no such rows; add it to features.train_noise")
        self.noise = [CLEAN, *noise]
        self.items = len(self.clips) * per_clip
        self._starts = np.array([clip.start for clip in self.clips])
        self._free = torch.tensor([clip.length - frames + 1 for clip in self.clips])
        self._joints = source.rest_joints(self.clips)
        self._kept = torch.from_numpy(np.stack([sensors.mask(name) for name in sensor_sets]))

    def batch(self, index: npt.NDArray[np.int64]) -> Batch:
        """The windows of these items; with masks "all" every window once with each sensor set."""
        numbers = np.asarray(index) % len(self.clips)
        offsets = (torch.rand(len(numbers), dtype=torch.float64) * self._free[numbers]).long().numpy()
        rows = (self._starts[numbers] + offsets)[:, None] + np.arange(self.frames)
        found = self.source.clips
        x = self._sensors(numbers, offsets, rows)
        pose, world, positions = (torch.from_numpy(array[rows]) for array in (found.pose6d, found.global6d, found.pos))
        joints, sets = self._joints[numbers], len(self._kept)
        if self.masks == "all":
            x, pose, world, positions, joints = (each.repeat(sets, *[1] * (each.ndim - 1)) for each in (x, pose, world, positions, joints))
            chosen = torch.arange(sets).repeat_interleave(len(numbers))
        else:
            chosen = torch.randint(sets, (len(numbers),))
        kept = self._kept[chosen][:, None]
        if self.switch and sets > 1:
            kept = self._switched(kept)
        return Batch(torch.where(kept, x, 0.0), Truth(pose, world, positions, joints))

    def name(self, item: int) -> str:
        """The clip that an item is cut from."""
        return self.clips[item % len(self.clips)].id

    def _sensors(self, numbers: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Tensor:
        x = torch.from_numpy(self.source.clips.x[rows])
        if len(self.noise) > 1:
            for item, level in enumerate(torch.randint(len(self.noise), (len(numbers),)).tolist()):
                if level:
                    noisy = self.source.clips.features(self.clips[numbers[item]], self.noise[level])
                    x[item] = torch.from_numpy(np.array(noisy[offsets[item] : offsets[item] + self.frames]))
        return x

    def _switched(self, kept: Tensor) -> Tensor:
        """Some windows go over to another sensor set at a random frame: (B, 1, 135) to (B, T, 135)."""
        count = len(kept)
        other = self._kept[torch.randint(len(self._kept), (count,))][:, None]
        when = torch.randint(1, self.frames, (count, 1, 1))
        when = torch.where(torch.rand(count, 1, 1) < self.switch, when, self.frames)
        return torch.where(torch.arange(self.frames)[:, None] < when, kept, other)

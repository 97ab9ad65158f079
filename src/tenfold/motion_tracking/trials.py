"""The test clips and the scoring of one answer to all of them, a group of clips at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import BadData
from tenfold.motion_tracking import body, formulas, kinematics, metrics, rotations, skeleton
from tenfold.motion_tracking.clips import Clip, Clips
from tenfold.motion_tracking.formulas import Motion

Float = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Answer = tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]
"""Local rotations (N, 22, 3, 3) and shapes (N, 16)."""


KEPT = 4
"""Groups whose truth stays in memory."""


@dataclass(frozen=True)
class Group:
    """Some test clips one behind the other, with the truth: head-aligned by construction, since positions are where they were."""

    clips: tuple[Clip, ...]
    pose6d: Rows
    truth: formulas.Truth

    @property
    def true(self) -> Motion:
        """The true motion."""
        return self.truth.motion

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip."""
        return [clip.length for clip in self.clips]


@dataclass(frozen=True)
class Scored:
    """What one answer gave: every measure a clip (clips,); distance (cm) and angle (degrees) of every joint a clip (clips, 22)."""

    clips: dict[str, Float]
    distance: Float
    angle: Float


@dataclass(frozen=True)
class Trials:
    """Test clips of a features folder; `rows`: about how many rows are scored at once."""

    data: Clips
    clips: tuple[Clip, ...]
    form: body.Body
    rows: int
    _kept: dict[int, Group] = field(default_factory=dict, compare=False)

    @classmethod
    def open(cls, features: Path, each: int, rows: int) -> "Trials":
        """`each` test clips of every source, spread over the index (0: all). BadData without a test clip."""
        data = Clips.open(features)
        found = data.rows("test")
        if not found:
            raise BadData(f"{features} has no clip of the split `test`; there is nothing to evaluate on.")
        picked: list[Clip] = []
        for source in sorted({clip.source for clip in found}):
            mine = [clip for clip in found if clip.source == source]
            take = range(len(mine)) if not each or each >= len(mine) else np.linspace(0, len(mine) - 1, each).round().astype(int).tolist()
            picked += [mine[i] for i in take]
        return cls(data, tuple(sorted(picked, key=lambda clip: clip.start)), body.load_small(features / "body.npz"), rows)

    @cached_property
    def groups(self) -> list[tuple[Clip, ...]]:
        """Clips in groups of about `rows` rows."""
        found: list[tuple[Clip, ...]] = []
        group: list[Clip] = []
        for clip in self.clips:
            group.append(clip)
            if sum(c.length for c in group) >= self.rows:
                found.append(tuple(group))
                group = []
        return [*found, tuple(group)] if group else found

    def noisy(self, level: str) -> "Trials":
        """The clips that have rows at a noise level; these trials with the truth they have read, if all have."""
        there = tuple(c for c in self.clips if self.data.has(c, level))
        return self if there == self.clips else Trials(self.data, there, self.form, self.rows)

    def read(self, clips: Sequence[Clip]) -> Group:
        """The truth of some clips."""
        pose = np.concatenate([self.data.pose6d[clip.rows] for clip in clips])
        positions = np.concatenate([self.data.pos[clip.rows] for clip in clips]).astype(np.float64)
        local = rotations.matrix_from_six(pose.reshape(len(pose), skeleton.COUNT, 6))
        return Group(tuple(clips), pose, formulas.Truth.of(Motion(local, positions), [clip.length for clip in clips]))

    def each(self) -> Iterator[Group]:
        """Group by group; a few groups stay in memory, more are read again each time."""
        for i, clips in enumerate(self.groups):
            if i not in self._kept:
                group = self.read(clips)
                if len(self._kept) < KEPT:
                    self._kept[i] = group
            yield self._kept.get(i) or group

    def inputs(self, clips: Sequence[Clip], noise: str = metrics.CLEAN) -> list[Rows]:
        """Rows (T, 135) of each clip, all sensors."""
        return [np.asarray(self.data.features(clip, noise)) for clip in clips]

    def motion(self, answer: Answer, true: Motion) -> Motion:
        """The skeleton of an answer on the body, its head where the true one is."""
        local, betas = answer
        _, positions = kinematics.forward(local, body.joints(self.form, betas), np.zeros(3))
        return Motion(np.asarray(local, np.float64), kinematics.align_head(positions, true.positions[:, skeleton.HEAD]))

    def score(self, answer: Callable[[Group], Answer | Motion], *, settle: bool = False, short: bool = False) -> Scored:
        """Score `answer`, which is asked group by group. `settle`: also when the bone lengths settle; `short`: few formulas, for variants."""
        parts: list[dict[str, Float]] = []
        distances, angles = [], []
        for group in self.each():
            given = answer(group)
            found = given if isinstance(given, Motion) else self.motion(given, group.true)
            frames = formulas.per_frame(found, group.truth, short=short)
            one: dict[str, Float] = formulas.per_clip(frames, group.lengths)
            spans = [slice(int(at), int(at) + n) for at, n in zip(formulas.starts(group.lengths), group.lengths, strict=True)]
            one["mpjpe_p95"] = np.array([np.quantile(frames["mpjpe"][span], 0.95) for span in spans])
            if settle:
                one["settle"] = np.array([formulas.settle(found.positions[span]) for span in spans], np.float64)
            far, turned = formulas.per_joint(found, group.true)
            distances.append(np.stack([far[span].mean(axis=0) for span in spans]))
            angles.append(np.stack([turned[span].mean(axis=0) for span in spans]))
            parts.append(one)
        clips = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Scored(clips, np.concatenate(distances), np.concatenate(angles))


def arrays(scored: Scored) -> dict[str, npt.NDArray[Any]]:
    """For an npz; `restored` reads it."""
    return {f"clips/{name}": values for name, values in scored.clips.items()} | {"distance": scored.distance, "angle": scored.angle}


def restored(given: dict[str, npt.NDArray[Any]]) -> Scored:
    """What `arrays` stored."""
    clips = {name.removeprefix("clips/"): values for name, values in given.items() if name.startswith("clips/")}
    return Scored(clips, given["distance"], given["angle"])

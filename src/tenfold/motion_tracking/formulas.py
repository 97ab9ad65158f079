"""What is measured of a motion, frame by frame (section 7): the official formulas and the honest ones beside them.

Clips lie one behind the other in one array; nothing is differenced across their borders. All in the world frame, z up, metres in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import rotations, skeleton

Float = npt.NDArray[np.float64]

UPPER = (3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
LOWER = (0, 1, 2, 4, 5, 7, 8, 10, 11)
HANDS = (skeleton.LEFT_WRIST, skeleton.RIGHT_WRIST)
FEET = (10, 11)
SOLES = (7, 8, 10, 11)
HINGES = (4, 5, 18, 19)
BONES = tuple(range(1, skeleton.COUNT))

CONTACT_HEIGHT = 0.03
"""A true foot joint touches the ground if it is within this of the clip's lowest (m) ..."""
CONTACT_SPEED = 0.30
"""... and slower than this (m/s)."""
FLIP = 30.0
"""Degrees that a knee or elbow turns from one frame to the next beyond what the true one turns, from which it has flipped."""
SETTLED = 0.05
"""Bone lengths within this share of their last value have settled."""


@dataclass(frozen=True)
class Motion:
    """Poses of N frames: `local` rotations (N, 22, 3, 3) and world `positions` (N, 22, 3), in m, the head joint where it is tracked."""

    local: npt.NDArray[np.floating]
    positions: Float

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, start: int, stop: int) -> "Motion":
        """Frames `start` to `stop`."""
        return Motion(self.local[start:stop], self.positions[start:stop])


def starts(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """First row of each clip."""
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)


def difference(values: npt.NDArray[np.floating], lengths: Sequence[int], order: int = 1) -> npt.NDArray[np.floating]:
    """Difference of that order along the frames `(N, ...)`; NaN in the first `order` frames of each clip."""
    out = np.full(values.shape, np.nan, values.dtype)
    if len(values) > order:
        out[order:] = np.diff(values, order, axis=0)
    for first, length in zip(starts(lengths), lengths, strict=True):
        out[first : first + min(order, length)] = np.nan
    return out


def angles(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Degrees between rotations (..., 3, 3), from the chord |A - B| = 2 sqrt(2) sin(angle / 2): exact also where they nearly agree."""
    gap = a - b
    chord = np.sqrt(np.einsum("...ij,...ij", gap, gap))
    return np.degrees(2 * np.arcsin(np.minimum(chord / np.sqrt(8.0), 1.0)))


def vectors(local: npt.NDArray[np.floating]) -> Float:
    """Axis-angle (N, 21, 3), in rad, of joints 1 to 21."""
    m = np.asarray(local[:, 1:], np.float64)
    twice = np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], axis=-1)
    sine = 0.5 * np.sqrt(np.einsum("...i,...i", twice, twice))
    cosine = 0.5 * (m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2] - 1)
    angle = np.arctan2(sine, cosine)
    out: Float = twice * (0.5 * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-12), 1.0))[..., None]
    # near half a turn the axis is lost in the rounding of this short way
    hard = cosine < -0.95
    if hard.any():
        out[hard] = rotations.axis_angle_from_matrix(m[hard])
    return out


def official_angles(found: Float, true: Float) -> Float:
    """Mean absolute difference (degrees, N) of axis-angle components (N, 21, 3), wrapped at pi (official code)."""
    gap = np.abs(found - true)
    return np.degrees(np.where(gap > np.pi, 2 * np.pi - gap, gap).mean(axis=(1, 2)))


def bones(positions: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Length (m) of the 21 bones (N, 21)."""
    parents = np.array(skeleton.PARENTS)[list(BONES)]
    return _norm(positions[:, list(BONES)] - positions[:, parents])


def per_joint(found: Motion, true: Motion) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Distance (cm) and angle (degrees) of every joint (N, 22)."""
    return 100 * _norm(found.positions - true.positions), angles(found.local, true.local)


@dataclass(frozen=True)
class Truth:
    """What the formulas need of the true motion of clips that lie one behind the other, worked out once for many predictions."""

    motion: Motion
    lengths: tuple[int, ...]
    vectors: Float
    velocity: npt.NDArray[np.floating]
    bones: npt.NDArray[np.floating]
    ground: Float
    touching: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, motion: Motion, lengths: Sequence[int], rate: float = skeleton.RATE_HZ) -> "Truth":
        """From N frames of clips of `lengths`. ValueError if these do not add up to N."""
        if sum(lengths) != len(motion):
            raise ValueError(f"{len(motion)} frames in clips of {sum(lengths)}")
        velocity = rate * difference(motion.positions, lengths)
        low = np.minimum.reduceat(motion.positions[:, list(SOLES), 2].min(axis=1), starts(lengths))
        ground = np.repeat(low, lengths).astype(np.float64)
        feet = list(FEET)
        slow = np.linalg.norm(velocity[:, feet], axis=-1) < CONTACT_SPEED
        touching = slow & (motion.positions[:, feet, 2] < ground[:, None] + CONTACT_HEIGHT)
        return cls(motion, tuple(lengths), vectors(motion.local), velocity, bones(motion.positions), ground, touching)


def per_frame(found: Motion, truth: Truth, rate: float = skeleton.RATE_HZ, short: bool = False) -> dict[str, npt.NDArray[np.floating]]:
    """Every formula, an (N,) array each, NaN where a frame has no value (no earlier frame, no contact).

    mpjre_official, mpjre (degrees); mpjpe, h_pe, u_pe, l_pe, r_pe, bone_error, floor (cm); mpjve, foot_slide (cm/s); jitter (m/s^3);
    flips (a minute). `short`: only mpjre, mpjpe, l_pe, mpjve, jitter and bone_error. ValueError if the motions differ in length.
    """
    true, lengths = truth.motion, truth.lengths
    if len(found) != len(true):
        raise ValueError(f"{len(found)} frames were found, {len(true)} are true")
    distance, angle = per_joint(found, true)
    velocity = rate * difference(found.positions, lengths)
    third = rate**3 * difference(found.positions, lengths, 3)
    out = {
        "mpjre": angle[:, 1:].mean(axis=1),
        "mpjpe": distance.mean(axis=1),
        "l_pe": distance[:, list(LOWER)].mean(axis=1),
        "mpjve": 100 * _norm(velocity - truth.velocity).mean(axis=1),
        "jitter": _norm(third).mean(axis=1),
        "bone_error": 100 * np.abs(bones(found.positions) - truth.bones).mean(axis=1),
    }
    if short:
        return out
    out |= {
        "mpjre_official": official_angles(vectors(found.local), truth.vectors),
        "h_pe": distance[:, list(HANDS)].mean(axis=1),
        "u_pe": distance[:, list(UPPER)].mean(axis=1),
        "r_pe": distance[:, skeleton.PELVIS],
        "floor": 100 * np.maximum(truth.ground - found.positions[:, list(SOLES), 2].min(axis=1), 0.0),
        "flips": 60 * rate * _flips(found.local[:, list(HINGES)], true.local[:, list(HINGES)], lengths),
    }
    slide = 100 * _norm(velocity[:, list(FEET), :2])
    count = truth.touching.sum(axis=1)
    mean = np.where(truth.touching, slide, 0.0).sum(axis=1) / np.maximum(count, 1)
    return out | {"foot_slide": np.where(count > 0, mean, np.nan)}


def _norm(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    squared: npt.NDArray[np.floating] = np.sqrt(np.einsum("...i,...i", vectors, vectors))
    return squared


def _flips(found: npt.NDArray[np.floating], true: npt.NDArray[np.floating], lengths: Sequence[int]) -> Float:
    """Knees and elbows that flip in a frame (N,)."""
    if len(found) < 2:
        return np.full(len(found), np.nan)
    turned = angles(found[1:], found[:-1]) > FLIP + angles(true[1:], true[:-1])
    out = np.concatenate([[0.0], turned.sum(axis=1).astype(np.float64)])
    out[starts(lengths)] = np.nan
    return out


def settle(positions: npt.NDArray[np.floating]) -> int:
    """Frames until all bone lengths of one clip stay within SETTLED of their last value."""
    lengths = bones(positions)
    off = (np.abs(lengths - lengths[-1]) > SETTLED * lengths[-1]).any(axis=1)
    return int(np.flatnonzero(off)[-1]) + 1 if off.any() else 0


def per_clip(frames: dict[str, npt.NDArray[np.floating]], lengths: Sequence[int]) -> dict[str, Float]:
    """Mean of every formula over each clip's frames (clips,), NaN where a clip has no value."""
    first = starts(lengths)
    out = {}
    for name, values in frames.items():
        known = np.isfinite(values)
        count = np.add.reduceat(known.astype(np.int64), first)
        total = np.add.reduceat(np.where(known, values, 0.0).astype(np.float64), first)
        out[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out


def score(found: Motion, true: Motion, rate: float = skeleton.RATE_HZ) -> dict[str, float]:
    """Means of every formula over one clip."""
    return {
        name: float(values[0]) for name, values in per_clip(per_frame(found, Truth.of(true, [len(true)], rate), rate), [len(true)]).items()
    }

"""The order of views and points, and turns of the images, that bring a sample nearest to a start system's image: shorter paths to it.

Which view and point is the first is a choice. Where all of K but the focal length is known, so is the turn of each view about the principal
point, and its mirror image: distances do not see them.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Int = npt.NDArray[np.int64]
# Kinds of problems whose images may be turned; samples that are compared with all orders at once.
_TURNING = ("none", "f")
_BATCH = 64


@dataclass(frozen=True)
class Nearest:
    """`x` (samples, views, points, 2): `x[s, i, j]` is the sample's point `points[s, j]` in its view `views[s, i]`, maybe turned."""

    x: Float
    views: Int
    points: Int

    def restored(self, sample: Int, depths: Float) -> Float:
        """Depths (candidates, views, points) of the samples (candidates,) in their own order, the first of all at depth 1."""
        out = np.empty_like(depths)
        at = np.arange(len(depths))[:, None, None]
        out[at, self.views[sample][:, :, None], self.points[sample][:, None, :]] = depths
        return np.asarray(out / out[:, :1, :1])


def nearest(kind: str, x: Float, base: Complex, rank: int = 0) -> Nearest:
    """Samples `x` (samples, views, points, 2), normalised, as near as they get to `base` (views, points, 2) by the sum of squares.

    `rank`: the order that comes nearest (0), second (1), ...
    """
    views, points = base.shape[:2]
    turning = kind in _TURNING
    orders = np.array(list(permutations(range(points))))
    seats = np.array(list(permutations(range(views))))
    here = base.real[..., 0] + 1j * base.real[..., 1]
    seen = x[..., 0] + 1j * x[..., 1]
    made = [_nearest(each, here, orders, seats, turning, rank) for each in np.split(seen, range(_BATCH, len(seen), _BATCH))]
    z, views_of, points_of = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return Nearest(np.stack([z.real, z.imag], axis=-1), views_of, points_of)


def _nearest(seen: Complex, here: Complex, orders: Int, seats: Int, turning: bool, rank: int) -> tuple[Complex, Int, Int]:
    ordered = np.moveaxis(seen[:, :, orders], 2, 1)
    # the sum over points of z conj(b), (samples, orders, views, views of the base): its size is what the best turn makes of its real part
    plain = ordered @ here.conj().T
    gain = np.maximum(np.abs(plain), np.abs(ordered @ here.T)) if turning else plain.real
    total = sum(gain[:, :, seats[:, i], i] for i in range(len(here)))
    flat = np.reshape(total, (len(seen), -1))
    best = np.argmax(flat, axis=1) if rank == 0 else np.argsort(-flat, axis=1, kind="stable")[:, rank]
    order, seat = best // len(seats), best % len(seats)
    views, points = seats[seat], orders[order]
    z = seen[np.arange(len(seen))[:, None, None], views[:, :, None], points[:, None, :]]
    if turning:
        straight, mirrored = (z * here.conj()).sum(axis=-1), (z * here).sum(axis=-1)
        mirror = np.abs(mirrored) > np.abs(straight)
        size = np.where(mirror, mirrored, straight)
        turn = np.where(size == 0, 1.0, size.conj() / np.where(size == 0, 1.0, np.abs(size)))
        z = z * turn[..., None]
        z = np.where(mirror[..., None], z.conj(), z)
    return z, views, points

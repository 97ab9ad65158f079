"""What is wrong with a sensor's reading, and a record of all that was wrong in a stream."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import columns
from tenfold.motion_tracking.rotations import matrix_from_quaternion
from tenfold.motion_tracking.sensors import Readings
from tenfold.motion_tracking.stream import COUNT, POSED, Reading

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NOT_UNIT = 1e-2
"""How far a quaternion's length may be from 1 (section 3.4)."""
FAR_M = 100.0
HARD_M_S2 = 500.0
"""No person's limb is accelerated more."""

MOST_DETAIL = 120

SAYS = {
    "unread": "lines that are no frame",
    "no_time": "frames without a time",
    "duplicate": "frames with the time of the frame before",
    "backwards": "frames with a time before the frame before",
    "clock": "restarts of the sensors' clock",
    "gap": "gaps of more than two frames",
    "long_gap": "gaps of more than 100 ms (times are in seconds)",
    "not_finite": "readings with NaN or infinity",
    "quaternion": "readings whose quaternion is not of unit length",
    "zeros": "readings that are all zero",
    "absurd": "readings that no person's movement gives",
    "lost": "losses (more than 100 ms without a usable reading)",
    "back": "returns",
    "network": "frames in which the network gave no finite pose",
}


class Checked(NamedTuple):
    """One frame: what each sensor says, and whether it says something usable (6,)."""

    reading: Readings
    usable: Bools


class Record:
    """How often each thing was wrong, and where first. Whatever is wrong, the stream goes on."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], tuple[int, str]] = {}

    def note(self, what: str, frame: int, sensor: str = "", detail: str = "") -> None:
        """Count one occurrence of a key of SAYS. Details may come from a file: they are cut, and shown without control characters."""
        detail = "".join(each if each.isprintable() else "?" for each in detail[:MOST_DETAIL])
        count, first = self.found.get((what, sensor), (0, f"frame {frame}" + (f", {detail}" if detail else "")))
        self.found[what, sensor] = (count + 1, first)

    def lines(self) -> list[str]:
        """In words, a line for each thing and sensor."""
        return [
            f"{sensor + ': ' if sensor else ''}{SAYS[what]}: {count}, first at {first}"
            for (what, sensor), (count, first) in self.found.items()
        ]


def check(read: Reading, frame: int, record: Record) -> Checked:
    """Judge a frame sensor by sensor. What is not usable is filled with a reading that harms nobody."""
    values = read.values
    turned = np.empty((COUNT, 4))
    turned[:POSED], turned[POSED:] = values[:POSED, 3:], values[POSED:, :4]
    moved = np.empty((COUNT, 3))
    moved[:POSED], moved[POSED:] = values[:POSED, :3], values[POSED:, 4:]
    finite = np.isfinite(values)
    usable: Bools = np.asarray(finite.all(axis=1), np.bool_)
    if not usable.all():
        silent = np.isnan(values).all(axis=1)
        _note(record, "not_finite", ~usable & ~silent, frame, values)
    # A runtime without tracking says 0, 0, 0, often with the identity.
    nothing = np.asarray(~moved.any(axis=1), np.bool_)
    nothing[POSED:] &= ~turned[POSED:].any(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.sqrt(np.square(turned).sum(axis=1))
        apart = np.logical_not(np.abs(length - 1) <= NOT_UNIT)
        limit = np.repeat([FAR_M, HARD_M_S2], [POSED, COUNT - POSED])
        absurd = np.sqrt(np.square(moved).sum(axis=1)) > limit
    for what, wrong in (("zeros", nothing), ("quaternion", apart), ("absurd", absurd)):
        seen: Bools = np.logical_and(wrong, usable)
        if seen.any():
            _note(record, what, seen, frame, values)
            usable = np.logical_and(usable, np.logical_not(seen))
    turned = np.where(usable[:, None], turned, _UPRIGHT)
    moved = np.where(usable[:, None], moved, 0.0)
    return Checked(Readings(matrix_from_quaternion(turned), moved[:POSED], moved[POSED:]), usable)


_UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def _note(record: Record, what: str, wrong: Bools, frame: int, values: Floats) -> None:
    for number in np.flatnonzero(wrong):
        shown = ", ".join(f"{value:.3g}" for value in values[number])
        record.note(what, frame, columns.SENSORS[number], f"({shown})")

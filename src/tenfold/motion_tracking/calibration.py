"""How each sensor sits on its bone, from one second in which the wearer stands in T- or N-pose (specification section 3.3).

In that second every bone's world rotation is known up to the heading, and the heading follows from the line between the hands. So the
constant rotation from sensor to bone is C = R_sensor^T R_bone, and from then on R_bone = R_sensor C.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic
from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import columns, rotations
from tenfold.motion_tracking.intake import Record, check
from tenfold.motion_tracking.sensors import Readings
from tenfold.motion_tracking.stream import COUNT, POSED, Line, Reading

Floats = npt.NDArray[np.float64]

FORMAT = "tenfold motion_tracking calibration 1"
POSES = ("t", "n")
LEAST_FRAMES, LEAST_S = 15, 0.5
MOST_TURN_DEG, MOST_MOVE_M, MOST_FELT_M_S2 = 6.0, 0.04, 1.5
"""How far anything may be from its mean in a second of standing still; a breath turns a head by 1 to 2 degrees."""
USUAL = {"t": ((0.9, 2.3), (-0.1, 0.55)), "n": ((0.15, 0.95), (0.45, 1.2))}
"""m: distance of the hands from each other, and of the head above the hands."""
HEIGHT_M = (0.9, 2.4)
"""Of the head above the floor, standing."""


@dataclass(frozen=True)
class Calibration:
    """`rotation` (6, 3, 3): sensor to bone; `offset` (3, 3), m: from head's and hands' tracked points to the joints, in the sensor's axes.

    `floor` (m): height of the floor in the sensors' world. `imu_heading` (rad): turn about z from the IMUs' world to the headset's.
    `solved`: sensors that were there; the others are taken as they are.
    """

    rotation: Floats
    offset: Floats
    floor: float
    imu_heading: float
    pose: str
    heading: float
    solved: tuple[str, ...]

    def apply(self, read: Readings) -> Readings:
        """Sensors' readings of one frame as readings of the bones."""
        turn = rotations.about("z", self.imu_heading)
        seen = read.rotation.copy()
        seen[POSED:] = turn @ seen[POSED:]
        position = read.position + (read.rotation[:POSED] @ self.offset[:, :, None])[:, :, 0]
        position[:, 2] -= self.floor
        return Readings(seen @ self.rotation, position, read.acceleration @ turn.T)


def solve(
    lines: Sequence[Line], pose: str, *, start: float = 0.0, seconds: float = 1.0, floor: float = 0.0, imu_heading: float = 0.0
) -> Calibration:
    """From the `seconds` of a recording that begin `start` s after its first frame; `imu_heading` in rad.

    Raises UsageError for an unknown pose; BadData where the second is too short, a sensor of head and hands is missing, somebody moved, or
    the hands are not where the pose has them.
    """
    if pose not in POSES:
        raise UsageError(f"pose is {pose!r}; there are {', '.join(POSES)} (arms level, or hanging)")
    frames = [line for line in lines if isinstance(line, Reading) and np.isfinite(line.t)]
    begin = frames[0].t + start if frames else 0.0
    frames = [line for line in frames if begin - 1e-9 <= line.t <= begin + seconds + 1e-9]
    if len(frames) < LEAST_FRAMES or frames[-1].t - frames[0].t < LEAST_S:
        raise BadData(
            f"{len(frames)} frames lie in the {seconds:g} s from {start:g} s on; at least {LEAST_FRAMES} over {LEAST_S:g} s are needed. "
            "Record the pose for a second or two and name its beginning."
        )
    record = Record()
    checked = [check(line, number, record) for number, line in enumerate(frames)]
    usable = np.stack([each.usable for each in checked]).mean(axis=0)
    missing = [name for name, share in zip(columns.SENSORS[:POSED], usable, strict=False) if share < 0.9]
    if missing:
        raise BadData(
            f"{', '.join(missing)}: not tracked in the calibration's second ({'; '.join(record.lines()) or 'no values'}). Record it again."
        )
    solved = [number for number in range(COUNT) if usable[number] >= 0.9]
    whole = [each for each in checked if each.usable[solved].all()]
    reading = Readings(*(np.stack([getattr(each.reading, field) for each in whole]) for field in Readings._fields))
    mean = _still(reading, solved)
    place = reading.position.mean(axis=0)
    _pose_is(pose, place, floor)
    left = place[1] - place[2]
    heading = float(np.arctan2(left[1], left[0]) - np.pi / 2)
    bones = rotations.about("z", heading) @ rotations.STANDING @ _at_rest(pose)
    turn = rotations.about("z", imu_heading)
    rotation = np.broadcast_to(np.eye(3), (COUNT, 3, 3)).copy()
    for number in solved:
        sensor = mean[number] if number < POSED else turn @ mean[number]
        rotation[number] = sensor.T @ bones[number]
    names = tuple(columns.SENSORS[number] for number in solved)
    return Calibration(rotation, np.zeros((3, 3)), floor, imu_heading, pose, float(np.angle(np.exp(1j * heading))), names)


def write(path: Path, calibration: Calibration) -> None:
    """As JSON: for each sensor the quaternion wxyz from sensor to bone, and for head and hands `offset_m`, which may be edited."""
    entries: dict[str, Any] = {}
    for number, name in enumerate(columns.SENSORS):
        entries[name] = {
            "rotation": rotations.quaternion_from_matrix(calibration.rotation[number]).tolist(),
            "solved": name in calibration.solved,
        }
        if number < POSED:
            entries[name]["offset_m"] = calibration.offset[number].tolist()
    about = {
        "format": FORMAT, "pose": calibration.pose, "heading_deg": float(np.degrees(calibration.heading)), "floor_m": calibration.floor,
        "imu_heading_deg": float(np.degrees(calibration.imu_heading)), "sensors": entries,
    }  # fmt: skip
    atomic.write_json(path, about)


def read(path: Path) -> Calibration:
    """What `write` wrote. Raises BadData for anything else."""
    try:
        if path.stat().st_size > 1 << 20:
            raise BadData(f"{path} is too large for a calibration; make one with `tenfold tool motion_tracking calibrate`")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path} cannot be read ({error}); make it with `tenfold tool motion_tracking calibrate`") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Calibration:
    """The same from its text."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise BadData(f"{name} has format {str(found['format'])[:60]!r}, not {FORMAT!r}; make it again")
        entries = [found["sensors"][sensor] for sensor in columns.SENSORS]
        turns = np.array([entry["rotation"] for entry in entries], np.float64)
        offset = np.array([entry["offset_m"] for entry in entries[:POSED]], np.float64)
        solved = tuple(sensor for sensor, entry in zip(columns.SENSORS, entries, strict=True) if entry["solved"])
        numbers = [float(found[key]) for key in ("floor_m", "imu_heading_deg", "heading_deg")]
        pose = str(found["pose"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadData(
            f"{name} is no calibration ({type(error).__name__}: {error}); make it with `tenfold tool motion_tracking calibrate`"
        ) from error
    if turns.shape != (COUNT, 4) or offset.shape != (POSED, 3) or not np.isfinite([*turns.ravel(), *offset.ravel(), *numbers]).all():
        raise BadData(f"{name}: a rotation has four numbers, an offset three, all finite; make it again")
    if np.abs(np.linalg.norm(turns, axis=-1) - 1).max() > 1e-3 or np.abs(offset).max() > 1:
        raise BadData(f"{name}: quaternions have length 1 and offsets are below 1 m; make it again")
    floor, imu, heading = numbers
    return Calibration(
        rotations.matrix_from_quaternion(turns), offset, floor, float(np.radians(imu)), pose, float(np.radians(heading)), solved
    )


def _still(read: Readings, solved: Sequence[int]) -> Floats:
    """Mean rotation (6, 3, 3) of each sensor. Raises BadData if one turned, moved or felt more than standing still gives."""
    left, _, right = np.linalg.svd(read.rotation.mean(axis=0))
    flip = np.ones((COUNT, 3))
    flip[:, 2] = np.linalg.det(left @ right)
    mean: Floats = (left * flip[:, None, :]) @ right
    moved = []
    for number in solved:
        name = columns.SENSORS[number]
        turned = float(np.degrees(rotations.angle_between(mean[number], read.rotation[:, number]).max()))
        if turned > MOST_TURN_DEG:
            moved.append(f"{name} turned by {turned:.1f} degrees")
        if number < POSED:
            way = float(np.linalg.norm(read.position[:, number] - read.position[:, number].mean(axis=0), axis=-1).max())
            if way > MOST_MOVE_M:
                moved.append(f"{name} moved by {100 * way:.1f} cm")
        else:
            felt = float(np.sqrt(np.square(read.acceleration[:, number - POSED]).sum(axis=-1).mean()))
            if felt > MOST_FELT_M_S2:
                moved.append(f"{name} felt {felt:.1f} m/s^2 (is gravity removed?)")
    if moved:
        raise BadData(
            f"the wearer did not stand still: {', '.join(moved)} (at most {MOST_TURN_DEG:g} degrees, {100 * MOST_MOVE_M:g} cm, "
            f"{MOST_FELT_M_S2:g} m/s^2). Name a quieter second, or record it again."
        )
    return mean


def _pose_is(pose: str, place: Floats, floor: float) -> None:
    apart = float(np.linalg.norm(place[1] - place[2]))
    below = float(place[0, 2] - place[1:, 2].mean())
    height = float(place[0, 2] - floor)
    if not HEIGHT_M[0] <= height <= HEIGHT_M[1]:
        raise BadData(
            f"the head is {height:.2f} m above the floor; a standing person's is {HEIGHT_M[0]:g} to {HEIGHT_M[1]:g} m. "
            "Positions are in metres with z up; name the height of the floor."
        )
    (least, most), (low, high) = USUAL[pose]
    if not (least <= apart <= most and low <= below <= high):
        other = next((name for name in POSES if name != pose and _fits(name, apart, below)), "")
        raise BadData(
            f"this is no {pose.upper()}-pose: the hands are {apart:.2f} m apart and {below:.2f} m below the head"
            + (f", as in an {other.upper()}-pose" if other == "n" else ", as in a T-pose" if other else "")
            + ". Name the pose that was held, or record it again."
        )


def _fits(pose: str, apart: float, below: float) -> bool:
    (least, most), (low, high) = USUAL[pose]
    return least <= apart <= most and low <= below <= high


def _at_rest(pose: str) -> Floats:
    """World rotations (6, 3, 3) of the sensors' bones of a wearer whose rest axes are the world's."""
    turns = np.broadcast_to(np.eye(3), (COUNT, 3, 3)).copy()
    if pose == "n":
        turns[1], turns[2] = rotations.about("z", -np.pi / 2), rotations.about("z", np.pi / 2)
    return turns

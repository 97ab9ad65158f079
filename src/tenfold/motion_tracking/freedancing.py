"""PICO-FreeDancing, the authors' recordings of real sensors with their truth (specification section 3.2), a folder a clip.

`hmd_sensor_data.pt`: `sensor_coordinates` (N, 3, 3), m, of head, left and right hand; `sensor_orientation` (N, 5, 3, 3) and
`sensor_acceleration` (N, 5, 3), m/s^2, of these and both shins ("feet"), as the authors' README has it. `gt_body_parms.pt`: parameters of
SMPL, whose keys the README does not name: those of the usual libraries are known here. No clip was at hand when this was written.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tenfold.core import files
from tenfold.core.errors import BadData
from tenfold.core.files import Unreadable
from tenfold.motion_tracking import amass, columns, kinematics, rotations, skeleton, stream

Floats = npt.NDArray[np.float64]

SENSOR_FILE, TRUTH_FILE = "hmd_sensor_data.pt", "gt_body_parms.pt"
SENSORS = columns.SENSORS[:5]
"""In the order of the file; there is no pelvis."""
MAX_BYTES = 1 << 30
ROOT, BODY, WHOLE, TRANS = ("global_orient", "root_orient"), ("body_pose", "pose_body"), ("poses", "fullpose", "pose"), ("transl", "trans")
"""Names of the root's rotation, the other joints', both in one, and the translation, in the libraries for SMPL."""
WIDTHS = (3 * skeleton.COUNT, 72, amass.WIDTH)
"""Axis-angle values a frame: without hands, SMPL, SMPL+H."""
NOT_ROTATION = 1e-3
TALLEST_M = 3.0
_SAME_SHAPE = 1e-3
_ALONG = 0.7  # cosine of 45 degrees


@dataclass(frozen=True)
class Clip:
    """One recording. Sensors: `rotation` (N, 5, 3, 3), `position` (N, 3, 3), m, `acceleration` (N, 5, 3), m/s^2.

    Truth: `local` rotations (N, 22, 3, 3), `trans` (N, 3), m, `betas` (16,), `gender`.
    """

    rotation: Floats
    position: Floats
    acceleration: Floats
    local: Floats
    trans: Floats
    betas: Floats
    gender: str

    def readings(self, fps: float) -> list[stream.Reading]:
        """The sensors as a stream that begins at 0 s; the pelvis is silent."""
        values = np.full((len(self.rotation), stream.COUNT, 7), np.nan)
        turned = rotations.quaternion_from_matrix(self.rotation)
        posed, felt = slice(0, stream.POSED), slice(stream.POSED, len(SENSORS))
        values[:, posed, :3], values[:, posed, 3:] = self.position, turned[:, posed]
        values[:, felt, :4], values[:, felt, 4:] = turned[:, felt], self.acceleration[:, felt]
        return [stream.Reading(number / fps, each) for number, each in enumerate(values)]

    def apart(self) -> dict[str, float]:
        """Median angle (degrees) of each sensor from the true bone that it sits on."""
        world, _ = kinematics.forward(self.local, np.zeros((skeleton.COUNT, 3)), np.zeros(3))
        bones = world[:, list(columns.SENSOR_JOINTS[: len(SENSORS)])]
        angles = np.degrees(np.median(rotations.angle_between(self.rotation, bones), axis=0))
        return dict(zip(SENSORS, angles.tolist(), strict=True))


def read(folder: Path) -> Clip:
    """The clip in a folder. Raises BadData naming file, key and frame for whatever is missing, damaged or no such recording."""
    path, truth = folder / SENSOR_FILE, folder / TRUTH_FILE
    found, parameters = _load(path), _load(truth)
    position = _numbers(path, found, ("sensor_coordinates",), (3, 3))
    rotation = _numbers(path, found, ("sensor_orientation",), (5, 3, 3))
    acceleration = _numbers(path, found, ("sensor_acceleration",), (5, 3))
    poses = _poses(truth, parameters)
    trans = _numbers(truth, parameters, TRANS, (3,))
    lengths = {
        f"{SENSOR_FILE} sensor_coordinates": len(position), "sensor_orientation": len(rotation), "sensor_acceleration": len(acceleration),
        f"{TRUTH_FILE} poses": len(poses), "translations": len(trans),
    }  # fmt: skip
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in lengths.items())
        raise BadData(f"{folder}: all must have the same number of frames; there are {told}. Download the clip again.")
    _check_rotations(path, rotation)
    local = rotations.matrix_from_axis_angle(poses)
    _check_world(folder, local[:, 0], position[:, 0])
    return Clip(
        rotation, position, acceleration, local, trans, _betas(truth, parameters, len(poses)), _gender(parameters.get("gender")),
    )  # fmt: skip


def _load(path: Path) -> dict[str, Any]:
    """The dict in a file of plain tensors; a pickle of anything else is refused and not executed."""
    try:
        real, _ = files.regular(path.parent, Path(path.name), MAX_BYTES)
        found = torch.load(real, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadData(f"{path} is missing; a clip is a folder with {SENSOR_FILE} and {TRUTH_FILE}.") from None
    except Unreadable as problem:
        raise BadData(f"{path}: {problem.detail}.") from problem
    except Exception as error:  # what torch raises for a foreign file has no common class
        # its own words advise to execute a pickle
        told = "it holds other objects" if isinstance(error, pickle.UnpicklingError) else str(error).partition("\n")[0][:200]
        raise BadData(f"{path} is no file of plain tensors ({told}); nothing in it was executed. Download it again.") from error
    if not isinstance(found, dict):
        raise BadData(f"{path} holds a {type(found).__name__}, not named tensors. Is it a file of PICO-FreeDancing?")
    return {str(name): value for name, value in found.items()}


def _numbers(path: Path, found: Mapping[str, Any], names: Sequence[str], tail: tuple[int, ...] | None) -> Floats:
    """The first of `names` as float64 (N, *tail), or (N, anything) without `tail`."""
    name = next((each for each in names if each in found), None)
    if name is None:
        raise BadData(f"{path} has no key {' or '.join(names)}; there are {_told(found)}.")
    value = found[name]
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = f"a tensor of {value.dtype}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
        raise BadData(f"{path}: key {name} is {kind}, wanted is a tensor of numbers.")
    if not value.numel():
        raise BadData(f"{path}: key {name} is empty ({' x '.join(map(str, value.shape))}).")
    array: Floats = value.detach().to(torch.float64).numpy()
    if tail is None and array.ndim >= 2:
        array = array.reshape(len(array), -1)
    if array.ndim < 2 or (tail is not None and array.shape[1:] != tail):
        wanted = " x ".join(["N", *map(str, tail or ("values",))])
        raise BadData(f"{path}: key {name} is {' x '.join(map(str, array.shape)) or 'one number'}, wanted is {wanted}.")
    bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    if len(bad):
        raise BadData(f"{path}: key {name} has NaN or infinity in frame {bad[0]} ({len(bad)} frames in all).")
    return array


def _poses(path: Path, found: Mapping[str, Any]) -> Floats:
    """Axis-angle (N, 22, 3), rad."""
    if any(name in found for name in WHOLE):
        whole = _numbers(path, found, WHOLE, None)
    elif not any(name in found for name in (*ROOT, *BODY)):
        raise BadData(f"{path} has no poses: neither {' or '.join(WHOLE)} nor {ROOT[0]} with {BODY[0]}; there are {_told(found)}.")
    else:
        root, body = _numbers(path, found, ROOT, None), _numbers(path, found, BODY, None)
        if len(root) != len(body):
            raise BadData(f"{path}: the root has {len(root)} frames, the body {len(body)}. Download the clip again.")
        whole = np.concatenate([root, body], axis=1)
    if whole.shape[1] not in WIDTHS:
        widths = ", ".join(map(str, WIDTHS))
        raise BadData(f"{path}: the poses have {whole.shape[1]} values a frame; axis-angle of SMPL or SMPL+H has {widths}.")
    poses = whole[:, : 3 * skeleton.COUNT].reshape(-1, skeleton.COUNT, 3)
    most = np.linalg.norm(poses, axis=-1).max(initial=0.0)
    if most > 2 * np.pi * (1 + 1e-6):
        raise BadData(f"{path}: a joint is turned by {most:.1f} rad, more than a full turn. Are these degrees?")
    return poses


def _betas(path: Path, found: Mapping[str, Any], frames: int) -> Floats:
    """(16,), from one row or from a row a frame that stays the same; what is not given is 0."""
    if isinstance(value := found.get("betas"), torch.Tensor) and value.ndim == 1:
        found = {"betas": value[None]}
    rows = _numbers(path, found, ("betas",), None)
    if len(rows) not in (1, frames) or np.ptp(rows, axis=0).max(initial=0.0) > _SAME_SHAPE:
        raise BadData(f"{path}: key betas has {len(rows)} rows that differ or are not one a frame; a clip is of one person.")
    betas = np.zeros(skeleton.BETAS)
    betas[: rows.shape[1]] = rows[0, : skeleton.BETAS]
    return betas


def _gender(value: Any) -> str:
    word = value.lower() if isinstance(value, str) else ""
    return word if word in amass.GENDERS else "neutral"


def _check_rotations(path: Path, rotation: Floats) -> None:
    off = np.abs(rotation.swapaxes(-1, -2) @ rotation - np.eye(3)).max(axis=(-1, -2))
    wrong = (off > NOT_ROTATION) | (np.linalg.det(rotation) < 0)
    if wrong.any():
        frame, sensor = np.argwhere(wrong)[0]
        told = f"in frame {frame} that of {SENSORS[sensor]} is no rotation ({int(wrong.sum())} in all)"
        raise BadData(f"{path}: key sensor_orientation: {told}.")


def _check_world(folder: Path, root: Floats, head: Floats) -> None:
    """Raises BadData, with what it looks like, where the true trunk does not point up along z, or the head is higher than a person's."""
    up = root[:, :, 1].mean(axis=0)
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > _ALONG and (axis != 2 or up[axis] < 0):
        raise BadData(f"{folder} looks {'-' if up[axis] < 0 else ''}{'xyz'[axis]}-up, wanted is z-up. Turn its world and write it again.")
    if (height := float(np.quantile(head[:, 2], 0.95))) > TALLEST_M:
        raise BadData(f"{folder}: the head is {height:.1f} m above the ground; this looks like centimetres, wanted are metres.")


def _told(found: Mapping[str, Any]) -> str:
    return ", ".join(sorted(found)) or "none"

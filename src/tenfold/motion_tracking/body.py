"""The body: 22 joints that are affine in 16 shape values, and the three skin points that carry IMUs (specification section 2.1).

J(beta) = Jreg (v_template + S beta) = rest + modes beta, computed once. Pose blend shapes move the skin points, never the joints.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.core.errors import BadData
from tenfold.motion_tracking import kinematics, skeleton
from tenfold.motion_tracking.rotations import Floats

SMPLH_VERTICES = 6890
SMPLH_MOUNTS = (1176, 4662, 3021)
"""Vertices on the left shin, the right shin and the pelvis of SMPL-H where an IMU sits."""

_JOINTS = (skeleton.COUNT, 52)
_BODY_FEATURES = (skeleton.COUNT - 1) * 9
_NO_PARENT = 2**32 - 1
_REMEDY = "Use model.npz of the extended SMPL+H model for AMASS (mano.is.tue.mpg.de), smplh/<gender>/model.npz."


@dataclass(frozen=True)
class MountPoints:
    """Skin points of the left shin, the right shin and the pelvis IMU.

    v (3, 3): rest position, m; S (3, 3, 16): move a beta; P (3, 3, 189): move a pose feature (R - 1 of joints 1..21, row by row);
    W (3, 22): skinning weights.
    """

    v: Floats
    S: Floats
    P: Floats
    W: Floats


@dataclass(frozen=True)
class Body:
    """rest (22, 3), m, and modes (22, 3, 16), m a beta; `sha256` of the file it came from; `licensed`: it must not be passed on."""

    rest: Floats
    modes: Floats
    mounts: MountPoints
    sha256: str
    licensed: bool


def load(path: Path, *, mounts: Sequence[int] | None = None) -> Body:
    """Read a model.npz with SMPL-H's keys, 22 or 52 joints.

    `mounts`: vertices of the three IMUs; without them the file's own `mount_vertices`, else SMPL-H's. Raises BadData naming file and cause
    where it is unreadable or is not this topology.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise BadData(f"{path}: the body model cannot be read ({cause.strerror or cause}). {_REMEDY}") from cause
    arrays = _arrays(path, data)
    own = "mount_vertices" in arrays
    template = _array(path, arrays, "v_template", (None, 3))
    count = len(template)
    if not own and count != SMPLH_VERTICES:
        raise BadData(f"{path}: {count} vertices, SMPL-H has {SMPLH_VERTICES}. {_REMEDY}")
    kintree = np.asarray(arrays["kintree_table"])
    if kintree.ndim != 2 or kintree.shape[0] != 2 or kintree.shape[1] not in _JOINTS:
        raise BadData(f"{path}: kintree_table is {kintree.shape}, not 2 x 52 (or 2 x 22). {_REMEDY}")
    parents = _parents(path, kintree)
    joints = len(parents)
    shapes = _array(path, arrays, "shapedirs", (count, 3, None))
    if shapes.shape[2] < skeleton.BETAS:
        raise BadData(f"{path}: shapedirs has {shapes.shape[2]} betas, {skeleton.BETAS} are needed. {_REMEDY}")
    shapes = shapes[:, :, : skeleton.BETAS]
    regressor = _array(path, arrays, "J_regressor", (joints, count))[: skeleton.COUNT]
    posed = _array(path, arrays, "posedirs", (count, 3, (joints - 1) * 9))[:, :, :_BODY_FEATURES]
    weights = _array(path, arrays, "weights", (count, joints))
    vertices = [int(vertex) for vertex in (mounts if mounts is not None else arrays["mount_vertices"].ravel() if own else SMPLH_MOUNTS)]
    if len(vertices) != 3 or not all(0 <= vertex < count for vertex in vertices):
        raise BadData(f"{path}: mount vertices {vertices}: three of 0 to {count - 1} are needed. Correct `mounts`.")
    return Body(
        rest=regressor @ template,
        modes=np.einsum("jv,vcb->jcb", regressor, shapes),
        mounts=MountPoints(template[vertices], shapes[vertices], posed[vertices], _without_hands(weights[vertices], parents)),
        sha256=hashlib.sha256(data).hexdigest(),
        licensed=not own,
    )


def save_small(path: Path, body: Body) -> None:
    """Write what `load_small` reads: joints and mount points alone, a few kilobytes. Equal bodies give equal bytes."""
    mounts = body.mounts
    arrays = {"rest": body.rest, "modes": body.modes, "v": mounts.v, "S": mounts.S, "P": mounts.P, "W": mounts.W}
    write_npz(path, {**arrays, "sha256": np.array(body.sha256), "licensed": np.array(body.licensed)})


def load_small(path: Path) -> Body:
    """Read `body.npz` of `save_small`. Raises BadData where it is not one."""
    try:
        arrays = _arrays(path, path.read_bytes(), keys=("rest", "modes", "v", "S", "P", "W", "sha256", "licensed"))
    except OSError as cause:
        raise BadData(f"{path}: the body cannot be read ({cause.strerror or cause}). Make the features again.") from cause
    joints, betas = skeleton.COUNT, skeleton.BETAS
    mounts = MountPoints(
        _array(path, arrays, "v", (3, 3)), _array(path, arrays, "S", (3, 3, betas)),
        _array(path, arrays, "P", (3, 3, _BODY_FEATURES)), _array(path, arrays, "W", (3, joints)),
    )  # fmt: skip
    rest, modes = _array(path, arrays, "rest", (joints, 3)), _array(path, arrays, "modes", (joints, 3, betas))
    return Body(rest, modes, mounts, str(arrays["sha256"]), bool(arrays["licensed"]))


def joints(body: Body, betas: ArrayLike) -> Floats:
    """Joint positions at rest (..., 22, 3), m, of shapes (..., 16); fewer betas count as followed by zeros."""
    shape = np.asarray(betas, np.float64)
    return body.rest + np.einsum("jcb,...b->...jc", body.modes[:, :, : shape.shape[-1]], shape)


def mount_positions(
    body: Body, local: ArrayLike, world: ArrayLike, root: ArrayLike, betas: ArrayLike, placed: ArrayLike | None = None
) -> Floats:
    """World positions (..., 3, 3), m, of the IMUs on left shin, right shin and pelvis, skinned with pose blend shapes.

    local, world (..., 22, 3, 3); root (..., 3) as in kinematics.forward; betas (..., 16); `placed` (..., 22, 3): the joints' positions,
    where they are known already.
    """
    turned, mounts = np.asarray(world, np.float64), body.mounts
    shape = np.asarray(betas, np.float64)
    rest = joints(body, shape)
    at = kinematics.positions(turned, rest, root) if placed is None else np.asarray(placed, np.float64)
    features = (np.asarray(local, np.float64)[..., 1:, :, :] - np.eye(3)).reshape(*turned.shape[:-3], _BODY_FEATURES)
    skin = mounts.v + np.einsum("mcb,...b->...mc", mounts.S[:, :, : shape.shape[-1]], shape)
    skin = skin + (features @ mounts.P.reshape(9, _BODY_FEATURES).T).reshape(*features.shape[:-1], 3, 3)
    # All joints of a point blend to one matrix and one shift before the point is moved: three small products a frame, not one a weight.
    blend, shift = np.zeros((*turned.shape[:-3], 3, 3, 3)), np.zeros((*at.shape[:-2], 3, 3))
    for point, joint in zip(*np.nonzero(mounts.W), strict=True):
        weight, own = mounts.W[point, joint], turned[..., joint, :, :]
        blend[..., point, :, :] += weight * own
        away = np.tensordot(own, rest[joint], 1) if rest.ndim == 2 else (own @ rest[..., joint, :, None])[..., 0]
        shift[..., point, :] += weight * (at[..., joint, :] - away)
    return (blend @ skin[..., None])[..., 0] + shift


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]], level: int = 6) -> None:
    """Write a compressed npz whose bytes depend on the arrays alone (numpy's own carries the time of day)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, buffer.getvalue(), compresslevel=level)


_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


def _arrays(path: Path, data: bytes, keys: Sequence[str] = _KEYS) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            if missing:
                raise BadData(f"{path}: {', '.join(missing)} missing. {_REMEDY}")
            return {key: archive[key] for key in (*keys, "mount_vertices") if key in archive}
    except (
        ValueError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        AttributeError,
        TypeError,
        NotImplementedError,
    ) as cause:
        raise BadData(f"{path}: not a readable npz ({cause}). {_REMEDY}") from cause


def _array(path: Path, arrays: dict[str, NDArray[np.generic]], key: str, shape: tuple[int | None, ...]) -> Floats:
    array = arrays[key]
    if array.ndim != len(shape) or any(want is not None and have != want for have, want in zip(array.shape, shape, strict=True)):
        expected = " x ".join("any" if want is None else str(want) for want in shape)
        raise BadData(f"{path}: {key} is {' x '.join(map(str, array.shape))}, not {expected}. {_REMEDY}")
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise BadData(f"{path}: {key} holds values that are no finite numbers. {_REMEDY}")
    return array.astype(np.float64)


def _parents(path: Path, kintree: NDArray[np.generic]) -> list[int]:
    """Parents by joint number, -1 for the root; the first 22 must be the body's."""
    order = kintree.astype(np.int64)
    parents = [-1 if parent in (_NO_PARENT, -1) else int(parent) for parent in order[0]]
    in_order = order[1].tolist() == list(range(len(parents)))
    if not in_order or tuple(parents[: skeleton.COUNT]) != skeleton.PARENTS or any(p >= j for j, p in enumerate(parents)):
        raise BadData(f"{path}: kintree_table is not SMPL-H's chain of joints. {_REMEDY}")
    return parents


def _without_hands(weights: Floats, parents: Sequence[int]) -> Floats:
    """Weights (n, 22): a finger's weight goes to its wrist, since the fingers are not moved."""
    out = weights.copy()
    for joint in range(len(parents) - 1, skeleton.COUNT - 1, -1):
        out[:, parents[joint]] += out[:, joint]
    return out[:, : skeleton.COUNT]

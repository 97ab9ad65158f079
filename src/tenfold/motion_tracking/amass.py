"""Motion files in AMASS's layout, SMPL+H G: `<Subset>/<subject>/<name>_poses.npz` (specification section 3.1)."""

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core import files
from tenfold.core.files import Unreadable
from tenfold.motion_tracking import skeleton

Floats = npt.NDArray[np.float64]

ENDING = "_poses.npz"
SHAPE_FILE = "shape.npz"
WIDTH = 156
"""Axis-angle values a frame: root 3, body 63, hands 90."""
MAX_FILE_BYTES = 1 << 31
MAX_RATE_HZ = 1000.0

RENAMED = {
    "BMLrub": "BioMotionLab_NTroje",
    "EyesJapan": "Eyes_Japan_Dataset",
    "HDM05": "MPI_HDM05",
    "MoSh": "MPI_mosh",
    "PosePrior": "MPI_Limits",
    "Transitions": "Transitions_mocap",
}
"""Folders of newer downloads, and the names that the protocols know them by."""
GENDERS = ("male", "female", "neutral")

_BODY = 3 * skeleton.COUNT
# 66: without hands; 72: SMPL, whose two hand joints stand last.
_SHORT = (_BODY, 72)
_WRONG_DOWNLOAD = (
    "this is an SMPL-X download (root_orient, pose_body). Download the subset again as 'SMPL+H G' (amass.is.tue.mpg.de, Downloads)"
)


@dataclass(frozen=True)
class Place:
    """Where a clip lies: `path` relative to the dataset's source, `subset` by its official name."""

    subset: str
    subject: str
    name: str
    path: Path

    @property
    def id(self) -> str:
        """`<subset>/<subject>/<name>`."""
        return f"{self.subset}/{self.subject}/{self.name}"


@dataclass(frozen=True)
class Motion:
    """One file's motion: `poses` (T, 22, 3) axis-angle (rad), `trans` (T, 3) in m, `betas` (16,), `fps` in Hz.

    `kind`, `group` and `source` are the generator's own words, empty (`real`) in AMASS. `poses_sha256` is that of `poses` alone, which
    finds the same motion under another name. `notes`: what was odd but could be read.
    """

    poses: Floats
    trans: Floats
    betas: Floats
    gender: str
    fps: float
    sha256: str
    size: int
    poses_sha256: str
    kind: str = ""
    group: str = ""
    source: str = "real"
    notes: list[str] = field(default_factory=list)


def official(folder: str) -> str:
    """The protocols' name of a subset's folder."""
    return RENAMED.get(folder, folder)


def subsets(root: Path) -> dict[str, Path]:
    """Official name -> folder of each subset below `root`. Raises Unreadable if a subset lies there under both of its names."""
    found: dict[str, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        name = official(folder.name)
        if name in found:
            raise Unreadable("two_folders", f"{found[name].name} and {folder.name} are the same subset. Remove one of {found[name].parent}")
        found[name] = folder
    return found


def place(path: Path) -> Place:
    """The clip in `path`: subset, subject and file name are its last three parts."""
    subset, subject, file = path.parts[-3:]
    return Place(official(subset), subject, file.removesuffix(ENDING).removesuffix(".npz"), path)


def clips(root: Path, subset: Path) -> list[Place]:
    """All `*/*_poses.npz` of a subset's folder below `root`, in the order of their names."""
    return [place(path.relative_to(root)) for path in sorted(subset.glob(f"*/*{ENDING}")) if not path.name.startswith(".")]


def read(root: Path, path: Path) -> Motion:
    """The motion in `root/path`. Raises Unreadable with the file and the key for whatever cannot be trusted."""
    data = _bytes(root, path)
    arrays = _arrays(path, data)
    if "poses" not in arrays and {"root_orient", "pose_body"} & arrays.keys():
        raise Unreadable("smplx_download", f"{path}: {_WRONG_DOWNLOAD}")
    notes: list[str] = []
    fps = _rate(path, arrays)
    whole = _numbers(path, arrays, "poses", 2)
    trans = _numbers(path, arrays, "trans", 2)
    width = whole.shape[1]
    if width != WIDTH and width not in _SHORT:
        raise Unreadable("wrong_width", f"{path}: key poses is {len(whole)} x {width}; SMPL+H has {WIDTH} values a frame")
    if width != WIDTH:
        notes.append(f"poses has {width} values a frame, not {WIDTH}: no hands")
    if trans.shape != (len(whole), 3):
        raise Unreadable("wrong_shape", f"{path}: key trans is {' x '.join(map(str, trans.shape))}, poses has {len(whole)} frames")
    poses = np.ascontiguousarray(whole[:, :_BODY])
    gender = _gender(arrays.get("gender"))
    if gender is None:
        notes.append("gender unknown: taken as neutral")
    said = {key: _word(arrays[key]) for key in ("kind", "group", "source") if key in arrays}
    return Motion(
        poses=poses.reshape(-1, skeleton.COUNT, 3), trans=trans, betas=_betas(path, arrays, notes), gender=gender or "neutral", fps=fps,
        sha256=hashlib.sha256(data).hexdigest(), size=len(data), poses_sha256=hashlib.sha256(poses.astype("<f8").tobytes()).hexdigest(),
        notes=notes, **said,
    )  # fmt: skip


def _bytes(root: Path, path: Path) -> bytes:
    try:
        real, _ = files.regular(root, path, MAX_FILE_BYTES)
        return real.read_bytes()
    except FileNotFoundError:
        raise Unreadable("missing_file", f"{path} is missing") from None
    except (OSError, RuntimeError) as error:
        raise Unreadable("unreadable_file", f"{path}: {error}") from error


# What is never used and may be large: soft tissue, markers.
_UNUSED = ("dmpls", "marker_data", "marker_labels", "labels")


def _arrays(path: Path, data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Every array of the file that can be read without unpickling; a damaged file or member is Unreadable."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_FILE_BYTES:
                raise Unreadable("absurd_size", f"{path} holds {size} bytes, at most {MAX_FILE_BYTES} are read")
    except zipfile.BadZipFile as error:
        raise Unreadable("unreadable_file", f"{path}: no whole npz ({error})") from error
    found: dict[str, npt.NDArray[Any]] = {}
    key = ""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            for key in arrays.files:
                if key in _UNUSED:
                    continue
                try:
                    found[key] = arrays[key]
                except ValueError as error:
                    if "pickle" not in str(error).lower():
                        raise
                    # An object array; as a needed key it is missed below, else it does not matter.
                    continue
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, KeyError, NotImplementedError, MemoryError) as error:
        raise Unreadable("unreadable_file", f"{path}: key {key or '?'} cannot be read ({error})") from error
    except Exception as error:  # zlib.error and what else a damaged stream raises
        raise Unreadable("unreadable_file", f"{path}: key {key or '?'} is damaged ({error})") from error
    return found


def _numbers(path: Path, arrays: dict[str, npt.NDArray[Any]], key: str, axes: int) -> Floats:
    if key not in arrays:
        raise Unreadable("missing_key", f"{path}: key {key} is missing; there are {', '.join(sorted(arrays)) or 'none'}")
    values = arrays[key]
    if values.dtype.kind not in "fiu" or values.ndim != axes:
        raise Unreadable("wrong_shape", f"{path}: key {key} is {values.dtype} {values.shape}, wanted are numbers on {axes} axes")
    return values.astype(np.float64)


def _rate(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> float:
    key = "mocap_framerate"
    if key not in arrays:
        raise Unreadable("bad_frame_rate", f"{path}: key {key} is missing")
    value = arrays[key]
    if value.dtype.kind not in "fiu" or value.size != 1:
        raise Unreadable("bad_frame_rate", f"{path}: key {key} is {value.dtype} {value.shape}, wanted is one number")
    rate = float(value.reshape(()))
    if not 0.0 < rate <= MAX_RATE_HZ:
        raise Unreadable("bad_frame_rate", f"{path}: key {key} is {rate:g}; a rate over 0 and up to {MAX_RATE_HZ:g} Hz is wanted")
    return rate


def _betas(path: Path, arrays: dict[str, npt.NDArray[Any]], notes: list[str]) -> Floats:
    """Sixteen shape values; fewer are followed by zeros, as the body model takes them."""
    values = _numbers(path, arrays, "betas", 1)
    if not np.isfinite(values).all():
        raise Unreadable("nonfinite", f"{path}: key betas has NaN or inf at {int(np.flatnonzero(~np.isfinite(values))[0])}")
    if len(values) < skeleton.BETAS:
        notes.append(f"betas has {len(values)} values: the others are 0")
    return np.pad(values[: skeleton.BETAS], (0, max(skeleton.BETAS - len(values), 0)))


def _gender(value: npt.NDArray[Any] | None) -> str | None:
    """male, female or neutral; None for anything else."""
    word = "" if value is None else _word(value).lower()
    return {"m": "male", "f": "female"}.get(word, word if word in GENDERS else None)


def _word(value: npt.NDArray[Any]) -> str:
    """A 0-d text, which some files hold as bytes."""
    if value.size != 1:
        return ""
    item = value.reshape(()).item()
    text = item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
    # Some files hold the text of a bytes literal.
    return text.strip().removeprefix("b'").removesuffix("'").strip()

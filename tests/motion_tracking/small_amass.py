"""A small AMASS folder: smooth random motions on the project's own body, two subsets, lists, and whatever a test changes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core.progress import Progress
from tenfold.motion_tracking import config, procedural_body
from tenfold.motion_tracking.survey import Survey, survey

Floats = npt.NDArray[np.float64]

BLOCK = config.Dataset(
    amass_dir="amass", splits_dir="splits", body_dir="smplh", split="lists", test=0.2, validation=0.2, resample="slerp", body="neutral",
    min_frames=10, max_speed=30.0, max_quarantine=0.02, max_missing=0.01, seed=0,
)  # fmt: skip


def motion(seed: int = 0, frames: int = 60, fps: float = 60.0, width: int = 156, **changed: Any) -> dict[str, Any]:
    """Arrays of one clip: a person who stands upright, sways and turns. `changed` replaces or (None) removes keys."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / fps
    waves = rng.uniform(0.2, 1.0, (1, width)), rng.uniform(0, 6, (1, width))
    poses = 0.2 * np.sin(2 * np.pi * waves[0] * time + waves[1])
    poses[:, :3] = standing(rng.uniform(-np.pi, np.pi) + 0.3 * time[:, 0])
    trans = np.stack([0.5 * time[:, 0], 0.1 * np.sin(time[:, 0]), np.full(frames, 1.0)], axis=-1)
    arrays: dict[str, Any] = {
        "poses": poses, "trans": trans, "betas": rng.normal(size=16).clip(-2, 2), "dmpls": np.zeros((frames, 8)),
        "gender": np.array("male"), "mocap_framerate": np.array(fps),
    }  # fmt: skip
    return {key: value for key, value in (arrays | changed).items() if value is not None}


def standing(heading: Floats) -> Floats:
    """Root orientations (T, 3) of a body that is y-up at rest, upright in the z-up world, turned by `heading` (T,) about z."""
    from scipy.spatial.transform import Rotation

    upright = Rotation.from_euler("x", 90, degrees=True)
    vectors: Floats = (Rotation.from_rotvec(np.stack([0 * heading, 0 * heading, heading], -1)) * upright).as_rotvec()
    return vectors


def put(source: Path, place: str, arrays: dict[str, Any] | bytes) -> Path:
    """Write `source/amass/<place>_poses.npz`."""
    path = source / "amass" / f"{place}_poses.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    else:
        np.savez(path, **arrays)
    return path


def lists(source: Path, **splits: list[str]) -> None:
    """Lists `<Subset>/<split>_split.txt` of places `<Subset>/<subject>/<name>`, written as the protocols do."""
    for split, places in splits.items():
        for subset in {place.split("/")[0] for place in places}:
            path = source / "splits" / subset / f"{split}_split.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{place}_poses.npz\n" for place in places if place.startswith(f"{subset}/")))


def folder(source: Path, train: int = 4, frames: int = 60, fps: float = 60.0) -> Path:
    """`train` clips of as many people, one to validate, two to test; the whole in the layout of the demo."""
    places = [f"GenWalk/s{number:02d}/clip" for number in range(train)]
    for seed, place in enumerate([*places, "GenWalk/v0/clip", "GenWalk/t0/clip", "RealClips/t1/clip"]):
        words = {"kind": np.array("walk"), "source": np.array("real" if place.startswith("Real") else "generated")}
        put(source, place, motion(seed, frames, fps, **words))
    lists(source, train=places, validation=["GenWalk/v0/clip"], test=["GenWalk/t0/clip", "RealClips/t1/clip"])
    body(source)
    return source


def body(source: Path, gender: str = "neutral") -> None:
    """The project's own body as `smplh/<gender>/model.npz`."""
    path = source / "smplh" / gender / "model.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    procedural_body.write(path)


def read(source: Path, block: config.Dataset = BLOCK) -> Survey:
    """What the survey finds."""
    return survey(source, block, Progress())

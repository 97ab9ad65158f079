"""The demo dataset in AMASS's layout, made offline: generated clips on the project's own body, and the package's real ones.

No motion is tuned to the network, and every baseline gets the same clips. Generated subjects are never shared between splits. Of the real
motion, the test split holds whole groups that nothing was trained on; copies of a training clip stay in training.
"""

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress
from tenfold.motion_tracking import actor, amass_file, body, procedural_body, real_clips, skeleton
from tenfold.motion_tracking.actor_plan import KINDS
from tenfold.motion_tracking.body import Body
from tenfold.motion_tracking.config import Make
from tenfold.motion_tracking.rotations import Floats, about, mirror

SPLITS = ("train", "validation", "test")
WALK_KINDS = ("walk", "run", "sidestep")
"""Kinds of the subset GenWalk; the others are GenMixed."""
REAL_TEST = ("cmu_01", "dance_b", "getup_facedown", "jump", "punch", "walking")
"""Groups of real clips that are tested on. Both CMU takes are of one person, all walking clips of one walker."""

_BETA_LIMIT = 2.5
_REAL = "RealClips"


@dataclass(frozen=True)
class Clip:
    """What a file holds: local (T, 22, 3, 3) and root (T, 3), m, as in kinematics.forward; betas (16,)."""

    local: Floats
    root: Floats
    betas: Floats
    fps: float
    kind: str
    group: str
    source: str


def make(make: Make, folder: Path, progress: Progress) -> None:
    """Write `amass/<Subset>/<subject>/<name>_poses.npz`, `splits/<Subset>/<split>_split.txt` and `smplh/neutral/model.npz` below `folder`.

    Every file carries `kind`, `group` and `source` beside AMASS's keys. Depends on the settings alone: the same ones give the same bytes.
    Raises UsageError for settings that give no dataset.
    """
    _check(make)
    model = folder / "smplh" / "neutral" / "model.npz"
    procedural_body.write(model)
    human = body.load(model)
    plan = [(split, number) for split in SPLITS for number in range(getattr(make, split))]
    real = real_clips.read() if make.real else []
    progress.stage("clips", total=len(plan) + len(real))
    listed: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for split, number in plan:
        place, clip = generated(make, human, split, number)
        _write(folder / "amass" / place, clip)
        listed[place.split("/")[0], split].append(place)
        progress.advance()
    for each in real:
        split = "test" if each.group in REAL_TEST else "train"
        for copy in range(1 if split == "test" else make.headings * (2 if make.mirror else 1)):
            place, clip = placed(make, human, each, split, copy)
            _write(folder / "amass" / place, clip)
            listed[_REAL, split].append(place)
        progress.advance()
    for (subset, split), places in listed.items():
        path = folder / "splits" / subset / f"{split}_split.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{place}\n" for place in sorted(places)), encoding="utf-8")


def generated(make: Make, human: Body, split: str, number: int) -> tuple[str, Clip]:
    """The generated clip of that number in a split, and its path `<Subset>/<subject>/<name>_poses.npz`."""
    kind = make.kinds[number % len(make.kinds)]
    subject = f"{split}{number % make.subjects[split]:03d}"
    betas = _betas(make, subject)
    frames = round(make.seconds * skeleton.RATE_HZ)
    moved = actor.act(_rng(make, "motion", split, number), kind, frames, body.joints(human, betas), make.tremor)
    subset = "GenWalk" if kind in WALK_KINDS else "GenMixed"
    clip = Clip(moved.local, moved.root, betas, skeleton.RATE_HZ, kind, subject, "generated")
    return f"{subset}/{subject}/{kind}_{number:03d}_poses.npz", clip


def placed(make: Make, human: Body, real: real_clips.Real, split: str, copy: int) -> tuple[str, Clip]:
    """A real clip on a drawn body and its path. Test clips are as measured; training copies are turned, and every second one mirrored."""
    subject = real.group if split == "test" else f"{real.group}_{copy}"
    betas = _betas(make, subject)
    rest = body.joints(human, betas)
    local, root = real.local, real_clips.on_body(real, rest)
    if split != "test":
        rng = _rng(make, "placing", real.name, copy)
        if make.mirror and copy % 2:
            pelvis = root + rest[0]
            local, pelvis = mirror(local, pelvis)
            root = pelvis - rest[0]
        # In thirds of a turn, so that the copies of a clip face round about.
        turn = about("z", rng.uniform(0.0, 2 * np.pi / make.headings) + copy // (2 if make.mirror else 1) * 2 * np.pi / make.headings)
        local = local.copy()
        local[:, 0] = turn @ local[:, 0]
        root = (root + rest[0]) @ turn.T + np.append(rng.uniform(-1.0, 1.0, 2), 0.0) - rest[0]
    name = real.name if split == "test" else f"{real.name}_{copy}"
    return f"{_REAL}/{subject}/{name}_poses.npz", Clip(local, root, betas, real.fps, real.kind, real.group, "real")


def _check(make: Make) -> None:
    unknown = [kind for kind in make.kinds if kind not in KINDS]
    if unknown or not make.kinds:
        raise UsageError(f"make.kinds: {unknown[0] if unknown else 'nothing'} is none of {', '.join(KINDS)}. Correct it in params.yaml.")
    if make.train < 1 or min(make.validation, make.test) < 0 or not 1.0 <= make.seconds <= 600 or make.tremor < 0 or make.headings < 1:
        raise UsageError(
            "make: train and headings must be 1 or more, validation, test and tremor 0 or more, seconds 1 to 600. Correct it in params.yaml."
        )
    if sorted(make.subjects) != sorted(SPLITS) or min(make.subjects.values()) < 1:
        raise UsageError(f"make.subjects needs 1 or more for each of {', '.join(SPLITS)}. Correct it in params.yaml.")


def _rng(make: Make, *path: str | int) -> np.random.Generator:
    digest = hashlib.sha256(json.dumps([make.seed, *path]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _betas(make: Make, subject: str) -> Floats:
    return np.clip(_rng(make, "subject", subject).normal(size=skeleton.BETAS), -_BETA_LIMIT, _BETA_LIMIT)


def _write(path: Path, clip: Clip) -> None:
    amass_file.write(path, clip.local, clip.root, clip.betas, clip.fps, kind=clip.kind, group=clip.group, source=clip.source)

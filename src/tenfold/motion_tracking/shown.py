"""A few clips kept for pictures: true and tracked joints as whole millimetres, and why each clip was chosen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic
from tenfold.motion_tracking.body import write_npz
from tenfold.motion_tracking.clips import Clip

Int16 = npt.NDArray[np.int16]
Float = npt.NDArray[np.float64]
FARTHEST = 32.0
"""Metres from the clip's middle that whole millimetres in 16 bits can hold."""


@dataclass(frozen=True)
class Shown:
    """One clip: joints (T, 22, 3) in m by track, `truth` first, about a common origin on the floor."""

    id: str
    kind: str
    source: str
    why: str
    error: float
    tracks: Mapping[str, Float]


def choose(clips: Sequence[Clip], error: Float, count: int) -> list[tuple[int, str]]:
    """Indices and reasons: of each source the best, the median and the worst by `error` (clips,), then the median of each further kind."""
    chosen: dict[int, str] = {}
    for source in sorted({clip.source for clip in clips}, reverse=True):
        mine = sorted((float(error[i]), i) for i, clip in enumerate(clips) if clip.source == source and np.isfinite(error[i]))
        for place, word in ((0, "best"), (len(mine) // 2, "median"), (len(mine) - 1, "worst")):
            if mine:
                chosen.setdefault(mine[place][1], f"{word} {source} clip")
    seen = {clips[i].label for i in chosen}
    for kind in sorted({clip.label for clip in clips} - seen):
        mine = sorted((float(error[i]), i) for i, clip in enumerate(clips) if clip.label == kind and np.isfinite(error[i]))
        if mine:
            chosen.setdefault(mine[len(mine) // 2][1], f"median {kind}")
    return list(chosen.items())[:count]


def write(folder: Path, clips: Sequence[tuple[Clip, str, float, Mapping[str, Float]]]) -> None:
    """Write shown.npz and shown.json: (clip, why, error in cm, tracks with `truth` first) each."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    records = []
    for number, (clip, why, error, tracks) in enumerate(clips):
        middle = np.array([*np.round(tracks["truth"][:, 0, :2].mean(axis=0), 3), 0.0])
        for name, joints in tracks.items():
            near = np.clip(joints - middle, -FARTHEST, FARTHEST)
            arrays[f"{number}/{name}"] = np.round(1000 * near).astype(np.int16)
        records.append({
            "id": clip.id, "kind": clip.label, "source": clip.source, "why": why, "error_cm": round(error, 3), "tracks": list(tracks),
        })  # fmt: skip
    write_npz(folder / "shown.npz", arrays)
    atomic.write_json(folder / "shown.json", records)


def read(folder: Path) -> Iterator[Shown]:
    """What `write` stored."""
    import json

    with np.load(folder / "shown.npz", allow_pickle=False) as file:
        for number, record in enumerate(json.loads((folder / "shown.json").read_text())):
            tracks = {name: file[f"{number}/{name}"].astype(np.float64) / 1000 for name in record["tracks"]}
            yield Shown(record["id"], record["kind"], record["source"], record["why"], record["error_cm"], tracks)

"""Bundler's reconstructions (`# Bundle file v0.3`): cameras with focal length and radial terms, points with their tracks.

There image points are centred, y points up and the camera looks along -z; both are turned to COLMAP's convention on reading.
The i-th camera belongs to the i-th line of `list.txt`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.autocalibration.samples import Floats, Reference, Scene, Tracks, View, image_size, text, whole
from tenfold.core.files import Unreadable

_HEAD = "# Bundle file v0.3"
# Turns the camera's frame: y up to y down, looking along -z to looking along z.
_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Bundle:
    """Cameras: f, k1, k2 (C, 3), R (C, 3, 3), t (C, 3), looking along z; points X (P, 3); observations with centred x, y (px, y down)."""

    radial: Floats
    R: Floats
    t: Floats
    X: Floats
    tracks: Tracks


def is_scene(folder: Path) -> bool:
    """Whether a folder holds a reconstruction and the list of its images."""
    return any(folder.glob("*.out")) and _list(folder) is not None


def read_out(path: Path) -> Bundle:
    """The reconstruction in `path`. Raises Unreadable with the line where it ends or is wrong."""
    lines = text(path)
    if not lines or not lines[0].startswith(_HEAD):
        raise Unreadable("unreadable_file", f"{path.name} line 1: {_HEAD!r} is wanted")
    reader = _Lines(path.name, lines, 1)
    cameras, points = (whole(each, reader.where()) for each in reader.take(2))
    if 5 * cameras + 3 * points > len(lines):
        raise Unreadable(
            "truncated_file", f"{path.name} line {len(lines)}: the file ends there, {cameras} cameras and {points} points need more"
        )
    radial, R, t = np.empty((cameras, 3)), np.empty((cameras, 3, 3)), np.empty((cameras, 3))
    for index in range(cameras):
        radial[index] = reader.take(3)
        R[index] = [reader.take(3) for _ in range(3)]
        t[index] = reader.take(3)
        if not (np.isfinite(radial[index]).all() and (np.abs(R[index]) < 2).all() and (np.abs(t[index]) < 1e30).all()):
            raise Unreadable("unreadable_file", f"{reader.where()}: the camera that ends there is not finite, or its R no rotation")
    X = np.empty((points, 3))
    rows: list[tuple[float, ...]] = []
    for index in range(points):
        X[index] = reader.take(3)
        reader.take(3)
        seen = reader.take()
        count = whole(seen[0], reader.where()) if seen else -1
        if len(seen) != 1 + 4 * count:
            raise Unreadable(
                "truncated_file", f"{reader.where()}: a track of {count} views has {4 * count} numbers, {len(seen) - 1} stand there"
            )
        for first in range(1, len(seen), 4):
            view, _, x, y = seen[first : first + 4]
            if whole(view, reader.where()) >= cameras:
                raise Unreadable("unknown_image", f"{reader.where()}: there is no camera {view:g}, the file has {cameras}")
            rows.append((index, view, x, -y))
    table = np.array(rows).reshape(-1, 4)
    tracks = Tracks(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2].copy(), table[:, 3].copy())
    return Bundle(radial, _FLIP @ R, t @ _FLIP, X, tracks)


def scene(bundle: Bundle, name: str, names: list[str], photos: list[Path], sizes: list[tuple[int, int]]) -> Scene:
    """A reconstruction as a scene of one camera; the reference focal and radial terms are the means of the cameras'.

    Cameras without focal length were never registered and are left out. `sizes` are (width, height) px.
    """
    there = [index for index, f in enumerate(bundle.radial[:, 0]) if f > 0]
    warnings = [] if len(there) == len(names) else [f"{len(names) - len(there)} images are not registered and left out"]
    views = []
    for index in there:
        width, height = sizes[index]
        # One K for all: a mean over cameras that were refined apart.
        alike = [each for each in there if sizes[each] == sizes[index]]
        f, k1, k2 = (float(each) for each in bundle.radial[alike].mean(0))
        pose = (*map(float, bundle.R[index].reshape(-1)), *map(float, bundle.t[index]))
        views.append(View(names[index], "0", width, height, photos[index], Reference((f, f, width / 2, height / 2, 0.0), k1, k2, pose)))
    place = np.full(len(names), -1)
    place[there] = np.arange(len(there))
    tracks = bundle.tracks
    half = np.array(sizes, float).reshape(-1, 2) / 2
    moved = Tracks(tracks.track, place[tracks.view], tracks.x + half[tracks.view, 0], tracks.y + half[tracks.view, 1])
    return Scene(name, views, moved.where(moved.view >= 0), warnings=warnings)


def read(source: Path, folder: Path, name: str) -> Scene:
    """The scene in `source / folder`: one `.out`, `list.txt`, the photos. Raises Unreadable with file and line."""
    base = source / folder
    outs = sorted(base.glob("*.out"))
    if len(outs) != 1:
        raise Unreadable("ambiguous", f"{len(outs)} files end with .out ({', '.join(each.name for each in outs)}); keep one")
    listed = _list(base)
    if listed is None:
        raise Unreadable("missing_file", "list.txt, which names the photos of the reconstruction, is missing")
    bundle = read_out(outs[0])
    names = [line.split()[0] for line in text(listed) if line.strip()]
    if len(names) != len(bundle.radial):
        raise Unreadable("image_count", f"{listed.name} names {len(names)} photos, {outs[0].name} has {len(bundle.radial)} cameras")
    photos = [folder / each for each in names]
    # A photo that is missing fails by itself later; its tracks need no size then.
    sizes = [image_size(source, each, decode=False) if (source / each).is_file() else (1, 1) for each in photos]
    return scene(bundle, name, names, photos, sizes)


def _list(folder: Path) -> Path | None:
    return next((folder / each for each in ("list.txt", "list_focal.txt") if (folder / each).is_file()), None)


class _Lines:
    """Numbers line by line; what is missing or no number raises Unreadable with the line."""

    def __init__(self, name: str, lines: list[str], at: int) -> None:
        self.name, self.lines, self.at = name, lines, at

    def where(self) -> str:
        return f"{self.name} line {self.at}"

    def take(self, count: int | None = None) -> list[float]:
        self.at += 1
        if self.at > len(self.lines):
            raise Unreadable("truncated_file", f"{self.where()}: the file ends there")
        try:
            found = [float(each) for each in self.lines[self.at - 1].split()]
        except ValueError:
            raise Unreadable("unreadable_file", f"{self.where()}: {self.lines[self.at - 1][:60]!r} are no numbers") from None
        if count is not None and len(found) != count:
            raise Unreadable("truncated_file", f"{self.where()}: {count} numbers are wanted, {len(found)} stand there")
        return found

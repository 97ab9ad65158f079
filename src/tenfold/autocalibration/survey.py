"""Every scene of a dataset, read and judged: image by image, observation by observation, then as groups of one camera.

Layouts: `colmap`, `eth3d`, `strecha`, `bundler`, `images`; `balbianello` and the generated scenes pass the same judgement.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.autocalibration import bundler, colmap_db, colmap_model, eth3d, photos, strecha
from tenfold.autocalibration.config import Dataset
from tenfold.autocalibration.samples import (
    Scene,
    Tracks,
    View,
    empty_row,
    file_facts,
    image_size,
    parquet,
    view_row,
)
from tenfold.core import ingest
from tenfold.core.errors import UsageError
from tenfold.core.files import Unreadable
from tenfold.core.progress import Progress

# Beyond half a frame outside it, an observation is a mistake.
_BEYOND = 0.5


@dataclass(frozen=True)
class Layout:
    """How a folder is recognised as one scene, and read."""

    is_scene: Callable[[Path], bool]
    read: Callable[[Path, Path, str], Scene]


def _colmap(folder: Path) -> bool:
    return (folder / "database.db").is_file() or (folder / "sparse" / "0").is_dir()


def _read_colmap(source: Path, folder: Path, name: str) -> Scene:
    """Tracks of the database; without one, of the sparse model. Photos may be absent if there is no folder `images`."""
    base = source / folder
    model = colmap_model.read(base / "sparse" / "0") if (base / "sparse" / "0").is_dir() else None
    has_photos = (base / "images").is_dir()

    def photo(title: str) -> Path | None:
        return folder / "images" / title if has_photos else None

    if (base / "database.db").is_file():
        return colmap_db.scene(colmap_db.read(base / "database.db"), name, photo, model)
    if model is None:
        raise Unreadable("missing_file", "neither database.db nor sparse/0 is there")
    return colmap_model.scene(model, name, photo)


# In the order in which a folder is recognised: the first that fits.
LAYOUTS = {
    "eth3d": Layout(eth3d.is_scene, eth3d.read),
    "strecha": Layout(strecha.is_scene, strecha.read),
    "bundler": Layout(bundler.is_scene, bundler.read),
    "colmap": Layout(_colmap, _read_colmap),
    "images": Layout(photos.is_scene, photos.read),
}
OWN = ("synthetic", "balbianello")


@dataclass(frozen=True)
class Pending:
    """A scene that is still to be read."""

    name: str
    read: Callable[[], Scene]


class Survey(ingest.Survey):
    """All that was found in a dataset."""

    def counts(self) -> dict[str, int]:
        """Images of each motion (`photos` for what is not generated), scenes, and rows in the quarantine."""
        counts = Counter(row["motion"] or "photos" for row in self.samples)
        more = {"scenes": len({row["scene"] for row in self.samples}), "quarantine": len(self.quarantine)}
        return dict(sorted(counts.items())) | more


def recognise(source: Path) -> str:
    """The layout that a folder, or its subfolders, look like. Raises UsageError if none does."""
    for name in LAYOUTS:
        if find(source, name):
            return name
    raise UsageError(
        f"{source} looks like none of {', '.join(LAYOUTS)}: no database.db, model, .camera, .out or photos. Name another folder."
    )


def find(source: Path, layout: str) -> list[Pending]:
    """The scenes below `source`: itself, or each subfolder that looks like one."""
    how = LAYOUTS[layout]
    if how.is_scene(source):
        places = [Path()]
    else:
        inside = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
        places = [path.relative_to(source) for path in inside if how.is_scene(path)]
    names = _names([each.name or source.resolve().name for each in places])
    return [Pending(name, _reader(how, source, each, name)) for name, each in zip(names, places, strict=True)]


def survey(
    scenes: Iterable[Pending], source: Path, block: Dataset, files: Path | None, progress: Progress, total: int | None = None
) -> Survey:
    """Read and judge every scene. Its tracks are written below `files`, or (None) only looked at; nothing else is written."""
    whole = Survey()
    progress.stage("read", total=total)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for pending in scenes:
            try:
                _judge(whole, pending.read(), source, block, files, pool)
            except Unreadable as problem:
                whole.quarantine.append(empty_row(pending.name) | {"reason": problem.reason, "detail": problem.detail})
            progress.advance()
    _judge_whole(whole, source, block)
    return whole


def _reader(how: Layout, source: Path, place: Path, name: str) -> Callable[[], Scene]:
    return lambda: how.read(source, place, name)


def _names(titles: Sequence[str]) -> list[str]:
    """Names for files: plain, and different."""
    names: list[str] = []
    for title in titles:
        plain = "".join(each if each.isalnum() or each in "-_." else "_" for each in title).strip(".") or "scene"
        names.append(plain if plain not in names else f"{plain}-{len(names) + 1}")
    return names


@dataclass
class _Photo:
    """What the file of one view is."""

    sha256: str | None = None
    size: int | None = None
    problem: Unreadable | None = None


def _judge(whole: Survey, scene: Scene, source: Path, block: Dataset, files: Path | None, pool: ThreadPoolExecutor) -> None:
    looked = list(pool.map(lambda view: _photo(source, view), scene.views))
    for view, photo in zip(scene.views, looked, strict=True):
        if photo.problem:
            _refuse(whole, scene, scene.name, [(view, photo)], photo.problem)
    good = [index for index, photo in enumerate(looked) if photo.problem is None]
    try:
        tracks = None if scene.tracks is None else clean(scene, scene.tracks.where(np.isin(scene.tracks.view, good)), block.max_dropped)
    except Unreadable as problem:
        _refuse(whole, scene, scene.name, [(scene.views[index], looked[index]) for index in good], problem)
        return
    groups: dict[tuple[str, int, int], list[int]] = {}
    for index in good:
        view = scene.views[index]
        groups.setdefault((view.camera, view.width, view.height), []).append(index)
    for number, ((camera, width, height), members) in enumerate(groups.items()):
        name = scene.name if len(groups) == 1 else f"{scene.name}-{number}"
        mine = [(scene.views[index], looked[index]) for index in members]
        if len(members) < block.min_views:
            detail = (
                f"needs at least {block.min_views} views with one camera id; camera {camera} ({width} x {height} px) has {len(members)}"
            )
            _refuse(whole, scene, name, mine, Unreadable("too_few_views", detail))
            continue
        part = None if tracks is None else restrict(tracks, members)
        if part is not None and not len(part):
            _refuse(whole, scene, name, mine, Unreadable("no_tracks", "no point is seen by two of these views"))
            continue
        _accept(whole, scene, name, mine, part, files)


def _photo(source: Path, view: View) -> _Photo:
    if view.image is None:
        return _Photo()
    try:
        digest, size = file_facts(source, view.image)
        seen = image_size(source, view.image, decode=True)
        if seen != (view.width, view.height):
            told = f"{view.image} is {seen[0]} x {seen[1]} px, its camera {view.width} x {view.height}"
            return _Photo(digest, size, Unreadable("wrong_size", told))
        return _Photo(digest, size)
    except Unreadable as problem:
        return _Photo(problem=problem)


def _refuse(whole: Survey, scene: Scene, name: str, views: Sequence[tuple[View, _Photo]], problem: Unreadable) -> None:
    for view, photo in views:
        row = _row(replace(scene, name=name), name, None, view, photo)
        whole.quarantine.append(row | {"reason": problem.reason, "detail": problem.detail})


def _row(scene: Scene, name: str, index: int | None, view: View, photo: _Photo) -> dict[str, Any]:
    row = view_row(scene, name, index or 0, view)
    if index is None:
        row |= {"id": f"{name}/{view.name}", "view": None}
    if view.image is not None:
        row |= {"image_path": view.image.as_posix(), "image_sha256": photo.sha256, "image_bytes": photo.size}
    return row


def _accept(
    whole: Survey, scene: Scene, name: str, views: Sequence[tuple[View, _Photo]], tracks: Tracks | None, files: Path | None
) -> None:
    about: dict[str, Any] = {}
    if tracks is not None:
        content = parquet(tracks)
        path = Path("tracks") / f"{name}.parquet"
        about = {"tracks_path": path.as_posix(), "tracks_sha256": sha256(content).hexdigest(), "tracks_bytes": len(content)}
        if files is not None:
            (files / path).parent.mkdir(parents=True, exist_ok=True)
            (files / path).write_bytes(content)
    whole.samples += [_row(scene, name, index, view, photo) | about for index, (view, photo) in enumerate(views)]


def clean(scene: Scene, tracks: Tracks, max_dropped: float) -> Tracks:
    """`tracks` of the scene's good views without what cannot be; the scene's warnings count what was dropped.

    Dropped: observations that are not finite or lie more than half a frame outside, and all of one track that stand twice in a view.
    Raises Unreadable if more than the share `max_dropped` is not finite or outside.
    """
    size = np.array([(view.width, view.height) for view in scene.views], float).reshape(-1, 2)[tracks.view]
    x = np.stack([tracks.x, tracks.y], -1)
    with np.errstate(invalid="ignore"):
        keep = np.all(np.isfinite(x) & (x >= -_BEYOND * size) & (x <= (1 + _BEYOND) * size), axis=-1)
    wrong = int((~keep).sum())
    if wrong > max_dropped * len(tracks):
        share = wrong / len(tracks)
        raise Unreadable(
            "bad_coordinates",
            f"{wrong} of {len(tracks)} observations ({share:.0%}) are NaN, inf or outside the frame; allowed are {max_dropped:.0%}",
        )
    if wrong:
        scene.warnings.append(f"{wrong} observations dropped: NaN, inf or outside the frame")
    good = tracks.where(keep)
    pairs = np.stack([good.track, good.view], -1)
    _, inverse, times = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    once = times[inverse.reshape(-1)] == 1
    if not once.all():
        scene.warnings.append(f"{int((~once).sum())} observations dropped: their track stands twice in a view")
    return good.where(once)


def restrict(tracks: Tracks, views: Sequence[int]) -> Tracks:
    """The observations in `views`, which are numbered anew from 0, of tracks that still have two."""
    place = np.full(max([*views, int(tracks.view.max(initial=0))]) + 1, -1, np.int64)
    place[list(views)] = np.arange(len(views))
    mine = tracks.where(place[tracks.view] >= 0)
    _, inverse, times = np.unique(mine.track, return_inverse=True, return_counts=True)
    mine = mine.where(times[inverse] >= 2)
    return replace(mine, view=place[mine.view])


def _judge_whole(whole: Survey, source: Path, block: Dataset) -> None:
    """What shows only when all scenes are known: nothing left, too much quarantine, one photo given twice."""
    bad = whole.quarantine
    if not whole.samples:
        found = f"First: {bad[0]['id']}: {bad[0]['detail']}" if bad else "None was found."
        whole.errors.append(f"{source}: no scene can be used. {found}")
    else:
        whole.errors += ingest.too_many(source, len(whole.samples), bad, block.max_quarantine, "images")
    twins = ingest.twins(whole.samples, "image_sha256")
    if twins:
        whole.warnings.append(
            f"{len(twins)} photos stand more than once, such as {twins[0][0]} and {twins[0][1]}: no baseline between them"
        )

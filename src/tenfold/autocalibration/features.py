"""Tracks and epipolar geometry of every scene: from the dataset's correspondences, or by matching its photographs.

One scene at a time is in memory; a killed run goes on behind the last whole scene.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tenfold.autocalibration import config
from tenfold.core import atomic, tables
from tenfold.core.errors import BadData
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRACKS = pa.schema(
    {"scene": pa.string(), "track": pa.int64(), "view": pa.int32(), "x": pa.float64(), "y": pa.float64(), "source": pa.string()}
)
PAIRS = pa.schema(
    {
        "scene": pa.string(), "i": pa.int32(), "j": pa.int32(), "matches": pa.int64(), "inliers": pa.int64(),
        "homography_ratio": pa.float64(), **{f"f{n}": pa.float64() for n in range(9)},
    }
)  # fmt: skip
SCENES = pa.schema({"scene": pa.string(), "views": pa.int64(), "tracks": pa.int64(), "status": pa.string(), "detail": pa.string()})
TABLES = {"tracks": TRACKS, "pairs": PAIRS, "scenes": SCENES}
TOGETHER = 16  # scenes with correspondences in one part
LEAST = 8  # matches without which a pair has no fundamental matrix


@dataclass(frozen=True)
class Observations:
    """Where tracks are seen: for each view its tracks (n,) in ascending order, and their image points (n, 2) in px."""

    ids: dict[int, Ints]
    points: dict[int, Floats]

    @classmethod
    def of(cls, track: Ints, view: Ints, x: Floats) -> "Observations":
        """From rows: track (n,), view (n,), x (n, 2), each pair of track and view at most once."""
        ids, points = {}, {}
        for each in np.unique(view):
            rows = np.flatnonzero(view == each)
            rows = rows[np.argsort(track[rows], kind="stable")]
            ids[int(each)], points[int(each)] = track[rows].astype(np.int64), x[rows].astype(np.float64)
        return cls(ids, points)

    @property
    def views(self) -> list[int]:
        """Views that see anything, in ascending order."""
        return sorted(self.ids)

    def common(self, views: Sequence[int]) -> tuple[Ints, Floats]:
        """Tracks (n,) that all these views see, and their image points (V, n, 2)."""
        none = np.zeros(0, dtype=np.int64)
        found = self.ids.get(views[0], none)
        for view in views[1:]:
            found = found[np.isin(found, self.ids.get(view, none), assume_unique=True)]
        if not len(found):
            return found, np.zeros((len(views), 0, 2))
        return found, np.stack([self.points[view][np.searchsorted(self.ids[view], found)] for view in views])

    def at_least(self, views: int) -> int:
        """Number of tracks that so many views see."""
        every = np.concatenate([*self.ids.values(), np.zeros(0, dtype=np.int64)])
        return int(np.sum(np.unique(every, return_counts=True)[1] >= views))


@dataclass(frozen=True)
class Pair:
    """Two views i < j: common tracks, those that fit F (x_j^T F x_i = 0), and the share of these that one homography explains."""

    i: int
    j: int
    matches: int
    inliers: int
    homography_ratio: float
    F: Floats


@dataclass(frozen=True)
class Scene:
    """A scene as the methods see it."""

    name: str
    tracks: Observations
    pairs: dict[tuple[int, int], Pair]
    status: str = "ok"
    detail: str = ""


def run(dataset: Path, files: Path, block: config.Features, out: Path, progress: Progress) -> Made:
    """Tracks, pairs and scenes of the folder `dataset` (samples.parquet, tracks), whose photographs' paths start at `files`.

    Writes `out/tracks.parquet` (an observation a row), `out/pairs.parquet`, `out/scenes.parquet` (status ok | too_few; what was dropped).
    A scene with correspondences takes them; plain photographs are matched. Raises BadData for a file that is missing or damaged.
    """
    samples = _by_scene(tables.read(dataset / "samples.parquet"))
    parts, made = out / "parts", _chunks(samples)
    progress.stage("features", total=len(samples))
    for number, names in enumerate(made):
        part = parts / f"{number:06d}"
        if not part.is_dir():
            found = [_tables(*read_scene(name, samples[name], files, block, out / "scratch", dataset)) for name in names]
            with atomic.new_folder(part) as folder:
                for table, schema in TABLES.items():
                    with pq.ParquetWriter(folder / f"{table}.parquet", schema, compression="zstd") as writer:
                        for each in found:
                            writer.write_table(each[table])
        progress.advance(len(names))
    counts = {name: _join(parts, len(made), name, out) for name in TABLES}
    shutil.rmtree(parts, ignore_errors=True)
    return _made(out, counts)


def _chunks(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """Scenes that are stored together, which is what a kill may cost: some with correspondences, or one that must be matched."""
    chunks: list[list[str]] = []
    for name, rows in samples.items():
        alone = not rows[0].get("tracks_path")
        if alone or not chunks or len(chunks[-1]) >= TOGETHER or not samples[chunks[-1][0]][0].get("tracks_path"):
            chunks.append([])
        chunks[-1].append(name)
    return chunks


def read_scene(
    name: str, rows: Sequence[Mapping[str, Any]], files: Path, block: config.Features, scratch: Path, tracks: Path | None = None
) -> tuple[Scene, str]:
    """One scene from its rows of samples.parquet, and where its tracks are from: `file` (below `tracks`, default `files`) or `matched`."""
    path = rows[0].get("tracks_path")
    if path:
        observations, detail = read_tracks((tracks or files) / path, {int(row["view"]) for row in rows})
        source = "file"
    else:
        missing = [row["view"] for row in rows if not row.get("image_path")]
        if missing:
            raise BadData(f"scene {name}: view {missing[0]} has neither correspondences nor a photograph; make the dataset again")
        photographs = [(int(row["view"]), files / row["image_path"]) for row in rows]
        observations, detail = from_photographs(photographs, block, scratch)
        source = "matched"
    return verified(name, observations, block, detail), source


def from_photographs(
    photographs: Sequence[tuple[int, Path]], block: config.Features, scratch: Path, progress: Progress | None = None
) -> tuple[Observations, str]:
    """Tracks of photographs (view, file), and what was dropped."""
    from tenfold.autocalibration import matching

    found = matching.match(photographs, block.max_keypoints, scratch, progress)
    joined, conflicts = matching.tracks(found, block.threshold_px, block.min_matches, block.seed)
    made = Observations.of(joined.track, joined.view, np.stack([joined.x, joined.y], axis=1))
    return made, f"{conflicts} tracks dropped: they meet a view twice" if conflicts else ""


def read_tracks(path: Path, views: set[int]) -> tuple[Observations, str]:
    """Correspondences of one scene from its file (track, view, x, y), and what was dropped. Raises BadData, Corrupt."""
    table = tables.read(path)
    lacking = [name for name in ("track", "view", "x", "y") if name not in table.column_names]
    if lacking:
        raise BadData(f"{path} has no column `{lacking[0]}` (columns: {', '.join(table.column_names)}); make the dataset again")
    track, view = (table.column(name).to_numpy().astype(np.int64) for name in ("track", "view"))
    x = np.stack([table.column(name).to_numpy().astype(np.float64) for name in ("x", "y")], axis=1)
    return clean(track, view, x, views)


def clean(track: Ints, view: Ints, x: Floats, views: set[int] | None = None) -> tuple[Observations, str]:
    """Observations without what cannot be used, in words: no number, an unknown view, a track twice in a view (none of them is kept)."""
    good = np.isfinite(x).all(axis=1)
    known = np.isin(view, list(views)) if views is not None else np.ones(len(view), dtype=bool)
    keep = good & known
    track, view, x = track[keep], view[keep], x[keep]
    _, back, counts = np.unique(np.stack([track, view], axis=1), axis=0, return_inverse=True, return_counts=True)
    once = counts[back.ravel()] == 1 if len(track) else np.zeros(0, dtype=bool)
    said = [
        (int((~good).sum()), "without a number"),
        (int((good & ~known).sum()), "of unknown views"),
        (int((~once).sum()), "twice in a view"),
    ]
    detail = ", ".join(f"{count} observations {what} dropped" for count, what in said if count)
    return Observations.of(track[once], view[once], x[once]), detail


def verified(name: str, observations: Observations, block: config.Features, detail: str = "") -> Scene:
    """The scene with the epipolar geometry of every pair of views that has enough common tracks."""
    pairs = {}
    for i, j in combinations(observations.views, 2):
        _, x = observations.common((i, j))
        if x.shape[1] >= max(block.min_matches, LEAST) and (pair := _epipolar(i, j, x, block.threshold_px, block.seed)):
            pairs[i, j] = pair
    if not pairs:
        few = f"no two views have {max(block.min_matches, LEAST)} common tracks"
        return Scene(name, observations, pairs, "too_few", f"{few}; {detail}" if detail else few)
    return Scene(name, observations, pairs, "ok", detail)


def within(scene: Scene, threshold_px: float, seed: int) -> Scene:
    """The scene with the epipolar geometry of its pairs found again for another threshold; a pair that has none then is left out."""
    found = (_epipolar(i, j, scene.tracks.common((i, j))[1], threshold_px, seed) for i, j in scene.pairs)
    return replace(scene, pairs={(pair.i, pair.j): pair for pair in found if pair})


def _epipolar(i: int, j: int, x: Floats, threshold_px: float, seed: int) -> Pair | None:
    """The pair of views i < j from its common image points x (2, n, 2); None if it has no fundamental matrix."""
    from tenfold.autocalibration import two_view

    F, inliers = two_view.fundamental_ransac(x[0], x[1], threshold_px, seed)
    if F is None:
        return None
    ratio = two_view.homography_ratio(x[0], x[1], inliers, 1.5 * threshold_px, seed)
    return Pair(i, j, x.shape[1], int(inliers.sum()), float(ratio), np.asarray(F, dtype=np.float64))


def read_scenes(folder: Path, names: Sequence[str] | None = None) -> Iterator[Scene]:
    """The scenes that `run` wrote, one at a time, in the order of the table; `names`: only these."""
    scenes = tables.read(folder / "scenes.parquet").to_pylist()
    for row in scenes:
        name = row["scene"]
        if names is not None and name not in names:
            continue
        found = pq.read_table(folder / "tracks.parquet", filters=[("scene", "=", name)], partitioning=None)
        pairs = pq.read_table(folder / "pairs.parquet", filters=[("scene", "=", name)], partitioning=None).to_pylist()
        x = np.stack([found.column("x").to_numpy(), found.column("y").to_numpy()], axis=1)
        observations = Observations.of(found.column("track").to_numpy(), found.column("view").to_numpy(), x)
        yield Scene(name, observations, {(pair["i"], pair["j"]): _pair(pair) for pair in pairs}, row["status"], row["detail"])


def _pair(row: Mapping[str, Any]) -> Pair:
    F = np.array([row[f"f{n}"] for n in range(9)], dtype=np.float64).reshape(3, 3)
    return Pair(row["i"], row["j"], row["matches"], row["inliers"], row["homography_ratio"], F)


def _by_scene(samples: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Rows of each scene in ascending order of views, scenes by name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in samples.to_pylist():
        found.setdefault(row["scene"], []).append(row)
    return {name: sorted(found[name], key=lambda row: int(row["view"])) for name in sorted(found)}


def _tables(scene: Scene, source: str) -> dict[str, pa.Table]:
    tracks = scene.tracks
    count = [len(tracks.ids[view]) for view in tracks.views]
    ids = np.concatenate([*(tracks.ids[view] for view in tracks.views), np.zeros(0, dtype=np.int64)])
    points = np.concatenate([*(tracks.points[view] for view in tracks.views), np.zeros((0, 2))])
    columns = {
        "scene": [scene.name] * len(ids), "track": ids, "view": np.repeat(np.array(tracks.views, dtype=np.int32), count),
        "x": points[:, 0], "y": points[:, 1], "source": [source] * len(ids),
    }  # fmt: skip
    pairs = [
        {
            "scene": scene.name, "i": pair.i, "j": pair.j, "matches": pair.matches, "inliers": pair.inliers,
            "homography_ratio": pair.homography_ratio, **{f"f{n}": value for n, value in enumerate(pair.F.ravel().tolist())},
        }
        for pair in scene.pairs.values()
    ]  # fmt: skip
    row = {"scene": scene.name, "views": len(tracks.views), "tracks": tracks.at_least(2), "status": scene.status, "detail": scene.detail}
    return {
        "tracks": pa.table(columns, schema=TRACKS),
        "pairs": pa.Table.from_pylist(pairs, PAIRS),
        "scenes": pa.Table.from_pylist([row], SCENES),
    }


def _join(parts: Path, count: int, name: str, out: Path) -> int:
    """Streams the parts' tables into one, a group of rows for each scene; number of rows."""
    rows = 0
    with atomic.new_file(out / f"{name}.parquet") as temporary, pq.ParquetWriter(temporary, TABLES[name], compression="zstd") as writer:
        for number in range(count):
            with pq.ParquetFile(parts / f"{number:06d}" / f"{name}.parquet") as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group)
                    rows += len(table)
                    writer.write_table(table)
    return rows


def _made(out: Path, counts: Mapping[str, int]) -> Made:
    scenes = tables.read(out / "scenes.parquet").to_pylist()
    remarks = [[row["scene"], row["status"], row["detail"]] for row in scenes if row["detail"]]
    notes = [
        Note("Scenes", "int", counts["scenes"]),
        Note("Observations", "int", counts["tracks"]),
        Note("Pairs of views", "int", counts["pairs"]),
        Note("Remarks", "table", {"columns": ["scene", "status", "detail"], "rows": remarks[:50]}),
    ]
    usable = sum(row["status"] == "ok" for row in scenes)
    return Made(notes=notes, facts={"scenes": len(scenes), "usable": usable, "tracks": sum(row["tracks"] for row in scenes)})

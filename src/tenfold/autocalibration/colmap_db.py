"""COLMAP's database of key points and matches, and the tracks that its matches chain to. Read without COLMAP, never written to.

Key points are px with the centre of the top-left pixel at (0.5, 0.5); pair_id = id1 * 2147483647 + id2 with id1 < id2.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import colmap_model
from tenfold.autocalibration.colmap_model import MODELS, NUMBERS, Camera, Model
from tenfold.autocalibration.samples import Floats, Scene, Tracks, View
from tenfold.core.errors import BadData
from tenfold.core.files import Unreadable

PAIR = 2147483647
_CALIBRATED = 2
_TABLES = ("cameras", "images", "keypoints", "matches", "two_view_geometries")

_SCHEMA = f"""
CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL, width INTEGER NOT NULL,
  height INTEGER NOT NULL, params BLOB, prior_focal_length INTEGER NOT NULL);
CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL,
  CONSTRAINT image_id_check CHECK(image_id >= 0 and image_id < {PAIR}), FOREIGN KEY(camera_id) REFERENCES cameras(camera_id));
CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
  FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE descriptors (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
  FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE matches (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB);
CREATE TABLE two_view_geometries (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
  config INTEGER NOT NULL, F BLOB, E BLOB, H BLOB, qvec BLOB, tvec BLOB);
CREATE UNIQUE INDEX index_name ON images(name);
"""


@dataclass(frozen=True)
class Database:
    """Cameras; image id -> (name, camera id), key points (n, 2); pair of image ids -> matches (m, 2); `verified`: by geometry."""

    cameras: dict[int, Camera]
    images: dict[int, tuple[str, int]]
    keypoints: dict[int, Floats]
    pairs: dict[tuple[int, int], npt.NDArray[np.uint32]]
    verified: bool


def read(path: Path) -> Database:
    """The whole database; verified matches if it has any, else the raw ones. Raises Unreadable with table and row, or the byte where it ends."""
    _whole(path)
    with _opened(path) as link:
        there = {name for (name,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        missing = [name for name in _TABLES[:3] if name not in there]
        if missing:
            raise Unreadable("unreadable_database", f"{path.name} has no table {missing[0]}: it is no database of COLMAP")
        cameras = {}
        for key, number, width, height, params in link.execute("SELECT camera_id, model, width, height, params FROM cameras"):
            where = f"{path.name}: cameras, row {key}"
            if number not in MODELS:
                raise Unreadable("unknown_camera", f"{where}: model {number} is unknown")
            name, count = MODELS[number]
            values = _blob(params, "<f8", 1, count, where)
            cameras[key] = Camera(name, width, height, tuple(values[0].tolist()))
        images = {key: (name, camera) for key, name, camera in link.execute("SELECT image_id, name, camera_id FROM images")}
        for key, (name, camera) in images.items():
            if camera not in cameras:
                raise Unreadable(
                    "unknown_camera", f"{path.name}: images, row {key} ({name}): camera {camera} is not in the table of cameras"
                )
        keypoints = {key: np.empty((0, 2)) for key in images}
        for key, rows, columns, data in link.execute("SELECT image_id, rows, cols, data FROM keypoints"):
            if key in images:
                found = _blob(data, "<f4", rows, columns, f"{path.name}: keypoints, row {key}")
                keypoints[key] = found[:, :2].astype(np.float64)
        pairs: dict[tuple[int, int], npt.NDArray[np.uint32]] = {}
        source = ""
        for source in (each for each in ("two_view_geometries", "matches") if each in there):
            pairs = dict(_pairs(link, source, keypoints, path.name))
            if pairs:
                break
    return Database(cameras, images, keypoints, pairs, source == "two_view_geometries")


def tracks(database: Database, order: list[int]) -> tuple[Tracks, int]:
    """Matches chained to tracks, and how many chains were dropped because they meet an image twice. `view` counts the ids of `order`.

    A chain with two points of one image joins different 3D points somewhere, and nothing says where: none of it is kept.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    counts = [len(database.keypoints[each]) for each in order]
    first = dict(zip(order, np.concatenate([[0], np.cumsum(counts)]).tolist(), strict=False))
    total = sum(counts)
    ends = [np.stack([first[i] + m[:, 0].astype(np.int64), first[j] + m[:, 1].astype(np.int64)]) for (i, j), m in database.pairs.items()]
    edges = np.concatenate(ends, axis=1) if ends else np.empty((2, 0), np.int64)
    if not edges.size:
        nothing = np.empty(0, np.int64)
        return Tracks(nothing, nothing, np.empty(0), np.empty(0)), 0
    graph = coo_array((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(total, total))
    label = connected_components(graph, directed=False)[1].astype(np.int64)
    view = np.repeat(np.arange(len(order)), counts)
    points = np.concatenate([database.keypoints[each] for each in order])
    matched = np.zeros(total, bool)
    matched[edges.ravel()] = True
    # Twice in an image: the same (chain, view) for two key points.
    _, inverse, times = np.unique(label[matched] * len(order) + view[matched], return_inverse=True, return_counts=True)
    conflicting = np.unique(label[matched][times[inverse] > 1])
    keep = matched & ~np.isin(label, conflicting)
    # Numbered by their first key point, whatever order the labels came in.
    chains, start, number = np.unique(label[keep], return_index=True, return_inverse=True)
    rank = np.empty(len(chains), np.int64)
    rank[np.argsort(start, kind="stable")] = np.arange(len(chains))
    x = points[keep]
    return Tracks(rank[number], view[keep].astype(np.int64), x[:, 0].copy(), x[:, 1].copy()), len(conflicting)


def scene(database: Database, name: str, photo: Callable[[str], Path | None], model: Model | None) -> Scene:
    """The database as a scene, images in order of their names; reference and poses by name from `model`, where there is one."""
    order = sorted(database.images, key=lambda each: database.images[each][0])
    by_name = {each.name: each for each in model.images.values()} if model else {}
    views = []
    for each in order:
        title, number = database.images[each]
        camera = database.cameras[number]
        known = None
        if model and title in by_name:
            image = by_name[title]
            known = colmap_model.reference(model.cameras[image.camera], image.R, image.t)
        views.append(View(title, str(number), camera.width, camera.height, photo(title), known))
    found, conflicts = tracks(database, order)
    warnings = [f"{conflicts} chains of matches dropped: they meet an image twice"] if conflicts else []
    if not database.verified:
        warnings.append("matches are not verified by geometry")
    return Scene(name, views, found, warnings=warnings)


def write(path: Path, database: Database) -> None:
    """A new database at `path` with one set of matches, as raw and (if `verified`) as verified ones. Raises BadData if the file is there."""
    if path.exists():
        raise BadData(f"{path} is there already. Name another file.")
    with closing(sqlite3.connect(path)) as link, link:
        link.executescript(_SCHEMA)
        for key, camera in database.cameras.items():
            params = np.array(camera.params, "<f8").tobytes()
            link.execute("INSERT INTO cameras VALUES (?, ?, ?, ?, ?, 0)", (key, NUMBERS[camera.model], camera.width, camera.height, params))
        for image, (name, number) in database.images.items():
            link.execute("INSERT INTO images VALUES (?, ?, ?)", (image, name, number))
            points = np.ascontiguousarray(database.keypoints[image], "<f4")
            link.execute("INSERT INTO keypoints VALUES (?, ?, 2, ?)", (image, len(points), points.tobytes()))
        for (i, j), matches in database.pairs.items():
            low, high = (matches, (i, j)) if i < j else (matches[:, ::-1], (j, i))
            data = np.ascontiguousarray(low, "<u4").tobytes()
            pair = high[0] * PAIR + high[1]
            link.execute("INSERT INTO matches VALUES (?, ?, 2, ?)", (pair, len(low), data))
            if database.verified:
                columns = "(pair_id, rows, cols, data, config)"
                link.execute(f"INSERT INTO two_view_geometries {columns} VALUES (?, ?, 2, ?, {_CALIBRATED})", (pair, len(low), data))


def _whole(path: Path) -> None:
    """Raises Unreadable for a file that is no database, or shorter than its own header says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        raise Unreadable("missing_file", f"{path.name} is missing") from None
    except OSError as error:
        raise Unreadable("unreadable_database", f"{path.name}: {error}") from error
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise Unreadable("unreadable_database", f"{path.name} byte 0: no SQLite database ({size} bytes)")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    wanted = page * int.from_bytes(head[28:32], "big")
    # The count of pages holds only if the file was last changed by the SQLite that wrote it.
    if head[24:28] == head[92:96] and size < wanted:
        raise Unreadable("truncated_file", f"{path.name} byte {size}: the database ends there, its header says {wanted}")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, read only. Without its write-ahead log beside it, SQLite is told that nobody writes: no file is then made."""
    plain = not path.with_name(f"{path.name}-wal").exists()
    address = f"file:{quote(str(path.resolve()))}?mode=ro{'&immutable=1' if plain else ''}"
    try:
        with closing(sqlite3.connect(address, uri=True)) as link:
            link.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
            yield link
    # A damaged page may also give a text where a number belongs.
    except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
        raise Unreadable("unreadable_database", f"{path.name}: {error} ({path.stat().st_size} bytes)") from error


def _blob(data: Any, kind: str, rows: int, columns: int, where: str) -> npt.NDArray[Any]:
    dtype = np.dtype(kind)
    size = len(data) if isinstance(data, bytes) else 0
    if size != rows * columns * dtype.itemsize or rows < 0 or columns < 1:
        raise Unreadable("truncated_blob", f"{where}: {size} bytes, {rows} x {columns} numbers need {rows * columns * dtype.itemsize}")
    return np.frombuffer(data or b"", dtype).reshape(rows, columns)


def _pairs(
    link: sqlite3.Connection, table: str, keypoints: dict[int, Floats], name: str
) -> Iterator[tuple[tuple[int, int], npt.NDArray[np.uint32]]]:
    for pair, rows, columns, data in link.execute(f"SELECT pair_id, rows, cols, data FROM {table} WHERE rows > 0 ORDER BY pair_id"):
        i, j = divmod(pair, PAIR)
        where = f"{name}: {table}, row {pair} (images {i} and {j})"
        if columns != 2:
            raise Unreadable("truncated_blob", f"{where}: {columns} columns, 2 are wanted")
        found = _blob(data, "<u4", rows, 2, where)
        if i not in keypoints or j not in keypoints:
            raise Unreadable("unknown_image", f"{where}: there is no such image")
        for side, image in enumerate((i, j)):
            if found[:, side].max() >= len(keypoints[image]):
                raise Unreadable(
                    "keypoint_count",
                    f"{where}: key point {found[:, side].max()} of image {image} is asked for, which has {len(keypoints[image])}",
                )
        yield (i, j), found

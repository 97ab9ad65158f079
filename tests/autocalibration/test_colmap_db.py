"""COLMAP's database: what is whole reads as pycolmap reads it, what is not says table, row or byte."""

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import colmap_db
from tenfold.autocalibration.colmap_db import PAIR, Database
from tenfold.autocalibration.colmap_model import Camera
from tenfold.core.errors import BadData
from tenfold.core.files import Unreadable

CAMERA = Camera("SIMPLE_RADIAL", 640, 480, (500.0, 320.0, 240.0, 0.01))


def made(matches: dict[tuple[int, int], list[tuple[int, int]]], points: int = 6, images: int = 3, verified: bool = True) -> Database:
    rng = np.random.default_rng(0)
    keypoints = {index: rng.uniform(0, 400, (points, 2)).astype(np.float32).astype(float) for index in range(1, images + 1)}
    pairs = {pair: np.array(each, np.uint32).reshape(-1, 2) for pair, each in matches.items()}
    return Database({1: CAMERA}, {index: (f"{index}.jpg", 1) for index in keypoints}, keypoints, pairs, verified)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    colmap_db.write(tmp_path / "database.db", made({(1, 2): [(0, 0), (1, 1), (2, 2)], (1, 3): [(0, 5)], (2, 3): [(2, 4)]}))
    return tmp_path / "database.db"


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as link, link:
        for each in statements:
            link.execute(each)


def test_what_was_written_is_read_and_the_file_stays_as_it_was(path: Path) -> None:
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    wanted = made({(1, 2): [(0, 0), (1, 1), (2, 2)], (1, 3): [(0, 5)], (2, 3): [(2, 4)]})
    found = colmap_db.read(path)
    assert (found.cameras, found.images, found.verified) == (wanted.cameras, wanted.images, True)
    for key, points in wanted.keypoints.items():
        assert (found.keypoints[key] == points).all()
    for pair, matches in wanted.pairs.items():
        assert (found.pairs[pair] == matches).all()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before and [each.name for each in path.parent.iterdir()] == ["database.db"]
    with pytest.raises(BadData, match="there already"):
        colmap_db.write(path, wanted)


def test_pycolmap_wrote_it(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    path = tmp_path / "theirs.db"
    rng = np.random.default_rng(1)
    points = {}
    with pycolmap.Database.open(str(path)) as theirs:
        camera = pycolmap.Camera(model="OPENCV", width=800, height=600, params=[700, 710, 400, 300, 0.1, 0.01, 0, 0])
        number = theirs.write_camera(camera)
        for name in ("b.png", "a.png"):
            image = theirs.write_image(pycolmap.Image(name=name, camera_id=number))
            points[image] = rng.uniform(0, 500, (4, 2)).astype(np.float32)
            theirs.write_keypoints(image, points[image])
        first, second = sorted(points)
        # written the other way round: COLMAP turns it
        theirs.write_matches(second, first, np.array([[0, 3], [1, 2]], np.uint32))
    found = colmap_db.read(path)
    assert found.cameras[number].params == (700, 710, 400, 300, 0.1, 0.01, 0, 0) and not found.verified
    assert (found.pairs[first, second] == [[3, 0], [2, 1]]).all()
    scene = colmap_db.scene(found, "theirs", lambda name: None, None)
    assert [view.name for view in scene.views] == ["a.png", "b.png"] and scene.warnings == ["matches are not verified by geometry"]
    assert scene.tracks is not None
    rows = {(t, v): (x, y) for t, v, x, y in zip(scene.tracks.track, scene.tracks.view, scene.tracks.x, scene.tracks.y, strict=True)}
    b, a = points[first], points[second]
    pairs = {frozenset([rows[t, 0], rows[t, 1]]) for t in range(2)}
    assert pairs == {
        frozenset([tuple(map(float, a[0])), tuple(map(float, b[3]))]),
        frozenset([tuple(map(float, a[1])), tuple(map(float, b[2]))]),
    }


def test_chains_become_tracks_and_conflicts_are_dropped_whole() -> None:
    # 1:0-2:0-3:0 is a track of three; 1:1-2:1-3:1 and 1:2-3:1 meet image 1 twice; 2:5-3:5 is a pair; the rest is unmatched
    database = made({(1, 2): [(0, 0), (1, 1)], (2, 3): [(0, 0), (1, 1), (5, 5)], (1, 3): [(2, 1)]})
    found, conflicts = colmap_db.tracks(database, [1, 2, 3])
    assert conflicts == 1
    assert sorted(zip(found.track.tolist(), found.view.tolist(), strict=True)) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]
    assert found.x[(found.track == 1) & (found.view == 2)] == database.keypoints[3][5, 0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([(1, 2), (1, 3), (2, 3), (1, 4), (3, 4)]), st.integers(0, 7), st.integers(0, 7)), max_size=25),
    st.permutations([1, 2, 3, 4]),
)
def test_tracks_are_the_components_that_plain_union_find_gives(matches: list[tuple[tuple[int, int], int, int]], order: list[int]) -> None:
    pairs: dict[tuple[int, int], list[tuple[int, int]]] = {}
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(node: tuple[int, int]) -> tuple[int, int]:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for (i, j), p, q in matches:
        pairs.setdefault((i, j), []).append((p, q))
        parent[root((i, p))] = root((j, q))
    chains: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for node in list(parent):
        chains.setdefault(root(node), []).append(node)
    good = [chain for chain in chains.values() if len({image for image, _ in chain}) == len(chain)]
    found, conflicts = colmap_db.tracks(made(pairs, 8, 4), order)
    assert conflicts == len(chains) - len(good)
    keypoints = made(pairs, 8, 4).keypoints
    wanted = {frozenset((image, float(keypoints[image][point, 0])) for image, point in chain) for chain in good}
    seen: dict[int, set[tuple[int, float]]] = {}
    for track, view, x in zip(found.track.tolist(), found.view.tolist(), found.x.tolist(), strict=True):
        seen.setdefault(track, set()).add((order[view], x))
    assert {frozenset(each) for each in seen.values()} == wanted and sorted(seen) == list(range(len(wanted)))


def test_no_matches_give_no_tracks() -> None:
    found, conflicts = colmap_db.tracks(made({}), [1, 2, 3])
    assert len(found) == 0 and conflicts == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def cut_to_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def no_database(path: Path) -> None:
    path.write_bytes(b"hello" * 100)


def garbage_inside(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xff" * (4096 - 100)
    path.write_bytes(bytes(data))


def short_blob(path: Path) -> None:
    change(path, "UPDATE keypoints SET data = X'0102' WHERE image_id = 2")


def more_rows(path: Path) -> None:
    change(path, "UPDATE two_view_geometries SET rows = rows + 1")


def too_few_keypoints(path: Path) -> None:
    change(path, "UPDATE keypoints SET rows = 5, data = substr(data, 1, 40) WHERE image_id = 3")


def unknown_image(path: Path) -> None:
    change(path, "DELETE FROM keypoints WHERE image_id = 3", "DELETE FROM images WHERE image_id = 3")


def unknown_model(path: Path) -> None:
    change(path, "UPDATE cameras SET model = 99")


def short_params(path: Path) -> None:
    change(path, "UPDATE cameras SET params = substr(params, 1, 8)")


def no_camera(path: Path) -> None:
    change(path, "UPDATE images SET camera_id = 7 WHERE image_id = 2")


def no_table(path: Path) -> None:
    change(path, "DROP TABLE keypoints")


def absent(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        (cut, "truncated_file", "database.db byte"),
        (cut_to_header, "unreadable_database", "byte 0"),
        (no_database, "unreadable_database", "no SQLite"),
        (garbage_inside, "unreadable_database", "malformed|database"),
        (short_blob, "truncated_blob", "keypoints, row 2: 2 bytes, 6 x 2 numbers need 48"),
        (more_rows, "truncated_blob", "two_view_geometries, row"),
        (too_few_keypoints, "keypoint_count", "images 1 and 3.*key point 5 of image 3.*has 5"),
        (unknown_image, "unknown_image", f"row {PAIR + 3}"),
        (unknown_model, "unknown_camera", "cameras, row 1: model 99"),
        (short_params, "truncated_blob", "cameras, row 1: 8 bytes"),
        (no_camera, "unknown_camera", "images, row 2 .2.jpg.: camera 7"),
        (no_table, "unreadable_database", "no table keypoints"),
        (absent, "missing_file", "database.db is missing"),
    ],
)
def test_what_is_broken_says_where(path: Path, spoil: Callable[[Path], None], reason: str, words: str) -> None:
    spoil(path)
    with pytest.raises(Unreadable, match=words) as caught:
        colmap_db.read(path)
    assert caught.value.reason == reason

"""Tracks and pairs of scenes: bounded, resumable, and what cannot be used is counted, not kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from autocalibration.small_scenes import scene

from tenfold.autocalibration import config, features, geometry, samples
from tenfold.core import tables
from tenfold.core.errors import BadData
from tenfold.core.progress import Progress

BLOCK = config.Features(threshold_px=2.0, max_keypoints=2000, min_matches=15, seed=0)


def rows(made: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    view, track = np.divmod(np.arange(made.shape[0] * made.shape[1]), made.shape[1])
    return track, view, made.reshape(-1, 2)


def dataset(root: Path, scenes: dict[str, np.ndarray]) -> Path:
    """A dataset folder with one file of correspondences a scene."""
    table = []
    for name, x in scenes.items():
        track, view, points = rows(x)
        path = Path("files/tracks") / f"{name}.parquet"
        columns = [track, view.astype(np.int32), points[:, 0], points[:, 1]]
        tables.write(pa.Table.from_arrays([pa.array(each) for each in columns], schema=samples.TRACKS_SCHEMA), root / path)
        for each in range(len(x)):
            row = dict.fromkeys(samples.SAMPLES_SCHEMA.names)
            row |= {
                "id": f"{name}/{each}",
                "scene": name,
                "view": each,
                "camera": "0",
                "tracks_path": str(path),
                "width": 640,
                "height": 480,
            }
            table.append(row)
    tables.write(pa.Table.from_pylist(table, samples.SAMPLES_SCHEMA), root / "samples.parquet")
    return root


def digest(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_tables_and_scenes(tmp_path: Path) -> None:
    good, bare = scene(0, points=60, noise=0.3), scene(1, points=60)
    made = features.run(dataset(tmp_path / "d", {"b": good.x, "a": bare.x[:, :9]}), tmp_path / "d", BLOCK, tmp_path / "out", Progress())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pairs.parquet", "scenes.parquet", "tracks.parquet"]
    assert made.facts == {"scenes": 2, "usable": 1, "tracks": 69}
    few, found = features.read_scenes(tmp_path / "out")
    assert few.name == "a" and few.status == "too_few" and not few.pairs and few.detail
    ids, x = found.tracks.common((0, 1, 2))
    assert np.array_equal(ids, np.arange(60)) and np.array_equal(x, good.x)
    assert sorted(found.pairs) == [(0, 1), (0, 2), (1, 2)] and found.status == "ok"
    pair = found.pairs[0, 2]
    error = geometry.sampson(pair.F, x[0], x[2])
    assert np.median(error) < 0.5**2 and pair.matches == 60 and pair.inliers > 50 and 0 < pair.homography_ratio < 0.9
    assert [each.name for each in features.read_scenes(tmp_path / "out", ["b"])] == ["b"]


def test_a_killed_run_goes_on_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = dataset(tmp_path / "d", {name: scene(at, points=40).x for at, name in enumerate("abc")})
    features.run(folder, folder, BLOCK, tmp_path / "whole", Progress())
    monkeypatch.setattr(features, "TOGETHER", 1)
    original, calls = features.read_scene, []

    def dies(name, *rest):  # type: ignore[no-untyped-def]
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(name, *rest)

    monkeypatch.setattr(features, "read_scene", dies)
    with pytest.raises(KeyboardInterrupt):
        features.run(folder, folder, BLOCK, tmp_path / "killed", Progress())
    features.run(folder, folder, BLOCK, tmp_path / "killed", Progress())
    assert calls == ["a", "b", "c", "c"]
    assert digest(tmp_path / "whole") == digest(tmp_path / "killed")


def test_scenes_that_must_be_matched_are_stored_alone() -> None:
    samples = {name: [{"tracks_path": None if name in "cd" else "x"}] for name in "abcdef"}
    assert features._chunks(samples) == [["a", "b"], ["c"], ["d"], ["e", "f"]]


def test_what_cannot_be_used_is_counted() -> None:
    track, view, x = rows(scene(2, points=20).x)
    x = x.copy()
    x[0, 1] = np.nan
    view[1] = 9
    track = np.append(track, 2)
    view, x = np.append(view, 0), np.concatenate([x, [[5.0, 5.0]]])
    found, detail = features.clean(track, view, x, {0, 1, 2})
    assert (
        detail == "1 observations without a number dropped, 1 observations of unknown views dropped, 2 observations twice in a view dropped"
    )
    assert found.ids[0].tolist() == list(range(3, 20)) and len(found.ids[1]) == 20


def test_order_of_rows_does_not_matter() -> None:
    track, view, x = rows(scene(3, points=30, noise=0.5).x)
    order = np.random.default_rng(0).permutation(len(track))
    one = features.verified("a", features.Observations.of(track, view, x), BLOCK)
    two = features.verified("a", features.Observations.of(track[order], view[order], x[order]), BLOCK)
    assert all(np.array_equal(one.pairs[pair].F, two.pairs[pair].F) for pair in one.pairs)


def test_another_threshold_gives_the_pairs_that_it_would_have_given_at_first() -> None:
    made = scene(5, points=60, noise=1.5)
    track, view, x = rows(made.x)
    observations = features.Observations.of(track, view, x)
    narrow = features.verified("a", observations, BLOCK)
    wide = features.verified("a", observations, replace(BLOCK, threshold_px=4.0))
    found = features.within(narrow, 4.0, BLOCK.seed)
    assert list(found.pairs) == list(wide.pairs) and found.tracks is observations
    for pair, other in zip(found.pairs.values(), wide.pairs.values(), strict=True):
        assert np.array_equal(pair.F, other.F) and pair.inliers == other.inliers > narrow.pairs[pair.i, pair.j].inliers
    assert features.within(narrow, 1e-9, BLOCK.seed).pairs == {}, "a pair without a fundamental matrix is left out"


def test_common_tracks_of_views() -> None:
    found = features.Observations.of(np.array([5, 7, 5, 9, 7]), np.array([0, 0, 2, 2, 1]), np.arange(10.0).reshape(5, 2))
    assert found.views == [0, 1, 2] and found.at_least(2) == 2
    ids, x = found.common((0, 2))
    assert ids.tolist() == [5] and x.tolist() == [[[0.0, 1.0]], [[4.0, 5.0]]]
    assert found.common((0, 8))[1].shape == (2, 0, 2)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "d", {"a": scene(4, points=20).x})
    (folder / "files/tracks/a.parquet").unlink()
    with pytest.raises(BadData, match="a.parquet"):
        features.run(folder, folder, BLOCK, tmp_path / "out", Progress())
    tables.write(pa.table({"track": [1], "view": [2], "x": [0.5]}), folder / "files/tracks/a.parquet")
    with pytest.raises(BadData, match="no column `y`"):
        features.run(folder, folder, BLOCK, tmp_path / "out", Progress())

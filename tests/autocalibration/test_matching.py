"""Photographs to tracks: a drawn scene seen by three cameras, matched by pycolmap, the same again and again."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tenfold.autocalibration import config, features, matching
from tenfold.core.errors import BadData
from tenfold.core.progress import Event, Progress

BLOCK = config.Features(threshold_px=2.0, max_keypoints=1000, min_matches=12, seed=0)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, Path]]:
    """Three crops, shifted by 12 px each, of one drawn plane: what matches is known."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    board = Image.new("L", (420, 320), 128)
    draw = ImageDraw.Draw(board)
    for _ in range(350):
        x, y, r = rng.uniform(0, 420), rng.uniform(0, 320), rng.uniform(3, 14)
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x - r, y - r * rng.uniform(0.4, 1), x + r, y + r), fill=int(rng.integers(0, 255)))
    made = []
    for view in range(3):
        board.crop((12 * view, 8 * view, 320 + 12 * view, 240 + 8 * view)).save(folder / f"{view}.png")
        made.append((view, folder / f"{view}.png"))
    return made


def test_matches_are_right_and_the_same_again(photographs: list[tuple[int, Path]], tmp_path: Path) -> None:
    found = matching.match(photographs, 1000, tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    rows = found.pairs[0, 2]
    moved = found.keypoints[0][rows[:, 0]] - found.keypoints[2][rows[:, 1]]
    assert len(rows) > 40 and np.mean(np.linalg.norm(moved - [24, 16], axis=1) < 1.0) > 0.9
    again = matching.match(photographs[::-1], 1000, tmp_path / "scratch")
    assert all(np.array_equal(found.pairs[pair], again.pairs[pair]) for pair in found.pairs)
    assert all(np.array_equal(found.keypoints[view], again.keypoints[view]) for view in range(3))
    tracks, _ = matching.tracks(found, 2.0, 12, 0)
    seen = np.unique(np.stack([tracks.track, tracks.view]), axis=1)
    assert seen.shape[1] == len(tracks)


def test_matching_says_how_far_it_is(photographs: list[tuple[int, Path]], tmp_path: Path) -> None:
    events: list[Event] = []
    matching.match(photographs, 300, tmp_path / "scratch", Progress(events.append))
    for stage in ("points in photographs", "matches of pairs"):
        steps = [event.done for event in events if event.stage == stage]
        assert steps == sorted(steps) and steps[0] == 0 and steps[-1] == 3 and events[-1].total == 3
    assert [event.done for event in events if event.stage == "matches of pairs"] == [0, 1, 3]


def test_features_of_photographs(photographs: list[tuple[int, Path]], tmp_path: Path) -> None:
    observations, _ = features.from_photographs(photographs, BLOCK, tmp_path / "scratch")
    made = features.verified("flat", observations, BLOCK)
    assert observations.at_least(3) > 20 and all(pair.homography_ratio > 0.95 for pair in made.pairs.values())


def test_broken_photographs_are_named(photographs: list[tuple[int, Path]], tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(photographs[0][1].read_bytes()[:500])
    with pytest.raises(BadData, match="cut.png"):
        matching.match([photographs[0], (1, tmp_path / "cut.png")], 100, tmp_path / "scratch")
    with pytest.raises(BadData, match="none.png"):
        matching.match([photographs[0], (1, tmp_path / "none.png")], 100, tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()

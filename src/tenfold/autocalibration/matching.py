"""Tracks of plain photographs: SIFT and exhaustive matching by pycolmap on the CPU, pairs verified by their epipolar geometry, then joined.

Deterministic: exact nearest neighbours, no calibrated verification (its cameras would be guessed), images known by name, never by the
order in which threads finish. The database is temporary.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import colmap_db, two_view
from tenfold.autocalibration.samples import Tracks
from tenfold.core.errors import BadData
from tenfold.core.progress import Progress

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Matches:
    """Keypoints (n, 2) of each view in px, and for each pair i < j the rows (m, 2) of keypoints that match."""

    keypoints: dict[int, Floats]
    pairs: dict[Pair, Ints]


def match(images: Sequence[tuple[int, Path]], max_keypoints: int, scratch: Path, progress: Progress | None = None) -> Matches:
    """Keypoints and raw matches of photographs, given as (view, file); `scratch` is made and removed. A photograph is a step, then a pair.

    Raises BadData for a file that is missing or no picture. Memory: descriptors of two views at a time, keypoints of all.
    """
    import pycolmap

    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        names = {}
        for view, path in images:
            size(path)
            names[view] = f"{view:06d}{path.suffix.lower()}"
            os.symlink(path.resolve(), scratch / names[view])
        database = scratch / "database.db"
        extraction = pycolmap.FeatureExtractionOptions()
        extraction.use_gpu = False
        extraction.sift.max_num_features = max_keypoints
        matching = pycolmap.FeatureMatchingOptions()
        matching.use_gpu = False
        matching.skip_geometric_verification = True
        matching.sift.cpu_brute_force_matcher = True
        progress = progress or Progress()
        ordered = sorted(names.values())
        level, pycolmap.logging.minloglevel = pycolmap.logging.minloglevel, 3
        try:
            cpu, together = pycolmap.Device.cpu, os.cpu_count() or 1
            progress.stage("points in photographs", len(ordered))
            for begin in range(0, len(ordered), together):
                part = ordered[begin : begin + together]
                pycolmap.extract_features(database, scratch, part, pycolmap.CameraMode.PER_IMAGE, extraction_options=extraction, device=cpu)
                progress.advance(len(part))
            listed = pycolmap.ImportedPairingOptions()
            listed.match_list_path = scratch / "pairs.txt"
            progress.stage("matches of pairs", len(ordered) * (len(ordered) - 1) // 2)
            for number, name in enumerate(ordered):
                if number:
                    listed.match_list_path.write_text("".join(f"{other} {name}\n" for other in ordered[:number]))
                    pycolmap.match_image_pairs(database, matching, listed, device=cpu)
                    progress.advance(number)
        finally:
            pycolmap.logging.minloglevel = level
        return _read(database, names)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read(path: Path, names: dict[int, str]) -> Matches:
    import pycolmap

    with pycolmap.Database.open(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        keypoints, pairs = {}, {}
        for view, name in names.items():
            found = name in ids and database.exists_keypoints(ids[name])
            keypoints[view] = np.array(database.read_keypoints(ids[name])[:, :2] if found else np.zeros((0, 2)), dtype=np.float64)
        views = sorted(names)
        for at, i in enumerate(views):
            for j in views[at + 1 :]:
                if names[i] in ids and names[j] in ids and database.exists_matches(ids[names[i]], ids[names[j]]):
                    rows = np.array(database.read_matches(ids[names[i]], ids[names[j]]), dtype=np.int64).reshape(-1, 2)
                    pairs[i, j] = rows[np.lexsort(rows.T[::-1])]
    return Matches(keypoints, pairs)


def size(path: Path) -> tuple[int, int]:
    """Width and height of a photograph in px, as stored. Raises BadData for a file that is missing or no whole picture."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except FileNotFoundError:
        raise BadData(f"{path} is missing; put the photograph back or make the dataset again") from None
    except Exception as error:  # PIL raises what the broken decoder raises
        raise BadData(f"{path} is no picture that can be read ({error}); remove it or save it again as JPEG or PNG") from error


def tracks(matches: Matches, threshold_px: float, min_matches: int, seed: int) -> tuple[Tracks, int]:
    """Observations, and how many tracks were dropped because they meet a view twice.

    Only matches that fit their pair's epipolar geometry are joined: one wrong match would tie two tracks together.
    """
    pairs = {}
    for (i, j), rows in sorted(matches.pairs.items()):
        if len(rows) >= min_matches:
            one, two = matches.keypoints[i][rows[:, 0]], matches.keypoints[j][rows[:, 1]]
            _, inliers = two_view.fundamental_ransac(one, two, threshold_px, seed)
            pairs[i, j] = rows[inliers].astype(np.uint32)
    views = sorted(matches.keypoints)
    chained, conflicts = colmap_db.tracks(colmap_db.Database({}, {}, matches.keypoints, pairs, True), views)
    return replace(chained, view=np.array(views, dtype=np.int64)[chained.view]), conflicts

"""Strecha's multi-view scenes (fountain-P11, Herz-Jesu-P8, ...): photos, each with a `<photo>.camera` text beside it or in a folder.

Eleven lines: K (3), distortion (1), R (3), centre c (1), width and height (1); P = K [R^T | -R^T c]. There the centre of the
top-left pixel is (0, 0): half a pixel is added to the principal point.
"""

from pathlib import Path

import numpy as np

from tenfold.autocalibration.samples import Reference, Scene, View, numbers, text, whole
from tenfold.core.files import Unreadable

_COUNTS = (3, 3, 3, 3, 3, 3, 3, 3, 2)
_PHOTOS = (".jpg", ".jpeg", ".png")


def is_scene(folder: Path) -> bool:
    """Whether a folder holds `.camera` files, or its subfolders do."""
    return any(folder.glob("*.camera")) or any(folder.glob("*/*.camera"))


def read(source: Path, folder: Path, name: str) -> Scene:
    """The scene in `source / folder`; tracks must still be made. A photo without `.camera` has no reference. Raises Unreadable."""
    base = source / folder
    # A photo's camera may stand beside it and in a folder of cameras: once is enough.
    texts = {path.name: path for path in sorted([*base.glob("*/*.camera"), *base.glob("*.camera")])}
    photos = {path.name: path for path in sorted([*base.glob("*"), *base.glob("*/*")]) if path.suffix.lower() in _PHOTOS}
    views, warnings = [], []
    cameras: list[tuple[float, ...]] = []
    for _, path in sorted(texts.items()):
        title = path.name.removesuffix(".camera")
        known, width, height = camera(path)
        # One camera if its K is the same to a thousandth: the files are rounded.
        key = next((index for index, each in enumerate(cameras) if np.allclose(each, known.k, rtol=1e-3, atol=1e-6)), len(cameras))
        if key == len(cameras):
            cameras.append(known.k)
        photo = photos.pop(title, None)
        views.append(View(title, str(key), width, height, photo.relative_to(source) if photo else folder / title, known))
    if photos:
        warnings.append(f"{len(photos)} photos without .camera left out, first {next(iter(photos))}")
    return Scene(name, views, None, warnings=warnings)


def camera(path: Path) -> tuple[Reference, int, int]:
    """(reference, width, height) of one `.camera` file. Raises Unreadable with the line that is missing or wrong."""
    lines = [(number, line) for number, line in enumerate(text(path), 1) if line.strip()]
    rows = []
    for index, count in enumerate(_COUNTS):
        if index >= len(lines):
            raise Unreadable("truncated_file", f"{path.name} line {len(lines) + 1}: the file ends there, {len(_COUNTS)} lines are wanted")
        number, line = lines[index]
        rows.append(numbers(line, count, f"{path.name} line {number}"))
    K, R, centre = np.array(rows[0:3]), np.array(rows[4:7]), np.array(rows[7])
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0 and abs(K[2, 2] - 1) < 1e-9):
        raise Unreadable("unreadable_file", f"{path.name} line 1: K must have focal lengths over 0 and end with 1")
    if not (np.abs(R) < 2).all() or not np.allclose(R @ R.T, np.eye(3), atol=1e-3):
        raise Unreadable("unreadable_file", f"{path.name} line {lines[4][0]}: R is no rotation")
    k = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) + 0.5, float(K[1, 2]) + 0.5, float(K[0, 1]))
    pose = (*map(float, R.T.reshape(-1)), *map(float, -R.T @ centre))
    if not np.isfinite([*rows[3], *pose]).all():
        raise Unreadable("unreadable_file", f"{path.name} line {lines[3][0]}: distortion or centre is not finite")
    k1, k2, _ = rows[3]
    last = f"{path.name} line {lines[8][0]}"
    return Reference(k, k1, k2, pose), whole(rows[8][0], last), whole(rows[8][1], last)

"""Strecha's `.camera` texts: convention, cameras told apart, lines that are missing."""

from pathlib import Path

import numpy as np
import pytest

from tenfold.autocalibration import scenes, strecha
from tenfold.core.files import Unreadable

SPEC = scenes.SceneSpec(2, "general", 8, 3, 320, 240, (300.0, 310.0, 161.5, 118.5, 0.5), 0.0, 0.0)


def lines_of(made: scenes.Synthetic, view: int) -> list[str]:
    """P = K [R^T | -R^T c] with the top-left pixel's centre at (0, 0)."""
    fx, fy, cx, cy, s = made.k
    K = [[fx, s, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]
    R, c = made.R[view].T, -made.R[view].T @ made.t[view]
    rows = [*K, [0, 0, 0], *R.tolist(), c.tolist()]
    return [" ".join(repr(float(value)) for value in row) for row in rows] + [f"{SPEC.width} {SPEC.height}"]


def written(folder: Path) -> scenes.Synthetic:
    made = scenes.generate(SPEC)
    folder.mkdir(parents=True, exist_ok=True)
    for view in range(3):
        (folder / f"{view:04d}.jpg.camera").write_text("\n".join(lines_of(made, view)) + "\n")
        (folder / f"{view:04d}.jpg").write_bytes(b"photo")
    return made


def test_the_camera_projects_as_the_scene_does(tmp_path: Path) -> None:
    made = written(tmp_path / "fountain" / "images")
    scene = strecha.read(tmp_path, Path("fountain"), "fountain")
    assert scene.tracks is None and [view.image for view in scene.views] == [Path(f"fountain/images/000{view}.jpg") for view in range(3)]
    assert {(view.camera, view.width, view.height) for view in scene.views} == {("0", 320, 240)}
    for index, view in enumerate(scene.views):
        known = view.reference
        assert known is not None and known.pose is not None
        R, t = np.array(known.pose[:9]).reshape(1, 3, 3), np.array(known.pose[9:]).reshape(1, 3)
        x, _ = scenes.project(np.array(known.k), R, t, made.X)
        np.testing.assert_allclose(x[:, 0], made.clean[index], atol=1e-9)


def test_another_k_is_another_camera_and_a_photo_without_camera_is_told(tmp_path: Path) -> None:
    made = written(tmp_path)
    lines = lines_of(made, 2)
    lines[0] = "400 0.5 161"
    (tmp_path / "0002.jpg.camera").write_text("\n".join(lines))
    (tmp_path / "0009.jpg").write_bytes(b"")
    scene = strecha.read(tmp_path, Path(), "here")
    assert [view.camera for view in scene.views] == ["0", "0", "1"] and "1 photos without .camera" in scene.warnings[0]


@pytest.mark.parametrize(
    ("lines", "reason", "words"),
    [
        (slice(0, 6), "truncated_file", "line 7: the file ends there"),
        (slice(0, 8), "truncated_file", "line 9: the file ends there"),
        ((1, "0 310"), "unreadable_file", "line 2: 3 numbers"),
        ((1, "0 x 118"), "unreadable_file", "line 2: 3 numbers"),
        ((0, "nan 0 160"), "unreadable_file", "line 1"),
        ((0, "-300 0 160"), "unreadable_file", "line 1"),
        ((4, "9 9 9"), "unreadable_file", "line 5: R is no rotation"),
    ],
)
def test_a_broken_camera_says_the_line(tmp_path: Path, lines: slice | tuple[int, str], reason: str, words: str) -> None:
    good = lines_of(written(tmp_path), 0)
    if isinstance(lines, slice):
        good = good[lines]
    else:
        good[lines[0]] = lines[1]
    (tmp_path / "0000.jpg.camera").write_text("\n".join(good))
    with pytest.raises(Unreadable, match=f"0000.jpg.camera {words}") as caught:
        strecha.read(tmp_path, Path(), "here")
    assert caught.value.reason == reason

"""The demo generator: physically consistent scans, honest defects, the same bytes for the same numbers."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly import demo, render, shapes
from tenfold.crossmodal_anomaly.config import Make

MAKE = Make(train=2, validation=1, good=1, per_defect=1, side=128, seed=0, difficulty=1.0, independent_colour=False)
FULL = replace(MAKE, side=256)
CATEGORIES = sorted(shapes.CATEGORIES)


def heights(xyz: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Height over the plane fitted to the 10 px border, and where there is a point."""
    seen = xyz.any(axis=-1)
    border = np.ones(seen.shape, bool)
    border[10:-10, 10:-10] = False
    points = xyz[border & seen].astype(float)
    a, b, c = np.linalg.lstsq(np.column_stack([points[:, :2], np.ones(len(points))]), points[:, 2], rcond=None)[0]
    return (a * xyz[..., 0] + b * xyz[..., 1] + c - xyz[..., 2]) / np.sqrt(a * a + b * b + 1), seen


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("defect", ["good", *shapes.DEFECTS])
def test_a_part_is_a_scan_with_its_mask(category: str, defect: str) -> None:
    part = demo.part(category, "test", defect, 0, FULL)
    assert part.rgb.shape == (256, 256, 3) and part.rgb.dtype == np.uint8
    assert part.xyz.shape == (256, 256, 3) and part.xyz.dtype == np.float32 and np.isfinite(part.xyz).all()
    assert set(np.unique(part.gt)) <= {0, 255} and part.gt.any() == (defect != "good")
    labels, count = ndimage.label(part.gt, np.ones((3, 3)))
    assert all(np.count_nonzero(labels == i) >= 12 for i in range(1, count + 1))
    height, seen = heights(part.xyz)
    # Where a mask's pixels have points, they lie on the part or in its hole, not on the open table.
    on_part = ndimage.binary_dilation(ndimage.binary_fill_holes(seen & (height > 0.001)), iterations=3)
    assert on_part[part.gt > 0].all()


@pytest.mark.parametrize("category", CATEGORIES)
@settings(max_examples=8, deadline=None)
@given(index=st.integers(0, 10_000))
def test_preparation_finds_what_it_needs(category: str, index: int) -> None:
    """The plane shows in the border, the part covers a quarter to two fifths, and points lie dense enough to cluster."""
    part = demo.part(category, "train", "good", index, FULL)
    height, seen = heights(part.xyz)
    border = np.ones(seen.shape, bool)
    border[10:-10, 10:-10] = False
    assert (np.abs(height[border & seen]) < 0.004).mean() > 0.97
    above = seen & (height > 0.005)
    assert 0.20 < above.mean() < 0.42
    points = part.xyz[above]
    neighbours = cKDTree(points).query_ball_point(points[::97], 0.006, return_length=True)
    assert neighbours.min() >= 30
    assert 0.05 < np.median(points[:, 2]) < 5


@pytest.mark.parametrize("category", CATEGORIES)
def test_points_lie_on_the_rays_of_their_pixels(category: str) -> None:
    part = demo.part(category, "train", "good", 3, FULL)
    seen = part.xyz.any(axis=-1)
    x, y, z = np.moveaxis(part.xyz.astype(float), -1, 0)
    focal = render.focal_px(256, shapes.FIELD_M[category])
    v, u = np.nonzero(seen)
    np.testing.assert_allclose(focal * x[seen] / z[seen] + 128, u, atol=0.05)
    np.testing.assert_allclose(focal * y[seen] / z[seen] + 128, v, atol=0.05)


def test_without_noise_the_scan_has_the_surface_s_heights() -> None:
    surface = shapes.surface("biscuit", "good", MAKE, np.random.default_rng(4))
    height, seen = heights(render.photograph(surface, 256, 0.0, np.random.default_rng(5)).xyz)
    assert height[seen].max() == pytest.approx(surface.height.max(), abs=2e-4)
    assert np.abs(height[seen & (height < 1e-3)]).max() < 1e-3
    assert np.median(height[seen & (height > 5e-3)]) == pytest.approx(np.median(surface.height[surface.height > 5e-3]), abs=4e-4)


def test_noise_has_the_stated_size_and_grows_with_difficulty() -> None:
    flat = shapes.Surface(
        np.zeros((shapes.CELLS,) * 2, np.float32),
        np.full((shapes.CELLS, shapes.CELLS, 3), 0.3, np.float32),
        np.zeros((shapes.CELLS,) * 2, bool),
        0.115,
        0.0,
    )
    spread = []
    for scale in (1.0, 2.0):
        height, seen = heights(render.photograph(flat, 256, scale, np.random.default_rng(0)).xyz)
        spread.append(height[seen].std())
    assert spread[0] == pytest.approx(np.hypot(render.WHITE_NOISE_M, render.SLOW_NOISE_M), rel=0.2)
    assert spread[1] == pytest.approx(2 * spread[0], rel=0.1)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("seed", range(3))
def test_each_defect_changes_what_it_says_and_nothing_else(category: str, seed: int) -> None:
    drawn = {name: shapes.surface(category, name, MAKE, np.random.default_rng(seed)) for name in ("good", "dent", "bump", "stain", "hole")}
    good = drawn["good"]
    for name, surface in drawn.items():
        rise = surface.height - good.height
        tint = np.abs(surface.albedo - good.albedo).max(axis=-1)
        assert rise.any() == (name in ("dent", "bump", "hole"))
        assert tint.any() == (name in ("stain", "hole"))
        outside = ~ndimage.binary_dilation(surface.defect, iterations=8)
        assert not rise[outside].any() and not tint[outside].any()
        if name in ("dent", "bump"):
            sign = 1 if name == "bump" else -1
            assert (sign * rise >= 0).all() and 0.7e-3 < (sign * rise).max() < 4.5e-3


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_mismatch_breaks_exactly_one_pair(category: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[shapes.Mark]] = []
    original = shapes._with_mismatch

    def spy(marks: list[shapes.Mark], defect: str, rng: np.random.Generator) -> list[shapes.Mark]:
        seen.append(original(marks, defect, rng))
        return seen[-1]

    monkeypatch.setattr(shapes, "_with_mismatch", spy)
    kept = set()
    for seed in range(12):
        for defect, wanted in (("good", 0), ("dent", 0), ("mismatch", 1)):
            shapes.surface(category, defect, MAKE, np.random.default_rng(seed))
            wrong = [mark for mark in seen[-1] if mark.raised != mark.painted]
            assert len(wrong) == wanted
            kept |= {mark.raised for mark in wrong}
    assert kept == {True, False}


@pytest.mark.parametrize("category", CATEGORIES)
def test_independent_colour_unties_colour_from_relief(category: str, monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[shapes.Mark] = []
    original = shapes._independent

    def spy(given: list[shapes.Mark], make: Make, rng: np.random.Generator) -> list[shapes.Mark]:
        marks.extend(original(given, make, rng))
        return marks

    monkeypatch.setattr(shapes, "_independent", spy)
    make = replace(MAKE, independent_colour=True)
    for seed in range(16):
        marks_before = len(marks)
        shapes.surface(category, "good", make, np.random.default_rng(seed))
        assert len(marks) > marks_before
    raised, painted = np.array([mark.raised for mark in marks]), np.array([mark.painted for mark in marks])
    assert abs(np.corrcoef(raised, painted)[0, 1]) < 0.25
    assert 0.55 < raised.mean() < 0.85 and 0.55 < painted.mean() < 0.85


def test_difficulty_makes_defects_fainter() -> None:
    easy, hard = (shapes.surface("biscuit", "bump", replace(MAKE, difficulty=d), np.random.default_rng(2)).height for d in (1.0, 4.0))
    good = shapes.surface("biscuit", "good", MAKE, np.random.default_rng(2)).height
    np.testing.assert_allclose(hard - good, (easy - good) / 4, atol=1e-6)


def test_the_same_numbers_give_the_same_bytes_and_others_do_not() -> None:
    def digest(*arguments: object) -> str:
        part = demo.part(*arguments)  # type: ignore[arg-type]
        return hashlib.sha256(part.rgb.tobytes() + part.xyz.tobytes() + part.gt.tobytes()).hexdigest()

    base = ("peg", "test", "stain", 1, MAKE)
    assert digest(*base) == digest(*base)
    others = [
        ("biscuit", *base[1:]),
        ("peg", "train", *base[2:]),
        ("peg", "test", "dent", 1, MAKE),
        ("peg", "test", "stain", 2, MAKE),
        (*base[:4], replace(MAKE, seed=1)),
    ]
    assert len({digest(*each) for each in (base, *others)}) == 6


def test_make_writes_the_official_layout(tmp_path: Path) -> None:
    demo.make(MAKE, ["biscuit"], tmp_path, Progress())
    files = {path.relative_to(tmp_path / "biscuit").as_posix() for path in tmp_path.rglob("*.*")}
    places = [("train/good", 2), ("validation/good", 1), *((f"test/{each}", 1) for each in ("good", *shapes.DEFECTS))]
    wanted = {"calibration/camera_parameters.json"}
    for place, count in places:
        for index in range(count):
            wanted |= {f"{place}/rgb/{index:03d}.png", f"{place}/xyz/{index:03d}.tiff"}
            wanted |= {f"{place}/gt/{index:03d}.png"} if place.startswith("test") else set()
    assert files == wanted
    part = demo.part("biscuit", "test", "hole", 0, MAKE)
    here = tmp_path / "biscuit" / "test" / "hole"
    np.testing.assert_array_equal(tifffile.imread(here / "xyz" / "000.tiff"), part.xyz)
    np.testing.assert_array_equal(np.asarray(Image.open(here / "rgb" / "000.png")), part.rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(here / "gt" / "000.png")), part.gt)


@pytest.mark.slow
def test_a_pool_of_processes_writes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = replace(MAKE, train=20, side=64)
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 2)
    demo.make(make, ["peg"], tmp_path / "pool", Progress())
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 1)
    demo.make(make, ["peg"], tmp_path / "alone", Progress())

    def content(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}

    assert content(tmp_path / "pool") == content(tmp_path / "alone")


@pytest.mark.parametrize(
    ("make", "units", "words"),
    [
        (MAKE, ["brick"], "biscuit and peg"),
        (MAKE, [], "nothing"),
        (replace(MAKE, train=0), ["peg"], "train"),
        (replace(MAKE, difficulty=0.0), ["peg"], "difficulty"),
    ],
)
def test_senseless_requests_are_refused(tmp_path: Path, make: Make, units: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        demo.make(make, units, tmp_path, Progress())
    assert not list(tmp_path.iterdir())

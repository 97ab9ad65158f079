"""From a folder to two tables: every bad input has its answer, nothing is written to the source, nothing is half done."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from tenfold.core import tables
from tenfold.core.errors import BadData, UsageError
from tenfold.core.progress import Event, Progress
from tenfold.crossmodal_anomaly import data, survey
from tenfold.crossmodal_anomaly.config import Dataset

BLOCK = Dataset(xyz_unit="m", max_quarantine=0.05, max_nonfinite=0.2, light=4)
SIDE = 24


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8), rng.uniform(0.2, 0.4, (SIDE, SIDE, 3)).astype(np.float32)


def write_xyz(path: Path, xyz: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, xyz, **({"photometric": "rgb"} if xyz.ndim == 3 and xyz.shape[2] == 3 else {}) | options)


def write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


class Folder:
    """A small dataset in the official layout, and the root whose params.yaml names it."""

    def __init__(self, root: Path) -> None:
        self.root, self.source = root, root / "data" / "raw" / "mine"
        self.entry: dict[str, Any] = {"source": "data/raw/mine", "layout": "mvtec_3d_ad", "units": ["part"], "recipe": "demo"}
        self.recipe: dict[str, Any] = {"xyz_unit": "m", "max_quarantine": 0.9, "max_nonfinite": 0.2, "light": 4}
        for seed, where in enumerate(["train/good/000", "train/good/001", "train/good/002", "validation/good/000"]):
            self.part(where, seed)
        self.part("test/good/000", 10, np.zeros((SIDE, SIDE), np.uint8))
        self.part("test/dent/000", 11, self.marked())

    @staticmethod
    def marked() -> np.ndarray:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[4:9, 4:9] = 255
        return mask

    def part(self, where: str, seed: int, mask: np.ndarray | None = None) -> None:
        rgb, xyz = scan(seed)
        write_png(self.file(where, "rgb"), rgb)
        write_xyz(self.file(where, "xyz"), xyz)
        if mask is not None:
            write_png(self.file(where, "gt"), mask)

    def file(self, where: str, modality: str) -> Path:
        place, stem = where.rsplit("/", 1)
        return self.source / "part" / place / modality / f"{stem}.{'tiff' if modality == 'xyz' else 'png'}"

    def params(self) -> None:
        block = {"datasets": {"mine": self.entry}, "recipes": {"demo": {"dataset": self.recipe}}}
        (self.root / "params.yaml").write_text(yaml.safe_dump({"crossmodal_anomaly": block}))

    def build(self) -> Path:
        self.params()
        data.build(self.root, "mine")
        return self.root / "data" / "crossmodal_anomaly" / "mine"

    def tables(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        folder = self.build()
        samples, quarantine = (tables.read(folder / f"{name}.parquet").to_pylist() for name in ("samples", "quarantine"))
        return {row["id"]: row for row in samples}, {row["id"]: row for row in quarantine}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def listing(folder: Path) -> dict[str, tuple[str, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def test_rows_say_what_the_files_are(folder: Folder) -> None:
    samples, quarantine = folder.tables()
    assert set(samples) == {f"part/{each}" for each in (
        "train/good/000", "train/good/001", "train/good/002", "validation/good/000", "test/good/000", "test/dent/000",
    )} and not quarantine  # fmt: skip
    row = samples["part/test/dent/000"]
    for modality in ("rgb", "xyz", "gt"):
        path = folder.source / row[f"{modality}_path"]
        assert path == folder.file("test/dent/000", modality)
        assert row[f"{modality}_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert row[f"{modality}_bytes"] == path.stat().st_size
    assert (row["unit"], row["split"], row["label"], row["defect"]) == ("part", "test", 1, "dent")
    assert (row["height"], row["width"], row["n_valid"], row["n_nonfinite"], row["xyz_scale"]) == (SIDE, SIDE, SIDE * SIDE, 0, 1.0)
    assert row["warnings"] == "" and samples["part/train/good/000"]["gt_path"] is None


def test_the_source_is_only_read_and_a_second_build_is_the_same(folder: Folder) -> None:
    before = listing(folder.source)
    first = {path.name: path.read_bytes() for path in folder.build().iterdir()}
    second = {path.name: path.read_bytes() for path in folder.build().iterdir()}
    assert first == second and set(first) == {"samples.parquet", "quarantine.parquet", "dataset.json"}
    assert listing(folder.source) == before


def missing(folder: Folder) -> None:
    folder.file("train/good/001", "xyz").unlink()


def no_mask(folder: Folder) -> None:
    folder.file("test/dent/000", "gt").unlink()


def truncated_tiff(folder: Folder) -> None:
    path = folder.file("train/good/001", "xyz")
    path.write_bytes(path.read_bytes()[:-200])


def truncated_png(folder: Folder) -> None:
    path = folder.file("train/good/001", "rgb")
    path.write_bytes(path.read_bytes()[:-200])


def one_channel(folder: Folder) -> None:
    write_xyz(folder.file("train/good/001", "xyz"), scan(1)[1][..., 2])


def counts(folder: Folder) -> None:
    write_xyz(folder.file("train/good/001", "xyz"), (scan(1)[1] * 1000).astype(np.uint16))


def other_size(folder: Folder) -> None:
    write_png(folder.file("train/good/001", "rgb"), scan(1)[0][:-1])


def other_mask_size(folder: Folder) -> None:
    write_png(folder.file("test/dent/000", "gt"), folder.marked()[:-1])


def mostly_nan(folder: Folder) -> None:
    xyz = scan(1)[1]
    xyz[:8] = np.nan
    write_xyz(folder.file("train/good/001", "xyz"), xyz)


def hardly_a_point(folder: Folder) -> None:
    xyz = scan(1)[1]
    xyz[5:] = 0
    write_xyz(folder.file("train/good/001", "xyz"), xyz)


def link_outside(folder: Folder) -> None:
    path = folder.file("train/good/001", "rgb")
    outside = folder.root / "elsewhere.png"
    path.rename(outside)
    path.symlink_to(outside)


def broken_link(folder: Folder) -> None:
    path = folder.file("train/good/001", "rgb")
    path.unlink()
    path.symlink_to("nowhere.png")


def looping_link(folder: Folder) -> None:
    path = folder.file("train/good/001", "rgb")
    path.unlink()
    path.symlink_to(path)


def a_folder_instead(folder: Folder) -> None:
    path = folder.file("train/good/001", "rgb")
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "part", "reason", "words"),
    [
        (missing, "train/good/001", "missing_xyz", "001"),
        (no_mask, "test/dent/000", "missing_gt", "000"),
        (truncated_tiff, "train/good/001", "unreadable_xyz", "truncated"),
        (truncated_png, "train/good/001", "unreadable_image", "truncated"),
        (one_channel, "train/good/001", "wrong_channels", "rgb_depth"),
        (counts, "train/good/001", "wrong_type", "uint16"),
        (other_size, "train/good/001", "sizes_differ", "rgb 24 x 23, xyz 24 x 24"),
        (other_mask_size, "test/dent/000", "sizes_differ", "gt 24 x 23"),
        (mostly_nan, "train/good/001", "nonfinite_points", "33%"),
        (hardly_a_point, "train/good/001", "too_few_points", "120 points"),
        (link_outside, "train/good/001", "link_outside", "elsewhere.png"),
        (broken_link, "train/good/001", "unreadable_file", "001.png"),
        (looping_link, "train/good/001", "unreadable_file", "001.png"),
        (a_folder_instead, "train/good/001", "not_a_file", "001.png"),
    ],
)
def test_what_cannot_be_trusted_goes_to_quarantine(
    folder: Folder, spoil: Callable[[Folder], None], part: str, reason: str, words: str
) -> None:
    spoil(folder)
    samples, quarantine = folder.tables()
    assert set(quarantine) == {f"part/{part}"} and len(samples) == 5
    row = quarantine[f"part/{part}"]
    assert row["reason"] == reason and words in row["detail"]


def test_a_fifo_is_not_read(folder: Folder) -> None:
    path = folder.file("train/good/001", "rgb")
    path.unlink()
    os.mkfifo(path)
    assert folder.tables()[1]["part/train/good/001"]["reason"] == "not_a_file"


def alpha(folder: Folder) -> None:
    write_png(folder.file("train/good/001", "rgb"), np.dstack([scan(1)[0], np.full((SIDE, SIDE), 9, np.uint8)]))


def grey(folder: Folder) -> None:
    write_png(folder.file("train/good/001", "rgb"), scan(1)[0][..., 0])


def deep(folder: Folder) -> None:
    write_png(folder.file("train/good/001", "rgb"), scan(1)[0][..., 0].astype(np.uint16) * 256)


def double(folder: Folder) -> None:
    write_xyz(folder.file("train/good/001", "xyz"), scan(1)[1].astype(np.float64))


def some_nan(folder: Folder) -> None:
    xyz = scan(1)[1]
    xyz[0, :5, 1] = np.inf
    write_xyz(folder.file("train/good/001", "xyz"), xyz)


def odd_mask(folder: Folder) -> None:
    write_png(folder.file("test/dent/000", "gt"), folder.marked() // 255 * 200)


def empty_mask(folder: Folder) -> None:
    write_png(folder.file("test/dent/000", "gt"), 0 * folder.marked())


@pytest.mark.parametrize(
    ("spoil", "part", "words"),
    [
        (alpha, "train/good/001", "alpha"),
        (grey, "train/good/001", "grey"),
        (deep, "train/good/001", "16-bit"),
        (double, "train/good/001", "float64"),
        (some_nan, "train/good/001", "5 px with NaN or inf"),
        (odd_mask, "test/dent/000", "25 px neither 0 nor 255"),
        (empty_mask, "test/dent/000", "not for region metrics"),
    ],
)
def test_what_can_be_mended_is_kept_with_a_warning(folder: Folder, spoil: Callable[[Folder], None], part: str, words: str) -> None:
    spoil(folder)
    samples, quarantine = folder.tables()
    assert not quarantine and words in samples[f"part/{part}"]["warnings"]
    if spoil is some_nan:
        assert samples[f"part/{part}"]["n_nonfinite"] == 5 and samples[f"part/{part}"]["n_valid"] == SIDE * SIDE - 5


def test_a_point_on_the_optical_axis_is_a_point(folder: Folder) -> None:
    xyz = scan(1)[1]
    xyz[3, 3, :2] = 0
    xyz[4, 4] = 0
    write_xyz(folder.file("train/good/001", "xyz"), xyz)
    assert folder.tables()[0]["part/train/good/001"]["n_valid"] == SIDE * SIDE - 1


def defect_in_train(folder: Folder) -> None:
    folder.part("train/dent/000", 30)


def leak(folder: Folder) -> None:
    folder.file("test/good/000", "xyz").write_bytes(folder.file("train/good/002", "xyz").read_bytes())


def marked_good(folder: Folder) -> None:
    write_png(folder.file("test/good/000", "gt"), folder.marked())


def millimetres(folder: Folder) -> None:
    for path in folder.source.rglob("*.tiff"):
        write_xyz(path, tifffile.imread(path) * 1000)


def empty_train(folder: Folder) -> None:
    for path in (folder.source / "part/train").rglob("*.*"):
        path.unlink()


def all_train_broken(folder: Folder) -> None:
    for path in (folder.source / "part/train").rglob("*.png"):
        path.write_bytes(b"")


def no_such_unit(folder: Folder) -> None:
    folder.entry["units"] = ["part", "prat"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (defect_in_train, ["part/train/dent", "only good parts"]),
        (leak, ["leakage", "part/train/good/xyz/002.tiff", "part/test/good/xyz/000.tiff"]),
        (marked_good, ["part/test/good/000", "marks a defect"]),
        (millimetres, ["look like millimetres", "set xyz_unit: mm"]),
        (empty_train, ["part/train/good"]),
        (all_train_broken, ["part/train/good", "quarantine"]),
        (no_such_unit, ["prat", "part"]),
    ],
)
def test_what_makes_every_number_worthless_stops_the_import(folder: Folder, spoil: Callable[[Folder], None], words: list[str]) -> None:
    spoil(folder)
    with pytest.raises(BadData) as caught:
        folder.build()
    assert all(word in str(caught.value) for word in words)
    assert not list((folder.root / "data/crossmodal_anomaly").glob("mine*"))


def test_all_errors_are_told_at_once(folder: Folder) -> None:
    leak(folder)
    marked_good(folder)
    with pytest.raises(BadData) as caught:
        folder.build()
    assert "leakage" in str(caught.value) and "marks a defect" in str(caught.value)


def test_too_much_quarantine_fails_with_count_and_reason(folder: Folder) -> None:
    truncated_png(folder)
    folder.recipe["max_quarantine"] = 0.05
    with pytest.raises(BadData, match=r"1 of 6 parts.*1 unreadable_image.*max_quarantine is 5%"):
        folder.build()


def test_the_dataset_s_read_block_overrides_the_recipe(folder: Folder) -> None:
    truncated_png(folder)
    folder.recipe["max_quarantine"] = 0.05
    folder.entry["read"] = {"max_quarantine": 0.5}
    assert len(folder.tables()[1]) == 1
    folder.entry["read"] = {"max_quarantene": 0.5}
    with pytest.raises(UsageError, match="max_quarantine"):
        folder.build()


def test_millimetres_are_recorded_not_applied(folder: Folder) -> None:
    millimetres(folder)
    folder.entry["read"] = {"xyz_unit": "mm"}
    built = folder.build()
    assert json.loads((built / "dataset.json").read_text())["xyz_scale"] == 0.001
    assert set(tables.read(built / "samples.parquet")["xyz_scale"].to_pylist()) == {0.001}


def test_metres_called_millimetres_are_an_error(folder: Folder) -> None:
    folder.entry["read"] = {"xyz_unit": "mm"}
    with pytest.raises(BadData, match="look like metres"):
        folder.build()


def test_one_training_part_is_allowed_and_warned_about(folder: Folder) -> None:
    for stem in ("001", "002"):
        for modality in ("rgb", "xyz"):
            folder.file(f"train/good/{stem}", modality).unlink()
    about = json.loads((folder.build() / "dataset.json").read_text())
    assert any("one part only" in each for each in about["warnings"])


def test_links_inside_the_folder_and_a_linked_folder_are_followed(folder: Folder, tmp_path: Path) -> None:
    path = folder.file("train/good/001", "rgb")
    real = path.with_name("elsewhere.bin")
    path.rename(real)
    path.symlink_to(real)
    moved = tmp_path / "moved"
    folder.source.rename(moved)
    folder.source.symlink_to(moved)
    samples, quarantine = folder.tables()
    assert len(samples) == 6 and not quarantine


def test_names_with_spaces_and_beyond_ascii(folder: Folder) -> None:
    folder.part("train/good/Gehäuse 7 零", 40)
    row = folder.tables()[0]["part/train/good/Gehäuse 7 零"]
    assert (folder.source / row["rgb_path"]).is_file()


def test_a_failed_build_leaves_the_old_one(folder: Folder) -> None:
    before = listing(folder.build())
    leak(folder)
    with pytest.raises(BadData):
        folder.build()
    assert listing(folder.root / "data/crossmodal_anomaly/mine") == before


def test_what_a_killed_build_left_is_removed(folder: Folder) -> None:
    left = folder.root / "data/crossmodal_anomaly/.mine.0123abcd.tenfold-tmp"
    other = folder.root / "data/crossmodal_anomaly/.minette.0123abcd.tenfold-tmp"
    for path in (left, other):
        path.mkdir(parents=True)
    folder.build()
    assert not left.exists() and other.exists()


def test_images_are_not_held_together(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts there are, only a few are being read at a time."""
    for index in range(30):
        folder.part(f"train/good/{100 + index}", 100 + index)
    monkeypatch.setattr(survey.os, "cpu_count", lambda: 2)
    seen: list[int] = []
    started: list[str] = []
    original = survey.examine

    def spy(root: Path, candidate: Any, *rest: Any) -> Any:
        started.append(candidate.id)
        return original(root, candidate, *rest)

    def sink(event: Event) -> None:
        seen.append(len(started) - event.done)

    monkeypatch.setattr(survey, "examine", spy)
    folder.params()
    data.build(folder.root, "mine", Progress(sink))
    assert len(started) == 36 and max(seen) <= 5


def test_take_gives_one_partition_its_rows(folder: Folder, tmp_path: Path) -> None:
    for path in list((folder.source / "part").rglob("*.*")):
        twin = folder.source / "other" / path.relative_to(folder.source / "part")
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_bytes(path.read_bytes())
    folder.entry["units"] = ["part", "other"]
    truncated_png(folder)
    built = folder.build()
    out = tmp_path / "out"
    out.mkdir()
    made = data.take(built, "part", out)
    samples, quarantine = tables.read(out / "samples.parquet"), tables.read(out / "quarantine.parquet")
    assert set(samples["unit"].to_pylist()) == {"part"} and len(samples) == 5 and len(quarantine) == 1
    assert made.facts["root"] == "data/raw/mine" and made.facts["xyz_scale"] == 1.0
    assert made.facts["counts"] == {"test/dent": 1, "test/good": 1, "train/good": 2, "validation/good": 1, "quarantine": 1}
    assert made.facts["digest"] == tables.rows_digest(samples, quarantine)
    assert {note.label for note in made.notes} >= {"parts", "quarantined", "counts", "quarantine"}
    json.dumps(made.to_json())
    with pytest.raises(BadData, match="part"):
        data.take(built, "prat", out)
    with pytest.raises(BadData, match="dvc repro crossmodal_anomaly@absent"):
        data.take(built.with_name("absent"), "part", out)


def test_the_digest_follows_content_and_unit_of_length(folder: Folder, tmp_path: Path) -> None:
    def digest() -> str:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        digest = data.take(folder.build(), "part", out).facts["digest"]
        assert isinstance(digest, str)
        return digest

    digests = [digest(), digest()]
    folder.part("train/good/000", 99)
    digests.append(digest())
    millimetres(folder)
    folder.entry["read"] = {"xyz_unit": "mm"}
    digests.append(digest())
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_a_dataset_without_units(folder: Folder, tmp_path: Path) -> None:
    folder.entry |= {"source": "data/raw/mine/part", "units": []}
    samples, _ = folder.tables()
    assert "train/good/000" in samples
    out = tmp_path / "out"
    out.mkdir()
    assert data.take(folder.root / "data/crossmodal_anomaly/mine", "", out).facts["counts"]["train/good"] == 3


def test_check_tells_all_and_writes_nothing(folder: Folder) -> None:
    truncated_png(folder)
    folder.params()
    before = listing(folder.root)
    report = data.check(folder.root, "mine")
    assert report.ok and listing(folder.root) == before
    assert "unreadable_image" in report.text and "can be used" in report.text
    assert yaml.safe_load(report.block) == {"mine": folder.entry}
    leak(folder)
    report = data.check(folder.root, "mine")
    assert not report.ok and "leakage" in report.text and "cannot be used" in report.text


def test_check_of_a_folder_that_params_do_not_know(folder: Folder) -> None:
    before = listing(folder.source)
    report = data.check_folder(folder.source, "mvtec_3d_ad", BLOCK)
    assert report.ok and listing(folder.source) == before
    block = yaml.safe_load(report.block)["mine"]
    assert block == {"source": str(folder.source), "layout": "mvtec_3d_ad", "units": ["part"], "recipe": "demo"}
    folder.entry = block
    assert len(folder.tables()[0]) == 6
    assert data.check_folder(folder.source, root=folder.root).block == report.block


@pytest.mark.parametrize(
    ("holds", "layout"),
    [("train/good/xyz", "mvtec_3d_ad"), ("train/data", "eyecandies"), ("train/good/depth", "rgb_depth"), ("train/good/cloud", "rgb_cloud")],
)
def test_a_layout_is_recognised_by_its_folders(tmp_path: Path, holds: str, layout: str) -> None:
    (tmp_path / holds).mkdir(parents=True)
    assert survey.recognise(tmp_path) == layout


def test_the_block_to_paste_mends_millimetres(folder: Folder) -> None:
    millimetres(folder)
    report = data.check_folder(folder.source, "mvtec_3d_ad", BLOCK)
    assert not report.ok
    folder.entry = yaml.safe_load(report.block)["mine"]
    assert folder.entry["read"] == {"xyz_unit": "mm"} and len(folder.tables()[0]) == 6


def test_check_folder_refuses_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        data.check_folder(tmp_path / "absent", "mvtec_3d_ad", BLOCK)
    with pytest.raises(UsageError, match="mvtec_3d_ad"):
        data.check_folder(tmp_path, "mvtec_3d", BLOCK)


def test_a_converted_layout_carries_its_own_files(folder: Folder, tmp_path: Path) -> None:
    for path in list(folder.source.rglob("*.tiff")):
        depth = path.parent.parent / "depth" / f"{path.stem}.png"
        write_png(depth, (tifffile.imread(path)[..., 2] * 10_000).astype(np.uint16))
        path.unlink()
    (folder.source / "intrinsics.json").write_text('{"fx": 50, "fy": 50, "cx": 12, "cy": 12, "depth_scale": 0.0001}')
    broken = folder.source / "part/train/good/depth/001.png"
    broken.write_bytes(broken.read_bytes()[:-60])
    folder.entry["layout"] = "rgb_depth"
    before = listing(folder.source)
    samples, quarantine = folder.tables()
    assert listing(folder.source) == before
    assert set(quarantine) == {"part/train/good/001"} and len(samples) == 5
    files = folder.root / "data/crossmodal_anomaly/mine/files"
    for row in samples.values():
        assert hashlib.sha256((files / row["xyz_path"]).read_bytes()).hexdigest() == row["xyz_sha256"]
    assert len(list(files.rglob("*.tiff"))) == 5
    out = tmp_path / "out"
    out.mkdir()
    assert data.take(files.parent, "part", out).facts["root"] == "data/crossmodal_anomaly/mine/files"
    text = data.check(folder.root, "mine").text
    assert "can be used" in text and "001" in text


def generated(folder: Folder) -> None:
    folder.entry = {
        "source": "demo.py",
        "layout": "mvtec_3d_ad",
        "units": ["peg"],
        "recipe": "demo",
        "make": {
            "train": 1,
            "validation": 1,
            "good": 1,
            "per_defect": 1,
            "side": 96,
            "seed": 0,
            "difficulty": 1.0,
            "independent_colour": False,
        },
    }


def test_the_demo_is_made_and_verified(folder: Folder) -> None:
    generated(folder)
    samples, quarantine = folder.tables()
    assert len(samples) == 8 and not quarantine and all(row["warnings"] == "" for row in samples.values())
    assert {row["defect"] for row in samples.values()} == {"good", "dent", "bump", "stain", "hole", "mismatch"}
    assert "generated" in data.check(folder.root, "mine").text
    folder.entry["make"].pop("seed")
    with pytest.raises(UsageError, match="make.seed"):
        folder.build()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sorce": "x"}, "sorce is unknown; did you mean 'source'"),
        ({"layout": "mvtec_3d"}, "did you mean 'mvtec_3d_ad'"),
        ({"read": "mm"}, "read must be a mapping"),
        ({"recipe": "papr"}, "papr"),
    ],
)
def test_a_wrong_block_names_the_field(folder: Folder, change: dict[str, Any], words: str) -> None:
    folder.entry |= change
    with pytest.raises(UsageError, match=words):
        folder.build()


def test_an_absent_source_says_where_to_put_it(folder: Folder) -> None:
    folder.entry["source"] = "data/raw/absent"
    with pytest.raises(BadData, match="data/raw/absent is no folder. Put your copy there"):
        folder.build()


def test_the_command_ends_with_one_line_and_no_traceback(folder: Folder) -> None:
    folder.params()

    def run(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tenfold.crossmodal_anomaly.data", name]
        path = str(Path(data.__file__).parents[2])
        return subprocess.run(command, cwd=folder.root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)

    assert run("mine").returncode == 0
    assert (folder.root / "data/crossmodal_anomaly/mine/samples.parquet").is_file()
    wrong = run("mime")
    assert wrong.returncode == 1 and "did you mean 'mine'" in wrong.stderr and wrong.stderr.count("\n") == 1
    assert data.main([]) == 2


def test_a_second_build_of_the_same_name_is_refused(folder: Folder) -> None:
    from filelock import FileLock

    folder.build()
    with FileLock(folder.root / "data/crossmodal_anomaly/.mine.lock"), pytest.raises(UsageError, match="another process"):
        folder.build()

"""From a folder to two tables and tracks: nothing is written to the source, nothing is half done, every wrong name has its answer."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image

from tenfold.autocalibration import data, scenes
from tenfold.autocalibration.config import Dataset
from tenfold.core import tables
from tenfold.core.errors import BadData, UsageError

BLOCK = Dataset(min_views=3, max_dropped=0.05, max_quarantine=0.5)
SPEC = scenes.SceneSpec(1, "general", 30, 3, 320, 240, (300.0, 300.0, 160.0, 120.0, 0.0), 0.3, 0.0)
MAKE = {
    "scenes": 1, "special": 1, "views": 3, "points": 20, "noise_px": [0.0, 0.5], "jitter": [0.05], "special_noise_px": 0.5,
    "outlier_ratio": 0.2, "heavy_tail": 0.0, "quantise_px": 0.0, "width": 320, "height": 240, "seed": 0,
}  # fmt: skip


class Folder:
    """Two small COLMAP projects with photos, and the root whose params.yaml names them."""

    def __init__(self, root: Path) -> None:
        self.root, self.source = root, root / "data" / "raw" / "mine"
        self.entry: dict[str, Any] = {"source": "data/raw/mine", "layout": "colmap", "recipe": "demo"}
        self.recipe: dict[str, Any] = {"min_views": 3, "max_dropped": 0.05, "max_quarantine": 0.7}
        for number, name in enumerate(("court", "door")):
            scenes.write_colmap(scenes.generate(SPEC), self.source / name)
            (self.source / name / "images").mkdir()
            for view in range(3):
                Image.fromarray(np.full((240, 320, 3), 40 * number + view, np.uint8)).save(
                    self.source / name / "images" / f"{view:03d}.png"
                )

    def params(self) -> None:
        block = {"datasets": {"mine": self.entry}, "recipes": {"demo": {"dataset": self.recipe}}}
        (self.root / "params.yaml").write_text(yaml.safe_dump({"autocalibration": block}))

    def build(self) -> Path:
        self.params()
        data.build(self.root, "mine")
        return self.root / "data" / "autocalibration" / "mine"

    def tables(self) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
        folder = self.build()
        samples, quarantine = (tables.read(folder / f"{name}.parquet").to_pylist() for name in ("samples", "quarantine"))
        return {row["id"]: row for row in samples}, quarantine


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def listing(folder: Path) -> dict[str, tuple[str, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def test_rows_say_what_the_files_are_and_the_source_is_only_read(folder: Folder) -> None:
    before = listing(folder.source)
    samples, quarantine = folder.tables()
    assert listing(folder.source) == before and not quarantine
    assert set(samples) == {f"{scene}/{view}" for scene in ("court", "door") for view in range(3)}
    row = samples["door/1"]
    assert row["image_path"] == "door/images/001.png" and row["unit"] == "" and row["split"] == "all"
    image, tracks = folder.source / row["image_path"], folder.root / "data/autocalibration/mine/files" / row["tracks_path"]
    for path, name in ((image, "image"), (tracks, "tracks")):
        assert row[f"{name}_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and row[f"{name}_bytes"] == path.stat().st_size
    assert row["ref_fx"] == 300 and len(row["ref_pose"]) == 12


def test_a_second_build_is_the_same(folder: Folder) -> None:
    def content() -> dict[str, bytes]:
        built = folder.build()
        return {path.relative_to(built).as_posix(): path.read_bytes() for path in built.rglob("*") if path.is_file()}

    first = content()
    assert first == content()
    assert set(first) == {
        "samples.parquet",
        "quarantine.parquet",
        "dataset.json",
        "files/tracks/court.parquet",
        "files/tracks/door.parquet",
    }


def test_one_broken_scene_is_quarantined_and_the_other_goes_on(folder: Folder) -> None:
    database = folder.source / "court" / "database.db"
    database.write_bytes(database.read_bytes()[:-5000])
    samples, quarantine = folder.tables()
    assert {row["scene"] for row in samples.values()} == {"door"}
    assert [(row["id"], row["reason"]) for row in quarantine] == [("court", "truncated_file")] and "byte" in quarantine[0]["detail"]


def test_a_missing_photo_quarantines_the_view_and_with_it_a_scene_of_three(folder: Folder) -> None:
    (folder.source / "court" / "images" / "001.png").unlink()
    samples, quarantine = folder.tables()
    assert [row["reason"] for row in quarantine] == ["missing_image", "too_few_views", "too_few_views"] and len(samples) == 3


def test_nothing_left_is_an_error_that_names_the_first_cause_and_keeps_the_old_build(folder: Folder) -> None:
    before = listing(folder.build())
    for name in ("court", "door"):
        (folder.source / name / "database.db").write_bytes(b"")
    with pytest.raises(BadData, match="no scene can be used. First: court: database.db byte 0"):
        folder.build()
    assert listing(folder.root / "data/autocalibration/mine") == before
    assert not list((folder.root / "data/autocalibration").glob(".mine.*tmp"))


def test_too_much_quarantine_is_an_error_and_read_overrides_the_recipe(folder: Folder) -> None:
    (folder.source / "court" / "images" / "001.png").unlink()
    folder.recipe["max_quarantine"] = 0.2
    with pytest.raises(BadData, match="3 of 6 images cannot be used .*max_quarantine is 20%"):
        folder.build()
    folder.entry["read"] = {"min_views": 2}
    assert len(folder.tables()[0]) == 5
    folder.entry["read"] = {"min_veiws": 2}
    with pytest.raises(UsageError, match="did you mean 'min_views'"):
        folder.build()


def test_without_database_the_model_gives_the_tracks_and_without_images_there_are_no_photos(folder: Folder) -> None:
    (folder.source / "court" / "database.db").unlink()
    for path in (folder.source / "door" / "images").iterdir():
        path.unlink()
    (folder.source / "door" / "images").rmdir()
    samples, quarantine = folder.tables()
    assert not quarantine and samples["door/0"]["image_path"] is None
    assert samples["court/0"]["tracks_bytes"] > 0


def test_photos_alone_wait_for_their_matches(folder: Folder) -> None:
    folder.entry |= {"source": "data/raw/mine/court/images", "layout": "images"}
    samples, _ = folder.tables()
    assert set(samples) == {f"images/{view}" for view in range(3)}
    row = samples["images/0"]
    assert row["tracks_path"] is None and row["ref_fx"] is None and row["image_path"] == "000.png"
    assert data.take(folder.root / "data/autocalibration/mine", "", made(folder.root / "out")).facts["root"] == "data/raw/mine/court/images"


def made(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def test_take_copies_rows_and_tracks(folder: Folder) -> None:
    built = folder.build()
    out = made(folder.root / "out")
    taken = data.take(built, "", out)
    samples, quarantine = tables.read(out / "samples.parquet"), tables.read(out / "quarantine.parquet")
    assert len(samples) == 6 and taken.facts["digest"] == tables.rows_digest(samples, quarantine)
    assert taken.facts["root"] == "data/raw/mine" and taken.facts["counts"] == {"photos": 6, "scenes": 2, "quarantine": 0}
    for path, digest in zip(samples["tracks_path"].to_pylist(), samples["tracks_sha256"].to_pylist(), strict=True):
        assert hashlib.sha256((out / path).read_bytes()).hexdigest() == digest
    assert {note.label for note in taken.notes} >= {"images", "scenes", "quarantined", "counts"}
    json.dumps(taken.to_json())
    with pytest.raises(BadData, match="no unit 'court'"):
        data.take(built, "court", out)
    with pytest.raises(BadData, match="dvc repro autocalibration@absent"):
        data.take(built.with_name("absent"), "", out)


def test_tracks_changed_by_hand_are_refused(folder: Folder) -> None:
    built = folder.build()
    path = built / "files/tracks/door.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BadData, match="door.parquet is not what was written"):
        data.take(built, "", made(folder.root / "out"))
    path.unlink()
    with pytest.raises(BadData, match="door.parquet is missing"):
        data.take(built, "", made(folder.root / "out"))


def test_the_digest_follows_the_content(folder: Folder) -> None:
    def digest() -> object:
        return data.take(folder.build(), "", made(folder.root / "out")).facts["digest"]

    first = digest()
    assert first == digest()
    Image.new("RGB", (320, 240), (7, 7, 7)).save(folder.source / "door/images/001.png")
    assert digest() != first


def test_check_tells_all_and_writes_nothing(folder: Folder) -> None:
    (folder.source / "court" / "images" / "001.png").unlink()
    folder.params()
    before = listing(folder.root)
    report = data.check(folder.root, "mine")
    assert report.ok and listing(folder.root) == before
    assert "missing_image" in report.text and "300.0 px" in report.text and "can be used" in report.text
    assert yaml.safe_load(report.block) == {"mine": folder.entry}
    for name in ("court", "door"):
        (folder.source / name / "database.db").write_bytes(b"")
    assert "cannot be used" in data.check(folder.root, "mine").text


def test_check_of_a_folder_that_params_do_not_know(folder: Folder) -> None:
    before = listing(folder.source)
    report = data.check_folder(folder.source, "", BLOCK)
    assert report.ok and listing(folder.source) == before
    folder.entry = yaml.safe_load(report.block)["mine"]
    assert folder.entry["layout"] == "colmap" and len(folder.tables()[0]) == 6
    assert data.check_folder(folder.source, root=folder.root).block == report.block
    with pytest.raises(UsageError, match="no folder"):
        data.check_folder(folder.root / "absent", "colmap", BLOCK)
    with pytest.raises(UsageError, match="did you mean 'colmap'"):
        data.check_folder(folder.source, "colmab", BLOCK)


def test_the_demo_is_made_and_verified(folder: Folder) -> None:
    folder.entry = {"source": "demo.py", "layout": "synthetic", "recipe": "demo", "make": dict(MAKE)}
    samples, quarantine = folder.tables()
    assert len(samples) == 3 * (2 * 2 + 1 + 4) and not quarantine
    assert {row["motion"] for row in samples.values()} == set(scenes.MOTIONS)
    assert {row["jitter"] for row in samples.values()} == {None, 0.05} and all(row["warnings"] == "" for row in samples.values())
    assert "9 scenes" in data.check(folder.root, "mine").text
    taken = data.take(folder.root / "data/autocalibration/mine", "", made(folder.root / "out"))
    assert taken.facts["root"] == "data/autocalibration/mine/files"
    folder.entry["make"].pop("seed")
    with pytest.raises(UsageError, match="make.seed"):
        folder.build()


def test_the_photographs_of_the_package(folder: Folder) -> None:
    folder.entry = {"source": "balbianello.py", "layout": "balbianello", "recipe": "demo"}
    samples, quarantine = folder.tables()
    assert len(samples) == 10 and not quarantine and samples["balbianello/0"]["ref_fx"] == pytest.approx(519.63, abs=0.01)
    files = folder.root / "data/autocalibration/mine/files"
    assert all((files / row["image_path"]).is_file() and (files / row["tracks_path"]).is_file() for row in samples.values())
    assert "5 photographs" in data.check(folder.root, "mine").text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sorce": "x"}, "sorce is unknown; did you mean 'source'"),
        ({"layout": "colmab"}, "did you mean 'colmap'"),
        ({"layout": "synthetic"}, "belong together"),
        ({"make": {}}, "belong together"),
        ({"read": 3}, "read must be a mapping"),
        ({"units": ["a"]}, "no units"),
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


def test_what_a_killed_build_left_is_removed_and_a_second_one_is_refused(folder: Folder) -> None:
    left = folder.root / "data/autocalibration/.mine.0123abcd.tenfold-tmp"
    left.mkdir(parents=True)
    folder.build()
    assert not left.exists()
    with FileLock(folder.root / "data/autocalibration/.mine.lock"), pytest.raises(UsageError, match="another process"):
        folder.build()


def test_the_command_ends_with_one_line_and_no_traceback(folder: Folder) -> None:
    folder.params()

    def run(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tenfold.autocalibration.data", name]
        path = str(Path(data.__file__).parents[2])
        return subprocess.run(command, cwd=folder.root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)

    assert run("mine").returncode == 0
    assert (folder.root / "data/autocalibration/mine/samples.parquet").is_file()
    wrong = run("mime")
    assert wrong.returncode == 1 and "did you mean 'mine'" in wrong.stderr and wrong.stderr.count("\n") == 1
    assert data.main([]) == 2


def test_the_stage_loads_no_heavy_library() -> None:
    """Dagster's code location reads these modules."""
    heavy = "'numba', 'pycolmap', 'poselib', 'cv2', 'torch', 'scipy', 'gtsam', 'PIL'"
    code = f"import sys, tenfold.autocalibration.data, tenfold.autocalibration.contract; print([m for m in ({heavy}) if m in sys.modules])"
    path = str(Path(data.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True)
    assert done.stdout.strip() == "[]"

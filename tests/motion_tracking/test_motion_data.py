"""From a folder to two tables: nothing is written to the source, nothing is half done, every wrong name has its answer."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from motion_tracking.small_amass import BLOCK, folder, motion, put

from tenfold.core import tables
from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import data, features

MAKE = {
    "train": 8, "validation": 8, "test": 8, "seconds": 1.0, "subjects": {"train": 4, "validation": 2, "test": 2}, "tremor": 1.0, "real": False,
    "kinds": ["walk", "mixed", "run", "squat", "sidestep", "reach", "kick", "idle"], "headings": 1, "mirror": False, "seed": 1,
}  # fmt: skip


class Home:
    """A root whose params.yaml names a small folder of the user's."""

    def __init__(self, root: Path) -> None:
        self.root, self.source = root, folder(root / "data/raw/mine")
        self.entry: dict[str, Any] = {"source": "data/raw/mine", "layout": "amass", "recipe": "demo"}
        self.recipe = asdict(BLOCK)

    def params(self) -> None:
        block = {"datasets": {"mine": self.entry}, "recipes": {"demo": {"dataset": self.recipe}}}
        (self.root / "params.yaml").write_text(yaml.safe_dump({"motion_tracking": block}))

    def build(self) -> Path:
        self.params()
        data.build(self.root, "mine")
        return self.root / "data/motion_tracking/mine"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def hashes(root: Path) -> dict[str, str]:
    return {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_folder_becomes_two_tables_and_stays_as_it_was(home: Home) -> None:
    before = hashes(home.source)
    made = home.build()
    assert hashes(home.source) == before
    assert sorted(path.name for path in made.iterdir()) == ["dataset.json", "quarantine.parquet", "samples.parquet"]
    about = json.loads((made / "dataset.json").read_bytes())
    assert about["root"] == "data/raw/mine" and about["read"] == asdict(BLOCK) and about["counts"]["train/GenWalk"] == 4
    first = (made / "samples.parquet").read_bytes()
    assert (home.build() / "samples.parquet").read_bytes() == first


def test_the_demo_is_made_in_its_own_folder_and_takes_the_same_way(home: Home) -> None:
    (home.root / "demo.py").write_text("")
    home.entry |= {"source": "demo.py", "make": MAKE}
    made = home.build()
    rows = tables.read(made / "samples.parquet").to_pylist()
    assert {row["split"] for row in rows} == {"train", "validation", "test"} and {row["source"] for row in rows} == {"generated"}
    assert len(rows) == 24 and {row["label"] for row in rows} == set(MAKE["kinds"]) and not len(tables.read(made / "quarantine.parquet"))
    about = json.loads((made / "dataset.json").read_bytes())
    assert all((home.root / about["root"] / row["clip_path"]).is_file() for row in rows)
    assert "generated" in data.check(home.root, "mine").text


def test_what_the_store_takes(home: Home, tmp_path: Path) -> None:
    made = home.build()
    taken = data.take(made, "", tmp_path / "out")
    assert taken.facts["root"] == "data/raw/mine" and len(taken.facts["digest"]) == 64
    assert json.loads((tmp_path / "out" / features.ABOUT).read_bytes())["read"] == asdict(BLOCK)
    assert (tmp_path / "out/samples.parquet").is_file() and (tmp_path / "out/quarantine.parquet").is_file()
    put(home.source, "GenWalk/s02/clip", motion(77))
    assert data.take(home.build(), "", tmp_path / "other").facts["digest"] != taken.facts["digest"]
    with pytest.raises(BadData, match="no unit"):
        data.take(made, "left", tmp_path / "third")
    with pytest.raises(BadData, match="dvc repro motion_tracking@none"):
        data.take(made.with_name("none"), "", tmp_path / "fourth")


def test_features_run_on_what_was_taken(home: Home, tmp_path: Path) -> None:
    from tenfold.core.progress import Progress
    from tenfold.motion_tracking import clips, config

    data.take(home.build(), "", tmp_path / "out")
    block = config.Features("central", "raw", ["light"], ["consumer"], 0)
    features.run(tmp_path / "out", home.source, block, tmp_path / "features", Progress())
    assert len(clips.Clips.open(tmp_path / "features").index) == 7


def test_errors_stop_it_and_leave_what_stood_there(home: Home) -> None:
    made = home.build()
    before = hashes(made)
    for number in range(3):
        put(home.source, f"GenWalk/s{number:02d}/clip", b"broken")
    with pytest.raises(BadData, match="3 of 7 clips cannot be used"):
        home.build()
    assert hashes(made) == before
    assert [path.name for path in made.parent.iterdir() if not path.name.endswith(".lock")] == ["mine"]


def test_a_missing_body_stops_the_first_stage_with_what_to_obtain(home: Home) -> None:
    home.recipe["body"] = "gendered"
    with pytest.raises(BadData, match="What to obtain"):
        home.build()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"layout": "amas"}, "amass"),
        ({"units": ["left"]}, "no units"),
        ({"reader": {}}, "reader is unknown"),
        ({"read": {"splt": "lists"}}, "splt"),
        ({"read": {"split": "by_person"}}, "split"),
        ({"make": {"train": 1}}, "make"),
    ],
)
def test_wrong_words_in_params(home: Home, entry: dict[str, Any], told: str) -> None:
    home.entry |= entry
    with pytest.raises(UsageError, match=told):
        home.build()


def test_a_name_that_is_not_there_and_a_source_that_is_not_there(home: Home) -> None:
    home.params()
    with pytest.raises(UsageError, match="mine"):
        data.build(home.root, "mien")
    home.entry["source"] = "data/raw/elsewhere"
    with pytest.raises(BadData, match="elsewhere is no folder"):
        home.build()


def test_two_processes_do_not_make_one_dataset(home: Home) -> None:
    (home.root / "data/motion_tracking").mkdir(parents=True)
    with FileLock(home.root / "data/motion_tracking/.mine.lock"), pytest.raises(UsageError, match="another process"):
        home.build()


def test_the_command(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    home.params()
    monkeypatch.chdir(home.root)
    assert data.main(["mine"]) == 0 and data.main([]) == 2
    assert data.main(["nobody"]) == 1 and "nobody" in capsys.readouterr().err


def test_checking_writes_nothing(home: Home) -> None:
    home.params()
    put(home.source, "GenWalk/s01/clip", motion(1, 5))
    before = hashes(home.root)
    report = data.check(home.root, "mine")
    assert not report.ok and "too_short" in report.text and hashes(home.root) == before


def test_an_unknown_folder_is_checked_and_gets_its_block(home: Home) -> None:
    home.params()
    report = data.check_folder(home.source, root=home.root)
    assert report.ok and "can be used" in report.text
    assert yaml.safe_load(report.block)["mine"] == {"source": str(home.source.absolute()), "layout": "amass", "recipe": "demo"}


def test_a_bare_amass_folder_is_split_by_subject(home: Home) -> None:
    bare = home.source.parent / "AMASS download"
    (home.source / "amass").rename(bare)
    (home.source / "smplh").rename(bare / "smplh")
    report = data.check_folder(bare, dataset_block=BLOCK)
    entry = yaml.safe_load(report.block)["amass_download"]
    assert report.ok, report.text
    assert entry["read"] == {"amass_dir": ".", "split": "by_subject"}
    block = replace(BLOCK, **entry["read"])
    assert data.check_folder(bare, dataset_block=block).ok


def test_what_is_no_folder(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        data.check_folder(tmp_path / "none", dataset_block=BLOCK)
    with pytest.raises(UsageError, match="amass"):
        data.check_folder(home.source, "bvh", dataset_block=BLOCK)

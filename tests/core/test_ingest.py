"""The part of `data.py` that all papers share, on a paper of three lines."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from filelock import FileLock

from tenfold.core import ingest, params, tables
from tenfold.core.errors import BadData, UsageError
from tenfold.core.progress import Progress

SAMPLES = tables.samples_schema(("photo",), {"warnings": pa.string()})
QUARANTINE = tables.quarantine_schema(("photo",), {"warnings": pa.string()})
PARAMS = """
zoo:
  datasets:
    mine: {source: raw, layout: flat, units: [cats], recipe: demo, read: {side: 8}}
    odd: {source: raw, layout: flat, units: [cats], recipe: demo, maek: {}}
    flat: {source: raw, layout: flat, units: [cats], recipe: demo, read: 3}
  recipes: {demo: {dataset: {side: 4, limit: 0.5}}}
"""


@dataclass(frozen=True)
class Options:
    side: int
    limit: float


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "raw").mkdir()
    return tmp_path


def configured(root: Path, name: str) -> tuple[params.Dataset, Options]:
    return ingest.configured(root, "zoo", name, Options, lambda dataset, where: ingest.layout_named(dataset.layout, ["flat"]))


def row(id: str, sha: str | None = "0" * 64, unit: str = "cats", **more: str) -> dict[str, object]:
    return {**dict.fromkeys(SAMPLES.names), "id": id, "unit": unit, "photo_sha256": sha, "warnings": "", **more}


def survey() -> ingest.Survey:
    return ingest.Survey([row("a"), row("b", "1" * 64, warnings="dark"), row("d", unit="dogs")], [row("c", reason="torn", detail="half")])


def made(root: Path) -> Path:
    dataset, _ = configured(root, "mine")
    about = {"root": ingest.files_root(dataset, True), "counts": {"cats": 2}}
    ingest.build(root, dataset, lambda folder: ingest.write(folder, dataset, survey(), SAMPLES, QUARANTINE, Progress(), about))
    return root / "data" / "zoo" / "mine"


def test_the_recipes_numbers_then_the_datasets_own(root: Path) -> None:
    dataset, options = configured(root, "mine")
    assert (dataset.name, options) == ("mine", Options(8, 0.5))
    assert ingest.demo_options("zoo", Options, root) == Options(4, 0.5)
    assert ingest.source(root, dataset) == root / "raw"
    (root / "raw").rmdir()
    with pytest.raises(BadData, match="raw is no folder"):
        ingest.source(root, dataset)


@pytest.mark.parametrize(
    ("name", "words"), [("min", "did you mean 'mine'"), ("odd", "maek is unknown; did you mean 'make'"), ("flat", "read must be a mapping")]
)
def test_what_is_wrong_in_the_block_is_named(root: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        configured(root, name)


def test_the_paper_may_refuse(root: Path) -> None:
    def refuse(dataset: params.Dataset, where: str) -> None:
        raise UsageError(f"{where}.units: none here")

    with pytest.raises(UsageError, match=r"params.yaml: zoo.datasets.mine.units: none here"):
        ingest.configured(root, "zoo", "mine", Options, refuse)


def test_a_failed_build_leaves_what_was_there(root: Path) -> None:
    folder = made(root)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    dataset, _ = configured(root, "mine")

    def half(target: Path) -> None:
        (target / "samples.parquet").write_bytes(b"half")
        raise BadData("torn")

    with pytest.raises(BadData, match="torn"):
        ingest.build(root, dataset, half)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) == ["mine"]


def test_two_builds_do_not_meet(root: Path) -> None:
    folder = made(root)
    with FileLock(folder.with_name(".mine.lock")), pytest.raises(UsageError, match="another process"):
        made(root)


def test_all_errors_are_told_at_once_up_to_a_limit(root: Path, tmp_path: Path) -> None:
    dataset, _ = configured(root, "mine")
    found = ingest.Survey([row("a")], [], [f"error {number}" for number in range(23)])
    with pytest.raises(BadData, match=r"error 0\n(.*\n)*error 19\n\.\.\. and 3 more errors$"):
        ingest.write(tmp_path, dataset, found, SAMPLES, QUARANTINE, Progress(), {})


def test_a_partition_takes_its_own_rows(root: Path, tmp_path: Path) -> None:
    folder, out = made(root), tmp_path / "out"
    about, samples, quarantine = ingest.take(folder, "zoo", "cats", out)
    assert about == json.loads((folder / "dataset.json").read_text())
    assert (about["root"], about["source"]) == ("data/zoo/mine/files", "raw")
    assert samples["id"].to_pylist() == ["a", "b"] and quarantine["id"].to_pylist() == ["c"]
    assert tables.read(out / "samples.parquet") == samples and tables.read(out / "quarantine.parquet") == quarantine
    with pytest.raises(BadData, match="no unit 'cows'; it has cats, dogs"):
        ingest.take(folder, "zoo", "cows", out)
    with pytest.raises(BadData, match="dvc repro zoo@gone"):
        ingest.take(folder.with_name("gone"), "zoo", "cats", out)
    notes = ingest.notes(quarantine, about["counts"], ("unit", "photos"), {"b": "dark"}, "id", ["one in all"])
    assert [note.label for note in notes] == ["quarantined", "counts", "quarantine", "warnings"]
    assert notes[-1].value == {"columns": ["id", "warning"], "rows": [["b", "dark"], ["", "one in all"]]}


def test_the_report_says_what_there_is_and_gives_the_block() -> None:
    said = ingest.report("mine", ["mine: raw"], survey(), ["b: dark"], {"source": "raw", "units": ["cats"]})
    assert said.ok and said.text.endswith("This dataset can be used.")
    assert "Quarantined:\n  c: torn: half" in said.text and "Warnings:\n  b: dark" in said.text and "Errors" not in said.text
    assert yaml.safe_load(said.block) == {"mine": {"source": "raw", "units": ["cats"]}}
    assert not ingest.report("mine", [], ingest.Survey(), [], {}).ok
    assert not ingest.report("mine", [], ingest.Survey([row("a")], [], ["broken"]), [], {}).ok


def test_quarantine_has_a_limit_and_twins_are_found() -> None:
    bad = [row("c", reason="torn", detail="half"), row("e", reason="torn", detail="all")]
    assert ingest.too_many(Path("raw"), 2, bad, 0.5, "photos") == []
    (said,) = ingest.too_many(Path("raw"), 1, bad, 0.5, "photos")
    assert said == "raw: 2 of 3 photos cannot be used (2 torn), max_quarantine is 50%. First: c: half"
    assert ingest.twins([row("a"), row("b", "1" * 64), row("d"), row("e", None), row("f", None)], "photo_sha256") == [["a", "d"]]


@pytest.mark.parametrize(("title", "name"), [("My Photos", "my_photos"), ("2024-05", "data_2024_05"), ("Çé", "data")])
def test_a_folders_title_becomes_a_name(title: str, name: str) -> None:
    assert ingest.plain_name(title) == name


def test_the_command_tells_errors_in_a_line(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(root)

    def build(root: Path, name: str, progress: Progress) -> None:
        if name == "full":
            raise OSError("no space")
        configured(root, name)

    assert [ingest.main(words, "zoo", build) for words in ([], ["mine"], ["absent"], ["full"])] == [2, 0, 1, 1]
    told = capsys.readouterr().err
    assert "usage: python -m tenfold.zoo.data NAME" in told and "absent: params.yaml has no dataset" in told
    assert "full: no space. Check the free space and the permissions of data/zoo." in told

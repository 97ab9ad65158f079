"""A user's own folder: checked before any training, added as one block, made to a champion, used."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import copy_of, tenfold

from pipelines import cli
from tenfold.core.store import Store

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PAPER = "crossmodal_anomaly"
TRAY = f"{PAPER}.castings.tray"


@pytest.fixture(scope="module")
def root(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's root, and the user's folder beside it: scans in the layout of MVTec 3D-AD."""
    folder = tmp_path_factory.mktemp("own")
    made = copy_of(demo.root, folder / "root")
    shutil.copytree(made / "data" / PAPER / "demo" / "files" / "peg", folder / "castings" / "tray")
    return made


@pytest.fixture(autouse=True)
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_ROOT", str(root))
    monkeypatch.setenv("TENFOLD_HOME", str(root / ".tenfold"))


def paste(root: Path, block: str) -> None:
    """What a user does: the printed block, under `datasets` in params.yaml."""
    text = (root / "params.yaml").read_text()
    indented = "".join(f"    {line}\n" for line in block.strip().splitlines())
    (root / "params.yaml").write_text(text.replace("  recipes:\n", f"{indented}  recipes:\n", 1))


def test_a_good_folder_is_counted_and_a_block_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets", "check", "crossmodal-anomaly", str(root.parent / "castings")]) == 0
    said = capsys.readouterr().out
    assert "tray" in said and "can be used" in said and "Block for params.yaml" in said
    block = said.partition("datasets:\n")[2].rpartition("A running")[0]
    parsed = yaml.safe_load(block)
    assert parsed["castings"]["units"] == ["tray"] and parsed["castings"]["source"] == str(root.parent / "castings")
    paste(root, block)
    assert cli.main(["datasets", PAPER]) == 0
    assert "castings" in capsys.readouterr().out
    assert cli.main(["datasets", "check", PAPER, "castings"]) == 0


def test_a_bad_folder_is_refused_before_any_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scans" / "tray" / "test" / "good" / "rgb").mkdir(parents=True)
    assert cli.main(["datasets", "check", PAPER, str(tmp_path / "scans")]) == 1
    said = capsys.readouterr().out
    assert "cannot be used" in said and "Traceback" not in said
    assert cli.main(["datasets", "check", PAPER, str(tmp_path / "nowhere")]) == 2
    assert "neither a dataset" in capsys.readouterr().err
    assert cli.main(["datasets", "check", PAPER]) == 2


def test_it_runs_to_a_champion_that_judges_a_scan(root: Path, tmp_path: Path) -> None:
    done = tenfold(root, "run", TRAY)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 assets made" in done.stdout
    champion = Store(root / ".tenfold").open(PAPER, "castings.tray", "champion")[1]
    assert champion.facts["promoted"] is True
    part = root.parent / "castings" / "tray" / "test" / "good"
    name = sorted(path.stem for path in (part / "rgb").iterdir())[0]
    words = ["--rgb", str(part / "rgb" / f"{name}.png"), "--xyz", str(part / "xyz" / f"{name}.tiff"), "--out", str(tmp_path / "out")]
    said = tenfold(root, "predict", TRAY, *words)
    assert said.returncode == 0, said.stderr
    assert f"{TRAY} version 1" in said.stdout and name in said.stdout
    assert (tmp_path / "out" / "scores.csv").exists()
    unclear = tenfold(root, "predict", PAPER, *words)
    assert unclear.returncode == 2 and "name the partition" in unclear.stderr and TRAY in unclear.stderr


def test_a_test_part_that_was_trained_on_is_refused_by_name(root: Path) -> None:
    store = Store(root / ".tenfold")
    before = {asset: store.current(PAPER, "castings.tray", asset) for asset in ("dataset", "model", "champion")}
    tray = root.parent / "castings" / "tray"
    for kind in ("rgb", "xyz"):
        source = sorted((tray / "train" / "good" / kind).iterdir())[0]
        shutil.copy(source, tray / "test" / "good" / kind / f"099{source.suffix}")
    done = tenfold(root, "run", TRAY)
    assert done.returncode == 1 and "FAILED" in done.stdout, done.stderr
    assert "tray/test/good/rgb/099.png" in done.stderr and "same file" in done.stderr and "Traceback" not in done.stderr
    assert "castings.tray prepared" not in done.stderr, "nothing goes on from it"
    assert {asset: store.current(PAPER, "castings.tray", asset) for asset in before} == before
    for kind, suffix in (("rgb", "png"), ("xyz", "tiff")):
        (tray / "test" / "good" / kind / f"099.{suffix}").unlink()
    good = tenfold(root, "run", TRAY)
    assert good.returncode == 0 and "nothing changed: 8 assets checked" in good.stdout, good.stderr


def test_the_papers_recipe_asks_for_its_weights_at_once(root: Path) -> None:
    checkout = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())[PAPER]
    tree = yaml.safe_load((root / "params.yaml").read_text())
    tree[PAPER]["recipes"]["paper"] = json.loads(json.dumps(checkout["recipes"]["paper"]))
    tree[PAPER]["datasets"]["big"] = {**tree[PAPER]["datasets"]["castings"], "recipe": "paper"}
    (root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    done = tenfold(root, "run", f"{PAPER}.big.tray")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    weights = tree[PAPER]["recipes"]["paper"]["features"]["weights_2d"]["file"]
    assert weights in done.stderr and str(root / "data" / "weights" / PAPER) in done.stderr and "sha256" in done.stderr
    assert "big.tray dataset" not in done.stderr and "big.tray prepared" not in done.stderr, "before anything is made"

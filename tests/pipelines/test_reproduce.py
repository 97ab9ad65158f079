"""`tenfold reproduce`: the same bytes again in a fresh home, or what is not as it was and the way back."""

from pathlib import Path

import pytest
import yaml
from support import tenfold

from pipelines import cli
from tenfold.core import code
from tenfold.core.store import Store
from tenfold.ops import registry
from tenfold.ops.settings import Settings

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PEG = "crossmodal_anomaly.demo.peg"


def told(capsys: pytest.CaptureFixture[str], expected: int, *words: str) -> str:
    assert cli.main(["reproduce", *words]) == expected
    return capsys.readouterr().out


def test_the_same_bytes_again(copied: Path) -> None:
    done = tenfold(copied, "reproduce", f"{PEG}@champion")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reproduced: all" in done.stdout and "byte for byte" in done.stdout
    assert not list((copied / ".tenfold" / "reproduce").iterdir()), "the fresh home is removed"


def test_what_changed_is_named_and_nothing_is_run(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, lock = (copied / name for name in ("params.yaml", "dvc.lock"))
    before = params.read_text()
    tree = yaml.safe_load(before)
    tree["crossmodal_anomaly"]["recipes"]["demo"]["model"]["lr"] = 0.002
    params.write_text(yaml.safe_dump(tree))
    said = told(capsys, 1, PEG)
    assert "crossmodal_anomaly.recipes.demo.model.lr is 0.002, was 0.001" in said
    assert f"tenfold run {PEG} --to model" in said and "dvc checkout crossmodal_anomaly@demo" in said and "make install" in said
    tree = yaml.safe_load(before)
    tree["crossmodal_anomaly"]["datasets"]["demo"]["make"]["seed"] = 5
    params.write_text(yaml.safe_dump(tree))
    assert "data: " in told(capsys, 1, PEG)
    params.write_text(before)

    written = lock.read_text()
    md5 = yaml.safe_load(written)["stages"]["crossmodal_anomaly@demo"]["outs"][0]["md5"]
    lock.write_text(written.replace(md5, f"{'0' * 32}.dir"))
    assert f"is {'0' * 32} in dvc.lock, was {md5.removesuffix('.dir')}" in told(capsys, 1, PEG)
    lock.write_text(written)

    module, contents = "tenfold.crossmodal_anomaly.train", code.contents
    monkeypatch.setattr(code, "contents", lambda entry: {**contents(entry), **({module: "edited"} if module in contents(entry) else {})})
    said = told(capsys, 1, PEG)
    assert f"code of model: {module}" in said and "code of features" not in said
    assert not (copied / ".tenfold" / "reproduce").exists()


def test_another_alias_and_one_that_nobody_has(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", f"{PEG}@staging"]) == 2
    assert "no model with the alias `staging`" in capsys.readouterr().err


def test_a_lineage_that_was_deleted_is_named(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(copied / ".tenfold")
    _, key = registry.peek(Settings(), PEG) or ("", "")
    features = store.open("crossmodal_anomaly", "demo.peg", "features")[1]
    (store.folder("crossmodal_anomaly", "features", features.key) / "manifest.json").rename(copied / "elsewhere.json")
    assert cli.main(["reproduce", PEG]) == 1
    said = capsys.readouterr().err
    assert f"features {features.key}" in said and "no longer" in said and key

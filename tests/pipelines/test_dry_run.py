"""`--dry-run` names data, code and numbers, and changes nothing."""

import hashlib
from pathlib import Path

import pytest
import yaml

from pipelines import cli, dry_run
from tenfold.core import code

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PEG = "crossmodal_anomaly.demo.peg"


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[str, str]]:
    assert cli.main(["run", PEG, "--dry-run", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == PEG
    rows = [line.split(None, 2) for line in lines[3:]]
    return {row[0]: (row[1], row[2] if len(row) > 2 else "") for row in rows}


def contents(root: Path) -> dict[str, str]:
    """Every file but DVC's own scratch."""
    files = [path for path in root.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path) and not path.is_relative_to(root / "src")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def set_number(root: Path, asset: str, name: str, value: object) -> None:
    tree = yaml.safe_load((root / "params.yaml").read_text())
    tree["crossmodal_anomaly"]["recipes"]["demo"][asset][name] = value
    (root / "params.yaml").write_text(yaml.safe_dump(tree))


def test_nothing_changed(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(copied)
    assert {state for state, _ in asked(capsys).values()} == {"hit"}
    assert contents(copied) == before


def test_a_number_is_named_with_both_values(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--set", "model.lr=3.0e-4")
    assert found["model"] == ("recompute", "lr: 0.001 -> 0.0003")
    assert found["features"][0] == found["baselines"][0] == "hit"
    assert found["evaluation"] == ("recompute", "upstream model changes")
    set_number(copied, "baselines", "coreset", 0.2)
    found = asked(capsys)
    assert found["baselines"] == ("recompute", "coreset: 0.1 -> 0.2")
    assert found["model"][0] == "hit" and found["champion"][0] == "recompute"


def test_data_are_named(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = yaml.safe_load((copied / "params.yaml").read_text())
    tree["crossmodal_anomaly"]["datasets"]["demo"]["make"]["train"] = 7
    (copied / "params.yaml").write_text(yaml.safe_dump(tree))
    state, why = asked(capsys)["dataset"]
    assert state == "recompute" and "crossmodal_anomaly.datasets.demo" in why and "modified" in why


def test_code_is_named(copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = "tenfold.crossmodal_anomaly.ridge"

    def contents_of(entry: str) -> dict[str, str]:
        found = dict(code.contents(entry))
        return {**found, module: "edited"} if module in found else found

    def content(entry: str) -> str:
        return "edited" if module in code.contents(entry) else code.content(entry)

    monkeypatch.setattr(dry_run, "code", type("Code", (), {"contents": staticmethod(contents_of), "content": staticmethod(content)}))
    found = asked(capsys)
    assert found["baselines"] == ("recompute", f"code: {module}")
    assert found["features"][0] == "hit"


def test_what_was_made_before_is_found_and_never_made_is_said(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / ".tenfold" / "current" / "crossmodal_anomaly" / "demo.peg" / "report.json").unlink()
    found = asked(capsys)
    assert found["report"][0] == "hit"
    tree = yaml.safe_load((copied / "params.yaml").read_text())
    tree["crossmodal_anomaly"]["recipes"]["other"] = tree["crossmodal_anomaly"]["recipes"]["demo"]
    (copied / "params.yaml").write_text(yaml.safe_dump(tree))
    assert {state for state, _ in asked(capsys).values()} == {"hit"}


def test_to_leaves_out_what_comes_later(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(asked(capsys, "--to", "features")) == ["dataset", "prepared", "features"]


def test_nothing_was_ever_made(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys)
    assert found["dataset"] == ("recompute", "data: never made")
    assert found["champion"][0] == "recompute"
    assert not (tiny / ".tenfold").exists()

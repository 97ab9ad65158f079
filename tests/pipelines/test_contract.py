"""A contract that fails: said in the terminal, not current, nothing goes on from it, the last good output stays."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from assets import shared
from pipelines import cli
from tenfold.core.store import Store
from tenfold.crossmodal_anomaly import contract

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PAPER, PARTITION = "crossmodal_anomaly", "demo.peg"
TARGET = f"{PAPER}.{PARTITION}"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The command changes its process, which is ours here."""
    handler, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
    yield
    signal.signal(signal.SIGTERM, handler)
    shared.progress_sinks.clear()
    os.environ.clear()
    os.environ.update(environment)


def set_good(root: Path, number: int) -> None:
    tree = yaml.safe_load((root / "params.yaml").read_text())
    tree[PAPER]["datasets"]["demo"]["make"]["good"] = number
    (root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


def test_a_warning_is_not_blamed_for_a_failure() -> None:
    """Both checks are broken, only the error is why the run failed."""
    from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetKey

    from pipelines.commands.run import explain_failure
    from pipelines.targets import Target

    def event(name: str, severity: AssetCheckSeverity) -> Any:
        check = AssetCheckEvaluation(AssetKey([PAPER, "dataset"]), name, False, {}, severity=severity, blocking=True)
        return SimpleNamespace(
            event_type_value="ASSET_CHECK_EVALUATION", event_specific_data=check, is_step_failure=False, is_run_failure=False
        )

    events = [event("contract_loose", AssetCheckSeverity.WARN), event("contract_strict", AssetCheckSeverity.ERROR)]
    said, stopped = explain_failure(SimpleNamespace(all_events=events), Target(PAPER, PARTITION))
    assert "contract_strict" in said and "contract_loose" not in said and not stopped


def test_a_broken_contract(copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {
        "expect": "column_values_to_be_in_set",
        "column": "defect",
        "value_set": ["good"],
        "severity": "critical",
        "says": "no part is broken",
    }
    store = Store(copied / ".tenfold")
    before = {asset: store.current(PAPER, PARTITION, asset) for asset in ("dataset", "prepared", "model", "champion")}
    with monkeypatch.context() as patch:
        patch.setattr(contract, "SAMPLES", [*contract.SAMPLES, rule])
        set_good(copied, 4)
        assert cli.main(["run", TARGET]) == 1
    said = capsys.readouterr()
    assert "dataset: the contract `contract_samples` failed" in said.err and "no part is broken (defect): 10" in said.err
    assert "peg/test/" in said.err, "the ids that break the rule"
    assert f"tenfold datasets check {PAPER} demo" in said.err and "Traceback" not in said.err
    assert f"{PARTITION} prepared" not in said.err and "FAILED" in said.out
    assert {asset: store.current(PAPER, PARTITION, asset) for asset in before} == before

    assert cli.main(["run", TARGET]) == 1, "the stored verdict stands"
    said = capsys.readouterr()
    assert f"{PARTITION} dataset: unchanged" in said.err and "contract_samples" in said.err

    set_good(copied, 3)
    assert cli.main(["run", TARGET]) == 0
    assert "nothing changed: 8 assets checked" in capsys.readouterr().out

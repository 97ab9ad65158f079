"""What all assets share: keys, hits, publishing, metadata, checks, upstream that is not there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from assets import shared
from assets.shared import Home, Overrides, Step
from tenfold.core.errors import BadData, Stopped
from tenfold.core.progress import Event
from tenfold.core.stage import Check, Made, Note
from tenfold.core.store import Store, Working
from tenfold.crossmodal_anomaly import config

PAPER, PARTITION = "crossmodal_anomaly", "demo.peg"
PARTS = dg.StaticPartitionsDefinition([PARTITION])
FIRST = Step(PAPER, "prepared", "tenfold.core.stage", config.Prepared)
SECOND = Step(PAPER, "features", "tenfold.core.stage", config.Features, ("prepared",))


@dataclass
class Science:
    """What the two made-up assets do; tests change it."""

    made: list[str]
    contract: bool = True
    error: Exception | None = None
    content: str = "content"


@pytest.fixture
def science(tiny: Path) -> Science:
    return Science([])


def assets_of(science: Science) -> list[dg.AssetsDefinition]:
    @dg.asset(**FIRST.options(PARTS, {"numpy"}), check_specs=FIRST.checks(PARTS, {"contract_x": "x holds"}, {"C1": "a claim"}))
    def prepared(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
        """First."""
        stage = FIRST.begin(context, home, config)

        def make(work: Working) -> Made:
            science.made.append("prepared")
            if science.error:
                raise science.error
            (work.out / "file").write_text(science.content)
            checks = [Check("contract_x", science.contract, "error", "broken"), Check("C1", False, "warn", "does not hold")]
            return Made(notes=[Note("numbers found", "int", 3)], checks=checks)

        return shared.finish(stage, make)

    @dg.asset(**SECOND.options(PARTS, {"torch"}))
    def features(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
        """Second."""
        stage = SECOND.begin(context, home, config)

        def make(work: Working) -> Made:
            science.made.append("features")
            (work.out / "file").write_text((stage.input("prepared") / "file").read_text())
            return Made()

        return shared.finish(stage, make)

    return [prepared, features]


def run(science: Science, selection: list[str] | None = None, **overrides: dict[str, Any]) -> dg.ExecuteInProcessResult:
    config = {"ops": {f"{PAPER}__{name}": {"config": {"overrides": values}} for name, values in overrides.items()}}
    chosen = [asset for asset in assets_of(science) if selection is None or asset.key.path[-1] in selection]
    return dg.materialize(chosen, partition_key=PARTITION, resources={"home": Home()}, run_config=config, raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, str]:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description), str(data.metadata["tenfold"].value)


def cache(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.step_materialization_data.materialization.metadata["cache"].value.split(":")[0] for event in result.all_events if event.is_step_materialization]  # fmt: skip


def test_a_hit_yields_metadata_and_checks_again_and_makes_nothing(science: Science) -> None:
    first, second = run(science), run(science)
    assert first.success and second.success and science.made == ["prepared", "features"]
    assert cache(first) == ["made in this run"] * 2 and cache(second) == ["hit"] * 2
    for result in (first, second):
        assert {(check.check_name, check.passed) for check in result.get_asset_check_evaluations()} == {("contract_x", True), ("C1", False)}
        metadata = result.asset_materializations_for_node(f"{PAPER}__prepared")[0].metadata
        assert metadata["numbers found"].value == 3 and metadata["stored in"].value.endswith(str(metadata["content key"].value))


def test_overrides_make_another_key_and_are_recorded(science: Science, tiny: Path) -> None:
    run(science)
    run(science, prepared={"plane_draws": 7})
    assert science.made == ["prepared", "features", "prepared"], "the same content downstream is a hit"
    _, manifest = Store(tiny / ".tenfold").open(PAPER, PARTITION, "prepared")
    assert manifest.overrides == {"plane_draws": 7} and manifest.block["plane_draws"] == 7
    science.content = "other"
    run(science, prepared={"plane_draws": 8})
    assert science.made[-2:] == ["prepared", "features"]


def test_a_wrong_override_says_where(science: Science) -> None:
    said, kind = failure(run(science, prepared={"plane_drawz": 7}))
    assert "plane_drawz" in said and "plane_draws" in said and kind == "UsageError" and science.made == []


def test_a_broken_contract_stops_the_run_and_is_not_current(science: Science, tiny: Path) -> None:
    store = Store(tiny / ".tenfold")
    run(science)
    good = store.current(PAPER, PARTITION, "prepared")
    science.contract, science.content = False, "bad"
    result = run(science, prepared={"plane_draws": 7})
    assert not result.success and science.made == ["prepared", "features", "prepared"]
    assert store.current(PAPER, PARTITION, "prepared") == good and good is not None
    assert run(science, ["features"]).success, "what comes later goes on with the last good one"


def test_downstream_of_nothing_says_what_to_run(science: Science) -> None:
    said, kind = failure(run(science, ["features"]))
    assert f"`tenfold run {PAPER}.{PARTITION} --to prepared`" in said and kind == "TenfoldError"


@pytest.mark.parametrize(("error", "kind"), [(BadData("file a.png is empty"), "BadData"), (Stopped("saved"), "stopped")])
def test_errors_are_told_in_their_own_words_and_not_retried(science: Science, error: Exception, kind: str) -> None:
    science.error = error
    result = run(science)
    assert failure(result) == (str(error), kind) and science.made == ["prepared"]
    science.error = None
    assert run(science).success


def test_progress_reaches_the_terminal_with_its_partition(science: Science, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    monkeypatch.setattr(shared, "progress_sinks", [events.append])
    run(science)
    assert [event.stage for event in events if not event.text] == [f"{PARTITION} prepared", f"{PARTITION} features"]
    assert f"{PARTITION} prepared: unchanged" not in [event.text for event in events]
    assert any(event.text.startswith(f"{PARTITION} prepared: made in") for event in events)


def test_code_version_follows_the_recipes_and_nothing_else(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = "tenfold.core.stage"
    before = shared.code_version(PAPER, "model", entry)
    tree = yaml.safe_load((tiny / "params.yaml").read_text())
    tree[PAPER]["recipes"]["demo"]["features"]["grid"] = 14
    (tiny / "params.yaml").write_text(yaml.safe_dump(tree))
    assert shared.code_version(PAPER, "model", entry) == before
    tree[PAPER]["recipes"]["demo"]["model"]["lr"] = 0.5
    (tiny / "params.yaml").write_text(yaml.safe_dump(tree))
    assert shared.code_version(PAPER, "model", entry) != before


def test_a_dataset_without_source_has_no_partitions_yet(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (tiny / "params.yaml").read_text()
    block = "    mine: {source: data/raw/mine, layout: mvtec_3d_ad, units: [tray], recipe: demo}\n"
    (tiny / "params.yaml").write_text(text.replace("  recipes:\n", f"{block}  recipes:\n", 1))
    assert list(shared.partitions(PAPER).get_partition_keys()) == ["demo.biscuit", "demo.peg"]
    (tiny / "data" / "raw" / "mine").mkdir(parents=True)
    assert list(shared.partitions(PAPER).get_partition_keys()) == ["demo.biscuit", "demo.peg", "mine.tray"]


@pytest.mark.parametrize(
    ("note", "kind"),
    [
        (Note("a", "text", "x"), dg.TextMetadataValue),
        (Note("a", "float", None), dg.NullMetadataValue),
        (Note("a", "bool", True), dg.BoolMetadataValue),
        (Note("a", "path", "/x"), dg.PathMetadataValue),
        (Note("a", "json", {"b": [1]}), dg.JsonMetadataValue),
        (Note("a", "table", {"columns": ["n", "v"], "rows": [["x", 1.5], ["y", None]]}), dg.TableMetadataValue),
        (Note("a", "table", {"columns": ["n"], "rows": []}), dg.TableMetadataValue),
    ],
)
def test_notes_become_metadata(note: Note, kind: type) -> None:
    assert isinstance(shared.value_of(note), kind)

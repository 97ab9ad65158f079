"""Dagster's pages, as a user clicks through them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from e2e.running import Ui
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAPER = "crossmodal_anomaly"
ASSETS = ["dataset", "prepared", "features", "model", "baselines", "evaluation", "report", "champion"]
# the paper without networks
SECOND = "autocalibration"
SECOND_ASSETS = ["dataset", "features", "taxonomy", "model", "baselines", "evaluation", "report", "champion"]
RUN_MS = 180_000


def asset(page: "Page", ui: Ui, name: str, view: str = "overview", paper: str = PAPER, partition: str = "demo.biscuit") -> None:
    """Open an asset's page."""
    page.goto(f"{ui.dagster}/assets/{paper}/{name}?view={view}&partition={partition}")


def row(page: "Page", key: str) -> Any:
    """The row of the table of metadata that has this key."""
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True)).first


def test_the_lineage_of_the_paper_shows_every_asset(page: "Page", ui: Ui) -> None:
    page.goto(f"{ui.dagster}/locations/tenfold/asset-groups/{PAPER}/lineage")
    expect(page.get_by_text("Materialize all")).to_be_visible()
    for name in [*ASSETS, "scoreboard"]:
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_an_asset_tells_what_it_is_and_what_came_out(page: "Page", ui: Ui) -> None:
    asset(page, ui, "evaluation")
    expect(page.get_by_text("Every method on the same parts").first).to_be_visible()
    table = row(page, "Methods (mean of seeds)")
    for method in ("ours", "bank_sum", "ridge"):
        expect(table.get_by_text(method, exact=True)).to_be_visible()
    asset(page, ui, "report")
    for picture in ("Gallery", "Training"):
        row(page, picture).get_by_text("[Show Markdown]").click()
        image = page.get_by_role("img", name=picture)
        expect(image).to_be_visible()
        assert image.evaluate("image => image.naturalWidth") > 400
        page.keyboard.press("Escape")
    stored = Path(str(row(page, "stored in").inner_text()).split()[-1])
    assert (stored / "report.html").is_file()


def test_contracts_and_claims_are_checks_of_the_partition(page: "Page", ui: Ui) -> None:
    asset(page, ui, "evaluation", "checks")
    for check in ("C1", "C8", "contract_metrics", "contract_scores"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
    page.get_by_text("contract_metrics", exact=True).first.click()
    expect(page.get_by_text("This is a blocking asset check")).to_be_visible()
    expect(page.get_by_text("demo.biscuit").first).to_be_visible()
    page.get_by_text("C3", exact=True).first.click()
    expect(page.get_by_text("This is a non-blocking asset check")).to_be_visible()
    expect(page.get_by_text("verdict", exact=True)).to_be_visible()


def test_the_links_lead_to_the_mlflow_run_and_name_the_report(page: "Page", ui: Ui) -> None:
    """On a partition made while these servers run: links of earlier runs name the ports of their time."""
    launch(page, ui, "demo.peg", {"model": {"seeds": [0], "lr": 2.0e-3}})
    page.goto(f"{ui.dagster}/assets/{PAPER}/report?partition=demo.peg")
    link = row(page, "MLflow run").get_by_role("link").first
    expect(link).to_have_attribute("href", re.compile(re.escape(ui.mlflow)))
    page.goto(str(link.get_attribute("href")))
    expect(page.get_by_text("report.html", exact=True).first).to_be_visible()
    page.get_by_role("tab", name="Overview").click()
    expect(page.get_by_text("model.lr", exact=True).first).to_be_visible()
    expect(page.get_by_text("0.002", exact=True).first).to_be_visible()
    back = page.get_by_role("link", name="Dagster run")
    expect(back).to_have_attribute("href", re.compile(re.escape(ui.dagster) + "/runs/"))
    page.goto(str(back.get_attribute("href")))
    expect(page.get_by_text("Success").first).to_be_visible()


def launchpad(page: "Page", ui: Ui, partition: str, paper: str = PAPER) -> str:
    """Open the launchpad for a partition; return its config."""
    page.goto(f"{ui.dagster}/locations/tenfold/jobs/{paper}/playground")
    page.get_by_placeholder("Partition").click()
    page.get_by_text(partition, exact=True).click()
    expect(page.locator(".CodeMirror").first).to_contain_text(f"{paper}__baselines")
    # Until the partition's numbers have come, the editor holds the job's empty overrides. (The page forbids evaluating a condition in it.)
    for _ in range(900):
        found = editor(page)
        if re.search(r"overrides:\s*\n", found):
            return found
        page.wait_for_timeout(100)
    raise AssertionError(f"no numbers of {partition} in the launchpad: {found}")


def editor(page: "Page", text: str | None = None) -> str:
    """The config in the launchpad's editor, first replaced by `text` if there is one."""
    script = "(element, text) => { if (text !== null) element.CodeMirror.setValue(text); return element.CodeMirror.getValue() }"
    return str(page.locator(".CodeMirror").first.evaluate(script, text))


def launch(page: "Page", ui: Ui, partition: str, overrides: dict[str, dict[str, Any]], paper: str = PAPER) -> None:
    """Launch the whole job on a partition with changed numbers; wait until it is done."""
    config = yaml.safe_load(launchpad(page, ui, partition, paper))
    for name, values in overrides.items():
        config["ops"][f"{paper}__{name}"]["config"]["overrides"].update(values)
    editor(page, yaml.safe_dump(config))
    expect(page.get_by_text("No errors")).to_be_visible()
    page.get_by_role("button", name="Launch run", exact=False).click()
    page.wait_for_url(re.compile("/runs/"))
    expect(page.get_by_text(re.compile("^(Success|Failure)$")).first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()


def test_the_second_paper_from_its_graph_to_its_registered_model(page: "Page", ui: Ui) -> None:
    """One walk: graph, launchpad, run, what the assets tell, report, MLflow run, registry."""
    page.goto(f"{ui.dagster}/locations/tenfold/asset-groups/{SECOND}/lineage")
    for name in [*SECOND_ASSETS, "scoreboard"]:
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    launch(page, ui, "demo", {"model": {"seeds": [0]}}, SECOND)
    asset(page, ui, "model", paper=SECOND, partition="demo")
    expect(page.get_by_text("2V6P-f").first).to_be_visible()
    asset(page, ui, "evaluation", "checks", SECOND, "demo")
    for check in ("C1", "C10", "contract_metrics"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
    asset(page, ui, "report", paper=SECOND, partition="demo")
    stored = Path(str(row(page, "stored in").inner_text()).split()[-1])
    assert (stored / "report.html").is_file()
    link = row(page, "MLflow run").get_by_role("link").first
    expect(link).to_have_attribute("href", re.compile(re.escape(ui.mlflow)))
    page.goto(str(link.get_attribute("href")))
    page.get_by_text("report.html", exact=True).first.click()
    expect(page.frame_locator("iframe").get_by_role("heading", name="Verdict")).to_be_visible()
    page.get_by_role("tab", name="Overview").click()
    expect(page.get_by_text("model.stale", exact=True).first).to_be_visible()
    expect(page.get_by_role("link", name=f"{SECOND}.demo")).to_be_visible()
    page.goto(f"{ui.mlflow}/#/models/{SECOND}.demo")
    expect(page.get_by_text("champion").first).to_be_visible()


def test_the_launchpad_shows_every_number_of_the_recipe(page: "Page", ui: Ui) -> None:
    ops = yaml.safe_load(launchpad(page, ui, "demo.biscuit"))["ops"]
    shown = {name.removeprefix(f"{PAPER}__"): op["config"]["overrides"] for name, op in ops.items()}
    recipe = yaml.safe_load((ui.root / "params.yaml").read_text())[PAPER]["recipes"]["demo"]
    assert {name: shown[name] for name in ASSETS[1:]} == {name: recipe[name] for name in ASSETS[1:]}


def test_schedules_and_sensors_are_off_and_can_be_switched_on(page: "Page", ui: Ui) -> None:
    page.goto(f"{ui.dagster}/automation")
    for name in (f"{PAPER}_weekly", "dvc_versions", "run_failures", "scoreboard_follows"):
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    page.goto(f"{ui.dagster}/locations/tenfold/sensors/dvc_versions")
    switch = page.get_by_role("checkbox").first
    expect(switch).not_to_be_checked()
    page.locator("label", has=switch).click()
    expect(switch).to_be_checked()
    expect(page.get_by_text("0 runs requested").first).to_be_visible(timeout=RUN_MS)

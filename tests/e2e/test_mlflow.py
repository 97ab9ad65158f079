"""MLflow's pages: runs, a comparison, artifacts, the data's version, the registry."""

import re
from typing import TYPE_CHECKING, Any

import pytest
from e2e.running import Ui
from playwright.sync_api import expect

from tenfold.ops.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAPER = "crossmodal_anomaly"
MODEL = "crossmodal_anomaly.demo.biscuit"


@pytest.fixture
def client(ui: Ui) -> "MlflowClient":
    """What the pages show, from the server behind them."""
    from mlflow import MlflowClient

    return MlflowClient(ui.mlflow)


@pytest.fixture
def runs(client: "MlflowClient") -> list[Any]:
    """The two networks of the partition, without their nested runs; the later one first."""
    experiment = client.get_experiment_by_name(PAPER).experiment_id
    found = client.search_runs([experiment], "tags.`tenfold.partition` = 'demo.biscuit'", order_by=["attributes.start_time DESC"])
    return [run for run in found if "mlflow.parentRunId" not in run.data.tags]


def open_run(page: "Page", ui: Ui, run: Any, tab: str = "") -> None:
    """Open a page of a run."""
    page.goto(f"{ui.mlflow}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}")


def test_two_runs_stand_in_the_table_and_are_compared(page: "Page", ui: Ui, runs: list[Any]) -> None:
    assert len({run.data.params["model.lr"] for run in runs}) == 2
    experiment = runs[0].info.experiment_id
    page.goto(f"{ui.mlflow}/#/experiments/{experiment}/runs")
    for run in runs:
        expect(page.get_by_text(run.info.run_name[:15]).first).to_be_visible()
    chosen = ",".join(f'"{run.info.run_id}"' for run in runs)
    page.goto(f'{ui.mlflow}/#/compare-runs?runs=[{chosen}]&experiments=["{experiment}"]')
    expect(page.get_by_text("model.lr", exact=True).first).to_be_visible()
    for value in ("0.001", "0.003"):
        expect(page.get_by_text(value, exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile("^aupro_")).first).to_be_visible()


def test_a_run_has_curves(page: "Page", ui: Ui, runs: list[Any]) -> None:
    open_run(page, ui, runs[0], "/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("loss")
    for curve in ("train/loss", "validation/loss"):
        expect(page.get_by_text(f"{runs[0].info.run_name} ({curve})").first).to_be_visible()


def test_a_run_names_its_data_its_model_and_the_way_back(page: "Page", ui: Ui, runs: list[Any]) -> None:
    open_run(page, ui, runs[0])
    digest = runs[0].inputs.dataset_inputs[0].dataset.digest
    assert re.fullmatch("[0-9a-f]{32}", digest) and digest == runs[0].data.tags["dvc.md5"].removesuffix(".dir")
    expect(page.get_by_text(digest).first).to_be_visible()
    expect(page.get_by_role("link", name=MODEL)).to_be_visible()
    back = page.get_by_role("link", name="Dagster run")
    expect(back).to_have_attribute("href", re.compile(f"/runs/{runs[0].data.tags['dagster.run_id']}"))


def test_the_report_is_shown_among_the_artifacts(page: "Page", ui: Ui, runs: list[Any]) -> None:
    open_run(page, ui, runs[0], "/artifacts")
    for name in ("metrics.parquet", "claims.json", "manifest.json", "figures"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    page.get_by_text("report.html", exact=True).first.click()
    expect(page.frame_locator("iframe").get_by_role("heading", name="Verdict")).to_be_visible()


def test_the_champion_stands_in_the_registry(page: "Page", ui: Ui, client: "MlflowClient") -> None:
    page.goto(f"{ui.mlflow}/#/models/{MODEL}")
    expect(page.get_by_text("champion").first).to_be_visible()
    expect(page.get_by_text("challenger").first).to_be_visible()
    version = client.get_model_version_by_alias(MODEL, "champion")
    page.goto(f"{ui.mlflow}/#/models/{MODEL}/versions/{version.version}")
    expect(page.get_by_text(version.tags["tenfold.key"]).first).to_be_visible()
    assert Settings(root=ui.root).mlflow_url == ui.mlflow

"""The whole pipeline on the tiny recipe: what is stored, what is told, what MLflow knows."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support import demo_size

from assets.crossmodal_anomaly import STEPS
from tenfold.core.store import Manifest, Store
from tenfold.crossmodal_anomaly.claims import STATEMENTS
from tenfold.ops.settings import Settings

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PAPER = "crossmodal_anomaly"
PARTITIONS = ["demo.biscuit", "demo.peg"]


@pytest.fixture(scope="module")
def store(demo: Any) -> Store:
    return Store(demo.root / ".tenfold")


@pytest.fixture(scope="module")
def client(demo: Any) -> MlflowClient:
    return MlflowClient(Settings(root=demo.root, home=demo.root / ".tenfold").mlflow_tracking_uri)


def manifest(store: Store, partition: str, asset: str) -> Manifest:
    return store.open(PAPER, partition, asset)[1]


def runs(client: MlflowClient, query: str) -> list[Run]:
    return list(client.search_runs([client.get_experiment_by_name(PAPER).experiment_id], query, max_results=100))


def run_of(client: MlflowClient, store: Store, partition: str) -> Run:
    (found,) = runs(client, f"tags.`tenfold.key` = '{manifest(store, partition, 'model').key}'")
    return found


def test_the_table_names_headline_claims_reports_and_the_way_on(demo: Any) -> None:
    said = demo.done.stdout
    for partition in PARTITIONS:
        assert re.search(rf"{PAPER} +{partition} +aupro_30 0\.\d+ \[0\.\d+, 0\.\d+\] +i_auroc", said)
        for claim in STATEMENTS:
            assert re.search(rf"{partition} +{claim} +(holds|FAILS|not judged) ", said)
    pages = [Path(line.strip()) for line in said.splitlines() if line.strip().endswith(".html")]
    partitions, assets = demo_size()
    assert [page.name for page in pages] == [*["report.html"] * partitions, "index.html"] and all(page.exists() for page in pages)
    assert f"{assets} of {assets} assets made" in said and "tenfold ui" in said


def test_progress_is_readable(demo: Any) -> None:
    said = demo.done.stderr
    assert "demo.biscuit model: full seed 0: epoch 1/3" in said and "demo.peg report: made in" in said
    for noise in ("Traceback", "Warning:", "INFO", "it/s", "dagster - "):
        assert noise not in said, said


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_asset_is_stored_sealed_and_current(store: Store, partition: str) -> None:
    for step in STEPS:
        pointer = store.current(PAPER, partition, step.name)
        assert pointer is not None
        found = store.find(PAPER, step.name, pointer.key)
        assert found is not None and not store.warnings
        assert (found.partition, found.digest) == (partition, pointer.digest)
        assert set(found.upstream) == set(step.after)
        assert found.made_by["run_id"] and found.versions["python"] and found.code
        for name, upstream in found.upstream.items():
            assert upstream["digest"] == manifest(store, partition, name).digest


def test_metrics_carry_what_was_measured_on_what(store: Store) -> None:
    folder, _ = store.open(PAPER, "demo.biscuit", "evaluation")
    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    assert {row["model_key"] for row in rows} == {manifest(store, "demo.biscuit", "model").key}
    assert {row["data_version"] for row in rows} == {manifest(store, "demo.biscuit", "dataset").digest}
    assert {row["partition"] for row in rows} == {"demo.biscuit"}
    assert {"ours", "bank_joint", "bank_sum"} <= {row["method"] for row in rows}
    assert {"", "shots=3", "depth=8"} <= {row["variant"] for row in rows if row["method"] == "ours"}


def test_the_scoreboard_has_every_partition_and_judges_the_dataset(store: Store) -> None:
    folder, _ = store.open("scoreboard", "all", "scoreboard")
    assert set(pq.read_table(folder / "scoreboard.parquet").column("partition").to_pylist()) == {*PARTITIONS, "demo"}
    claims = json.loads((folder / "claims.json").read_text())
    assert claims and {claim["scope"] for claim in claims} == {"dataset"}
    page = (folder / f"{PAPER}.demo.html").read_text()
    for word in ("aupro_30", "bank_joint", "demo.biscuit", "demo.peg"):
        assert word in page
    assert page.index("aupro_30") < page.index("p_auroc")
    assert f"{PAPER}.demo.html" in (folder / "index.html").read_text()


@pytest.mark.parametrize("partition", PARTITIONS)
def test_mlflow_has_one_finished_run_a_network(store: Store, client: MlflowClient, partition: str) -> None:
    model = manifest(store, partition, "model")
    run = run_of(client, store, partition)
    assert run.info.run_name == f"{partition} {model.key[:8]}" and run.info.status == "FINISHED"
    children = runs(client, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    wanted = {"seed=0", "seed=1"} | ({"shots=3 seed=0", "depth=8 seed=0"} if partition == "demo.biscuit" else set())
    assert {child.info.run_name for child in children} == {f"{partition} {name} {model.key[:8]}" for name in wanted}
    for child in children:
        assert child.info.status == "FINISHED"
        assert [point.step for point in client.get_metric_history(child.info.run_id, "train/loss")] == [1, 2, 3]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3]


def test_the_run_has_parameters_tags_metrics_artifacts_and_the_data(demo: Any, store: Store, client: MlflowClient) -> None:
    run = run_of(client, store, "demo.biscuit")
    model, dataset = manifest(store, "demo.biscuit", "model"), manifest(store, "demo.biscuit", "dataset")
    assert run.data.params["model.lr"] == "0.001" and run.data.params["features.extractor_2d"] == "efficientnet_lite0"
    assert run.data.params["prepared.plane_threshold_m"] == "0.004"
    tags = {
        "tenfold.paper": PAPER, "tenfold.partition": "demo.biscuit", "tenfold.dataset": "demo", "tenfold.recipe": "demo",
        "tenfold.key": model.key, "tenfold.data_version": dataset.digest, "dvc.md5": dataset.facts["dvc_md5"], "git.commit": "unknown",
    }  # fmt: skip
    assert {name: run.data.tags[name] for name in tags} == tags
    assert "git.dirty" in run.data.tags and run.data.tags["dagster.run_id"]
    rows = pq.read_table(store.open(PAPER, "demo.biscuit", "evaluation")[0] / "metrics.parquet").to_pylist()
    for method, name in (("ours", "aupro_30"), ("bank_sum", "aupro_30/bank_sum")):
        values = [r["value"] for r in rows if (r["method"], r["metric"], r["variant"], r["slice"]) == (method, "aupro_30", "", "all")]
        assert run.data.metrics[name] == pytest.approx(sum(values) / len(values))
    artifacts = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "metrics.parquet", "claims.json", "manifest.json", "figures"} <= artifacts
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest == dataset.facts["dvc_md5"] and data.dataset.name == f"{PAPER}.demo.biscuit"
    assert f"tenfold reproduce {PAPER}.demo.biscuit" in run.data.tags["mlflow.note.content"]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_the_first_network_is_registered_as_challenger_and_champion(store: Store, client: MlflowClient, partition: str) -> None:
    name = f"{PAPER}.{partition}"
    assert {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()} == {
        "challenger": "1",
        "champion": "1",
    }
    version = client.get_model_version_by_alias(name, "champion")
    assert version.tags["tenfold.key"] == manifest(store, partition, "model").key
    assert version.run_id == run_of(client, store, partition).info.run_id
    decision = manifest(store, partition, "champion").facts
    assert decision["promoted"] is True and decision["champion"] is None


def test_nothing_left_the_machine(demo: Any) -> None:
    assert demo.network == ""
    # the command itself, DVC, the stage it runs and their helpers were all watched
    assert demo.watched >= 4


def test_no_work_is_left_over(demo: Any, store: Store) -> None:
    assert list(store.unfinished()) == []
    assert not list((demo.root / ".tenfold" / "spool").glob("*.jsonl"))

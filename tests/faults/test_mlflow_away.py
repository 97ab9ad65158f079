"""MLflow's server is away, busy, silent, knows us no longer, or answers into a broken connection: training does not notice,
and everything arrives once or waits on the disk."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from gate_world import EXAMPLE, any_paper
from mlflow import MlflowClient
from mlflow_server import Fault, Proxy, free_port, mlflow_server
from small_training import EPOCHS, Training

from tenfold.core.errors import TenfoldError
from tenfold.core.journal import Journal, NullJournal
from tenfold.ops import logged, registry, spool, tracking
from tenfold.ops.gate import Decision
from tenfold.ops.quiet import quiet
from tenfold.ops.settings import Settings
from tenfold.ops.tracking import Tracking

pytestmark = pytest.mark.slow
quiet()

PAPER = "paper"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "home").mkdir()
    port = free_port()
    with mlflow_server(Settings(root=folder, home=folder / "home", mlflow_tracking_uri=f"sqlite:///{folder}/mlflow.db"), port):
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    made = Proxy(server)
    yield made
    made.down()


@pytest.fixture
def settings(tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home of its own whose MLflow is behind the proxy; the sender looks often."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracking, "_EVERY_S", 0.1)
    monkeypatch.setattr(tracking, "_AFTER_OUTAGE_S", 0.1)
    monkeypatch.setattr(tracking, "_away", set())
    return Settings(root=tmp_path, home=tmp_path / "home", mlflow_tracking_uri=proxy.url)


def trained(folder: Path, journal: Journal) -> tuple[dict[str, Any], float]:
    """What came out of a small real training, and the longest time that telling an epoch took."""
    training, longest = Training(), 0.0
    diary = journal.network("", 0, {"epochs": EPOCHS})

    def tell(epoch: int, metrics: Any) -> None:
        nonlocal longest
        began = time.perf_counter()
        diary.epoch(epoch, metrics)
        longest = max(longest, time.perf_counter() - began)
        time.sleep(0.05)  # an epoch long enough for the sender to meet the fault

    result = training.fit(folder / "training", on_epoch=tell)
    diary.done({"best_epoch": float(result.best_epoch or 0)})
    return training.outcome(result), longest


def told(settings: Settings, key: str, folder: Path) -> tuple[dict[str, Any], float, float]:
    """A whole session: the training's outcome, the longest wait in an epoch, the wait at the end."""
    folder.mkdir(exist_ok=True)
    (folder / "report.html").write_text("<p>")
    run = Tracking(settings, say=SAID.append).run(
        PAPER, "demo.peg", key, tags={"dvc.md5": "d" * 32}, params={"model": {"seeds": [0], "lr": 0.1}}
    )
    run.dataset("paper.demo", "d" * 32, "data", pa.table({"id": ["a"], "label": [1]}))
    outcome, longest = trained(folder, run.journal())
    run.metrics({"aupro_30": 0.5, "aupro_30/bank": float("nan")})
    run.tags({"note": "x"})
    run.artifact(folder / "report.html")
    run.note("model", key)
    began = time.perf_counter()
    run.finish()
    return outcome, longest, time.perf_counter() - began


SAID: list[str] = []
OWN = ("tenfold.key", "mlflow.parentRunId", "mlflow.user")


@pytest.fixture(autouse=True)
def said() -> list[str]:
    """What the user was told."""
    SAID.clear()
    return SAID


def seen(server: int, key: str) -> list[dict[str, Any]]:
    """Everything MLflow has of a key's runs, without ids, addresses and the times of single points."""
    client = MlflowClient(f"http://127.0.0.1:{server}")
    experiment = client.get_experiment_by_name(PAPER).experiment_id
    parents = client.search_runs([experiment], f"tags.`tenfold.key` = '{key}'")
    runs = parents + [run for p in parents for run in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{p.info.run_id}'")]
    return [
        {
            "name": run.info.run_name.replace(key[:8], ""),
            "status": run.info.status,
            "params": run.data.params,
            "tags": {name: value.replace(key[:8], "") for name, value in run.data.tags.items() if name not in OWN},
            "points": {
                name: [(p.step, repr(p.value)) for p in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics
            },
            "inputs": [(d.dataset.name, d.dataset.digest, [t.value for t in d.tags]) for d in run.inputs.dataset_inputs],
            "artifacts": [(file.path, file.file_size) for file in client.list_artifacts(run.info.run_id)],
        }
        for run in runs
    ]


@pytest.fixture(scope="module")
def alone(server: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A training that tells nobody, and what MLflow has of the same one told to a server that is well."""
    folder = tmp_path_factory.mktemp("alone")
    outcome, _ = trained(folder, NullJournal())
    well = Settings(root=folder, home=folder / "home", mlflow_tracking_uri=f"http://127.0.0.1:{server}")
    assert told(well, "0" * 16, folder / "told")[0] == outcome and SAID == []
    return outcome, seen(server, "0" * 16)


def test_what_a_well_server_has(alone: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    """What the others are compared with has every point."""
    parent, nested = alone[1]
    assert parent["status"] == nested["status"] == "FINISHED"
    assert [step for step, _ in parent["points"]["train/loss"]] == list(range(1, EPOCHS + 1)) and parent["points"]["aupro_30/bank"] == [
        (0, "nan")
    ]
    assert nested["points"]["train/loss"] == parent["points"]["train/loss"] and len(nested["points"]["best_epoch"]) == 1
    assert parent["artifacts"] == [("report.html", 3)] and parent["inputs"] == [("paper.demo", "d" * 32, ["training"])]


def outage(proxy: Proxy, fault: Fault, after: int) -> None:
    """Break everything from the request `after` on; 0 stands for a server that was never there."""
    count = 0

    def decide(method: str, path: str, body: bytes) -> Fault:
        nonlocal count
        count += 1
        return fault if count > after else None

    proxy.fault = decide
    if fault == "refused":
        if after:
            threading.Timer(0.15, proxy.down).start()
    if fault != "refused" or after:
        proxy.up()


@pytest.mark.parametrize("after", [0, 6], ids=["from the start", "from the middle"])
@pytest.mark.parametrize("fault", ["refused", 429, 503, 401, 403, "hang"])
def test_training_does_not_notice(
    fault: Fault, after: int, settings: Settings, proxy: Proxy, server: int, alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = hashlib.sha256(f"{fault} {after}".encode()).hexdigest()[:16]
    if isinstance(fault, int) and fault < 429:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "robot")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pass-of-yesterday")
    outage(proxy, fault, after)
    outcome, epoch_s, end_s = told(settings, key, tmp_path)
    assert outcome == alone[0]
    # a write to the disk; the end waits for a server that has just gone silent, once
    assert epoch_s < 0.5 and end_s < (tracking._STALL_S + 2 if fault == "hang" else 2)
    (journal,) = spool.waiting(settings.spool)
    assert any("Nothing is lost" in line for line in SAID) or fault == "hang"
    assert any(str(journal) in line and "tenfold doctor" in line for line in SAID)
    if isinstance(fault, int) and fault < 429:
        assert any("renew MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line for line in SAID)
        assert "pass-of-yesterday" not in "".join(SAID) + journal.read_text()
    # once it is away, the next session does not wait to find out
    began = time.perf_counter()
    with Tracking(settings, say=SAID.append).attach(PAPER, "demo.peg", key, tags={}, params={}) as run:
        run.metrics({"aupro_30": 0.5})
    assert time.perf_counter() - began < 2 and journal in spool.waiting(settings.spool)

    proxy.heal()
    if fault == "refused":
        proxy.up()
    deadline = time.monotonic() + 60
    while tracking.Tracking(settings, say=SAID.append).replay().left:  # a silent server's last request ends on its own
        assert time.monotonic() < deadline, SAID
        time.sleep(0.1)
    assert seen(server, key) == alone[1]
    reference = logged.read(settings, PAPER, "model", key)
    assert reference is not None and reference["run_id"] and logged.link(settings, PAPER, "model", key)


def lost_once(proxy: Proxy) -> list[str]:
    """Break the connection after each request that writes, the first time it is made; returns those."""
    broken: list[str] = []

    def decide(method: str, path: str, body: bytes) -> Fault:
        searching = method == "GET" or path.endswith("/search")
        name = "artifacts" if "/artifacts/" in path else path.rpartition("/mlflow/")[2]
        if searching or broken.count(name) >= LOSSES.get(name, 1):
            return None
        broken.append(name)
        return "lost"

    proxy.fault = decide
    proxy.up()
    return broken


# how often the same address is written to, at least
LOSSES = {"runs/create": 2, "runs/log-batch": 8, "runs/update": 2}


def test_an_answer_that_was_lost_makes_nothing_twice(settings: Settings, proxy: Proxy, server: int, alone: Any, tmp_path: Path) -> None:
    broken = lost_once(proxy)
    key = "e" * 16
    assert told(settings, key, tmp_path)[0] == alone[0]
    for _ in range(40):
        # every time by a sender that knows nothing of what an earlier one sent
        if Tracking(settings, say=SAID.append).replay().left == 0:
            break
    assert spool.waiting(settings.spool) == []
    assert set(broken) >= {*LOSSES, "runs/log-inputs", "artifacts"} and len(broken) >= 12
    assert seen(server, key) == alone[1]


def test_a_version_is_registered_once_though_answers_are_lost(
    settings: Settings, proxy: Proxy, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_paper(tmp_path / "code", monkeypatch.setattr)
    proxy.up()
    with Tracking(settings).run(PAPER, "demo.peg", "f" * 16, tags={}, params={"model": {"lr": 0.1}}) as run:
        run.metrics({"aupro_30": 0.5})
    proxy.down()
    broken = lost_once(proxy)
    (tmp_path / "predictor").mkdir()
    (tmp_path / "predictor" / "content").write_text("f")
    name = f"{PAPER}.demo.peg"

    def attempt() -> registry.Registered:
        made = registry.register(settings, name, tmp_path / "predictor", EXAMPLE, run.run_id, "f" * 16, {"dvc.md5": "d"})
        registry.promote(settings, made, Decision(True, ""))
        return made

    monkeypatch.setattr(registry, "_WAITS_S", (0.0, 0.0, None))
    failures = 0
    while True:
        try:
            made = attempt()
            break
        except TenfoldError as error:
            assert "failed" in str(error) and (failures := failures + 1) < 30
    assert failures > 2 and len(broken) > 8
    client = MlflowClient(f"http://127.0.0.1:{server}")
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert (made.version, str(version.version), version.tags["tenfold.key"]) == ("1", "1", "f" * 16)
    assert {alias: int(found) for alias, found in client.get_registered_model(name).aliases.items()} == {"champion": 1, "challenger": 1}
    (model,) = client.search_logged_models([client.get_experiment_by_name(PAPER).experiment_id])
    assert str(model.status) == "READY" and version.source == f"models:/{model.model_id}"
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    assert output.model_id == model.model_id
    champion = registry.champion(settings, name)
    assert champion is not None and (champion.folder / "content").read_text() == "f"

"""Everything reaches MLflow once, whatever happens in between."""

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from tenfold.core.errors import Stopped
from tenfold.ops import spool, tracking
from tenfold.ops.settings import Settings
from tenfold.ops.tracking import Tracking

KEY = "0123456789abcdef"
PARAMS: dict[str, dict[str, object]] = {"model": {"lr": 1.0e-3, "seeds": [0, 1]}, "features": {"norm": "none"}}
TAGS = {"tenfold.recipe": "demo", "dvc.md5": "d" * 32, "git.commit": "c" * 40}


Serve = Callable[[Settings, int], AbstractContextManager[None]]


def train(door: Tracking, epochs: range, seed: int = 0, key: str = KEY) -> None:
    """A session that trains one network and says how it went."""
    with door.run("paper", "demo.biscuit", key, tags=TAGS, params=PARAMS) as run:
        network = run.journal().network("", seed, {"epochs": 3})
        for epoch in epochs:
            network.epoch(epoch, {"loss": 1 / epoch, "val/loss": 2 / epoch})
        network.done({"aupro_30": 0.5})


def runs(settings: Settings) -> dict[str, MlflowRun]:
    client = MlflowClient(settings.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("paper")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def curve(settings: Settings, run: MlflowRun, name: str = "train/loss") -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(settings.mlflow_tracking_uri).get_metric_history(run.info.run_id, name)]


def test_a_session_as_mlflow_shows_it(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"x")
    with Tracking(settings).run("paper", "demo.biscuit", KEY, tags=TAGS, params=PARAMS) as run:
        journal = run.journal()
        for variant, seed in (("", 0), ("", 1), ("shots=10", 0)):
            network = journal.network(variant, seed, {"epochs": 2})
            for epoch in (1, 2):
                network.epoch(epoch, {"loss": 10 * seed + epoch})
            network.done({"aupro_30": 0.5 + seed})
        run.metrics({"aupro_30": 0.7, "aupro_30/bank@2d": 0.6})
        run.dataset("paper.demo", "d" * 32, "data/paper/demo", pa.table({"id": ["a"], "label": [1]}))
        run.artifact(tmp_path / "report.html")
        run.artifacts(tmp_path / "figures", "figures")
        run.describe("# Made by Dagster")
    assert run.run_id and run.url and run.url.endswith(f"/runs/{run.run_id}/artifacts")

    found = runs(settings)
    assert set(found) == {f"demo.biscuit {t}01234567" for t in ("", "seed=0 ", "seed=1 ", "shots=10 seed=0 ")}
    parent = found["demo.biscuit 01234567"]
    assert parent.info.run_id == run.run_id and {r.info.status for r in found.values()} == {"FINISHED"}
    assert parent.data.params == {"model.lr": "0.001", "model.seeds": "[0, 1]", "features.norm": "none"}
    wanted = {
        **TAGS,
        "tenfold.key": KEY,
        "tenfold.dataset": "demo",
        "tenfold.partition": "demo.biscuit",
        "mlflow.note.content": "# Made by Dagster",
    }
    assert wanted.items() <= parent.data.tags.items()
    assert parent.data.metrics == {"train/loss": 2.0, "aupro_30": 0.7, "aupro_30/bank-2d": 0.6}
    assert curve(settings, parent) == [(1, 1.0), (2, 2.0)]  # the first seed's, without variant
    assert curve(settings, found["demo.biscuit seed=1 01234567"]) == [(1, 11.0), (2, 12.0)]
    assert found["demo.biscuit seed=1 01234567"].data.tags["mlflow.parentRunId"] == run.run_id
    assert [(d.dataset.name, d.dataset.digest) for d in parent.inputs.dataset_inputs] == [("paper.demo", "d" * 32)]
    client = MlflowClient(settings.mlflow_tracking_uri)
    assert {a.path for a in client.list_artifacts(run.run_id)} == {"report.html", "figures"}
    assert client.get_experiment_by_name("paper").artifact_location == f"{settings.mlflow_artifacts}/paper"
    assert spool.waiting(settings.spool) == []


def test_a_resumed_training_tells_epochs_again_and_mlflow_has_them_once(settings: Settings) -> None:
    door = Tracking(settings)
    with pytest.raises(Stopped), door.run("paper", "demo.biscuit", KEY, tags=TAGS, params=PARAMS) as run:
        network = run.journal().network("", 0, {})
        network.epoch(1, {"loss": 1.0})
        network.epoch(2, {"loss": 0.5})
        raise Stopped("again")
    assert {r.info.status for r in runs(settings).values()} == {"KILLED"}
    train(door, range(2, 4))
    found = runs(settings)
    assert len(found) == 2 and {r.info.status for r in found.values()} == {"FINISHED"}
    for run_ in found.values():
        assert curve(settings, run_) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_journal_that_was_sent_already_changes_nothing(settings: Settings) -> None:
    train(Tracking(settings), range(1, 4))
    before = {name: (curve(settings, run), run.data.metrics, run.data.params) for name, run in runs(settings).items()}
    # the process died after MLflow had answered and before it could delete its journal
    journal = spool.open_for(settings.spool, f"paper-{KEY}")
    header = {
        "op": "run",
        "paper": "paper",
        "partition": "demo.biscuit",
        "key": KEY,
        "tags": {},
        "params": {"model.lr": "9"},
        "trains": True,
        "t": 1,
    }
    journal.append(header)
    journal.append({"op": "network", "network": "seed=0", "variant": "", "seed": 0, "params": {}, "t": 1})
    journal.append({"op": "epoch", "networks": ["seed=0", ""], "epoch": 2, "values": {"train/loss": 0.5}, "t": 2})
    journal.append({"op": "end", "network": "seed=0", "status": "FINISHED", "t": 3})
    journal.append({"op": "end", "network": "", "status": "FINISHED", "t": 3})
    journal.close()
    assert tracking.replay(settings) == 5
    assert {name: (curve(settings, run), run.data.metrics, run.data.params) for name, run in runs(settings).items()} == before
    assert tracking.replay(settings) == 0


def test_mlflow_keeps_an_identical_point_once(settings: Settings) -> None:
    """What the replay of a batch that half went through rests on; NaN and infinity included."""
    from mlflow.entities import Metric

    client = MlflowClient(settings.mlflow_tracking_uri)
    run_id = client.create_run(client.create_experiment("points")).info.run_id
    points = [Metric("loss", value, 1000 + step, step) for step, value in enumerate((1.0, float("nan"), float("inf"), -0.0))]
    client.log_batch(run_id, metrics=points[:2])
    for _ in range(2):
        client.log_batch(run_id, metrics=points)
    assert [point.step for point in client.get_metric_history(run_id, "loss")] == [0, 1, 2, 3]


def test_attaching_adds_and_leaves_the_status(settings: Settings) -> None:
    train(Tracking(settings), range(1, 2))
    with pytest.raises(RuntimeError), Tracking(settings).attach("paper", "demo.biscuit", KEY, tags={}, params={}) as run:
        run.metrics({"aupro_30": 0.9})
        raise RuntimeError("the evaluation failed")
    parent = runs(settings)["demo.biscuit 01234567"]
    assert parent.info.status == "FINISHED" and parent.data.metrics["aupro_30"] == 0.9


def test_a_bad_number_does_not_take_the_others_along(settings: Settings) -> None:
    said: list[str] = []
    with Tracking(settings, say=said.append).run("paper", "demo.biscuit", KEY, tags={}, params={}) as run:
        network = run.journal().network("", 0, {})
        for epoch in (1, 2, 3):
            network.epoch(epoch, {"loss": 1.0, **({"n" * 300: 1.0} if epoch == 2 else {})})
    found = runs(settings)
    assert [step for step, _ in curve(settings, found["demo.biscuit seed=0 01234567"])] == [1, 3]
    assert len([line for line in said if "refused" in line]) == 1


KILLED = """
import os, signal
from pathlib import Path
from tenfold.ops import tracking
from tenfold.ops.settings import Settings

folder = Path({folder!r})
run = tracking.Tracking(Settings(root=folder, home=folder / "home")).run("paper", "demo.biscuit", {key!r}, tags={{}}, params={{}})
for seed in (0, 1):
    network = run.journal().network("", seed, {{}})
    network.epoch(1, {{"loss": 1.0}})
    if seed == 0:
        network.done({{"aupro_30": 0.5}})
{wait}
os.kill(os.getpid(), signal.SIGKILL)
"""
SENT = """
import time
while run._sender.progress < run._spool.path.stat().st_size:
    time.sleep(0.05)
"""


@pytest.mark.parametrize("wait", ["", SENT], ids=["before anything was sent", "after everything was sent"])
def test_a_killed_training_leaves_no_open_run_and_goes_on_in_it(settings: Settings, tmp_path: Path, wait: str) -> None:
    program = KILLED.format(folder=str(tmp_path), key=KEY, wait=wait)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")}
    assert subprocess.run([sys.executable, "-c", program], check=False, env=environment).returncode == -9
    assert tracking.replay(settings) > 0
    ended = {name: run.info.status for name, run in runs(settings).items()}
    names = [f"demo.biscuit {network}01234567" for network in ("", "seed=0 ", "seed=1 ")]
    assert ended == dict(zip(names, ["KILLED", "FINISHED", "KILLED"], strict=True))
    # trained on: the finished network is told again or not at all, the other one goes on
    with Tracking(settings).run("paper", "demo.biscuit", KEY, tags={}, params={}) as run:
        done = run.journal().network("", 0, {})
        done.epoch(1, {"loss": 1.0})
        done.done({"aupro_30": 0.5})
        rest = run.journal().network("", 1, {})
        rest.epoch(1, {"loss": 1.0})
        rest.epoch(2, {"loss": 0.5})
    found = runs(settings)
    assert {run.info.status for run in found.values()} == {"FINISHED"} and len(found) == 3
    assert curve(settings, found[names[1]], "aupro_30") == [(0, 0.5)] and curve(settings, found[names[2]]) == [(1, 1.0), (2, 0.5)]


def test_what_mlflow_refuses_is_named_and_does_not_hold_up_the_rest(settings: Settings) -> None:
    said: list[str] = []
    with Tracking(settings, say=said.append).run("paper", "demo.biscuit", KEY, tags={}, params={}) as run:
        run.metrics({"n" * 300: 1.0})
        run.artifact(settings.root / "absent.html")
        run.metrics({"kept": 1.0})
    assert runs(settings)["demo.biscuit 01234567"].data.metrics == {"kept": 1.0}
    assert any("refused" in line for line in said) and any("absent.html is gone" in line for line in said)
    assert spool.waiting(settings.spool) == []


class _Busy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(429)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextmanager
def busy_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Busy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_answers_429_costs_training_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    with busy_server() as address:
        away = settings.model_copy(update={"mlflow_tracking_uri": address})
        with Tracking(away, say=said.append).run("paper", "demo.biscuit", KEY, tags=TAGS, params=PARAMS) as run:
            assert run.run_id is None and run.url is None
            network = run.journal().network("", 0, {})
            started = time.perf_counter()
            for epoch in range(1, 51):
                network.epoch(epoch, {"loss": 1 / epoch})
            assert time.perf_counter() - started < 2
    assert [line for line in said if "Nothing is lost" in line] and len(said) == 2
    assert len(spool.waiting(settings.spool)) == 1
    # the same home, MLflow back: the next session sends what waited
    train(Tracking(settings), range(1, 2), key="f" * 16)
    assert len(curve(settings, runs(settings)["demo.biscuit 01234567"])) == 50
    assert spool.waiting(settings.spool) == []


@pytest.mark.slow
def test_an_outage_of_a_real_server_in_the_middle_of_training(
    settings: Settings, serve: Serve, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_EVERY_S", 0.2)
    monkeypatch.setattr(tracking, "_AFTER_OUTAGE_S", 0.5)
    remote = settings.model_copy(update={"mlflow_tracking_uri": f"http://127.0.0.1:{port}"})
    said: list[str] = []
    door = Tracking(remote, say=said.append)
    with door.run("paper", "demo.biscuit", KEY, tags=TAGS, params=PARAMS) as run:  # no server yet
        network = run.journal().network("", 0, {})
        network.epoch(1, {"loss": 1.0})
        with serve(settings, port):
            deadline = time.monotonic() + 60
            while run.run_id is None and time.monotonic() < deadline:
                time.sleep(0.1)
            assert run.run_id is not None
            network.epoch(2, {"loss": 0.5})
            while not any("answers again" in line for line in said) and time.monotonic() < deadline:
                time.sleep(0.1)
        network.epoch(3, {"loss": 0.25})  # gone again
        network.done({"aupro_30": 0.5})
        run.metrics({"aupro_30": 0.5})
    assert len(spool.waiting(settings.spool)) == 1
    with serve(settings, port):
        assert Tracking(remote, say=said.append).replay().left == 0
    found = runs(settings)
    assert {r.info.status for r in found.values()} == {"FINISHED"} and len(found) == 2
    for one in found.values():
        assert curve(settings, one) == [(1, 1.0), (2, 0.5), (3, 0.25)]
        assert one.data.metrics["aupro_30"] == 0.5
    assert spool.waiting(settings.spool) == []

"""DVC's remote and MLflow's artifacts in an object store, on a server that speaks S3."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gate_world import EXAMPLE, any_paper
from mlflow import MlflowClient
from mlflow_server import free_port, mlflow_server

from tenfold.core.errors import TenfoldError
from tenfold.ops import dvc, home, registry, spool, tracking
from tenfold.ops.gate import Decision
from tenfold.ops.settings import Settings
from tenfold.ops.tracking import Tracking

pytestmark = pytest.mark.slow

SECRET = "the-secret-of-this-test"
STAGES = """
stages:
  paper:
    foreach: ${paper.datasets}
    do:
      cmd: python make.py ${key}
      deps: ["${item.source}"]
      outs: ["data/${key}"]
"""
MAKE = """
import pathlib, sys
folder = pathlib.Path("data") / sys.argv[1]
folder.mkdir(parents=True)
for number in range(3):
    (folder / f"part{number}.bin").write_bytes(bytes([number]) * 1000)
"""


class Store:
    """An S3 server that can be switched off and on again; what it held stays."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.up()

    def up(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def down(self) -> None:
        self._server.stop()

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.url)

    def keys(self, bucket: str) -> list[str]:
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    made = Store()
    yield made
    made.down()


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A bucket of this test's own; the log-in is in the environment and nowhere else."""
    login = {"AWS_ACCESS_KEY_ID": "robot", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**login, "MLFLOW_S3_ENDPOINT_URL": store.url, "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    name = request.node.name.replace("_", "-")[:60].rstrip("-")
    store.client.create_bucket(Bucket=name)
    return name


def holds_secret(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_dataset_goes_through_the_remote(store: Store, bucket: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, text in {
        "dvc.yaml": STAGES,
        "params.yaml": "paper: {datasets: {demo: {source: source.txt}}}",
        "make.py": MAKE,
        "source.txt": "",
    }.items():
        (root / ".dvc").mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    def command(*words: str, fails: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words], cwd=root, capture_output=True, text=True, env=os.environ | {"DVC_NO_ANALYTICS": "1"}
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    made = dvc.reproduce("paper@demo", root)
    config = f"[core]\n    no_scm = true\n    remote = storage\n['remote \"storage\"']\n    url = s3://{bucket}/dvc\n    endpointurl = {store.url}\n    verify = true\n"
    (root / ".dvc" / "config").write_text(config)
    command("push")
    assert len(store.keys(bucket)) == 4  # three parts and their listing

    def fresh() -> None:
        for folder in (root / "data", root / ".dvc" / "cache"):
            shutil.rmtree(folder)

    fresh()
    command("pull")
    assert [path.read_bytes() for path in sorted((root / "data" / "demo").iterdir())] == [bytes([n]) * 1000 for n in range(3)]
    assert dvc.reproduce("paper@demo", root) == dvc.Version(made.md5, ran=False)

    # one byte of one part, in the remote
    (key,) = [key for key in store.keys(bucket) if store.client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"\1" * 1000]
    store.client.put_object(Bucket=bucket, Key=key, Body=b"\1" * 999 + b"\2")
    fresh()
    said = command("pull", fails=True)
    assert "data/demo" in said
    assert not (root / "data" / "demo" / "part1.bin").exists()
    # made again, and sent again
    assert dvc.reproduce("paper@demo", root) == dvc.Version(made.md5, ran=True)
    assert holds_secret(root) == []


@pytest.fixture
def settings(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(tracking, "_away", set())
    made = Settings(root=tmp_path, home=tmp_path / "home", mlflow_artifacts=f"s3://{bucket}/mlflow")
    home.ensure_mlflow(made)
    any_paper(tmp_path / "code", monkeypatch.setattr)
    return made


def champion(settings: Settings, folder: Path, run_id: str | None) -> registry.Champion:
    """Registered, promoted, found again: its files come from the object store."""
    predictor = folder / "trained" / "predictor"
    predictor.mkdir(parents=True)
    (predictor / "weights").write_text("w" * 1000)
    made = registry.register(settings, "paper.demo", predictor, EXAMPLE, run_id, "k" * 16, {})
    registry.promote(settings, made, Decision(True, ""))
    found = registry.champion(settings, "paper.demo")
    assert found is not None and found.version == "1"
    return found


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_artifacts_and_models_are_in_the_bucket(
    store: Store, bucket: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    said: list[str] = []
    (tmp_path / "report.html").write_text("<p>")
    store.down()
    with Tracking(settings, say=said.append).run("paper", "demo", "k" * 16, tags={}, params={"model": {"lr": 0.1}}) as run:
        run.metrics({"aupro_30": 0.5})
        run.artifact(tmp_path / "report.html")
    assert len(spool.waiting(settings.spool)) == 1 and any("Nothing is lost" in line for line in said)
    with pytest.raises(TenfoldError, match="registry at .* failed: .*Once it answers, run `champion` again"):
        champion(settings, tmp_path / "down", run.run_id)
    store.up()
    until(lambda: Tracking(settings, say=said.append).replay().left == 0)

    client = MlflowClient(settings.mlflow_tracking_uri)
    (sent,) = client.search_runs([client.get_experiment_by_name("paper").experiment_id])
    assert (sent.info.status, sent.data.metrics) == ("FINISHED", {"aupro_30": 0.5})
    assert sent.info.artifact_uri == f"s3://{bucket}/mlflow/paper/{sent.info.run_id}/artifacts"
    assert f"mlflow/paper/{sent.info.run_id}/artifacts/report.html" in store.keys(bucket)

    found = champion(settings, tmp_path / "up", sent.info.run_id)
    assert found.folder.is_relative_to(settings.home / "models") and (found.folder / "weights").read_text() == "w" * 1000
    (model,) = client.search_logged_models([sent.info.experiment_id])
    assert str(model.status) == "READY" and model.artifact_location.startswith(f"s3://{bucket}/mlflow/paper/models/")
    import mlflow

    served = mlflow.pyfunc.load_model("models:/paper.demo@champion")
    assert served.predict(EXAMPLE)["score"].tolist() == [4.0]
    assert holds_secret(tmp_path) == [] and SECRET not in "".join(said)


def test_a_server_may_own_the_bucket(
    store: Store, bucket: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipelines need the server's address only: no boto3 call of theirs, no log-in to the store."""
    port = free_port()
    with mlflow_server(settings, port):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_ENDPOINT_URL"):
            monkeypatch.delenv(name)
        remote = Settings(root=tmp_path, home=tmp_path / "elsewhere", mlflow_tracking_uri=f"http://127.0.0.1:{port}")
        found = champion(remote, tmp_path, None)
        assert found.folder.is_relative_to(remote.home / "models") and (found.folder / "weights").read_text() == "w" * 1000
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "robot")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert any(key.endswith("predictor/weights") for key in store.keys(bucket))

"""The registered champion: the same numbers served, from the command line and in plain Python; nothing is unpickled."""

import base64
import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.running import PARTITION, command, free_ports
from support import environment

from tenfold.ops.settings import Settings

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# in a process of its own: prints the scores that the registered model gives to bytes
RELOAD = """
import json, mlflow, pandas, sys
frame = pandas.DataFrame([{"rgb": open(sys.argv[2], "rb").read(), "xyz": open(sys.argv[3], "rb").read()}])
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(frame).drop(columns="map").to_dict("records")))
"""
POISON = """
import mlflow, pathlib, sys
class Evil:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(sys.argv[1]),)
class Model(mlflow.pyfunc.PythonModel):
    def __init__(self):
        self.evil = Evil()
    def predict(self, context, model_input, params=None):
        return model_input
with mlflow.start_run(experiment_id=mlflow.create_experiment("poison")):
    mlflow.pyfunc.log_model(name="poison", python_model=Model(), pip_requirements=[], registered_model_name="poison")
"""
LOAD = "import mlflow, sys; mlflow.pyfunc.load_model(sys.argv[1])"


def exports(root: Path, **more: str) -> dict[str, str]:
    """The environment that `tenfold env` prints."""
    settings = Settings(root=root, home=root / ".tenfold")
    return {**environment(root), **settings.exports(), **more}


def python(root: Path, script: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A script in a fresh process."""
    command = [sys.executable, "-c", script, *words]
    return subprocess.run(command, env=exports(root, **more), cwd=root, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="session")
def part(trained: Path) -> tuple[Path, Path]:
    """The colour image and the cloud of one defective part."""
    folder = trained / "data" / "crossmodal_anomaly" / "demo" / "files" / "biscuit" / "test" / "dent"
    return sorted((folder / "rgb").iterdir())[0], sorted((folder / "xyz").iterdir())[0]


@pytest.fixture(scope="session")
def expected(trained: Path, part: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `tenfold predict` writes for the part."""
    out = tmp_path_factory.mktemp("predicted")
    command(trained, "predict", PARTITION, "--rgb", str(part[0]), "--xyz", str(part[1]), "--out", str(out))
    (row,) = csv.DictReader((out / "scores.csv").open())
    return {"score": float(row["score"]), "threshold": float(row["threshold"]), "is_anomaly": row["is_anomaly"] == "True"}


@pytest.fixture(scope="session")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow models serve` on the champion."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("serve") / "log"
    words = ["models", "serve", "-m", f"models:/{PARTITION}@champion", "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], env=exports(trained), cwd=trained, stdout=stream, stderr=stream, start_new_session=True
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def post(address: str, row: dict[str, str]) -> list[dict[str, Any]]:
    """The predictions for one row; raises HTTPError if it is refused."""
    body = json.dumps({"dataframe_records": [row]}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return list(json.load(answer)["predictions"])


def same(row: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether score, threshold and decision are the same to the last digit."""
    return {name: row[name] for name in expected} == expected


def test_the_served_champion_scores_as_the_command_line_does(server: str, part: tuple[Path, Path], expected: dict[str, Any]) -> None:
    (row,) = post(server, {name: base64.b64encode(path.read_bytes()).decode() for name, path in zip(("rgb", "xyz"), part, strict=True)})
    assert same(row, expected)
    assert row["map"] and isinstance(json.loads(row["boxes"]), list)


@pytest.mark.parametrize("slashes", range(4))
def test_a_served_model_refuses_paths(server: str, part: tuple[Path, Path], slashes: int) -> None:
    """MLflow decodes base64 leniently, so one in four names of a file decodes to bytes: these are no image either."""
    rgb, xyz = ("/" * slashes + str(path) for path in part)
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, {"rgb": rgb, "xyz": xyz})
    assert refused.value.code == 400


def test_plain_python_and_a_fresh_process_give_the_same_score(trained: Path, part: tuple[Path, Path], expected: dict[str, Any]) -> None:
    import pandas as pd

    from tenfold.crossmodal_anomaly.predict import Predictor
    from tenfold.ops import registry

    champion = registry.champion(Settings(root=trained, home=trained / ".tenfold"), PARTITION)
    assert champion is not None
    here = Predictor.load(champion.folder).predict(pd.DataFrame({"rgb": [part[0]], "xyz": [part[1]]}, dtype=object))
    # this process may have another number of threads, which moves the last digits
    row = here.to_dict("records")[0]
    assert (row["score"], row["threshold"]) == pytest.approx((expected["score"], expected["threshold"]), rel=1e-5)
    assert row["is_anomaly"] == expected["is_anomaly"]
    fresh = python(trained, RELOAD, f"models:/{PARTITION}@champion", *map(str, part))
    assert fresh.returncode == 0, fresh.stderr
    assert same(json.loads(fresh.stdout.splitlines()[-1])[0], expected)


def test_a_pickled_model_in_the_registry_is_refused(trained: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    allowed = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}
    poisoned = python(trained, POISON, str(canary), **allowed)
    assert poisoned.returncode == 0, poisoned.stderr
    canary.unlink(missing_ok=True)
    refused = python(trained, LOAD, "models:/poison/1")
    assert refused.returncode != 0 and "pickle" in refused.stderr.lower(), refused.stderr
    assert not canary.exists()
    python(trained, LOAD, "models:/poison/1", **allowed)
    assert canary.exists(), "the model does no harm even where pickle is allowed: this test proves nothing"

"""MLflow with log-in, as deploy/compose.yaml starts it: who may do what, and tenfold's own use of it."""

import json
import secrets
from dataclasses import replace

import pytest
from growth.client import Client
from growth.deployment import SECRETS, Deployment
from support import tenfold

from tenfold.core.errors import TenfoldError
from tenfold.ops import registry_read
from tenfold.ops.settings import Settings

API = "/api/2.0/mlflow"
ADMIN = ("admin", SECRETS["TENFOLD_MLFLOW_PASSWORD"])
BISCUIT = "crossmodal_anomaly.demo.biscuit"

pytestmark = pytest.mark.slow


@pytest.fixture
def mlflow(deployed: Deployment) -> Client:
    """The server, as its admin."""
    return Client(f"http://127.0.0.1:{deployed.ports['5000']}", login=ADMIN)


@pytest.fixture
def reader(mlflow: Client) -> Client:
    """A user without any permission of its own."""
    login = (f"reader-{secrets.token_hex(4)}", secrets.token_hex(16))
    made = mlflow.post(f"{API}/users/create", {"username": login[0], "password": login[1]})
    assert made.status == 200, made
    return replace(mlflow, login=login)


def test_without_the_right_password_there_is_nothing(mlflow: Client) -> None:
    for login in (None, ("admin", "wrong"), ("admin", ""), ("nobody", ADMIN[1])):
        stranger = replace(mlflow, login=login)
        assert stranger.ask("/").status == 401
        assert stranger.post(f"{API}/experiments/search", {"max_results": 5}).status == 401
        assert stranger.post("/ajax-api/2.0/mlflow/experiments/create", {"name": "theirs"}).status == 401
        assert stranger.ask(f"{API}-artifacts/artifacts/probe", b"x", "PUT").status == 401
    found = mlflow.post(f"{API}/experiments/search", {"max_results": 100})
    assert found.status == 200 and "theirs" not in found.body.decode()


def test_a_user_reads_what_others_write(mlflow: Client, reader: Client) -> None:
    made = mlflow.post(f"{API}/experiments/create", {"name": f"of the admin {secrets.token_hex(4)}"})
    experiment = json.loads(made.body)["experiment_id"]
    assert reader.ask(f"{API}/experiments/get?experiment_id={experiment}").status == 200
    assert reader.post(f"{API}/runs/create", {"experiment_id": experiment}).status == 403
    assert reader.post(f"{API}/experiments/delete", {"experiment_id": experiment}).status == 403
    assert reader.post(f"{API}/users/create", {"username": "more", "password": "a-long-enough-one"}).status == 403


def test_another_host_is_not_believed(mlflow: Client) -> None:
    assert replace(mlflow, host="evil.example.net").ask(f"{API}/experiments/search").status == 403


def test_tenfold_registers_a_champion_with_its_log_in(mlflow: Client, deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: value for name, value in deployed.environments["code"].items() if name not in ("TENFOLD_ROOT", "TENFOLD_HOME")}
    done = tenfold(deployed.root, "run", BISCUIT, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ADMIN[1] not in done.stdout + done.stderr

    settings = Settings(root=deployed.root, home=deployed.root / ".tenfold", mlflow_tracking_uri=mlflow.address)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(TenfoldError, match="401.*Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        registry_read.peek(settings, BISCUIT)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
    version, key = registry_read.peek(settings, BISCUIT) or ("", "")
    assert version == "1" and (deployed.root / ".tenfold" / "store" / "crossmodal_anomaly" / "model" / key).is_dir()
    weights = list((deployed.folder / "mlflow-artifacts").rglob("*.safetensors"))
    assert weights, "the model went through the server, which owns the artifacts"
    assert (deployed.folder / "mlflow-users.db").is_file(), "users are where the configuration says"

"""One PostgreSQL, and one installation of deploy/, for all tests that need one."""

import time
from collections.abc import Iterator

import postgres_server
import pytest
from growth import deployment, nginx
from growth.client import Client
from support import Demo, copy_of

LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Postgres]:
    """A fresh server without databases."""
    with postgres_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def deployed(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[deployment.Deployment]:
    """Every service of deploy/compose.yaml with a database of its own, over a copy of a home that ran the demo."""
    folder = tmp_path_factory.mktemp("deployed")
    root = copy_of(demo.root, folder / "root")
    with postgres_server.running() as postgres, deployment.running(root, folder, postgres) as made:
        yield made


@pytest.fixture(scope="session")
def scored(deployed: deployment.Deployment) -> str:
    """The run of the scoreboard that the webserver queued, the daemon launched and the code server executed."""
    dagster = Client(f"http://127.0.0.1:{deployed.ports['3000']}")
    selector = {"repositoryLocationName": "tenfold", "repositoryName": "__repository__", "jobName": "update_scoreboard"}
    launched = dagster.graphql(LAUNCH, {"p": {"selector": selector, "mode": "default"}})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = str(launched["run"]["runId"])
    deadline = time.monotonic() + 180
    while (status := dagster.graphql(STATUS, {"id": run})["runOrError"]["status"]) not in ("SUCCESS", "FAILURE", "CANCELED"):
        assert time.monotonic() < deadline, (status, deployed.log("daemon").read_text())
        time.sleep(0.3)
    assert status == "SUCCESS", deployed.log("code").read_text()
    return run


@pytest.fixture(scope="session")
def proxy(deployed: deployment.Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of the nginx before that installation, logged in."""
    with nginx.running(deployed, tmp_path_factory.mktemp("nginx")) as client:
        yield client

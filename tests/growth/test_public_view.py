"""Behind the proxy of deploy/: one log-in for both UIs, and a public view that can change nothing."""

import json
import shutil
import socket
import time
from dataclasses import replace
from typing import Any

import pytest
from e2e.conftest import ARGUMENTS
from growth.client import Client
from growth.deployment import Deployment
from growth.nginx import HOST
from playwright.sync_api import sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

SELECTOR = {"repositoryLocationName": "tenfold", "repositoryName": "__repository__"}
JOB = {"selector": {**SELECTOR, "jobName": "update_scoreboard"}, "mode": "default"}
MUTATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "launchRun": ("mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename } }", {"p": JOB}),
    "launchMultipleRuns": (
        "mutation($p: [ExecutionParams!]!) { launchMultipleRuns(executionParamsList: $p) { __typename ... on LaunchMultipleRunsResult {"
        " launchMultipleRunsResult { __typename } } } }",
        {"p": [JOB]},
    ),
    "terminateRun": ("mutation($id: String!) { terminateRun(runId: $id) { __typename ... on TerminateRunFailure { message } } }", {}),
    "deletePipelineRun": ("mutation($id: String!) { deletePipelineRun(runId: $id) { __typename } }", {}),
    "startSchedule": (
        "mutation($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename } }",
        {"s": {**SELECTOR, "scheduleName": "crossmodal_anomaly_weekly"}},
    ),
    "wipeAssets": (
        "mutation($r: [PartitionsByAssetSelector!]!) { wipeAssets(assetPartitionRanges: $r) { __typename } }",
        {"r": [{"assetKey": {"path": ["scoreboard"]}}]},
    ),
    "reloadWorkspace": ("mutation { reloadWorkspace { __typename } }", {}),
}
LOGS = "subscription($id: ID!) { pipelineRunLogs(runId: $id) { __typename ... on PipelineRunLogsSubscriptionSuccess { messages { __typename } } } }"

pytestmark = pytest.mark.slow


@pytest.fixture
def public(proxy: Client, deployed: Deployment) -> Client:
    """The public view, without a log-in."""
    port = deployed.ports["8444"]
    return replace(proxy, address=f"https://127.0.0.1:{port}", host=f"{HOST}:{port}", login=None)


def test_nothing_but_the_right_log_in_and_host_gets_in(proxy: Client) -> None:
    for path in ("/", "/graphql", "/server_info", "/mlflow/", "/mlflow/api/2.0/mlflow/experiments/search"):
        for login in (None, ("admin", "wrong"), ("nobody", "wrong")):
            answer = replace(proxy, login=login).ask(path)
            assert answer.status == 401 and "basic" in answer.headers["www-authenticate"].lower(), (path, login, answer)
        assert replace(proxy, host="evil.example.net").ask(path).status == 421
        assert replace(proxy, host="127.0.0.1:3000").ask(path).status == 421
    assert proxy.ask("/server_info").status == 200
    assert proxy.graphql("{ version }")["version"]


def test_a_page_of_another_site_cannot_act_with_a_remembered_log_in(proxy: Client) -> None:
    for path in ("/graphql", "/report_asset_materialization/scoreboard", "/mlflow/ajax-api/2.0/mlflow/experiments/create"):
        for origin in ("https://evil.example.net", "null", f"https://evil.{proxy.host}", f"http://{proxy.host}"):
            assert proxy.post(path, {}, Origin=origin).status == 403, (path, origin)
    assert proxy.post("/graphql", {"query": "{ version }"}, Origin=f"https://{proxy.host}").status == 200


def test_events_arrive_over_the_websocket(proxy: Client, public: Client, scored: str) -> None:
    for client in (proxy, public):
        events = subscribe(client, scored)
        assert "RunSuccessEvent" in events and "MaterializationEvent" in events
    for refused, headers in ((replace(proxy, login=None), {}), (proxy, {"Origin": "https://evil.example.net"})):
        with pytest.raises(InvalidStatus) as error:
            subscribe(refused, scored, **headers)
        assert error.value.response.status_code == (403 if headers else 401)


def test_the_public_view_shows_everything_and_changes_nothing(proxy: Client, public: Client, deployed: Deployment, scored: str) -> None:
    shown = public.graphql("{ runsOrError { ... on Runs { results { runId status } } } assetNodes { id } }")
    assert {"runId": scored, "status": "SUCCESS"} in shown["runsOrError"]["results"] and len(shown["assetNodes"]) > 5
    assert public.ask("/").status == 200
    before = public.graphql("{ runsOrError { ... on Runs { count } } }")
    direct = Client(f"http://127.0.0.1:{deployed.ports['3001']}")
    for name, (query, variables) in MUTATIONS.items():
        for client in (public, direct):
            given = {"id": scored} if "$id" in query else variables
            answer = json.dumps(client.graphql(query, given)[name])
            assert "UnauthorizedError" in answer or "You do not have permission" in answer, (name, answer)
            assert "Success" not in answer, (name, answer)
    assert public.graphql("{ runsOrError { ... on Runs { count } } }") == before
    assert public.post("/report_asset_materialization/scoreboard", {}).status == 403
    assert direct.post("/report_asset_materialization/scoreboard", {}).status == 401
    for path in ("/logs/x/y/out", f"/download_debug/{scored}", "/notebook?path=x.ipynb&repoLocName=tenfold"):
        assert public.ask(path).status == 403
    assert b"mlflow" not in public.ask("/mlflow/").body.lower(), "Dagster's page answers to any path"
    assert public.ask("/mlflow/api/2.0/mlflow/experiments/search").headers["content-type"].startswith("text/html")
    assert proxy.graphql(*MUTATIONS["reloadWorkspace"])["reloadWorkspace"] == {"__typename": "Workspace"}, "the private view may"


def test_mlflow_works_below_its_path(proxy: Client, deployed: Deployment) -> None:
    found = proxy.post("/mlflow/api/2.0/mlflow/experiments/search", {"max_results": 5})
    assert found.status == 200 and json.loads(found.body)["experiments"]
    assert proxy.ask("/mlflow/health").status == 200
    # nginx refuses by the announced length, before a byte of the body
    assert proxy.ask("/mlflow/x", b"", "PUT", **{"Content-Length": str(65 * 2**20)}).status == 413
    upload = proxy.ask("/mlflow/api/2.0/mlflow-artifacts/artifacts/probe/blob", b"\0" * 2**21, "PUT")
    assert upload.status == 200, upload
    assert len(proxy.ask("/mlflow/api/2.0/mlflow-artifacts/artifacts/probe/blob").body) == 2**21


def test_both_uis_live_in_a_browser_behind_the_proxy(proxy: Client, scored: str) -> None:
    arguments = [*ARGUMENTS, f"--host-resolver-rules=MAP {HOST} 127.0.0.1"]
    assert proxy.login is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        name, password = proxy.login
        context = browser.new_context(ignore_https_errors=True, http_credentials={"username": name, "password": password})
        context.set_default_timeout(90_000)
        page = context.new_page()
        failed: list[str] = []
        page.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
        page.goto(f"https://{proxy.host}/mlflow/#/experiments")
        page.get_by_role("link", name="Default").first.wait_for()
        with page.expect_websocket(lambda socket: socket.url.endswith("/graphql")) as opened:
            page.goto(f"https://{proxy.host}/runs/{scored}")
            page.get_by_text("scoreboard").first.wait_for()
        assert opened.value.url == f"wss://{proxy.host}/graphql"
        browser.close()
    assert failed == []


def subscribe(client: Client, run: str, **headers: str) -> set[str]:
    """Types of the events of a finished run, over GraphQL's websocket."""
    with socket.create_connection(("127.0.0.1", int(client.host.rpartition(":")[2])), timeout=60) as raw:
        extra = {name: value for name, value in {**client.headers(), **headers}.items() if name != "Host"}
        with connect(
            f"wss://{client.host}/graphql", sock=raw, ssl=client.context(), subprotocols=["graphql-ws"], additional_headers=extra, max_size=None
        ) as channel:  # fmt: skip
            channel.send(json.dumps({"type": "connection_init", "payload": {}}))
            assert json.loads(channel.recv(30))["type"] == "connection_ack"
            channel.send(json.dumps({"type": "start", "id": "1", "payload": {"query": LOGS, "variables": {"id": run}}}))
            seen: set[str] = set()
            deadline = time.monotonic() + 60
            while "RunSuccessEvent" not in seen:
                assert time.monotonic() < deadline, seen
                message = json.loads(channel.recv(60))
                if message["type"] == "data":
                    seen |= {event["__typename"] for event in message["payload"]["data"]["pipelineRunLogs"].get("messages", [])}
            return seen

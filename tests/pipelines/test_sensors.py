"""What runs by itself: the weekly schedule, the sensors, the scoreboard's condition."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipelines import sensors
from pipelines.definitions import defs
from pipelines.papers import PAPERS, modules
from tenfold.core.store import Store

PAPER = "crossmodal_anomaly"


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return defs()


def test_the_schedule_asks_for_every_partition_once_a_week(definitions: dg.Definitions) -> None:
    for paper in PAPERS:
        schedule = definitions.resolve_schedule_def(f"{paper}_weekly")
        moment = datetime(2026, 3, 1, 3, tzinfo=UTC)
        context = dg.build_schedule_context(scheduled_execution_time=moment, repository_def=definitions.get_repository_def())
        requests = schedule.evaluate_tick(context).run_requests or []
        keys = modules()[paper].PARTS.get_partition_keys()
        assert [request.partition_key for request in requests] == list(keys)
        assert [request.run_key for request in requests] == [f"2026-03-01-{key}" for key in keys]
        assert schedule.cron_schedule == "0 3 * * 0" and schedule.job.name == paper


def use(root: Path, partition: str, md5: str) -> None:
    """Make current a dataset that was taken from this version."""
    store = Store(root / ".tenfold")
    key = md5[:8] + partition[-8:].replace(".", "_")
    with store.working(PAPER, "dataset", key) as working:
        (working.out / "samples").write_text(partition)
        made = store.publish(
            working, partition=partition, upstream={}, block={}, overrides={}, code="", versions={}, made_by={}, seconds=0, facts={"dvc_md5": md5}
        )  # fmt: skip
    store.set_current(PAPER, partition, "dataset", made.key, made.digest)


def lock(root: Path, md5: str) -> None:
    stages = {f"{PAPER}@demo": {"cmd": "c", "outs": [{"path": "p", "md5": f"{md5}.dir"}]}}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def tick(definitions: dg.Definitions, cursor: str | None = None) -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, repository_def=definitions.get_repository_def(), cursor=cursor)
        return definitions.resolve_sensor_def("dvc_versions").evaluate_tick(context)


def test_new_data_run_the_partitions_that_use_them(tiny: Path, definitions: dg.Definitions) -> None:
    old, new = "a" * 32, "b" * 32
    lock(tiny, old)
    assert not tick(definitions).run_requests, "what was never made is not begun"
    use(tiny, "demo.biscuit", old)
    use(tiny, "demo.peg", old)
    still = tick(definitions)
    assert not still.run_requests and still.skip_message
    lock(tiny, new)
    asked = tick(definitions).run_requests or []
    assert [(request.job_name, request.partition_key, request.run_key) for request in asked] == [
        (PAPER, partition, f"{new}-{partition}-1") for partition in ("demo.biscuit", "demo.peg")
    ]
    use(tiny, "demo.peg", new)
    assert [request.partition_key for request in tick(definitions).run_requests or []] == ["demo.biscuit"]


def test_a_version_that_comes_back_is_asked_for_again_and_once(tiny: Path, definitions: dg.Definitions) -> None:
    first, second = "a" * 32, "b" * 32
    use(tiny, "demo.peg", first)
    cursor, keys = None, []
    for version in (first, second, first, second):
        lock(tiny, version)
        for _ in range(2):
            # the second look comes while the run that the first one asked for is still going on
            asked = tick(definitions, cursor)
            cursor = asked.cursor
            keys += [[request.run_key for request in asked.run_requests or []]]
        use(tiny, "demo.peg", version)
    before, after = keys[0::2], keys[1::2]
    assert before == after, "Dagster launches a key once"
    assert before == [[], [f"{second}-demo.peg-2"], [f"{first}-demo.peg-3"], [f"{second}-demo.peg-4"]]


def test_a_damaged_or_deleted_dataset_does_not_stop_the_sensor(tiny: Path, definitions: dg.Definitions) -> None:
    lock(tiny, "b" * 32)
    use(tiny, "demo.biscuit", "a" * 32)
    use(tiny, "demo.peg", "a" * 32)
    (manifest,) = (tiny / ".tenfold" / "store" / PAPER / "dataset").glob("*biscuit/manifest.json")
    manifest.write_text("{}")
    assert [request.partition_key for request in tick(definitions).run_requests or []] == ["demo.peg"]


class Hook(HTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def noted(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / ".tenfold" / "logs" / "failures.jsonl").read_text().splitlines()]


def test_a_failed_run_is_noted_and_posted(tiny: Path, definitions: dg.Definitions, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_WEBHOOK", f"http://127.0.0.1:{hook.server_port}/failed")

    @dg.op
    def breaks() -> None:
        raise ValueError("no light")

    @dg.job
    def broken() -> None:
        breaks()

    with dg.DagsterInstance.ephemeral() as instance:
        result = broken.execute_in_process(instance=instance, raise_on_error=False, tags={"dagster/partition": "demo.peg"})
        context = dg.build_run_status_sensor_context(
            sensor_name="run_failures",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        )
        sensor: Any = definitions.resolve_sensor_def("run_failures")
        sensor(context.for_run_failure())
    (line,) = noted(tiny)
    assert (line["run_id"], line["job"], line["partition"], line["webhook"]) == (result.run_id, "broken", "demo.peg", "204")
    assert line["link"].endswith(f"/runs/{result.run_id}")
    (posted,) = hook.got
    assert posted["run_id"] == result.run_id and "broken" in posted["text"] and "demo.peg" in posted["text"]


def test_a_webhook_that_does_not_answer_is_noted(tiny: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENFOLD_WEBHOOK", raising=False)
    sensors.report_failure("r1", "job", None, "why")
    monkeypatch.setenv("TENFOLD_WEBHOOK", "http://127.0.0.1:9/nobody")
    sensors.report_failure("r2", "job", "demo.peg", "why")
    monkeypatch.setenv("TENFOLD_WEBHOOK", "no address")
    sensors.report_failure("r3", "job", "demo.peg", "why")
    first, second, third = noted(tiny)
    assert "webhook" not in first and first["message"] == "why"
    assert second["webhook"].startswith("not delivered") and third["webhook"].startswith("not delivered")
    assert hook.got == []


def test_the_scoreboard_follows_one_evaluation_though_others_are_missing(definitions: dg.Definitions) -> None:
    evaluation, board = dg.AssetKey([PAPER, "evaluation"]), dg.AssetKey("scoreboard")
    with dg.DagsterInstance.ephemeral() as instance:

        def evaluate(cursor: Any = None) -> Any:
            return dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=cursor)

        before = evaluate()
        assert before.get_num_requested(board) == 0
        instance.report_runless_asset_event(dg.AssetMaterialization(evaluation, partition="demo.peg"))
        after = evaluate(before.cursor)
        assert after.get_num_requested(board) == 1 and after.total_requested == 1
        assert evaluate(after.cursor).get_num_requested(board) == 0

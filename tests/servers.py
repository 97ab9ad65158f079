"""A real `tenfold ui` over a root of the test's own, spoken to through its GraphQL address, its processes killed one by one.

The code it runs is a copy, so that a test may edit it. Beside the papers there is a second code location, `light`: one asset
of six partitions on the same spine, for what needs many runs and no training.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml
from e2e.running import MARK, free_ports, tenfold
from support import CHECKOUT, copy_of, environment

from pipelines import recovery

_T = TypeVar("_T")
PATIENCE_S = 180
SIX = [f"six.{unit}" for unit in "abcdef"]

LIGHT = {
    "light/__init__.py": "",
    "light/definitions.py": """
import dagster as dg

from assets import shared
from assets.shared import Home, Overrides, Step
from pipelines import waiting
from tenfold.light import config

PARTS = shared.partitions("light")
WORK = Step("light", "work", "tenfold.light.work", config.Work)


@dg.asset(**WORK.options(PARTS, kinds={"python"}))
def work(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    stage = WORK.begin(context, home, config, extra={"partition": context.partition_key})

    def make(work):
        from tenfold.light import work as science

        return science.run(stage.settings.home, stage.partition, stage.block, work.out)

    return shared.finish(stage, make)


waiting.install()
job = dg.define_asset_job("light", selection=dg.AssetSelection.groups("light"), partitions_def=PARTS)


@dg.schedule(job=job, cron_schedule="* * * * *", default_status=dg.DefaultScheduleStatus.STOPPED)
def every_minute(context):
    # two partitions with numbers of their own, so that nothing is a hit
    minute = int(context.scheduled_execution_time.timestamp() // 60)
    overrides = {"seconds": 5 + minute % 10000 / 10000}
    for partition in ("six.a", "six.b"):
        config = {"ops": {"light__work": {"config": {"overrides": overrides}}}}
        yield dg.RunRequest(run_key=f"{minute}-{partition}", partition_key=partition, run_config=config)


defs = dg.Definitions(assets=[work], jobs=[job], schedules=[every_minute], resources={"home": Home()}, executor=dg.in_process_executor)
""",
    "tenfold/light/__init__.py": "",
    "tenfold/light/config.py": "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Work:\n    seconds: float\n",
    "tenfold/light/answer.py": "ANSWER = 1\n",
    "tenfold/light/work.py": """
import os
import time

from tenfold.core.stage import Made


def run(home, partition, block, out):
    log = os.open(home / "computed", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{partition}\\n".encode())
    os.close(log)
    time.sleep(block.seconds)
    from tenfold.light.answer import ANSWER

    (out / "answer").write_text(str(ANSWER))
    return Made()
""",
}


def until(what: Callable[[], _T | None], patience_s: float = PATIENCE_S, say: Callable[[], str] = lambda: "") -> _T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + patience_s
    while True:
        if answer := what():
            return answer
        assert time.monotonic() < deadline, say()
        time.sleep(0.1)


class Servers:
    """`tenfold ui` on a copy of a root that ran the demo."""

    def __init__(self, demo: Path, folder: Path) -> None:
        self.root = copy_of(demo, folder / "root")
        self.home = self.root / ".tenfold"
        self.code = folder / "code"
        self.log = folder / "ui.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._lay_out()

    def _lay_out(self) -> None:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / "src" / "tenfold", self.code / "tenfold", ignore=unwanted)
        for name in ("assets", "pipelines"):
            shutil.copytree(CHECKOUT / name, self.code / name, ignore=unwanted)
        for name, text in LIGHT.items():
            path = self.code / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        six = {"source": "params.yaml", "layout": "none", "units": list("abcdef"), "recipe": "demo"}
        params["light"] = {"datasets": {"six": six}, "recipes": {"demo": {"work": {"seconds": 1.0}}}}
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))
        workspace = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text())
        light = {"module_name": "light.definitions", "working_directory": ".", "location_name": "light"}
        workspace["load_from"].append({"python_module": light})
        (self.root / "workspace.yaml").write_text(yaml.safe_dump(workspace))
        instance = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text())
        # a launch that died with the daemon is given up after the start timeout
        instance["run_monitoring"] |= {"poll_interval_seconds": 2, "start_timeout_seconds": 60, "free_slots_after_run_end_seconds": 5}
        for path in (self.root / "dagster.yaml", self.home / "dagster" / "dagster.yaml"):
            path.unlink(missing_ok=True)
        (self.root / "dagster.yaml").write_text(yaml.safe_dump(instance))

    def environment(self) -> dict[str, str]:
        """Everything that these servers start carries the mark."""
        return environment(self.root, PYTHONPATH=str(self.code), **{MARK: str(self.root)})

    def start(self) -> None:
        """Start `tenfold ui`, wait until both servers answer."""
        dagster, mlflow = free_ports(2)
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                tenfold("ui", "--port", str(dagster), "--mlflow-port", str(mlflow)), env=self.environment(), cwd=self.root, stdout=stream,
                stderr=stream, start_new_session=True,
            )  # fmt: skip
        self._address = f"http://127.0.0.1:{dagster}"
        until(self._up, say=self.log.read_text)

    def _up(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log.read_text()
        return "Ctrl-C stops both" in self.log.read_text()

    def stop(self) -> None:
        """As Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(90)
        self.power_loss()

    def ended(self) -> int | None:
        """The exit code of `tenfold ui`, once it has ended."""
        assert self._process is not None
        return self._process.poll()

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those that the servers started and whose command line holds all the words."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    line = " ".join(process.cmdline())
                    if all(word in line for word in words):
                        found.append(process)
            except psutil.Error:
                continue
        return found

    def power_loss(self) -> None:
        """Everything at once, with SIGKILL."""
        while left := self.processes():
            for process in left:
                os.kill(process.pid, signal.SIGKILL)
            psutil.wait_procs(left, 10)
        if self._process is not None:
            self._process.wait(10)

    def graphql(self, query: str, **variables: Any) -> Any:
        """The answer's data."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self._address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def launch(self, job: str, partition: str, assets: list[str] | None = None, **overrides: dict[str, Any]) -> str:
        """Launch a run as the launchpad does; its id."""
        location = job if job == "light" else "tenfold"
        params = {
            "selector": {
                "repositoryLocationName": location, "repositoryName": "__repository__", "jobName": job,
                "assetSelection": [{"path": [job, name]} for name in assets] if assets else None,
            },
            "runConfigData": {"ops": {f"{job}__{name}": {"config": {"overrides": values}} for name, values in overrides.items()}},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }  # fmt: skip
        query = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename
            ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
        answer = self.graphql(query, p=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def backfill(self, asset: list[str], partitions: list[str]) -> str:
        """Launch a backfill; its id."""
        query = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
            ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
        answer = self.graphql(query, p={"assetSelection": [{"path": asset}], "partitionNames": partitions})["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def reload(self, location: str) -> None:
        """What the button Reload definitions does."""
        query = """mutation($n: String!) { reloadRepositoryLocation(repositoryLocationName: $n) { __typename
            ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } } } }"""
        answer = self.graphql(query, n=location)["reloadRepositoryLocation"]
        assert answer["locationOrLoadError"]["__typename"] == "RepositoryLocation", answer

    def instance(self) -> Any:
        """The instance, in this process."""
        import dagster as dg

        os.environ["DAGSTER_HOME"] = str(self.home / "dagster")
        return dg.DagsterInstance.get()

    def worker(self, run_id: str) -> int:
        """The process of a run that has begun."""
        with self.instance() as instance:
            return until(lambda: recovery.process_of(instance, run_id))

    def finished(self, run_id: str) -> str:
        """Wait for a run's end; its status."""
        with self.instance() as instance:
            return str(
                until(lambda: (run := instance.get_run_by_id(run_id)).is_finished and run.status.value, say=lambda: self.story(run_id))
            )

    def retry_of(self, run_id: str) -> str:
        """Wait for the run that the daemon starts in a dead one's place; its id."""
        with self.instance() as instance:
            return str(until(lambda: instance.get_run_by_id(run_id).tags.get("dagster/auto_retry_run_id"), say=lambda: self.story(run_id)))

    def story(self, run_id: str) -> str:
        """A run's events, for a failure's message."""
        with self.instance() as instance:
            return "\n".join(str(entry.message or entry.user_message) for entry in instance.all_logs(run_id))

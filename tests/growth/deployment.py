"""deploy/compose.yaml as plain processes: the same commands, environment, order and health checks, on this machine."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from e2e.running import free_ports
from postgres_server import Postgres
from support import CHECKOUT, environment

DEPLOY = CHECKOUT / "deploy"
SECRETS = {"TENFOLD_MLFLOW_PASSWORD": "a-password-of-tests", "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef"}
PATIENCE_S = 240


def compose() -> dict[str, Any]:
    """The file, parsed."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


@dataclass
class Deployment:
    """What runs, and where."""

    root: Path
    folder: Path
    postgres: Postgres
    ports: dict[str, int]
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """The same text with the addresses and folders of this machine."""
        text = re.sub(r"\$\{(\w+):\?\}", lambda name: self.secrets()[name[1]], text)
        for before, after in [
            ("db:5432", f"127.0.0.1:{self.postgres.port}"),
            ("mlflow:5000", f"127.0.0.1:{self.ports['5000']}"),
            ("deploy/", f"{self.folder}/"),
            ("/data/home", str(self.root / ".tenfold")),
            ("/data/", f"{self.folder}/"),
            ("0.0.0.0", "127.0.0.1"),
            *self.ports.items(),
        ]:
            text = re.sub(rf"\b{before}\b" if before.isdigit() else re.escape(before), lambda _, after=after: str(after), text)
        return text

    def secrets(self) -> dict[str, str]:
        """What compose takes from the environment."""
        return {**SECRETS, "TENFOLD_DB_PASSWORD": self.postgres.password_in_url}

    def start(self, name: str, service: Mapping[str, Any]) -> None:
        """Start a service, in a process group of its own."""
        given = {key: self.here(value) for key, value in service["environment"].items()}
        for path in service.get("env_file", []):
            given |= dict(line.split("=", 1) for line in (DEPLOY / path).read_text().splitlines() if not line.startswith("#"))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environments[name] = environment(self.root, **{"OMP_NUM_THREADS": "1", "PATH": path, **given})
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                shlex.split(self.here(service["command"])), env=self.environments[name], cwd=self.root,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait(self, name: str, service: Mapping[str, Any]) -> None:
        """Until the service's health check holds."""
        kind, *check = [self.here(word) for word in service["healthcheck"]["test"]]
        assert kind == "CMD"
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(check, env=self.environments[name], cwd=self.root, capture_output=True, timeout=60).returncode:
            assert self.processes[name].poll() is None and time.monotonic() < deadline, f"{name}:\n{self.log(name).read_text()}"
            time.sleep(1)

    def log(self, name: str) -> Path:
        """What a service wrote."""
        return self.folder / f"{name}.log"

    def stop(self) -> None:
        """All of them, last one first."""
        for process in reversed(self.processes.values()):
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(15)
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue


@contextmanager
def running(root: Path, folder: Path, postgres: Postgres) -> Iterator[Deployment]:
    """Every service of the file but the database, which is ours, in the order of their conditions."""
    postgres.create("dagster", "mlflow")
    names = ("3000", "3001", "4000", "5000", "8443", "8444")
    made = Deployment(root, folder, postgres, dict(zip(names, free_ports(len(names)), strict=True)))
    for name in ("workspace.yaml", "mlflow.auth.ini"):
        (folder / name).write_text(made.here((DEPLOY / name).read_text()).replace("host: code", "host: 127.0.0.1"))
    own_dagster_yaml(root)
    services = compose()["services"]
    try:
        while waiting := [name for name in services if name not in {"db", *made.processes}]:
            ready = [name for name in waiting if set(services[name]["depends_on"]) <= {"db", *made.processes}]
            for name in ready:
                assert all(how == {"condition": "service_healthy"} for how in services[name]["depends_on"].values())
                made.start(name, services[name])
            for name in ready:
                made.wait(name, services[name])
        yield made
    finally:
        made.stop()


def own_dagster_yaml(root: Path) -> None:
    """The home's Dagster on PostgreSQL, as deploy/README.md says; what it had in SQLite is gone."""
    home = root / ".tenfold" / "dagster"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copy(DEPLOY / "dagster.postgres.yaml", home / "dagster.yaml")

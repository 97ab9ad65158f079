"""HTTP as a browser or a script would speak it to the servers of deploy/, with the certificate of the tests."""

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Client:
    """Speaks to `address`, under the name `host` if one is given, logged in if `login` is (name, password)."""

    address: str
    host: str = ""
    login: tuple[str, str] | None = None
    certificate: Path | None = None

    def headers(self) -> dict[str, str]:
        """Host and log-in."""
        word = base64.b64encode(":".join(self.login).encode()).decode() if self.login else ""
        return {**({"Host": self.host} if self.host else {}), **({"Authorization": f"Basic {word}"} if word else {})}

    def context(self) -> ssl.SSLContext:
        """Trusts the certificate of the tests alone."""
        return ssl.create_default_context(cafile=self.certificate)

    def ask(self, path: str, body: bytes | None = None, method: str = "", **headers: str) -> Answer:
        """One request; POST if it has a body."""
        parts = urlsplit(self.address)
        assert parts.hostname is not None
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=60, context=self.context()
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, {**self.headers(), **headers})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, path: str, value: object, **headers: str) -> Answer:
        """JSON."""
        return self.ask(path, json.dumps(value).encode(), **{"Content-Type": "application/json", **headers})

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of an answer."""
        answer = self.post("/graphql", {"query": query, "variables": variables or {}})
        assert answer.status == 200, answer
        found = json.loads(answer.body)
        assert "errors" not in found, found
        data: dict[str, Any] = found["data"]
        return data

"""Who is champion, in milliseconds: reads MLflow's tables or its REST interface without importing MLflow."""

import base64
import json
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from tenfold.core.errors import TenfoldError
from tenfold.ops import mlflow_store
from tenfold.ops.settings import Settings

_WAIT_S = 15.0
_KEY = "tenfold.key"


def peek(settings: Settings, name: str, alias: str = "champion") -> tuple[str, str] | None:
    """(version, content key) of the version of `name` that has the alias; None if there is none or no registry yet.

    Raises TenfoldError when a registry is there but does not answer.
    """
    uri = settings.mlflow_tracking_uri
    if urlsplit(uri).scheme not in ("http", "https"):
        rows = _select(
            uri,
            "SELECT a.version, t.value FROM registered_model_aliases a LEFT JOIN model_version_tags t "
            "ON t.name = a.name AND t.version = a.version AND t.key = ? WHERE a.name = ? AND a.alias = ?",
            (_KEY, name, alias),
        )
        return (str(rows[0][0]), str(rows[0][1] or "")) if rows else None
    found = _get(uri, "registered-models/alias", {"name": name, "alias": alias}).get("model_version")
    if found is None:
        return None
    tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
    return str(found["version"]), str(tags.get(_KEY, ""))


def champions(settings: Settings, paper: str, alias: str = "champion") -> list[str]:
    """Names of the paper's registered models that have the alias, sorted."""
    uri = settings.mlflow_tracking_uri
    if urlsplit(uri).scheme not in ("http", "https"):
        names = [str(row[0]) for row in _select(uri, "SELECT name FROM registered_model_aliases WHERE alias = ?", (alias,))]
    else:
        names, token = [], ""
        while True:
            page = _get(uri, "registered-models/search", {"max_results": "200", **({"page_token": token} if token else {})})
            names += [m["name"] for m in page.get("registered_models", []) if any(a["alias"] == alias for a in m.get("aliases", []))]
            token = page.get("next_page_token", "")
            if not token:
                break
    return sorted(name for name in names if name.startswith(f"{paper}."))


def _select(uri: str, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Rows of MLflow's own tables; none where it has not made them yet."""
    return _select_sqlite(uri, query, values) if urlsplit(uri).scheme == "sqlite" else _select_postgres(uri, query, values)


def _select_sqlite(uri: str, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'registered_model_aliases'").fetchone():
                return []
            return database.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise TenfoldError(f"{path} cannot be read ({error}). If it is damaged, restore it from a backup.") from error


def _select_postgres(uri: str, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
    import psycopg2  # type: ignore[import-untyped]

    try:
        with (
            closing(psycopg2.connect(uri.replace("+psycopg2", "", 1), connect_timeout=int(_WAIT_S))) as database,
            database.cursor() as cursor,
        ):
            cursor.execute("SELECT to_regclass('registered_model_aliases')")
            if cursor.fetchone() == (None,):
                return []
            cursor.execute(query.replace("?", "%s"), values)
            return list(cursor.fetchall())
    except psycopg2.Error as error:
        where = mlflow_store.shown(uri)
        raise TenfoldError(f"{where} does not answer ({str(error).strip()}). Start it, or correct TENFOLD_MLFLOW_TRACKING_URI.") from error


def _get(uri: str, endpoint: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The answer to a GET of MLflow's REST interface; {} for what does not exist."""
    parts = urlsplit(uri)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    url = f"{urlunsplit(address).rstrip('/')}/api/2.0/mlflow/{endpoint}?{urlencode(query)}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=_login(uri)), timeout=_WAIT_S) as response:
            return dict(json.load(response))
    except urllib.error.HTTPError as error:
        with error:
            body = error.read().decode(errors="replace")
        # a missing alias is an invalid parameter to MLflow, a missing model does not exist
        if any(code in body for code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")):
            return {}
        remedy = " Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a log-in that it knows." if error.code in (401, 403) else ""
        raise TenfoldError(f"{urlunsplit(address)} answered {error.code}: {body[:300]}{remedy}") from None
    except (urllib.error.URLError, OSError, json.JSONDecodeError) as error:
        raise TenfoldError(f"{urlunsplit(address)} does not answer ({error}). Start it, or correct TENFOLD_MLFLOW_TRACKING_URI.") from None


def _login(uri: str) -> dict[str, str]:
    """The same credentials that MLflow's own client sends."""
    parts = urlsplit(uri)
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    return {"Authorization": f"Bearer {token}"} if token else {}

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
    if urlsplit(uri).scheme == "sqlite":
        rows = _select(
            uri,
            "SELECT a.version, t.value FROM registered_model_aliases a LEFT JOIN model_version_tags t "
            "ON t.name = a.name AND t.version = a.version AND t.key = ? WHERE a.name = ? AND a.alias = ?",
            (_KEY, name, alias),
        )
        return (str(rows[0][0]), str(rows[0][1] or "")) if rows else None
    if urlsplit(uri).scheme in ("http", "https"):
        found = _get(uri, "registered-models/alias", {"name": name, "alias": alias}).get("model_version")
        if found is None:
            return None
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
        return str(found["version"]), str(tags.get(_KEY, ""))
    return _peek_client(settings, name, alias)


def champions(settings: Settings, paper: str, alias: str = "champion") -> list[str]:
    """Names of the paper's registered models that have the alias, sorted."""
    uri = settings.mlflow_tracking_uri
    if urlsplit(uri).scheme == "sqlite":
        names = [str(row[0]) for row in _select(uri, "SELECT name FROM registered_model_aliases WHERE alias = ?", (alias,))]
    elif urlsplit(uri).scheme in ("http", "https"):
        names, token = [], ""
        while True:
            page = _get(uri, "registered-models/search", {"max_results": "200", **({"page_token": token} if token else {})})
            names += [m["name"] for m in page.get("registered_models", []) if any(a["alias"] == alias for a in m.get("aliases", []))]
            token = page.get("next_page_token", "")
            if not token:
                break
    else:
        models = mlflow_store.client(settings).search_registered_models(f"name LIKE '{paper}.%'", max_results=1000)
        names = [model.name for model in models if alias in model.aliases]
    return sorted(name for name in names if name.startswith(f"{paper}."))


def _select(uri: str, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
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
        raise TenfoldError(f"{urlunsplit(address)} answered {error.code}: {body[:300]}") from None
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


def _peek_client(settings: Settings, name: str, alias: str) -> tuple[str, str] | None:
    from mlflow.exceptions import MlflowException

    try:
        found = mlflow_store.client(settings).get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise TenfoldError(f"The registry at {mlflow_store.shown(settings.mlflow_tracking_uri)} failed: {error}") from error
    return str(found.version), str(found.tags.get(_KEY, ""))

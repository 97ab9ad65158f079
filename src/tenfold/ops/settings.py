"""Where things are: one checkout, one home, one tracking server. Environment variables `TENFOLD_*` override."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tenfold.core.errors import UsageError
from tenfold.ops.quiet import SWITCHES

TRACKING_SCHEMES = ("sqlite", "http", "https", "postgresql", "postgresql+psycopg2")
ARTIFACT_SCHEMES = ("file", "s3", "gs", "abfss", "http", "https", "mlflow-artifacts")


def checkout() -> Path:
    """The checkout this package runs from, or the one around the current folder."""
    for start in (Path(__file__).resolve(), Path.cwd().resolve()):
        for folder in start.parents if start.is_file() else (start, *start.parents):
            if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
                return folder
    raise UsageError(
        f"No params.yaml beside a dvc.yaml was found above {Path(__file__).resolve().parent} or {Path.cwd()}. "
        "Run from a checkout of tenfold, or set TENFOLD_ROOT to one."
    )


class Settings(BaseSettings):
    """Folders, addresses and ports. Every field can be set as `TENFOLD_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TENFOLD_", env_ignore_empty=True, frozen=True, extra="ignore")

    # filled by _defaults: each follows from the one before
    root: Path = Path()
    home: Path = Path()
    mlflow_tracking_uri: str = Field(default="", repr=False)  # may hold a password
    mlflow_artifacts: str = ""
    port: int = 3000
    mlflow_port: int = 5000
    webhook: str | None = None
    # where heavy stages work: "" in the asset's own process, "torchrun" in processes of this machine, "ray" on a cluster
    engine: Literal["", "torchrun", "ray"] = ""
    workers: int = Field(default=1, ge=1)  # processes that share the work, one GPU each where there are GPUs
    torchrun: str = ""  # further words for torchrun, such as those that name the other machines
    ray_address: str = "auto"  # of a Ray cluster that runs

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        values = dict(given)
        root = Path(values["root"]).expanduser().absolute() if "root" in values else checkout()
        home = Path(values["home"]).expanduser().absolute() if "home" in values else root / ".tenfold"
        values["root"], values["home"] = root, home
        values["mlflow_tracking_uri"] = _tracking_uri(values.get("mlflow_tracking_uri") or f"sqlite:///{home}/mlflow/mlflow.db")
        values["mlflow_artifacts"] = _artifact_uri(values.get("mlflow_artifacts") or (home / "mlflow" / "artifacts").as_uri())
        return values

    @model_validator(mode="after")
    def _workers_need_an_engine(self) -> Self:
        if self.workers > 1 and not self.engine:
            raise UsageError(
                f"TENFOLD_WORKERS is {self.workers}, but TENFOLD_ENGINE is not set: set it to torchrun (this machine) or ray (a cluster)."
            )
        return self

    @property
    def dagster_home(self) -> Path:
        """The folder that Dagster knows as DAGSTER_HOME."""
        return self.home / "dagster"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.home / "locks"

    @property
    def spool(self) -> Path:
        """Journals of what MLflow has not confirmed yet."""
        return self.home / "spool"

    @property
    def dagster_url(self) -> str:
        """Address of the Dagster UI: the running one, else where `tenfold ui` would start it."""
        return self._ui("dagster", self.port)

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow UI: the tracking server itself where there is one."""
        parts = urlsplit(self.mlflow_tracking_uri)
        if parts.scheme in ("http", "https"):
            return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        return self._ui("mlflow", self.mlflow_port)

    def _ui(self, name: str, port: int) -> str:
        default = f"http://127.0.0.1:{port}"
        try:
            written = json.loads((self.home / "ui.json").read_text())
        except (FileNotFoundError, ValueError):
            return default
        return str(written.get(name) or default).rstrip("/")

    def exports(self) -> dict[str, str]:
        """Environment with which plain `dagster`, `mlflow` and `dvc` see the same home."""
        bin_folder = str(Path(sys.executable).parent)
        path = os.environ.get("PATH", os.defpath)
        return {
            "TENFOLD_ROOT": str(self.root),
            "TENFOLD_HOME": str(self.home),
            "DAGSTER_HOME": str(self.dagster_home),
            "MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            "PATH": path if path.split(os.pathsep)[0] == bin_folder else f"{bin_folder}{os.pathsep}{path}",
            **{name: os.environ.get(name, value) for name, value in SWITCHES.items()},
        }


def load() -> Settings:
    """Settings of this environment; raises UsageError naming the variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"TENFOLD_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise UsageError(f"Wrong settings in the environment: {wrong}") from None


def _tracking_uri(uri: str) -> str:
    scheme = urlsplit(uri).scheme
    if scheme not in TRACKING_SCHEMES:
        raise UsageError(
            f"TENFOLD_MLFLOW_TRACKING_URI is '{uri}'. MLflow no longer writes runs to a plain folder, and other stores are not tried here: "
            "use sqlite:////absolute/path/mlflow.db, http(s)://host:port or postgresql+psycopg2://user@host/database."
        )
    # SQLAlchemy reads plain postgresql:// as psycopg 3, which is not installed
    return uri.replace("postgresql://", "postgresql+psycopg2://", 1) if scheme == "postgresql" else uri


def _artifact_uri(uri: str) -> str:
    scheme = urlsplit(uri).scheme
    if scheme == "":
        return Path(uri).expanduser().absolute().as_uri()
    if scheme not in ARTIFACT_SCHEMES:
        raise UsageError(f"TENFOLD_MLFLOW_ARTIFACTS is '{uri}': use a folder or one of {', '.join(s + '://' for s in ARTIFACT_SCHEMES)}.")
    return uri.rstrip("/")

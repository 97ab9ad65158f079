"""Switches that keep the tools offline, quiet and free of pickle. Set before any of them is imported."""

import os
from collections.abc import Mapping
from types import MappingProxyType

SWITCHES: Mapping[str, str] = MappingProxyType(
    {
        # nothing is reported to anyone
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",  # the word: MLflow ignores "1"
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # nothing is fetched
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "MLFLOW_MODEL_CATALOG_URI": "",
        # a model file never runs code of its own accord
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        # an unreachable tracking server is given up within seconds; what it missed waits in the spool. MLflow repeats a request
        # whose answer was lost, and so makes a run twice: we look what is there, then repeat
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        # ten processes and 1.3 GB less in the server
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
        "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
        "MLFLOW_LOG_UV_FILES": "false",
        # terminals show our own lines
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
        "MLFLOW_DISABLE_AGENT_HINT": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
)


def quiet() -> None:
    """Set every switch that the environment does not set itself."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)

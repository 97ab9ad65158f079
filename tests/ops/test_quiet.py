"""The switches exist in the tools that are installed, and what the user sets wins."""

import os
import subprocess
import sys

import pytest

from tenfold.ops.quiet import SWITCHES, quiet


def test_mlflow_knows_every_switch() -> None:
    from mlflow import environment_variables

    wanted = {name for name in SWITCHES if name.startswith("MLFLOW_")}
    assert wanted <= {name for name in dir(environment_variables) if name.startswith("MLFLOW_")}


def test_pickled_models_are_refused_and_telemetry_is_off() -> None:
    program = (
        "from tenfold.ops.quiet import quiet; quiet()\n"
        "from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as pickle\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(pickle.get(), is_telemetry_disabled())"
    )
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("DVC_NO_ANALYTICS", raising=False)
    quiet()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert os.environ["DVC_NO_ANALYTICS"] == "1"

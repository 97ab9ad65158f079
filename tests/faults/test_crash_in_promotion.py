"""A process that dies anywhere between the model and Dagster's event leaves a registry that the next run makes whole."""

import json
import subprocess
import sys
from typing import Any

import pytest
from support import CHECKOUT, environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the registry holds undisturbed, and after a death before each write and one run more."""
    from support import lay_out

    folder = tmp_path_factory.mktemp("dying")
    root = lay_out(folder / "root")
    program = str(CHECKOUT / "tests" / "dying_promotion.py")
    done = subprocess.run([sys.executable, program, str(folder)], env=environment(root), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_undisturbed_registry(registries: dict[str, Any]) -> None:
    """What the others are compared with has what it should."""
    found = registries["undisturbed"]
    assert found["aliases"] == {"champion": 2, "challenger": 2} and found["peek"] == ["2", "b" * 16]
    assert [(version, tags["tenfold.key"]) for version, tags, *_ in found["versions"]] == [(1, "a" * 16), (2, "b" * 16)]
    assert all(status == "READY" and of_a_model for *_, status, of_a_model in found["versions"])
    assert [model[1:3] for model in found["models"]] == [["READY", "a" * 16], ["READY", "b" * 16]]
    assert found["models"][1][3:] == [{"model.lr": "1.0"}, {"aupro_30": 0.6}]
    assert found["run"] == ["FINISHED", 1, {"aupro_30": 0.6}, {"model.lr": "1.0"}]


def test_a_death_before_any_write_converges_to_the_same_registry(registries: dict[str, Any]) -> None:
    """One version a key, both aliases, no unused logged model, no open run."""
    after = registries["after"]
    # the logged model, its files, its run, its metrics, ready, the version, two aliases, the store, the pointer; half of the files
    assert len(after) == 11
    assert {name: found for name, found in after.items() if found != registries["undisturbed"]} == {}

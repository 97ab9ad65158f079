"""The house's own rules, held by tools."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import CHECKOUT

BIN = Path(sys.executable).parent


def test_imports_only_go_down() -> None:
    done = subprocess.run([BIN / "lint-imports"], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_ruff_is_clean() -> None:
    done = subprocess.run([BIN / "ruff", "check", "."], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_types_are_clean() -> None:
    done = subprocess.run([BIN / "mypy"], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


UNSAFE = re.compile(r"pickle\.loads?\(|allow_pickle=True|weights_only=False|shell=True|(?<![\w.])eval\(|joblib\.load")


def sources() -> list[Path]:
    return [path for folder in ("src", "assets", "pipelines") for path in (CHECKOUT / folder).rglob("*.py")]


def test_nothing_unsafe_is_loaded() -> None:
    for path in sources():
        text = path.read_text()
        assert not UNSAFE.search(text), path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, f"{path}: {call}"


def test_the_locks_pin_everything_with_hashes() -> None:
    for name in ("cpu", "cuda", "test"):
        lines = (CHECKOUT / "requirements" / f"{name}.txt").read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith(" ")]
        assert pins and all("==" in pin and pin.endswith("\\") for pin in pins), name


def test_the_two_builds_differ_in_torch_alone() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (CHECKOUT / "requirements" / f"{name}.txt").read_text()
        return dict(re.findall(r"^([A-Za-z0-9_.\-]+)(?:\[[^\]]*\])?==(\S+)", text, flags=re.M))

    cpu, cuda = pins("cpu"), pins("cuda")
    assert {name for name in cpu if cuda.get(name) != cpu[name]} == {"torch"}

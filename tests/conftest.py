"""Fixtures of all tests."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import lay_out

from tenfold.ops.quiet import quiet

quiet()


def pytest_configure(config: pytest.Config) -> None:
    # Dagster marks checks per partition, code references and its condition tester as young
    config.addinivalue_line("filterwarnings", "ignore:.*is currently in (preview|beta)")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Handlers as in a foreground process, whatever started the tests and whatever Dagster leaves behind in this one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tiny root of this test alone, which the environment names as TENFOLD_ROOT."""
    root = lay_out(tmp_path / "root")
    monkeypatch.setenv("TENFOLD_ROOT", str(root))
    monkeypatch.setenv("TENFOLD_HOME", str(root / ".tenfold"))
    monkeypatch.setenv("DAGSTER_HOME", str(root / ".tenfold" / "dagster"))
    yield root

"""SIGTERM with ten seconds of grace: the training saves, says so and ends with 75 within them, whatever is slow around it."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import start

from tenfold.core import checkpoint
from tenfold.ops import mlflow_store, tracking
from tenfold.ops.settings import Settings

pytestmark = [pytest.mark.dag, pytest.mark.slow]
GRACE_S = 10.0
WORDS = ["run", "crossmodal_anomaly.demo.peg", "--to", "model", "--set", "model.epochs=30"]


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of a server that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_the_end_of_a_stopped_run_does_not_wait_for_all_that_mlflow_takes_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(sender: mlflow_store.Sender) -> int:
        time.sleep(3)
        return 0

    monkeypatch.setattr(mlflow_store.Sender, "drain", slowly)
    monkeypatch.setattr(mlflow_store.Sender, "progress", property(lambda sender: int(20 * time.monotonic())))
    monkeypatch.setattr(tracking, "_STOP_PATIENCE_S", 1.0)
    said: list[str] = []
    run = tracking.Tracking(Settings(root=tmp_path), said.append).run("paper", "demo", "0" * 16, tags={}, params={})
    asked = time.monotonic()
    run.finish("KILLED")
    assert 0.9 < time.monotonic() - asked < 3
    assert "goes out with the next run" in said[-1]


def test_stopped_within_the_grace_though_mlflow_hangs(copied: Path, silent: str) -> None:
    process = start(copied, *WORDS, TENFOLD_MLFLOW_TRACKING_URI=silent)
    assert process.stderr is not None
    assert any("seed 0: epoch 3/30" in line for line in process.stderr)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    took = time.monotonic() - asked
    assert process.returncode == 75, errors
    # where other programs want the cores as well, everything takes so much longer
    crowd = max(1.0, max(os.getloadavg()) / (os.cpu_count() or 1))
    assert took < GRACE_S * crowd, f"the stop took {took:.1f} s, with {crowd:.1f} programs a core"
    (saved,) = (copied / ".tenfold" / "work" / "crossmodal_anomaly" / "model").glob("*/scratch/*/*/checkpoint.pt")
    step = checkpoint.load(saved)["state"]["step"]
    # the least that was done when the signal came: three epochs
    assert step >= 9

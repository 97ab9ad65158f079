"""The paper's model trained by two processes that torchrun starts: the same key, the same network to rounding, stopped and gone on with."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import safetensors.numpy
from support import environment, read_until, tenfold

from tenfold.core.store import Store

pytestmark = [pytest.mark.dag, pytest.mark.slow]
PEG = "crossmodal_anomaly.demo.peg"
WORDS = ["run", PEG, "--to", "model"]
TWO = {"TENFOLD_ENGINE": "torchrun", "TENFOLD_WORKERS": "2"}
TOLERANCE = 5e-5  # float32 sums in another order, through the paper's cosines and Adam


def model(root: Path) -> tuple[Path, Any]:
    return Store(root / ".tenfold").open("crossmodal_anomaly", "demo.peg", "model")


def weights(folder: Path) -> dict[str, np.ndarray]:
    files = sorted(folder.glob("networks/*/*/mappers.safetensors"))
    return {f"{file.parent.name} {name}": value for file in files for name, value in safetensors.numpy.load_file(file).items()}


def test_two_processes_make_the_same_model_under_the_same_key(demo: Any, copied: Path) -> None:
    folder, alone = model(copied)
    shutil.rmtree(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *WORDS], cwd=copied, env=environment(copied, **TWO), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    read_until(process, "full seed 1: epoch 1/3")
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert len(workers) >= 3 and not psutil.wait_procs(workers, timeout=10)[1]
    assert "Run the same command again" in errors and "Traceback" not in errors

    again = tenfold(copied, *WORDS, **TWO)
    assert again.returncode == 0, again.stderr
    assert "full seed 0: epoch" not in again.stderr and "seed 1: epoch 1/3" not in again.stderr, "finished work is not done again"
    made, together = model(copied)
    assert together.key == alone.key, "how many worked on it is recorded, not hashed"
    assert (together.made_by["engine"], together.made_by["workers"]) == ("torchrun", 2)
    assert (alone.made_by["engine"], alone.made_by["workers"]) == ("in process", 1)
    ours, theirs = weights(made), weights(model(demo.root)[0])
    assert ours.keys() == theirs.keys()
    assert max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours) < TOLERANCE
    assert together.files.keys() == alone.files.keys()

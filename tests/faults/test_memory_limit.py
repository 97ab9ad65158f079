"""Two gigabytes for the whole command: the bounded stages pass, a stage that needs more ends with the number to lower."""

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

from pipelines.papers import PAPERS, modules

LIMIT = 2 << 30
BISCUIT = "crossmodal_anomaly.demo.biscuit"


def limited(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The real command, its private memory (RLIMIT_DATA: heap and anonymous mappings, whether touched or not) held to the limit."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))

    command = [sys.executable, "-m", "pipelines.cli", *words]
    return subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True, timeout=600, preexec_fn=limit)


def current(root: Path) -> dict[str, str]:
    folder = root / ".tenfold" / "current" / BISCUIT.partition(".")[0] / BISCUIT.partition(".")[2]
    return {path.stem: json.loads(path.read_text())["key"] for path in folder.glob("*.json")}


@pytest.mark.slow
@pytest.mark.dag
def test_two_gigabytes_are_enough_for_features_and_training_and_who_needs_more_names_the_number(copied: Path) -> None:
    before = current(copied)
    done = limited(copied, "run", BISCUIT, "--to", "evaluation", "--set", "features.centres=80", "--set", "evaluation.bootstrap=200000000")
    after = current(copied)
    assert done.returncode == 1
    for asset in ("features", "model", "baselines"):
        assert after[asset] != before[asset], f"{asset} did not pass:\n{done.stderr}"
    assert after["evaluation"] == before["evaluation"], "the last good one counts no more"
    assert f"{BISCUIT} evaluation: the memory ran out" in done.stderr
    assert "Lower evaluation.bootstrap (now 200000000) in the recipe" in done.stderr
    assert "Traceback" not in done.stderr


TRAINING = """
import resource, sys
from pathlib import Path
import torch
from tenfold.core import memory, params, training
from tenfold.crossmodal_anomaly.config import Model

block = params.resolve(Model, params.block(params.load(Path(sys.argv[1])), "crossmodal_anomaly", "demo", "model"), {}, "model")
module = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(module.parameters())


def step(index):
    # 1.6 GB where 256 MB are free
    return {"loss": module(torch.ones(len(index) * 200_000_000, 1)).mean()}


held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (held + (256 << 20),) * 2)
try:
    training.fit(
        module=module, optimizer=optimizer, loss=step, items=2, batch=2, epochs=1, seed=0, folder=Path(sys.argv[2]),
        validate_every=1, checkpoint_every=1,
    )
except Exception as error:
    print(memory.exhausted(error, "here", "model", block) or repr(error))
"""


@pytest.mark.slow
def test_a_training_that_does_not_fit_names_its_numbers(tiny: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", TRAINING, str(tiny), str(tmp_path / "checkpoints")]
    done = subprocess.run(words, env=environment(tiny), capture_output=True, text=True)
    assert "here: the memory ran out" in done.stdout and "Lower model.batch (now 2) or model.pixels_per_part (now 0)" in done.stdout, done


def test_the_numbers_named_are_the_stage_s_own() -> None:
    for paper in PAPERS:
        named = {step.name: step.block for step in modules()[paper].STEPS if getattr(step.block, "MEMORY", ())}
        # motion_tracking makes features clip by clip into files: no number of it asks for memory
        wanted = {"model", "evaluation"} if paper == "motion_tracking" else {"features", "model", "evaluation"}
        assert wanted <= set(named), paper
        for block in named.values():
            assert set(block.MEMORY) <= {field.name for field in dataclasses.fields(block)}, block

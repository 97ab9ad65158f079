"""What `core.training.fit` costs: against a bare PyTorch loop on the same model and data, and what a checkpoint holds up.

    python benchmarks/training_loop.py [--repeats 8] [--rows 128] [--checkpoint-every 20]

The two loops take turns of 100 steps and the fastest turn of each counts, so that other programs disturb little. Blocked: time on the
clock that a checkpoint takes from the training (copying weights, optimizer and generators in memory; writing goes on beside it), as a share
of an epoch of 16 steps. Prints one JSON object. Exit code 1 if `fit` takes over 1.03 of the bare loop's time or a checkpoint over 2 % of an epoch.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.core import checkpoint, seeding, training

ITEMS, BATCH, WIDTH, STEPS = 64, 4, 512, 100


class Setting:
    """A mapper of 0.8 million parameters (a checkpoint of 9.5 MB) on batches of four items of `rows` vectors each."""

    def __init__(self, rows: int) -> None:
        seeding.seed_all(0)
        self.x = torch.randn(ITEMS, rows, WIDTH)
        self.module = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=1e-4)

    def loss(self, index: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> dict[str, Tensor]:
        x = self.x[index].flatten(0, 1)
        return {"loss": ((self.module(x) - x) ** 2).mean()}


def bare(setting: Setting) -> tuple[float, float]:
    """Seconds on the clock and of CPU for STEPS steps of the shortest loop that one would write."""
    order = torch.randperm(ITEMS).repeat(STEPS).numpy()
    setting.module.train()
    began, began_cpu = time.perf_counter(), time.process_time()
    for step in range(STEPS):
        loss = setting.loss(order[BATCH * step : BATCH * (step + 1)])["loss"]
        setting.optimizer.zero_grad()
        loss.backward()
        setting.optimizer.step()
        loss.item()
    return time.perf_counter() - began, time.process_time() - began_cpu


def ours(setting: Setting, checkpoint_every: int) -> tuple[float, float]:
    """Seconds for the same with `fit`, all its checkpoints included."""
    with tempfile.TemporaryDirectory() as folder:
        began, began_cpu = time.perf_counter(), time.process_time()
        training.fit(
            module=setting.module, optimizer=setting.optimizer, loss=setting.loss, items=ITEMS, batch=BATCH, epochs=STEPS, steps_limit=STEPS,
            seed=0, folder=Path(folder), validate_every=STEPS, checkpoint_every=checkpoint_every,
        )  # fmt: skip
        return time.perf_counter() - began, time.process_time() - began_cpu


def blocking(setting: Setting, repeats: int) -> tuple[float, float]:
    """Median seconds for which a checkpoint holds up the training, and seconds until it is on disk."""
    waits, writes = [], []
    with tempfile.TemporaryDirectory() as folder, checkpoint.Saver(Path(folder, "checkpoint.pt")) as saver:
        for _ in range(repeats):
            began = time.perf_counter()
            state = checkpoint.snapshot({"module": setting.module.state_dict(), "optimizer": setting.optimizer.state_dict()})
            saver.save(state | {"rng": checkpoint.all_rng_states()})
            waits.append(time.perf_counter() - began)
            saver.wait()
            writes.append(time.perf_counter() - began)
    return statistics.median(waits), statistics.median(writes)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--rows", type=int, default=128, help="vectors an item; 128 gives about 20 ms a step on one core")
    parser.add_argument("--checkpoint-every", type=int, default=20, help="steps")
    options = parser.parse_args()
    torch.set_num_threads(1)  # several threads wait for each other where other programs want the cores too
    setting = Setting(options.rows)
    bare(setting)
    ours(setting, options.checkpoint_every)
    pairs = [(*bare(setting), *ours(setting, options.checkpoint_every)) for _ in range(options.repeats)]
    wall, cpu, our_wall, our_cpu = (min(column) / STEPS for column in zip(*pairs, strict=True))
    waits, writes = blocking(setting, options.repeats)
    share = waits / (wall * ITEMS / BATCH)
    met = {"fit at most 1.03 of a bare loop": our_wall / wall <= 1.03, "a checkpoint blocks at most 2 % of an epoch": share <= 0.02}
    result = {
        "bare": {"step_ms": round(wall * 1e3, 2), "step_cpu_ms": round(cpu * 1e3, 2)},
        "fit": {"step_ms": round(our_wall * 1e3, 2), "step_cpu_ms": round(our_cpu * 1e3, 2)},
        "ratio": {"clock": round(our_wall / wall, 3), "cpu": round(our_cpu / cpu, 3)},
        "checkpoint": {"blocked_ms": round(waits * 1e3, 2), "on_disk_ms": round(writes * 1e3, 1), "share_of_an_epoch": round(share, 4)},
    }
    print(json.dumps({**result, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

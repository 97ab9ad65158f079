"""What `core.training.fit` costs: its time against a bare PyTorch loop on the same model and data, and a checkpoint's blocking part.

The two take turns, so that a busy machine slows both; on a very busy one look at the ratio
of the CPU times. Run: python benchmarks/training_loop.py
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.core import checkpoint, seeding, training

ITEMS, WIDTH, STEPS = 64, 512, 100


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
        loss = setting.loss(order[4 * step : 4 * step + 4])["loss"]
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
            module=setting.module, optimizer=setting.optimizer, loss=setting.loss, items=ITEMS, batch=4, epochs=STEPS, steps_limit=STEPS,
            seed=0, folder=Path(folder), validate_every=STEPS, checkpoint_every=checkpoint_every,
        )  # fmt: skip
        return time.perf_counter() - began, time.process_time() - began_cpu


def blocking(setting: Setting, repeats: int) -> tuple[float, float]:
    """Median seconds for which a checkpoint holds up the training, and seconds until it is on disk."""
    waits, writes = [], []
    with tempfile.TemporaryDirectory() as folder, checkpoint.Saver(Path(folder, "checkpoint.pt")) as saver:
        for _ in range(repeats):
            began = time.perf_counter()
            saver.save(checkpoint.snapshot({"module": setting.module.state_dict(), "optimizer": setting.optimizer.state_dict()}))
            waits.append(time.perf_counter() - began)
            saver.wait()
            writes.append(time.perf_counter() - began)
    return statistics.median(waits), statistics.median(writes)


def main() -> None:
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
    wall, cpu, our_wall, our_cpu = (min(column) / STEPS * 1e3 for column in zip(*pairs, strict=True))
    waits, writes = blocking(setting, options.repeats)
    print(f"bare loop   {wall:7.2f} ms a step, {cpu:.2f} ms of CPU (fastest of {options.repeats} x {STEPS} steps)")
    print(
        f"fit         {our_wall:7.2f} ms a step, {our_cpu:.2f} ms of CPU (a checkpoint every {options.checkpoint_every} steps and at the end)"
    )
    print(f"ratio       {our_wall / wall:7.3f} on the clock, {our_cpu / cpu:.3f} of CPU")
    print(f"checkpoint  {waits * 1e3:7.2f} ms blocking, {writes * 1e3:.1f} ms until on disk")


if __name__ == "__main__":
    main()

"""A training of a moment for the tests of the loop, in one process or several."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.core import seeding, training

ITEMS, BATCH, EPOCHS = 22, 4, 4
STEPS = 24  # six batches an epoch, the last one of two items


class Training:
    """A small regression with all that has a state: dropout, batch statistics, Adam, a schedule, every global generator."""

    def __init__(self, width: int = 8, lr: float = 1e-2, bad: tuple[int, ...] = ()) -> None:
        torch.set_num_threads(1)
        seeding.seed_all(5)
        self.x = torch.rand(ITEMS, 6)
        self.y = torch.sin(self.x.sum(1, keepdim=True))
        self.x[list(bad)] = torch.nan
        self.module = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(0.2), nn.Linear(width, 1))
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=lr, fused=True)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=STEPS)
        self.before_step: Callable[[int], None] = lambda step: None
        self.seen: list[list[int]] = []
        self.told: list[tuple[int, dict[str, float]]] = []

    def loss(self, index: np.ndarray) -> dict[str, Tensor]:
        self.before_step(len(self.seen))
        self.seen.append(index.tolist())
        noise = random.random() + np.random.rand()
        error = self.module(self.x[index]) - self.y[index] + 0.01 * noise
        return {"loss": (error**2).mean(), "absolute": error.abs().mean()}

    def validate(self) -> dict[str, float]:
        assert not self.module.training
        assert not torch.is_grad_enabled()
        return {"validation/loss": float(((self.module(self.x) - self.y) ** 2).mean())}

    def fit(self, folder: Path, **changes: Any) -> training.TrainResult:
        options: dict[str, Any] = {
            "module": self.module, "optimizer": self.optimizer, "scheduler": self.scheduler, "loss": self.loss, "validate": self.validate,
            "items": ITEMS, "batch": BATCH, "epochs": EPOCHS, "seed": 3, "folder": folder, "validate_every": 1, "checkpoint_every": 3,
            "keep_best": "validation/loss", "on_epoch": lambda epoch, metrics: self.told.append((epoch, metrics)),
        }  # fmt: skip
        return training.fit(**options | changes)

    def outcome(self, result: training.TrainResult) -> dict[str, Any]:
        """All that must be the same after a kill."""
        assert all(torch.isfinite(value).all() for value in self.module.state_dict().values())
        sha = hashlib.sha256(b"".join(value.numpy().tobytes() for value in self.module.state_dict().values())).hexdigest()
        return {"weights": sha, "history": result.history, "best": result.best_epoch, "steps": result.steps, "epochs": result.epochs}


class Ragged(Training):
    """Nothing random, items of one to five rows, the mean over all rows of a batch; one layer that no loss ever touches."""

    def __init__(self, weigh: bool = True) -> None:
        super().__init__()
        self.weigh = weigh
        self.rows = [torch.rand(1 + item % 5, 6) for item in range(ITEMS)]
        self.module = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 1))
        self.module.register_module("spare", spare := nn.Linear(1, 1))
        self.module.register_buffer("offset", torch.tensor(0.5))
        self.module.forward = lambda x: self.module[2](self.module[1](self.module[0](x)))
        self.spare = spare.weight
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=1e-2, weight_decay=0.1)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=STEPS)

    def loss(self, index: np.ndarray) -> dict[str, Tensor]:
        self.before_step(len(self.seen))
        self.seen.append(index.tolist())
        x = torch.cat([self.rows[i] for i in index])
        error = self.module.forward(x) - torch.sin(x.sum(1, keepdim=True))
        values = {"loss": (error**2).mean(), "absolute": error.abs().mean()}
        return values | ({"weight": torch.tensor(len(x))} if self.weigh else {})

    def validate(self) -> dict[str, float]:
        x = torch.cat(self.rows)
        return {"validation/loss": float(((self.module.forward(x) - torch.sin(x.sum(1, keepdim=True))) ** 2).mean())}

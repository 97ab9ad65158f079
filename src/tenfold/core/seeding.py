"""Seeds: one call for all generators, and named generators that do not depend on the order in which they are asked for."""

import hashlib
import json
import os
import random

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def deterministic() -> None:
    """Ask PyTorch for deterministic kernels; where none exists it warns and goes on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """Generator that belongs to (seed, names), such as `rng(0, "order", epoch)`.

    Different names give independent streams: the state is the sha256 of the whole path, so that seed 1 of one
    thing never coincides with seed 0 of another, as `seed + i` would.
    """
    path = json.dumps([seed, *names], separators=(",", ":")).encode()
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(path).digest(), "big")))

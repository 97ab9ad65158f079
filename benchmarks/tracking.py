"""What telling MLflow holds up a training: with MLflow there, with its server down, with one that takes requests and never answers.

    python benchmarks/tracking.py [--epochs 12]

Trains the mappers at the demo's size (40 parts of 1100 pixels, batches of 4) with `core.training.fit`; each epoch is told to the journal of
`ops.tracking`. Blocked: time on the clock inside `epoch()`, which ends with a write that waits for the disk, as a share of the epoch it ends; a
busy machine stretches both. Opening and ending a session are timed apart. Added: CPU seconds with the sending thread against a training that tells nobody. Prints one JSON object. Exit
code 1 if the median share is above 1 %, if opening waits for a server, or if the end waits longer than it should: not at all for a server that
is down, once for a moment for one that has just gone silent.
"""

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.core import seeding, training
from tenfold.core.journal import NetworkJournal, NullJournal
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.ops import home, mlflow_store
from tenfold.ops.quiet import quiet
from tenfold.ops.settings import Settings
from tenfold.ops.tracking import Tracking

ENDS_S = {"down": 0.5, "silent": 6.0}
PARTS, PIXELS, BATCH, WIDTHS = 40, 1100, 4, (176, 73)


class Timed:
    """Passes epochs on; keeps how long each took to tell, and when."""

    def __init__(self, journal: NetworkJournal) -> None:
        self.journal = journal
        self.blocked: list[float] = []
        self.shares: list[float] = []
        self.cpu: list[float] = [time.process_time()]
        self.began = time.perf_counter()

    def tell(self, epoch: int, metrics: Mapping[str, float]) -> None:
        start = time.perf_counter()
        self.journal.epoch(epoch, metrics)
        end = time.perf_counter()
        self.blocked.append(end - start)
        self.shares.append((end - start) / (end - self.began))
        self.cpu.append(time.process_time())
        self.began = end


def train(journal: NetworkJournal, epochs: int) -> Timed:
    """One training."""
    seeding.seed_all(0)
    f2, f3 = (torch.randn(PARTS, PIXELS, width) for width in WIDTHS)
    network = CrossModal(*WIDTHS)
    timed = Timed(journal)

    def loss(index: "np.ndarray[Any, np.dtype[np.int64]]") -> dict[str, Tensor]:
        return network.loss(f2[index].flatten(0, 1), f3[index].flatten(0, 1))

    with tempfile.TemporaryDirectory() as folder:
        training.fit(
            module=network, optimizer=torch.optim.Adam(network.parameters(), lr=1e-3), loss=loss, items=PARTS, batch=BATCH, epochs=epochs,
            seed=0, folder=Path(folder), validate_every=1, checkpoint_every=20, on_epoch=timed.tell,
        )  # fmt: skip
    return timed


def told(uri: str, epochs: int) -> tuple[Timed, float, float]:
    """The same, told to MLflow at `uri`; seconds on the clock that opening and ending the session took."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(root=Path(__file__).resolve().parent.parent, home=Path(folder), mlflow_tracking_uri=uri.format(home=folder))
        if uri.startswith("sqlite"):
            home.ensure_mlflow(settings)
        mlflow_store.preload(settings)  # imports, which a run needs anyhow
        began = time.perf_counter()
        run = Tracking(settings, say=lambda line: None).run("bench", "demo", "0" * 16, tags={}, params={"model": {"seeds": [0]}})
        opened = time.perf_counter() - began
        network = run.journal().network("", 0, {"epochs": epochs})
        timed = train(network, epochs)
        network.done({})
        began = time.perf_counter()
        run.finish()
        return timed, opened, time.perf_counter() - began


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    train(NullJournal().network("", 0, {}), 2)
    alone = train(NullJournal().network("", 0, {}), args.epochs)
    result: dict[str, Any] = {"epoch_cpu_s": round(float(np.median(np.diff(alone.cpu))), 4)}
    met: dict[str, bool] = {}
    silent = socket.create_server(("127.0.0.1", 0))  # the system takes connections, nobody answers
    servers = {
        "up": "sqlite:///{home}/mlflow.db",
        "down": f"http://127.0.0.1:{free_port()}",
        "silent": f"http://127.0.0.1:{silent.getsockname()[1]}",
    }
    for name, uri in servers.items():
        timed, opened, ended = told(uri, args.epochs)
        share = statistics.median(timed.shares)
        result[name] = {
            "blocked_ms": round(statistics.median(timed.blocked) * 1e3, 3),
            "worst_ms": round(max(timed.blocked) * 1e3, 3),
            "share": round(share, 5),
            "added_cpu_share": round((timed.cpu[-1] - timed.cpu[0]) / (alone.cpu[-1] - alone.cpu[0]) - 1, 3),
        }
        result[name] |= {"opening_s": round(opened, 3), "ending_s": round(ended, 3)}
        met[f"{name}: blocked at most 1 %"] = share <= 0.01
        if name != "up":
            met[f"{name}: opening waits for nothing"] = opened <= 0.5
            met[f"{name}: the end waits at most {ENDS_S[name]} s"] = ended <= ENDS_S[name]
    silent.close()
    print(json.dumps({**result, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

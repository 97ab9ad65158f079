"""Training on an existing Ray cluster: Ray Train starts the workers, joins them, and starts them again where machines die.

What they do is `ops.worker.work`, as under torchrun; what they save is `core`'s checkpoints in the shared home, from which a new set of
workers goes on. Ray's own checkpoints are not used.
"""

import math
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tenfold.core import distributed
from tenfold.core.errors import Stopped, TenfoldError
from tenfold.core.signals import request_stop, stop_requests
from tenfold.ops.ray_cluster import joined
from tenfold.ops.relay import Relay, failed, finished
from tenfold.ops.settings import Settings
from tenfold.ops.worker import Job, work

RESTARTS = 3  # of all workers, after one or its machine died
LOOK_S = 0.3
FAREWELL_S = 60.0


def train(job: Job, settings: Settings, relay: Relay, scratch: Path) -> None:
    """Have the job done by `settings.workers` workers of the cluster, a GPU each where it has as many; Ray's records lie in `scratch`.

    SIGTERM and SIGINT make the workers save and end. Raises TenfoldError when workers died more than RESTARTS times; what the job itself
    raises is in the relay.
    """
    with joined(settings), stop_requests() as stop:
        box = _mailbox()
        fit = _Fit(_trainer(job, settings, box, scratch))
        asked = False
        leaving = math.inf
        try:
            while fit.alive() and time.monotonic() < leaving + FAREWELL_S:
                if stop.is_set() and not asked:
                    asked = True
                    ray.get(box.stop.remote())
                    if not relay.pid:
                        break  # no worker has begun
                _play(box, relay)
                if asked or (relay.ended and relay.ended["event"] == "failed"):
                    leaving = min(leaving, time.monotonic())
                time.sleep(LOOK_S)
            _play(box, relay)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if relay.ended is None and asked:
        raise Stopped("stopped before the training had begun, or between two checkpoints. Run the same command again to go on.")
    if relay.ended is None:
        raise TenfoldError(
            f"workers on Ray died more than {RESTARTS} times: {fit.error}. Run the same command again to go on from the last checkpoint; "
            "if a machine ran out of memory, lower `model.batch` of the recipe."
        ) from fit.error


class _Mailbox:
    """Between the first worker and the driver, on the driver's machine: events one way, the request to stop the other."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._stopping = False

    def put(self, event: dict[str, Any]) -> None:
        self._events.append(event)

    def take(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self._stopping = True

    def stopping(self) -> bool:
        return self._stopping


class _Fit:
    """`trainer.fit()` in a thread: in the main thread Ray would take Ctrl-C for itself and leave no checkpoint."""

    def __init__(self, trainer: ray.train.torch.TorchTrainer) -> None:
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(trainer,), daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self, trainer: ray.train.torch.TorchTrainer) -> None:
        try:
            trainer.fit()
        except (Exception, SystemExit) as error:  # told by who waits; the latter when the cluster is left before the end
            self.error = error


def _mailbox() -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote: Any = ray.remote(_Mailbox)
    return remote.options(num_cpus=0, scheduling_strategy=here).remote()


def _play(box: Any, relay: Relay) -> None:
    for event in ray.get(box.take.remote()):
        relay(event)


def _trainer(job: Job, settings: Settings, box: Any, scratch: Path) -> ray.train.torch.TorchTrainer:
    gpus = ray.cluster_resources().get("GPU", 0) >= settings.workers
    return ray.train.torch.TorchTrainer(
        _share,
        train_loop_config={"job": job.to_json(), "box": box},
        scaling_config=ray.train.ScalingConfig(num_workers=settings.workers, use_gpu=gpus, placement_strategy="SPREAD"),
        torch_config=ray.train.torch.TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo", timeout_s=int(distributed.TIMEOUT_S)),
        run_config=ray.train.RunConfig(
            name=f"run-{time.time_ns()}", storage_path=str(scratch), failure_config=ray.train.FailureConfig(max_failures=RESTARTS)
        ),
    )


def _share(config: dict[str, Any]) -> None:
    """One worker's share. An error for the user is an end like any other: only what died is begun again."""
    box = config["box"]

    def send(event: dict[str, Any]) -> None:
        ray.get(box.put.remote(event))

    try:
        with _watching(box):
            made = work(Job.from_json(config["job"]), send)
    except TenfoldError as error:
        send(failed(error))
        return
    if distributed.world().first:
        send(finished(made))


@contextmanager
def _watching(box: Any) -> Iterator[None]:
    """Hand a request to stop on to the training, which runs in a thread that no signal reaches."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            if ray.get(box.stopping.remote()):
                request_stop()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

"""Where a heavy stage works: in this process, or in several that `TENFOLD_ENGINE` names. The result is the same."""

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tenfold.core.errors import Stopped, TenfoldError
from tenfold.core.journal import Journal
from tenfold.core.progress import Progress
from tenfold.core.signals import stop_requests
from tenfold.core.stage import Made
from tenfold.core.workers import Each, ordered
from tenfold.ops.relay import Relay
from tenfold.ops.settings import Settings
from tenfold.ops.worker import Job

LAST_WORDS = 30  # lines of stderr that are shown of workers that died
_LOOK_S = 0.2


def run(
    settings: Settings, function: Callable[..., Made], *, scratch: Path, progress: Progress, journal: Journal, **arguments: Any
) -> Made:
    """`function(scratch=, progress=, journal=, **arguments)` by the engine of `settings`.

    Elsewhere every worker makes this call, joined by `torch.distributed`; the first one's progress and journal arrive here. The
    folders among the arguments must be seen by all workers. Raises what the function raises; Stopped after SIGTERM or SIGINT.
    """
    if not settings.engine:
        return function(scratch=scratch, progress=progress, journal=journal, **arguments)
    job, relay = Job.of(function, {"scratch": scratch, **arguments}), Relay(progress, journal)
    if settings.engine == "ray":
        from tenfold.ops import ray_engine

        ray_engine.train(job, settings, relay, scratch / "ray")
    else:
        torchrun(job, settings, relay, scratch / "job.json")
    return relay.result()


def each(settings: Settings) -> Each:
    """How a stage maps its work over its parts: in threads here, or over the Ray cluster of `settings`. The result is the same."""
    if settings.engine != "ray":
        return ordered
    from tenfold.ops.ray_map import OverRay

    return OverRay(settings)


def made_with(settings: Settings) -> dict[str, Any]:
    """What a manifest records of this; nothing of it is hashed."""
    return {"engine": settings.engine or "in process", "workers": settings.workers}


def torchrun(job: Job, settings: Settings, relay: Relay, path: Path) -> None:
    """Have the job, stored at `path`, done by `settings.workers` processes of this machine and those that others start for it.

    SIGTERM and SIGINT go on to the first worker, whose training stops all. No worker outlives this process.
    """
    job.write(path)
    others = shlex.split(settings.torchrun)
    words = ["--nproc-per-node", str(settings.workers), *(others or ["--standalone"]), "-m", "tenfold.ops.worker", str(path)]
    if others:
        relay.say(f"on each other machine, with its own --node-rank: torchrun {shlex.join(words)}")
    command = [sys.executable, "-m", "tenfold.ops.tied", str(os.getpid()), sys.executable, "-m", "torch.distributed.run", *words]
    with stop_requests() as stop:
        # a session of its own: Ctrl-C in a terminal reaches this process, which passes it on once
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None and process.stderr is not None
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        last_words: deque[str] = deque(maxlen=LAST_WORDS)
        readers = [_reader(process.stdout, lines.put, lambda: lines.put(None)), _reader(process.stderr, last_words.append, lambda: None)]
        asked = False
        try:
            while True:
                with contextlib.suppress(queue.Empty):
                    line = lines.get(timeout=_LOOK_S)
                    if line is None:
                        break
                    relay.line(line)
                if stop.is_set() and not asked:
                    asked = True
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(relay.pid or process.pid, signal.SIGTERM)
        except BaseException:
            process.kill()  # the workers' parent, which they do not outlive
            raise
        finally:
            process.wait()
            for reader in readers:
                reader.join()
    if stop.is_set() and (relay.ended is None or relay.ended["event"] == "finished"):
        raise Stopped("stopped before the training had begun, or after it had ended. Run the same command again to go on.")
    if relay.ended is None:
        raise TenfoldError(
            f"a worker died (torchrun's exit code {process.returncode}). Run the same command again to go on from the last checkpoint. "
            f"Its last words:\n{''.join(last_words).rstrip()}"
        )


def _reader(stream: Iterable[str], take: Callable[[str], None], end: Callable[[], None]) -> threading.Thread:
    def read() -> None:
        for line in stream:
            take(line)
        end()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread

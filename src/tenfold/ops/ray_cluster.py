"""An existing Ray cluster: joined for one stage, left again. Imported only where `TENFOLD_ENGINE=ray`."""

import importlib
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from tenfold.core import code
from tenfold.core.errors import UsageError
from tenfold.ops.quiet import SWITCHES
from tenfold.ops.settings import Settings

try:
    ray = importlib.import_module("ray")
except ModuleNotFoundError as error:
    raise UsageError("TENFOLD_ENGINE is ray, but Ray is not installed: `pip install -e .[ray]`, or unset TENFOLD_ENGINE.") from error

CONNECT_S = 10.0


@contextmanager
def joined(settings: Settings) -> Iterator[None]:
    """Connected to the cluster at `TENFOLD_RAY_ADDRESS` inside the block. Raises UsageError if none answers there."""
    if ray.is_initialized():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _answers(settings.ray_address)
        ray.init(
            address=settings.ray_address,
            runtime_env={"env_vars": dict(SWITCHES)},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"TENFOLD_ENGINE is ray, but no Ray cluster answers at {settings.ray_address!r} ({str(error).splitlines()[0]}). "
            "Start one (`ray start --head` here, `ray start --address=HOST:6379` on each other machine), "
            "name it in TENFOLD_RAY_ADDRESS, or unset TENFOLD_ENGINE."
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Raises OSError if nobody listens at HOST:PORT, on whom Ray would wait for many minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


@cache
def same_code(entry: str, expected: str) -> None:
    """Raises UsageError on a machine where module `entry` is other code than `expected`: its results would have the wrong content key."""
    if code.content(entry) != expected:
        raise UsageError(
            f"{ray.util.get_node_ip_address()} has other code of {entry} than the machine that asked, or it changed since that one "
            "started. Bring every node of the cluster to the same checkout and run again."
        )

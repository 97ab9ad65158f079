"""Servers are started again when they end, and never outlive the command that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock, Timeout

from pipelines import keeper
from pipelines.keeper import Keeper
from pipelines.leash import Leash
from tenfold.core.errors import TenfoldError
from tenfold.ops import home
from tenfold.ops.settings import Settings

# a server with a child, both of which take their time to end; the child's number goes to the log
SERVER = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
COMMAND = """
import sys, time
from pathlib import Path
from pipelines.keeper import Keeper
from pipelines.leash import Leash
from tenfold.ops.settings import Settings
settings = Settings()
keeper = Keeper(settings, Leash(settings.locks / "servers.lock"), {"One": [sys.executable, "-c", sys.argv[1]]}, "http://127.0.0.1:9")
keeper.start("One")
time.sleep(600)
"""


def pids(log: Path) -> list[int]:
    """What the server wrote, and its own number."""
    deadline = time.monotonic() + 30
    while not (log.is_file() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int(log.read_text().split()[-1])
    return [psutil.Process(child).ppid(), child]


def living(numbers: list[int]) -> list[int]:
    return [number for number in numbers if psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def settings(tiny: Path) -> Settings:
    made = Settings()
    home.ensure(made)
    return made


@pytest.fixture
def leash(settings: Settings) -> Iterator[Leash]:
    made = Leash(settings.locks / "servers.lock")
    yield made
    made.release()


def test_servers_end_with_a_command_that_is_killed(settings: Settings) -> None:
    command = subprocess.Popen([sys.executable, "-c", COMMAND, SERVER], start_new_session=True)
    servers = pids(settings.home / "logs" / "one.log")
    lock = FileLock(settings.locks / "servers.lock")
    with pytest.raises(Timeout):
        lock.acquire(timeout=1)
    # with all of its process group, as a terminal that is torn down does
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    with lock.acquire(timeout=30):
        assert living(servers) == []


def test_what_ends_is_started_again_but_not_for_ever(
    settings: Settings, leash: Leash, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeper, "MOST_RESTARTS", 2)
    servers = Keeper(settings, leash, {"One": [sys.executable, "-c", "print('no room')"]}, "http://127.0.0.1:9")
    servers.start("One")
    with pytest.raises(TenfoldError, match=r"One ended by itself(.|\n)*no room\nno room\nno room"):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            servers.keep()
            time.sleep(0.05)
    assert capfd.readouterr().out.count("One ended by itself and is started again") == 2
    servers.stop()


def test_stopping_ends_the_whole_group_and_its_children(settings: Settings, leash: Leash) -> None:
    servers = Keeper(settings, leash, {"One": [sys.executable, "-c", SERVER]}, "http://127.0.0.1:9")
    servers.start("One")
    numbers = pids(settings.home / "logs" / "one.log")
    assert living(numbers) == numbers
    servers.stop()
    assert living(numbers) == []


# as Dagster's proxy of a code server does: what ends before it is started again, then it ends itself
RESTARTING = """
import signal, subprocess, sys, time
CHILD = [sys.executable, "-c", "import time; time.sleep(600)"]

def stop(number, frame):
    time.sleep(0.5)
    print(subprocess.Popen(CHILD).pid, flush=True)
    time.sleep(0.5)
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
print(subprocess.Popen(CHILD).pid, flush=True)
time.sleep(600)
"""


def test_what_is_started_while_stopping_is_ended_too(settings: Settings, leash: Leash) -> None:
    servers = Keeper(settings, leash, {"One": [sys.executable, "-c", RESTARTING]}, "http://127.0.0.1:9")
    servers.start("One")
    pids(settings.home / "logs" / "one.log")
    began = time.monotonic()
    servers.stop()
    started = [int(line) for line in (settings.home / "logs" / "one.log").read_text().split()]
    assert len(started) == 2 and living(started) == []
    assert time.monotonic() - began < 15, "it waited for the whole grace"

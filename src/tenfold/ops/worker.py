"""One of the processes that do a stage together, started by torchrun or Ray: `python -m tenfold.ops.worker JOB.json`.

A job names a function of a paper and its arguments as plain JSON. The first process tells how it goes, a JSON object a line on stdout.
"""

import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from tenfold.core import atomic, code
from tenfold.core.errors import TenfoldError, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.core.stage import Made
from tenfold.ops import relay, tied
from tenfold.ops.relay import Send

FAREWELL_S = 1.0


@dataclass(frozen=True)
class Job:
    """A call of a paper's function `module:name`, to be made in every process; its progress and journal are given there.

    `code` is the content hash of the function's module and of all it imports, where the job was given.
    """

    function: str
    arguments: dict[str, Any]
    code: str

    @classmethod
    def of(cls, function: Callable[..., Made], arguments: Mapping[str, Any]) -> Self:
        """The job of this call. Arguments are JSON data, paths, and dataclasses of tenfold that hold such."""
        plain = {name: _plain(value) for name, value in arguments.items()}
        return cls(f"{function.__module__}:{function.__qualname__}", plain, code.content(function.__module__))

    def to_json(self) -> dict[str, Any]:
        return {"function": self.function, "arguments": self.arguments, "code": self.code}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["function"], dict(data["arguments"]), data["code"])

    def write(self, path: Path) -> None:
        """Store the job where every machine sees it."""
        atomic.write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.from_json(json.loads(path.read_text()))

    def same_code(self) -> None:
        """Raises UsageError where the code is another than where the job was given: the result would stand under the wrong key."""
        module = _ours(self.function)[0]
        if code.content(module) != self.code:
            raise UsageError(
                f"{platform.node()}: {module}, or a module that it imports, is not what it was where and when the run began. "
                "Bring all machines to the same checkout and run the same command again."
            )

    def call(self, **more: Any) -> Made:
        """Make the call, with `more` arguments of this process."""
        made: Made = _named(self.function)(**{name: _typed(value) for name, value in self.arguments.items()}, **more)
        return made


def work(job: Job, send: Send) -> Made:
    """Do this process's share of the job. Whoever started it has joined the processes; only the first one sends anything.

    What the others return is empty. Raises what the function raises; UsageError in all where one has other code.
    """
    from tenfold.core import distributed

    other: TenfoldError | None = None
    try:
        job.same_code()
    except TenfoldError as error:
        other = error
    distributed.end_together(other)
    if not distributed.world().first:
        return job.call(progress=Progress(), journal=NullJournal())
    send({"event": "started", "pid": os.getpid()})
    remote = relay.Remote(send)
    return job.call(progress=remote.progress, journal=remote)


def tell(job: Job, send: Send) -> int:
    """`work`, the end of it sent as well; returns the exit code. Raises only what is no TenfoldError."""
    from tenfold.core import distributed

    first = distributed.world().first
    try:
        made = work(job, send)
    except TenfoldError as error:
        if first:
            send(relay.failed(error))
        else:
            # torchrun ends all as soon as one leaves: the first one must have told it by then
            time.sleep(FAREWELL_S)
        return error.exit_code
    if first:
        send(relay.finished(made))
    return 0


def main(arguments: list[str]) -> int:
    """Join the other processes that torchrun started, and work on the job in the file `arguments[0]`."""
    if tied.PARENT in os.environ:
        tied.tie(int(os.environ[tied.PARENT]))
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the events
    from tenfold.core import distributed
    from tenfold.ops.quiet import quiet

    quiet()

    def send(event: dict[str, Any]) -> None:
        lines.write(json.dumps(event) + "\n")

    with distributed.started():
        return tell(Job.read(Path(arguments[0])), send)


def _plain(value: Any) -> Any:
    """`value` as JSON data: a path or a dataclass is an object with one key that says so."""
    if isinstance(value, Path):
        return {"$path": str(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return {"$class": f"{type(value).__module__}:{type(value).__qualname__}", "values": values}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    raise TypeError(f"{type(value).__name__} cannot be sent to a worker: {value!r}")


def _typed(value: Any) -> Any:
    """What `_plain` was given."""
    if isinstance(value, list):
        return [_typed(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$path" in value:
        return Path(value["$path"])
    if "$class" in value:
        return _named(value["$class"])(**{name: _typed(each) for name, each in value["values"].items()})
    return {name: _typed(each) for name, each in value.items()}


def _named(name: str) -> Any:
    module, attribute = _ours(name)
    return getattr(import_module(module), attribute)


def _ours(name: str) -> tuple[str, str]:
    module, _, attribute = name.partition(":")
    if not module.startswith("tenfold."):
        raise TenfoldError(f"a job names {name!r}: workers call tenfold's own functions only.")
    return module, attribute


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

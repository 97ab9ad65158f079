"""The two files that DVC writes in place, `dvc.lock` and its table of who reads and writes what, written beside and renamed.

A DVC that is killed while it writes one would leave half of it, which every later DVC refuses until somebody deletes it by hand.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenfold.core import atomic

_LOCK, _TABLE = "dvc.lock", "rwlock"


def written_whole(fs: Any) -> None:
    """Make `fs`, the file system object of a DVC repository, replace these two files as a whole.

    DVC holds a lock of its own around each of these writes, so there is never a second writer.
    """
    plain = fs.open

    def open_(path: Any, mode: str = "r", **options: Any) -> Any:
        name = Path(path).name
        if name in (_LOCK, _TABLE) and mode.startswith("w"):
            return _replaced(Path(path).resolve(), mode, options)
        if name == _TABLE and mode == "r" and _is_broken(Path(path)):
            # what a killed DVC that was not ours has left
            raise FileNotFoundError(path)
        return plain(path, mode, **options)

    fs.open = open_


@contextmanager
def _replaced(path: Path, mode: str, options: dict[str, Any]) -> Iterator[Any]:
    for left in path.parent.glob(f".{path.name}.*"):
        if atomic.is_leftover(left.name):
            left.unlink(missing_ok=True)
    with atomic.new_file(path) as temporary, temporary.open(mode, **options) as stream:
        yield stream


def _is_broken(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False

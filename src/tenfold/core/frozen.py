"""One reading of each of our source files a process: what is imported is what is hashed.

Python reads a module when it is first imported, in a long run hours after the run began; a hash of the files is taken
at other times. An edit in between would record code that never ran. So whoever comes first, import or hash, reads the
file, and both go on with those bytes until the process ends. Compiled files are left aside: Python trusts their times.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

_first: dict[str, bytes] = {}


def source(path: str | Path) -> bytes:
    """The bytes of a source file as they were when this process first asked. `path`: absolute, without links."""
    name = os.fspath(path)
    found = _first.get(name)
    if found is None:
        with open(name, "rb") as stream:
            # of two threads that read at once, one reading counts
            found = _first.setdefault(name, stream.read())
    return found


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        compiled: CodeType = self.source_to_code(source(os.path.realpath(path)), path)  # type: ignore[assignment]
        return compiled


class _Finder(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not fullname.startswith(f"{self.package}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def freeze(package: str) -> None:
    """From now on modules of `package` are loaded from their first reading. Calling it again changes nothing."""
    if not any(isinstance(finder, _Finder) and finder.package == package for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(package))

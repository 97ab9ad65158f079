"""Which code an asset rests on, and a hash of what that code says.

Modules are found by reading files: nothing is imported, so this is cheap and safe while definitions load. Files of
this package are read once a process (`core.frozen`), so the hash is that of the code that runs here.
"""

import ast
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

from tenfold.core import frozen

SOURCE = Path(__file__).resolve().parents[2]


def modules(entry: str, source: Path = SOURCE) -> dict[str, Path]:
    """The module `entry` and all of its own top-level package that it imports, transitively: dotted name -> file.

    Imports inside functions, relative ones, `from package import submodule`, `import_module("a literal")` and the
    `__init__` of every package on the way count. `source` is the folder that holds the top-level package. A name with no
    file is left out. Raises ModuleNotFoundError when `entry` itself has none.
    """
    if _locate(entry, source) is None:
        raise ModuleNotFoundError(f"no file for module {entry} below {source}", name=entry)
    top = entry.partition(".")[0]
    found: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] != top:
            continue
        seen.add(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        path = _locate(name, source)
        if path is None:
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for level, base, names in imports(_bytes(path)):
            waiting += _targets(level, base, names, package, source)
    return dict(sorted(found.items()))


def content(entry: str, source: Path = SOURCE) -> str:
    """sha256 of the syntax trees of `modules(entry)`. Comments, docstrings and formatting do not count, every literal does."""
    digest = hashlib.sha256()
    for name, path in modules(entry, source).items():
        digest.update(f"{name}\0{_tree(path)}\0".encode())
    return digest.hexdigest()


def contents(entry: str, source: Path = SOURCE) -> dict[str, str]:
    """Content hash of each of `modules(entry)`: what tells which module changed."""
    return {name: _tree(path)[:16] for name, path in modules(entry, source).items()}


def version(entry: str, *extra: bytes, source: Path = SOURCE) -> str:
    """sha256 of the bytes of `modules(entry)` and of `extra`: differs whenever `content` does, and more often."""
    digest = hashlib.sha256()
    for name, path in modules(entry, source).items():
        for part in (name.encode(), _bytes(path)):
            digest.update(len(part).to_bytes(8, "big") + part)
    digest.update(b"extra")
    for part in extra:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


Import = tuple[int, str, tuple[str, ...]]  # level, module, names taken from it

# Outside strings and comments the word `import` is always a statement: found so, imports cost a tenth of a syntax tree.
_STATEMENT = re.compile(
    r"""
    \"{3} [^"\\]* (?: (?: \\. | "(?!"") ) [^"\\]* )* \"{3}
  | \'{3} [^'\\]* (?: (?: \\. | '(?!'') ) [^'\\]* )* \'{3}
  | " [^"\\\n]* (?: \\. [^"\\\n]* )* "
  | ' [^'\\\n]* (?: \\. [^'\\\n]* )* '
  | \# [^\n]*
  | import_module (?<!\wimport_module) \s* \( \s* (?P<called> (?: [rRuU]? (?: "[^"\n]*" | '[^'\n]*' ) \s* )+ ) [,)]
  | (?: from (?<!\wfrom) (?P<base> (?: [\w.\ \t\f] | \\\n )+? ) )? import (?<!\wimport) (?!\w)
    (?P<names> (?: [\ \t\f] | \\\n )* \( [^)\#]* (?: \#[^\n]* [^)\#]* )* \) | (?: [^\n;\#\\] | \\\n )* )
    """,
    re.VERBOSE | re.DOTALL,
)
_NOISE = re.compile(r"\#[^\n]*|[()\\]")


# Keyed by the bytes themselves, here and below: a file's time stamp decides nothing.
@lru_cache(maxsize=1024)
def imports(source: bytes) -> tuple[Import, ...]:
    """What a module's import statements, wherever they stand, and its calls of `import_module("a literal")` name."""
    text = source.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    found: list[Import] = []
    for match in _STATEMENT.finditer(text):
        if match["called"]:
            found.append((0, ast.literal_eval(f"({match['called']})"), ()))
        elif match["names"]:
            words = [part.split() for part in _NOISE.sub(" ", match["names"]).split(",")]
            names = ["".join(part[: part.index("as")] if "as" in part else part) for part in words if part]
            if match["base"]:
                base = "".join(match["base"].replace("\\", " ").split())
                module = base.lstrip(".")
                found.append((len(base) - len(module), module, tuple(names)))
            else:
                found += [(0, name, ()) for name in names]
    return tuple(found)


def _bytes(path: Path) -> bytes:
    return frozen.source(path) if os.fspath(path).startswith(f"{SOURCE}{os.sep}") else path.read_bytes()


def _tree(path: Path) -> str:
    try:
        return _tree_of(_bytes(path))
    except SyntaxError as error:
        error.filename = str(path)
        raise


@lru_cache(maxsize=1024)
def _tree_of(source: bytes) -> str:
    """sha256 of the syntax tree without docstrings."""
    tree = ast.parse(source)
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            if isinstance(block := getattr(node, name, None), list):
                waiting += block
        if isinstance(body := getattr(node, "body", None), list):
            # A string that stands alone does nothing: docstrings of modules, functions, classes and fields.
            node.body = [each for each in body if not _is_bare_string(each)] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _targets(level: int, base: str, names: tuple[str, ...], package: str, source: Path) -> list[str]:
    """Absolute names an import may mean; those that turn out to be no module are dropped later."""
    if level:
        parents = package.split(".")
        parents = parents[: max(len(parents) - level + 1, 0)]
        base = ".".join(parents + ([base] if base else []))
    if "*" in names:
        # `__all__` may name any submodule.
        folder = source.joinpath(*base.split("."))
        names = (
            tuple(child.stem for child in folder.iterdir() if child.stem.isidentifier() and child.name != "__init__.py")
            if folder.is_dir()
            else ()
        )
    return [base, *(f"{base}.{name}" for name in names)]


def _locate(name: str, source: Path) -> Path | None:
    # Plain strings: this is asked hundreds of times while definitions load.
    stem = f"{source}{os.sep}{name.replace('.', os.sep)}"
    return next((Path(path) for path in (f"{stem}{os.sep}__init__.py", f"{stem}.py") if os.path.isfile(path)), None)

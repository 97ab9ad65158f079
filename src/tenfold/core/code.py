"""Which code an asset rests on, and a hash of what that code says.

Modules are found by reading files: nothing is imported, so this is cheap and safe while definitions load.
"""

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

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
        for level, base, names in _parse(path)[1]:
            waiting += _targets(level, base, names, package, source)
    return dict(sorted(found.items()))


def content(entry: str, source: Path = SOURCE) -> str:
    """sha256 of the syntax trees of `modules(entry)`. Comments, docstrings and formatting do not count, every literal does."""
    digest = hashlib.sha256()
    for name, path in modules(entry, source).items():
        digest.update(f"{name}\0{_parse(path)[0]}\0".encode())
    return digest.hexdigest()


def contents(entry: str, source: Path = SOURCE) -> dict[str, str]:
    """Content hash of each of `modules(entry)`: what tells which module changed."""
    return {name: _parse(path)[0][:16] for name, path in modules(entry, source).items()}


def version(entry: str, *extra: bytes, source: Path = SOURCE) -> str:
    """sha256 of the bytes of `modules(entry)` and of `extra`: differs whenever `content` does, and more often."""
    digest = hashlib.sha256()
    for name, path in modules(entry, source).items():
        for part in (name.encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    digest.update(b"extra")
    for part in extra:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


_Import = tuple[int, str, tuple[str, ...]]  # level, module, names taken from it


def _parse(path: Path) -> tuple[str, tuple[_Import, ...]]:
    try:
        return _read(path.read_bytes())
    except SyntaxError as error:
        error.filename = str(path)
        raise


# Keyed by the bytes themselves: a file's time stamp decides nothing.
@lru_cache(maxsize=1024)
def _read(source: bytes) -> tuple[str, tuple[_Import, ...]]:
    """(sha256 of the tree without docstrings, its imports)."""
    tree = ast.parse(source)
    imports: list[_Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            imports.append((0, name, ()))
        if isinstance(body := getattr(node, "body", None), list):
            # A string that stands alone does nothing: docstrings of modules, functions, classes and fields.
            node.body = [each for each in body if not _is_bare_string(each)] or [ast.Pass()]  # type: ignore[attr-defined]
    dump = ast.dump(tree, annotate_fields=False)
    return hashlib.sha256(dump.encode()).hexdigest(), tuple(imports)


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported_by_call(node: ast.Call) -> str:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called == "import_module" and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        return node.args[0].value
    return ""


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
    stem = source.joinpath(*name.split("."))
    for path in (stem / "__init__.py", stem.with_name(stem.name + ".py")):
        if path.is_file():
            return path
    return None

"""Which modules an asset rests on, and what changes their hash."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import code

# Importing any of these would fail: the files are only read.
FILES = {
    "pk/__init__.py": "raise RuntimeError\n",
    "pk/a/__init__.py": "",
    "pk/a/entry.py": "import os\nimport pk.b.direct as d\nfrom pk.b import sub, value\nfrom . import near\nfrom ..b.up import x\n1 / 0",
    "pk/a/near.py": "def f():\n    from pk.a.lazy import g\n    return g\n",
    "pk/a/lazy.py": "from importlib import import_module\nimport_module('pk.a.called')\n",
    "pk/a/called.py": "from pk.star import *\n",
    "pk/a/unused.py": "1\n",
    "pk/b/__init__.py": "from .init import x\n",
    "pk/b/init.py": "from .. import top\n",
    "pk/b/direct.py": "import pkother\nimport pk.nowhere\n",
    "pk/b/sub.py": "",
    "pk/b/up.py": "if True:\n    import pk.space.deep\n",
    "pk/b/value.txt": "",
    "pk/top.py": "from pk import top\n",
    "pk/space/deep.py": "",
    "pk/star/__init__.py": "__all__ = ['one']\n",
    "pk/star/one.py": "",
    "pkother.py": "",
}
REACHED = {
    "pk", "pk.a", "pk.a.entry", "pk.a.near", "pk.a.lazy", "pk.a.called", "pk.b", "pk.b.init", "pk.b.direct", "pk.b.sub", "pk.b.up",
    "pk.top", "pk.space.deep", "pk.star", "pk.star.one",
}  # fmt: skip


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def content_of(tmp_path: Path, text: str) -> str:
    return code.content("m", lay(tmp_path, {"m.py": text}))


def test_modules_follow_every_kind_of_import_without_importing(tmp_path: Path) -> None:
    found = code.modules("pk.a.entry", lay(tmp_path, FILES))
    assert set(found) == REACHED
    assert found["pk.b"] == tmp_path / "pk/b/__init__.py"
    assert not any(name == "pk" or name.startswith("pk.") for name in sys.modules)


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".py")))
def test_content_changes_with_the_modules_reached_and_no_other(tmp_path: Path, name: str) -> None:
    before = code.content("pk.a.entry", lay(tmp_path, FILES))
    (tmp_path / name).write_text(FILES[name] + "\nadded = 1\n")
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert (code.content("pk.a.entry", tmp_path) != before) == (module in REACHED)


def test_contents_tell_which_module_changed(tmp_path: Path) -> None:
    before = code.contents("pk.a.entry", lay(tmp_path, FILES))
    assert set(before) == REACHED
    (tmp_path / "pk/b/sub.py").write_text("x = 1\n")
    after = code.contents("pk.a.entry", tmp_path)
    assert [name for name in REACHED if before[name] != after[name]] == ["pk.b.sub"]


def test_a_new_submodule_that_an_import_now_means_counts(tmp_path: Path) -> None:
    before = code.content("pk.a.entry", lay(tmp_path, FILES))
    (tmp_path / "pk/b/value.py").write_text("")
    assert "pk.b.value" in code.modules("pk.a.entry", tmp_path)
    assert code.content("pk.a.entry", tmp_path) != before


def by_tree(source: bytes) -> set[code.Import]:
    """The same from the syntax tree: slow and obvious."""
    found: set[code.Import] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name, ()) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "import_module" and node.args:
            if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                found.add((0, node.args[0].value, ()))
    return found


FILES_OF_PYTHON = sorted(Path(os.__file__).parent.glob("[a-m]*.py"))[::3]


@pytest.mark.parametrize("folder", ["src", "assets", "pipelines", "python"])
def test_imports_are_those_of_the_syntax_tree(folder: str) -> None:
    paths = FILES_OF_PYTHON if folder == "python" else sorted((code.SOURCE.parent / folder).rglob("*.py"))
    assert paths
    for path in paths:
        source = path.read_bytes()
        assert set(code.imports(source)) == by_tree(source), path


# Joined in any order, each is a piece of a valid module; some hold the word `import` where it is none.
PIECES = [
    "import a\n", "import a.b as c, d\n", "import a . b\n", "x = 1; import a; import b # import c\n", "if x: import a\n",
    "from a import b\n", "from a.b import (c, d as e,)\n", "from a import (  # import no)\n    b,  # from x import y\n    c\n)\n",
    "from . import a\n", "from .import a\n", "from ...a import b as c\n", "from a import *\n", "from a \\\n    import b, \\\n    c\n",
    "def f():\n    yield from g\n    import a\n", "def f():\n    raise A from e; import a\n", "class C:\n    from a import b\n",
    '"""import a\nfrom a import b"""\n', "'''x \\''' import a'''\n", "x = 'import a'; y = \"it's\"\n", 'r"""\\" """; import a\n', "x = r'\\' import a'\n",
    'f"{x!r} import a"\n', "b'import a'\n", "# it's a comment: import a\n", "reimport = from_x = x.imports\n", "importa(fromb)\n", "x = ''; import a\n",
    "import_module('a.b')\n", "importlib.import_module( r'a' '.b', package)\n", "import_module(name)\n", "import_module('a' + b)\n", "import_module(f'a{b}')\n",
    "import a\r\n", "# \xe9 import a\n", "x = '\\\n'; import a\n",
]  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(PIECES), max_size=6))
def test_imports_are_told_from_strings_and_comments(pieces: list[str]) -> None:
    source = "".join(pieces).encode()
    assert set(code.imports(source)) == by_tree(source)


@pytest.mark.parametrize("piece", PIECES)
def test_imports_of_one_statement(piece: str) -> None:
    assert set(code.imports(piece.encode())) == by_tree(piece.encode())


SOURCE = '''"""Doc."""
import math
LIMIT = 3.5
class Thing:
    """Doc."""
    size: int = 1
    """Doc of a field."""
    def area(self, k=2):
        """Doc."""
        if k > 0:
            return math.pi * self.size ** k
        return f"{k!r:>{4}}" + 'a' b'c'.decode()
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doc."""', '"""Another."""'),
        ('"""Doc."""\nimport', "import"),
        ('    """Doc of a field."""\n', ""),
        ("LIMIT = 3.5", "LIMIT = 3.50  # why"),
        ("LIMIT = 3.5", "LIMIT = (\n    3.5\n)"),
        ("'a' b'c'.decode()", "'a' b'c'.decode()  "),
        ("'a'", '"a"'),
        ("(self, k=2)", "(\n        self,\n        k=2,\n    )"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(tmp_path: Path, old: str, new: str) -> None:
    source = SOURCE.replace("'a' b'c'.decode()", "'a' + b'c'.decode()")
    old, new = (each.replace("'a' b'c'.decode()", "'a' + b'c'.decode()") for each in (old, new))
    assert old in source
    assert content_of(tmp_path, source) == content_of(tmp_path, source.replace(old, new, 1))


def test_a_body_that_was_only_a_docstring_is_a_pass(tmp_path: Path) -> None:
    assert content_of(tmp_path, 'def f():\n    """Doc."""\n') == content_of(tmp_path, "def f():\n    pass\n")


LITERALS = st.one_of(
    st.none(), st.booleans(), st.integers(0), st.floats(0, allow_nan=False, allow_infinity=False), st.text(), st.binary(), st.just(...)
)


@settings(deadline=None, max_examples=50)
@given(LITERALS, LITERALS)
def test_any_other_literal_counts(tmp_path_factory: pytest.TempPathFactory, one: object, other: object) -> None:
    folder = tmp_path_factory.mktemp("code")
    same = content_of(folder, f"x = {one!r}\n") == content_of(folder, f"x = {other!r}\n")
    assert same == (repr(one) == repr(other))


@pytest.mark.parametrize(("old", "new"), [("> 0", ">= 0"), ("k=2", "k=3"), ("!r", "!s"), ("{4}", "{5}"), ("size", "side"), ("3.5", "3.6")])
def test_any_other_meaning_counts(tmp_path: Path, old: str, new: str) -> None:
    source = SOURCE.replace("'a' b'c'.decode()", "'a'")
    assert content_of(tmp_path, source) != content_of(tmp_path, source.replace(old, new))


def test_the_time_stamp_of_a_file_decides_nothing(tmp_path: Path) -> None:
    before = content_of(tmp_path, "x = 1\n")
    stamp = (tmp_path / "m.py").stat()
    (tmp_path / "m.py").write_text("x = 2\n")
    os.utime(tmp_path / "m.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert code.content("m", tmp_path) != before


def test_version_counts_every_byte_and_the_extras(tmp_path: Path) -> None:
    plain = code.version("m", source=lay(tmp_path, {"m.py": "x = 1\n"}))
    assert plain == code.version("m", source=tmp_path)
    seen = {plain, code.version("m", b"ab", source=tmp_path), code.version("m", b"a", b"b", source=tmp_path)}
    lay(tmp_path, {"m.py": "x = 1  # why\n"})
    seen.add(code.version("m", source=tmp_path))
    assert len(seen) == 4


def test_an_unknown_entry_and_broken_code_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="pk.none"):
        code.modules("pk.none", lay(tmp_path, FILES))
    with pytest.raises(SyntaxError) as caught:
        content_of(tmp_path, "def (")
    assert caught.value.filename == str(tmp_path / "m.py")


def test_an_import_that_leaves_the_package_is_dropped(tmp_path: Path) -> None:
    files = {"pk/a/b/m.py": "from ..... import x\nfrom ...... import x\n", "pk/a/x.py": "", "pk/x.py": "", "x.py": ""}
    assert set(code.modules("pk.a.b.m", lay(tmp_path, files))) == {"pk.a.b.m"}


def test_the_package_itself_is_found_in_a_fresh_process() -> None:
    name = "tenfold.core.tables"
    script = f"import sys; from tenfold.core import code; print(*code.modules({name!r})); assert {name!r} not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    wanted = ["atomic", "disk", "errors", "frozen", "tables"]
    assert shown == ["tenfold", "tenfold.core", *(f"tenfold.core.{name}" for name in wanted)]

"""Damaged files end in the quarantine with a reason, never in another exception: bytes changed, cut out, repeated at random."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import bundler, colmap_db, colmap_model, scenes, strecha
from tenfold.core.files import Unreadable

SPEC = scenes.SceneSpec(1, "general", 8, 3, 320, 240, (300.0, 300.0, 160.0, 120.0, 0.0), 0.3, 0.0)
WORDS = [b"nan", b"inf", b"-1", b"1e300", b"99999999999", b"x", b"0", b" ", b"\n", b"\0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    made = scenes.generate(SPEC)
    scenes.write_colmap(made, root)
    pycolmap = pytest.importorskip("pycolmap")
    (root / "binary").mkdir()
    pycolmap.Reconstruction(str(root / "sparse/0")).write_binary(str(root / "binary"))
    (root / "a.jpg.camera").write_text("300 0 160\n0 300 120\n0 0 1\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n0 0 5\n320 240\n")
    lines = ["# Bundle file v0.3", "2 3"] + ["300 0 0", "1 0 0", "0 1 0", "0 0 1", "0 0 0"] * 2
    lines += ["0 0 -5", "0 0 0", "2 0 1 10.5 11 1 4 9 3.5"] * 3
    (root / "bundle.out").write_text("\n".join(lines) + "\n")
    (root / "list.txt").write_text("a.jpg\nb.jpg\n")
    return root


def _database(root: Path) -> object:
    database = colmap_db.read(root / "database.db")
    return colmap_db.scene(database, "a", lambda name: None, None)


def _bundle(root: Path) -> object:
    return bundler.scene(bundler.read_out(root / "bundle.out"), "a", ["a", "b"], [Path("a"), Path("b")], [(320, 240)] * 2)


def _model(folder: str) -> Callable[[Path], object]:
    return lambda root: colmap_model.scene(colmap_model.read(root / folder), "a", lambda name: None)


CASES: list[tuple[str, Callable[[Path], object]]] = [
    ("database.db", _database),
    *((f"sparse/0/{name}.txt", _model("sparse/0")) for name in ("cameras", "images", "points3D")),
    *((f"binary/{name}.bin", _model("binary")) for name in ("cameras", "images", "points3D")),
    ("a.jpg.camera", lambda root: strecha.camera(root / "a.jpg.camera")),
    ("bundle.out", _bundle),
]


@pytest.mark.parametrize(("name", "read"), CASES, ids=[name for name, _ in CASES])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_damage_is_told_or_harmless(place: Path, name: str, read: Callable[[Path], object], seed: int) -> None:
    path = place / name
    whole = path.read_bytes()
    rng = np.random.default_rng(seed)
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(data)))
        what = rng.integers(4)
        if what == 0:
            data[at] = int(rng.integers(256))
        elif what == 1:
            del data[at : at + int(rng.integers(1, 40))]
        elif what == 2:
            data[at : at + 1] = WORDS[rng.integers(len(WORDS))]
        else:
            data[at:at] = data[max(0, at - 20) : at]
        data = data or bytearray(b"x")
    try:
        path.write_bytes(bytes(data))
        read(place)
    except Unreadable as problem:
        assert problem.reason and problem.detail
    finally:
        path.write_bytes(whole)

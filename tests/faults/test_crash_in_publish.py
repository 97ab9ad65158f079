"""A crash at any moment of anything that is published leaves the old or the new: never nothing, never a mixture.

Each operation runs in a child process that is killed before its first touch of the disk, then its second, until it gets through. Once
more with a power cut at that moment: what was not flushed is torn.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from crashes import cut_the_power, die_at
from support import CHECKOUT

from pipelines.papers import PAPERS
from tenfold.core import atomic, checkpoint, tables
from tenfold.core.errors import Corrupt
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.store import Pointer, Store
from tenfold.crossmodal_anomaly import data
from tenfold.ops import logged, spool
from tenfold.ops.settings import Settings

KEY = "0123456789abcdef"
FIELDS: dict[str, Any] = {
    "partition": "demo", "upstream": {}, "block": {}, "overrides": {}, "code": "", "versions": {}, "made_by": {}, "seconds": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """How to make the old state, how to make the new one over it, and how a fresh reader sees which it is."""

    before: Callable[[Path], Any]
    act: Callable[[Path], Any]
    read: Callable[[Path], Any]


def in_folder(name: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        with atomic.new_folder(root / "folder") as folder:
            (folder / "deep").mkdir()
            for number in range(2):
                (folder / "deep" / f"{name}{number}").write_text(name * 100)

    return write


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sharded(count: int) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        with ShardWriter(root / "parts", 1000) as writer:
            for number in range(count):
                if str(number) not in writer.done:
                    writer.add(str(number), {"x": np.full(200, number, np.int16)})

    return write


def read_shards(root: Path) -> list[int]:
    reader = ShardReader(root / "parts")
    return [int(reader.get(id)["x"][-1]) for id in reader.ids]


def published(text: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        store = Store(root)
        with store.working("p", "model", KEY) as working:
            if store.find("p", "model", KEY) is None:
                (working.out / "deep").mkdir(exist_ok=True)
                for name in ("a", "deep/b"):
                    (working.out / name).write_text(text * 100)
                (working.scratch / "checkpoint").write_text("x")
                store.publish(working, **FIELDS)

    return write


def damaged(root: Path) -> None:
    published("old")(root)
    (Store(root).folder("p", "model", KEY) / "a").write_text("x")


def read_store(root: Path) -> dict[str, bytes] | None:
    store = Store(root)
    found = store.find("p", "model", KEY)
    assert store.warnings == [], store.warnings
    return None if found is None else {name: (store.folder("p", "model", KEY) / name).read_bytes() for name in found.files}


def read_mended(root: Path) -> str:
    # the damaged one may still stand there: it counts as absent
    return "absent" if Store(root).find("p", "model", KEY) is None else "new"


def pointed(key: str) -> Callable[[Path], None]:
    return lambda root: Store(root).set_current("p", "demo", "model", key, key * 4)


def read_pointer(root: Path) -> Pointer | None:
    return Store(root).current("p", "demo", "model")


def table(value: int) -> pa.Table:
    return pa.table({"id": [str(number) for number in range(50)], "value": [value] * 50})


def state(value: float) -> dict[str, Any]:
    return {"weights": torch.full((500,), value), "step": 1}


def build(text: str) -> Callable[[Path], None]:
    """The real `build`, but for what it fills the folder with."""

    def fill(folder: Path, *_: Any) -> None:
        (folder / "files" / "train").mkdir(parents=True)
        for name in ("files/train/0.png", "files/train/1.png", "samples.parquet"):
            (folder / name).write_text(text * 100)
        atomic.write_json(folder / "dataset.json", {"name": text})

    def make(root: Path) -> None:
        data._fill, real = fill, data._fill
        try:
            data.build(root, "demo")
        finally:
            data._fill = real

    return make


def read_dataset(root: Path) -> dict[str, bytes]:
    return contents(root / "data" / data.PAPER / "demo")


def marked(run: str) -> Callable[[Path], None]:
    return lambda root: logged.note(Settings(root=root, home=root), "p", "model", KEY, run, "1")


OPERATIONS = {
    "file": Operation(
        lambda root: atomic.write_json(root / "ui.json", "old"), lambda root: atomic.write_json(root / "ui.json", "new"),
        lambda root: json.loads((root / "ui.json").read_bytes()),
    ),
    "folder": Operation(in_folder("old"), in_folder("new"), lambda root: contents(root / "folder")),
    "table": Operation(
        lambda root: tables.write(table(1), root / "t.parquet"), lambda root: tables.write(table(2), root / "t.parquet"),
        lambda root: tables.read(root / "t.parquet"),
    ),
    "checkpoint": Operation(
        lambda root: checkpoint.save(root / "c.pt", state(1.0)), lambda root: checkpoint.save(root / "c.pt", state(2.0)),
        lambda root: checkpoint.load(root / "c.pt")["weights"].tolist(),
    ),
    "shards": Operation(sharded(3), sharded(9), read_shards),
    "publish": Operation(lambda root: None, published("new"), read_store),
    "publish in place of a damaged one": Operation(damaged, published("new"), read_mended),
    "remove": Operation(published("old"), lambda root: Store(root).remove("p", "model", KEY), read_store),
    "current": Operation(pointed("a" * 16), pointed("b" * 16), read_pointer),
    "dataset": Operation(build("old"), build("new"), read_dataset),
    "mark of what MLflow has": Operation(
        marked("1"), marked("2"), lambda root: logged.read(Settings(root=root, home=root), "p", "model", KEY)
    ),
}  # fmt: skip


# What is written again under the same lock takes a dead one's temporary files away.
SWEPT = ("publish", "current", "dataset", "shards")


def root_of(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text((CHECKOUT / "tests" / "tiny.yaml").read_text())
    return folder


@pytest.mark.parametrize("name", OPERATIONS)
def test_old_or_new(name: str, tmp_path: Path) -> None:
    operation = OPERATIONS[name]
    begin, root = root_of(tmp_path / "begin"), tmp_path / "root"
    operation.before(begin)
    old = operation.read(shutil.copytree(begin, tmp_path / "old"))
    done = shutil.copytree(begin, tmp_path / "new")
    operation.act(done)
    new = operation.read(done)
    assert old != new
    seen, left = [], 0
    for step in range(200):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(begin, root)
        death = die_at(step, root, lambda: operation.act(root))
        left += any(atomic.is_leftover(path.name) for path in root.rglob("*"))
        for power_cut in (False, True):
            if power_cut:
                cut_the_power(root, death)
            found = operation.read(root)
            assert found in (old, new), f"before touch {step}, power cut: {power_cut}"
            seen.append(found == new)
        assert not death.careless, death.careless
        operation.act(root)
        assert operation.read(root) == new, f"again after touch {step}"
        if name in SWEPT:
            assert not [path for path in root.rglob("*") if atomic.is_leftover(path.name)], f"again after touch {step}"
        if not death.killed:
            break
    assert not death.killed and len(seen) > 6, "the operation got through, after some deaths"
    # old until one moment, new from then on
    assert seen[0] is False and seen[-1] is True and seen == sorted(seen)
    assert left > 0 or name == "remove"


@pytest.mark.parametrize("power_cut", [False, True], ids=["kill", "power cut"])
def test_a_journal_keeps_what_was_appended(power_cut: bool, tmp_path: Path) -> None:
    entries = [{"step": number, "text": "x" * 50} for number in range(3)]

    def session(root: Path) -> None:
        journal = spool.open_for(root / "spool", "run")
        for entry in entries:
            journal.append(entry)
            atomic.write_text(root / "appended", str(entry["step"]))
        journal.confirm(journal.read()[-1][1])
        atomic.write_text(root / "sent", "")
        journal.close()

    for step in range(200):
        root = root_of(tmp_path / str(step))
        death = die_at(step, root, lambda root=root: session(root))
        if power_cut:
            cut_the_power(root, death)
        told = int((root / "appended").read_text()) + 1 if (root / "appended").exists() else 0
        found = [entry for journal in spool.left_behind(root / "spool") for entry, _ in journal.read()]
        if (root / "sent").exists():
            assert found in (entries, []), f"before touch {step}"
        else:
            assert found[:told] == entries[:told] and found == entries[: len(found)], f"before touch {step}"
        if not death.killed:
            break
    assert not death.killed and step > 10


def test_a_folder_without_an_exchange_is_absent_for_a_moment_and_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)  # as on NFS
    seen = set()
    for step in range(200):
        root = root_of(tmp_path / str(step))
        in_folder("old")(root)
        death = die_at(step, root, lambda root=root: in_folder("new")(root))
        seen.add("".join(contents(root / "folder")))
        in_folder("new")(root)
        if not death.killed:
            break
    assert seen == {"deep/old0deep/old1", "", "deep/new0deep/new1"}


def test_dvc_keeps_a_dataset_until_its_successor_stands() -> None:
    stages = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"]
    for paper in PAPERS:
        assert [list(out.values()) for out in stages[paper]["do"]["outs"]] == [[{"persist": True}]], paper


def test_a_torn_file_is_noticed(tmp_path: Path) -> None:
    """The power cut of these tests does tear: without the flush a reader would see half a file."""

    def hasty(root: Path) -> None:
        (root / "new").write_text(json.dumps(["x"] * 50))
        (root / "new").rename(root / "ui.json")

    death = die_at(100, tmp_path, lambda: hasty(tmp_path))
    assert not death.killed and len(death.careless) == 2
    cut_the_power(tmp_path, death)
    with pytest.raises(json.JSONDecodeError):
        json.loads((tmp_path / "ui.json").read_text())
    store = Store(tmp_path)
    store.set_current("p", "demo", "model", "k", "d")
    path = tmp_path / "current" / "p" / "demo" / "model.json"
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(Corrupt):
        store.current("p", "demo", "model")


WRITES = re.compile(
    r"\.write_(?:text|bytes)\(|\.open\(\s*\"[wax]|os\.(?:replace|rename|truncate)\(|shutil\.(?:copy\w*|move)\(|save_file\(|O_CREAT"
)
# Where the platform writes by other means than `core.atomic`, and why that is no publishing.
ELSEWHERE = {
    "core/atomic.py": "this is it",
    "core/store.py": "whole folders, in one rename, after the flush",
    "ops/scoreboard.py": "pages in a work folder, which the store publishes",
    "ops/spool.py": "a journal: appended, each entry flushed",
    "pipelines/sensors.py": "a log: appended",
    "pipelines/keeper.py": "logs of the servers",
    "commands/doctor.py": "a probe that is deleted at once",
}  # fmt: skip


def test_the_platform_publishes_through_one_door() -> None:
    found: dict[str, list[str]] = {}
    for room in (CHECKOUT / "src" / "tenfold" / "core", CHECKOUT / "src" / "tenfold" / "ops", CHECKOUT / "assets", CHECKOUT / "pipelines"):
        for path in sorted(room.rglob("*.py")):
            lines = [line.strip() for line in path.read_text().splitlines() if WRITES.search(line) and "atomic." not in line]
            if lines:
                found["/".join(path.parts[-2:])] = lines
    assert set(found) == set(ELSEWHERE), {name: found.get(name) for name in set(found) ^ set(ELSEWHERE)}

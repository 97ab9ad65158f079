"""One flipped byte in anything that is stored is found before it is used, named, and made again.

Every byte of every kind of file is flipped in turn, not a sample of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import torch

from tenfold.core import atomic, checkpoint, tables
from tenfold.core.errors import Corrupt
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.store import Manifest, Store
from tenfold.ops import logged
from tenfold.ops.settings import Settings

KEY = "0123456789abcdef"
FIELDS: dict[str, Any] = {
    "partition": "demo", "upstream": {}, "block": {"lr": 0.1}, "overrides": {}, "code": "c0de",
    "versions": {"python": "3.11"}, "made_by": {"run_id": "r"}, "seconds": 0.5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of folders are moved aside here; what survives a power cut is asked elsewhere."""
    monkeypatch.setattr(atomic, "sync", lambda path: None)


def publish(home: Path) -> Manifest:
    """An output with a file of every kind that the platform writes."""
    made = Store(home)
    with made.working("p", "model", KEY) as working:
        out = working.out
        with ShardWriter(out / "parts") as writer:
            for number in range(2):
                writer.add(f"part/{number}", {"x": np.arange(6, dtype=np.float32) + number})
        tables.write(pa.table({"id": ["a", "b"], "value": [0.5, 1.5]}), out / "metrics.parquet")
        atomic.write_bytes(out / "mappers.safetensors", safetensors.numpy.save({"w": np.arange(4, dtype=np.float32)}))
        atomic.write_json(out / "claims.json", [{"id": "C1", "verdict": "holds"}])
        return made.publish(working, **FIELDS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    manifest = publish(tmp_path)
    Store(tmp_path).set_current("p", "demo", "model", KEY, manifest.digest)
    return tmp_path


def flipped(path: Path) -> Iterator[int]:
    """Each position in turn with one of its bits turned; the file is put back after."""
    whole = path.read_bytes()
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        yield position
        path.write_bytes(whole)


FILES = ["parts/shard", "parts/index.json", "mappers.safetensors", "metrics.parquet", "claims.json", "manifest.json"]


@pytest.mark.parametrize("name", FILES)
def test_of_a_published_output(home: Path, name: str) -> None:
    folder = Store(home).folder("p", "model", KEY)
    path = min(folder.glob("parts/0*")) if name == "parts/shard" else folder / name
    whole = Store(home).find("p", "model", KEY)
    unnoticed = []
    for position in flipped(path):
        fresh = Store(home)
        found = fresh.find("p", "model", KEY)
        if found is not None:
            assert name == "manifest.json" and found == whole, f"byte {position}"
            unnoticed.append(position)
            continue
        (warning,) = fresh.warnings
        assert str(path) in warning and "made again" in warning, f"byte {position}: {warning}"
        (aside,) = (home / "work" / "corrupt" / "p" / "model").iterdir()
        assert not folder.exists()
        aside.rename(folder)
    # a blank of the manifest that becomes another blank says the same
    assert len(unnoticed) < 20 and all(path.read_bytes()[position] in b" \n" for position in unnoticed)


def test_it_is_made_again_and_the_damaged_one_kept_for_a_look(home: Path) -> None:
    folder = Store(home).folder("p", "model", KEY)
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    path = folder / "mappers.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(Corrupt, match=r"gone or damaged.*tenfold run p\.demo --to model"):
        Store(home).open("p", "demo", "model")
    publish(home)
    Store(home).open("p", "demo", "model")
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (aside,) = (home / "work" / "corrupt" / "p" / "model").iterdir()
    assert (aside / "mappers.safetensors").read_bytes().endswith(b"\xff")


@pytest.mark.parametrize("name", ["shard", "index.json"])
def test_of_shards_that_no_store_watches(tmp_path: Path, name: str) -> None:
    """In a work folder a reader has only the index to go by."""
    with ShardWriter(tmp_path, 64) as writer:
        for number in range(2):
            writer.add(f"part/{number}", {"x": np.arange(6, dtype=np.float32) + number})
    path = min(tmp_path.glob("0*")) if name == "shard" else tmp_path / "index.json"
    whole = [{name: array.tolist() for name, array in item.items()} for _, item in ShardReader(tmp_path)]
    unnoticed = []
    for position in flipped(path):
        try:
            assert [{name: array.tolist() for name, array in item.items()} for _, item in ShardReader(tmp_path)] == whole
            unnoticed.append(position)
        except Corrupt as error:
            assert path.name in str(error) and "make it again" in str(error)
    assert len(unnoticed) < 20 and all(path.read_bytes()[position] in b" \n" for position in unnoticed)
    # a writer that goes on takes nothing over that is not whole
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with ShardWriter(tmp_path, 64) as writer:
        assert ("part/0" in writer.done) == (name == "index.json")
        for number in range(2):
            if f"part/{number}" not in writer.done:
                writer.add(f"part/{number}", {"x": np.arange(6, dtype=np.float32) + number})
    assert [{name: array.tolist() for name, array in item.items()} for _, item in ShardReader(tmp_path)] == whole


def test_of_the_pointer_to_what_counts(home: Path) -> None:
    path = home / "current" / "p" / "demo" / "model.json"
    whole = Store(home).current("p", "demo", "model")
    unnoticed = []
    for position in flipped(path):
        try:
            folder, _ = Store(home).open("p", "demo", "model")
            assert folder == Store(home).folder("p", "model", KEY) and Store(home).current("p", "demo", "model") == whole
            unnoticed.append(position)
        except Corrupt as error:
            assert "tenfold run p.demo --to model" in str(error), f"byte {position}"
    assert len(unnoticed) < 15 and all(path.read_bytes()[position] in b" \n" for position in unnoticed)
    path.write_bytes(path.read_bytes().replace(b'"digest"', b'"dagest"'))
    assert whole is not None
    Store(home).set_current("p", "demo", "model", whole.key, whole.digest)
    assert Store(home).current("p", "demo", "model") == whole


def test_of_a_checkpoint(tmp_path: Path) -> None:
    state = {"weights": torch.arange(20.0), "step": 3, "history": [{"loss": 0.1}]}
    checkpoint.save(tmp_path / "c.pt", state)
    found = 0
    for position in flipped(tmp_path / "c.pt"):
        try:
            read = checkpoint.load(tmp_path / "c.pt")
        except Corrupt as error:
            assert "c.pt" in str(error) and "Remove" in str(error)
            found += 1
        else:
            # padding and attributes of the archive
            assert torch.equal(read.pop("weights"), state["weights"]) and read == {"step": 3, "history": [{"loss": 0.1}]}, (
                f"byte {position}"
            )
    assert found > 500


def test_of_the_mark_that_mlflow_has_an_output(tmp_path: Path) -> None:
    """It decides nothing: what cannot be read is handed over again, which changes nothing there."""
    settings = Settings(root=tmp_path, home=tmp_path)
    logged.note(settings, "p", "model", KEY, "a" * 32, "1")
    (path,) = (tmp_path / "mlflow" / "logged").rglob("*.json")
    for _ in flipped(path):
        found = logged.read(settings, "p", "model", KEY)
        assert found is None or set(found) == {"run_id", "experiment_id"}

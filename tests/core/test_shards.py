import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

from tenfold.core import atomic, shards
from tenfold.core.errors import BadData, Corrupt
from tenfold.core.shards import ShardReader, ShardWriter

types = st.sampled_from([np.bool_, np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64])
arrays = types.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
items = st.dictionaries(st.text(max_size=8), st.dictionaries(st.sampled_from(["a", "a/b", "tokens2d@8"]), arrays, max_size=3), max_size=6)


def part(number: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(number)
    return {
        "map": generator.random((5, 7)).astype(np.float16),
        "points": generator.random((number + 1, 3)),
        "mask": generator.random(9) > 0.5,
    }


def write(folder: Path, count: int = 10, shard_bytes: int = 500) -> None:
    with ShardWriter(folder, shard_bytes) as writer:
        for i in range(count):
            if f"bolt/{i}" not in writer.done:
                writer.add(f"bolt/{i}", part(i))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") and a[k].dtype == b[k].dtype for k in a)


@given(items, st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, given: dict[str, dict[str, np.ndarray]], shard_bytes: int) -> None:
    folder = tmp_path_factory.mktemp("shards")
    ranks: dict[str, int] = {}
    given = {id: {n: a for n, a in item.items() if ranks.setdefault(n, a.ndim) == a.ndim} for id, item in given.items()}
    with ShardWriter(folder, shard_bytes) as writer:
        for id, item in given.items():
            writer.add(id, item)
    reader = ShardReader(folder)
    assert reader.ids == list(given)
    assert len(reader) == len(given)
    assert all(id in reader and equal(reader.get(id), given[id]) for id in given)
    assert [id for id, item in reader if equal(item, given[id])] == list(given)


def test_tensors_views_and_reused_buffers(tmp_path: Path) -> None:
    buffer = np.zeros(4, np.float32)
    strided = np.arange(12).reshape(3, 4).T
    with ShardWriter(tmp_path) as writer:
        for i in range(3):
            buffer[:] = i
            writer.add(str(i), {"x": buffer, "t": torch.full((2,), i, dtype=torch.float16, requires_grad=True), "s": strided})
    reader = ShardReader(tmp_path)
    assert [reader.get(str(i))["x"].tolist() for i in range(3)] == [[i] * 4 for i in range(3)]
    assert reader.get("2")["t"].dtype == np.float16
    assert np.array_equal(reader.get("0")["s"], strided)
    reader.get("0")["x"][0] = 9  # what one reader gets is its own
    assert reader.get("0")["x"][0] == 0


def test_names_select_and_shapes_describe(tmp_path: Path) -> None:
    write(tmp_path)
    reader = ShardReader(tmp_path)
    assert list(reader.get("bolt/3", ["mask"])) == ["mask"]
    assert reader.shapes == {"map": (5, 7), "mask": (9,), "points": (None, 3)}
    with pytest.raises(KeyError, match="bolt/99"):
        reader.get("bolt/99")
    with pytest.raises(KeyError):
        reader.get("bolt/3", ["nothing"])


def test_the_files_are_plain_safetensors(tmp_path: Path) -> None:
    write(tmp_path)
    path = min(tmp_path.glob("*.safetensors"))
    with safe_open(path, framework="numpy") as opened:
        assert np.array_equal(opened.get_tensor("1/map"), part(1)["map"])
        assert json.loads(opened.metadata()["ids"])[1] == "bolt/1"


def test_shards_have_the_wanted_size(tmp_path: Path) -> None:
    write(tmp_path, count=40, shard_bytes=2000)
    sizes = [sum(a.nbytes for _, item in [(id, ShardReader(tmp_path).get(id)) for id in shard["ids"]] for a in item.values()) for shard in
             json.loads((tmp_path / "index.json").read_text())["shards"]]  # fmt: skip
    assert len(sizes) > 5
    assert all(2000 <= size < 2000 + 1200 for size in sizes[:-1])


@given(st.integers(0, 10), st.integers(1, 1500))
@settings(max_examples=25, deadline=None)
def test_a_writer_that_goes_on_gives_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, stop: int, shard_bytes: int) -> None:
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    write(whole, shard_bytes=shard_bytes)
    writer = ShardWriter(broken, shard_bytes)
    for i in range(stop):
        writer.add(f"bolt/{i}", part(i))
    with pytest.raises(Corrupt, match="index.json is missing"):
        ShardReader(broken)
    write(broken, shard_bytes=shard_bytes)
    assert contents(broken) == contents(whole)


def test_an_error_in_the_block_leaves_no_index(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path, 1) as writer:
        writer.add("a", part(0))
        raise ZeroDivisionError
    assert not (tmp_path / "index.json").exists()
    assert set(ShardWriter(tmp_path, 1).done) == {"a"}


def test_a_damaged_shard_of_a_killed_writer_is_made_again(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    write(tmp_path / "broken")
    (tmp_path / "broken" / "index.json").unlink()
    second = sorted((tmp_path / "broken").iterdir())[1]
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    assert 0 < len(ShardWriter(tmp_path / "broken", 500).done) < 10
    write(tmp_path / "broken")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_a_finished_folder_can_be_added_to(tmp_path: Path) -> None:
    write(tmp_path, count=5)
    write(tmp_path, count=8)
    assert ShardReader(tmp_path).ids == [f"bolt/{i}" for i in range(8)]


def test_until_the_new_index_is_written_the_old_one_holds(tmp_path: Path) -> None:
    write(tmp_path, count=5)
    writer = ShardWriter(tmp_path, 500)
    for i in range(5, 9):
        writer.add(f"bolt/{i}", part(i))
    assert len(list(tmp_path.glob("*.safetensors"))) > len(json.loads((tmp_path / "index.json").read_text())["shards"])
    reader = ShardReader(tmp_path)
    assert reader.ids == [f"bolt/{i}" for i in range(5)] and equal(reader.get("bolt/4"), part(4))
    writer.close()
    assert ShardReader(tmp_path).ids == [f"bolt/{i}" for i in range(9)]


@pytest.mark.parametrize("wanted", [[0, 1, 2, 3], [0, 2, 3, 4], [3, 2, 1, 0], []], ids=["fewer", "others", "another order", "none"])
@pytest.mark.parametrize("finished", [True, False])
def test_shards_of_other_data_do_not_stay(tmp_path: Path, wanted: list[int], finished: bool) -> None:
    write(tmp_path / "used", count=10)
    if not finished:
        (tmp_path / "used" / "index.json").unlink()
    for folder in ("used", "fresh"):
        with ShardWriter(tmp_path / folder, 500, (f"bolt/{i}" for i in wanted)) as writer:
            for i in wanted:
                if f"bolt/{i}" not in writer.done:
                    writer.add(f"bolt/{i}", part(i))
    assert ShardReader(tmp_path / "used").ids == [f"bolt/{i}" for i in wanted]
    assert contents(tmp_path / "used") == contents(tmp_path / "fresh")


def test_items_that_an_earlier_attempt_left_out_are_gone_on_from(tmp_path: Path) -> None:
    write(tmp_path, count=6)  # of ten, four could not be used
    assert len(ShardWriter(tmp_path, 500, [f"bolt/{i}" for i in range(10)]).done) == 6


@pytest.mark.parametrize("place", ["length", "header", "body", "end"])
def test_a_flipped_byte_is_found_before_anything_is_handed_out(tmp_path: Path, place: str) -> None:
    write(tmp_path)
    path = sorted(tmp_path.glob("*.safetensors"))[1]
    content = bytearray(path.read_bytes())
    content[{"length": 0, "header": 40, "body": len(content) // 2, "end": -1}[place]] ^= 4
    path.write_bytes(content)
    reader = ShardReader(tmp_path)
    lost = [shard["ids"] for shard in json.loads((tmp_path / "index.json").read_text())["shards"] if shard["file"] == path.name][0]
    for id in reader.ids:
        if id in lost:
            with pytest.raises(Corrupt, match=rf"{path.name} is damaged.*make it again"):
                reader.get(id)
        else:
            assert equal(reader.get(id), part(int(id.split("/")[1])))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = min(tmp_path.glob("*.safetensors"))
    path.unlink()
    with pytest.raises(Corrupt, match=f"{path.name} is missing"):
        ShardReader(tmp_path).get("bolt/0")


@pytest.mark.parametrize("change", [("bolt/3", "bolt/x"), ("{", "["), ("sha256", "sha257")])
def test_a_changed_index_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    write(tmp_path)
    path = tmp_path / "index.json"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(Corrupt, match=r"index\.json is damaged"):
        ShardReader(tmp_path)


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([1j]), np.array([None], dtype=object)])
def test_other_types_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(BadData, match="'x' of item 'a' has type"):
        ShardWriter(tmp_path).add("a", {"x": array})


def test_an_id_is_added_once(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 1)
    writer.add("a", {"x": np.zeros(3)})
    with pytest.raises(BadData, match="'a' was added twice"):
        writer.add("a", {"x": np.zeros(3)})


def test_arrays_of_one_name_have_one_number_of_axes(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 1)
    writer.add("a", {"x": np.zeros(3)})
    writer.add("b", {"x": np.zeros((3, 3))})
    with pytest.raises(BadData, match="'x' has 1 axes in one item and 2 in another"):
        writer.close()


def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    size, count, shard = 200_000, 60, 1 << 20
    tracemalloc.start()
    with ShardWriter(tmp_path, shard) as writer:
        for i in range(count):
            writer.add(str(i), {"x": np.full(size, i % 256, np.uint8)})
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    assert [int(item["x"][-1]) for _, item in ShardReader(tmp_path)] == list(range(count))
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written < 4 * shard
    assert read < 4 * size + (1 << 20)


def test_a_killed_writer_leaves_whole_shards_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from tenfold.core import atomic
import test_shards
real, files = Path.write_bytes, []
def half(path, content):
    files.append(path)
    real(path, content[: len(content) // 2] if len(files) == 3 else content)
    if len(files) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = half
test_shards.write(Path({str(tmp_path / "broken")!r}))
"""
    assert subprocess.run([sys.executable, "-c", program], env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == -signal.SIGKILL
    assert any(atomic.is_leftover(name) for name in contents(tmp_path / "broken"))
    assert shards.INDEX not in contents(tmp_path / "broken")
    write(tmp_path / "broken")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")

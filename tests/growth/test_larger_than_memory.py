"""Many parts in little memory: what a stage holds of a part is a small part of it. `benchmarks/growth.py` is the long form, to 100 times."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support import CHECKOUT

from tenfold.core import shards
from tenfold.core.metrics import Subject
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.crossmodal_anomaly import aupro, curves, metrics
from tenfold.crossmodal_anomaly.spool import Maps

SIDE = 96
MAP = 4 * SIDE**2
FEW, MANY = 40, 400
IDENTITY = {"paper": "p", "dataset": "d", "partition": "d.u", "model_key": "0" * 16, "data_version": "0" * 64}


@pytest.mark.slow
def test_features_and_evaluation_of_ten_times_the_parts_need_no_more_memory_and_ten_times_the_time(tmp_path: Path) -> None:
    words = [sys.executable, str(CHECKOUT / "benchmarks" / "growth.py"), "--parts", "12", "--times", "1", "10"]
    done = subprocess.run(words, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["features"]["parts"] == found["evaluation"]["parts"] == [12, 120] and all(found["met"].values())


def peak(parts: int, folder: Path) -> int:
    """Most bytes held while one method's maps of so many parts are measured, their masks included."""
    yy, xx = np.mgrid[:SIDE, :SIDE]
    kinds = [("good", "dent", "stain")[i % 3] for i in range(parts)]
    maps = Maps(folder / f"{parts}.f32", parts, SIDE)
    tracemalloc.start()
    truth, rng = aupro.Truth(), np.random.default_rng(0)
    for i, kind in enumerate(kinds):
        defect = (np.hypot(yy - 40, xx - 50) < 5) & (kind != "good")
        truth.add(defect, kind, np.hypot(yy - 48, xx - 48) < 44)
        maps[i] = (rng.random((SIDE, SIDE)) + 0.5 * defect).astype(np.float32)
    counts = aupro.count(truth, maps)
    by_part = curves.part_curves(truth, maps, counts)
    times = curves.multiplicities(kinds, 20, np.random.default_rng(1))
    labels = np.array([kind != "good" for kind in kinds], np.int64)
    scores = np.array([maps[i].max() for i in range(parts)], np.float64)
    found = metrics.measure(Subject(IDENTITY, "ours", "", 0), truth, labels, scores, counts, by_part, times, ties="flat")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    maps.close()
    assert found.headline is not None and 0.2 < found.headline < 1
    return held


def test_measuring_a_method_holds_little_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aupro, "CHUNK_PIXELS", 8 * SIDE**2)
    peak(FEW, tmp_path)  # what is made once
    a_part = (peak(MANY, tmp_path) - peak(FEW, tmp_path)) / (MANY - FEW)
    assert a_part < MAP / 2, f"{a_part:.0f} bytes a part, of which one map has {MAP}"


def test_reading_many_shards_holds_few_of_their_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardWriter(tmp_path, shard_bytes=1) as writer:
        for number in range(100):
            writer.add(str(number), {name: np.zeros(4, np.float32) for name in "abcdefgh"})

    def growth(headers: int) -> int:
        monkeypatch.setattr(shards, "HEADERS", headers)
        reader = ShardReader(tmp_path)
        tracemalloc.start()
        for id in reader.ids:
            reader.get(id)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return held

    growth(1)  # what is made once
    assert growth(5) < growth(100) / 4


def test_a_header_read_again_is_not_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardWriter(tmp_path, shard_bytes=1) as writer:
        for number in range(6):
            writer.add(str(number), {"x": np.full(3, number, np.float32)})
    reader, hashed = ShardReader(tmp_path), []
    original = shards._sha
    monkeypatch.setattr(shards, "HEADERS", 2)
    monkeypatch.setattr(shards, "_sha", lambda path: hashed.append(path) or original(path))
    for number in [*range(6), *reversed(range(6))]:
        assert reader.get(str(number))["x"][0] == number
    assert len(hashed) == 6

import random
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from tenfold.core import checkpoint
from tenfold.core.errors import Corrupt


def state() -> checkpoint.State:
    return {
        "weights": {"w": torch.arange(3000.0), "half": torch.ones(7, dtype=torch.float16)},
        "step": 3,
        "history": [{"loss": 0.1}],
        "none": None,
    }


def test_round_trip_without_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"step": 1})
    checkpoint.save(path, state())
    read = checkpoint.load(path)
    assert torch.equal(read["weights"]["w"], state()["weights"]["w"])
    assert read["weights"]["half"].dtype == torch.float16
    assert (read["step"], read["history"], read["none"]) == (3, [{"loss": 0.1}], None)
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"step": 1})

    def broken(value: object, to: BinaryIO) -> None:
        to.write(b"half")
        raise OSError("the disk went away")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="went away"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("where", [0.3, 0.5, 0.7])
def test_a_flipped_byte_is_found(tmp_path: Path, where: float) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, state())
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"c\.pt is damaged.*Remove"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_cut_or_foreign_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, state())
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(Corrupt, match=r"c\.pt"):
        checkpoint.load(path)


def test_code_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save({"x": Path("made by a class")}, path)
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoint.load(path)


def test_the_generators_go_on_where_they_were(tmp_path: Path) -> None:
    np.random.standard_normal()  # leaves a cached second normal number, which is part of the state
    random.gauss(0, 1)
    checkpoint.save(tmp_path / "c.pt", checkpoint.rng_state())

    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), float(np.random.standard_normal()), float(np.random.rand()), float(torch.rand(()))]

    first = draw()
    draw()
    checkpoint.set_rng_state(checkpoint.load(tmp_path / "c.pt"))
    assert draw() == first


def test_a_snapshot_does_not_follow_the_training() -> None:
    weight = torch.zeros(3, requires_grad=True)
    taken = checkpoint.snapshot({"a": [weight, (weight, 1)], "text": "x"})
    with torch.no_grad():
        weight += 1
    assert taken["a"][0].tolist() == taken["a"][1][0].tolist() == [0, 0, 0]
    assert not taken["a"][0].requires_grad
    assert (taken["a"][1][1], taken["text"]) == (1, "x")


def test_the_saver_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    with checkpoint.Saver(path) as saver:
        for step in range(20):
            saver.save({"step": step, "x": torch.zeros(10_000)})
    assert checkpoint.load(path)["step"] == 19


def test_the_saver_raises_what_its_thread_met(tmp_path: Path) -> None:
    saver = checkpoint.Saver(tmp_path / "c.pt")
    (tmp_path / "c.pt").mkdir()  # cannot be replaced by a file
    saver.save({"step": 1})
    with pytest.raises(OSError, match=r"c\.pt"):
        saver.wait()

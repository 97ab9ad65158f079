"""A disk of a few megabytes runs full in every stage: what is told, what stays, and that the same command goes on."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from small_disk import SmallDisk, small_disk
from support import environment, lay_out

pytestmark = pytest.mark.slow

KB, MB = 1 << 10, 1 << 20
BISCUIT = "crossmodal_anomaly.demo.biscuit"
ASSETS = ["dataset", "prepared", "features", "model", "baselines", "evaluation", "report", "champion"]

# Writes 3 MB with each library that the papers write with, to a disk that has room for 1 MB.
WRITERS = """
import os, sys
from contextlib import closing
from pathlib import Path
import numpy as np, pyarrow as pa, safetensors.torch, sqlite3, tifffile, torch
from PIL import Image
from tenfold.core import atomic, checkpoint, disk, tables
from tenfold.core.errors import Unwritable

here = Path(sys.argv[1])
noise = np.random.default_rng(0).random((512, 512, 3), np.float32)

def database(path):
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE t (b BLOB)")
        opened.execute("INSERT INTO t VALUES (?)", (noise.tobytes(),))

def array(path):
    with path.open("wb") as stream:
        np.save(stream, noise)

def folder(path):
    with atomic.new_folder(path) as made:
        (made / "part").write_bytes(bytes(4096))
        tifffile.imwrite(made / "whole.tiff", noise)

WRITERS = {
    "bytes": lambda path: atomic.write_bytes(path, noise.tobytes()),
    "checkpoint": lambda path: checkpoint.save(path, {"weights": [torch.from_numpy(noise)], "step": 3}),
    "parquet": lambda path: tables.write(pa.table({"x": noise.ravel()}), path),
    "folder": folder,
    **{name: lambda path, write=write: write_beside(path, write) for name, write in {
        "safetensors": lambda path: safetensors.torch.save_file({"x": torch.from_numpy(noise)}, path),
        "tiff": lambda path: tifffile.imwrite(path, noise),
        "png": lambda path: Image.fromarray((noise[..., 0] * 65535).astype(np.uint16)).resize((2048, 2048)).save(path, "PNG"),
        "numpy": array,
        "sqlite": database,
    }.items()},
}

def write_beside(path, write):
    with atomic.new_file(path) as temporary:
        write(temporary)

for name, write in WRITERS.items():
    target = here / "out" / name
    try:
        write(target)
        print(name, "was written")
    except Unwritable as error:
        print(name, "told", error)
    left = sorted(p.name for p in (here / "out").iterdir() if "journal" not in p.name)
    assert left == [], left
"""

# Serves many commands with one import of the libraries: each is a forked process of its own.
SERVER = """
import json, os, sys
import dagster, great_expectations, matplotlib.pyplot, mlflow, pandas, pyarrow.parquet, safetensors.torch, scipy.spatial, torch
from pipelines import cli

for line in sys.stdin:
    words, log = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(log + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        code = cli.main(words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Ran:
    """A command's exit code and what it said; what the store and the data were before and after."""

    code: int
    said: str
    before: dict[str, str]
    after: dict[str, str]


class Machine:
    """`tenfold` on a small disk that holds both roots."""

    def __init__(self, disk: SmallDisk, logs: Path) -> None:
        self.disk, self.root, self._log = disk, disk.path / "root", str(logs / "std")
        self.made: list[str] = []
        lay_out(disk.inside / "root")
        values = yaml.safe_load((disk.inside / "root" / "params.yaml").read_text())
        paper = values["crossmodal_anomaly"]
        paper["datasets"]["demo"]["units"] = ["biscuit"]
        paper["recipes"]["demo"]["model"] |= {"seeds": [0], "variants": [], "checkpoint_every": 2}
        paper["recipes"]["demo"]["baselines"] |= {"shots": []}
        (disk.inside / "root" / "params.yaml").write_text(yaml.safe_dump(values))
        self._server = disk.start([sys.executable, "-c", SERVER], environment(self.root, OMP_NUM_THREADS="1"), self.root)

    def tenfold(self, *words: str) -> Ran:
        before = self.kept()
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps([words, self._log]) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        said = "\n".join(Path(self._log + name).read_text() for name in ("out", "err"))
        return Ran(code, said, before, self.kept())

    def to(self, asset: str) -> Ran:
        return self.tenfold("run", BISCUIT, "--to", asset)

    def enough(self, asset: str) -> None:
        """Make all up to `asset`, with all the room there is to have; what failed before goes on."""
        self.disk.size(64 * MB)
        if asset not in self.made:
            done = self.to(asset)
            assert done.code == 0, done.said
            self.made += ASSETS[: ASSETS.index(asset) + 1]

    def kept(self) -> dict[str, str]:
        found = self.disk.files("root/data", "root/.tenfold/store", "root/.tenfold/current")
        return {name: sha256 for name, sha256 in found.items() if not name.endswith(".lock")}

    def stop(self) -> None:
        self._server.communicate(timeout=60)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("full")
    with small_disk(folder / "disk", 64 * MB) as disk:
        made = Machine(disk, folder)
        yield made
        made.stop()


def told(ran: Ran, path: str) -> int:
    """Checks the message and returns the bytes that it says are needed, 0 if it cannot know them."""
    assert ran.code == 1, ran.said
    assert "Traceback" not in ran.said
    found = re.search(
        r"(\S+) cannot be written: no space is left. There is room for ([\d,]+) bytes, it needs ([\d,]+ bytes|more)\.", ran.said
    )
    assert found, ran.said
    assert path in found[1] and "tenfold-tmp" not in found[1]
    assert "Make room (`tenfold gc --delete`" in ran.said and "run the same command again" in ran.said
    needs = 0 if found[3] == "more" else int(found[3].replace(",", "").split()[0])
    assert not needs or needs > int(found[2].replace(",", ""))
    return needs


def intact(ran: Ran) -> None:
    assert ran.before and ran.before.items() <= ran.after.items()
    assert not [name for name in ran.after if "tenfold-tmp" in name]


def test_every_library_s_way_of_failing_is_understood(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", MB) as disk:
        (disk.inside / "out").mkdir()
        done = disk.python(WRITERS)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    for line in lines:
        name = line.split()[0]
        assert f"told {tmp_path}/disk/out/{name} cannot be written: no space is left. There is room for 1,0" in line, line
    for name in ("bytes", "checkpoint"):
        assert [line for line in lines if line.startswith(name) and "it needs 3,145,728 bytes" in line]


def test_ingest(machine: Machine) -> None:
    machine.disk.leave(900 * KB)
    failed = machine.to("dataset")
    told(failed, "data/crossmodal_anomaly/demo")
    assert failed.after == {}, "neither data nor a store from half an ingest"
    machine.enough("prepared")


def test_features(machine: Machine) -> None:
    machine.enough("prepared")
    machine.disk.leave(700 * KB)
    failed = machine.to("features")
    assert told(failed, ".tenfold/work/crossmodal_anomaly/features") > 700 * KB
    intact(failed)
    machine.enough("features")


def test_checkpoint(machine: Machine) -> None:
    machine.enough("features")
    machine.disk.leave(3 * MB)  # MLflow's tables take 1 MB of it
    failed = machine.to("model")
    assert told(failed, "checkpoint.pt") > MB
    intact(failed)
    machine.enough("evaluation")


def test_mlflow_artifact(machine: Machine) -> None:
    machine.enough("evaluation")
    machine.disk.leave(1200 * KB)
    failed = machine.to("champion")
    told(failed, ".tenfold/mlflow/artifacts/")
    intact(failed)
    machine.enough("champion")


def test_not_a_byte_is_left_from_the_start(machine: Machine) -> None:
    machine.enough("prepared")
    machine.disk.leave(0)
    failed = machine.to("dataset")
    told(failed, ".tenfold")
    intact(failed)
    machine.disk.size(64 * MB)
    assert machine.to("dataset").code == 0

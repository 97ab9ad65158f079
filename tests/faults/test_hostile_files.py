"""Files made to do harm: nothing in them is run, nothing of what they claim is allocated, and their text stays text."""

import hashlib
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import tifffile
import torch
from support import CHECKOUT, environment

from assets.shared import value_of
from tenfold.core import checkpoint, ingest, params
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.shards import ShardWriter
from tenfold.crossmodal_anomaly import extractors, weights
from tenfold.crossmodal_anomaly.predict import Predictor
from tenfold.crossmodal_anomaly.samples import QUARANTINE_SCHEMA
from tenfold.crossmodal_anomaly.train import read_network
from tenfold.ops import predictors, registry

PAPER = "crossmodal_anomaly"


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


def test_the_canary_would_sing(canary: Path) -> None:
    pickle.loads(pickle.dumps(Runs(canary)))  # noqa: S301
    assert canary.exists()


# -- pickles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["record", "whole"])
def test_a_checkpoint_with_a_payload_is_refused(tmp_path: Path, canary: Path, where: str) -> None:
    path = tmp_path / "checkpoint.pt"
    if where == "record":
        torch.save({"state": {"step": Runs(canary)}, "module": {"weight": torch.zeros(3)}}, path)
    else:
        path.write_bytes(pickle.dumps(Runs(canary)))
    with pytest.raises(Corrupt, match=f"(?s){path}.*Remove {path}"):
        checkpoint.load(path)
    assert not canary.exists()


def test_a_checkpoint_of_another_kind_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"no pickle")
    with pytest.raises(Corrupt, match="no checkpoint of ours"):
        checkpoint.load(path)


def registered(folder: Path, canary: Path) -> Path:
    """What a registry could hand out: a model of Python's own kind with a pickle, and pickles in place of weights and numbers."""
    predictor = folder / "artifacts" / "predictor"
    (predictor / "extractor").mkdir(parents=True)
    payload = pickle.dumps(Runs(canary))
    for path in (
        folder / "python_model.pkl",
        predictor / "mappers.safetensors",
        predictor / "predictor.json",
        predictor / "calibration.json",
    ):
        path.write_bytes(payload)
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n"
        "    cloudpickle_version: 3.1.0\n    python_version: 3.11.0\n    streamable: false\n"
    )
    return folder


def test_a_pickle_from_the_registry_is_not_run(tmp_path: Path, canary: Path) -> None:
    model = registered(tmp_path / "model", canary)
    folder = registry._predictor(model / "artifacts")
    with pytest.raises(Corrupt, match="take it from the model again"):
        predictors.load(PAPER, folder)
    with pytest.raises(Corrupt, match="mappers.safetensors"):
        read_network(folder / "mappers.safetensors")
    assert not canary.exists()


@pytest.mark.slow
def test_mlflow_serves_no_pickle(tmp_path: Path, canary: Path) -> None:
    model = registered(tmp_path / "model", canary)
    code = (
        "import sys; from tenfold.ops.quiet import quiet; quiet(); import mlflow.pyfunc\n"
        "try: mlflow.pyfunc.load_model(sys.argv[1])\nexcept mlflow.MlflowException as error: print('refused', error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model)], env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("refused") and "PICKLE" in done.stdout.upper(), done.stdout + done.stderr
    assert not canary.exists()


# -- numbers that are not true --------------------------------------------------------------------------------------


def deep(depth: int = 200_000) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "content",
    [deep(), "{}", "[]", "null", '{"format": 1}', '{"format": 1, "unit": "a", "prepared": 3}', '{"format": "x"}', "\x00"],
    ids=["deep", "empty", "list", "null", "short", "wrong", "format", "bytes"],
)
def test_a_predictor_of_any_content_is_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "predictor.json").write_text(content)
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises((Corrupt, BadData, UsageError)):
        Predictor.load(tmp_path)


def header(length: int, body: bytes = b"{}") -> bytes:
    return struct.pack("<Q", length) + body


@pytest.mark.parametrize("claimed", [1 << 60, (1 << 64) - 1, 1 << 33, 3])
def test_a_safetensors_header_of_any_size_is_refused(tmp_path: Path, claimed: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(header(claimed))
    with pytest.raises(BadData):
        weights.read(path)
    with pytest.raises(Corrupt):
        read_network(path)
    # a shard under the name of its own sha256, as a writer that goes on would find it
    content = header(claimed)
    (tmp_path / f"00000-{hashlib.sha256(content).hexdigest()[:16]}.safetensors").write_bytes(content)
    with pytest.raises(Corrupt, match="claims"):
        ShardWriter(tmp_path)


def tensors_beyond_the_file() -> bytes:
    head = json.dumps({"mean2d": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    return header(len(head), head)


def bomb_zip(path: Path) -> None:
    """A checkpoint whose one record unpacks to 512 MB from half a megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data/0", "w", force_zip64=True) as record:
        for _ in range(8):
            record.write(bytes(64 << 20))


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = zlib.compress(bytes(1 << 20), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    """A cloud whose index claims more than the file holds."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.ones((8, 8, 3), np.float32), photometric="rgb", compression="zlib")
    data = bytearray(stream.getvalue())
    count = struct.unpack_from("<H", data, start := struct.unpack_from("<I", data, 4)[0])[0]
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from("<HH", data, at)
        if tag in (256, 257, 278):  # width, height, rows a strip
            struct.pack_into("<HHII", data, at, tag, 4, 1, width if tag == 256 else height)
    return bytes(data)


def npy(*shape: int) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


# Reads each file and tells what came of it and by how much the memory grew.
READ = """
import resource, sys
from pathlib import Path
from tenfold.core import checkpoint
from tenfold.core.errors import TenfoldError
from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly import convert, images, train, weights

def read(path):
    data = path.read_bytes() if path.suffix not in (".pt", ".pth", ".safetensors") else b""
    {".png": lambda: images.read_rgb(data), ".mask": lambda: images.read_gt(data), ".tiff": lambda: images.read_xyz(data),
     ".npy": lambda: images.read_depth(data, ".npy"), ".ply": lambda: convert.read_ply(data, (8, 8)), ".pcd": lambda: convert.read_pcd(data),
     ".pt": lambda: checkpoint.load(path), ".pth": lambda: weights.read(path), ".safetensors": lambda: train.read_network(path)}[path.suffix]()

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read(path)
        print(path.name, "READ")
    except (TenfoldError, Unreadable) as error:
        print(path.name, "refused", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, str(error)[:200].replace("\\n", " "))
"""


@pytest.mark.slow
def test_nothing_that_is_claimed_is_allocated(tmp_path: Path) -> None:
    made: dict[str, bytes] = {
        "wide.png": png(1_000_000, 1_000_000),
        "wide.mask": png(1_000_000, 1_000_000),
        "many.png": png(40_000, 5_000),
        "wide.tiff": tiff(1_000_000, 1_000_000),
        "tall.tiff": tiff(4, 1 << 31),
        "wide.npy": npy(1_000_000, 1_000_000),
        "vast.npy": npy(1 << 40, 1 << 20),
        "points.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 1000000000000\nproperty float x\nproperty float y\n"
        b"property float z\nobj_info num_cols 1000000\nobj_info num_rows 1000000\nend_header\n",
        "points.pcd": b"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 1000000\nHEIGHT 1000000\n"
        b"POINTS 1000000000000\nDATA binary\n",
        "tensors.safetensors": tensors_beyond_the_file(),
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
        assert len(content) < 100_000
    bomb_zip(tmp_path / "bomb.pt")
    (tmp_path / "bomb.pth").write_bytes((tmp_path / "bomb.pt").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], env=environment(tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert len(lines) == len(made) + 2
    for name, verdict, megabytes, *words in lines:
        assert verdict == "refused" and int(megabytes) < 150 and words, (name, verdict, megabytes, words)


# -- weights of others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extractor", ["efficientnet_lite0", "dino_vitb8", "point_mae", "packaged"])
def test_weights_are_not_opened_before_their_sha256_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extractor: str) -> None:
    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("opened before it was verified")

    monkeypatch.setattr(weights, "read", opened)
    monkeypatch.setattr(torch, "load", opened)
    monkeypatch.setattr(safetensors.torch, "load_file", opened)
    (tmp_path / "w.safetensors").write_bytes(header(2))
    entry = {"file": "w.safetensors", "sha256": "0" * 64}
    values = params.load(CHECKOUT)[PAPER]["recipes"]["demo"]["features"]
    if extractor == "packaged":
        other = tmp_path / weights.LITE0.file
        other.write_bytes(header(2))

        class Distribution:
            class File:
                name = weights.LITE0.file

                @staticmethod
                def locate() -> Path:
                    return other

            files = [File]

        monkeypatch.setattr(weights.metadata, "distribution", lambda _: Distribution)
    elif extractor == "point_mae":
        # the 2D extractor comes first; its own weights are those of the package
        values = {**values, "extractor_3d": extractor, "weights_3d": entry}
        monkeypatch.setattr("tenfold.crossmodal_anomaly.efficientnet_lite.EfficientNetLite0Tokens", lambda **_: None)
    else:
        values = {**values, "extractor_2d": extractor, "weights_2d": entry}
    block = params.typed(extractors.config.Features, values, "test")
    with pytest.raises(BadData, match="sha256"):
        extractors.load_extractors(block, tmp_path)


def test_every_recipe_pins_the_weights_that_it_names() -> None:
    for paper, values in params.load(CHECKOUT).items():
        for recipe in values["recipes"].values():
            for block in recipe.values():
                for name, entry in block.items():
                    if name.startswith("weights") and entry:
                        assert set(entry) == {"file", "sha256"}, paper
                        # an empty one is refused, with the value found, before the file is opened
                        assert entry["sha256"] == "" or re.fullmatch("[0-9a-f]{64}", entry["sha256"])


def test_files_of_others_are_loaded_in_few_places_only() -> None:
    """torch.load everywhere with weights_only; no NumPy with pickles. ONNX graphs, whose data may lie anywhere, are opened by one module only,
    whose bytes it has read before, which name no other file and whose sha256 stands in the predictor; opened by the path (half the
    memory) it is hashed again afterwards (tests/motion_tracking/test_onnx_whole.py).
    """
    opens_graphs = CHECKOUT / "src/tenfold/motion_tracking/onnx_step.py"
    assert re.findall(r"InferenceSession\((\w+)", opens_graphs.read_text()) == ["str", "data"]
    for path in [*CHECKOUT.glob("src/**/*.py"), *CHECKOUT.glob("assets/*.py"), *CHECKOUT.glob("pipelines/**/*.py")]:
        text = path.read_text()
        for call in re.findall(r"(?:torch|np|numpy)\.load\([^\n]*", text):
            assert "weights_only=True" in call or "allow_pickle=False" in call, (path, call)
        forbidden = r"pickle\.loads?\(|cloudpickle|joblib\.load|yaml\.load\(|onnx\.load" + (
            "|InferenceSession" if path != opens_graphs else ""
        )
        assert not re.search(forbidden, text), path


# -- text -----------------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "a/../../b",
    "a'b",
    'a"b',
    "a`b",
    "",
    ".x",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_unit_with_markup_is_no_unit(unit: str) -> None:
    values = params.load(CHECKOUT)
    values[PAPER]["datasets"]["demo"]["units"] = [unit]
    with pytest.raises(UsageError, match="is no unit name"):
        params.datasets(values, PAPER)


def test_labels_reach_dagster_as_text_only() -> None:
    """The UI renders Markdown; what comes from a folder's or a file's name goes into tables and texts, which it does not."""
    hostile = HOSTILE[1]
    row = {"id": f"part/test/{hostile}/000", "unit": "part", "split": "test", "label": 1, "defect": hostile, "warnings": hostile}
    quarantine = pa.Table.from_pylist([{**row, "reason": hostile, "detail": hostile}], QUARANTINE_SCHEMA)
    notes = ingest.notes(quarantine, {f"test/{hostile}": 1}, ("split/defect", "parts"), {str(row["id"]): hostile}, "id", [hostile])
    shown = {note.label: value_of(note) for note in notes}
    assert sum(hostile in str(asdict(note)) for note in notes) == 3
    assert not [label for label, value in shown.items() if type(value).__name__ == "MarkdownMetadataValue"]

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy

from tenfold.core import tables
from tenfold.core.errors import BadData, UsageError
from tenfold.core.progress import Event, Progress
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.crossmodal_anomaly import config, features, prepare
from tenfold.crossmodal_anomaly.extractors import Extractors, FPFHCovariance, load_extractors
from tenfold.crossmodal_anomaly.operators import dense, operators
from tenfold.crossmodal_anomaly.packing import pack, unpack

SIZE = 48
BLOCK = config.Features(
    extractor_2d="efficientnet_lite0",
    extractor_3d="fpfh_covariance",
    extractor_mode="eval",
    size=SIZE,
    grid=16,
    centres=64,
    neighbours=32,
    depth_2d=16,
    depth_3d=12,
    pruned=[8],
    norm="standardise",
    offset=0.5,
    weights_2d={},
    weights_3d={},
    seed=0,
)


class Colours:
    """Stands in for a network: mean colours of 8 px patches, and their squares at the full depth."""

    name, sha256 = "colours", "c" * 64

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rgb: np.ndarray) -> dict[int, np.ndarray]:
        self.calls += 1
        patches = rgb.reshape(SIZE // 8, 8, SIZE // 8, 8, 3).mean((1, 3), dtype=np.float32) / 255
        return {8: patches, 16: np.concatenate([patches, patches**2, np.ones_like(patches[..., :1])], -1)}


class Stopping(Colours):
    def __call__(self, rgb: np.ndarray) -> dict[int, np.ndarray]:
        if np.array_equal(rgb, scan(3)[0]):
            raise KeyboardInterrupt
        return super().__call__(rgb)


class Heights:
    """Stands in for a learned 3D extractor with layers to prune."""

    name, sha256 = "heights", "d" * 64

    def __call__(self, points: np.ndarray, centres: np.ndarray, neighbours: np.ndarray) -> dict[int, np.ndarray]:
        height = points[neighbours][..., 2] - points[centres][:, None, 2]
        return {12: np.sort(height, axis=1)[:, :5] * 1e3, 8: height[:, :3] * 1e3}


def using(colours: Colours) -> Callable[[config.Features, Path], Extractors]:
    return lambda block, weights: Extractors(block, colours, FPFHCovariance(block.neighbours))


load = using(Colours())


def scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:SIZE, :SIZE] - SIZE / 2) * 5e-4
    xyz = np.stack([x, y, 0.4 + 20 * (x**2 + y**2) + rng.normal(0, 5e-5, x.shape)], -1)
    xyz[np.hypot(x, y) > 0.01] = 0
    return rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), xyz.astype(np.float32)


def prepared(folder: Path, parts: int = 5) -> Path:
    rows = []
    with ShardWriter(folder / "parts") as writer:
        for number in range(parts):
            rgb, xyz = scan(number)
            valid = xyz.any(-1)
            id = f"u/t/good/{number:03d}"
            writer.add(id, {"rgb": rgb, "xyz": xyz, "valid": valid.astype(np.uint8), "gt": np.zeros((SIZE, SIZE), np.uint8)})
            rows.append({"id": id, "split": "test" if number == 3 else "train", "defect": "good", "label": 0, "n_valid": int(valid.sum())})
    tables.write(pa.Table.from_pylist(rows), folder / "prep.parquet")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_part_survives_storage_to_half_precision() -> None:
    part = load(BLOCK, Path()).extract(*scan(0))
    arrays = pack(part, "a")
    assert "tokens3d@8" not in arrays and arrays["tokens2d@8"].shape == (6, 6, 3)
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "centres": "float32", "nn_idx": "uint16", "nn_w": "float16", "valid": "uint8",
        "tokens2d": "float16", "tokens2d@8": "float16", "tokens3d": "float16",
    }  # fmt: skip
    back = unpack(arrays, {"grid": 16, "size": SIZE, "depth": 16, "pruned": [8]})
    np.testing.assert_array_equal(back.valid, part.valid)
    np.testing.assert_array_equal(back.nn_idx, part.nn_idx)
    np.testing.assert_allclose(back.nn_w.sum(1), 1, atol=1e-6)
    for depth in (16, 8):
        for stored, made in zip(dense(back, depth), dense(part, depth), strict=True):
            np.testing.assert_allclose(stored, made, rtol=5e-3, atol=5e-3)


def test_tokens_beyond_half_precision_are_refused_by_name() -> None:
    part = load(BLOCK, Path()).extract(*scan(0))
    for value in (np.nan, 7e4):
        spoilt = {16: np.full_like(part.tokens2d[16], value), 8: part.tokens2d[8]}
        with pytest.raises(BadData, match="part 7: tokens2d at depth 16"):
            pack(replace(part, tokens2d=spoilt), "part 7")


def test_extraction_is_deterministic_and_lowers_the_centres_of_a_small_part() -> None:
    rgb, xyz = scan(1)
    extractors = load(BLOCK, Path())
    first, second = extractors.extract(rgb, xyz), extractors.extract(rgb, xyz.copy())
    for name in ("centres", "nn_idx", "nn_w", "valid"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.tokens3d[16], second.tokens3d[16])
    assert first.centres.shape == (64, 3) and first.tokens3d[16].shape == (64, 73) and first.grid == 16
    np.testing.assert_array_equal(first.centres[0], xyz[first.valid][0])

    few = xyz.copy()
    few[np.cumsum(xyz.any(-1)).reshape(xyz.shape[:2]) > 40] = 0
    small = extractors.extract(rgb, few)
    assert small.centres.shape == (40, 3) and np.isfinite(small.tokens3d[16]).all()


def test_a_pruned_depth_of_the_3d_extractor_is_its_own() -> None:
    part = Extractors(BLOCK, Colours(), Heights()).extract(*scan(2))
    assert {depth: tokens.shape[1] for depth, tokens in part.tokens3d.items()} == {16: 5, 8: 3}
    assert pack(part, "a")["tokens3d@8"].shape == (64, 3)


def test_what_is_no_prepared_part_is_refused() -> None:
    rgb, xyz = scan(0)
    extractors = load(BLOCK, Path())
    with pytest.raises(BadData, match="prepare the part first"):
        extractors.extract(rgb[:20], xyz[:20])
    with pytest.raises(BadData, match="both modalities"):
        extractors.extract(rgb, np.zeros_like(xyz))


@pytest.mark.parametrize("norm", ["standardise", "none"])
def test_run_writes_the_folder_and_the_norms_of_the_training_parts(tmp_path: Path, norm: str) -> None:
    block = replace(BLOCK, norm=norm)
    made = features.run(prepared(tmp_path / "in"), block, Path(), tmp_path / "out", Progress(), load)
    info = json.loads((tmp_path / "out" / "features.json").read_text())
    assert info["channels"] == {"16": [7, 73], "8": [3, 73]} == made.facts["channels"]
    assert (info["grid"], info["size"], info["tokens"], info["depth"], info["pruned"]) == (16, SIZE, [6, 6], 16, [8])
    assert info["extractor_2d"] == {"name": "colours", "sha256": "c" * 64} and info["mode"] == "eval"

    table = tables.read(tmp_path / "out" / "parts.parquet")
    assert table.schema == features.PARTS and table.column("split").to_pylist() == ["train", "train", "train", "test", "train"]
    reader = ShardReader(tmp_path / "out" / "parts")
    norms = safetensors.numpy.load((tmp_path / "out" / "norm.safetensors").read_bytes())
    assert set(norms) == {f"{name}{suffix}" for name in features.NORMS for suffix in ("", "@8")}
    for depth, suffix in ((16, ""), (8, "@8")):
        rows = [dense(unpack(reader.get(id), info), depth) for id in reader.ids if not id.endswith("003")]
        for k, name in enumerate(("2d", "3d")):
            pixels = np.concatenate([row[k] for row in rows]).astype(np.float64)
            mean, std = pixels.mean(0), pixels.std(0)
            std[std < 1e-6] = 1
            if norm == "none":
                mean, std = np.zeros_like(mean), np.ones_like(std)
            np.testing.assert_allclose(norms[f"mean{name}{suffix}"], mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(norms[f"std{name}{suffix}"], std, rtol=1e-4, atol=1e-7)
    assert norms["std2d"][6] == 1  # a channel that never varies


def test_a_killed_run_goes_on_and_makes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = prepared(tmp_path / "in")
    monkeypatch.setattr(features, "SHARD_BYTES", 1)
    features.run(source, BLOCK, Path(), tmp_path / "whole", Progress(), load)

    with pytest.raises(KeyboardInterrupt):
        features.run(source, BLOCK, Path(), tmp_path / "killed", Progress(), using(Stopping()))
    again = Colours()
    features.run(source, BLOCK, Path(), tmp_path / "killed", Progress(), using(again))
    assert again.calls == 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_fewer_points_than_centres_are_told(tmp_path: Path) -> None:
    events: list[Event] = []
    made = features.run(prepared(tmp_path / "in", 2), replace(BLOCK, centres=5000), Path(), tmp_path / "out", Progress(events.append), load)
    assert any("u/t/good/000" in event.text and "5000" in event.text for event in events)
    table = next(note.value for note in made.notes if note.label == "Fewer centres")
    assert [row[0] for row in table["rows"]] == ["u/t/good/000", "u/t/good/001"]


def test_the_demo_recipe_runs_on_real_weights() -> None:
    block = replace(BLOCK, size=64, neighbours=64)
    extractors = load_extractors(block, Path())
    rgb, xyz = (np.pad(image, ((8, 8), (8, 8), (0, 0))) for image in scan(0))
    part = extractors.extract(rgb, xyz, prepare.valid_points(xyz))
    assert {depth: tokens.shape for depth, tokens in part.tokens2d.items()} == {16: (8, 8, 176), 8: (8, 8, 64)}
    assert part.tokens3d[16].shape == (64, 73)
    f2, f3 = dense(part)
    assert f2.shape == (operators(part).mask.sum(), 176) and np.isfinite(f2).all() and np.isfinite(f3).all()
    assert len(extractors.colour.sha256) == 64


def test_recipes_that_name_what_does_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="official_train"):
        load_extractors(replace(BLOCK, extractor_mode="official_train"), Path())
    with pytest.raises(UsageError, match="below depth_2d = 8"):
        load_extractors(replace(BLOCK, depth_2d=8), Path())

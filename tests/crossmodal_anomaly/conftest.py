"""A unit small enough for seconds: prepared parts, features, trained networks and baselines in the folders' real formats.

Colour and geometry tokens are two views of one smooth latent field, so a mapping between them can be learned. Defects break one view
(stain: colour; dent, bump: geometry) or the relation of both (mismatch).
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch

from tenfold.core import tables
from tenfold.core.progress import Progress
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.crossmodal_anomaly import baselines, config, scoring
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.geometry import interpolation_weights
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.operators import PartFeatures, dense
from tenfold.crossmodal_anomaly.packing import pack

SIZE, GRID, TOKENS, CENTRES = 32, 16, 8, 24
WIDTHS = (10, 8)
OPTIONS = MapOptions("product", "boxes", "none", "zero")
EVALUATION = config.Evaluation(
    ties="flat", smoothing="boxes", combine="product", score_norm="none", missing="zero", bootstrap=200, timing_repeats=3, seed=0
)
IDENTITY = {"paper": "crossmodal_anomaly", "dataset": "tiny", "partition": "tiny.disc", "model_key": "0" * 16, "data_version": "1" * 64}
PARTS = [
    *(("train", "good", i) for i in range(12)),
    *(("validation", "good", i) for i in range(4)),
    *(("test", "good", i) for i in range(5)),
    *(("test", kind, i) for kind in ("dent", "bump", "stain", "mismatch") for i in range(3)),
]


def _views() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.standard_normal((4, WIDTHS[0])).astype(np.float32), rng.standard_normal((4, WIDTHS[1])).astype(np.float32)


def make_part(split: str, defect: str, index: int) -> tuple[PartFeatures, dict[str, np.ndarray]]:
    """Features and prepared arrays of one part."""
    rng = np.random.default_rng([len(split), sum(map(ord, defect)), index])
    yy, xx = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE - 0.5
    valid = np.hypot(yy, xx) < 0.42
    gt = np.zeros((SIZE, SIZE), np.uint8)
    if defect != "good":
        y, x = rng.uniform(-0.2, 0.2, 2)
        gt[np.hypot(yy - y, xx - x) < 0.11] = 1

    def field(y: np.ndarray, x: np.ndarray, shift: float = 0.0) -> np.ndarray:
        phase = rng_phase + shift
        return np.stack([np.sin(5 * x + phase[0]), np.cos(4 * y + phase[1]), np.sin(6 * x * y + phase[2]), np.ones_like(x)], -1)

    rng_phase = rng.uniform(0, 1.5, 3)
    points = np.stack([xx[valid] * 0.1, yy[valid] * 0.1, 0.5 + 0.01 * np.hypot(yy, xx)[valid]], -1).astype(np.float32)
    chosen = rng.choice(len(points), CENTRES, replace=False)
    centres = points[chosen]
    ty, tx = (np.mgrid[:TOKENS, :TOKENS] + 0.5) / TOKENS - 0.5
    cx, cy = centres[:, 0] / 0.1, centres[:, 1] / 0.1
    z2, z3 = field(ty, tx), field(cy, cx)
    if defect != "good":
        in2, in3 = np.hypot(ty - y, tx - x) < 0.14, np.hypot(cy - y, cx - x) < 0.14
        if defect in ("stain", "mismatch"):
            z2[in2] = field(ty, tx, 2.0)[in2]
        if defect in ("dent", "bump", "mismatch"):
            z3[in3] = field(cy, cx, -2.0)[in3]
    to2, to3 = _views()
    tokens2d = (z2 @ to2 + 0.05 * rng.standard_normal((TOKENS, TOKENS, WIDTHS[0]))).astype(np.float32)
    tokens3d = (z3 @ to3 + 0.05 * rng.standard_normal((CENTRES, WIDTHS[1]))).astype(np.float32)
    nn_idx, nn_w = interpolation_weights(points, centres)
    part = PartFeatures(
        grid=GRID,
        depth=16,
        tokens2d={16: tokens2d, 8: tokens2d[..., :6]},
        tokens3d={16: tokens3d, 8: tokens3d},
        centres=centres,
        nn_idx=nn_idx,
        nn_w=nn_w,
        valid=valid,
    )
    xyz = np.zeros((SIZE, SIZE, 3), np.float32)
    xyz[valid] = points
    rgb = np.where(valid[..., None], 120 + 60 * field(yy, xx)[..., :3], 20).clip(0, 255).astype(np.uint8)
    return part, {"xyz": xyz, "rgb": rgb, "gt": gt, "valid": valid.astype(np.uint8)}


def _train(folder: FeatureFolder, ids: list[str], depth: int, seed: int) -> CrossModal:
    torch.manual_seed(seed)
    network = CrossModal(*folder.channels(depth))
    rows = [dense(folder.part(id), depth) for id in ids]
    f2, f3 = (torch.from_numpy(np.concatenate([row[k] for row in rows])) for k in (0, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        network.loss(f2, f3)["loss"].backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def _network(features: Path, out: Path, variant: str, seed: int) -> None:
    folder = FeatureFolder(features)
    depth = int(variant.partition("depth=")[2] or 0)
    ids = folder.train[: int(variant.partition("shots=")[2] or len(folder.train))]
    network = _train(folder, ids, depth, seed)
    made = out / "networks" / (variant or "full") / f"seed{seed}"
    made.mkdir(parents=True)
    made.joinpath("mappers.safetensors").write_bytes(safetensors.torch.save(network.state_dict()))
    scored = {id: scoring.score_network(network, folder.part(id), OPTIONS, depth) for id in folder.validation}
    pixels = np.concatenate([s.maps["product"].ravel() for s in scored.values()])
    calibration = scoring.calibrate({id: s.scores["product"] for id, s in scored.items()}, pixels, 0.75, 0.99)
    made.joinpath("calibration.json").write_text(json.dumps(asdict(calibration)))
    made.joinpath("shots.json").write_text(json.dumps({"parts": ids, "epochs": 2, "steps": 60, "best_epoch": 2}))
    curve = {"epoch": [1, 2], "train/loss": [1.0, 0.5], "validation/loss": [1.1, 0.6]}
    tables.write(pa.table(curve | {"validation/cosine_2to3": [0.5, 0.7], "validation/cosine_3to2": [0.4, 0.7]}), made / "curves.parquet")


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders `dataset`, `prepared`, `features`, `model`, `baselines` of one tiny unit."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("tiny_unit")
    folders = {name: root / name for name in ("dataset", "prepared", "features", "model", "baselines")}
    for folder in folders.values():
        folder.mkdir()
    rows = []
    with ShardWriter(folders["prepared"] / "parts") as prepared, ShardWriter(folders["features"] / "parts") as features:
        for split, defect, index in PARTS:
            id = f"disc/{split}/{defect}/{index:03d}"
            part, arrays = make_part(split, defect, index)
            prepared.add(id, arrays)
            features.add(id, pack(part, id))
            rows.append(
                {
                    "id": id,
                    "unit": "disc",
                    "split": split,
                    "defect": defect,
                    "label": int(defect != "good"),
                    "n_valid": int(part.valid.sum()),
                }
            )
    tables.write(pa.Table.from_pylist(rows), folders["features"] / "parts.parquet")
    plane = {"inlier_ratio": 0.9, "plane_found": True, "kept_fraction": 0.98, "n_clusters": 1, "median_z": 0.5, "warnings": ""}
    tables.write(pa.Table.from_pylist([row | plane for row in rows]), folders["prepared"] / "prep.parquet")
    tables.write(pa.Table.from_pylist(rows), folders["dataset"] / "samples.parquet")
    bad = {
        "id": "disc/train/good/099",
        "unit": "disc",
        "split": "train",
        "defect": "good",
        "reason": "unreadable",
        "detail": "cut <off> at byte 12",
    }
    tables.write(pa.Table.from_pylist([bad]), folders["dataset"] / "quarantine.parquet")
    info = {"grid": GRID, "size": SIZE, "depth": 16, "pruned": [8], "channels": {"16": WIDTHS, "8": (6, WIDTHS[1])}, "mode": "eval"}
    info |= {"extractor_2d": {"name": "none", "sha256": ""}, "extractor_3d": {"name": "none", "sha256": ""}, "norm": "none", "offset": 0.0}
    folders["features"].joinpath("features.json").write_text(json.dumps(info))
    norm = {}
    for suffix, widths in (("", WIDTHS), ("@8", (6, WIDTHS[1]))):
        for name, width in zip(("2d", "3d"), widths, strict=True):
            norm |= {f"mean{name}{suffix}": torch.zeros(width), f"std{name}{suffix}": torch.ones(width)}
    folders["features"].joinpath("norm.safetensors").write_bytes(safetensors.torch.save(norm))
    for variant, seed in (("", 0), ("", 1), ("shots=10", 0), ("shots=5", 0), ("depth=8", 0)):
        _network(folders["features"], folders["model"], variant, seed)
    networks = [{"variant": "", "seed": 0, "parts": 12}]
    folders["model"].joinpath("model.json").write_text(json.dumps({"kind": "standard", "maps": asdict(OPTIONS), "networks": networks}))
    block = config.Baselines(
        grid=GRID, coreset=0.1, projection=0, shots=[10, 5], variants_on=[], variant_seeds=[0], ridge=1.0, reweight=0, seed=0
    )
    baselines.run(folders["features"], block, folders["baselines"], Progress())
    return folders


class FakeExtractors:
    """Stands in for the frozen extractors where only their time is measured."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def extract(self, rgb: np.ndarray, xyz: np.ndarray, valid: np.ndarray) -> float:
        return float(rgb.sum()) + float(xyz.sum()) + float(valid.sum())


@pytest.fixture(scope="session")
def tiny_evaluation(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of the tiny unit."""
    from tenfold.crossmodal_anomaly import evaluate

    out = tmp_path_factory.mktemp("tiny_evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "extractors_of", lambda folder, depth: FakeExtractors(depth))
        inputs = [tiny_folders[name] for name in ("prepared", "features", "model", "baselines")]
        made = evaluate.run(*inputs, EVALUATION, out, Progress(), IDENTITY)
    out.joinpath("made.json").write_text(json.dumps(made.to_json()))
    return out


@pytest.fixture(scope="session")
def tiny_ids(tiny_folders: dict[str, Path]) -> Callable[[str], list[str]]:
    """Ids of the prepared parts of one split."""
    ids = ShardReader(tiny_folders["prepared"] / "parts").ids
    return lambda split: sorted(id for id in ids if f"/{split}/" in id)

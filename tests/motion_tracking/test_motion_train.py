"""Training on a small features folder: windows, the linear map in closed form, kill and resume, variants, the folder that is made."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from motion_tracking.small_features import MODEL, folder

from tenfold.core import tables
from tenfold.core.errors import BadData, Corrupt, Stopped, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.core.stage import Made
from tenfold.motion_tracking import config, onnx_step, predictor_folder, sensors, tracking, train, variants
from tenfold.motion_tracking.windows import Source, Windows

SERVING = predictor_folder.Serving("central")
TEMPORAL = pytest.mark.parametrize("temporal", ["lstm", "transformer_window"])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("motion") / "features")


def made(features: Path, block: config.Model, at: Path, journal: object = None) -> Made:
    return train.run(features, block, at / "out", at / "scratch", Progress(), journal or NullJournal(), SERVING)  # type: ignore[arg-type]


def windows(features: Path, **changes: object) -> Windows:
    given = {"frames": 16, "per_clip": 3, "sensor_sets": ["hmd", "hmd_3imus"], "masks": "one", "switch": 0.0, "noise": []}
    return Windows(Source(features), **(given | changes))  # type: ignore[arg-type]


def test_windows_are_rows_of_one_clip(features: Path) -> None:
    source, cut = Source(features), windows(features)
    torch.manual_seed(0)
    batch = cut.batch(np.arange(12))
    assert batch.x.shape == (12, 16, 135) and batch.truth.positions.shape == (12, 16, 22, 3) and cut.items == 12
    for number in range(12):
        clip = cut.clips[number % 4]
        pose, x = source.clip("pose6d", clip), source.clip("x", clip)
        start = next(t for t in range(clip.length) if torch.equal(pose[t], batch.truth.pose[number, 0]))
        assert torch.equal(batch.truth.pose[number], pose[start : start + 16])
        kept = [torch.where(torch.from_numpy(sensors.mask(name)), x[start : start + 16], 0.0) for name in ("hmd", "hmd_3imus")]
        assert any(torch.equal(batch.x[number], each) for each in kept)
        assert torch.equal(batch.truth.joints[number], source.rest_joints([clip])[0])


def test_all_masks_see_the_same_windows(features: Path) -> None:
    batch = windows(features, masks="all").batch(np.arange(4))
    assert len(batch.x) == 8 and torch.equal(batch.truth.pose[:4], batch.truth.pose[4:])
    assert not batch.x[:4, :, 126:].any() and batch.x[4:, :, 126:].all()
    assert torch.equal(batch.x[:4, :, 72:126], batch.x[4:, :, 72:126])


def test_switched_windows_change_once(features: Path) -> None:
    torch.manual_seed(0)
    there = windows(features, switch=1.0, per_clip=20).batch(np.arange(80)).x[..., 18:24].any(-1).int()
    changes = torch.diff(there, dim=1).abs().sum(1)
    assert changes.max() == 1 and 0.2 < changes.float().mean() < 0.8


def test_windows_refuse(features: Path) -> None:
    with pytest.raises(BadData, match="41 frames"):
        windows(features, frames=41)
    with pytest.raises(UsageError, match="train_noise"):
        windows(features, noise=["light"])


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadData):
        made(tmp_path, MODEL, tmp_path)


def test_the_linear_map_is_the_ridge_solution(features: Path) -> None:
    # without filters and turned frame the network at its start is a ridge regression, which scikit-learn solves independently
    from sklearn.linear_model import Ridge

    block = replace(MODEL, canonical="none", poles=0, skip_alphas=[1.0], shape_alpha=1.0, ridge=3.0)
    source = Source(features)
    network = train.begin(source, block, 0).eval()
    clips = source.clips.rows("train")
    assert np.allclose(network.get_buffer("mean"), np.concatenate([source.clip("x", clip) for clip in clips]).mean(0), atol=1e-4)
    for sensor_set in block.sensor_sets:
        kept = sensors.mask(sensor_set)
        x = np.concatenate([source.clip("x", clip) for clip in clips])
        pose = np.concatenate([source.clip("pose6d", clip) for clip in clips])
        x = ((x - network.get_buffer("mean").numpy()) / network.get_buffer("std").numpy())[:, kept]
        expected = Ridge(alpha=3.0).fit(x.astype(np.float64), pose.astype(np.float64)).predict(x)
        with torch.no_grad():
            found = torch.cat([network(torch.where(torch.from_numpy(kept), source.clip("x", clip), 0.0)[None])[0][0] for clip in clips])
        assert np.abs(found.numpy() - expected).max() < 2e-3


def test_learning_rate() -> None:
    cosine = train.schedule(replace(MODEL, warmup_epochs=1.0), 100, 10)
    assert cosine(0) == pytest.approx(1e-3) and cosine(10) == 1 and cosine(55) == pytest.approx(0.5) and cosine(100) == pytest.approx(0)
    steps = train.schedule(replace(MODEL, schedule="steps", warmup_epochs=1.0, drop_epoch=300), 4000, 10)
    assert (
        steps(5) == pytest.approx(10**-1.5) and steps(2999) == 1 and steps(3030) == pytest.approx(0.1) and steps(3999) == pytest.approx(0.1)
    )


@pytest.mark.slow
def test_run_makes_what_it_says(features: Path, tmp_path: Path) -> None:
    block = replace(MODEL, variants=["one_lstm", "shape_zero", "only_hmd", "one_transformer"])
    report = made(features, block, tmp_path)
    records = json.loads((tmp_path / "out/model.json").read_text())["networks"]
    assert (
        [record["variant"] for record in records]
        == ["", "one_lstm", "shape_zero", "only_hmd", "one_transformer"]
        == [r["variant"] for r in report.facts["networks"]]
    )
    assert [record["steps"] for record in records] == [6, 3, 3, 1, 3]
    assert all(abs(records[k]["parameters"] / records[0]["parameters"] - 1) < 0.05 for k in (1, 4))
    history = tables.read(tmp_path / "out/networks/full/seed0/curves.parquet").to_pylist()
    assert [row["epoch"] for row in history] == [1, 2, 3] and all(np.isfinite(row[train.ERROR]) for row in history)
    network = train.load_network(tmp_path / "out")
    x = Source(features).clips.x[:30]
    local, betas = tracking.predict_clip(network, x, "hmd_2imus")
    assert not train.load_network(tmp_path / "out", "shape_zero").shape_head and betas.any()
    parts = predictor_folder.read(tmp_path / "out/predictor")
    assert parts.body is not None and parts.description["onnx_parity"] < 1e-5
    state = parts.step.start()
    for row in sensors.apply_mask(x, "hmd_2imus"):
        frame, state = parts.step(row[None].astype(np.float32), state)
    assert np.allclose(frame.betas[0], betas[-1], atol=1e-4) and isinstance(parts.step, onnx_step.OnnxStep)
    with pytest.raises(UsageError, match="seed 7"):
        train.load_network(tmp_path / "out", "", 7)
    (tmp_path / "out/networks/full/seed0/weights.safetensors").write_bytes(b"broken")
    with pytest.raises(Corrupt, match="seed0"):
        train.load_network(tmp_path / "out")
    with pytest.raises(BadData, match="predictor.json"):
        predictor_folder.read(tmp_path)


class Killer:
    """A journal that asks this process to stop after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def network(self, variant: str, seed: int, params: Mapping[str, object]) -> "Killer":
        return self

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    def done(self, metrics: Mapping[str, float]) -> None:
        return None


@pytest.mark.slow
@TEMPORAL
def test_killed_and_resumed_training_ends_with_the_same_bits(temporal: str, features: Path, tmp_path: Path) -> None:
    block = replace(MODEL, temporal=temporal, dropout=0.1)
    made(features, block, tmp_path / "whole")
    with pytest.raises(Stopped):
        made(features, block, tmp_path / "cut", Killer(1))
    made(features, block, tmp_path / "cut")
    names = ["networks/full/seed0/weights.safetensors", "networks/full/seed0/network.json"]
    assert [(tmp_path / "whole/out" / name).read_bytes() for name in names] == [
        (tmp_path / "cut/out" / name).read_bytes() for name in names
    ]
    curves = [tables.read(tmp_path / at / "out/networks/full/seed0/curves.parquet") for at in ("whole", "cut")]
    assert curves[0].equals(curves[1])


@pytest.mark.slow
@TEMPORAL
def test_training_lowers_the_error(temporal: str, features: Path, tmp_path: Path) -> None:
    block = replace(MODEL, temporal=temporal, skip="none", skip_alphas=[], epochs=40, windows_per_clip=4, validate_every=40)
    made(features, block, tmp_path)
    history = tables.read(tmp_path / "out/networks/full/seed0/curves.parquet").to_pylist()
    assert history[-1]["train/loss"] < 0.7 * history[0]["train/loss"]


@TEMPORAL
def test_half_precision_gives_nearly_the_same_loss_and_gradient(temporal: str, features: Path) -> None:
    source, found = Source(features), {}
    torch.manual_seed(0)
    batch = windows(features).batch(np.arange(4))
    for precision in ("fp32", "bf16"):
        block = replace(MODEL, temporal=temporal, skip="none", skip_alphas=[], precision=precision)
        network = train.begin(source, block, 0)
        loss = train.objective(network, source, block)(batch)["loss"]
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        assert gradient.dtype == torch.float32 and all(p.dtype == torch.float32 for p in network.parameters())
        found[precision] = (loss.item(), gradient)
    assert found["bf16"][0] != found["fp32"][0] and found["bf16"][0] == pytest.approx(found["fp32"][0], rel=0.02)
    assert torch.nn.functional.cosine_similarity(found["bf16"][1], found["fp32"][1], 0) > 0.95


def test_unknown_variant() -> None:
    with pytest.raises(UsageError, match="one_lstm"):
        variants.parse("one_lstn", MODEL)


@pytest.mark.parametrize("name", variants.CHANGES)
def test_every_variant_is_a_network(name: str) -> None:
    found = variants.parse(name, MODEL)
    assert found.steps == (1 if name.startswith("only_") else 3)
    network = train.Network(train.options_of(found.block)).eval()
    pose, betas, _ = network(torch.zeros(1, 3, 135))
    assert pose.shape == (1, 3, 132) and bool(betas.any()) is False if name == "shape_zero" else True

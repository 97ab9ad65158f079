"""Training of a whole (tiny) unit: deterministic, resumable, calibrated, honest about its inputs."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tenfold.core import tables
from tenfold.core.errors import BadData, Stopped, UsageError
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.core.stage import Made
from tenfold.crossmodal_anomaly import config, predictor_folder, train
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.pixels import PixelCache

BLOCK = config.Model(
    seeds=[0, 1],
    epochs=4,
    lr=1.0e-3,
    batch=4,
    mapper="standard",
    pixels_per_part=0,
    shots=0,
    variants=["shots=5", "depth=8"],
    variants_on=["disc"],
    variant_seeds=[3],
    few_shot_steps=7,
    validate_every=1,
    image_quantile=0.75,
    pixel_quantile=0.99,
    checkpoint_every=2,
    combine="product",
    smoothing="boxes",
    score_norm="none",
    missing="zero",
)
FULL_ONLY = replace(BLOCK, seeds=[0], variants=[])


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> predictor_folder.Serving:
    prepared = config.Prepared(
        size=32, pad_multiple=100, plane="off", plane_threshold_m=0.004, plane_cut_m=0.005, plane_draws=10, plane_sample=50,
        plane_min_inliers=0.3, plane_border_px=10, cluster_eps_m=0.006, cluster_min_points=8, keep="largest", keep_fraction=0.05,
        split_warning=0.6, validity="finite", min_points=10, max_quarantine=0.05, seed=0,
    )  # fmt: skip
    features = config.Features(
        extractor_2d="efficientnet_lite0", extractor_3d="fpfh_covariance", extractor_mode="eval", size=32, grid=16, centres=24,
        neighbours=16, depth_2d=16, depth_3d=12, pruned=[8], norm="none", offset=0.0, weights_2d={}, weights_3d={}, seed=0,
    )  # fmt: skip
    return predictor_folder.Serving(prepared, features, 1.0, tmp_path_factory.mktemp("weights"))


class Diary:
    """Keeps what a journal is told."""

    def __init__(self) -> None:
        self.params: dict[tuple[str, int], Mapping[str, object]] = {}
        self.epochs: dict[tuple[str, int], list[Mapping[str, float]]] = {}
        self.finals: dict[tuple[str, int], Mapping[str, float]] = {}

    def network(self, variant: str, seed: int, params: Mapping[str, object]) -> "Page":
        self.params[variant, seed] = params
        self.epochs[variant, seed] = []
        return Page(self, (variant, seed))


class Page:
    def __init__(self, diary: Diary, key: tuple[str, int]) -> None:
        self.diary, self.key = diary, key

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.diary.epochs[self.key].append(metrics)

    def done(self, metrics: Mapping[str, float]) -> None:
        self.diary.finals[self.key] = metrics


def run(features: Path, root: Path, serving: predictor_folder.Serving, block: config.Model = BLOCK, journal: object = None) -> Made:
    out, scratch = root / "out", root / "scratch"
    for folder in (out, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    return train.run(features, block, out, scratch, Progress(), journal or NullJournal(), serving)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def trained(
    tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, serving: predictor_folder.Serving
) -> tuple[Path, Made, Diary]:
    root, diary = tmp_path_factory.mktemp("trained"), Diary()
    made = run(tiny_folders["features"], root, serving, journal=diary)
    return root / "out", made, diary


def test_layout_and_numbers(trained: tuple[Path, Made, Diary], tiny_folders: dict[str, Path]) -> None:
    out, made, diary = trained
    folders = {str(path.parent.relative_to(out / "networks")) for path in out.rglob("mappers.safetensors") if "networks" in path.parts}
    assert folders == {"full/seed0", "full/seed1", "shots=5/seed3", "depth=8/seed3"}
    curves = tables.read(out / "networks/full/seed0/curves.parquet").to_pydict()
    assert curves["epoch"] == [1, 2, 3, 4]
    assert curves["train/loss"][-1] < curves["train/loss"][0]
    np.testing.assert_allclose(
        curves["validation/loss"], 2 - np.array(curves["validation/cosine_2to3"]) - curves["validation/cosine_3to2"], atol=1e-9
    )
    shots = json.loads((out / "networks/shots=5/seed3/shots.json").read_text())
    assert len(shots["parts"]) == 5 and shots["steps"] == 7 and set(shots["parts"]) <= set(FeatureFolder(tiny_folders["features"]).train)
    assert train.load_network(out, "depth=8", 3).channels == (6, 8)
    assert json.loads((out / "model.json").read_text())["maps"] == {
        "combine": "product", "smoothing": "boxes", "score_norm": "none", "missing": "zero"
    }  # fmt: skip
    assert diary.params["shots=5", 3]["shots"] == 5
    assert all("pixels_per_s" in epoch for epochs in diary.epochs.values() for epoch in epochs)
    assert diary.finals["", 0]["image_threshold"] == train.load_calibration(out).image_threshold
    assert {note.label for note in made.notes} >= {"Networks", "Parameters", "Image threshold", "Calibration"}


def test_two_runs_are_equal_bit_for_bit(
    trained: tuple[Path, Made, Diary], tiny_folders: dict[str, Path], tmp_path: Path, serving: predictor_folder.Serving
) -> None:
    made = run(tiny_folders["features"], tmp_path, serving)
    assert content(tmp_path / "out") == content(trained[0])
    assert made.facts == trained[1].facts


def test_a_stopped_run_goes_on_to_the_same_bits(
    trained: tuple[Path, Made, Diary],
    tiny_folders: dict[str, Path],
    tmp_path: Path,
    serving: predictor_folder.Serving,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in the middle of the second network, whose first comes from the folder and whose rest from the checkpoint."""
    steps = 0
    cosines = CrossModal.cosines

    def counting(self: CrossModal, z2: torch.Tensor, z3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal steps
        steps += self.training
        if steps == 17:
            os.kill(os.getpid(), signal.SIGTERM)
        return cosines(self, z2, z3)

    monkeypatch.setattr(CrossModal, "cosines", counting)
    with pytest.raises(Stopped):
        run(tiny_folders["features"], tmp_path, serving)
    assert not (tmp_path / "out/networks/full/seed1/calibration.json").exists()
    run(tiny_folders["features"], tmp_path, serving)
    assert steps < 12 * 2 + 7 + 12 + 3, "finished steps are not repeated"
    assert content(tmp_path / "out") == content(trained[0])


def test_finished_networks_are_not_trained_again(
    trained: tuple[Path, Made, Diary], tiny_folders: dict[str, Path], serving: predictor_folder.Serving, tmp_path: Path
) -> None:
    diary = Diary()
    before = content(trained[0])
    train.run(tiny_folders["features"], BLOCK, trained[0], tmp_path, Progress(), diary, serving)
    assert not diary.params and content(trained[0]) == before


def test_best_epoch_is_kept(tiny_folders: dict[str, Path], tmp_path: Path, serving: predictor_folder.Serving) -> None:
    """With a learning rate far too high the last epoch is not the best one."""
    run(tiny_folders["features"], tmp_path, serving, replace(FULL_ONLY, lr=0.3, epochs=8))
    losses = tables.read(tmp_path / "out/networks/full/seed0/curves.parquet").column("validation/loss").to_pylist()
    best = json.loads((tmp_path / "out/networks/full/seed0/shots.json").read_text())["best_epoch"]
    assert losses[best - 1] == min(losses)
    network = train.load_network(tmp_path / "out")
    held_out = PixelCache(FeatureFolder(tiny_folders["features"]), FeatureFolder(tiny_folders["features"]).validation, 0, network)
    assert train.validation(network, held_out)["validation/loss"] == pytest.approx(min(losses), abs=1e-6)


def test_nan_names_the_parts(
    tiny_folders: dict[str, Path], tmp_path: Path, serving: predictor_folder.Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    poisoned, part_of = folder.train[3], FeatureFolder.part

    def part(self: FeatureFolder, id: str) -> object:
        found = part_of(self, id)
        if id == poisoned:
            found.tokens2d[found.depth][:] = np.nan
        return found

    monkeypatch.setattr(FeatureFolder, "part", part)
    with pytest.raises(BadData, match=poisoned):
        run(tiny_folders["features"], tmp_path, serving, FULL_ONLY)


def test_streamed_pixels_are_the_held_ones(tiny_folders: dict[str, Path]) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    network = CrossModal(*folder.channels())
    network.set_norm(torch.ones(10), torch.full((10,), 2.0), torch.ones(8), torch.full((8,), 0.5))
    held = PixelCache(folder, folder.train, 0, network)
    streamed = PixelCache(folder, folder.train, 0, network, budget=20_000)
    compact = PixelCache(folder, folder.train, 0, network, compact=True)
    for _ in range(2):
        for a, b, c in zip(*(cache.batch(range(6)) for cache in (held, streamed, compact)), strict=True):
            assert torch.equal(a, b)
            torch.testing.assert_close(a, c, rtol=1e-5, atol=1e-5)
    assert held.held == compact.held == 6 and 0 < streamed.held < 6


def test_pixels_per_part(tiny_folders: dict[str, Path], tmp_path: Path, serving: predictor_folder.Serving) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    cache = PixelCache(folder, folder.train, 0, CrossModal(*folder.channels()))
    torch.manual_seed(0)
    z2, z3 = cache.batch([0, 1], per_part=20)
    assert len(z2) == len(z3) == 40
    whole = cache.pixels(0)[0]
    assert len({tuple(row) for row in z2[:20].tolist()} & {tuple(row) for row in whole.tolist()}) == 20
    blocks = replace(FULL_ONLY, pixels_per_part=20)
    for name in ("a", "b"):
        run(tiny_folders["features"], tmp_path / name, serving, blocks)
    assert content(tmp_path / "a/out") == content(tmp_path / "b/out")


def test_shuffled_pairing_destroys_the_method() -> None:
    """Both modalities see one latent; a mismatch shows each its own. Alone each looks nominal, so only a learned relation finds it."""
    rng = np.random.default_rng(0)
    to2, to3 = rng.standard_normal((3, 10)), rng.standard_normal((3, 8))

    def views(pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
        latent = rng.standard_normal((pixels, 3))
        noisy = (np.sin(latent @ to) + 0.05 * rng.standard_normal((pixels, to.shape[1])) for to in (to2, to3))
        f2, f3 = (torch.from_numpy(f.astype(np.float32)) for f in noisy)
        return f2, f3

    train2, train3 = views(2000)
    test2, test3 = views(1000)
    mismatch = torch.arange(1000) < 300
    test3[mismatch] = test3[mismatch].roll(1, 0)
    area = {}
    for paired in (True, False):
        torch.manual_seed(0)
        network = CrossModal(10, 8)
        target = train3 if paired else train3.roll(500, 0)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            network.loss(train2, target)["loss"].backward()
            optimizer.step()
        with torch.no_grad():
            d2, d3 = network.distances(test2, test3)
        area[paired] = roc_auc_score(mismatch, d2 * d3)
    assert area[True] > 0.95 and abs(area[False] - 0.5) < 0.1, area


def test_without_validation_the_training_parts_calibrate_and_say_so(
    tiny_folders: dict[str, Path], tmp_path: Path, serving: predictor_folder.Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = FeatureFolder.__init__

    def without(self: FeatureFolder, path: Path) -> None:
        init(self, path)
        self.validation = []

    monkeypatch.setattr(FeatureFolder, "__init__", without)
    run(tiny_folders["features"], tmp_path, serving, FULL_ONLY)
    calibration = train.load_calibration(tmp_path / "out")
    assert "training parts" in calibration.note and len(calibration.scores) == 12


def test_bad_requests(
    tiny_folders: dict[str, Path], tmp_path: Path, serving: predictor_folder.Serving, trained: tuple[Path, Made, Diary]
) -> None:
    with pytest.raises(UsageError, match="depth=4"):
        run(tiny_folders["features"], tmp_path, serving, replace(BLOCK, variants=["depth=4"]))
    with pytest.raises(UsageError, match="shots=7"):
        train.load_network(trained[0], "shots=7", 0)


def test_variants_only_on_named_units(tiny_folders: dict[str, Path]) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    assert len(train.jobs(replace(BLOCK, variants_on=["other"]), folder)) == 2
    assert len(train.jobs(replace(BLOCK, variants_on=[]), folder)) == 4


def test_few_shots_take_the_steps_of_the_full_network() -> None:
    block = replace(BLOCK, epochs=12, few_shot_steps=120, batch=4)
    assert train.schedule(40, 40, block, few=False) == {"epochs": 12, "steps_limit": 0, "validate_every": 1}
    assert train.schedule(40, 10, block, few=True) == {"epochs": 40, "steps_limit": 120, "validate_every": 3}
    assert train.schedule(40, 2, block, few=True) == {"epochs": 120, "steps_limit": 120, "validate_every": 10}
    assert train.schedule(40, 10, replace(block, few_shot_steps=0), few=True)["epochs"] == 12

"""The rivals against slow, obvious references; the folder they are stored in."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import OAS
from sklearn.linear_model import Ridge

from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly import banks, baselines, config, coreset, fewshot, gaussian, ridge
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.operators import dense

BLOCK = config.Baselines(
    grid=16, coreset=0.1, projection=6, shots=[5], variants_on=["disc"], variant_seeds=[2], ridge=1.0, reweight=0, seed=0
)


def plain_k_centre(points: np.ndarray, count: int) -> list[int]:
    """One pick after the other, in float64."""
    reach = np.full(len(points), np.inf)
    picks = [0]
    while len(picks) < count:
        reach = np.minimum(reach, ((points - points[picks[-1]]) ** 2).sum(1))
        picks.append(int(reach.argmax()))
    return picks


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 120), channels=st.integers(1, 9), few=st.integers(1, 40))
def test_coreset_is_the_greedy_one(seed: int, n: int, channels: int, few: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, channels)).astype(np.float32)
    count = int(rng.integers(1, n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coreset, "CANDIDATES", few)
        patch.setattr(coreset, "CHUNK_BYTES", 256)
        found = coreset.k_centre(points, count).tolist()
    expected = plain_k_centre(points.astype(np.float64), count)
    assert len(set(found)) == count

    def covering(picks: list[int]) -> np.ndarray:
        return np.sqrt(((points[:, None].astype(np.float64) - points[picks]) ** 2).sum(-1).min(1)).max()

    np.testing.assert_allclose(
        [covering(found[: k + 1]) for k in range(count)], [covering(expected[: k + 1]) for k in range(count)], atol=2e-3
    )


def test_large_coreset_equals_the_plain_one_pick_by_pick() -> None:
    points = np.random.default_rng(0).standard_normal((3000, 12)).astype(np.float32)
    assert coreset.k_centre(points, 300).tolist() == plain_k_centre(points.astype(np.float64), 300)


def test_coreset_of_duplicates_and_of_all() -> None:
    points = np.repeat(np.arange(5, dtype=np.float32)[:, None], 4, axis=0)
    assert sorted(coreset.k_centre(points, 20).tolist()) == list(range(20))
    assert set(points[coreset.k_centre(points, 5)].ravel()) == {0, 1, 2, 3, 4}
    with pytest.raises(ValueError, match="21"):
        coreset.k_centre(points, 21)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), pixels=st.integers(1, 60), size=st.integers(1, 60), channels=st.integers(1, 20), far=st.booleans())
def test_nearest_is_exact(seed: int, pixels: int, size: int, channels: int, far: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    patches, bank = torch.randn(pixels, channels, generator=generator), torch.randn(size, channels, generator=generator) + 10 * far
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(banks, "CHUNK_BYTES", 1000)
        distance, winner = banks.nearest(patches, bank)
    expected = torch.cdist(patches.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist").min(1)
    torch.testing.assert_close(distance.double(), expected.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(distance, (patches - bank[winner]).norm(dim=1))


def test_a_patch_of_the_bank_has_distance_zero() -> None:
    bank = torch.randn(50, 30) * 100
    assert (banks.nearest(bank, bank)[0] == 0).all()


def test_reweighting_by_hand() -> None:
    bank = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    patches = torch.tensor([[0.0, 0.5], [0.0, 2.0]])
    distance, winner = banks.nearest(patches, bank)
    d = np.array([2.0, np.sqrt(5)])
    assert banks.reweight(patches, bank, distance, winner, 2) == pytest.approx(1 - np.exp(d[0]) / np.exp(d).sum(), abs=1e-6)
    assert banks.reweight(patches, bank, distance, winner, 0) == banks.reweight(patches, bank, distance, winner, 1) == 1
    assert banks.reweight(patches * 1e4, bank, *banks.nearest(patches * 1e4, bank), 9) <= 1, "no overflow, no more neighbours than rows"


def correlated(n: int, channels: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.standard_normal((n, channels)) @ rng.standard_normal((channels, channels)) + 3).astype(np.float32))


@pytest.mark.parametrize("n", [5, 40, 4000])
def test_gaussian_equals_sklearn(n: int) -> None:
    x = correlated(n, 8)
    sums = gaussian.Accumulator(8)
    for part in x.split(7):
        sums.add(part)
    reference = OAS().fit(x.double().numpy())
    moments = sums.moments()
    assert gaussian.shrinkage(moments) == pytest.approx(reference.shrinkage_, abs=1e-6)
    found = gaussian.mahalanobis(x, moments.mean.float(), gaussian.whitener(moments))
    np.testing.assert_allclose(found.numpy() ** 2, reference.mahalanobis(x.double().numpy()), rtol=2e-3)


def test_gaussian_of_one_pixel_does_not_fail() -> None:
    sums = gaussian.Accumulator(3)
    sums.add(torch.tensor([[1.0, 2.0, 3.0]]))
    assert gaussian.shrinkage(sums.moments()) == 1


def test_ridge_equals_sklearn() -> None:
    both = correlated(300, 9)
    sums = gaussian.Accumulator(9)
    sums.add(both)
    weights, bias = ridge.fit(sums.moments(), slice(0, 5), slice(5, 9), 10.0)
    reference = Ridge(alpha=10.0).fit(both[:, :5].double().numpy(), both[:, 5:].double().numpy())
    np.testing.assert_allclose(weights.numpy().T, reference.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias.numpy(), reference.intercept_, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def made(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("baselines")
    baselines.run(tiny_folders["features"], BLOCK, out, Progress())
    return out


def test_folder(made: Path, tiny_folders: dict[str, Path]) -> None:
    head = json.loads((made / "baselines.json").read_text())
    assert [(r["variant"], r["seed"], r["parts"]) for r in head["banks"]] == [("", 0, 12), ("shots=5", 2, 5)]
    for record in head["banks"]:
        bank = baselines.load(made, record["variant"], record["seed"])
        assert record["kept"] == round(0.1 * record["patches"]) == len(bank.tensors["joint"]) == len(bank.tensors["patches2d"])
        assert record["bytes"]["bank_joint"] == 4 * record["kept"] * 18 == bank.bytes("bank_joint")
        assert record["bytes"]["bank_2d"] + record["bytes"]["bank_3d"] + 8 == record["bytes"]["bank_sum"]


def test_banks_hold_patches_of_the_chosen_parts_only(made: Path, tiny_folders: dict[str, Path]) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    chosen = fewshot.choose(folder.train, 5, 2)
    rows = np.concatenate([np.concatenate(dense(folder.part(id)), axis=1) for id in chosen])
    bank = baselines.load(made, "shots=5", 2).tensors["joint"]
    assert (banks.nearest(bank, torch.from_numpy(rows))[0] < 1e-6).all()


def test_scores(made: Path, tiny_folders: dict[str, Path]) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    bank = baselines.load(made)
    part = folder.part(folder.test[0])
    f2, f3 = bank.features(part, folder.operators(part, bank.grid))
    found = {method: bank.score(method, f2, f3) for method in baselines.METHODS}
    for values, factor in found.values():
        assert values.shape == (len(f2),) and torch.isfinite(values).all() and (values >= 0).all() and factor == 1
    t = bank.tensors
    expected = found["bank_2d"][0] / t["scale2d"] + found["bank_3d"][0] / t["scale3d"]
    torch.testing.assert_close(found["bank_sum"][0], expected)
    assert (found["ridge"][0] <= 4).all()
    weighted = replace(bank, reweight=3).score("bank_joint", f2, f3)[1]
    assert 0 <= weighted < 1


def test_a_coarser_grid_has_fewer_patches(tiny_folders: dict[str, Path], tmp_path: Path, made: Path) -> None:
    baselines.run(tiny_folders["features"], replace(BLOCK, grid=8, shots=[]), tmp_path, Progress())
    patches = [json.loads((folder / "baselines.json").read_text())["banks"][0]["patches"] for folder in (tmp_path, made)]
    assert patches[0] < patches[1] / 2 and baselines.load(tmp_path).grid == 8


def test_two_runs_are_equal_and_finished_banks_are_kept(
    made: Path, tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    baselines.run(tiny_folders["features"], BLOCK, tmp_path, Progress())
    files = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    monkeypatch.setattr(coreset, "k_centre", None)
    baselines.run(tiny_folders["features"], BLOCK, tmp_path, Progress())


def test_unknown_bank(made: Path) -> None:
    with pytest.raises(UsageError, match="shots=3"):
        baselines.load(made, "shots=3")

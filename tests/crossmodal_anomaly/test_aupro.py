"""AUPRO against brute force over every distinct threshold, and the laws a per-region overlap must obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tenfold.core.errors import BadData
from tenfold.crossmodal_anomaly import aupro as a

SIDE = 24


def scene(seed: int, n: int = 6, levels: int = 0, side: int = SIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n maps, masks and foregrounds; the first third of the parts is good; `levels` > 0 quantises the scores (ties)."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, side, side), np.uint8)
    for i in range(n // 3, n):
        for _ in range(rng.integers(1, 4)):
            y, x, h, w = rng.integers(0, side - 6, 2).tolist() + rng.integers(1, 6, 2).tolist()
            masks[i, y : y + h, x : x + w] = 255
    maps = rng.gamma(2.0, 1.0, masks.shape) + 1.5 * (masks > 0) * rng.random(masks.shape)
    valid = np.zeros(masks.shape, bool)
    valid[:, 3:-3, 3:-3] = True
    maps = np.where(valid, maps, 0.0)
    if levels:
        maps = np.round(maps * levels) / levels
    return maps.astype(np.float32), masks, valid


def brute(maps: np.ndarray, masks: np.ndarray, limit: float, ties: str, ok: np.ndarray | None = None) -> float:
    """The curve at every distinct threshold, regions one by one."""
    where = []
    for i in range(len(masks)):
        labels, k = a.regions(masks[i])
        where += [(i, labels == r) for r in range(1, k + 1)]
    ok = masks == 0 if ok is None else ok
    fpr, pro = [0.0], [0.0]
    for t in np.unique(maps)[::-1]:
        hit = maps >= t
        fpr.append(hit[ok].sum() / ok.sum())
        pro.append(np.mean([hit[i][r].mean() for i, r in where]))
    total = 0.0
    for x0, x1, y0, y1 in zip(fpr[:-1], fpr[1:], pro[:-1], pro[1:], strict=True):
        right = min(limit, x1)
        if right > x0:
            if ties == "flat":
                total += (right - x0) * y0
            else:
                total += (right - x0) * (y0 + y0 + (y1 - y0) * (right - x0) / (x1 - x0)) / 2
    return total / limit


def reference_99(maps: np.ndarray, masks: np.ndarray, limit: float, points: int = 99) -> float:
    """Thresholds equally spaced in rank, one loop per threshold and region."""
    ok = np.sort(maps[masks == 0])
    fpr, pro = [], []
    for position in np.linspace(0, ok.size - 1, points).astype(int)[::-1]:
        above = maps > ok[position]
        fpr.append((ok.size - 1 - position) / ok.size)
        covered = []
        for i in range(len(masks)):
            labels, k = a.regions(masks[i])
            covered += [above[i][labels == r].mean() for r in range(1, k + 1)]
        pro.append(np.mean(covered))
    return a.curve_area(np.array(fpr), np.array(pro), limit)


@pytest.mark.parametrize("levels", [0, 4, 1])
@pytest.mark.parametrize("ties", ["flat", "ramp"])
def test_equals_brute_force_over_all_thresholds(levels: int, ties: a.Ties) -> None:
    maps, masks, valid = scene(levels + 1, levels=levels)
    found, found_fg = a.aupro(maps, masks, ties=ties), a.aupro(maps, masks, ties=ties, valid=list(valid))
    for limit in a.LIMITS:
        assert found[limit] == pytest.approx(brute(maps, masks, limit, ties), abs=1e-10)
        assert found_fg[limit] == pytest.approx(brute(maps, masks, limit, ties, (masks == 0) & valid), abs=1e-10)


def test_constant_map_earns_nothing_flat_and_half_the_limit_on_the_ramp() -> None:
    _, masks, _ = scene(3)
    maps = np.full(masks.shape, 0.7, np.float32)
    assert a.aupro(maps, masks, ties="flat") == dict.fromkeys(a.LIMITS, 0.0)
    assert a.aupro(maps, masks, ties="ramp") == pytest.approx({x: x / 2 for x in a.LIMITS}, abs=1e-12)


def test_perfect_map_is_one() -> None:
    _, masks, _ = scene(4)
    assert a.aupro((masks > 0).astype(np.float32), masks) == pytest.approx(dict.fromkeys(a.LIMITS, 1.0), abs=1e-12)


def test_regions_touching_diagonally_are_one() -> None:
    mask = np.zeros((6, 6))
    mask[1, 1] = mask[2, 2] = 255
    assert a.regions(mask)[1] == 1
    mask[5, 5] = 1
    assert a.regions(mask)[1] == 2


def test_one_pixel_region_weighs_as_much_as_a_large_one() -> None:
    masks = np.zeros((2, 8, 8), np.uint8)
    masks[0, 0, 0], masks[1, 2:6, 2:6] = 1, 1
    maps = np.zeros(masks.shape, np.float32)
    maps[0, 0, 0] = 1.0
    assert a.aupro(maps, masks)[0.30] == pytest.approx(0.5)


def test_null_without_region_or_without_defect_free_pixel() -> None:
    maps = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
    for fill, word in ((0, "region"), (1, "defect-free")):
        masks = np.full(maps.shape, fill)
        assert a.aupro(maps, masks) == dict.fromkeys(a.LIMITS)
        truth = a.Truth()
        for m in masks:
            truth.add(m, "good" if fill == 0 else "dent")
        found = a.pixel_metrics(truth, a.count(truth, maps), "all")
        assert found.p_auroc is None and word in found.reason


def test_defect_part_with_an_empty_mask_is_left_out() -> None:
    maps, masks, _ = scene(5)
    truth, fewer = a.Truth(), a.Truth()
    for m in masks:
        truth.add(m, "dent" if m.any() else "good")
        fewer.add(m, "dent" if m.any() else "good")
    truth.add(np.zeros((SIDE, SIDE)), "dent")
    with_extra = np.concatenate([maps, 9 + maps[:1]])
    assert a.pixel_metrics(truth, a.count(truth, with_extra), "all") == a.pixel_metrics(fewer, a.count(fewer, maps), "all")


def test_slices_equal_a_run_on_the_slice_alone() -> None:
    maps, masks, _ = scene(6, n=9, levels=8)
    kinds = ["good"] * 3 + ["dent", "stain"] * 3
    truth = a.Truth()
    for m, k in zip(masks, kinds, strict=True):
        truth.add(m, k)
    counts = a.count(truth, maps)
    for kind in ("dent", "stain"):
        members = truth.members(kind)
        found = a.pixel_metrics(truth, counts, kind)
        assert found.aupro == pytest.approx(a.aupro(maps[members], masks[members]), abs=1e-12)
        assert found.p_auroc == pytest.approx(roc_auc_score(masks[members].ravel() > 0, maps[members].ravel()), abs=1e-12)
    whole = a.pixel_metrics(truth, counts, "all")
    assert whole.p_auroc == pytest.approx(roc_auc_score(masks.ravel() > 0, maps.ravel()), abs=1e-12)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks, valid = scene(7, n=9, levels=16)
    truth = a.Truth()
    for m, v in zip(masks, valid, strict=True):
        truth.add(m, "dent" if m.any() else "good", v)
    whole = a.count(truth, maps)
    monkeypatch.setattr(a, "CHUNK_PIXELS", 2 * SIDE * SIDE)
    parts = a.count(truth, maps)
    for name in a.Counts.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name), err_msg=name)


def test_legacy_points_equal_the_plain_loop() -> None:
    maps, masks, _ = scene(8)
    truth = a.Truth()
    for m in masks:
        truth.add(m, "dent" if m.any() else "good")
    fpr, pro = a.legacy_curve(truth, a.count(truth, maps))
    for limit in a.LIMITS:
        assert a.curve_area(fpr, pro, limit) == pytest.approx(reference_99(maps, masks, limit), abs=1e-12)


def test_foreground_variant_is_stricter_when_the_background_is_zero() -> None:
    maps, masks, valid = scene(9)
    whole, fg = a.aupro(maps, masks)[0.30], a.aupro(maps, masks, valid=list(valid))[0.30]
    assert whole is not None and fg is not None and fg < whole


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 2.0, 8.0]), ties=st.sampled_from(["flat", "ramp"]))
def test_unchanged_by_increasing_transforms(seed: int, scale: float, ties: a.Ties) -> None:
    maps, masks, _ = scene(seed, n=3, levels=8, side=14)
    masks[0] = 0
    # powers of two and a cube of multiples of 1/8: exact in float32, so that no new tie appears
    for changed in (maps * scale, maps - 4, maps**3):
        assert a.aupro(changed, masks, ties=ties) == a.aupro(maps, masks, ties=ties)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([0, 2, 8]))
def test_flat_never_exceeds_ramp_and_both_stay_in_the_unit_interval(seed: int, levels: int) -> None:
    maps, masks, _ = scene(seed, n=3, levels=levels, side=14)
    flat, ramp = a.aupro(maps, masks, ties="flat"), a.aupro(maps, masks, ties="ramp")
    for limit in a.LIMITS:
        low, high = flat[limit], ramp[limit]
        assert low is not None and high is not None and 0.0 <= low <= high + 1e-15 <= 1.0 + 1e-12


def test_bad_maps_are_named() -> None:
    maps, masks, _ = scene(10)
    with pytest.raises(BadData, match="5 maps for 6 masks"):
        a.aupro(maps[:5], masks)
    with pytest.raises(BadData, match="bring the map to the mask's size"):
        a.aupro(maps[:, ::2], masks)
    maps[2, 3, 4] = np.nan
    with pytest.raises(BadData, match="map 2 holds NaN"):
        a.aupro(maps, masks)


@pytest.mark.parametrize("seed", range(4))
def test_scores_at_ranks_are_those_of_a_full_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 10.0 ** rng.integers(-3, 4), (7, 20, 20)).astype(np.float32)
    maps[:, :6] = 0  # one large tie, of both signs
    maps[:, 3:6] = -0.0
    maps[2] = np.float32(1e-42)  # below the normal numbers
    truth = a.Truth()
    for i in range(7):
        truth.add(np.pad(np.ones((2, 2), np.uint8), 9) if i % 2 else np.zeros((20, 20)), "dent" if i % 2 else "good")
    ok = np.sort(np.concatenate([m.ravel()[truth.ok(i)] for i, m in enumerate(maps)]))[::-1]
    ranks = np.unique(rng.integers(0, ok.size, 60))
    np.testing.assert_array_equal(a._at_ranks(truth, maps, ranks), ok[ranks])
    every = np.arange(ok.size)
    np.testing.assert_array_equal(a._at_ranks(truth, maps, every), ok)
    assert a._at_ranks(truth, maps, every[:0]).size == 0

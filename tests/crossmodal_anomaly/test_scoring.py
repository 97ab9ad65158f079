"""One part's maps and score; thresholds from good parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.crossmodal_anomaly import baselines, maps, scoring, train
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.operators import dense

OPTIONS = MapOptions("product", "boxes", "none", "zero")


def test_network_maps_are_those_of_the_plain_path(tiny_folders: dict[str, Path]) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    for variant, depth in (("", 0), ("depth=8", 8)):
        network = train.load_network(tiny_folders["model"], variant, 0)
        part = folder.part(folder.test[-1])
        with torch.inference_mode():
            d2, d3 = (d.numpy() for d in network.distances(*(torch.from_numpy(f) for f in dense(part, depth))))
        found = scoring.score_network(network, part, OPTIONS, depth, ("product", "max"))
        assert list(found.maps) == ["product", "max"]
        for how in ("product", "max"):
            expected = maps.render(maps.combine(d2, d3, how), folder.operators(part).mask, OPTIONS, folder.size)  # type: ignore[arg-type]
            np.testing.assert_allclose(found.maps[how], expected, atol=1e-4)
            assert found.scores[how] == found.maps[how].max()


def test_score_norm_reaches_the_score_not_the_map(tiny_folders: dict[str, Path]) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    network, part = train.load_network(tiny_folders["model"]), folder.part(folder.test[0])
    plain = scoring.score_network(network, part, OPTIONS)
    official = scoring.score_network(network, part, replace(OPTIONS, score_norm="official"))
    assert np.array_equal(plain.maps["product"], official.maps["product"])
    image = plain.maps["product"]
    assert official.scores["product"] == pytest.approx(image.max() / np.sqrt(image[image != 0].mean()), rel=1e-5)


def test_bank_maps(tiny_folders: dict[str, Path]) -> None:
    folder = FeatureFolder(tiny_folders["features"])
    bank = baselines.load(tiny_folders["baselines"])
    part = folder.part(folder.test[0])
    found = scoring.score_bank(bank, part, OPTIONS)
    assert tuple(found.maps) == baselines.METHODS
    f2, f3 = bank.features(part, folder.operators(part))
    expected = maps.render(bank.score("bank_2d", f2, f3)[0].numpy(), folder.operators(part).mask, OPTIONS, folder.size)
    assert np.array_equal(found.maps["bank_2d"], expected) and found.scores["bank_2d"] == expected.max()
    weighted = scoring.score_bank(replace(bank, reweight=3), part, OPTIONS, ("bank_2d",))
    assert weighted.scores["bank_2d"] < found.scores["bank_2d"] and np.array_equal(weighted.maps["bank_2d"], expected)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 200), quantile=st.sampled_from([0.5, 0.75, 0.9, 0.95, 0.99]), seed=st.integers(0, 100))
def test_image_threshold_is_the_conformal_rank(n: int, quantile: float, seed: int) -> None:
    """A new good part, as likely to take any rank among n + 1, lies above it with probability at most 1 - quantile (if n allows)."""
    values = np.random.default_rng(seed).permutation(n).astype(float)
    found = scoring.calibrate({str(v): v for v in values}, np.zeros(1, np.float32), quantile, 0.5)
    above = (n - (found.image_threshold + 1) + 1) / (n + 1)
    if n >= quantile / (1 - quantile) - 1e-9:
        assert above <= 1 - quantile + 1e-9 and above + 1 / (n + 1) > 1 - quantile - 1e-9
    else:
        assert found.image_threshold == n - 1 and f"1 in {n + 1} only" in found.note


def test_note_says_how_many_parts_are_needed() -> None:
    few = scoring.calibrate({str(i): float(i) for i in range(8)}, np.zeros(1, np.float32), 0.95, 0.5)
    assert few.image_threshold == 7 and "1 in 9 only" in few.note and "19" in few.note
    enough = scoring.calibrate({str(i): float(i) for i in range(19)}, np.zeros(1, np.float32), 0.95, 0.5)
    assert enough.image_threshold == 18 and "1 in 20" in enough.note


def test_pixel_threshold_leaves_its_share_above() -> None:
    pixels = np.random.default_rng(0).random(10_000).astype(np.float32)
    found = scoring.calibrate({"a": 1.0}, pixels, 0.95, 0.999)
    assert (pixels > found.pixel_threshold).mean() == pytest.approx(0.001, abs=2e-4)

"""One tiny unit evaluated for real: every method on the same parts, numbers that agree with plain ones, files that keep their contract."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tenfold.core import claims as core_claims
from tenfold.core import tables
from tenfold.core.errors import BadData
from tenfold.core.shards import ShardReader
from tenfold.crossmodal_anomaly import aupro, baselines, claims, evaluate, maps, scoring, train
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.spool import Maps, Spool

OPTIONS = MapOptions("product", "boxes", "none", "zero")
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(tiny_evaluation: Path) -> Rows:
    found: Rows = tables.read(tiny_evaluation / "metrics.parquet").to_pylist()
    return found


def one(rows: Rows, method: str, metric: str, variant: str = "", seed: int = 0, slice_: str = "all") -> dict[str, Any]:
    key = {"method": method, "metric": metric, "variant": variant, "seed": seed, "slice": slice_}
    (row,) = [r for r in rows if all(r[k] == v for k, v in key.items())]
    return row


def test_headline_equals_a_plain_evaluation_of_the_same_network(
    rows: Rows, tiny_folders: dict[str, Path], tiny_ids: Callable[[str], list[str]]
) -> None:
    network, folder = train.load_network(tiny_folders["model"], "", 1), FeatureFolder(tiny_folders["features"])
    prepared = ShardReader(tiny_folders["prepared"] / "parts")
    ids = tiny_ids("test")
    scored = [scoring.score_network(network, folder.part(id), OPTIONS) for id in ids]
    images = np.stack([s.maps["product"] for s in scored])
    masks = [prepared.get(id, ["gt"])["gt"] for id in ids]
    exact = aupro.aupro(images, masks)
    for limit, name in ((0.30, "aupro_30"), (0.01, "aupro_01")):
        assert one(rows, "ours", name, seed=1)["value"] == pytest.approx(exact[limit], abs=1e-9)
    labels = [int("/good/" not in id) for id in ids]
    assert one(rows, "ours", "i_auroc", seed=1)["value"] == pytest.approx(roc_auc_score(labels, images.max((1, 2))), abs=1e-12)


def test_a_baseline_equals_its_plain_evaluation(rows: Rows, tiny_folders: dict[str, Path], tiny_ids: Callable[[str], list[str]]) -> None:
    bank, folder = baselines.load(tiny_folders["baselines"]), FeatureFolder(tiny_folders["features"])
    prepared = ShardReader(tiny_folders["prepared"] / "parts")
    ids = tiny_ids("test")
    images = np.stack([scoring.score_bank(bank, folder.part(id), OPTIONS, ["bank_joint"]).maps["bank_joint"] for id in ids])
    exact = aupro.aupro(images, [prepared.get(id, ["gt"])["gt"] for id in ids])
    assert one(rows, "bank_joint", "aupro_30")["value"] == pytest.approx(exact[0.30], abs=1e-9)


def test_every_method_scores_every_part_once(tiny_evaluation: Path, tiny_ids: Callable[[str], list[str]]) -> None:
    scores = tables.read(tiny_evaluation / "scores.parquet").to_pylist()
    keys = [(r["id"], r["method"], r["variant"], r["seed"]) for r in scores]
    assert len(set(keys)) == len(keys)
    methods = {(m, v, s) for _, m, v, s in keys}
    assert len(keys) == len(methods) * len(tiny_ids("test"))
    assert {"ours", "d2_only", "d3_only", "sum", "max", *baselines.METHODS} == {m for m, v, _ in methods if not v}
    assert {v for m, v, _ in methods if m == "ours"} == {"", "shots=10", "shots=5", "depth=8"}
    assert all(np.isfinite(r["score"]) and r["score"] >= 0 and r["ms"] > 0 for r in scores)


def test_slices_metrics_and_timing_marks(rows: Rows) -> None:
    assert {r["slice"] for r in rows} == {"all", *(f"defect={k},split=test" for k in ("dent", "bump", "stain", "mismatch"))}
    assert all(re.fullmatch(r"[a-z0-9_]+", r["metric"]) for r in rows)
    timed = {r["metric"] for r in rows if r["timing"]}
    assert timed == {"ms_extract", "ms_operators", "ms_dense", "ms_map", "ms_score", "peak_rss"}
    assert one(rows, "ours", "ms_map")["n"] == 3 and one(rows, "bank_joint", "ms_map")["value"] > 0
    head = one(rows, "ours", "aupro_30")
    assert head["lo"] <= head["value"] <= head["hi"]
    assert one(rows, "ours", "model_bytes")["value"] == one(rows, "ours", "model_bytes", "shots=5")["value"]
    assert one(rows, "ours", "recall")["value"] is not None


def test_claims_and_checks_agree(tiny_evaluation: Path) -> None:
    found = core_claims.read(tiny_evaluation / "claims.json")
    assert tuple(c.id for c in found) == claims.IDS
    checks = json.loads((tiny_evaluation / "made.json").read_text())["checks"]
    assert [(c["name"], c["passed"], c["severity"]) for c in checks] == [(c.id, c.verdict == "holds", "warn") for c in found]


def test_stored_maps_give_the_scores_back(tiny_evaluation: Path) -> None:
    stored = ShardReader(tiny_evaluation / "maps")
    scores = {
        r["id"]: r["score"]
        for r in tables.read(tiny_evaluation / "scores.parquet").to_pylist()
        if (r["method"], r["variant"], r["seed"]) == ("ours", "", 0)
    }
    for id, arrays in stored:
        mask = arrays["mask"].astype(bool)
        image = maps.render(arrays["product"].astype(np.float32)[mask], mask, OPTIONS, 32)
        assert maps.image_score(image) == pytest.approx(scores[id], rel=5e-3)
        assert arrays["bank"].shape == arrays["bank_mask"].shape


def test_curves_start_at_nothing_and_never_fall(tiny_evaluation: Path) -> None:
    rows = tables.read(tiny_evaluation / "curves.parquet").to_pylist()
    for curve in ("pro", "roc"):
        points = [(r["fpr"], r["value"]) for r in rows if r["method"] == "ours" and r["curve"] == curve]
        assert points[0] == (0.0, 0.0) and len(points) > 20
        assert (np.diff([x for x, _ in points]) >= 0).all() and (np.diff([y for _, y in points]) >= -1e-12).all()


def test_nothing_is_left_behind_and_no_test_part_is_an_error(tiny_evaluation: Path, tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    assert not (tiny_evaluation / "scratch").exists()
    table = tables.read(tiny_folders["features"] / "parts.parquet")
    keep = [split != "test" for split in table.column("split").to_pylist()]
    tables.write(table.filter(keep), tmp_path / "parts.parquet")
    with pytest.raises(BadData, match="no part of the split `test`"):
        evaluate.TestParts.read(tiny_folders["prepared"], tmp_path)


def test_thresholds_of_other_maps_are_not_used(tiny_folders: dict[str, Path]) -> None:
    same = evaluate.networks(tiny_folders["model"], OPTIONS)
    other = evaluate.networks(tiny_folders["model"], MapOptions("sum", "boxes", "none", "zero"))
    assert [n.variant.name for n in same][:2] == ["", ""]
    assert all(n.threshold is not None for n in same) and all(n.threshold is None for n in other)


def test_spool_gives_back_what_was_added(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    values = {key: [np.full(n, n, np.float32) for n in (3, 0, 5)] for key in ("a/d2", "b")}
    for i in range(3):
        for key, parts in values.items():
            spool.add(key, parts[i])
    for key, parts in values.items():
        for got, want in zip(spool.read(key), parts, strict=True):
            np.testing.assert_array_equal(got, want)


def test_maps_are_written_and_read_by_number(tmp_path: Path) -> None:
    maps, images = Maps(tmp_path / "new" / "maps.f32", 3, 4), np.random.default_rng(0).random((3, 4, 4), np.float32)
    for i in (2, 0, 1, 2):
        maps[i] = images[i]
    np.testing.assert_array_equal(np.stack([maps[i] for i in range(len(maps))]), images)
    with pytest.raises(IndexError):
        maps[3]
    maps.close()

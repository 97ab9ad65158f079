"""The contracts hold on good tables and break, each rule by itself, on bad ones (judged by Great Expectations)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tenfold.core import tables
from tenfold.core.metrics import METRICS_SCHEMA
from tenfold.core.stage import Check
from tenfold.crossmodal_anomaly import contract
from tenfold.crossmodal_anomaly.samples import SAMPLES_SCHEMA
from tenfold.ops.contracts import validate

Rows = list[dict[str, Any]]


def sample(split: str, defect: str, stem: str, number: int) -> dict[str, Any]:
    place = f"part/{split}/{defect}"
    row = {name: None for name in SAMPLES_SCHEMA.names}
    row |= {"id": f"{place}/{stem}", "unit": "part", "split": split, "label": int(defect != "good"), "defect": defect}
    for each, suffix in (("rgb", "png"), ("xyz", "tiff"), *((("gt", "png"),) if split == "test" else ())):
        row |= {f"{each}_path": f"{place}/{each}/{stem}.{suffix}", f"{each}_sha256": f"{number:063x}{len(each) % 16:x}", f"{each}_bytes": 3}
    row["xyz_sha256"] = f"{number + 100:064x}"
    return row | {"height": 64, "width": 64, "n_valid": 900, "n_nonfinite": 0, "xyz_scale": 1.0, "warnings": ""}


@pytest.fixture
def rows() -> Rows:
    places = [("train", "good", "0"), ("train", "good", "1"), ("validation", "good", "0"), ("test", "good", "0"), ("test", "dent", "0")]
    return [sample(*place, number) for number, place in enumerate(places)]


def judged(tmp_path: Path, rows: Rows, root: Path | None = None) -> Check:
    tables.write(pa.Table.from_pylist(rows, SAMPLES_SCHEMA), tmp_path / "samples.parquet")
    return validate(contract.samples(tmp_path, root), contract.SAMPLES, "samples")


@pytest.mark.slow
def test_a_good_table_keeps_the_contract(tmp_path: Path, rows: Rows) -> None:
    check = judged(tmp_path, rows)
    assert check.passed, check.description


def twice(rows: Rows) -> None:
    rows[1]["id"] = rows[0]["id"]


def other_split(rows: Rows) -> None:
    rows[0]["split"] = "trian"


def bad_label(rows: Rows) -> None:
    rows[4]["label"] = 2


def defect_in_train(rows: Rows) -> None:
    rows[0] |= {"label": 1, "defect": "dent"}


def label_off(rows: Rows) -> None:
    rows[4]["label"] = 0


def leak(rows: Rows) -> None:
    rows[3]["rgb_sha256"] = rows[0]["rgb_sha256"]


def wrong_pair(rows: Rows) -> None:
    rows[0]["xyz_path"] = rows[1]["xyz_path"]


def no_mask(rows: Rows) -> None:
    rows[4] |= {"gt_path": None, "gt_sha256": None}


def no_hash(rows: Rows) -> None:
    rows[2]["xyz_sha256"] = "abc"


def few_points(rows: Rows) -> None:
    rows[2]["n_valid"] = 12


def no_path(rows: Rows) -> None:
    rows[2]["xyz_path"] = None


def no_train(rows: Rows) -> None:
    del rows[:2]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (twice, "an id stands once"),
        (other_split, "the split is known"),
        (bad_label, "a label is 0"),
        (defect_in_train, "only good parts"),
        (label_off, "exactly if it stands in `good`"),
        (leak, "no file of the test parts"),
        (wrong_pair, "carry the same name"),
        (no_mask, "has a mask"),
        (no_hash, "cloud's hash"),
        (few_points, "a scan has points"),
        (no_path, "xyz_path"),
        (no_train, "parts to train on"),
    ],
)
def test_each_breach_is_an_error_in_words(tmp_path: Path, rows: Rows, spoil: Callable[[Rows], None], says: str) -> None:
    spoil(rows)
    check = judged(tmp_path, rows)
    assert not check.passed and check.severity == "error" and says in check.description


def test_no_validation_is_only_a_warning(tmp_path: Path, rows: Rows) -> None:
    check = judged(tmp_path, [row for row in rows if row["split"] != "validation"])
    assert not check.passed and check.severity == "warn"


def test_files_must_be_there_in_their_size(tmp_path: Path, rows: Rows) -> None:
    root = tmp_path / "root"
    paths = [root / row[f"{each}_path"] for row in rows for each in ("rgb", "xyz", "gt") if row[f"{each}_path"]]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"abc")
    assert judged(tmp_path, rows, root).passed
    paths[0].write_bytes(b"ab")
    assert "every file is there" in judged(tmp_path, rows, root).description
    paths[0].unlink()
    assert "every file is there" in judged(tmp_path, rows, root).description


PREP = {"id": "a", "split": "train", "label": 0, "inlier_ratio": 0.9, "kept_fraction": 0.99, "n_valid": 4000, "median_z": 0.3}
SCORE = {"id": "a", "label": 0, "defect": "good", "method": "ours", "variant": "", "seed": 0, "score": 0.5, "ms": 1.0}
METRIC = {
    **{"paper": "p", "dataset": "d", "partition": "d.u", "method": "ours", "variant": "", "seed": 0, "slice": "all", "metric": "aupro_30"},
    **{"value": 0.9, "lo": 0.8, "hi": 0.95, "reason": "", "n": 10, "better": "up", "scale": "1", "timing": False},
    **{"model_key": "k", "data_version": "v"},
}


@pytest.mark.parametrize(
    ("rules", "row", "change", "severity"),
    [
        (contract.PREPARED, PREP, {}, None),
        (contract.PREPARED, PREP, {"inlier_ratio": 1.2}, "error"),
        (contract.PREPARED, PREP, {"n_valid": 100}, "error"),
        (contract.PREPARED, PREP, {"n_valid": 1000}, "warn"),
        (contract.PREPARED, PREP, {"kept_fraction": 0.6}, "warn"),
        (contract.PREPARED, PREP, {"median_z": 300.0}, "warn"),
        (contract.SCORES, SCORE, {}, None),
        (contract.SCORES, SCORE, {"score": -0.1}, "error"),
        (contract.SCORES, SCORE, {"score": float("inf")}, "error"),
        (contract.SCORES, SCORE, {"score": float("nan")}, "error"),
        (contract.METRICS, METRIC, {}, None),
        (contract.METRICS, METRIC, {"value": 1.1}, "error"),
        (contract.METRICS, METRIC, {"metric": "ms", "value": 11.0, "hi": None, "lo": None}, None),
        (contract.METRICS, METRIC, {"metric": "Ms"}, "error"),
        (contract.METRICS, METRIC, {"lo": 0.96}, "error"),
        (contract.METRICS, METRIC, {"better": "higher"}, "error"),
        (contract.METRICS, METRIC, {"value": None, "lo": None, "hi": None, "reason": "no regions"}, None),
        (contract.METRICS, METRIC, {"value": None, "lo": None, "hi": None}, "error"),
    ],
)
def test_the_other_tables(rules: Rows, row: dict[str, Any], change: dict[str, Any], severity: str | None) -> None:
    schema = METRICS_SCHEMA if row is METRIC else None
    other = {"slice": "defect=dent"} if row is METRIC else {"id": "b"}
    check = validate(pa.Table.from_pylist([row | change, row | other], schema), rules, "table")
    assert check.passed == (severity is None), check.description
    if severity:
        assert check.severity == severity


@pytest.mark.parametrize(("rules", "row"), [(contract.SCORES, SCORE), (contract.METRICS, METRIC), (contract.PREPARED, PREP)])
def test_a_row_given_twice_is_an_error(rules: Rows, row: dict[str, Any]) -> None:
    check = validate(pa.Table.from_pylist([row, row]), rules, "table")
    assert not check.passed and check.severity == "error" and ("once" in check.description or "one row" in check.description)

"""Claims on made-up tables: each can hold, fail, and stay unjudged."""

from typing import Any

import pyarrow as pa
import pytest

from tenfold.core.claims import Claim
from tenfold.crossmodal_anomaly import claims

Table = dict[tuple[str, str, str, str], float]


def table(values: Table, units: tuple[str, ...] = ("demo.biscuit",), seeds: tuple[int, ...] = (0, 1, 2)) -> pa.Table:
    """Rows of (method, variant, kind or all, metric); ours at every seed, the others at one."""
    rows: list[dict[str, Any]] = []
    for (method, variant, kind, metric), value in values.items():
        for unit in units:
            for seed in seeds if method in ("ours", "sum", "d2_only", "d3_only") and not variant else (0,):
                slice_ = "all" if kind == "all" else f"defect={kind},split=test"
                row = {
                    "method": method,
                    "variant": variant,
                    "slice": slice_,
                    "metric": metric,
                    "value": value,
                    "partition": unit,
                    "seed": seed,
                }
                rows.append(row | {"lo": value - 0.05, "hi": value + 0.05})
    return pa.Table.from_pylist(rows)


def good() -> Table:
    """Numbers on which every claim holds."""
    t: Table = {}
    for method, a, i in (("ours", 0.70, 0.85), ("d2_only", 0.60, 0.80), ("d3_only", 0.65, 0.75), ("sum", 0.69, 0.84)):
        t |= {(method, "", "all", "aupro_30"): a, (method, "", "all", "i_auroc"): i}
    for method, a, i in (("bank_joint", 0.60, 0.80), ("bank_sum", 0.62, 0.81), ("bank_2d", 0.50, 0.70), ("bank_3d", 0.50, 0.70)):
        t |= {(method, "", "all", "aupro_30"): a, (method, "", "all", "i_auroc"): i, (method, "", "mismatch", "i_auroc"): 0.6}
    t |= {("ours", "", "mismatch", "i_auroc"): 0.99, ("ours", "", "all", "aupro_30_margin"): 0.08}
    t |= {("ours", "", "all", "ms_map"): 3.0, ("ours", "", "all", "ms_score"): 1.0, ("bank_joint", "", "all", "ms_map"): 40.0}
    t |= {("ours", "", "all", "model_bytes"): 4e5, ("bank_joint", "", "all", "bank_bytes"): 3e6, ("bank_joint", "", "all", "n_train"): 40.0}
    for shots, a in ((10, 0.66), (5, 0.60)):
        t |= {("ours", f"shots={shots}", "all", "aupro_30"): a, ("ours", f"shots={shots}", "all", "model_bytes"): 4e5}
        t |= {("bank_joint", f"shots={shots}", "all", "aupro_30"): 0.55}
    t |= {("ours", "", "all", "ms_extract"): 30.0, ("ours", "depth=8", "all", "ms_extract"): 20.0}
    t |= {
        ("ours", "depth=8", "all", "ms_map"): 2.0,
        ("ours", "depth=8", "all", "ms_score"): 1.0,
        ("ours", "depth=8", "all", "aupro_30"): 0.695,
    }
    for kind, bank in (("dent", "bank_2d"), ("bump", "bank_2d"), ("stain", "bank_3d")):
        t |= {("ours", "", kind, "aupro_30"): 0.7, (bank, "", kind, "aupro_30"): 0.5}
    return t


def judged(values: Table) -> dict[str, Claim]:
    return {claim.id: claim for claim in claims.judge(table(values))}


def test_all_are_there_in_order_and_hold_on_good_numbers() -> None:
    found = judged(good())
    assert tuple(found) == claims.IDS
    assert {id: c.verdict for id, c in found.items()} == {id: "not_judged" if id == "C2" else "holds" for id in claims.IDS}
    assert "scoreboard" in found["C2"].reason and "+0.040" in found["C2"].reason
    assert found["C1"].seeds == [0, 1, 2]


@pytest.mark.parametrize(
    ("id", "change"),
    [
        ("C1", {("bank_sum", "", "all", "aupro_30"): 0.69}),
        ("C1", {("ours", "", "mismatch", "i_auroc"): 0.94}),
        ("C1", {("bank_3d", "", "mismatch", "i_auroc"): 0.995}),
        ("C3", {("d3_only", "", "all", "aupro_30"): 0.71}),
        ("C3", {("sum", "", "all", "i_auroc"): 0.86}),
        ("C4", {("ours", "", "all", "ms_map"): 20.0}),
        ("C5", {("bank_joint", "", "all", "bank_bytes"): 7e5}),
        ("C5", {("ours", "shots=10", "all", "model_bytes"): 3e5}),
        ("C6", {("ours", "shots=10", "all", "aupro_30"): 0.61}),
        ("C6", {("bank_joint", "shots=10", "all", "aupro_30"): 0.67}),
        ("C7", {("ours", "depth=8", "all", "ms_extract"): 29.0}),
        ("C7", {("ours", "depth=8", "all", "aupro_30"): 0.68}),
        ("C8", {("bank_3d", "", "stain", "aupro_30"): 0.66}),
    ],
)
def test_each_condition_alone_can_fail_its_claim(id: str, change: Table) -> None:
    found = judged(good() | change)
    assert found[id].verdict == "fails"
    assert [c.id for c in found.values() if c.verdict == "fails"] == [id] or id in ("C1", "C3")


@pytest.mark.parametrize(
    ("id", "missing", "word"),
    [
        ("C3", ("sum", "", "all", "aupro_30"), "not measured"),
        ("C4", ("bank_joint", "", "all", "ms_map"), "not measured"),
        ("C8", ("bank_3d", "", "stain", "aupro_30"), "defect kinds"),
    ],
)
def test_a_missing_number_judges_nothing_and_says_why(id: str, missing: tuple[str, str, str, str], word: str) -> None:
    values = {key: value for key, value in good().items() if key != missing}
    claim = judged(values)[id]
    assert claim.verdict == "not_judged" and word in claim.reason


def test_units_without_variants_leave_c6_and_c7_unjudged() -> None:
    found = judged({key: value for key, value in good().items() if not key[1]})
    assert found["C6"].verdict == found["C7"].verdict == "not_judged"
    assert "10 parts" in found["C6"].reason and "pruned" in found["C7"].reason


def test_c5_needs_forty_parts() -> None:
    claim = judged(good() | {("bank_joint", "", "all", "n_train"): 39.0})["C5"]
    assert claim.verdict == "not_judged" and "39" in claim.reason


def test_without_a_mismatch_kind_c1_is_the_margin_alone_with_its_interval() -> None:
    values = {key: value for key, value in good().items() if key[2] != "mismatch"}
    claim = judged(values)["C1"]
    assert claim.measured == pytest.approx(0.08) and claim.threshold == 0.02
    assert claim.lo is not None and claim.hi is not None and claim.lo < claim.measured < claim.hi


def test_several_conditions_are_judged_on_the_tightest() -> None:
    claim = judged(good() | {("bank_sum", "", "all", "aupro_30"): 0.67})["C1"]
    assert claim.threshold == 0.0 and claim.measured == pytest.approx(0.70 - 0.67 - 0.02)
    assert "I-AUROC on mismatch 0.990 (>= 0.95)" in claim.measure


def test_dataset_scope_judges_the_mean_and_names_the_units() -> None:
    rows = (
        table(good(), units=("demo.biscuit",)).to_pylist()
        + table(good() | {("ours", "", "all", "i_auroc"): 0.70}, ("demo.peg",)).to_pylist()
    )
    found = {c.id: c for c in claims.judge_dataset(pa.Table.from_pylist(rows))}
    assert set(found) == {"C1", "C2", "C3"} and {c.scope for c in found.values()} == {"dataset"}
    assert found["C2"].measured == pytest.approx((0.85 + 0.70) / 2 - 0.81)
    assert found["C2"].verdict == "fails"
    assert "demo.biscuit +0.040" in found["C2"].measure and "demo.peg -0.110" in found["C2"].measure


def test_recalled_figures_carry_that_word() -> None:
    text = claims.published("C1")
    assert "0.971" in text and "recalled" in text
    assert claims.published("C8") == ""

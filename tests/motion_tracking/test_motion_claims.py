"""Claims on made-up tables: each can hold, fail, and stay unjudged."""

from typing import Any

import pyarrow as pa
import pytest

from tenfold.core.claims import Claim
from tenfold.motion_tracking import claims, columns

Table = dict[tuple[str, str, str, str], float]
"""(method, variant, slice, metric)."""


def table(values: Table, seeds: tuple[int, ...] = (0, 1, 2)) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for (method, variant, where, metric), value in values.items():
        for seed in seeds:
            row = {"method": method, "variant": variant, "slice": where, "metric": metric, "value": value, "seed": seed}
            rows.append(row | {"lo": value - 0.05, "hi": value + 0.05, "n": 10})
    return pa.Table.from_pylist(rows)


def good() -> Table:
    """Numbers on which every claim holds."""
    t: Table = {}
    for source in ("generated", "real"):
        t[("ours", "", f"source={source}", "mpjpe")] = 5.0
        for name in ("l_pe_hmd_over_2imus", "mpjpe_2imus_over_3imus", "r_pe_2imus_over_3imus"):
            t[("ours", "", f"source={source}", name)] = 1.2
    for each in columns.MASKS:
        where = f"sensors={each}"
        t[("ours", f"only_{each}", where, "mpjpe_full_over_this")] = 1.0
        t[("ours", f"only_{each}", where, "mpjpe")] = 5.0
        t[("mean_pose", "", where, "bone_error_ours_over")] = 0.8
        for rival in claims.RIVALS:
            t |= {
                (rival, "", where, "mpjpe_ours_over"): 0.9,
                (rival, "", where, "mpjve_ours_over"): 0.9,
                (rival, "", where, "jitter_ours_over"): 0.4,
            }
    for variant in ("one_lstm", "shape_zero"):
        t |= {("ours", variant, "all", "mpjpe_full_over_this"): 0.95, ("ours", variant, "all", "mpjpe"): 5.0}
    t |= {
        ("ours", "", "all", "frame_ms_p95"): 4.0,
        ("ours", "", "all", "stream_difference"): 1e-6,
        ("ours", "", "all", "onnx_difference"): 2e-6,
    }
    t[("ours", "", "noise=consumer", "mpjpe_over_clean")] = 1.1
    for row in claims.published_rows():
        if row["method"] == "ours" and row["slice"].startswith("sensors="):
            t[("ours", "official", row["slice"], row["metric"])] = 1.01 * float(row["value"])
    return t


def judged(values: Table, seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Claim]:
    return {claim.id: claim for claim in claims.judge(table(values, seeds))}


def test_all_are_there_in_order_and_hold_on_good_numbers() -> None:
    found = judged(good())
    assert tuple(found) == claims.IDS == tuple(claims.STATEMENTS) == tuple(claims.SOURCES)
    assert {c.verdict for c in found.values()} == {"holds"}
    assert found["C1"].seeds == [0, 1, 2]
    assert found["C1"].lo is not None and found["C1"].lo < found["C1"].measured < found["C1"].hi  # type: ignore[operator]


@pytest.mark.parametrize(
    ("id", "change"),
    [
        ("C1", {("ours", "", "source=real", "l_pe_hmd_over_2imus"): 1.04}),
        ("C1", {("ours", "", "source=generated", "mpjpe_2imus_over_3imus"): 0.99}),
        ("C1", {("ours", "", "source=real", "r_pe_2imus_over_3imus"): 1.0}),
        ("C2", {("ours", "only_hmd_3imus", "sensors=hmd_3imus", "mpjpe_full_over_this"): 1.06}),
        ("C3", {("ridge", "", "sensors=hmd", "mpjpe_ours_over"): 1.01}),
        ("C3", {("ridge_yaw", "", "sensors=hmd_2imus", "jitter_ours_over"): 0.51}),
        ("C3", {("ridge_yaw", "", "sensors=hmd_3imus", "mpjve_ours_over"): 1.0}),
        ("C4", {("ours", "one_lstm", "all", "mpjpe_full_over_this"): 0.99}),
        ("C5", {("ours", "shape_zero", "all", "mpjpe_full_over_this"): 0.99}),
        ("C5", {("mean_pose", "", "sensors=hmd", "bone_error_ours_over"): 1.0}),
        ("C6", {("ours", "", "all", "frame_ms_p95"): 16.7}),
        ("C7", {("ours", "", "all", "stream_difference"): 2e-5}),
        ("C7", {("ours", "", "all", "onnx_difference"): 2e-5}),
        ("C8", {("ours", "", "noise=consumer", "mpjpe_over_clean"): 1.16}),
        ("C9", {("ours", "official", "sensors=hmd", "mpjpe"): 3.30}),
    ],
)
def test_each_fails_on_the_number_it_rests_on(id: str, change: Table) -> None:
    found = judged(good() | change)
    assert {name for name, claim in found.items() if claim.verdict == "fails"} == {id}


@pytest.mark.parametrize(
    ("id", "without", "reason"),
    [
        ("C1", "_over_2imus", "C1"),
        ("C2", "only_hmd_2imus", "model.variants"),
        ("C3", "mpjve_ours_over", "C3"),
        ("C4", "one_lstm", "needs the variant one_lstm"),
        ("C5", "shape_zero", "needs the variant shape_zero"),
        ("C6", "frame_ms_p95", "no frame was timed"),
        ("C7", "onnx_difference", "no stream was run"),
        ("C8", "noise=consumer", "needs the noise level"),
        ("C9", "official", "released weights"),
    ],
)
def test_what_was_not_measured_is_not_judged(id: str, without: str, reason: str) -> None:
    found = judged({key: value for key, value in good().items() if not any(without in part for part in key)})
    assert {name for name, claim in found.items() if claim.verdict == "not_judged"} == {id}
    assert reason == id or reason in found[id].reason


def test_an_ablation_of_one_seed_is_shown_and_not_judged() -> None:
    found = judged(good(), seeds=(0,))["C4"]
    assert found.verdict == "not_judged" and "1 of 3 seeds" in found.reason and "0.95" in found.reason


def test_published_figures_carry_their_mark() -> None:
    assert "recalled" in claims.published("C6") and "3.15" in claims.published("C9") and not claims.published("C4")
    assert {row["mark"] for row in claims.published_rows()} <= {"paper", "authors", "recalled"}


def test_an_empty_table_judges_nothing() -> None:
    empty = pa.table(
        {name: pa.array([], pa.string()) for name in ("method", "variant", "slice", "metric")} | {"seed": pa.array([], pa.int64())}
    )
    assert {c.verdict for c in claims.judge(empty)} == {"not_judged"}

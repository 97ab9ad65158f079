import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import claims
from tenfold.core.claims import Claim
from tenfold.core.errors import Corrupt


def judge(**changes: Any) -> Claim:
    options: dict[str, Any] = {
        "id": "C1", "statement": "segments better", "scope": "partition", "measure": "AUPRO@30, ours minus bank", "measured": 0.05,
        "op": ">=", "threshold": 0.02, "seeds": [0, 1, 2],
    }  # fmt: skip
    return claims.judge(**options | changes)


@pytest.mark.parametrize(
    ("op", "below", "equal", "above"),
    [
        (">=", "fails", "holds", "holds"),
        (">", "fails", "fails", "holds"),
        ("<=", "holds", "holds", "fails"),
        ("<", "holds", "fails", "fails"),
    ],
)
def test_verdicts(op: str, below: str, equal: str, above: str) -> None:
    assert [judge(op=op, threshold=1, measured=value).verdict for value in (0.9, 1, 1.1)] == [below, equal, above]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5), st.floats(-10, 10))
@settings(max_examples=50, deadline=None)
def test_the_mean_over_seeds_decides(values: list[float], threshold: float) -> None:
    claim = judge(measured=values, threshold=threshold)
    mean = math.fsum(values) / len(values)
    assert claim.measured == mean
    assert claim.verdict == ("holds" if mean >= threshold else "fails")


@given(st.floats(-1, 1), st.floats(-2, 2), st.floats(-2, 2))
@settings(max_examples=25, deadline=None)
def test_the_interval_decides_nothing(value: float, lo: float, hi: float) -> None:
    assert judge(measured=value, lo=lo, hi=hi).verdict == judge(measured=value).verdict


@pytest.mark.parametrize("measured", [None, math.nan, math.inf, [], [0.5, math.nan]])
def test_what_was_not_measured_is_not_judged(measured: Any) -> None:
    claim = judge(measured=measured)
    assert (claim.verdict, claim.measured) == ("not_judged", None)
    assert claim.reason
    assert judge(measured=measured, reason="scope is the dataset").reason == "scope is the dataset"


def test_a_judged_claim_has_no_reason_for_not_being_judged() -> None:
    assert judge(reason="needs two units").reason == ""


def test_round_trip(tmp_path: Path) -> None:
    made = [judge(lo=0.01, hi=math.nan, published="0.971 [recalled]"), judge(id="C2", measured=None, source="Table 1")]
    claims.write(made, tmp_path / "claims.json")
    assert claims.read(tmp_path / "claims.json") == made
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert list(rows[0]) and set(rows[0]) == set(asdict(made[0])) == {
        "id", "statement", "source", "scope", "measure", "measured", "lo", "hi", "op", "threshold", "seeds",
        "verdict", "reason", "published",
    }  # fmt: skip
    assert rows[0]["hi"] is None


@pytest.mark.parametrize("content", ["{", '[{"id": "C1"}]', "[1]"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "claims.json").write_text(content)
    with pytest.raises(Corrupt, match=r"claims\.json"):
        claims.read(tmp_path / "claims.json")


def test_only_a_claim_that_holds_passes_and_none_blocks() -> None:
    checks = [claims.to_check(judge(measured=value)) for value in (0.05, 0.01, None)]
    assert [check.passed for check in checks] == [True, False, False]
    assert {check.severity for check in checks} == {"warn"}
    assert checks[0].name == "C1"
    assert [check.description for check in checks] == ["holds: segments better", "fails: segments better", "not judged: segments better"]
    notes = {note.label: note.value for note in claims.to_check(judge(lo=0.03, hi=0.07, published="0.971 [recalled]")).notes}
    assert notes == {
        "verdict": "holds", "measure": "AUPRO@30, ours minus bank", "measured": 0.05, "lo": 0.03, "hi": 0.07,
        "wanted": ">= 0.02", "seeds": "0, 1, 2", "published": "0.971 [recalled]",
    }  # fmt: skip
    assert "reason" in {note.label for note in checks[2].notes}


def several(*conditions: claims.Condition, **given: Any) -> claims.Claim:
    return claims.judge_conditions(conditions, id="C1", statement="sees more", scope="partition", seeds=[0], **given)


def test_one_condition_is_judged_as_it_is() -> None:
    claim = several(claims.Condition("share found", 0.98, ">=", 0.97, 0.95, 0.99))
    assert (claim.measure, claim.measured, claim.threshold, claim.lo, claim.hi, claim.verdict) == (
        "share found",
        0.98,
        0.97,
        0.95,
        0.99,
        "holds",
    )


def test_several_conditions_are_judged_on_the_smallest_margin() -> None:
    found, lost = claims.Condition("share found", 0.98, ">=", 0.9), claims.Condition("share lost", 0.05, "<=", 0.02, 0.04, 0.07)
    claim = several(found, lost)
    assert claim.verdict == "fails" and claim.op == ">=" and claim.threshold == 0
    assert claim.measured == pytest.approx(-0.03) and (claim.lo, claim.hi) == (pytest.approx(-0.05), pytest.approx(-0.02))
    assert claim.measure == "smallest margin of: share found 0.98 (>= 0.9); share lost 0.05 (<= 0.02)"
    assert "share found 0.980 (" in several(found, lost, form=".3f").measure


@pytest.mark.parametrize("turned", [False, True])
def test_of_equal_margins_the_failing_one_decides(turned: bool) -> None:
    pair = [claims.Condition("errors", 0.0, "<=", 0.0), claims.Condition("gain", 0.0, ">", 0.0)]
    assert several(*(reversed(pair) if turned else pair)).verdict == "fails"


def test_a_missing_number_judges_nothing() -> None:
    given = claims.Condition("share found", 0.98, ">=", 0.9), claims.Condition("share lost", None, "<=", 0.02)
    assert several(*given).reason == "not measured: share lost" and several(*given).verdict == "not_judged"
    assert several(*given, reason="no photographs here").reason == "no photographs here"
    assert not given[1].fails and given[1].text() == "share lost: none"


def test_differences_and_ratios_of_what_is_missing_are_missing() -> None:
    assert (claims.minus(3.0, 1.0), claims.minus(None, 1.0), claims.minus(1.0, None)) == (2.0, None, None)
    assert (claims.over(3.0, 2.0), claims.over(None, 1.0), claims.over(1.0, 0.0)) == (1.5, None, None)


def test_published_figures_are_read_from_the_papers_folder(tmp_path: Path) -> None:
    (tmp_path / "published.csv").write_text('metric,value,mark\nfps,"21,8",recalled\n', encoding="utf-8")
    assert claims.published_rows(tmp_path) == [{"metric": "fps", "value": "21,8", "mark": "recalled"}]


def test_numbers_are_means_over_the_seeds_and_missing_where_one_is() -> None:
    def row(seed: int, value: float | None, metric: str = "share", variant: str = "") -> dict[str, Any]:
        return {
            "method": "ours", "variant": variant, "slice": "all", "metric": metric, "seed": seed, "value": value, "lo": 0.1, "hi": None, "n": 7 + seed,
        }  # fmt: skip

    n = claims.Numbers([row(0, 0.25), row(1, 0.75), row(0, 1.0, variant="shots=5"), row(0, 0.5, "lost"), row(1, None, "lost")])
    assert n.get("ours", "share") == 0.5 and n.get("ours", "share", variant="shots=5") == 1.0
    assert n.get("ours", "lost") is None and n.get("bank", "share") is None
    assert n.triple("ours", "share") == (0.5, 0.1, None)
    assert (n.n("ours", "share"), n.n("bank", "share")) == (7, 0)
    assert n.condition("ours", "share", "all", "share found", ">=", 0.4) == claims.Condition("share found", 0.5, ">=", 0.4, 0.1, None)

"""Claims on made-up tables: each holds on good numbers, flips when the numbers flip, and says why it is not judged."""

from typing import Any

import pyarrow as pa
import pytest
from autocalibration.evaluation_tables import IDENTITY, made_up, photographs

from tenfold.autocalibration import claims, metrics
from tenfold.autocalibration.claims import motion
from tenfold.core import metrics as core
from tenfold.core.claims import Claim
from tenfold.core.metrics import Subject

Key = tuple[str, str, str, str]
GENERAL, ORBIT = motion("general", 0.5), motion("orbit", 0.5)


@pytest.fixture(scope="module")
def rows() -> list[core.Row]:
    """Numbers on which all ten claims hold."""
    views, table = made_up()
    found = metrics.measure(table.to_pylist(), metrics.scenes_of(views), IDENTITY, 100)
    real_views, real = photographs()
    photos = metrics.measure(real.to_pylist(), metrics.scenes_of(real_views), IDENTITY, 100)
    found += [r for r in photos if r.slice in ("tracks=75", "distortion=raw")]
    ours = Subject(IDENTITY, "ours")
    found += metrics.taxonomy_rows([{"problem": p, **v} for p, v in metrics.TABLE_2_3.items() if p != "3V6P-full"], ours)
    degrees = {"2V5P": (1, 20), "2V6P-f": (4, 30), "3V4P": (1, 320), "3V4P-f": (1, 668)}
    found += metrics.degree_rows(
        [{"problem": p, "orbit": o, "seed": s, "solutions": d} for p, (n, d) in degrees.items() for o in range(n) for s in range(3)],
        IDENTITY,
    )
    found += metrics.recall_rows(ours, [True] * 50, [0.01] * 50, [0.1] * 50, 100)
    for prior in claims.PRIORS:
        for method, error, images in (("colmap", 0.5, 3.0), ("ours", 0.01, 5.0)):
            subject = Subject(IDENTITY, method, f"prior={prior}")
            found += [subject.row("colmap_focal_error", error, 1, "down"), subject.row("registered", images, 5, "up")]
    for solver in claims.PRACTICAL:
        found += metrics.recall_rows(Subject(IDENTITY, f"ours_{solver}"), [True] * 5, [0.02] * 5, [2.0] * 5, 100)
    for metric in ("centre_error", "focal_error"):
        found.append(Subject(IDENTITY, "ours_zero_skew").row(metric, 0.02, 12, "down", slice=GENERAL, lo=0.01, hi=0.03))
    return found


def judged(rows: list[core.Row], change: dict[Key, float | None] | None = None) -> dict[str, Claim]:
    """`change`: new values by (method, variant, slice, metric); None takes the row away."""
    records: list[dict[str, Any]] = core.to_table(rows).to_pylist()
    for key, value in (change or {}).items():
        mine = [r for r in records if (r["method"], r["variant"], r["slice"], r["metric"]) == key]
        assert mine, key
        for r in mine:
            r["value"] = value
    kept = [r for r in records if r["value"] is not None]
    return {c.id: c for c in claims.judge(pa.Table.from_pylist(kept, schema=core.METRICS_SCHEMA))}


def test_all_hold_on_good_numbers(rows: list[core.Row]) -> None:
    found = judged(rows)
    assert tuple(found) == claims.IDS == tuple(claims.STATEMENTS) == tuple(claims.SOURCES)
    assert {id: (c.verdict, c.reason) for id, c in found.items()} == dict.fromkeys(claims.IDS, ("holds", ""))
    assert found["C2"].seeds == [0, 1, 2] and "80 (recalled" in found["C1"].published
    assert "ba_only" in found["C5"].measure and "third view" in found["C5"].measure
    assert found["C4"].lo is not None and found["C4"].hi is not None and found["C4"].lo <= found["C4"].measured <= found["C4"].hi  # type: ignore[operator]


@pytest.mark.parametrize(
    ("id", "key", "value"),
    [
        ("C1", ("ours", "", "all", "taxonomy_mismatches"), 1.0),
        ("C1", ("ours", "", "all", "taxonomy_relaxations"), 79.0),
        ("C2", ("ours", "", "orbit=2", "degree_2v6p_f"), 29.0),
        ("C2", ("ours", "", "orbit=0", "degree_3v4p_f"), 666.0),
        ("C3", ("ours", "", "exact", "recall"), 0.96),
        ("C3", ("ours", "", "exact", "lost_paths"), 0.035),
        ("C4", ("ours", "", GENERAL, "focal_ratio_bougnoux"), 1.01),
        ("C4", ("ours", "", motion("general", 1.0), "focal_ratio_focal6"), 1.2),
        ("C5", ("ours", "", ORBIT, "focal_error"), 0.06),
        ("C5", ("ours", "", ORBIT, "failure_rate"), 0.25),
        ("C5", ("focal6", "", ORBIT, "failure_rate"), 0.7),
        ("C6", ("ours", "", "tracks=75", "triplet_focal_error"), 0.031),
        ("C6", ("ours", "", "tracks=75", "triplet_focal_error_max"), 0.09),
        ("C6", ("focal6", "", "tracks=75", "triplet_focal_error"), 0.0075),
        ("C6", ("ours", "", "tracks=75", "weak_triplets_wrong"), 1.0),
        ("C7", ("ours", "prior=3", "all", "colmap_focal_error"), 0.6),
        ("C7", ("ours", "prior=0.3", "all", "registered"), 2.0),
        ("C8", ("ours_zero_skew", "", GENERAL, "centre_error"), 0.06),
        ("C8", ("ours_full", "", "exact", "recall"), 0.8),
        ("C9", ("ours", "", "distortion=raw", "distortion_warned"), 0.5),
        ("C9", ("ours", "", "distortion=none", "distortion_warned"), 0.05),
        ("C10", ("ours", "minimal", "all", "cpu_per_hypothesis"), 0.13),
    ],
)
def test_each_flips_with_its_number_and_no_other_does(rows: list[core.Row], id: str, key: Key, value: float) -> None:
    found = judged(rows, {key: value})
    assert {c.id for c in found.values() if c.verdict != "holds"} == {id}
    assert found[id].verdict == "fails"


def test_two_values_of_the_open_degree_do_not_agree(rows: list[core.Row]) -> None:
    mixed = [*rows]
    at = next(i for i, r in enumerate(mixed) if r.metric == "degree_3v4p_f")
    mixed[at] = core.Row(**{**vars(mixed[at]), "value": 667.0})
    assert judged(mixed)["C2"].verdict == "fails"


def test_no_gain_from_our_start_is_no_success(rows: list[core.Row]) -> None:
    same = {("ours", f"prior={p}", "all", m): v for p in claims.PRIORS for m, v in (("colmap_focal_error", 0.5), ("registered", 3.0))}
    found = judged(rows, same)["C7"]  # type: ignore[arg-type]
    assert found.verdict == "fails" and found.op == ">" and found.measured == pytest.approx(-claims.SAME)


@pytest.mark.parametrize(
    ("id", "key", "word"),
    [
        ("C2", ("ours", "", "orbit=3", "degree_2v6p_f"), "3 of 4 relaxations"),
        ("C3", ("ours", "", "exact", "recall"), "noise-free"),
        ("C6", ("ours", "", "tracks=75", "triplet_focal_error"), "photographs"),
        ("C7", ("colmap", "prior=3", "all", "registered"), "priors 0.3 and 3"),
        ("C8", ("ours_square", "", "exact", "recall"), "noise-free scenes of each"),
        ("C8", ("ours_zero_skew", "", GENERAL, "centre_error"), "general motion"),
        ("C10", ("ours", "minimal", "all", "cpu_per_hypothesis"), ""),
    ],
)
def test_what_is_missing_is_not_judged(rows: list[core.Row], id: str, key: Key, word: str) -> None:
    found = judged(rows, {key: None})[id]
    if id == "C10":
        assert found.verdict == "holds"  # falls back to the noise-free instances
    else:
        assert found.verdict == "not_judged" and word in found.reason


def test_made_up_scenes_and_photographs_judge_their_own_claims() -> None:
    for make, mine, others in ((made_up, {"C4", "C5", "C9", "C10"}, {"C6", "C7"}), (photographs, {"C6", "C9"}, {"C4", "C5"})):
        views, table = make()
        found = judged(metrics.measure(table.to_pylist(), metrics.scenes_of(views), IDENTITY, 50))
        assert all(found[id].verdict == "holds" for id in mine), {
            id: (found[id].verdict, found[id].reason, found[id].measure) for id in mine
        }
        assert all(found[id].verdict == "not_judged" and found[id].reason for id in others)


def test_few_scenes_are_shown_and_not_judged() -> None:
    views, table = made_up(scenes=4)
    found = judged(metrics.measure(table.to_pylist(), metrics.scenes_of(views), IDENTITY, 50))
    assert found["C4"].verdict == found["C5"].verdict == "not_judged" and "there are 4" in found["C4"].reason


def test_part_of_the_catalogue_is_not_judged_unless_it_is_wrong() -> None:
    subject = Subject(IDENTITY, "ours")
    part = [{"problem": p, **metrics.TABLE_2_3[p]} for p in ("2V5P", "2V6P-f")]
    right = judged(metrics.taxonomy_rows(part, subject))["C1"]
    assert right.verdict == "not_judged" and "2 of 8" in right.reason
    part[0] = {**part[0], "orbits": 2}
    assert judged(metrics.taxonomy_rows(part, subject))["C1"].verdict == "fails"


def test_every_mark_is_one_of_three() -> None:
    assert {row["mark"] for row in claims.published_rows()} <= {"paper", "authors", "recalled"}

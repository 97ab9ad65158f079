"""Running statistics against numpy, and what counts as drift."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import tables
from tenfold.core.errors import BadData, Corrupt
from tenfold.motion_tracking import columns, drift


def table(rows: np.ndarray) -> pa.Table:
    moments = drift.Moments.none()
    moments.add(rows)
    return moments.table()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6), far=st.floats(-1e4, 1e4))
def test_running_moments_are_those_of_all_rows(seed: int, sizes: list[int], far: float) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(size, 135)) + far for size in sizes]
    moments = drift.Moments.none()
    for part in parts:
        moments.add(part)
    rows = np.concatenate(parts)
    assert moments.count == len(rows)
    if len(rows):
        np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(moments.std, rows.std(0), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(moments.least, rows.min(0))
    assert moments.table()["mean"].null_count == 0 and np.isfinite(moments.table()["max"].to_numpy()).all()


def test_every_column_has_its_token() -> None:
    of = drift.tokens()
    assert len(of) == 135 and set(of) == set(columns.TOKENS)
    assert [of[column] for column in (0, 17, 40, 100, 125, 126, 134)] == [
        "head", "rhand", "head", "rhand_in_head", "rhand_in_head", "lshin", "pelvis",
    ]  # fmt: skip


def test_the_same_rows_do_not_drift() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 135))
    found = drift.compare(table(rows), table(rows), "itself").to_pylist()
    assert len(found) == 8 and not any(row["drifted"] for row in found) and all(row["shift"] == row["spread"] == 0 for row in found)


@pytest.mark.parametrize(("how", "token"), [("shift", "pelvis"), ("spread", "rhand"), ("spread", "lhand_in_head")])
def test_only_the_token_that_moved_is_named(how: str, token: str) -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 135))
    other = np.random.default_rng(1).normal(size=(4000, 135))
    mine = np.array([each == token for each in drift.tokens()])
    other[:, mine] = other[:, mine] + 1.0 if how == "shift" else other[:, mine] * 3.0
    found = {row["token"]: row for row in drift.compare(table(rows), table(other), "before").to_pylist()}
    assert [name for name, row in found.items() if row["drifted"]] == [token]
    assert found[token][how] == pytest.approx(1.0 if how == "shift" else np.log(3.0), abs=0.1)
    assert mine[found[token]["worst_column"]] and found[token]["against"] == "before"


def test_a_constant_column_does_not_drift_by_rounding() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 135))
    rows[:, 0] = 1.0
    other = rows.copy()
    other[:, 0] += 1e-7 * np.arange(500) / 500
    assert not any(row["drifted"] for row in drift.compare(table(rows), table(other), "before").to_pylist())


def test_two_folders_are_compared_or_it_is_said_why_not(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 135))
    for name, values in (("now", rows), ("before", rows + 1.0)):
        tables.write(table(values), tmp_path / name / drift.STATS_FILE)
    found = drift.since(tmp_path / "before", tmp_path / "now")
    assert found["against"].unique().to_pylist() == ["previous version"] and all(found["drifted"].to_pylist())
    note = drift.note("Drift", found)
    assert len(note.value["rows"]) == 8 and note.value["rows"][0][:2] == ["previous version", "head"]
    stats = table(rows)
    for other in (stats.drop_columns(["std"]), stats.slice(0, 100), stats.set_column(1, "token", pa.array(["head"] * 135))):
        tables.write(other, tmp_path / "before" / drift.STATS_FILE)
        with pytest.raises(BadData, match="other columns"):
            drift.since(tmp_path / "before", tmp_path / "now")
    (tmp_path / "before" / drift.STATS_FILE).write_bytes(b"PAR1")
    with pytest.raises(Corrupt, match="stats.parquet"):
        drift.since(tmp_path / "before", tmp_path / "now")
    with pytest.raises(BadData, match="missing"):
        drift.since(tmp_path / "gone", tmp_path / "now")

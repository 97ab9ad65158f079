"""What stages hand back survives a trip through standard JSON."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.stage import Check, Made, Note, plain

FINITE = st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.none() | st.booleans() | st.integers() | FINITE | st.text()
TREES = st.recursive(CELLS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
NOTES = st.one_of(
    st.builds(Note, st.text(), st.sampled_from(["text", "md", "url", "path"]), st.text()),
    st.builds(Note, st.text(), st.just("int"), st.integers()),
    st.builds(Note, st.text(), st.just("float"), FINITE | st.sampled_from([math.inf, -math.inf])),
    st.builds(Note, st.text(), st.just("bool"), st.booleans()),
    st.builds(Note, st.text(), st.just("json"), TREES),
    st.builds(lambda rows: Note("t", "table", {"columns": ["a", "b"], "rows": rows}), st.lists(st.lists(CELLS, min_size=2, max_size=2))),
)
CHECKS = st.builds(Check, st.text(), st.booleans(), st.sampled_from(["error", "warn"]), st.text(), st.lists(NOTES, max_size=3))


@settings(deadline=None, max_examples=50)
@given(st.builds(Made, st.lists(NOTES, max_size=4), st.lists(CHECKS, max_size=3), st.dictionaries(st.text(), TREES, max_size=3)))
def test_made_survives_json(made: Made) -> None:
    text = json.dumps(made.to_json(), allow_nan=False)
    assert Made.from_json(json.loads(text)) == made


def test_a_nan_note_survives_json() -> None:
    note = Note.from_json(json.loads(json.dumps(Note("auroc", "float", math.nan).to_json(), allow_nan=False)))
    assert math.isnan(note.value)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        ((1, [math.nan, math.inf]), [1, [None, None]]),
        ({1: Path("a/b")}, {"1": "a/b"}),
    ],
)
def test_plain_takes_what_numpy_gives(value: Any, wanted: Any) -> None:
    assert plain(value) == wanted
    assert type(plain(value)) is type(wanted)


def test_plain_refuses_what_json_cannot_say() -> None:
    with pytest.raises(TypeError, match="ndarray"):
        plain({"x": np.zeros(2)})


def test_a_wrong_kind_severity_or_table_is_refused() -> None:
    with pytest.raises(ValueError, match="picture"):
        Note("x", "picture", "")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fatal"):
        Check("x", True, "fatal", "")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 cells"):
        Note("x", "table", {"columns": ["a", "b"], "rows": [[1]]})


def test_empty_reports_share_nothing() -> None:
    Made().notes.append(Note("x", "text", ""))
    assert Made().notes == []

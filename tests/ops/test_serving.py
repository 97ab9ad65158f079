"""What a request may hold."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.ops.serving import as_bytes


@settings(max_examples=40, deadline=None)
@given(st.binary())
def test_bytes_come_through_as_they_are_and_as_base64(data: bytes) -> None:
    assert as_bytes(data, "rgb", 0) == data == as_bytes(base64.b64encode(data).decode(), "rgb", 0)


@pytest.mark.parametrize("value", ["/etc/passwd", "~/x.png", "a b", "QUJD\n", 7, ["QUJD"], "é"])
def test_anything_else_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(ValueError, match="row 3, column 'rgb'"):
        as_bytes(value, "rgb", 3)


def test_a_missing_cell_stays_missing() -> None:
    assert as_bytes(None, "rgb", 0) is None and as_bytes(float("nan"), "rgb", 0) is None

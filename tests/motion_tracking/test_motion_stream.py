"""Frames from JSON lines, CSV and Parquet; what is no frame is said, and the rest is read."""

import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from motion_tracking.small_live import IMUS, swaying, without

from tenfold.core.errors import BadData
from tenfold.motion_tracking import stream
from tenfold.motion_tracking.stream import NAMES, Reading, Unread

READINGS = [without(reading, *(IMUS if number % 2 else ())) for number, reading in enumerate(swaying(6))]


def as_table(readings: list[Reading]) -> pd.DataFrame:
    frame = pd.DataFrame([reading.values.ravel() for reading in readings], columns=list(NAMES))
    frame.insert(0, "t", [reading.t for reading in readings])
    return frame


def as_json(reading: Reading) -> str:
    found = {name: value for name, value in zip(NAMES, reading.values.ravel().tolist(), strict=True) if not math.isnan(value)}
    return json.dumps({"t": reading.t, **found}) + "\n"


def same(found: list[stream.Line], wanted: list[Reading]) -> bool:
    return len(found) == len(wanted) and all(
        isinstance(a, Reading) and a.t == b.t and np.array_equal(a.values, b.values, equal_nan=True)
        for a, b in zip(found, wanted, strict=True)
    )


def read(path: Path) -> list[stream.Line]:
    with stream.opened(str(path), io.StringIO()) as lines:
        return list(lines)


def test_the_columns_are_those_of_the_specification() -> None:
    assert len(NAMES) == 42
    assert NAMES[:7] == ("head_px", "head_py", "head_pz", "head_qw", "head_qx", "head_qy", "head_qz")
    assert NAMES[21:28] == ("lshin_qw", "lshin_qx", "lshin_qy", "lshin_qz", "lshin_ax", "lshin_ay", "lshin_az")
    assert NAMES[-7:] == ("pelvis_qw", "pelvis_qx", "pelvis_qy", "pelvis_qz", "pelvis_ax", "pelvis_ay", "pelvis_az")


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.txt", "a.csv", "a.CSV", "a.parquet", "-"])
def test_every_format_gives_the_same_frames(tmp_path: Path, name: str) -> None:
    path, table = tmp_path / name, as_table(READINGS)
    if name == "-":
        with stream.opened("-", io.StringIO("".join(map(as_json, READINGS)))) as lines:
            assert same(list(lines), READINGS)
        return
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif name.lower().endswith("csv"):
        table.assign(remark="x").iloc[:, ::-1].to_csv(path, index=False)
    else:
        path.write_text("\n" + "".join(map(as_json, READINGS)))
    assert same(read(path), READINGS)


def test_a_table_of_head_and_hands_alone_and_one_without_times() -> None:
    table = as_table(READINGS).iloc[:, 1:22]
    found = stream.table(table, "request")
    assert [reading.t for reading in found] == [number / 60 for number in range(6)]
    assert np.isnan(found[0].values[3:]).all() and np.array_equal(found[0].values[:3], READINGS[0].values[:3])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense\n", "no JSON"), ("{\n", "no JSON"), ("[1, 2]\n", "no object"), ('{"head_px": 1}\n', "no object with `t`"),
        ('{"t": "now"}\n', "'now' is no number"), ('{"t": true}\n', "'True' is no number"), ('{"t": 1, "head_px": [0]}\n', r"'\[0\]' is no number"),
        ("[" * 50000 + "\n", "no JSON"), ('{"t": 1' + "0" * 400 + "}\n", "too large"), ("{" + " " * 200000 + "\n", "more than 65536 characters"),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_said_and_passed_over(line: str, says: str) -> None:
    import re

    found = list(stream.text(io.StringIO(as_json(READINGS[0]) + line + as_json(READINGS[1])), "x"))
    assert same([found[0], found[2]], READINGS[:2]) and len(found) == 3
    assert isinstance(found[1], Unread) and re.search(says, found[1].why)


@pytest.mark.parametrize(("row", "says"), [("1,2", "2 cells"), ("x" + ",0" * 42, "could not convert"), ('"a', "cells")])
def test_a_row_that_is_none_is_said_and_passed_over(row: str, says: str) -> None:
    lines = as_table(READINGS[:2]).to_csv(index=False).splitlines()
    found = list(stream.text(io.StringIO("\n".join([*lines[:2], row, "", lines[2]])), "x"))
    assert same([found[0], found[2]], READINGS[:2]) and isinstance(found[1], Unread) and says in found[1].why


@pytest.mark.parametrize(
    ("drop", "says"),
    [
        (["t"], "has no column `t`"),
        (["head_qw"], "has no column head_qw;"),
        (["lshin_ax"], "has no column lshin_ax;"),
        (list(NAMES[:7]), "head_px"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_sensor_by_half_is_refused(tmp_path: Path, name: str, drop: list[str], says: str) -> None:
    table = as_table(READINGS).drop(columns=drop)
    getattr(table, "to_csv" if name == "a.csv" else "to_parquet")(tmp_path / name, index=False)
    with pytest.raises(BadData, match=says) as error:
        read(tmp_path / name)
    assert name in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(BadData, match="cannot be read as Parquet"):
        read(tmp_path / "a.parquet")
    with pytest.raises(BadData, match="No such file"):
        read(tmp_path / "b.csv")
    assert read(tmp_path / "empty.csv") == []
    with pytest.raises(BadData, match="a cell is no number"):
        stream.table(as_table(READINGS).assign(head_px="far"), "request")


@given(st.text(max_size=200), st.booleans())
def test_no_text_stops_a_stream(text: str, after: bool) -> None:
    whole = as_json(READINGS[0]) + text + "\n" + as_json(READINGS[1])
    found = list(stream.text(io.StringIO(whole), "x"))
    assert same(found[:1], READINGS[:1]) and same(found[-1:], READINGS[1:2])


def test_a_pipe_is_read_line_by_line() -> None:
    """Each line gives its frame before the next one is there."""
    out, into = os.pipe()
    with os.fdopen(out, "r") as reading, os.fdopen(into, "w") as writing:
        lines = None
        for wanted in READINGS:
            writing.write(as_json(wanted))
            writing.flush()
            lines = lines or stream.text(reading, "pipe")
            assert same([next(lines)], [wanted])


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 6, 7))
    values[:, 4] = np.nan
    values[2, 1] = np.nan
    stream.write(tmp_path / "new" / "a.csv", [stream.Reading(0.1 * number, each) for number, each in enumerate(values)])
    with stream.opened(str(tmp_path / "new" / "a.csv"), io.StringIO()) as lines:
        found = list(lines)
    assert all(isinstance(line, stream.Reading) for line in found)
    np.testing.assert_allclose(np.stack([line.values for line in found]), values, rtol=1e-8)
    assert [line.t for line in found] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert "rshin" not in (tmp_path / "new" / "a.csv").read_text().partition("\n")[0]

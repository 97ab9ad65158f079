"""Tables of samples: schema, atomic Parquet, and a digest of the rows alone."""

import datetime
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import tables
from tenfold.core.errors import BadData, Corrupt

SCHEMA = tables.samples_schema(["rgb"], {"defect": pa.string(), "ratio": pa.float64()})
TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
            "unit": TEXT,
            "split": TEXT,
            "label": st.none() | st.integers(0, 3),
            "rgb_path": TEXT,
            "rgb_sha256": TEXT,
            "rgb_bytes": st.none() | st.integers(0, 2**40),
            "defect": TEXT,
            "ratio": st.none() | st.floats(allow_nan=False),
        }
    ),
    max_size=8,
)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def test_columns_are_those_of_the_contract() -> None:
    assert SCHEMA.names == ["id", "unit", "split", "label", "rgb_path", "rgb_sha256", "rgb_bytes", "defect", "ratio"]
    assert not SCHEMA.field("id").nullable
    quarantine = tables.quarantine_schema(["rgb"], {"defect": pa.string(), "ratio": pa.float64()})
    assert quarantine.names == [*SCHEMA.names, "reason", "detail"]
    assert tables.samples_schema([], {"label": pa.string()}).field("label").type == pa.string()


@settings(deadline=None, max_examples=50)
@given(ROWS, st.randoms(use_true_random=False))
def test_digest_ignores_order_and_encoding(rows: list[dict[str, Any]], chance: random.Random) -> None:
    wanted = tables.rows_digest(table(rows))
    mixed = list(rows)
    chance.shuffle(mixed)
    names = list(SCHEMA.names)
    chance.shuffle(names)
    cut = chance.randint(0, len(rows))
    other = pa.concat_tables([table(mixed[:cut]), table(mixed[cut:])]).select(names)
    coded = other.set_column(names.index("split"), "split", other.column("split").cast(pa.large_string()).dictionary_encode())
    assert tables.rows_digest(coded) == wanted


@settings(deadline=None, max_examples=50)
@given(ROWS.filter(bool), st.data())
def test_digest_changes_with_any_cell_row_or_table(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    wanted = tables.rows_digest(table(rows))
    column = data.draw(st.sampled_from(sorted(rows[0])))
    row = data.draw(st.integers(0, len(rows) - 1))
    other = data.draw(ROWS.filter(bool))[0][column]
    same = other == rows[row][column] and repr(other) == repr(rows[row][column])
    changed = [each | ({column: other} if index == row else {}) for index, each in enumerate(rows)]
    assert (tables.rows_digest(table(changed)) == wanted) == same
    assert tables.rows_digest(table(rows[1:])) != wanted
    assert tables.rows_digest(table(rows + rows[:1])) != wanted
    assert tables.rows_digest(table([]), table(rows)) != tables.rows_digest(table(rows), table([]))


def test_digest_tells_values_from_texts_that_look_the_same() -> None:
    day = datetime.date(2024, 1, 2)
    columns = [pa.array([day]), pa.array([str(day)]), pa.array([b"ab"]), pa.array(["6162"]), pa.array([float("nan")]), pa.array([None])]
    assert len({tables.rows_digest(pa.table({"x": column})) for column in columns}) == len(columns)


@settings(deadline=None, max_examples=25)
@given(ROWS)
def test_a_table_survives_the_disk(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("tables") / "deep" / "x.parquet"
    tables.write(table(rows), path)
    assert tables.read(path).equals(table(rows))
    assert [each.name for each in path.parent.iterdir()] == ["x.parquet"]


def test_tables_are_compressed_with_zstd(tmp_path: Path) -> None:
    tables.write(pa.table({"id": ["a"]}), tmp_path / "x.parquet")
    assert pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_folder_named_like_a_column_adds_none(tmp_path: Path) -> None:
    path = tmp_path / "shots=10" / "seed=0" / "x.parquet"
    tables.write(pa.table({"id": ["a"]}), path)
    assert tables.read(path).column_names == ["id"]


def test_an_absent_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"x\.parquet is missing"):
        tables.read(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(Corrupt, match=r"x\.parquet cannot be read"):
        tables.read(tmp_path / "x.parquet")


def test_ids_must_be_unique_and_present() -> None:
    assert tables.unique_ids(pa.table({"id": ["b", "a"]})) == ["b", "a"]
    with pytest.raises(BadData, match="more than once: a, c"):
        tables.unique_ids(pa.table({"id": ["a", "b", "a", "c", "c", "c"]}))
    with pytest.raises(BadData, match="first|and 2 more"):
        tables.unique_ids(pa.table({"id": [str(n) for n in range(7)] * 2}))
    with pytest.raises(BadData, match="row 1 of the table has no id"):
        tables.unique_ids(pa.table({"id": ["a", None]}))

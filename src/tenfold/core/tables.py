"""Parquet tables of samples: their columns, atomic writing, and a digest of the rows themselves."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tenfold.core import atomic
from tenfold.core.errors import BadData, Corrupt


def samples_schema(modalities: Sequence[str], extra: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Columns of `samples.parquet`: id, unit, split, label (int64), path, sha256 and bytes a modality, then `extra`.

    `extra` may also give another type to a column named before.
    """
    columns: dict[str, pa.DataType] = {"id": pa.string(), "unit": pa.string(), "split": pa.string(), "label": pa.int64()}
    for name in modalities:
        columns |= {f"{name}_path": pa.string(), f"{name}_sha256": pa.string(), f"{name}_bytes": pa.int64()}
    columns |= dict(extra or {})
    return pa.schema([pa.field(name, kind, nullable=name != "id") for name, kind in columns.items()])


def quarantine_schema(modalities: Sequence[str], extra: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Columns of `quarantine.parquet`: those of `samples.parquet`, then reason and detail."""
    schema = samples_schema(modalities, extra)
    return schema.append(pa.field("reason", pa.string(), nullable=False)).append(pa.field("detail", pa.string()))


def write(table: pa.Table, path: Path) -> None:
    """Write `table` as zstd Parquet, atomically."""
    with atomic.new_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read(path: Path) -> pa.Table:
    """The table in one Parquet file. Raises BadData if it is absent, Corrupt if it cannot be read."""
    try:
        # Not read_table: that takes folders such as `seed=0` above the file for columns.
        with pq.ParquetFile(path) as file:
            return file.read()
    except FileNotFoundError:
        raise BadData(f"{path} is missing. Run the step that writes it again.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise Corrupt(f"{path} cannot be read as Parquet ({error}). Delete it and run the step that writes it again.") from error


def unique_ids(table: pa.Table) -> list[str]:
    """The ids in the table's order. Raises BadData that names the first ids that are missing or stand there twice."""
    ids: list[str | None] = table.column("id").to_pylist()
    if None in ids:
        raise BadData(f"row {ids.index(None)} of the table has no id. Every sample needs one of its own.")
    seen: set[str] = set()
    twice: dict[str, None] = {}
    known = [each for each in ids if each is not None]
    for each in known:
        if each in seen:
            twice[each] = None
        seen.add(each)
    if twice:
        shown = ", ".join(list(twice)[:5]) + (f" and {len(twice) - 5} more" if len(twice) > 5 else "")
        raise BadData(f"ids that stand in the table more than once: {shown}. Every sample needs an id of its own.")
    return known


def rows_digest(*tables: pa.Table) -> str:
    """sha256 of what the rows say: the order of rows and columns, chunks, dictionaries and compression do not count.

    Every row becomes canonical JSON; the sorted hashes of the rows are hashed, table by table.
    """
    digest = hashlib.sha256()
    for table in tables:
        rows: list[bytes] = []
        for batch in table.to_batches(max_chunksize=4096):
            rows += [hashlib.sha256(_canonical(row).encode()).digest() for row in batch.to_pylist()]
        digest.update(len(rows).to_bytes(8, "big"))
        for row in sorted(rows):
            digest.update(row)
    return digest.hexdigest()


def _canonical(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, separators=(",", ":"), default=_extended)


def _extended(value: Any) -> Any:
    # Tagged, so that bytes or a date never equal a text that looks the same.
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return {type(value).__name__: str(value)}

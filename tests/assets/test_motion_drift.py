"""Features against the version before: what the run shows, and that nothing of it enters the output."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from motion_tracking.small_amass import BLOCK, folder, motion, put, read

from assets import motion_tracking
from assets.shared import Home, progress_sinks
from tenfold.core import atomic, tables
from tenfold.core.progress import Event
from tenfold.core.store import Manifest, Store
from tenfold.motion_tracking.samples import SAMPLES_SCHEMA

PAPER, PARTITION, LABEL = "motion_tracking", "demo", "Drift since the version before"


def dataset(store: Store, source: Path, key: str) -> None:
    """Make the clips in `source` the current dataset."""
    found = read(source)
    assert not found.errors
    with store.working(PAPER, "dataset", key) as work:
        tables.write(pa.Table.from_pylist(found.samples, SAMPLES_SCHEMA), work.out / "samples.parquet")
        atomic.write_json(work.out / "about.json", {"read": asdict(BLOCK)})
        made = store.publish(
            work, partition=PARTITION, upstream={}, block={}, overrides={}, code="", versions={}, made_by={}, seconds=0.0,
            facts={"root": str(source)},
        )  # fmt: skip
    store.set_current(PAPER, PARTITION, "dataset", key, made.digest)


def moved(source: Path) -> None:
    """Everybody who trains stands four metres further."""
    for number in range(4):
        arrays = motion(number)
        put(source, f"GenWalk/s{number:02d}/clip", arrays | {"trans": arrays["trans"] + [4.0, 0, 0]})


def run(home: Path) -> tuple[dict[str, Any], Manifest]:
    """What a run of the features shows, and what then counts."""
    done = dg.materialize([motion_tracking.features], partition_key=PARTITION, resources={"home": Home(home=str(home))})
    (shown,) = done.asset_materializations_for_node(f"{PAPER}__features")
    return {name: value.value for name, value in shown.metadata.items()}, Store(home).open(PAPER, PARTITION, "features")[1]


@pytest.mark.slow
def test_a_run_shows_the_drift_since_the_version_before(tiny: Path, tmp_path: Path) -> None:
    source, home = folder(tmp_path / "source"), tiny / ".tenfold"
    store = Store(home)
    dataset(store, source, "0" * 16)
    shown, first = run(home)
    assert shown[LABEL] == "there is none before" and shown["cache"] == "made in this run"
    shown, _ = run(home)
    assert shown[LABEL] == "none: the same rows" and shown["cache"].startswith("hit")
    begun = {path: path.read_bytes() for path in source.glob("amass/GenWalk/s*/*.npz")}
    moved(source)
    dataset(store, source, "1" * 16)
    told: list[Event] = []
    progress_sinks.append(told.append)
    try:
        shown, second = run(home)
    finally:
        progress_sinks.remove(told.append)
    rows = {row.data["token"]: row.data for row in shown[LABEL].records}
    assert {row["against"] for row in rows.values()} == {"previous version"} and shown["version before"] == first.key
    drifted = [token for token, row in rows.items() if row["drifted"]]
    assert {"head", "lhand", "rhand"} <= set(drifted) and "lshin" not in drifted
    assert any("have drifted" in event.text and "head, lhand" in event.text for event in told)

    # the same data without that past give the same output
    other = tmp_path / "other"
    dataset(Store(other), source, "1" * 16)
    alone, same = run(other)
    assert alone[LABEL] == "there is none before"
    assert (same.key, same.digest) == (second.key, second.digest) and same.notes == second.notes
    within = tables.read(store.folder(PAPER, "features", second.key) / "drift.parquet")
    assert set(within["against"].to_pylist()) == {"test split"}

    # back to the first data: nothing is made, and the drift is seen all the same
    for path, data in begun.items():
        path.write_bytes(data)
    dataset(store, source, "2" * 16)
    shown, again = run(home)
    assert again.key == first.key and shown["cache"].startswith("hit") and shown["version before"] == second.key
    shutil.rmtree(store.folder(PAPER, "features", first.key))
    moved(source)
    dataset(store, source, "3" * 16)
    shown, _ = run(home)
    assert shown[LABEL].startswith("not known: ") and "stats.parquet is missing" in shown[LABEL]

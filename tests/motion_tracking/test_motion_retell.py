"""What a stored model tells a tracking server, and the example request that goes with it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from motion_tracking import small_amass

from tenfold.core import atomic, tables
from tenfold.core.progress import Progress
from tenfold.motion_tracking import columns, rescore, rotations, sensors, survey
from tenfold.motion_tracking.data import ABOUT, SAMPLES_SCHEMA
from tenfold.motion_tracking.retell import retell


class Diary:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, dict[str, float]]] = []
        self.final: dict[str, float] = {}

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.epochs.append((epoch, dict(metrics)))

    def done(self, metrics: Mapping[str, float]) -> None:
        self.final = dict(metrics)


class Journal:
    def __init__(self) -> None:
        self.networks: dict[tuple[str, int], tuple[dict[str, object], Diary]] = {}

    def network(self, variant: str, seed: int, params: Mapping[str, object]) -> Diary:
        diary = Diary()
        self.networks[variant, seed] = dict(params), diary
        return diary


def test_retell_tells_each_networks_epochs_and_best(tmp_path: Path) -> None:
    records = []
    for variant, seed in (("", 0), ("", 1), ("one_lstm", 0)):
        folder = tmp_path / "networks" / (variant or "full") / f"seed{seed}"
        curves = {"epoch": [1, 2, 3], "train/loss": [3.0, 2.0, 1.0 + seed], "validation/mpjpe_cm": [None, 8.0, None]}
        folder.mkdir(parents=True)
        tables.write(pa.table(curves), folder / "curves.parquet")
        records.append({"variant": variant, "seed": seed, "steps": 30, "parameters": 99, "best_epoch": 2})
    atomic.write_json(tmp_path / "model.json", {"networks": records})
    journal = Journal()
    retell(tmp_path, journal)
    assert set(journal.networks) == {("", 0), ("", 1), ("one_lstm", 0)}
    params, diary = journal.networks["", 1]
    assert params == {"seed": 1, "steps": 30, "parameters": 99}
    assert diary.epochs == [(1, {"train/loss": 3.0}), (2, {"train/loss": 2.0, "validation/mpjpe_cm": 8.0}), (3, {"train/loss": 2.0})]
    assert diary.final == {"best/train/loss": 2.0, "best/validation/mpjpe_cm": 8.0, "best_epoch": 2}


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[Path, Path]:
    files = small_amass.folder(tmp_path / "files")
    found = survey.survey(files, small_amass.BLOCK, Progress())
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    tables.write(pa.Table.from_pylist(found.samples, schema=SAMPLES_SCHEMA), dataset / "samples.parquet")
    atomic.write_json(dataset / ABOUT, {"read": asdict(small_amass.BLOCK), "counts": found.counts()})
    return dataset, files


def test_the_example_is_raw_sensors_of_a_training_clip(dataset: tuple[Path, Path]) -> None:
    frame = rescore.example(*dataset)
    assert len(frame) == rescore.EXAMPLE and np.allclose(np.diff(frame["t"]), 1 / 60)
    assert {c for c in frame.columns if c.startswith("head_")} == {f"head_{a}" for a in ("qw", "qx", "qy", "qz", "px", "py", "pz")}
    assert {c for c in frame.columns if c.startswith("pelvis_")} == {f"pelvis_{a}" for a in ("qw", "qx", "qy", "qz", "ax", "ay", "az")}
    turned = np.stack([frame[[f"{s}_q{a}" for a in "wxyz"]].to_numpy() for s in columns.SENSORS], axis=1)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), 1.0, atol=1e-9)
    places = np.stack([frame[[f"{s}_p{a}" for a in "xyz"]].to_numpy() for s in columns.SENSORS[:3]], axis=1)
    felt = np.stack([frame[[f"{s}_a{a}" for a in "xyz"]].to_numpy() for s in columns.SENSORS[3:]], axis=1)
    assert np.isfinite(felt).all()
    rows = sensors.rows(sensors.Readings(rotations.matrix_from_quaternion(turned), places, felt))
    assert rows.shape == (rescore.EXAMPLE - 1, columns.WIDTH) and np.isfinite(rows).all()
    assert json.dumps(frame.iloc[0].to_dict())

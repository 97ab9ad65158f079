"""The contracts hold on good tables and break, each rule by itself, on bad ones (judged by Great Expectations)."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contract_checks import Rows, breach, check

from tenfold.core import atomic, tables
from tenfold.core.stage import Check
from tenfold.motion_tracking import clips, contract, features
from tenfold.motion_tracking.samples import SAMPLES_SCHEMA


@pytest.fixture
def rows() -> Rows:
    found = []
    for number, split in enumerate(("train", "train", "validation", "test")):
        row = dict.fromkeys(SAMPLES_SCHEMA.names)
        row |= {
            "id": f"CMU/{number}/a",
            "unit": "",
            "split": split,
            "label": "walk",
            "subset": "CMU",
            "subject": f"CMU/{number}",
            "group": "",
        }
        row |= {"source": "real", "gender": "male", "fps": 120.0, "frames": 10, "seconds": 1 / 6, "height_m": 1.6, "max_speed": 3.0}
        row |= {"clip_path": f"amass/CMU/{number}/a_poses.npz", "clip_sha256": f"{number}" * 64, "clip_bytes": 3, "warnings": ""}
        found.append(row | {"poses_sha256": f"{number}" * 64, "body_sha256": "b" * 64})
    return found


def judged(folder: Path, rows: Rows, says: str | None, root: Path | None = None, split: str = "lists") -> Check:
    tables.write(pa.Table.from_pylist(rows, SAMPLES_SCHEMA), folder / "samples.parquet")
    atomic.write_json(folder / features.ABOUT, {"read": {"split": split}})
    return check(contract.samples(folder, root), contract.SAMPLES, says)


@pytest.mark.slow
def test_good_clips_keep_the_contract_and_files_must_be_there(tmp_path: Path, rows: Rows) -> None:
    breach(judged(tmp_path, rows, None), None)
    root = tmp_path / "root"
    for row in rows:
        (root / row["clip_path"]).parent.mkdir(parents=True)
        (root / row["clip_path"]).write_bytes(b"abc")
    breach(judged(tmp_path, rows, None, root, "by_subject"), None)
    (root / rows[1]["clip_path"]).write_bytes(b"ab")
    breach(judged(tmp_path, rows, "every file is there", root), "every file is there")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"id": "CMU/0/a"}, "an id stands once"),
        ({"split": "val"}, "the split is known"),
        ({"split": "test"}, "every split has clips"),
        ({"source": "drawn"}, "generated or real"),
        ({"gender": "unknown"}, "the gender is known"),
        ({"gender": None}, "every row has its gender"),
        ({"fps": 0.0}, "frame rates"),
        ({"fps": 1001.0}, "frame rates"),
        ({"frames": 9}, "10 frames or more"),
        ({"max_speed": 31.0}, "faster than 30"),
        ({"clip_sha256": "x"}, "the clip's hash"),
        ({"poses_sha256": "x"}, "the poses' hash"),
        ({"body_sha256": "x"}, "the body's hash"),
        ({"poses_sha256": "3" * 64}, "no motion of the test split trains"),
        ({"clip_path": None}, "every row has its clip_path"),
    ],
)
def test_each_rule_breaks(tmp_path: Path, rows: Rows, values: dict[str, Any], says: str) -> None:
    rows[2] |= values
    breach(judged(tmp_path, rows, says), says)


def test_odd_heights_and_twins_are_only_flagged(tmp_path: Path, rows: Rows) -> None:
    rows[1]["height_m"] = 0.4
    breach(judged(tmp_path, rows, "0.8 to 2.6 m"), "0.8 to 2.6 m", "warn")
    rows[1]["clip_sha256"] = rows[0]["clip_sha256"]
    breach(judged(tmp_path, rows, "content stands once"), "content stands once", "warn")


def test_a_group_on_both_sides(tmp_path: Path, rows: Rows) -> None:
    for number in (0, 3):
        rows[number]["group"] = "walking"
    breach(judged(tmp_path, rows, "nor one of its group"), "nor one of its group")


def test_people_on_both_sides_break_only_a_split_by_subject(tmp_path: Path, rows: Rows) -> None:
    rows[3]["subject"] = rows[0]["subject"]
    breach(judged(tmp_path, rows, "nobody both trains and tests"), None)
    breach(judged(tmp_path, rows, "nobody both trains and tests", split="by_subject"), "nobody both trains and tests")


@pytest.fixture
def checks() -> Rows:
    good = {"finite": True, "six_most": 1.0, "unit_error": 1e-7, "orthogonal_error": 1e-7, "acceleration_most": 50.0, "velocity_most": 0.1}
    return [{"clip_id": f"CMU/{number}/a", **good, "head_error": 0.0} for number in range(4)]


def features_judged(folder: Path, rows: Rows, checks: Rows, says: str | None, length: int = 9) -> Check:
    tables.write(pa.Table.from_pylist(rows, SAMPLES_SCHEMA), folder / "samples.parquet")
    index = [dict.fromkeys(clips.INDEX.names) | {"clip_id": row["id"], "length": length} for row in rows]
    tables.write(pa.Table.from_pylist(index, clips.INDEX), folder / "index.parquet")
    tables.write(pa.Table.from_pylist(checks, features.CHECKS), folder / "checks.parquet")
    return check(contract.features(folder, folder), contract.FEATURES, says)


@pytest.mark.slow
def test_good_features_keep_the_contract(tmp_path: Path, rows: Rows, checks: Rows) -> None:
    breach(features_judged(tmp_path, rows, checks, None), None)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"finite": False}, "finite"),
        ({"six_most": 1.01}, "6D columns"),
        ({"unit_error": 0.01}, "length 1"),
        ({"orthogonal_error": 0.01}, "orthogonal"),
        ({"acceleration_most": 501.0}, "accelerations"),
        ({"velocity_most": 0.6}, "0.5 m in a frame"),
        ({"head_error": 0.001}, "where the sensors say"),
        ({"clip_id": "CMU/0/a"}, "a clip stands once"),
    ],
)
def test_each_rule_of_the_features_breaks(tmp_path: Path, rows: Rows, checks: Rows, values: dict[str, Any], says: str) -> None:
    checks[2] |= values
    breach(features_judged(tmp_path, rows, checks, says), says)


def test_lengths_must_fit_the_samples(tmp_path: Path, rows: Rows, checks: Rows) -> None:
    breach(features_judged(tmp_path, rows, checks, "less one", 10), "less one")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"method": "truth", "noise": "clean", "mpjpe": None}, None),
        ({"noise": "clean", "clip_id": "CMU/0/b", "mpjpe": None}, "every clean answer has its mpjpe"),
        ({"mpjpe": 1000.5}, "less than 10 m off"),
        ({"mpjre": 181.0}, "at most 180 degrees"),
        ({"sensors": "hmd_9imus"}, "the sensor set is known"),
        ({"noise": "clean"}, "one row a clip, method"),
    ],
)
def test_scores_of_clips_keep_their_contract(change: dict[str, Any], says: str | None) -> None:
    row = {"clip_id": "CMU/0/a", "method": "ours", "variant": "", "seed": 0, "sensors": "hmd", "noise": "clean", "mpjpe": 5.0, "mpjre": 9.0}
    scores = [row, row | {"noise": "harsh"} | change]
    breach(check(pa.Table.from_pylist(scores), contract.SEQUENCES, says), says)

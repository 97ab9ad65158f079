"""The features stage: every row is the clip's, a killed run goes on to the same bytes, memory stays flat."""

import json
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from motion_tracking.small_amass import BLOCK, body, folder, motion, put, read

from tenfold.core import atomic, tables
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.progress import Progress
from tenfold.motion_tracking import amass, bodies, clips, config, drift, features, imu, kinematics, resample, sensors
from tenfold.motion_tracking import body as body_model
from tenfold.motion_tracking.rotations import matrix_from_six
from tenfold.motion_tracking.samples import SAMPLES_SCHEMA

FEATURES = config.Features(
    acceleration="central", noisy_acceleration="raw", train_noise=["light"], test_noise=["causal", "raw", "consumer", "harsh"], seed=0
)


def dataset(tmp_path: Path, source: Path, block: config.Dataset = BLOCK) -> Path:
    """The store's folder of the dataset."""
    found = read(source, block)
    assert not found.errors, found.errors
    tables.write(pa.Table.from_pylist(found.samples, SAMPLES_SCHEMA), tmp_path / "dataset/samples.parquet")
    atomic.write_json(tmp_path / "dataset" / features.ABOUT, {"read": asdict(block), "counts": {}})
    return tmp_path / "dataset"


def made(tmp_path: Path, source: Path, name: str = "out", block: config.Features = FEATURES, read: config.Dataset = BLOCK) -> clips.Clips:
    features.run(dataset(tmp_path, source, read), source, block, tmp_path / name, Progress())
    return clips.Clips.open(tmp_path / name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder(tmp_path / "source")


def test_rows_are_those_of_each_clip(tmp_path: Path, source: Path) -> None:
    put(source, "GenWalk/s01/clip", motion(1, 50, 100.0, kind=np.array("run")))
    found = made(tmp_path, source)
    on = bodies.load(source / "smplh", "neutral").neutral
    assert len(found) == sum(clip.length for clip in found.index)
    for clip in found.index:
        file = amass.read(source, Path(f"amass/{clip.id}_poses.npz"))
        local, trans = resample.resample(file, "slerp")
        world, positions = kinematics.forward(local, body_model.joints(on, file.betas), trans)
        mounts = body_model.mount_positions(on, local, world, trans, file.betas)
        assert clip.length == len(local) - 1
        x = sensors.features(world, positions, imu.acceleration(mounts))
        np.testing.assert_array_equal(found.features(clip), x)
        np.testing.assert_allclose(found.pos[clip.rows], positions[1:], atol=1e-6)
        six = {name: getattr(found, name)[clip.rows].reshape(-1, 22, 6) for name in ("pose6d", "global6d")}
        np.testing.assert_allclose(matrix_from_six(six["pose6d"]), local[1:], atol=1e-6)
        np.testing.assert_allclose(matrix_from_six(six["global6d"]), world[1:], atol=1e-6)
        np.testing.assert_array_equal(clip.shape, file.betas)
    assert next(clip for clip in found.index if clip.id == "GenWalk/s01/clip").label == "run"


def test_the_index_names_split_source_and_person(tmp_path: Path, source: Path) -> None:
    found = made(tmp_path, source)
    assert len(found.rows()) == 7 and len(found.rows("train")) == 4 and len(found.rows("test", "real")) == 1
    clip = found.rows("test", "real")[0]
    assert (clip.id, clip.subset, clip.subject, clip.gender, clip.source) == (
        "RealClips/t1/clip",
        "RealClips",
        "RealClips/t1",
        "male",
        "real",
    )
    small = body_model.load_small(tmp_path / "out/body.npz")
    np.testing.assert_array_equal(small.rest, bodies.load(source / "smplh", "neutral").neutral.rest)
    assert not (tmp_path / "out/partial").exists()


def test_noisy_rows_are_of_their_splits_and_change_only_the_imus(tmp_path: Path, source: Path) -> None:
    found = made(tmp_path, source)
    assert found.levels == ["causal", "consumer", "harsh", "light", "raw"]
    has = sensors.mask("hmd")
    for clip in found.index:
        for level in found.levels:
            assert found.has(clip, level) == ((level == "light") == (clip.split != "test"))
            if found.has(clip, level):
                x, clean = found.features(clip, level), found.features(clip)
                np.testing.assert_array_equal(x[:, has], clean[:, has])
                assert not np.array_equal(x[:, ~has], clean[:, ~has])
                if level in features.CONDITIONS:
                    np.testing.assert_array_equal(x[:, :126], clean[:, :126])
    with pytest.raises(UsageError, match="harsh"):
        found.features(found.rows("train")[0], "harsh")


def test_noise_rests_on_the_clip_alone_not_on_the_others(tmp_path: Path, source: Path) -> None:
    one = made(tmp_path, source)
    for number in range(3):
        (source / f"amass/GenWalk/s{number:02d}/clip_poses.npz").unlink()
    (source / "splits/GenWalk/train_split.txt").write_text("GenWalk/s03/clip_poses.npz\n")
    other = made(tmp_path, source, "fewer")
    for clip in other.index:
        twin = next(each for each in one.index if each.id == clip.id)
        for level in other.levels:
            if other.has(clip, level):
                np.testing.assert_array_equal(other.features(clip, level), one.features(twin, level))
    third = made(tmp_path, source, "seed", replace(FEATURES, seed=1))
    clip = third.rows("test")[0]
    assert not np.array_equal(third.features(clip, "harsh"), other.features(clip, "harsh"))
    np.testing.assert_array_equal(third.features(clip), other.features(clip))


def content(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def same(one: Path, other: Path) -> None:
    """Fails with the names of the files that differ, and of an array by how much."""
    left, right = content(one), content(other)
    assert list(left) == list(right)
    differ = [name for name in left if left[name] != right[name]]
    for name in differ:
        if name.endswith(".npy"):
            np.testing.assert_array_equal(np.load(one / name), np.load(other / name), name)
    assert not differ


def test_twice_gives_the_same_bytes(tmp_path: Path, source: Path) -> None:
    made(tmp_path, source, "one")
    made(tmp_path, source, "two")
    same(tmp_path / "one", tmp_path / "two")


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3, 4, 6])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, source: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, source, "whole")
    monkeypatch.setattr(features, "_SAFE_EVERY", 2)
    real, calls = features.truth, []

    def truth(*given: Any) -> features.Truth:
        if len(calls) == after:
            raise Killed
        calls.append(1)
        return real(*given)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(features, "truth", truth)
        made(tmp_path, source, "killed")
    # What was not yet safe on the disk may be anything.
    done = after - after % 2
    rows = np.load(tmp_path / "killed/x.npy")
    rows[done * (60 - 1) :] = np.nan
    np.save(tmp_path / "killed/x.npy", rows)
    again: list[str] = []

    def counted(files: Path, row: Any) -> amass.Motion:
        again.append(row["id"])
        return plain(files, row)

    plain = features._read
    monkeypatch.setattr(features, "_read", counted)
    made(tmp_path, source, "killed")
    assert len(again) == 7 - done
    same(tmp_path / "killed", tmp_path / "whole")


def test_an_interrupted_run_on_other_data_begins_anew(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_SAFE_EVERY", 1)
    made(tmp_path, source, "half")
    (tmp_path / "half/partial").mkdir()
    atomic.write_json(tmp_path / "half/partial/safe.json", {"clips": 5, "plan": "another"})
    (tmp_path / "half/partial/betas.npy").write_bytes(b"x")
    made(tmp_path, source, "half")
    made(tmp_path, source, "whole")
    same(tmp_path / "half", tmp_path / "whole")


def test_a_clip_that_changed_or_went_is_refused(tmp_path: Path, source: Path) -> None:
    folder_of = dataset(tmp_path, source)
    put(source, "GenWalk/s02/clip", motion(99))
    with pytest.raises(Corrupt, match="s02.*Make the dataset again"):
        features.run(folder_of, source, FEATURES, tmp_path / "out", Progress())
    (source / "amass/GenWalk/s02/clip_poses.npz").unlink()
    with pytest.raises(Corrupt, match="s02.*make the dataset again"):
        features.run(folder_of, source, FEATURES, tmp_path / "out", Progress())


@pytest.mark.parametrize("level", ["clean", "loud", ""])
def test_unknown_noise_is_refused(tmp_path: Path, source: Path, level: str) -> None:
    with pytest.raises(UsageError, match="consumer"):
        made(tmp_path, source, "out", replace(FEATURES, test_noise=[level]))


def test_without_noise_there_is_none(tmp_path: Path, source: Path) -> None:
    found = made(tmp_path, source, "out", replace(FEATURES, train_noise=[], test_noise=[]))
    assert found.levels == [] and not (tmp_path / "out/noise").exists()


def test_gendered_truth_stands_on_its_own_body(tmp_path: Path, source: Path) -> None:
    for gender in ("male", "female"):
        body(source, gender)
    arrays = dict(np.load(source / "smplh/male/model.npz"))
    np.savez(source / "smplh/male/model.npz", **(arrays | {"v_template": arrays["v_template"] * 1.1}))
    own = made(tmp_path, source, "own", read=replace(BLOCK, body="gendered"))
    neutral = made(tmp_path, source, "neutral")
    span = [np.linalg.norm(each.pos[0, 0] - each.pos[0, 15]) for each in (own, neutral)]
    assert span[0] == pytest.approx(1.1 * span[1], rel=0.02)
    # Predictions stand on the neutral body in both.
    assert (tmp_path / "own/body.npz").read_bytes() == (tmp_path / "neutral/body.npz").read_bytes()


def test_statistics_checks_and_drift(tmp_path: Path, source: Path) -> None:
    found = made(tmp_path, source, "first")
    train = np.concatenate([found.features(clip) for clip in found.rows("train")]).astype(np.float64)
    stats = tables.read(tmp_path / "first/stats.parquet")
    for name, values in (("mean", train.mean(0)), ("std", train.std(0)), ("min", train.min(0)), ("max", train.max(0))):
        np.testing.assert_allclose(stats[name].to_numpy(), values, atol=1e-9)
    assert stats["token"].to_pylist()[:6] == ["head"] * 6 and stats["token"].to_pylist()[126] == "lshin"
    checks = tables.read(tmp_path / "first/checks.parquet").to_pylist()
    assert [row["clip_id"] for row in checks] == [clip.id for clip in found.index]
    assert all(row["finite"] and row["unit_error"] < 1e-5 and row["head_error"] == 0 for row in checks)
    for number in range(4):
        arrays = motion(number)
        put(source, f"GenWalk/s{number:02d}/clip", arrays | {"trans": arrays["trans"] + [4.0, 0, 0]})
    folder_of = dataset(tmp_path, source)
    notes = features.run(folder_of, source, FEATURES, tmp_path / "second", Progress())
    moved = {row["token"]: row["drifted"] for row in drift.since(tmp_path / "first", tmp_path / "second").to_pylist()}
    assert moved["head"] and moved["lhand"] and not moved["lshin"] and not moved["lhand_in_head"]
    assert set(tables.read(tmp_path / "second/drift.parquet")["against"].to_pylist()) == {"test split"}
    assert notes.facts["rows"] == len(found) and not notes.facts["licensed"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clips(tmp_path: Path) -> None:
    peaks = []
    for count in (4, 24):
        source = folder(tmp_path / f"source{count}", count, 240)
        folder_of = dataset(tmp_path / str(count), source)
        tracemalloc.start()
        features.run(folder_of, source, FEATURES, tmp_path / f"out{count}", Progress())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0], peaks


def test_an_opened_folder_must_be_whole(tmp_path: Path, source: Path) -> None:
    made(tmp_path, source)
    out = tmp_path / "out"
    x = np.load(out / "x.npy")
    for spoiled in (x[:-1], x.astype(np.float64), x[:, :100]):
        np.save(out / "x.npy", spoiled)
        with pytest.raises(Corrupt, match="x.npy|x\\.npy"):
            clips.Clips.open(out)
    (out / "x.npy").write_bytes((out / "pos.npy").read_bytes()[:200])
    with pytest.raises(Corrupt):
        clips.Clips.open(out)
    (out / "x.npy").unlink()
    with pytest.raises(BadData, match="x.npy"):
        clips.Clips.open(out)


def test_unknown_splits_are_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UsageError, match="validation"):
        made(tmp_path, source).rows("val")


def test_the_about_file_is_what_the_dataset_was_read_with(tmp_path: Path, source: Path) -> None:
    folder_of = dataset(tmp_path, source)
    told = json.loads((folder_of / features.ABOUT).read_bytes())
    assert config.Dataset(**told["read"]) == BLOCK

"""Prediction as a service and on the command line: sessions, states, recordings, streams, what is written."""

import argparse
import csv
import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from motion_tracking.small_human import human
from motion_tracking.small_live import IMUS, run, swaying, without, write
from support import CHECKOUT

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import (
    amass,
    body,
    bvh,
    calibration,
    kinematics,
    predict,
    procedural_body,
    recording,
    rotations,
    sensors,
    skeleton,
)
from tenfold.motion_tracking.live import Live
from tenfold.motion_tracking.predict import OPTIONS, ROWS, Predictor
from tenfold.motion_tracking.sessions import Sessions
from tenfold.motion_tracking.stream import NAMES, Reading

READINGS = swaying(40)
IDENTITY = {name: name for name in skeleton.JOINTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("predict") / "predictor")


@pytest.fixture
def predictor(folder: Path) -> Predictor:
    return Predictor.load(folder)


def table(readings: list[Reading]) -> pd.DataFrame:
    frame = pd.DataFrame([reading.values.ravel() for reading in readings], columns=list(NAMES))
    frame.insert(0, "t", [reading.t for reading in readings])
    return frame


def poses(answer: pd.DataFrame) -> np.ndarray:
    return answer[[*recording.QUATERNIONS, *recording.ROOT, *recording.BETAS]].to_numpy(np.float64)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    predict.add_arguments(parser)
    return parser.parse_args(list(words))


def json_lines(path: Path, readings: list[Reading]) -> Path:
    lines = [{"t": r.t} | {n: v for n, v in zip(NAMES, r.values.ravel().tolist(), strict=True) if v == v} for r in readings]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


# -- requests -------------------------------------------------------------------------------------------------------


def test_a_row_for_each_row(predictor: Predictor) -> None:
    frame = table(READINGS).set_index(np.arange(100, 140))
    answer = predictor.predict(frame)
    assert list(answer.columns) == list(recording.COLUMNS) and list(answer.index) == list(frame.index)
    live = run(Live(predictor.step, predictor.body), READINGS)
    wanted = np.stack([rotations.quaternion_from_matrix(pose.local).ravel() for pose in live])
    assert np.array_equal(answer[list(recording.QUATERNIONS)], wanted)
    assert set(answer["sensors"]) == {"hmd_3imus"} and answer["flags"].tolist() == ["first"] + [""] * 39
    local = rotations.matrix_from_quaternion(wanted.reshape(-1, 22, 4))
    rest = body.joints(human(), answer[list(recording.BETAS)].to_numpy())
    _, positions = kinematics.forward(local, rest, answer[list(recording.ROOT)].to_numpy())
    assert np.abs(positions[:, skeleton.HEAD] - frame[["head_px", "head_py", "head_pz"]].to_numpy()).max() < 1e-6


def test_the_columns_that_are_there_say_the_sensor_set(predictor: Predictor) -> None:
    answer = predictor.predict(table(READINGS).iloc[:, :22])
    assert set(answer["sensors"]) == {"hmd"} and set(answer["masked"]) == {"lshin rshin pelvis"}
    forced = predictor.predict(table(READINGS), {"sensor_set": "hmd"})
    assert np.array_equal(poses(answer), poses(forced))


def test_rows_of_the_networks_input(predictor: Predictor) -> None:
    online, rows = sensors.Online(), []
    for reading in READINGS:
        v = reading.values
        rows.append(online.step(rotations.matrix_from_quaternion(np.concatenate([v[:3, 3:], v[3:, :4]])), v[:3, :3], v[3:, 4:]))
    answer = predictor.predict(pd.DataFrame(np.stack(rows), columns=list(ROWS)))
    assert np.abs(poses(answer) - poses(predictor.predict(table(READINGS)))).max() < 1e-6
    with pytest.raises(BadData, match="has x0 but not x7"):
        predictor.predict(pd.DataFrame(np.stack(rows), columns=list(ROWS)).drop(columns="x7"))


def test_other_rates_have_an_answer_for_each_row(predictor: Predictor) -> None:
    fast = [Reading(number / 240, READINGS[0].values + np.pad([[number * 1e-3] * 3], ((0, 5), (0, 4)))) for number in range(40)]
    answer = predictor.predict(table(fast))
    again = answer["flags"] == "again"
    assert len(answer) == 40 and 25 <= again.sum() <= 31
    local = rotations.matrix_from_quaternion(answer[list(recording.QUATERNIONS)].to_numpy().reshape(-1, 22, 4))
    rest = body.joints(human(), answer[list(recording.BETAS)].to_numpy())
    _, positions = kinematics.forward(local, rest, answer[list(recording.ROOT)].to_numpy())
    assert np.abs(positions[:, skeleton.HEAD] - table(fast)[["head_px", "head_py", "head_pz"]].to_numpy()).max() < 1e-6


def test_before_the_first_pose_there_are_no_numbers(predictor: Predictor) -> None:
    answer = predictor.predict(table([without(reading, 0) if n < 3 else reading for n, reading in enumerate(READINGS[:5])]))
    assert np.isnan(poses(answer)[:3]).all() and np.isfinite(poses(answer)[3:]).all() and answer["flags"].tolist()[:3] == ["none"] * 3


def test_sessions_go_on_and_never_mix(predictor: Predictor) -> None:
    other = [Reading(reading.t, READINGS[-1 - n].values) for n, reading in enumerate(READINGS)]
    made: dict[str, list[np.ndarray]] = {"a": [], "b": []}
    for start in range(0, 40, 8):
        for name, readings in (("a", READINGS), ("b", other)):
            made[name].append(poses(predictor.predict(table(readings[start : start + 8]), {"session": name})))
    for name, readings in (("a", READINGS), ("b", other)):
        assert np.array_equal(np.concatenate(made[name]), poses(predictor.predict(table(readings))))
    started = predictor.predict(table(READINGS[:8]), {"session": "b", "reset": True})
    assert np.array_equal(poses(started), made["a"][0]) and len(predictor.sessions) == 2


def test_sessions_of_many_threads_never_mix(predictor: Predictor) -> None:
    streams = {f"s{k}": [Reading(r.t, READINGS[(n + 5 * k) % 40].values) for n, r in enumerate(READINGS)] for k in range(4)}
    found: dict[str, list[np.ndarray]] = {name: [] for name in streams}

    def work(name: str) -> None:
        for start in range(0, 40, 4):
            found[name].append(poses(predictor.predict(table(streams[name][start : start + 4]), {"session": name})))

    threads = [threading.Thread(target=work, args=(name,)) for name in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, readings in streams.items():
        assert np.array_equal(np.concatenate(found[name]), poses(predictor.predict(table(readings))))


def test_two_consumers_of_one_model_do_not_share_their_state(folder: Path) -> None:
    one, other = Predictor.load(folder), Predictor.load(folder)
    one.predict(table(READINGS[:20]), {"session": "a"})
    fresh = other.predict(table(READINGS[20:]), {"session": "a"})
    assert np.array_equal(poses(fresh), poses(one.predict(table(READINGS[20:]))))
    assert not np.array_equal(poses(fresh), poses(one.predict(table(READINGS[20:]), {"session": "a"})))


def test_sessions_are_few_and_forgotten_when_idle() -> None:
    now = [0.0]
    kept: Sessions[list[int]] = Sessions(most=3, idle_s=10, clock=lambda: now[0])

    def used(name: str, reset: bool = False) -> int:
        with kept.use(name, list, reset) as value:
            value.append(0)
            return len(value)

    assert [used(name) for name in "abca"] == [1, 1, 1, 2]
    assert used("d") == 1 and len(kept) == 3  # b went: the longest unused
    assert used("b") == 1 and used("a") == 3
    assert used("a", reset=True) == 1
    now[0] = 9
    assert used("d") == 2
    now[0] = 18
    assert used("d") == 3 and len(kept) == 1
    now[0] = 29
    assert used("d") == 1


def test_a_caller_may_keep_the_state(predictor: Predictor) -> None:
    state, made = "new", []
    for start in range(0, 40, 7):
        answer = predictor.predict(table(READINGS[start : start + 7]), {"state": state})
        assert set(answer["state"][:-1]) <= {""}
        state = answer["state"].iloc[-1]
        made.append(poses(answer))
    assert np.array_equal(np.concatenate(made), poses(predictor.predict(table(READINGS)))) and len(predictor.sessions) == 0
    with pytest.raises(BadData, match="neither `new` nor base64"):
        predictor.predict(table(READINGS), {"state": "../../etc"})
    with pytest.raises(BadData, match="state cannot be read"):
        predictor.predict(table(READINGS), {"state": "AAAA"})


def test_a_request_says_the_weights(predictor: Predictor, folder: Path) -> None:
    """8 bits: nearly the same poses, and none of the other's; a session keeps what it began with."""
    wide, small = (poses(predictor.predict(table(READINGS), {"precision": each})) for each in ("fp32", "int8"))
    assert np.array_equal(wide, poses(predictor.predict(table(READINGS)))) and 0 < np.abs(wide - small).max() < 0.1
    eight = Predictor.load(folder, precision="int8")
    live = run(eight.live(), READINGS)
    wanted = np.stack([rotations.quaternion_from_matrix(pose.local).ravel() for pose in live])
    assert np.array_equal(small[:, : wanted.shape[1]], wanted)
    assert np.array_equal(poses(eight.predict(table(READINGS), {"precision": "fp32"})), wide)
    first = predictor.predict(table(READINGS[:20]), {"session": "eight", "precision": "int8"})
    then = predictor.predict(table(READINGS[20:]), {"session": "eight"})
    assert np.array_equal(np.concatenate([poses(first), poses(then)]), small)
    state = predictor.predict(table(READINGS[:20]), {"state": "new", "precision": "int8"})["state"].iloc[-1]
    with pytest.raises(BadData, match="not one of this model"):
        predictor.predict(table(READINGS[20:]), {"state": state})
    assert np.array_equal(poses(predictor.predict(table(READINGS[20:]), {"state": state, "precision": "int8"})), poses(then))


def test_wrong_requests_are_refused(predictor: Predictor) -> None:
    for given, says in [
        ({"sesion": "a"}, "no parameter `sesion`; did you mean 'session'"),
        ({"sensor_set": "hmd_4imus"}, "sensor_set is 'hmd_4imus'"),
        ({"precision": "int4"}, "precision is 'int4'.*int8"),
        ({"session": "a", "state": "new"}, "not both"),
    ]:
        with pytest.raises(UsageError, match=says):
            predictor.predict(table(READINGS), given)
    with pytest.raises(BadData, match="head_px"):
        predictor.predict(pd.DataFrame({"t": [0.0]}))
    with pytest.raises(BadData, match="a cell is no number"):
        predictor.predict(table(READINGS).assign(head_px="/etc/passwd"))
    with pytest.raises(BadData, match="calibration is no calibration"):
        predictor.predict(table(READINGS), {"calibration": "/etc/passwd"})
    with pytest.raises(UsageError, match="recording"):
        predictor.predict(table(READINGS).assign(recording="a"), {"session": "a"})


def test_an_empty_request_has_an_empty_answer(predictor: Predictor) -> None:
    assert list(predictor.predict(table(READINGS).iloc[:0]).columns) == list(recording.COLUMNS)
    assert len(predictor.predict(table(READINGS).assign(recording="a").iloc[:0])) == 0


def test_the_body_that_is_licensed_is_named(folder: Path, tmp_path: Path) -> None:
    import shutil

    lean = tmp_path / "predictor"
    shutil.copytree(folder, lean)
    (lean / "body.npz").unlink()
    answer = Predictor.load(lean).predict(table(READINGS[:4]))
    assert np.isfinite(answer[list(recording.QUATERNIONS)]).all(axis=None) and answer[list(recording.ROOT)].isna().all(axis=None)
    procedural_body.write(tmp_path / "model.npz")
    whole = Predictor.load(lean, tmp_path / "model.npz").predict(table(READINGS[:4]))
    assert np.abs(poses(whole) - poses(Predictor.load(folder).predict(table(READINGS[:4])))).max() < 1e-9
    data = body.load(tmp_path / "model.npz")
    described = json.loads((lean / "predictor.json").read_text())
    assert described["body_sha256"] == data.sha256
    (lean / "predictor.json").write_text(json.dumps(described | {"body_sha256": "0" * 64}))
    with pytest.raises(BadData, match="not the body that the model was trained with"):
        Predictor.load(lean, tmp_path / "model.npz")
    args = arguments(str(json_lines(tmp_path / "a.jsonl", READINGS[:4])))
    frame, names = predict.read_inputs(args)
    with pytest.raises(BadData, match="name its model.npz with --body"):
        predict.write(Predictor.load(lean).predict(frame), names, tmp_path / "out")


def test_a_calibration_is_applied(predictor: Predictor, tmp_path: Path) -> None:
    found = calibration.Calibration(np.broadcast_to(rotations.about("x", 0.3), (6, 3, 3)), np.zeros((3, 3)), 0.5, 0.0, "t", 0.0, ("head",))
    calibration.write(tmp_path / "c.json", found)
    text = (tmp_path / "c.json").read_text()
    answer = predictor.predict(table(READINGS), {"calibration": text})
    live = run(Live(predictor.step, predictor.body, calibration=found), READINGS)
    assert np.abs(answer[list(recording.ROOT)].to_numpy() - np.stack([pose.root for pose in live])).max() < 1e-9
    args = arguments(str(json_lines(tmp_path / "a.jsonl", READINGS)), "--calibration", str(tmp_path / "c.json"))
    assert np.array_equal(poses(predictor.predict(predict.read_inputs(args)[0])), poses(answer))
    assert live[0].head[2] == READINGS[0].values[0, 2] - 0.5


# -- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", recording.FORMATS)
def test_recordings_are_written_side_by_side(predictor: Predictor, tmp_path: Path, kind: str) -> None:
    one, other = json_lines(tmp_path / "one.jsonl", READINGS), tmp_path / "other.csv"
    table([without(reading, *IMUS) for reading in READINGS]).to_csv(other, index=False)
    one.write_text(one.read_text() + "nonsense\n")
    frame, names = predict.read_inputs(arguments(str(one), str(other), "--format", kind))
    told = predict.write(predictor.predict(frame), names, tmp_path / "out")
    assert f"one: 40 poses from 40 readings, one.{kind}" in told and "lines that are no frame: 1" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"one.{kind}", f"other.{kind}"]


def test_what_is_written_is_what_was_predicted(predictor: Predictor, tmp_path: Path) -> None:
    """AMASS's layout and BVH, read by the house's own readers: the same rotations, the head where it was."""
    path = json_lines(tmp_path / "one.jsonl", READINGS)
    for kind in ("npz", "bvh"):
        frame, names = predict.read_inputs(arguments(str(path), "--format", kind))
        answer = predictor.predict(frame)
        predict.write(answer, names, tmp_path)
    local = rotations.matrix_from_quaternion(answer[list(recording.QUATERNIONS)].to_numpy().reshape(-1, 22, 4))
    (tmp_path / "one.npz").rename(tmp_path / "one_poses.npz")
    read = amass.read(tmp_path, Path("one_poses.npz"))
    assert read.fps == 60 and read.gender == "neutral" and len(read.poses) == 40
    assert rotations.angle_between(rotations.matrix_from_axis_angle(read.poses), local).max() < 1e-6
    rest = body.joints(human(), read.betas)
    _, positions = kinematics.forward(local, rest, read.trans)
    heads = np.stack([reading.values[0, :3] for reading in READINGS])
    assert np.abs(positions[:, skeleton.HEAD] - heads).max() < 1e-6
    with np.load(tmp_path / "one_poses.npz", allow_pickle=False) as arrays:
        assert arrays["poses"].shape == (40, 156) and arrays["dmpls"].shape == (40, 8)
    found = bvh.read(tmp_path / "one.bvh")
    carried = bvh.carry_over(found, rest, IDENTITY, metres_per_unit=0.01)
    assert abs(carried.fps - 60) < 1e-3 and rotations.angle_between(carried.local, local).max() < 1e-5
    assert np.abs(carried.root - read.trans).max() < 1e-4


def test_wrong_recordings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    for words, error, says in [
        ([], UsageError, "name a recording"),
        (["-"], UsageError, "--stream -"),
        ([str(tmp_path / "empty.csv")], BadData, "holds no frames"),
        ([str(tmp_path / "a.csv"), str(tmp_path / "b/a.csv")], UsageError, "two recordings are called a"),
    ]:
        with pytest.raises(error, match=says):
            predict.read_inputs(arguments(*words))


def test_a_recording_without_a_head_says_so(predictor: Predictor, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", [without(reading, 0) for reading in READINGS[:5]])
    frame, names = predict.read_inputs(arguments(str(path)))
    assert "a: no pose; the head is never tracked" in predict.write(predictor.predict(frame), names, tmp_path / "out")


# -- streams ----------------------------------------------------------------------------------------------------------


def stream(folder: Path, *words: str) -> None:
    running = predict.streaming(arguments(*words))
    assert running is not None and running(folder) == 0


def test_recordings_and_streams_take_8_bits(folder: Path, tmp_path: Path, predictor: Predictor) -> None:
    path = json_lines(tmp_path / "one.jsonl", READINGS)
    small = predictor.predict(table(READINGS), {"precision": "int8"})
    frame, _ = predict.read_inputs(arguments(str(path), "--precision", "int8"))
    assert np.array_equal(poses(predictor.predict(frame)), poses(small))
    stream(folder, "--stream", str(path), "--precision", "int8", "--out", str(tmp_path / "out.csv"))
    assert np.abs(poses(pd.read_csv(tmp_path / "out.csv")) - poses(small)).max() < 1e-6
    with pytest.raises(SystemExit):
        arguments(str(path), "--precision", "int4")


def test_a_stream_is_answered_line_by_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], predictor: Predictor) -> None:
    readings = [without(r, *IMUS) if 10 <= n < 25 else r for n, r in enumerate(READINGS)]
    path = json_lines(tmp_path / "one.jsonl", readings)
    path.write_text(path.read_text() + "nonsense\n")
    stream(folder, "--stream", str(path), "--joints")
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    wanted = run(Live(predictor.step, predictor.body), readings)
    assert [line["t"] for line in lines] == [pose.t for pose in wanted]
    assert np.abs(np.array([line["joints"] for line in lines]) - np.stack([pose.positions for pose in wanted])).max() < 1e-8
    for line, reading in zip(lines, readings, strict=True):
        local = rotations.matrix_from_quaternion(np.array(line["quaternions"]))
        _, positions = kinematics.forward(local, body.joints(human(), line["betas"]), line["root"])
        assert np.abs(positions[skeleton.HEAD] - reading.values[0, :3]).max() < 1e-6 and line["ms"] > 0
    assert lines[12]["held"] == ["lshin", "rshin", "pelvis"] and lines[20]["masked"] == ["lshin", "rshin", "pelvis"]
    assert "40 readings answered" in shown.err and "p50" in shown.err and "p99" in shown.err
    assert (
        "lshin: losses (more than 100 ms without a usable reading): 1, first at frame 16" in shown.err
        and "lines that are no frame: 1, first at frame 40, no JSON" in shown.err
    )


def test_latencies_are_counted_in_little_room() -> None:
    rng = np.random.default_rng(0)
    taken, true = predict.Latencies(), rng.lognormal(0.5, 1.0, 5000)
    assert "no pose" in str(taken)
    for ms in true:
        taken.add(ms)
    for percent in predict.QUANTILES:
        assert abs(taken.quantile(percent) / np.percentile(true, percent) - 1) < 0.025
    for ms in (0.0, 1e9):
        taken.add(ms)
    assert str(taken).startswith("5002 readings answered")


def test_what_a_file_says_is_shown_without_its_control_characters(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text(",".join(["t", *NAMES[:7]]) + "\n\x1b[31m" + "x" * 5000 + ",1" * 7 + "\n")
    stream(folder, "--stream", str(tmp_path / "a.csv"))
    said = capsys.readouterr().err
    assert "lines that are no frame: 1" in said and "\x1b" not in said and len(said) < 500


@pytest.mark.parametrize("kind", recording.FORMATS)
def test_a_stream_goes_into_a_file_of_any_kind(folder: Path, tmp_path: Path, kind: str) -> None:
    """A gap of 0.5 s is kept in files that know no time."""
    late = [*READINGS[:20], *(Reading(reading.t + 0.5, reading.values) for reading in READINGS[20:])]
    table(late).to_parquet(tmp_path / "in.parquet")
    out = tmp_path / f"out.{kind}"
    stream(folder, "--stream", str(tmp_path / "in.parquet"), "--out", str(out))
    if kind == "npz":
        with np.load(out, allow_pickle=False) as arrays:
            assert arrays["poses"].shape == (70, 156) and np.array_equal(arrays["poses"][19], arrays["poses"][49])
    elif kind == "bvh":
        assert len(bvh.read(out).rotations) == 70
    elif kind == "csv":
        rows = list(csv.DictReader(io.StringIO(out.read_text())))
        assert len(rows) == 40 and list(rows[0]) == [*recording.COLUMNS, "ms"]
    else:
        assert len(out.read_text().splitlines()) == 40


def test_standard_input(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json_lines(tmp_path / "a", READINGS[:5]).read_text()))
    stream(folder, "--stream", "-", "--sensor-set", "hmd")
    assert [json.loads(line)["sensors"] for line in capsys.readouterr().out.splitlines()] == ["hmd"] * 5
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    stream(folder, "--stream", "-")
    assert "no pose" in capsys.readouterr().err


def test_wrong_streams_are_refused(folder: Path, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", READINGS[:2])
    assert predict.streaming(arguments(str(path))) is None
    with pytest.raises(UsageError, match="not both"):
        predict.streaming(arguments(str(path), "--stream", "-"))
    with pytest.raises(UsageError, match="--out FILE"):
        stream(folder, "--stream", str(path), "--format", "bvh")
    with pytest.raises(UsageError, match="cannot be written"):
        stream(folder, "--stream", str(path), "--out", str(tmp_path))
    with pytest.raises(BadData, match="cannot be read"):
        predict.streaming(arguments("--stream", "-", "--calibration", str(tmp_path / "none")))


LIVE = """
import argparse, sys
from pathlib import Path
from tenfold.motion_tracking import predict
parser = argparse.ArgumentParser(); parser.add_argument("--out", type=Path); predict.add_arguments(parser)
code = predict.streaming(parser.parse_args(["--stream", "-"]))(Path(sys.argv[1]))
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


def started(folder: Path) -> "subprocess.Popen[str]":
    import os

    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), "OMP_NUM_THREADS": "1"}
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    return subprocess.Popen([sys.executable, "-c", LIVE, str(folder)], text=True, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.mark.slow
def test_a_pipe_is_answered_before_the_next_line_is_sent_and_without_torch(folder: Path, tmp_path: Path) -> None:
    lines = json_lines(tmp_path / "a", READINGS).read_text().splitlines(keepends=True)
    with started(folder) as process:
        assert process.stdin and process.stdout and process.stderr
        for line in lines[:5]:
            process.stdin.write(line)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["t"] == json.loads(line)["t"]
        process.stdin.close()
        said = process.stderr.read()
    assert process.returncode == 0 and said.endswith("False\n") and "5 readings answered" in said


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reader", "signal"])
def test_a_stream_ends_well_when_its_reader_goes_or_somebody_stops_it(folder: Path, tmp_path: Path, how: str) -> None:
    import signal

    lines = json_lines(tmp_path / "a", READINGS).read_text().splitlines(keepends=True)
    with started(folder) as process:
        assert process.stdin and process.stdout and process.stderr
        for line in lines[:2]:
            process.stdin.write(line)
            process.stdin.flush()
            process.stdout.readline()
        if how == "signal":
            process.send_signal(signal.SIGINT)
        else:
            process.stdout.close()
            process.stdin.writelines(lines[2:])
            process.stdin.close()
        said = process.stderr.read()
        if how == "signal":
            process.stdin.close()
    assert process.returncode == 0 and "readings answered" in said and "Traceback" not in said and "Exception" not in said


def test_the_options_of_a_served_model_are_known() -> None:
    """Those of the specification are there, each of one type."""
    assert {"session", "reset", "sensor_set"} <= set(OPTIONS) and all(isinstance(value, str | bool) for value in OPTIONS.values())

"""Predicted against true files: the numbers are those of plain arithmetic, and wrong pairs are refused."""

from pathlib import Path

import numpy as np
import pytest
from motion_tracking.small_amass import motion
from motion_tracking.small_features import motion as swaying
from motion_tracking.small_human import human
from motion_tracking.small_live import write
from scipy.spatial.transform import Rotation

from tenfold.core.errors import BadData
from tenfold.motion_tracking import amass_file, body, kinematics, pair, predict, procedural_body, recording, rotations, tools
from tenfold.motion_tracking.tools import TOOLS


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())


def put(path: Path, changed: int = 0, **more: object) -> Path:
    """A clip of 60 frames; `changed` turns the left knee by that many degrees."""
    arrays = motion(1, **more)  # type: ignore[arg-type]
    knee = Rotation.from_rotvec(arrays["poses"][:, 12:15]) * Rotation.from_euler("x", changed, degrees=True)
    arrays["poses"][:, 12:15] = knee.as_rotvec()
    np.savez(path, **arrays)
    return path


def test_the_same_file_has_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(put(tmp_path / "a.npz"))
    assert TOOLS["score"]([path, path]) == 0
    found = shown(capsys)
    assert found["MPJPE"] == "0.000 cm" and found["MPJRE, angle"] == "0.000 deg" and found["MPJVE"] == "0.000 cm/s"
    assert found["jitter of the truth"].split()[0] == found["jitter"].split()[0]
    assert found["jitter of the truth"].endswith("60 true frames at 60 Hz")


def test_a_turned_knee_counts_as_it_must(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true, found = put(tmp_path / "true.npz"), put(tmp_path / "found.npz", 20)
    assert TOOLS["score"]([str(found), str(true)]) == 0
    told = shown(capsys)
    assert told["foot slide"] == "no frame has a value", "nobody stands in these clips"
    numbers = {name: float(told[name].split()[0]) for name in ("MPJRE, angle", "MPJPE")}
    assert numbers["MPJRE, angle"] == pytest.approx(20 / 21, abs=1e-3)
    form = human()
    places = []
    for path in (true, found):
        with np.load(path) as file:
            local = Rotation.from_rotvec(file["poses"][:, :66].reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3)
            places.append(kinematics.forward(local, body.joints(form, file["betas"]), file["trans"])[1])
    gap = places[1] - places[1][:, 15:16] - places[0] + places[0][:, 15:16]
    assert numbers["MPJPE"] == pytest.approx(100 * np.linalg.norm(gap, axis=-1).mean(), abs=1e-3)


def test_place_does_not_count_and_bodies_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = motion(1)
    true, far = put(tmp_path / "true.npz"), put(tmp_path / "far.npz", trans=arrays["trans"] + [3.0, -1.0, 0.5])
    TOOLS["score"]([str(far), str(true)])
    assert shown(capsys)["MPJPE"] == "0.000 cm"
    procedural_body.write(tmp_path / "model.npz")
    large = dict(np.load(tmp_path / "model.npz"))
    np.savez(tmp_path / "large.npz", **(large | {"v_template": 1.1 * large["v_template"]}))
    for more, worse in (
        (["--body", str(tmp_path / "model.npz")], False),
        (["--truth-body", str(tmp_path / "large.npz")], True),
        (["--body", str(tmp_path / "model.npz"), "--truth-body", str(tmp_path / "large.npz")], True),
    ):
        TOOLS["score"]([str(true), str(true), *more])
        assert (float(shown(capsys)["bone lengths"].split()[0]) > 1) == worse


def test_what_predict_writes_is_scored(tmp_path: Path) -> None:
    """A live prediction through its own writer, against what it was predicted from."""
    local, root = swaying(np.random.default_rng(0), 50)
    world, positions = kinematics.forward(local, human().rest, root)
    amass_file.write(tmp_path / "true.npz", local, root, np.zeros(16), 60.0)
    live = predict.Predictor.load(write(tmp_path / "predictor")).live()
    written = recording.writer("npz", tmp_path / "found.npz", None, human(), False)  # type: ignore[arg-type]
    poses = [pose for each in tools.readings(world, positions, np.zeros((50, 3, 3))) for pose in live.push(each)]
    for pose in poses:
        written.write(pose, 0.0)
    written.close()
    found = pair.score(*(pair.read(tmp_path / f"{name}.npz", human()) for name in ("found", "true")))
    angles = np.degrees(rotations.angle_between(np.stack([pose.local for pose in poses])[:, 1:], local[:, 1:]))
    assert found["mpjre"] == pytest.approx(angles.mean(), abs=1e-3)


def test_rates_meet_at_60_hz_and_short_ends_are_cut(tmp_path: Path) -> None:
    fast = pair.read(put(tmp_path / "fast.npz", frames=120, fps=120.0), human())
    slow = pair.read(put(tmp_path / "slow.npz", frames=60, fps=60.0), human())
    assert pair.score(fast, slow)["mpjpe"] < 1e-6
    assert pair.score(fast.part(0, 50), slow)["mpjpe"] < 1e-6


def test_wrong_pairs_are_refused(tmp_path: Path) -> None:
    true = put(tmp_path / "true.npz", frames=200)
    short = put(tmp_path / "short.npz", frames=100)
    with pytest.raises(BadData, match="100 predicted and 200 true"):
        TOOLS["score"]([str(short), str(true)])
    (tmp_path / "text.npz").write_text("no npz")
    arrays = motion(1)
    arrays["poses"][3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", **arrays)
    np.savez(tmp_path / "keyless.npz", **motion(1, trans=None))
    for name, says in (("text", "no whole npz"), ("nan", "key poses has"), ("keyless", "key trans is missing"), ("gone", "is missing")):
        with pytest.raises(BadData, match=says):
            TOOLS["score"]([str(tmp_path / f"{name}.npz"), str(true)])

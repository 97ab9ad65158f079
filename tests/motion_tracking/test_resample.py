"""Any frame rate at 60 Hz: exact at the file's own times, along the shortest arc between them, and the official stride beside it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_amass import motion
from scipy.spatial.transform import Rotation, Slerp

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import amass, resample


def at(fps: float, frames: int, seed: int = 0) -> amass.Motion:
    arrays: dict[str, Any] = motion(seed, frames, fps)
    poses = arrays["poses"][:, :66].reshape(frames, 22, 3)
    return amass.Motion(poses, arrays["trans"], arrays["betas"], "male", fps, "", 0, "")


@settings(max_examples=40, deadline=None)
@given(fps=st.one_of(st.floats(1, 1000), st.sampled_from([25.0, 59.94, 60.0, 100.0, 120.0, 240.0, 250.0])), frames=st.integers(1, 60))
def test_slerp_is_scipy_s_at_60_hz(fps: float, frames: int) -> None:
    clip = at(fps, frames)
    local, trans = resample.resample(clip, "slerp")
    assert len(local) == len(trans) == resample.count(frames, fps, "slerp") >= 1
    times = np.arange(frames) / fps
    wanted = np.arange(len(local)) / 60
    assert wanted[-1] <= times[-1] + 1e-6 and wanted[-1] + 1 / 60 > times[-1] - 1e-6
    wanted = np.minimum(wanted, times[-1])
    for joint in (0, 5, 21):
        turns = Rotation.from_rotvec(clip.poses[:, joint])
        expected = Slerp(times, turns)(wanted).as_matrix() if frames > 1 else turns.as_matrix()
        np.testing.assert_allclose(local[:, joint], expected, atol=1e-6)
    np.testing.assert_allclose(trans, np.stack([np.interp(wanted, times, each) for each in clip.trans.T], -1), atol=1e-6)


@pytest.mark.parametrize("fps", [60.0, 120.0, 240.0])
@pytest.mark.parametrize("frames", [1, 2, 7, 8])
def test_multiples_of_60_hz_are_the_file_s_own_frames(fps: float, frames: int) -> None:
    clip = at(fps, frames)
    step = int(fps // 60)
    expected = Rotation.from_rotvec(clip.poses[::step].reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3)
    for how in ("slerp", "stride"):
        local, trans = resample.resample(clip, how)  # type: ignore[arg-type]
        np.testing.assert_allclose(local, expected, atol=1e-12)
        np.testing.assert_array_equal(trans, clip.trans[::step])
        assert len(local) == resample.count(frames, fps, how)  # type: ignore[arg-type]


@pytest.mark.parametrize(("fps", "step"), [(100.0, 2), (250.0, 4), (59.94, 1), (25.0, 1), (150.0, 2)])
def test_stride_takes_whole_frames_as_the_official_code(fps: float, step: int) -> None:
    clip = at(fps, 31)
    local, trans = resample.resample(clip, "stride")
    np.testing.assert_array_equal(trans, clip.trans[::step])
    assert len(local) == resample.count(31, fps, "stride")
    assert [resample.frame_in_file(each, fps, "stride") for each in range(3)] == [0, step, 2 * step]


def test_a_frame_s_place_in_the_file() -> None:
    assert resample.frame_in_file(6, 100.0, "slerp") == 10
    assert resample.frame_in_file(6, 120.0, "slerp") == 12


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UsageError, match="slerp, stride"):
        resample.resample(at(60.0, 4), "nearest")  # type: ignore[arg-type]

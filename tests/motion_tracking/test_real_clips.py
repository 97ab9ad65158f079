"""The package's real clips: whole, plausible as human motion, and placed on any body."""

from importlib import resources

import numpy as np
import pytest
from motion_tracking.small_human import rest_joints

from tenfold.core.errors import BadData
from tenfold.motion_tracking import kinematics, real_clips, rotations, skeleton


@pytest.fixture(scope="module")
def clips() -> dict[str, real_clips.Real]:
    return {clip.name: clip for clip in real_clips.read()}


def _placed(clip: real_clips.Real, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rest = size * rest_joints()
    return kinematics.forward(clip.local, rest, real_clips.on_body(clip, rest))


def test_there_are_twenty_deepmimic_clips_and_two_cmu_takes_in_pieces(clips: dict[str, real_clips.Real]) -> None:
    cmu = [clip for clip in clips.values() if clip.group == "cmu_01"]
    assert len(clips) == 28 and len(cmu) == 8
    assert sum(len(clip.local) / clip.fps for clip in cmu) == pytest.approx(60.5, abs=0.2)
    assert sum((len(clip.local) - 1) / clip.fps for clip in clips.values()) - 60.5 == pytest.approx(40.0, abs=1.5)
    assert {clip.kind for clip in clips.values() if clip.group == "walking"} == {"walk"}
    assert (resources.files("tenfold.motion_tracking") / real_clips.FILE).stat().st_size < 1_500_000  # type: ignore[attr-defined]


def test_clips_are_human_motion(clips: dict[str, real_clips.Real]) -> None:
    for name, clip in clips.items():
        _, positions = _placed(clip)
        assert np.abs(np.linalg.det(clip.local) - 1).max() < 1e-9, name
        assert np.linalg.norm(np.diff(positions, axis=0), axis=-1).max() * clip.fps < 18.0, name
        # Whatever is lowest in a clip is about on the floor; only knees and hands of who lies may be a little below.
        assert -0.12 < np.percentile(positions[..., 2].min(1), 2) < 0.06, name
        knees = rotations.axis_angle_from_matrix(clip.local[:, 4:6])[..., 0]
        assert np.percentile(knees, 5) > -0.25, name


def test_walkers_walk_forward_upright_and_on_the_floor(clips: dict[str, real_clips.Real]) -> None:
    for clip in (each for each in clips.values() if each.group == "walking"):
        world, positions = _placed(clip)
        travelled = positions[-1, 0] - positions[0, 0]
        middle = rotations.yaw(world[len(world) // 2, 0])
        assert travelled[0] * np.cos(middle) + travelled[1] * np.sin(middle) > 0.8
        assert (positions[:, skeleton.HEAD, 2] - positions[:, 0, 2] > 0.5).all()
        feet = positions[:, 10:12]
        speed = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1) * clip.fps
        assert np.median(speed.min(1)) < 0.25


def test_cmu_jumps_jump_and_climbs_climb(clips: dict[str, real_clips.Real]) -> None:
    for clip in (each for each in clips.values() if each.group == "cmu_01"):
        _, positions = _placed(clip)
        lifted = positions[:, 10:12, 2].min(1)
        assert clip.fps == pytest.approx(60.0, abs=0.01)
        assert lifted.max() > 0.1, clip.name
    climbing = np.concatenate([_placed(clip)[1][:, 0, 2] for clip in clips.values() if clip.kind == "climb"])
    assert climbing.max() > 1.4 and np.median(climbing) < 1.3


def test_another_body_makes_the_same_gestures_at_its_own_size(clips: dict[str, real_clips.Real]) -> None:
    clip = clips["walk"]
    _, small = _placed(clip)
    _, tall = _placed(clip, 1.1)
    moved, as_far = small[-1, 0] - small[0, 0], tall[-1, 0] - tall[0, 0]
    assert np.allclose(as_far, 1.1 * moved, atol=1e-9)
    assert np.percentile(tall[:, 10:12, 2].min(1), 2) == pytest.approx(0.025, abs=1e-9)


def test_a_damaged_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("config.py", "absent.npz"):
        monkeypatch.setattr(real_clips, "FILE", wrong)
        with pytest.raises(BadData, match=r"make\.real"):
            real_clips.read()

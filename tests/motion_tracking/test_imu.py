"""Simulated IMUs: accelerations against the official formula and physics, and errors of the stated sizes."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import imu

Floats = npt.NDArray[np.float64]


def official(p: Floats) -> Floats:
    """Specification section 2.2, a frame at a time."""
    out = np.zeros_like(p)
    for t in range(1, len(p) - 1):
        out[t] = (p[t - 1] + p[t + 1] - 2 * p[t]) * 3600
        if len(p) > 8 and 4 <= t < len(p) - 4:
            out[t] = (p[t - 4] + p[t + 4] - 2 * p[t]) * 3600 / 16
    return out


def walk(seed: int, frames: int) -> Floats:
    return np.cumsum(np.random.default_rng(seed).normal(size=(frames, 3, 3)) * 0.01, 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(1, 40))
def test_central_is_the_official_formula(seed: int, frames: int) -> None:
    p = walk(seed, frames)
    np.testing.assert_allclose(imu.acceleration(p), official(p), atol=1e-9)


@pytest.mark.parametrize("how", ["central", "causal", "raw"])
def test_a_falling_body_accelerates_evenly(how: imu.How) -> None:
    time = np.arange(30)[:, None, None] / 60
    p = np.array([0.3, -1.0, -9.81]) * time**2 / 2 + np.array([1.0, 2.0, 3.0]) * time + np.ones((1, 3, 3))
    a = imu.acceleration(p, how)
    inside = slice(2, None) if how == "causal" else slice(1, -1)
    np.testing.assert_allclose(a[inside], np.broadcast_to([0.3, -1.0, -9.81], a[inside].shape), atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(2, 30), cut=st.integers(1, 29))
def test_causal_never_looks_ahead(seed: int, frames: int, cut: int) -> None:
    p = walk(seed, frames)
    cut = min(cut, frames)
    np.testing.assert_array_equal(imu.acceleration(p, "causal")[:cut], imu.acceleration(p[:cut], "causal"))
    later = p.copy()
    later[cut:] += 100.0
    np.testing.assert_array_equal(imu.acceleration(later, "causal")[:cut], imu.acceleration(p, "causal")[:cut])


def test_causal_is_the_smoothed_formula_four_frames_late() -> None:
    p = walk(1, 40)
    np.testing.assert_allclose(imu.acceleration(p, "causal")[8:], imu.acceleration(p)[4:-4], atol=1e-9)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UsageError, match="central, causal, raw"):
        imu.acceleration(walk(0, 5), "smooth")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="consumer"):
        imu.simulate(np.random.default_rng(0), "cheap", np.tile(np.eye(3), (5, 3, 1, 1)), walk(0, 5))


def bones(frames: int, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    vectors = np.cumsum(rng.normal(size=(frames, 3, 3)) * 0.01, 0)
    rotation = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(frames, 3, 3, 3)
    time = np.arange(frames)[:, None, None] / 60
    return rotation, 0.2 * np.sin(3 * time + rng.uniform(0, 6, (1, 3, 3)))


def angles(left: Floats, right: Floats) -> Floats:
    return np.degrees(Rotation.from_matrix((np.swapaxes(left, -1, -2) @ right).reshape(-1, 3, 3)).magnitude()).reshape(left.shape[:2])


def test_clean_is_the_truth() -> None:
    rotation, position = bones(50)
    read = imu.simulate(np.random.default_rng(0), "clean", rotation, position, "central")
    np.testing.assert_array_equal(read.rotation, rotation)
    np.testing.assert_array_equal(read.acceleration, imu.acceleration(position))
    assert read.present.all()


@pytest.mark.parametrize("level", list(imu.LEVELS))
def test_readings_are_rotations_repeat_and_differ_by_seed(level: str) -> None:
    rotation, position = bones(200)
    one, same, other = (imu.simulate(np.random.default_rng(seed), level, rotation, position) for seed in (1, 1, 2))
    for a, b in zip(one.__dict__.values(), same.__dict__.values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert level == "clean" or not np.array_equal(one.rotation, other.rotation)
    np.testing.assert_allclose(one.rotation @ np.swapaxes(one.rotation, -1, -2), np.broadcast_to(np.eye(3), rotation.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(one.rotation), 1.0, atol=1e-9)
    assert np.isfinite(one.acceleration).all() and one.present.dtype == np.bool_


def test_errors_grow_with_the_level_and_stay_in_bounds() -> None:
    rotation, position = bones(600)
    true = imu.acceleration(position, "raw")
    turned, pushed = [], []
    for level in imu.LEVELS:
        reads = [imu.simulate(np.random.default_rng(seed), level, rotation, position) for seed in range(12)]
        turned.append(np.mean([angles(rotation, read.rotation).mean() for read in reads]))
        pushed.append(np.mean([np.abs(read.acceleration - true).mean() for read in reads]))
    assert turned == sorted(turned) and pushed == sorted(pushed)
    assert turned[0] < 1e-6 and turned[1] < 2.5 and 2.0 < turned[2] < 7.0 and 5.0 < turned[3] < 22.0


def test_tilt_leaks_gravity_and_mounting_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    still = np.tile(np.eye(3), (400, 3, 1, 1)), np.zeros((400, 3, 3))
    none = imu.LEVELS["clean"]
    tilted = {**none.__dict__, "tilt": 1.0}
    mounted = {**none.__dict__, "mount": 10.0}
    monkeypatch.setattr(imu, "LEVELS", {"tilted": imu.Level(**tilted), "mounted": imu.Level(**mounted)})
    leak = np.concatenate([imu.simulate(np.random.default_rng(s), "tilted", *still).acceleration for s in range(20)])
    # A degree of tilt standard deviation: g sin(1 deg) = 0.171 m/s^2 on each horizontal axis.
    np.testing.assert_allclose(leak[..., :2].std(), 0.171, rtol=0.2)
    reads = [imu.simulate(np.random.default_rng(s), "mounted", *still) for s in range(30)]
    assert max(np.abs(read.acceleration).max() for read in reads) < 1e-9
    offsets = np.array([angles(still[0], read.rotation) for read in reads])
    assert np.ptp(offsets, axis=1).max() < 1e-5 and offsets.max() <= 10.0 + 1e-6 and offsets.mean() > 3.0


def test_latency_is_whole_frames_of_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    rotation, position = bones(60)
    late = imu.Level(**{**imu.LEVELS["clean"].__dict__, "latency": 2})
    monkeypatch.setattr(imu, "LEVELS", {"late": late})
    seen = set()
    for seed in range(20):
        read = imu.simulate(np.random.default_rng(seed), "late", rotation, position)
        lag = next(each for each in range(3) if np.allclose(read.rotation[each:], rotation[: 60 - each], atol=1e-12))
        np.testing.assert_allclose(read.acceleration[lag:], imu.acceleration(position, "raw")[: 60 - lag], atol=1e-9)
        seen.add(lag)
    assert seen == {0, 1, 2}


def test_lost_frames_are_held_then_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    rotation, position = bones(3000)
    lossy = imu.Level(**{**imu.LEVELS["clean"].__dict__, "lost": 0.05, "longest": 30})
    monkeypatch.setattr(imu, "LEVELS", {"lossy": lossy})
    read = imu.simulate(np.random.default_rng(3), "lossy", rotation, position)
    held = np.concatenate([np.zeros((1, 3), np.bool_), np.abs(np.diff(read.rotation, axis=0)).max((-1, -2)) == 0])
    assert 0.02 < held.mean() < 0.09
    for sensor in range(3):
        run = 0
        for t in range(3000):
            run = run + 1 if held[t, sensor] else 0
            assert read.present[t, sensor] == (run <= 6), (t, run)
    assert not read.present.all()

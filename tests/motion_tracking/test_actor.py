"""The generator's honest limits (specification section 4), for every kind and many bodies, and the parts that they rest on."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_human import human

from tenfold.core.errors import UsageError
from tenfold.motion_tracking import actor, actor_limbs, actor_signals, body, kinematics, real_clips, rotations, skeleton
from tenfold.motion_tracking.actor_plan import KINDS, plan

FRAMES = 300
CLIPS = 3


@functools.cache
def acted(kind: str) -> list[tuple[actor.Motion, np.ndarray, np.ndarray, np.ndarray]]:
    """Some clips of a kind: motion, rest joints, world rotations, positions."""
    clips = []
    for number in range(CLIPS):
        rng = np.random.default_rng([number, KINDS.index(kind)])
        rest = body.joints(human(), np.clip(rng.normal(size=16), -2.5, 2.5))
        motion = actor.act(rng, kind, FRAMES, rest)
        clips.append((motion, rest, *kinematics.forward(motion.local, rest, motion.root)))
    return clips


def _jerk(positions: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(positions, 3, axis=0), axis=-1).mean() * skeleton.RATE_HZ**3)


def _flexion(world: np.ndarray, positions: np.ndarray, first: int, middle: int, end: int, hinge: tuple[float, float, float]) -> np.ndarray:
    """Angle from the first bone to the second about the hinge that the first one carries, rad."""
    upper, lower = positions[:, middle] - positions[:, first], positions[:, end] - positions[:, middle]
    axis = world[:, first] @ np.array(hinge)
    turned = np.cross(upper, lower)
    sine = (turned * axis).sum(1) / np.maximum(np.linalg.norm(axis, axis=1), 1e-9)
    return np.arctan2(np.sign(sine) * np.linalg.norm(turned, axis=1), (upper * lower).sum(1))


@pytest.mark.parametrize("kind", KINDS)
def test_rotations_are_rotations(kind: str) -> None:
    for motion, _, world, _ in acted(kind):
        for matrices in (motion.local, world):
            assert np.abs(np.linalg.det(matrices) - 1.0).max() < 1e-9
            assert np.abs(np.swapaxes(matrices, -1, -2) @ matrices - np.eye(3)).max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_feet_in_contact_do_not_slide_or_leave_the_floor(kind: str) -> None:
    for motion, _, _, positions in acted(kind):
        speed = np.linalg.norm(np.diff(positions[:, 10:12], axis=0), axis=-1) * skeleton.RATE_HZ
        held = motion.contact[1:] & motion.contact[:-1]
        assert held.mean() > 0.2
        assert 100 * np.median(speed[held]) < 1.0 and 100 * speed[held].max() < 1.0
        assert np.abs(positions[:, 10:12, 2][motion.contact] - 0.025).max() < 1e-6
        assert positions[..., 2].min() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_knees_and_elbows_bend_one_way_and_never_flip(kind: str) -> None:
    for motion, _, world, positions in acted(kind):
        for hip in (1, 2):
            knee = _flexion(world, positions, hip, hip + 3, hip + 6, (1.0, 0.0, 0.0))
            assert knee.min() > 0.0 and knee.max() < 2.8
            # The hinge points to the body's left: without this a leg turned about its own axis would pass for one that bends forward.
            assert (world[:, hip, :, 0] * world[:, 0, :, 0]).sum(1).min() > 0.3
        for shoulder, hinge in ((16, (0.0, -1.0, 0.0)), (17, (0.0, 1.0, 0.0))):
            elbow = _flexion(world, positions, shoulder, shoulder + 2, shoulder + 4, hinge)
            assert elbow.min() > 0.0 and elbow.max() < 2.9
        turned = rotations.angle_between(motion.local[1:], motion.local[:-1]) * skeleton.RATE_HZ
        assert turned.max() < 25.0, skeleton.JOINTS[int(turned.max(0).argmax())]


@pytest.mark.parametrize("kind", KINDS)
def test_joint_speed_stays_human(kind: str) -> None:
    for _, _, _, positions in acted(kind):
        assert np.linalg.norm(np.diff(positions, axis=0), axis=-1).max() * skeleton.RATE_HZ < 12.0


def test_jerk_is_in_the_range_of_the_real_clips() -> None:
    real = []
    for clip in real_clips.read():
        times = np.arange(len(clip.local)) / clip.fps
        even = np.arange(0.0, times[-1], 1 / skeleton.RATE_HZ)
        root = real_clips.on_body(clip, human().rest)
        moved = np.column_stack([np.interp(even, times, column) for column in root.T])
        real.append(_jerk(kinematics.forward(rotations.slerp(clip.local, times, even), human().rest, moved)[1]))
    for kind in KINDS:
        mean = float(np.mean([_jerk(positions) for _, _, _, positions in acted(kind)]))
        assert min(real) < mean < max(real), (kind, mean)
    # Measured walking has 420 to 620 m/s^3.
    assert 300 < np.mean([_jerk(positions) for _, _, _, positions in acted("walk")]) < 800


def test_kinds_do_what_their_names_say() -> None:
    def travelled(kind: str) -> float:
        return float(np.mean([np.linalg.norm(np.diff(p[:, 0, :2], axis=0), axis=1).sum() for _, _, _, p in acted(kind)]) / 5)

    def dips(kind: str) -> float:
        return float(np.mean([np.ptp(p[:, 0, 2]) for _, _, _, p in acted(kind)]))

    assert 0.5 < travelled("walk") < 2.0 < travelled("run") < 3.6
    assert travelled("idle") < 0.15 and 0.1 < travelled("sidestep") < 0.8
    assert dips("squat") > 0.15 > 0.06 > dips("idle")
    assert max(np.ptp(p[:, 10:12, 2]) for _, _, _, p in acted("kick")) > 0.3
    flying = [(~motion.contact).all(1).mean() for motion, *_ in acted("run")]
    assert min(flying) > 0.05 and all(motion.contact.any(1).all() for motion, *_ in acted("idle"))
    assert max(np.ptp(p[:, 20] - p[:, 0], axis=0).max() for _, _, _, p in acted("reach")) > 0.4


def test_the_hands_do_not_announce_squats() -> None:
    """Where the arms hang, they hang alike at the top and at the bottom: relative to the shoulder, over many clips."""
    at_top, at_bottom = [], []
    for number in range(12):
        rng = np.random.default_rng([7, number])
        motion = actor.act(rng, "squat", FRAMES, human().rest, tremor=0.0)
        _, positions = kinematics.forward(motion.local, human().rest, motion.root)
        depth = positions[:, 0, 2].max() - positions[:, 0, 2]
        heading = rotations.yaw(motion.local[:, 0])
        hand = (positions[:, 20] - positions[:, 16])[:, None, :] @ rotations.about("z", heading)
        at_top.append(hand[depth < 0.05].mean((0, 1)))
        at_bottom.append(hand[depth > 0.6 * depth.max()].mean((0, 1)))
    apart = np.linalg.norm(np.mean(at_top, 0) - np.mean(at_bottom, 0))
    spread = np.linalg.norm(np.std(at_top, 0))
    assert apart < spread


def test_the_same_draw_gives_the_same_clip_and_another_another() -> None:
    one, two, other = (actor.act(np.random.default_rng(seed), "mixed", 60, human().rest) for seed in (5, 5, 6))
    assert np.array_equal(one.local, two.local) and np.array_equal(one.root, two.root)
    assert np.abs(one.local - other.local).max() > 0.1


def test_tremor_only_adds_roughness() -> None:
    calm, rough = (actor.act(np.random.default_rng(3), "idle", 200, human().rest, tremor=size) for size in (0.0, 1.0))
    calm_positions, rough_positions = (kinematics.forward(each.local, human().rest, each.root)[1] for each in (calm, rough))
    assert _jerk(calm_positions) < 30 < _jerk(rough_positions)
    assert np.linalg.norm(calm_positions - rough_positions, axis=-1).max() < 0.06


@pytest.mark.parametrize(("kind", "frames"), [("swim", 60), ("walk", 0)])
def test_what_the_actor_cannot_do_is_said(kind: str, frames: int) -> None:
    with pytest.raises(UsageError, match="walk"):
        actor.act(np.random.default_rng(0), kind, frames, human().rest)


@pytest.mark.parametrize("frames", [1, 2, 37])
def test_short_clips_have_that_many_frames(frames: int) -> None:
    motion = actor.act(np.random.default_rng(0), "mixed", frames, human().rest)
    assert motion.local.shape == (frames, skeleton.COUNT, 3, 3) and motion.root.shape == (frames, 3) and motion.contact.shape == (frames, 2)
    assert np.isfinite(motion.local).all() and np.isfinite(motion.root).all()


def test_kicks_leave_time_to_stand() -> None:
    times = np.arange(-90, 645) / 60
    kicks = plan(np.random.default_rng(1), "kick", times).kicks
    assert len(kicks) > 3
    assert all(after.start > before.start + before.length for before, after in zip(kicks, kicks[1:], strict=False))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_limb_meets_every_target_within_reach_with_its_own_lengths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    upper, lower = rng.normal(size=3), rng.normal(size=3)
    upper, lower = 0.3 * upper / np.linalg.norm(upper), 0.28 * lower / np.linalg.norm(lower)
    start = rng.normal(size=(6, 3))
    aim = rng.normal(size=(6, 3))
    aim /= np.linalg.norm(aim, axis=1, keepdims=True)
    target = start + aim * rng.uniform(0.1, 0.9, (6, 1)) * 0.58
    bend = rng.normal(size=(6, 3))
    hinge = np.cross(upper, rng.normal(size=3))
    first, second = actor_limbs.two_bone(start, target, upper, lower, bend, hinge, (0.95, 0.99))
    middle = start + first @ upper
    assert np.allclose(middle + second @ lower, target, atol=1e-9)
    for turned in (first, second):
        assert np.allclose(np.linalg.det(turned), 1.0) and np.allclose(np.swapaxes(turned, 1, 2) @ turned, np.eye(3), atol=1e-9)
    # The joint in the middle lies on the side of `bend`.
    out = middle - start - ((middle - start) * aim).sum(1, keepdims=True) * aim
    assert ((out * bend).sum(1) > 0).all()


def test_a_target_out_of_reach_stretches_the_limb_and_no_further() -> None:
    upper, lower = np.array([0.3, 0, 0]), np.array([0.25, 0, 0])
    far = np.linspace(0.4, 3.0, 200)[:, None] * np.array([0.0, 1.0, 0.0])
    first, second = actor_limbs.two_bone(
        np.zeros_like(far), far, upper, lower, np.tile([1.0, 0, 0], (200, 1)), np.array([0, 0, 1.0]), (0.9, 0.98)
    )
    reach = np.linalg.norm(first @ upper + second @ lower, axis=1)
    assert (np.diff(reach) >= -1e-12).all() and 0.97 * 0.55 < reach[-1] <= 0.98 * 0.55 + 1e-12


def test_the_elbow_follows_the_hand_without_a_jump() -> None:
    """Close directions have close elbows, everywhere but behind the other shoulder."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(4000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction = direction[direction @ actor_limbs.HOME > -0.6]
    near = direction + 1e-4 * rng.normal(size=direction.shape)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    (back, elbow), (_, other) = (actor_limbs.unchart(actor_limbs.chart(each)) for each in (direction, near))
    assert np.allclose(back, direction, atol=1e-9)
    assert np.abs((elbow * direction).sum(1)).max() < 1e-9 and np.allclose(np.linalg.norm(elbow, axis=1), 1.0)
    assert (np.linalg.norm(elbow - other, axis=1) / np.linalg.norm(direction - near, axis=1)).max() < 5.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_smooth_below_never_exceeds_the_bound(values: list[float], reach: int) -> None:
    signal = np.array(values)
    assert (actor_signals.smooth_below(signal, reach) <= signal + 1e-9).all()
    assert np.allclose(actor_signals.smooth(np.full(20, 3.0), reach), 3.0)


def test_wander_is_of_unit_variance_and_within_its_band() -> None:
    times = np.arange(60 * 600) / 60
    signal = actor_signals.wander(np.random.default_rng(0), times, 0.5, 2.0, 4)
    assert np.allclose(signal.std(0), 1.0, atol=0.05) and np.abs(signal.mean(0)).max() < 0.05
    power = np.abs(np.fft.rfft(signal, axis=0)) ** 2
    hertz = np.fft.rfftfreq(len(times), 1 / 60)
    inside = (hertz > 0.45) & (hertz < 2.05)
    assert power[inside].sum() > 0.99 * power.sum()


def test_keyframes_rest_at_each_key() -> None:
    times = np.linspace(0, 3, 3001)
    value = actor_signals.keyframes(times, [0.0, 1.0, 2.5], [0.0, 2.0, -1.0])
    speed = np.gradient(value, times)
    assert value[[0, 1000, 2500, 3000]] == pytest.approx([0.0, 2.0, -1.0, -1.0])
    assert np.abs(speed[[1, 1000, 2500]]).max() < 0.01 and np.abs(speed).max() == pytest.approx(1.875 * 3.0 / 1.5, rel=0.01)

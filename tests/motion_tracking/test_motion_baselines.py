"""The rivals: ridge against a textbook solution, arms that reach, poses that turn with the scene, what the stage writes."""

from pathlib import Path

import numpy as np
import pytest
from motion_tracking import small_motion
from scipy.spatial.transform import Rotation

from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.progress import Progress
from tenfold.motion_tracking import (
    baselines,
    body,
    columns,
    config,
    formulas,
    heading,
    hold,
    ik,
    kinematics,
    mlp,
    ridge,
    rotations,
    sensors,
)
from tenfold.motion_tracking.clips import Clips

BLOCK = config.Baselines([5, 15], 50.0, 32, 40, 64, 2e-3, 300, 0)
FORM = small_motion.small_body()
BETAS = np.random.default_rng(1).normal(0, 1, 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("rivals")
    features = small_motion.folder(base / "features")
    (base / "baselines").mkdir()
    baselines.run(features, BLOCK, base / "baselines", Progress())
    return features, base / "baselines"


def test_lagged_rows_stay_in_their_clip() -> None:
    assert heading.lagged([4, 1, 3], 2).tolist() == [0, 0, 0, 1, 4, 5, 5, 5]


def turned(x: np.ndarray, yaw: float, shift: np.ndarray) -> np.ndarray:
    """The same scene, turned and moved: `heading.remove` the other way round, written out with scipy."""
    turn = Rotation.from_rotvec([0, 0, yaw]).as_matrix()
    out = x.astype(np.float64).copy()
    for first, last in (columns.ROTATION, columns.POSITION, columns.VELOCITY, columns.ACCELERATION):
        for at in range(first, last, 3):
            out[:, at : at + 3] = out[:, at : at + 3] @ turn.T + (shift if first == columns.POSITION[0] else 0.0)
    return out


def test_heading_drops_out() -> None:
    _, _, x = small_motion.clip(0, 50, FORM, BETAS)
    other = turned(x, 1.3, np.array([2.0, -1.0, 0.0]))
    one, yaw = heading.stack(x, [49], [5], canonical=True)
    two, yaw_two = heading.stack(other, [49], [5], canonical=True)
    np.testing.assert_allclose(one, two, atol=2e-6)
    np.testing.assert_allclose(np.exp(1j * (yaw_two - yaw)), np.exp(1.3j), atol=1e-6)


def test_a_turn_of_the_root_is_a_rotation_about_the_vertical() -> None:
    pose = rotations.six_from_matrix(Rotation.random(5 * 22, random_state=0).as_matrix()).reshape(5, 132)
    angle = np.linspace(-3, 3, 5)
    wanted = Rotation.from_rotvec(angle[:, None] * [0, 0, 1]).as_matrix() @ rotations.matrix_from_six(pose[:, :6])
    found = heading.turn_root(pose, angle)
    np.testing.assert_allclose(rotations.matrix_from_six(found[:, :6]), wanted, atol=1e-12)
    np.testing.assert_array_equal(found[:, 6:], pose[:, 6:])


def test_ridge_is_the_textbook_solution() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (400, 135)) + 3
    x[:, 7] = 1.0
    y = rng.normal(size=(400, 132))
    sums = ridge.Moments.empty(135)
    for part in (slice(0, 150), slice(150, 400)):
        sums.add(x[part], y[part])
    found = ridge.fit(sums, "hmd", 50.0, 1)
    used = sensors.mask("hmd") & (x.std(axis=0) > 0)
    z = (x[:, used] - x[:, used].mean(axis=0)) / x[:, used].std(axis=0)
    wanted = np.vstack([z, np.sqrt(50.0) * np.eye(z.shape[1])])
    target = np.vstack([y - y.mean(axis=0), np.zeros((z.shape[1], 132))])
    solution = np.linalg.lstsq(wanted, target, rcond=None)[0]
    np.testing.assert_allclose(found(x), z @ solution + y.mean(axis=0), atol=1e-8)
    masked = x.copy()
    masked[:, ~sensors.mask("hmd")] = 1e3
    np.testing.assert_array_equal(found(masked), found(x))


def test_arms_reach_the_hands_and_the_head_is_where_it_is() -> None:
    truth, world, x, rest = bent_arms()
    local = ik.solve(x, rest)
    found, positions = kinematics.forward(local, rest, np.zeros(3))
    positions = kinematics.align_head(positions, truth.positions[:, 15])
    np.testing.assert_allclose(local @ np.swapaxes(local, -1, -2), np.broadcast_to(np.eye(3), local.shape), atol=1e-9)
    np.testing.assert_allclose(found[:, [15, 20, 21]], world[:, [15, 20, 21]], atol=1e-5)
    for shoulder, elbow, wrist in ((16, 18, 20), (17, 19, 21)):
        reach = np.linalg.norm(positions[:, wrist] - truth.positions[:, wrist], axis=1)
        arm = np.linalg.norm(rest[elbow] - rest[shoulder]) + np.linalg.norm(rest[wrist] - rest[elbow])
        away = np.linalg.norm(truth.positions[:, wrist] - positions[:, shoulder], axis=1)
        within = (away < 0.99 * arm) & (away > 0.1)
        assert within.sum() > 10
        assert reach[within].max() < 2e-3
        assert (reach <= np.maximum(away - arm, 0.0) + 0.01).all()


def bent_arms() -> tuple[formulas.Motion, np.ndarray, np.ndarray, np.ndarray]:
    """An upright clip that turns, with bent elbows and upper arms half down; wrists and legs move."""
    moving, _, _ = small_motion.clip(3, 80, FORM, BETAS)
    local = moving.local.copy()
    local[:, 0] = rotations.about("z", np.linspace(0, 2, len(local))) @ rotations.STANDING
    local[:, [3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19]] = np.eye(3)
    for shoulder, elbow, side in ((16, 18, 1.0), (17, 19, -1.0)):
        local[:, shoulder] = Rotation.from_rotvec([0, 0, -side * 0.9]).as_matrix()
        local[:, elbow] = Rotation.from_rotvec([0, -side * 1.4, 0]).as_matrix()
    rest = body.joints(FORM, BETAS)
    world, positions = kinematics.forward(local, rest, moving.positions[:, 0] - rest[0])
    x = sensors.features(world, positions, np.zeros((len(local), 3, 3)))
    return formulas.Motion(local[1:], positions[1:]), world[1:], x, rest


def test_elbows_bend_down_and_out() -> None:
    rest = body.joints(FORM, np.zeros(16))
    hands = rest[[15, 20, 21]] @ rotations.STANDING.T + [[0, 0, 0], [0.25, -0.35, 0.0], [0.25, 0.35, 0.0]]
    x = np.zeros((1, 135))
    x[0, :36] = rotations.six_from_matrix(np.broadcast_to(rotations.STANDING, (6, 3, 3))).ravel()
    x[0, 72:81] = hands.ravel()
    _, positions = kinematics.forward(ik.solve(x, rest), rest, np.zeros(3))
    positions = kinematics.align_head(positions, hands[:1])[0]
    for elbow, shoulder, wrist, side in ((18, 16, 20, 1.0), (19, 17, 21, -1.0)):
        middle = (positions[shoulder] + positions[wrist]) / 2
        assert positions[elbow, 2] < middle[2]
        assert side * (positions[elbow, 1] - middle[1]) > -0.02


def test_hold_keeps_the_first_pose_and_turns_it_with_the_head() -> None:
    truth, _, x = small_motion.clip(5, 40, FORM, BETAS)
    pose = rotations.six_from_matrix(truth.local).reshape(39, 132)
    found = hold.predict(np.vstack([x, x]), np.vstack([pose, 2 * pose]), [39, 39])
    np.testing.assert_allclose(found[0], pose[0], atol=1e-6)
    np.testing.assert_array_equal(found[:39, 6:], np.broadcast_to(pose[0, 6:], (39, 126)))
    np.testing.assert_allclose(found[39], 2 * pose[0], atol=1e-6)


@pytest.mark.parametrize("method", baselines.METHODS)
def test_methods_answer_for_every_sensor_set_and_are_blind_to_what_it_lacks(method: str, made: tuple[Path, Path]) -> None:
    features, folder = made
    clips, rivals = Clips.open(features), baselines.load(folder)
    test = clips.rows("test")
    x = np.concatenate([clips.features(c) for c in test])
    pose = np.concatenate([clips.pose6d[c.rows] for c in test])
    lengths = [c.length for c in test]
    answers = {}
    for each in columns.MASKS:
        local, betas = rivals.predict(method, x, lengths, each, pose)
        assert local.shape == (len(x), 22, 3, 3) and betas.shape == (len(x), 16)
        np.testing.assert_allclose(local @ np.swapaxes(local, -1, -2), np.broadcast_to(np.eye(3), local.shape), atol=1e-6)
        filled = np.where(sensors.mask(each), x, np.float32(7.0))
        np.testing.assert_array_equal(rivals.predict(method, filled, lengths, each, pose)[0], local)
        answers[each] = local
    assert np.array_equal(answers["hmd"], answers["hmd_3imus"]) == (method in baselines.SAME)


@pytest.mark.parametrize("method", ["mean_pose", "hold", "ik", "ridge_yaw", "mlp"])
def test_methods_turn_with_the_scene(method: str, made: tuple[Path, Path]) -> None:
    rivals = baselines.load(made[1])
    truth, _, x = small_motion.clip(11, 40, FORM, BETAS)
    pose = rotations.six_from_matrix(truth.local).reshape(39, 132)
    turn = Rotation.from_rotvec([0, 0, 0.9]).as_matrix()
    one = rivals.predict(method, x, [39], "hmd_3imus", pose)[0]
    other = rivals.predict(
        method, turned(x, 0.9, np.array([1.0, 2.0, 0])).astype(np.float32), [39], "hmd_3imus", heading.turn_root(pose, np.full(39, 0.9))
    )[0]
    np.testing.assert_allclose(other[:, 0], turn @ one[:, 0], atol=2e-3)
    np.testing.assert_allclose(other[:, 1:], one[:, 1:], atol=2e-3)


def test_ridge_beats_the_mean_pose_and_more_sensors_help(made: tuple[Path, Path]) -> None:
    features, folder = made
    clips, rivals = Clips.open(features), baselines.load(folder)
    train = clips.rows("train")
    x = np.concatenate([clips.features(c) for c in train])
    pose = np.concatenate([clips.pose6d[c.rows] for c in train])
    lengths = [c.length for c in train]
    true = rotations.matrix_from_six(pose.reshape(-1, 22, 6))

    def error(method: str, each: str) -> float:
        return float(formulas.angles(rivals.predict(method, x, lengths, each, pose)[0], true)[:, 1:].mean())

    assert error("ridge_yaw", "hmd_3imus") < error("ridge_yaw", "hmd") < error("mean_pose", "hmd")


def test_no_training_clip_no_fit(tmp_path: Path) -> None:
    features = small_motion.folder(tmp_path / "features", train=0)
    with pytest.raises(BadData, match="no clip of the split `train`"):
        baselines.run(features, BLOCK, tmp_path, Progress())


def test_same_seed_same_bytes(made: tuple[Path, Path], tmp_path: Path) -> None:
    baselines.run(made[0], BLOCK, tmp_path, Progress())
    assert (tmp_path / "baselines.npz").read_bytes() == (made[1] / "baselines.npz").read_bytes()


def test_bad_folders_are_named(tmp_path: Path, made: tuple[Path, Path]) -> None:
    with pytest.raises(BadData, match="baselines.npz is missing"):
        baselines.load(tmp_path)
    (tmp_path / "baselines.npz").write_bytes((made[1] / "baselines.npz").read_bytes()[:200])
    with pytest.raises(Corrupt, match="run the step `baselines` again"):
        baselines.load(tmp_path)
    with pytest.raises(UsageError, match="there are mean_pose"):
        baselines.load(made[1]).predict("magic", np.zeros((1, 135)), [1], "hmd", np.zeros((1, 132)))


def test_gradients_of_the_perceptron_are_those_of_differences() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((5, 4), (4, 4), (4, 3))]
    biases = [rng.normal(size=n) for n in (4, 4, 3)]
    x, target = rng.normal(size=(6, 5)), rng.normal(size=(6, 3))
    loss, found = mlp._gradients(weights, biases, x, target)
    for array, gradient in zip([*weights, *biases], found, strict=True):
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + 1e-6
            up = mlp._gradients(weights, biases, x, target)[0]
            array[place] = kept
            assert (up - loss) / 1e-6 == pytest.approx(gradient[place], abs=1e-4)


def test_the_perceptron_learns(tmp_path: Path) -> None:
    clips = Clips.open(small_motion.folder(tmp_path))
    train = clips.rows("train")
    x, pose = (np.concatenate(parts) for parts in zip(*[(clips.features(c), clips.pose6d[c.rows]) for c in train], strict=True))
    lengths = [c.length for c in train]
    losses = [mlp.fit(x, pose, lengths, [5], hidden=32, steps=steps, batch=64, lr=3e-3, seed=0)[1] for steps in (5, 300)]
    assert losses[1] < 0.7 * losses[0]

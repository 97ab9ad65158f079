"""The body model's reader: joints against full skinning of a random SMPL-H file, and every file that is not one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tenfold.core.errors import BadData
from tenfold.motion_tracking import body, kinematics, procedural_body, skeleton

Arrays = dict[str, np.ndarray]


def smplh(seed: int = 0) -> Arrays:
    """A model.npz with SMPL-H's keys and shapes and random content."""
    rng = np.random.default_rng(seed)
    count, joints = body.SMPLH_VERTICES, 52
    parents = [2**32 - 1, *skeleton.PARENTS[1:]]
    for wrist in (20, 21):
        for _ in range(5):
            parents += [wrist, len(parents), len(parents) + 1]
    regressor = np.zeros((joints, count))
    for joint in range(joints):
        chosen = rng.choice(count, 30, replace=False)
        regressor[joint, chosen] = rng.dirichlet(np.ones(30))
    weights = np.zeros((count, joints))
    for column in range(4):
        weights[np.arange(count), rng.integers(0, joints, count)] += rng.random(count) + 0.1 * column
    return {
        "v_template": rng.normal(0, 0.5, (count, 3)), "shapedirs": rng.normal(0, 0.02, (count, 3, 16)),
        "posedirs": rng.normal(0, 0.005, (count, 3, 459)).astype(np.float32), "J_regressor": regressor,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([parents, range(joints)], np.uint32), "f": np.zeros((13776, 3), np.uint32),
    }  # fmt: skip


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return smplh()


@pytest.fixture(scope="module")
def model(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "model.npz"
    np.savez(path, **arrays)
    return path


def _skinned(arrays: Arrays, local: np.ndarray, root: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All joints (52, 3) and vertices (6890, 3) by SMPL's own steps, 4 x 4 matrices, hands at rest."""
    shaped = arrays["v_template"] + arrays["shapedirs"] @ betas
    joints = arrays["J_regressor"] @ shaped
    turned = np.tile(np.eye(3), (52, 1, 1))
    turned[: skeleton.COUNT] = local
    posed = shaped + arrays["posedirs"].astype(np.float64) @ (turned[1:] - np.eye(3)).ravel()
    parents = arrays["kintree_table"][0].astype(np.int64)
    chain = np.zeros((52, 4, 4))
    for joint in range(52):
        step = np.eye(4)
        step[:3, :3] = turned[joint]
        step[:3, 3] = joints[joint] - (joints[parents[joint]] if joint else 0)
        chain[joint] = chain[parents[joint]] @ step if joint else step
    placed = chain[:, :3, 3].copy()
    chain[:, :3, 3] -= (chain[:, :3, :3] @ joints[:, :, None])[:, :, 0]
    blended = np.einsum("vj,jab->vab", arrays["weights"], chain)
    vertices = (blended[:, :3, :3] @ posed[:, :, None])[:, :, 0] + blended[:, :3, 3]
    return placed + root, vertices + root


def test_joints_and_mount_points_are_those_of_full_skinning(arrays: Arrays, model: Path) -> None:
    human = body.load(model)
    assert human.licensed
    rng = np.random.default_rng(1)
    local = Rotation.random(3 * skeleton.COUNT, rng=rng).as_matrix().reshape(3, skeleton.COUNT, 3, 3)
    root, betas = rng.normal(size=(3, 3)), rng.normal(size=(3, 16))
    world, positions = kinematics.forward(local, body.joints(human, betas), root)
    mounts = body.mount_positions(human, local, world, root, betas)
    for frame in range(3):
        placed, vertices = _skinned(arrays, local[frame], root[frame], betas[frame])
        assert np.allclose(positions[frame], placed[: skeleton.COUNT], atol=1e-9)
        assert np.allclose(mounts[frame], vertices[list(body.SMPLH_MOUNTS)], atol=1e-9)


def test_other_mount_vertices_can_be_chosen(arrays: Arrays, model: Path) -> None:
    human = body.load(model, mounts=(5, 6, 7))
    assert np.allclose(human.mounts.v, arrays["v_template"][5:8])
    with pytest.raises(BadData, match="mount vertices"):
        body.load(model, mounts=(5, 6, 6890))


def test_the_small_file_holds_the_same_body(model: Path, tmp_path: Path) -> None:
    human = body.load(model)
    for name in ("one", "two"):
        body.save_small(tmp_path / f"{name}.npz", human)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    again = body.load_small(tmp_path / "one.npz")
    assert (again.sha256, again.licensed) == (human.sha256, True)
    assert np.array_equal(again.rest, human.rest) and np.array_equal(again.modes, human.modes)
    assert all(np.array_equal(getattr(again.mounts, key), getattr(human.mounts, key)) for key in "vSPW")
    with pytest.raises(BadData, match="rest"):
        body.load_small(model)


def _set(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, key: change(arrays[key])}


def _kintree(column: int, parent: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(table: np.ndarray) -> np.ndarray:
        out = table.copy()
        out[0, column] = parent
        return out

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: {key: arrays[key] for key in arrays if key != "J_regressor"}, "J_regressor missing"),
        (_set("kintree_table", _kintree(5, 1)), "kintree_table"),
        (_set("kintree_table", _kintree(30, 40)), "kintree_table"),
        (_set("kintree_table", lambda table: table[:, :24]), "kintree_table"),
        (_set("kintree_table", lambda table: table[::-1]), "kintree_table"),
        (_set("shapedirs", lambda array: array[:, :, :10]), "10 betas"),
        (_set("v_template", lambda array: array[:6000]), "6000 vertices"),
        (_set("posedirs", lambda array: array[:, :, :207]), "posedirs"),
        (_set("weights", lambda array: array[:, :24]), "weights"),
        (_set("J_regressor", lambda array: array.T), "J_regressor"),
        (_set("v_template", lambda array: np.where(array == array[7, 1], np.nan, array)), "finite"),
        (_set("v_template", lambda array: array.astype(str)), "finite"),
    ],
)
def test_a_file_of_another_body_is_refused(change: Callable[[Arrays], Arrays], words: str, arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, **change(arrays))
    with pytest.raises(BadData, match=words) as caught:
        body.load(path)
    assert str(path) in str(caught.value) and "mano.is.tue.mpg.de" in str(caught.value)


def test_what_is_no_npz_is_refused(model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    np.save(tmp_path / "array.npy", np.zeros(3))
    cases = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "text": b"model",
        "one_array": (tmp_path / "array.npy").read_bytes(),
        "bit": bytes(damaged),
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(data)
        with pytest.raises(BadData, match=name):
            body.load(path)
    for missing in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(BadData, match="cannot be read"):
            body.load(missing)


def test_an_object_array_is_not_unpickled(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, **{**arrays, "weights": np.array([{"a": 1}], dtype=object)}, allow_pickle=True)
    with pytest.raises(BadData, match="npz"):
        body.load(path)


def test_the_own_body_is_read_by_the_same_reader(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    procedural_body.write(path)
    human = body.load(path)
    assert not human.licensed
    head = human.rest[skeleton.HEAD, 1] - human.rest[10, 1]
    assert 1.4 < head < 1.7
    # The IMUs sit on the front of the shins and on the back of the pelvis, a few centimetres off the bone.
    knee, ankle = human.rest[4], human.rest[7]
    assert ankle[1] < human.mounts.v[0, 1] < knee[1] and human.mounts.v[0, 2] > knee[2]
    assert human.mounts.v[2, 2] < human.rest[0, 2] - 0.05


def test_the_own_body_is_symmetric_in_every_mode() -> None:
    model = procedural_body.arrays()
    rest = model["J_regressor"] @ model["v_template"]
    modes = np.einsum("jv,vcb->jcb", model["J_regressor"], model["shapedirs"])
    swap = list(skeleton.MIRROR)
    assert np.allclose(rest[swap] * [-1, 1, 1], rest, atol=1e-12)
    assert np.allclose(modes[swap] * np.array([-1, 1, 1])[:, None], modes, atol=1e-12)


def test_the_own_bodys_modes_do_what_their_names_say() -> None:
    model = procedural_body.arrays()
    rest = model["J_regressor"] @ model["v_template"]
    modes = np.einsum("jv,vcb->jcb", model["J_regressor"], model["shapedirs"])

    def grows(mode: str, joint: int, parent: int) -> float:
        moved = rest + modes[:, :, procedural_body.MODES.index(mode)]
        return float(np.linalg.norm(moved[joint] - moved[parent]) / np.linalg.norm(rest[joint] - rest[parent]))

    assert all(grows("size", joint, parent) == pytest.approx(1.035) for joint, parent in enumerate(skeleton.PARENTS) if parent >= 0)
    assert grows("legs", 4, 1) == pytest.approx(1.035) and grows("legs", 18, 16) == pytest.approx(1.0)
    assert grows("arms", 18, 16) > 1.03 and grows("shin", 7, 4) > 1.02 > 1.0 > grows("shin", 4, 1)
    assert grows("neck", 15, 12) > 1.05 and grows("trunk", 6, 3) > 1.02 and grows("hips", 1, 0) > 1.01


def test_no_drawn_shape_turns_a_bone_over(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    procedural_body.write(path)
    human = body.load(path)
    betas = np.clip(np.random.default_rng(0).normal(size=(2000, 16)), -2.5, 2.5)
    parents = list(skeleton.PARENTS[1:])
    rest = body.joints(human, betas)
    lengths = np.linalg.norm(rest[:, 1:] - rest[:, parents], axis=-1) / np.linalg.norm(human.rest[1:] - human.rest[parents], axis=-1)
    assert 0.5 < lengths.min() and lengths.max() < 1.5


def test_the_own_bodys_skin_is_whole() -> None:
    model = procedural_body.arrays()
    assert np.allclose(model["weights"].sum(1), 1.0) and model["weights"].min() >= 0.0
    assert model["f"].min() == 0 and len(np.unique(model["f"])) == len(model["v_template"])
    edges = np.sort(model["f"][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    # Closed: two triangles meet at each edge.
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()

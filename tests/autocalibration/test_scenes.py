"""Generated scenes: truth and measurements agree, motions are what they are called, a scene depends on its arguments only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import colmap_db, colmap_model, scenes
from tenfold.autocalibration.scenes import MOTIONS, SceneSpec, generate
from tenfold.core.errors import UsageError

SPEC = SceneSpec(3, "general", 60, 3, 640, 480, (700.0, 700.0, 320.0, 240.0, 0.0), 0.5, 0.2)


def centres(made: scenes.Synthetic) -> np.ndarray:
    return -np.einsum("vji,vj->vi", made.R, made.t)


def angle(R: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1))))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(MOTIONS), st.sampled_from([0.0, 0.5, 2.0]), st.integers(2, 4))
def test_truth_projects_to_clean_points_in_front_and_inside(seed: int, motion: scenes.Motion, noise: float, views: int) -> None:
    made = generate(replace(SPEC, seed=seed, motion=motion, noise_px=noise, views=views, jitter=0.05))
    K = np.array([[700, 0, 320], [0, 700, 240], [0, 0, 1.0]])
    for view in range(views):
        camera = made.X @ made.R[view].T + made.t[view]
        assert (camera[:, 2] > 0).all()
        image = camera @ K.T
        np.testing.assert_allclose(image[:, :2] / image[:, 2:], made.clean[view], atol=1e-9)
        np.testing.assert_allclose(made.R[view] @ made.R[view].T, np.eye(3), atol=1e-12)
    for points in (made.clean, made.x):
        assert (points >= 0).all() and (points <= (640, 480)).all()
    assert (made.R[0] == np.eye(3)).all() and not made.t[0].any()
    if noise == 0:
        assert (made.x[made.inlier] == made.clean[made.inlier]).all()


def test_the_same_specification_gives_the_same_bytes_and_another_seed_others() -> None:
    one, two = generate(SPEC), generate(SPEC)
    assert one.x.tobytes() == two.x.tobytes() and one.X.tobytes() == two.X.tobytes()
    assert generate(replace(SPEC, seed=4)).X.tobytes() != one.X.tobytes()


def test_noise_levels_show_the_same_place() -> None:
    quiet, loud = generate(replace(SPEC, noise_px=0.25)), generate(replace(SPEC, noise_px=2.0))
    assert (quiet.R == loud.R).all() and (quiet.t == loud.t).all()
    shared = {tuple(each) for each in quiet.X} & {tuple(each) for each in loud.X}
    assert len(shared) > 50


def test_more_points_begin_with_the_same() -> None:
    assert (generate(replace(SPEC, points=90)).X[:60] == generate(SPEC).X).all()


def test_noise_outliers_tail_and_steps_are_as_asked() -> None:
    spec = replace(SPEC, points=3000, noise_px=1.0, width=4000, height=3000, k=(4000.0, 4000.0, 2000.0, 1500.0, 0.0))
    made = generate(spec)
    error = (made.x - made.clean)[made.inlier]
    assert abs(error.std() - 1) < 0.03 and abs(error.mean()) < 0.03
    both = [made.inlier[i] & made.inlier[j] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert all(abs(1 - each.mean() - 0.2) < 0.025 for each in both)
    heavy = generate(replace(spec, heavy_tail=0.05))
    assert abs((heavy.x - heavy.clean)[heavy.inlier].std() - np.sqrt(0.95 + 0.05 * 16)) < 0.08
    stepped = generate(replace(spec, quantise_px=0.5, outlier_ratio=0.0))
    assert (stepped.x * 2 == np.round(stepped.x * 2)).all() and stepped.inlier.all()


def test_general_turns_by_9_to_21_degrees() -> None:
    for seed in range(10):
        made = generate(replace(SPEC, seed=seed))
        assert all(9 <= angle(made.R[view]) <= 21 for view in (1, 2)) and angle(made.R[1].T @ made.R[2]) >= 5
        assert np.linalg.norm(made.t[1:], axis=1).min() > 0.5


def test_orbit_fixates_at_constant_distance_and_jitter_changes_the_distance() -> None:
    target = np.array([0, 0, 6.0])
    cases: list[tuple[scenes.Motion, float]] = [("orbit", 0.0), ("jittered_orbit", 0.1)]
    for motion, jitter in cases:
        made = generate(replace(SPEC, motion=motion, jitter=jitter, views=4))
        seen = made.R @ target + made.t
        np.testing.assert_allclose(seen[:, :2], 0, atol=1e-12)
        radii = seen[:, 2] / 6
        np.testing.assert_allclose(np.abs(radii[1:] - 1), jitter, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(centres(made) - target, axis=1), seen[:, 2], atol=1e-12)
    # a circular arc: all centres and the target in one plane
    assert np.linalg.matrix_rank(centres(generate(replace(SPEC, motion="orbit", views=4))) - target, tol=1e-9) == 2


def test_critical_motions_are_critical() -> None:
    made = {motion: generate(replace(SPEC, motion=motion)) for motion in MOTIONS}
    assert (made["translation"].R == np.eye(3)).all() and np.linalg.norm(made["translation"].t[1:], axis=1).min() > 0.5
    assert not made["rotation"].t.any() and angle(made["rotation"].R[1]) > 5
    flat = made["planar_scene"].X - made["planar_scene"].X.mean(0)
    assert np.linalg.svd(flat, compute_uv=False)[-1] < 1e-9
    solid = made["general"].X - made["general"].X.mean(0)
    assert np.linalg.svd(solid, compute_uv=False)[-1] > 1
    forward = centres(made["forward"])
    assert (np.diff(forward[:, 2]) > 0.3).all() and np.abs(forward[:, :2]).max() < 0.6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"motion": "spiral"}, "spiral"),
        ({"views": 1}, "2 views"),
        ({"depth_range": (4.0, 2.0)}, "depth_range"),
        ({"noise_px": -1.0}, "noise_px"),
        ({"outlier_ratio": 1.0}, "shares"),
        ({"k": (0.0, 700.0, 320.0, 240.0, 0.0)}, "fx"),
        ({"k": (90000.0, 90000.0, 320.0, 240.0, 0.0)}, "overlap"),
    ],
)
def test_numbers_that_give_no_scene_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        generate(replace(SPEC, **change))  # type: ignore[arg-type]


def test_as_a_scene_it_carries_reference_and_tracks() -> None:
    made = generate(SPEC)
    scene = made.scene("here")
    assert scene.tracks is not None and len(scene.tracks) == 180 and scene.jitter is None
    known = scene.views[2].reference
    assert known is not None and known.k == SPEC.k and known.pose is not None
    assert (np.array(known.pose[:9]).reshape(3, 3) == made.R[2]).all() and known.pose[9:] == tuple(made.t[2])
    table = scene.tracks.table()
    row = table.slice(4, 1).to_pylist()[0]
    assert (row["track"], row["view"]) == (1, 1) and (row["x"], row["y"]) == tuple(made.x[1, 1])


def test_written_for_colmap_and_read_again(tmp_path: Path) -> None:
    made = generate(SPEC)
    scenes.write_colmap(made, tmp_path)
    database = colmap_db.read(tmp_path / "database.db")
    assert database.verified and len(database.pairs) == 3
    found, conflicts = colmap_db.tracks(database, [1, 2, 3])
    assert conflicts == 0 and len(found) == 180
    np.testing.assert_allclose(found.x[found.view == 1], made.x[1, :, 0], rtol=1e-6)
    model = colmap_model.read(tmp_path / "sparse" / "0")
    np.testing.assert_allclose(model.images[3].R, made.R[2], atol=1e-12)
    np.testing.assert_allclose(model.points[5], made.X[4], atol=0)
    with pytest.raises(UsageError, match="skew"):
        scenes.write_colmap(generate(replace(SPEC, k=(700.0, 700.0, 320.0, 240.0, 1.0))), tmp_path / "other")


def test_pycolmap_opens_what_we_write(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    made = generate(SPEC)
    scenes.write_colmap(made, tmp_path)
    with pycolmap.Database.open(str(tmp_path / "database.db")) as database:
        assert database.num_images() == 3 and database.num_keypoints() == 180 and database.num_verified_image_pairs() == 3
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    camera = next(iter(model.cameras.values()))
    assert model.num_reg_images() == 3 and camera.focal_length_x == 700 and len(model.points3D) == 60
    model.update_point_3d_errors()
    # wrong matches included: the median is the noise's
    assert np.median([point.error for point in model.points3D.values()]) < 2

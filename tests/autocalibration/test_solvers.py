"""Solvers on real scenes: the true camera is among the candidates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.autocalibration import focal2v, monodromy, taxonomy
from tenfold.autocalibration.geometry import from_conic
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core.errors import UsageError

SIZE, CENTRE = (1280, 960), np.array([600.0, 500.0])


@pytest.fixture(scope="module")
def start() -> StartSystem:
    return monodromy.find(taxonomy.choose("2V6P-f"), 0, 4)[0]


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, 2, 6, 2) px and focal lengths (count,)."""
    rng = np.random.default_rng(seed)
    problem = taxonomy.choose("2V6P-f")
    points, focals = [], []
    for _ in range(count):
        image, solution = taxonomy.real_scene(problem, rng)
        scale = rng.uniform(250, 500)
        points.append(image.real * scale + CENTRE)
        focals.append(np.sqrt(solution[0].real) * scale)
    return np.array(points), np.array(focals)


def test_the_true_focal_length_is_found(start: StartSystem) -> None:
    points, focals = scenes(100, 0)
    found = focal2v.solve(points, start, principal=CENTRE, size=SIZE)
    hits = 0
    for sample, focal in enumerate(focals):
        mine = found.k[found.sample == sample]
        np.testing.assert_array_equal(mine[:, 0], mine[:, 1])
        hits += bool(len(mine)) and bool(np.abs(mine[:, 0] / focal - 1).min() < 1e-6)
    assert hits >= 97
    assert (found.roots + found.lost == 30).all() and (found.physical <= found.real).all() and (found.real <= found.roots).all()
    assert found.residual.max() < 1e-7, "no constraint is left over: what was left out holds at every root"


def test_depths_are_those_of_one_rigid_scene(start: StartSystem) -> None:
    points, _ = scenes(3, 1)
    found = focal2v.solve(points, start, principal=CENTRE, size=SIZE)
    for sample, k, depths in zip(found.sample, found.k, found.depths, strict=True):
        rays = np.concatenate([(points[sample] - k[2:4]) / k[0], np.ones((2, 6, 1))], axis=2)
        seen = rays * depths[:, :, None]
        between = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1)
        np.testing.assert_allclose(between[0], between[1], rtol=1e-6, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(turn=st.floats(0, 6.28), zoom=st.floats(0.5, 2.0))
def test_turned_and_scaled_pixels(start: StartSystem, turn: float, zoom: float) -> None:
    """A turn about the known principal point leaves f as it is; pixels of another size scale it."""
    points, _ = scenes(4, 2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    plain = focal2v.solve(points, start, principal=CENTRE, size=SIZE)
    big = (int(SIZE[0] * zoom), int(SIZE[1] * zoom))
    turned = focal2v.solve(
        (points - CENTRE) @ rotation.T * zoom + CENTRE * zoom, start, principal=CENTRE * zoom, size=SIZE if zoom == 1 else big
    )
    for sample in range(4):
        one, other = (np.sort(each.k[each.sample == sample, 0]) for each in (plain, turned))
        longest = max(big) / max(SIZE)
        inside = one[(one > 0.31 * max(SIZE)) & (one < 3.9 * max(SIZE))]
        for focal in inside:
            assert np.abs(other / longest / focal * (longest / zoom) - 1).min() < 1e-5


def test_what_cannot_be_solved_is_refused(start: StartSystem) -> None:
    points, _ = scenes(2, 3)
    with pytest.raises(UsageError, match="shape"):
        focal2v.solve(points[:, :, :5], start, principal=CENTRE, size=SIZE)
    broken = points.copy()
    broken[1, 0, 0, 0] = np.nan
    with pytest.raises(UsageError, match="finite"):
        focal2v.solve(broken, start, principal=CENTRE, size=SIZE)
    with pytest.raises(UsageError, match="start system"):
        focal2v.solve(points, monodromy.find(taxonomy.choose("2V5P"), 0, 2)[0], principal=CENTRE, size=SIZE)


def test_coincident_points_and_equal_views_give_an_answer_or_none(start: StartSystem) -> None:
    points, _ = scenes(2, 4)
    points[0, :, 1] = points[0, :, 0]
    points[1, 1] = points[1, 0]
    found = focal2v.solve(points, start, principal=CENTRE, size=SIZE)
    assert (found.roots + found.lost == 30).all() and np.isfinite(found.k).all()


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.floats(200, 3000), st.floats(0.8, 1.25), st.floats(-300, 300), st.floats(-300, 300), st.floats(-50, 50)))
def test_a_camera_comes_back_from_its_conic(values: tuple[float, float, float, float, float]) -> None:
    fx, aspect, cx, cy, skew = values
    k = np.array([[fx, skew, cx], [0, fx * aspect, cy], [0, 0, 1.0]])
    inverse = np.linalg.inv(k)
    w = inverse.T @ inverse
    found, definite = from_conic(w / w[0, 0])
    assert definite
    np.testing.assert_allclose(found, [fx, fx * aspect, cx, cy, skew], rtol=1e-7, atol=1e-5)
    assert not from_conic(np.diag([1.0, 1.0, -1.0]))[1]

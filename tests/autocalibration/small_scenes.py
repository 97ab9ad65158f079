"""Small scenes of a few views for the tests of geometry: exact poses, points in front of all cameras and inside the images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from tenfold.autocalibration import geometry

Floats = npt.NDArray[np.float64]
SIZE = (640, 480)
CAMERA = np.array([700.0, 700.0, 320.0, 240.0, 0.0])


@dataclass(frozen=True)
class Scene:
    """`bad`: tracks of which at least one observation may be wrong."""

    k: Floats
    R: Floats
    t: Floats
    X: Floats
    x: Floats
    bad: npt.NDArray[np.bool_]


def scene(
    seed: int,
    motion: str = "general",
    *,
    points: int = 60,
    views: int = 3,
    k: Floats = CAMERA,
    k1: float = 0.0,
    noise: float = 0.0,
    outliers: float = 0.0,
) -> Scene:
    """Motions: general, orbit, translation, rotation, planar."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (6000, 3)) * [4, 4, 2] + [0, 0, 7]
    if motion == "planar":
        normal = rng.normal(size=2) * 0.4
        X[:, 2] = 7 - X[:, :2] @ normal
    centre = np.array([0, 0, 7.0])
    R, t = [np.eye(3)], [np.zeros(3)]
    for view in range(1, views):
        axis = rng.normal(size=3)
        turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.radians(rng.uniform(9, 21))).as_matrix()
        shift = rng.normal(size=3) * [1, 1, 0.7]
        if motion == "orbit":
            turn, shift = Rotation.from_euler("y", 12 * view, degrees=True).as_matrix(), np.zeros(3)
        if motion == "translation":
            turn = np.eye(3)
        R.append(turn)
        t.append(np.zeros(3) if motion == "rotation" else centre - turn @ centre + shift)
    R, t = np.array(R), np.array(t)
    x = geometry.project(k, R, t, X, k1)
    seen = ((x > 0) & (x < SIZE)).all(axis=(0, 2)) & (geometry.to_camera(R, t, X)[..., 2] > 0.5).all(axis=0)
    X, x = X[seen][:points], x[:, seen][:, :points]
    assert len(X) == points
    x = x + noise * rng.normal(size=x.shape)
    bad = rng.random(points) < outliers
    for view in range(views):
        wrong = bad & (rng.random(points) < 0.6)
        x[view, wrong] = rng.uniform(0, 1, (wrong.sum(), 2)) * SIZE
    return Scene(k, R, t, X, x, bad)

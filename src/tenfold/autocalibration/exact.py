"""Noise-free instances of a solver's problem whose K is known: is it among the roots, and how many paths were lost (claim C3)."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry
from tenfold.autocalibration.problems import Problem
from tenfold.autocalibration.roots import Candidates
from tenfold.autocalibration.start_system import StartSystem

Float = npt.NDArray[np.float64]
SIZE = (640, 480)
TOLERANCE = 1e-6
"""Largest difference of any entry of K from the truth, over the focal length."""
_BATCH = 10


@dataclass(frozen=True)
class Instances:
    """`k` (samples, 5) px and image points `x` (samples, views, points, 2) px."""

    k: Float
    x: Float


@dataclass(frozen=True)
class Recall:
    """One value a sample: true K found, share of lost paths; CPU seconds of one sample, linear solves of one path; real, possible roots."""

    found: list[bool]
    lost: list[float]
    cpu_s: list[float]
    solves: list[float]
    real: list[int]
    physical: list[int]


def instances(problem: Problem, samples: int, seed: int, kind: str = "") -> Instances:
    """Scenes in front of all views and inside the frame: rotation 9 to 21 degrees about a random axis, translation of a tenth of the depth on.

    Only what `kind` (default: the problem's) leaves unknown departs from square pixels and a centred principal point.
    """
    rng = np.random.default_rng([seed, problem.views, problem.points, problem.free])
    ks: list[Float] = []
    xs: list[Float] = []
    while len(ks) < samples:
        k = _intrinsics(kind or problem.kind, rng)
        R = np.stack([np.eye(3), *(_rotation(rng) for _ in range(problem.views - 1))])
        X = rng.uniform((-3, -2, 6), (3, 2, 12), (problem.points, 3))
        # cameras that turn about the scene's middle keep it in sight
        middle = np.array([0.0, 0.0, 9.0])
        t = middle - R @ middle + np.concatenate([np.zeros((1, 3)), rng.uniform(-1, 1, (problem.views - 1, 3))])
        if (geometry.to_camera(R, t, X)[..., 2] < 1).any():
            continue
        x = geometry.project(k, R, t, X)
        if ((x > 0) & (x < np.array(SIZE))).all():
            ks.append(k)
            xs.append(x)
    return Instances(np.array(ks), np.array(xs))


def recall(solve: Callable[..., Candidates], start: StartSystem, samples: int, seed: int, kind: str = "") -> Recall:
    """Solve `samples` instances of the start system's problem; `kind` as in `instances`."""
    given = instances(start.problem, samples, seed, kind)
    centre = np.array(SIZE) / 2
    out = Recall([], [], [], [], [], [])
    for low in range(0, samples, _BATCH):
        x, k = given.x[low : low + _BATCH], given.k[low : low + _BATCH]
        begin = time.process_time()
        got = solve(x, start, principal=centre, size=SIZE)
        spent = time.process_time() - begin
        off = np.abs(got.k - k[got.sample]).max(axis=1, initial=0.0) / k[got.sample, 0]
        for i in range(len(x)):
            paths = int(got.roots[i] + got.lost[i])
            out.found.append(bool((off[got.sample == i] < TOLERANCE).any()))
            out.lost.append(float(got.lost[i] / paths))
            out.cpu_s.append(spent / len(x))
            out.solves.append(float(got.solves[i] / paths))
            out.real.append(int(got.real[i]))
            out.physical.append(int(got.physical[i]))
    return out


def _intrinsics(kind: str, rng: np.random.Generator) -> Float:
    fx = float(rng.uniform(500, 900))
    fy = fx if kind in ("none", "f", "square") else fx * float(rng.uniform(0.9, 1.1))
    centred = kind in ("none", "f", "fxfy")
    cx, cy = np.array(SIZE) / 2 + (0.0 if centred else rng.uniform(-40, 40, 2))
    return np.array([fx, fy, cx, cy, float(rng.uniform(-20, 20)) if kind == "full" else 0.0])


def _rotation(rng: np.random.Generator) -> Float:
    axis = rng.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.radians(rng.uniform(9, 21))
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew)

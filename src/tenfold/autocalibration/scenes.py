"""Synthetic scenes with known truth: how a camera moves, what it sees, how the matches are spoilt (section 4 of the paper's experiments).

A scene depends on nothing but its specification: the same one gives the same bytes. Candidate points keep their noise and their
wrong matches, so that two specifications that differ in noise only show nearly the same points.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration.samples import Bools, Floats, Reference, Scene, Tracks, View
from tenfold.core.errors import UsageError

Motion = Literal["general", "orbit", "jittered_orbit", "forward", "translation", "rotation", "planar_scene"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)

_BATCH = 1024
_BATCHES = 64
_ATTEMPTS = 500
# Share of the first view's points that the others must see, for a motion to be accepted.
_OVERLAP = 0.3
_TAIL = 4.0


@dataclass(frozen=True)
class SceneSpec:
    """What makes a scene. Sizes and noise in px, depths in units of length, `jitter` and ratios as shares.

    `outlier_ratio`: expected share of wrong matches in every pair of views. `heavy_tail`: share of observations with four times the
    noise. `quantise_px`: step to which coordinates are rounded, 0 for none. `jitter`: change of a jittered orbit's radius.
    """

    seed: int
    motion: Motion
    points: int
    views: int
    width: int
    height: int
    k: tuple[float, float, float, float, float]
    noise_px: float
    outlier_ratio: float
    depth_range: tuple[float, float] = (4.0, 8.0)
    jitter: float = 0.0
    heavy_tail: float = 0.0
    quantise_px: float = 0.0


@dataclass(frozen=True)
class Synthetic:
    """A scene and its truth: k (5,), R (V, 3, 3), t (V, 3), X (n, 3); clean and measured image points (V, n, 2); inlier (V, n)."""

    spec: SceneSpec
    k: Floats
    R: Floats
    t: Floats
    X: Floats
    clean: Floats
    x: Floats
    inlier: Bools

    def tracks(self) -> Tracks:
        """Every observation; a track is a point."""
        views, points = self.inlier.shape
        view, track = np.divmod(np.arange(views * points, dtype=np.int64), points)
        flat = self.x.reshape(-1, 2)
        return Tracks(track, view, flat[:, 0].copy(), flat[:, 1].copy(), self.inlier.reshape(-1))

    def scene(self, name: str) -> Scene:
        """The scene as a reader would give it, with its reference."""
        spec = self.spec
        views = []
        for index in range(spec.views):
            pose = (*map(float, self.R[index].reshape(-1)), *map(float, self.t[index]))
            views.append(View(f"{index:03d}", "0", spec.width, spec.height, None, Reference(spec.k, 0.0, 0.0, pose)))
        jitter = spec.jitter if spec.motion == "jittered_orbit" else None
        return Scene(name, views, self.tracks(), spec.motion, spec.noise_px, spec.outlier_ratio, jitter)


def generate(spec: SceneSpec) -> Synthetic:
    """Draw the scene. Every point lies in front of all cameras and inside all frames, its measurements too.

    Raises UsageError for numbers that allow no such scene.
    """
    _judge(spec)
    k = np.array(spec.k)
    R, t, plane = _motion(spec, k)
    kept: list[tuple[Floats, Floats, Floats, Bools]] = []
    count = 0
    for batch in _candidates(spec, k, R, t, plane):
        kept.append(batch)
        count += len(batch[0])
        if count >= spec.points:
            break
    else:
        raise UsageError(f"only {count} of {spec.points} points are seen by all {spec.views} views of {spec.motion} (seed {spec.seed}).")
    X, clean, x, inlier = (np.concatenate(parts)[: spec.points] for parts in zip(*kept, strict=True))
    return Synthetic(spec, k, R, t, X, clean.swapaxes(0, 1).copy(), x.swapaxes(0, 1).copy(), inlier.T.copy())


def project(k: Floats, R: Floats, t: Floats, X: Floats) -> tuple[Floats, Floats]:
    """Image points (n, V, 2) px and depths (n, V) of X (n, 3) in views with k (5,), R (V, 3, 3), t (V, 3)."""
    camera = np.einsum("vij,nj->nvi", R, X) + t
    depth = camera[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = camera[..., 0] / depth, camera[..., 1] / depth
    fx, fy, cx, cy, s = k
    return np.stack([fx * u + s * v + cx, fy * v + cy], -1), depth


def rotation(axis: npt.ArrayLike, degrees: float) -> Floats:
    """Rotation matrix (3, 3) about `axis` (3,) of any length. Rodrigues' formula."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def write_colmap(made: Synthetic, folder: Path) -> None:
    """Write `folder` as a COLMAP project: `database.db` with verified matches, reference in `sparse/0` as text."""
    from tenfold.autocalibration import colmap_db, colmap_model

    spec, count = made.spec, made.x.shape[1]
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:03d}.png" for index in range(spec.views)]
    camera = colmap_model.Camera("PINHOLE", spec.width, spec.height, tuple(spec.k[:4]))
    if spec.k[4] != 0:
        raise UsageError("COLMAP's cameras have no skew: write scenes of zero skew only.")
    every = np.stack([np.arange(count), np.arange(count)], -1).astype(np.uint32)
    pairs = {(i + 1, j + 1): every for i in range(spec.views) for j in range(i + 1, spec.views)}
    keypoints = {index + 1: made.x[index] for index in range(spec.views)}
    images = {index + 1: (name, 1) for index, name in enumerate(names)}
    colmap_db.write(folder / "database.db", colmap_db.Database({1: camera}, images, keypoints, pairs, True))
    model = colmap_model.Model(
        {1: camera},
        {
            index + 1: colmap_model.Image(
                names[index], 1, made.R[index], made.t[index], made.x[index], np.arange(count, dtype=np.int64) + 1
            )
            for index in range(spec.views)
        },
        {index + 1: point for index, point in enumerate(made.X)},
    )
    colmap_model.write_text(model, folder / "sparse" / "0")


def _judge(spec: SceneSpec) -> None:
    near, far = spec.depth_range
    wrong = [
        (spec.motion not in MOTIONS, f"motion {spec.motion!r} is none of {', '.join(MOTIONS)}"),
        (spec.views < 2 or spec.points < 4, "at least 2 views and 4 points are needed"),
        (not 0 < near < far, "depth_range must be two growing depths over 0"),
        (min(spec.noise_px, spec.jitter, spec.quantise_px) < 0, "noise_px, jitter and quantise_px are 0 or more"),
        (not (0 <= spec.outlier_ratio < 1 and 0 <= spec.heavy_tail <= 1 and spec.jitter < 0.5), "shares lie in [0, 1), jitter below 0.5"),
        (spec.k[0] <= 0 or spec.k[1] <= 0, "fx and fy must be over 0"),
    ]
    for bad, says in wrong:
        if bad:
            raise UsageError(f"{says}. Correct the scene's specification.")


def _stream(spec: SceneSpec, what: str) -> np.random.Generator:
    """Random numbers of this scene for `what`; an orbit and its jittered sisters share theirs."""
    motion = "orbit" if spec.motion == "jittered_orbit" else spec.motion
    path = json.dumps([spec.seed, motion, spec.views, spec.width, spec.height, spec.k, spec.depth_range, what]).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(path).digest(), "big"))


def _direction(rng: np.random.Generator) -> Floats:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _motion(spec: SceneSpec, k: Floats) -> tuple[Floats, Floats, Floats]:
    """R (V, 3, 3), t (V, 3), the first view the identity, and the plane n . X = 1 of a planar scene (n; zeros for none)."""
    rng = _stream(spec, "motion")
    middle = sum(spec.depth_range) / 2
    plane = np.zeros(3)
    if spec.motion == "planar_scene":
        normal = rotation([*_direction(rng)[:2], 0.0], rng.uniform(10, 35)) @ np.array([0.0, 0.0, 1.0])
        plane = normal / (normal[2] * middle)
    if spec.motion in ("orbit", "jittered_orbit"):
        return *_orbit(spec, rng, middle), plane
    R, centres = [np.eye(3)], [np.zeros(3)]
    seen = _points(spec, k, _stream(spec, "probe"), plane)[:256]
    for index in range(1, spec.views):
        for _ in range(_ATTEMPTS):
            turn, centre = _step(spec, rng, middle, index)
            x, depth = project(k, turn[None], (-turn @ centre)[None], seen)
            inside = _inside(spec, x, depth)[:, 0]
            if inside.sum() >= _OVERLAP * 256 and (spec.motion != "general" or _spread(R, turn) >= 5.0):
                break
        else:
            raise UsageError(f"no {spec.motion} motion with enough overlap was found (seed {spec.seed}). Use fewer views or a wider angle.")
        seen = seen[inside]
        R.append(turn)
        centres.append(centre)
    turns = np.stack(R)
    return turns, -np.einsum("vij,vj->vi", turns, np.stack(centres)), plane


def _spread(R: list[Floats], turn: Floats) -> float:
    """Smallest angle (degrees) between a rotation and those before it."""
    return min(float(np.rad2deg(np.arccos(np.clip((np.trace(each.T @ turn) - 1) / 2, -1, 1)))) for each in R)


def _step(spec: SceneSpec, rng: np.random.Generator, middle: float, index: int) -> tuple[Floats, Floats]:
    """Rotation and centre of a further view, drawn."""
    turn = rotation(_direction(rng), rng.uniform(9, 21))
    centre = _direction(rng) * rng.uniform(0.15, 0.4) * middle
    if spec.motion == "forward":
        turn = rotation(_direction(rng), rng.uniform(3, 8))
        centre = np.array([*rng.normal(0, 0.02, 2), 0.12 * index]) * middle
    if spec.motion == "translation":
        turn = np.eye(3)
    if spec.motion == "rotation":
        centre = np.zeros(3)
    return turn, centre


def _orbit(spec: SceneSpec, rng: np.random.Generator, radius: float) -> tuple[Floats, Floats]:
    """A circular arc about a fixed point, which all optical axes meet; jitter changes each radius but the first."""
    axis = rotation([0, 0, 1], rng.uniform(0, 360)) @ np.array([0.0, 1.0, 0.0])
    steps = rng.uniform(9, 16, spec.views - 1) * rng.choice([-1.0, 1.0])
    signs = rng.choice([-1.0, 1.0], spec.views - 1)
    angles = np.concatenate([[0.0], np.cumsum(steps)])
    radii = radius * np.concatenate([[1.0], 1 + spec.jitter * signs])
    target = np.array([0.0, 0.0, radius])
    R = np.stack([rotation(axis, angle) for angle in angles])
    # X_cam = R (X - target) + (0, 0, radius): the target stays on the axis at that distance.
    t = np.stack([np.array([0.0, 0.0, far]) - turn @ target for turn, far in zip(R, radii, strict=True)])
    R[0], t[0] = np.eye(3), np.zeros(3)
    return R, t


def _points(spec: SceneSpec, k: Floats, rng: np.random.Generator, plane: Floats) -> Floats:
    """A batch of points (n, 3) in the first view's frame: uniform in its image, uniform in depth or on the plane."""
    image = rng.uniform(0, 1, (_BATCH, 2)) * (spec.width, spec.height)
    depth = rng.uniform(*spec.depth_range, _BATCH)
    fx, fy, cx, cy, s = k
    v = (image[:, 1] - cy) / fy
    rays = np.stack([(image[:, 0] - cx - s * v) / fx, v, np.ones(_BATCH)], -1)
    if plane.any():
        depth = 1 / (rays @ plane)
    return rays * depth[:, None]


def _inside(spec: SceneSpec, x: Floats, depth: Floats) -> Bools:
    """Whether image points (n, V, 2) with depths (n, V) lie in front of the camera and in the frame."""
    frame = (x >= 0) & (x <= (spec.width, spec.height))
    return frame.all(-1) & (depth > 0)


def _candidates(spec: SceneSpec, k: Floats, R: Floats, t: Floats, plane: Floats) -> Iterator[tuple[Floats, Floats, Floats, Bools]]:
    """Batches of accepted points (m, 3), clean and measured image points (m, V, 2), inliers (m, V)."""
    rng = _stream(spec, "points")
    # A pair is right if both its observations are: their share, squared.
    wrong = 1 - np.sqrt(1 - spec.outlier_ratio)
    for _ in range(_BATCHES):
        X = _points(spec, k, rng, plane)
        normal = rng.standard_normal((_BATCH, spec.views, 2))
        tail = rng.uniform(size=(_BATCH, spec.views, 1)) < spec.heavy_tail
        inlier = rng.uniform(size=(_BATCH, spec.views)) >= wrong
        stray = rng.uniform(size=(_BATCH, spec.views, 2)) * (spec.width, spec.height)
        clean, depth = project(k, R, t, X)
        x = clean + spec.noise_px * np.where(tail, _TAIL, 1.0) * normal
        if spec.quantise_px > 0:
            x = np.round(x / spec.quantise_px) * spec.quantise_px
        keep = (_inside(spec, clean, depth) & _inside(spec, x, depth)).all(1)
        x = np.where(inlier[..., None], x, stray)
        yield X[keep], clean[keep], x[keep], inlier[keep]

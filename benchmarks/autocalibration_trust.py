"""How far the stated uncertainty and the warning of distortion can be trusted: the tables of docs/papers/autocalibration.md.

    python benchmarks/autocalibration_trust.py [--scenes 25] [--bent 20] [--photographs]

Scenes of the paper's generator at seeds of their own: three views of 640 x 480 px, 150 points, a fifth of the matches of every pair wrong,
heavy tail, focal length 0.66 to 1.5 image widths. The minimal solver is replaced by the truth disturbed by up to 5 %, since only what
follows it is tested: scoring, refinement, uncertainty, verdict. The same numbers on every run; 2 px threshold (where the noise is too
large for it 4 px, as an evaluation and a prediction do), 4 samples a scene.

    uncertainty  by motion and noise, over --scenes scenes: answers, how many of them with the larger threshold, share of them whose focal
                 error is within 2 of their own standard deviations, median error, median standard deviation; the share again without the
                 last fit, whose loss widens with the noise; and answers within a threshold that stays at 2 px.
    distortion   general motion at 0.25 px, over --bent scenes for each k1: warned of, and by the cost alone; median error of the focal
                 without and with the radial term.
    photographs  the Balbianello photographs without their distortion: focal length of the sets of three views that share at least 75 points,
                 and of a last fit whose loss may be narrower than half the threshold.
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import balbianello, bundler, config, degeneracy, estimate, features, geometry, metrics, ransac, scenes
from tenfold.autocalibration.problems import keeping_all_but
from tenfold.autocalibration.roots import Candidates
from tenfold.autocalibration.start_system import StartSystem

Floats = npt.NDArray[np.float64]
WIDTH, HEIGHT, POINTS = 640, 480, 150
PRINCIPAL = np.array([WIDTH / 2, HEIGHT / 2])
SETTINGS = ransac.Settings(samples=4, threshold_px=2.0)
OFF = 0.05
MOTIONS: tuple[scenes.Motion, ...] = ("general", "orbit")
NOISE_PX = (0.25, 0.5, 1.0, 2.0)
BENT_NOISE_PX = 0.25
K1 = (0.0, -0.02, -0.04, -0.06, 0.06)
PROBLEM = keeping_all_but(3, 4, "f")
# without solutions: the stand-in does not track
START = StartSystem(PROBLEM, np.zeros((3, 4, 2), dtype=np.complex128), np.zeros((0, PROBLEM.unknowns), dtype=np.complex128))


def made(seed: int, motion: scenes.Motion, noise_px: float) -> scenes.Synthetic:
    """Scene number `seed`: the same camera and points at every noise, as far as the generator keeps them."""
    f = WIDTH * math.exp(np.random.default_rng([7, seed]).uniform(math.log(0.66), math.log(1.5)))
    k = (f, f, WIDTH / 2, HEIGHT / 2, 0.0)
    return scenes.generate(scenes.SceneSpec(1000 + seed, motion, POINTS, 3, WIDTH, HEIGHT, k, noise_px, 0.2, heavy_tail=0.05))


def bent(scene: scenes.Synthetic, k1: float) -> Floats:
    """Image points (V, n, 2) px of the scene through a lens with `k1`; wrong matches stay where they are."""
    shift = geometry.project(scene.k, scene.R, scene.t, scene.X, k1) - scene.clean
    return np.asarray(np.where(scene.inlier[..., None], scene.x + shift, scene.x))


def stand_in(k: Floats, R: Floats, t: Floats, X: Floats, x: Floats) -> Callable[..., Candidates]:
    """A solver that answers with one useless camera and the true one, its focal off by up to `OFF`; depends on the sample only."""
    depths = geometry.to_camera(R, t, X)[..., 2]

    def solve(samples: Floats, start: StartSystem, *, principal: Floats, size: tuple[int, int]) -> Candidates:
        sample, ks, found = [], [], []
        for at, points in enumerate(samples):
            rng = np.random.default_rng(abs(int(points.sum() * 1e6)) % 2**32)
            tracks = [int(np.argmin(np.abs(x[0] - point).sum(axis=1))) for point in points[0]]
            for wrong in (False, True):
                factor = rng.uniform(0.4, 3.0) if wrong else 1 + OFF * rng.uniform(-1, 1)
                sample.append(at)
                ks.append(k * np.array([factor, factor, 1, 1, 1]))
                found.append(depths[:, tracks] * (rng.uniform(0.5, 2.0, (3, len(tracks))) if wrong else 1.0))
        counts = np.full(len(samples), 2, dtype=np.int64)
        none = np.zeros_like(counts)
        return Candidates(np.array(sample), np.array(ks), np.array(found), np.zeros(len(ks)), counts, counts, counts, none, none)

    return solve


def calibrated(scene: scenes.Synthetic, x: Floats) -> ransac.TripletResult:
    """All that follows the minimal solver, for one set of views."""
    solve = stand_in(scene.k, scene.R, scene.t, scene.X, x)
    return ransac.calibrate_triplet(x, solve, START, principal=PRINCIPAL, size=(WIDTH, HEIGHT), settings=SETTINGS, seed=0)


def estimated(scene: scenes.Synthetic, strict: bool) -> dict[str, Any]:
    """The scene's own row, as an evaluation makes it; `strict`: the threshold stays."""
    tracks = scene.tracks()
    observations = features.Observations.of(tracks.track, tracks.view, np.stack([tracks.x, tracks.y], axis=-1))
    given = features.verified("", observations, config.Features(SETTINGS.threshold_px, 0, features.LEAST, 0))
    solve = stand_in(scene.k, scene.R, scene.t, scene.X, scene.x)
    with mock.patch.object(estimate, "solve_of", lambda _: solve):
        found = estimate.calibrations(given, "focal", START, (WIDTH, HEIGHT), PRINCIPAL, SETTINGS, 1, 0, strict=strict)
    return found[-1][0]


@dataclass(frozen=True)
class Told:
    """Relative focal errors (n,) and stated standard deviations (n,) of what was answered; how many within a raised threshold."""

    error: Floats
    sd: Floats
    raised: int

    @property
    def within(self) -> str:
        return f"{np.mean(self.error < 2 * self.sd):.0%} of {len(self.sd)}" if len(self.sd) else "none"


def told(motion: scenes.Motion, noise_px: float, count: int, strict: bool = False) -> Told:
    """Answers of the first `count` scenes; a refusal gives none."""
    found, raised = [], 0
    for seed in range(count):
        scene = made(seed, motion, noise_px)
        row = estimated(scene, strict)
        if row["status"] == "ok":
            found.append((abs(row["fx"] / scene.k[0] - 1), row["sd_f"] / row["fx"]))
            raised += "was raised" in row["reason"]
    values = np.array(found).reshape(-1, 2)
    return Told(values[:, 0], values[:, 1], raised)


def uncertainty(count: int) -> None:
    """The first table."""
    print(
        f"{'motion':8s} {'noise, px':>9s} {'answers':>9s} {'raised':>7s} {'within 2 sd':>12s} {'error':>7s} {'sd':>7s}  {'no last fit':>12s}  2 px only"
    )
    for motion in MOTIONS:
        for noise_px in NOISE_PX:
            now = told(motion, noise_px, count)
            with mock.patch.object(ransac._Run, "_settle", lambda _, found, x: (found, x)):
                before = told(motion, noise_px, count)
            held = told(motion, noise_px, count, strict=True)
            middle = f"{np.median(now.error):7.2%} {np.median(now.sd):7.2%}" if len(now.sd) else f"{'':15s}"
            print(
                f"{motion:8s} {noise_px:9g} {len(now.sd):4d} of {count:2d} {now.raised:7d} {now.within:>12s} {middle}  "
                f"{before.within:>12s}  {held.within}",
                flush=True,
            )


def distortion(count: int) -> None:
    """The second table."""
    limits = degeneracy.Limits()
    print(f"{'k1':>6s} {'warned of':>10s} {'by cost alone':>14s} {'error':>7s} {'with the term':>14s}")
    for k1 in K1:
        warned, costly, plain, radial = 0, 0, [], []
        for seed in range(count):
            scene = made(seed, "general", BENT_NOISE_PX)
            result = calibrated(scene, bent(scene, k1))
            if result.radial is None or result.refined is None:
                continue
            warned += "distortion_suspected" in result.reason
            costly += result.radial.gain > limits.distortion
            plain.append(abs(result.refined.k[0] / scene.k[0] - 1))
            radial.append(abs(result.radial.focal / scene.k[0] - 1))
        share = f"{warned} of {len(plain)}"
        print(f"{k1:6g} {share:>10s} {costly / max(1, len(plain)):14.0%} {np.median(plain):7.1%} {np.median(radial):14.1%}", flush=True)


def photographs() -> None:
    """The third table."""
    bundle = bundler.read_out(balbianello.located()[balbianello.RECONSTRUCTION])
    names = list(balbianello.PHOTOS)
    scene = balbianello.undistorted(bundler.scene(bundle, "", names, [Path(name) for name in names], [balbianello.SIZE] * len(names)))
    known, tracks = scene.views[0].reference, scene.tracks
    assert known is not None and tracks is not None
    observations = features.Observations.of(tracks.track, tracks.view, np.stack([tracks.x, tracks.y], axis=-1))
    k, principal = np.array(known.k), np.array(known.k[2:4])

    def focals() -> Floats:
        found = []
        for views in map(list, combinations(range(len(names)), 3)):
            seen, x = observations.common(views)
            if len(seen) < metrics.STRONG:
                continue
            solve = stand_in(k, bundle.R[views], bundle.t[views], bundle.X[seen], x)
            result = ransac.calibrate_triplet(x, solve, START, principal=principal, size=balbianello.SIZE, settings=SETTINGS, seed=0)
            if result.refined is not None:
                found.append(result.refined.k[0])
        return np.array(found)

    def narrow(noise_px: float, threshold_px: float) -> float:
        return min(3 * noise_px, 2 * threshold_px) if np.isfinite(noise_px) else threshold_px

    print(f"photographs, the reference is {k[0]:.1f} px")
    for label, loss in (("as it is", ransac.last_loss), ("loss without its bound", narrow)):
        with mock.patch.object(ransac, "last_loss", loss):
            found = focals()
        off = np.abs(found / k[0] - 1)
        each = ", ".join(f"{focal:.1f}" for focal in found)
        print(f"{label:23s} {each} px: median error {np.median(off):.1%}, the largest {off.max():.1%}", flush=True)


def main() -> None:
    """The tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=25, help="scenes a line of the first table")
    parser.add_argument("--bent", type=int, default=20, help="scenes a line of the second table")
    parser.add_argument("--photographs", action="store_true", help="the third table alone")
    args = parser.parse_args()
    began = time.process_time()
    if not args.photographs:
        uncertainty(args.scenes)
        print()
        distortion(args.bent)
        print()
    photographs()
    print(f"\n{time.process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()

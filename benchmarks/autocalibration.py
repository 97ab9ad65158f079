"""The solvers: CPU seconds an instance, the tracker against plain NumPy, and accuracy for CPU time against PoseLib's 6 points.

    python benchmarks/autocalibration.py [--instances 1000] [--repeats 3] [--thorough 40] [--slow]

Prints one JSON object; both sides of a ratio run in turn on the same input. Times are CPU seconds of one thread, so that a busy
machine does not count; compilation is not counted but shown (`compile_s`: of the loop, without numba's cache; `first_s`: a first instance).
`--slow` adds `zero_skew`, whose start system takes minutes.
    solvers   noise-free instances (`exact.instances`: random focal lengths, general motion): seconds an instance, paths a second, linear solves
              a path, share of lost paths, share of instances with the true K among the roots (1e-6) with its Clopper-Pearson interval (95 %).
              `focal`: at most 0.12 s, at most 3 % lost; no instance missed, of both. `floor_s`: the multiplications and additions of its solves
              at one vector operation of 8 numbers a cycle and 2.3 GHz.
    thorough  instances of `focal` of which small steps on every path (`CAREFUL`) find more real roots, and more possible cameras, than
              `focal.solve` does; and of which they find fewer.
    batch     seconds an instance of `focal` by the number of instances tracked at once.
    tracker   the same paths by a NumPy program of some forty lines: a path at a time (at least 20 times slower), and all at once.
              Wherever both arrive, they arrive at a solution; nearly always at the same one.
    pairs     median focal error and seconds a scene, 0.5 px, no wrong matches, general motion and orbits: `samples` instances of `focal`
              (median of their best candidates), PoseLib's shared-focal RANSAC, and its fundamental matrix with Bougnoux's formula on the
              three pairs. None is refined by us.
Exit code 1 if one of them fails.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt
from _turns import turns

from tenfold.autocalibration import bougnoux, exact, focal, focal2v, geometry, monodromy, solving, taxonomy, zero_skew
from tenfold.autocalibration.equations import homogeneous
from tenfold.autocalibration.problems import Problem, conic, terms
from tenfold.autocalibration.program import compiled
from tenfold.autocalibration.solving import normalised
from tenfold.autocalibration.start_system import StartSystem
from tenfold.autocalibration.tracker import CAREFUL, FAST, FOUND, TIGHT, track

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]
_CHUNK = 50
SIZE, FOCAL = (640, 480), 700.0
PRINCIPAL = np.array([320.0, 240.0])
SOLVERS = {"focal": focal, "focal2v": focal2v, "zero_skew": zero_skew}


def turned(axis: Float) -> Float:
    """Rotation by |axis| rad about `axis`."""
    angle = float(np.linalg.norm(axis))
    x, y, z = axis / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def scene(rng: np.random.Generator, views: int, points: int, noise: float = 0.0, orbit: bool = False) -> Float:
    """Image points (views, points, 2) px of points in the frames of all views; orbit: optical axes meet, at equal distance."""
    k = np.array([FOCAL, FOCAL, *PRINCIPAL, 0.0])
    while True:
        world = rng.uniform([-2.2, -1.6, 5.0], [2.2, 1.6, 9.0], (points, 3))
        rotations, moves = [np.eye(3)], [np.zeros(3)]
        for view in range(1, views):
            if orbit:
                axis = np.array([0.0, 1.0, 0.0]) * np.deg2rad(12.0 * view) * (1 if view % 2 else -1)
            else:
                axis = rng.standard_normal(3)
                axis *= np.deg2rad(rng.uniform(9, 21)) / np.linalg.norm(axis)
            rotation = turned(axis)
            middle = np.array([0.0, 0.0, 7.0])
            rotations.append(rotation)
            moves.append(middle - rotation @ middle + (0.0 if orbit else rng.uniform(-1.5, 1.5, 3)))
        x = geometry.project(k, np.array(rotations), np.array(moves), world)
        if ((x > 0) & (x < np.array(SIZE))).all():
            return np.asarray(x + noise * rng.standard_normal(x.shape))


def instances(module: ModuleType, number: int, seed: int) -> Float:
    """Noise-free samples (number, views, points, 2) px."""
    rng = np.random.default_rng([seed, module.POINTS])
    return np.stack([scene(rng, module.VIEWS, module.POINTS) for _ in range(number)])


def start_of(name: str) -> tuple[StartSystem, float]:
    """A start system from one monodromy run and a choice among six base points, and the CPU seconds that took."""
    module = SOLVERS[name]
    began = time.process_time()
    found, growth = monodromy.find(taxonomy.choose(module.ID), 0, 4)
    validation = normalised(instances(module, 10, 1), PRINCIPAL)[0].astype(np.complex128)
    best, _ = monodromy.at_best_base(found, 8, validation, np.random.default_rng(0), FAST, growth)
    return best, time.process_time() - began


def solver(name: str, start: StartSystem, number: int) -> dict[str, float]:
    """One solver on noise-free instances."""
    module = SOLVERS[name]
    given = exact.instances(start.problem, number, 0)
    hits, roots, seconds, solves, lost = 0, 0, 0.0, 0.0, 0.0
    for low in range(0, number, _CHUNK):
        x, k = given.x[low : low + _CHUNK], given.k[low : low + _CHUNK]
        began = time.process_time()
        found = module.solve(x, start, principal=PRINCIPAL, size=SIZE, threads=1)
        seconds += time.process_time() - began
        right = np.abs(found.k - k[found.sample]).max(axis=1) < exact.TOLERANCE * k[found.sample, 0]
        hits += len(np.unique(found.sample[right]))
        roots += len(found.sample)
        solves, lost = solves + float(found.solves.sum()), lost + float(found.lost.sum())
    paths = number * start.degree
    program = compiled(start.problem)
    # a complex multiplication-addition is four real ones that fuse
    vectors = 4 * program.multiplications + 2 * (len(program.code) - program.multiplications) + 6 * len(program.moving)
    low_end, high_end = interval(hits, number)
    return {
        "paths": start.degree,
        "instance_s": seconds / number,
        "paths_per_s": paths / seconds,
        "solves_per_path": solves / paths,
        "solve_us": 1e6 * seconds / solves,
        "floor_s": solves / number * vectors / 8 / 2.3e9,
        "lost": lost / paths,
        "instances": number,
        "missed": number - hits,
        "found": hits / number,
        "found_low": low_end,
        "found_high": high_end,
        "candidates": roots / number,
    }


def interval(hits: int, number: int) -> tuple[float, float]:
    """Clopper-Pearson, 95 %."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, number - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, number - hits)) if hits < number else 1.0


def thorough(start: StartSystem, number: int) -> dict[str, float]:
    """What `focal.solve` misses, and what it alone finds, beside a tracking that takes small steps on every path."""
    x = exact.instances(start.problem, number, 0).x
    ours = focal.solve(x, start, principal=PRINCIPAL, size=SIZE, threads=1)
    began = time.process_time()
    small = solving.solve(focal.KIND, focal.VIEWS, focal.POINTS, x, start, PRINCIPAL, SIZE, options=CAREFUL, threads=1, again=(TIGHT,))
    return {
        "instances": number,
        "missed_real": int((small.real > ours.real).sum()),
        "missed_possible": int((small.physical > ours.physical).sum()),
        "more_real": int((small.real < ours.real).sum()),
        "more_possible": int((small.physical < ours.physical).sum()),
        "instance_s": (time.process_time() - began) / number,
    }


def compile_seconds() -> float:
    """Seconds that numba takes for the loop where nothing is cached, in a process of its own."""
    code = (
        "import time, numpy as np; from tenfold.autocalibration import monodromy, taxonomy; t = time.process_time(); "
        "monodromy.find(taxonomy.choose('2V5P'), 0, 1); a = time.process_time(); monodromy.find(taxonomy.choose('2V5P'), 0, 1); "
        "print(2 * a - t - time.process_time())"
    )
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": cache}, check=True, capture_output=True, text=True
        )
    return float(done.stdout)


def batch(start: StartSystem, sizes: tuple[int, ...] = (1, 4, 16, 64)) -> dict[str, float]:
    """Seconds an instance of `focal` by batch size, one thread."""
    x = instances(focal, max(sizes), 3)
    seconds = {}
    for size in sizes:
        began = time.process_time()
        for low in range(0, 16, size) if size < 16 else (0,):
            focal.solve(x[low : low + size], start, principal=PRINCIPAL, size=SIZE, threads=1)
        seconds[str(size)] = (time.process_time() - began) / max(size, 16)
    return seconds


class Plain:
    """A path tracker in NumPy alone: Runge-Kutta predictor, Newton corrector, a step of its own for each path; no line of the fast one."""

    def __init__(self, problem: Problem, base: Complex, target: Complex) -> None:
        self.problem, self.base, self.speed = problem, base, target - base
        self.view, self.p, self.q = problem.rows.T

    def system(self, u: Complex, t: Float) -> tuple[Complex, Complex, Complex]:
        """F (paths, n), its derivative by the unknowns (paths, n, n) and by t (paths, n)."""
        problem, free, points = self.problem, self.problem.free, self.problem.points
        rows, paths = np.arange(len(self.view)), len(u)
        m = np.ones((paths, problem.views, points), complex)
        z = np.ones((paths, problem.views), complex)
        column = np.full((problem.views, points), problem.unknowns)  # of m; the last, kept apart, takes what is known
        for view in range(problem.views):
            at = free if view == 0 else free + points - 1 + (view - 1) * points
            column[view, 1:] = np.arange(at, at + points - 1)
            m[:, view, 1:] = u[:, column[view, 1:]]
            if view:
                z[:, view] = u[:, at + points - 1]
        w = conic(problem.kind, u[:, :free])
        x = homogeneous(self.base + t[:, None, None, None] * self.speed)
        dx = np.concatenate([self.speed, np.zeros((*self.speed.shape[:-1], 1))], axis=-1)
        F = np.zeros((paths, len(rows)), complex)
        J = np.zeros((paths, len(rows), problem.unknowns + 1), complex)
        Ft = np.zeros_like(F)
        for view, sign in ((np.zeros_like(self.view), np.ones((paths, len(rows)), complex)), (self.view, -z[:, self.view])):
            mp, mq = m[:, view, self.p, None], m[:, view, self.q, None]
            xp, xq = x[:, view, self.p], x[:, view, self.q]
            d = mp * xp - mq * xq
            wd = np.einsum("sij,sej->sei", w, d)
            square = (d * wd).sum(-1)
            F += sign * square
            Ft += 2 * sign * ((mp * dx[view, self.p] - mq * dx[view, self.q]) * wd).sum(-1)
            J[:, rows, column[view, self.p]] += 2 * sign * (xp * wd).sum(-1)
            J[:, rows, column[view, self.q]] -= 2 * sign * (xq * wd).sum(-1)
            J[:, :, :free] += sign[..., None] * terms(problem.kind, d, d)[..., 1:]
        J[:, rows, column[self.view, 1] + points - 1] -= square
        return F, J[:, :, :-1], Ft

    def tangent(self, u: Complex, t: Float) -> Complex:
        _, J, Ft = self.system(u, t)
        return -np.linalg.solve(J, Ft[..., None])[..., 0]

    def newton(self, u: Complex, t: Float) -> tuple[Complex, Float]:
        F, J, _ = self.system(u, t)
        step = np.linalg.solve(J, F[..., None])[..., 0]
        return u - step, np.abs(step).max(1) / np.maximum(1.0, np.abs(u).max(1))

    def track(self, starts: Complex) -> tuple[Complex, npt.NDArray[np.bool_]]:
        """Ends of the paths (paths, n), and which arrived."""
        u, t, h, easy = starts.copy(), np.zeros(len(starts)), np.full(len(starts), 0.02), np.zeros(len(starts), int)
        live = np.ones(len(starts), bool)
        while live.any():
            on = np.flatnonzero(live)
            step = np.minimum(h[on], 1 - t[on])
            s = step[:, None]
            k1 = self.tangent(u[on], t[on])
            k2 = self.tangent(u[on] + s / 2 * k1, t[on] + step / 2)
            k3 = self.tangent(u[on] + s / 2 * k2, t[on] + step / 2)
            k4 = self.tangent(u[on] + s * k3, t[on] + step)
            new = u[on] + s / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            for _ in range(3):
                new, error = self.newton(new, t[on] + step)
            good = error < 1e-8
            u[on[good]], t[on[good]] = new[good], (t[on] + step)[good]
            easy[on] = np.where(good, easy[on] + 1, 0)
            grow = easy[on] >= 3
            h[on] = np.where(good, np.where(grow, 2 * h[on], h[on]), step / 2)
            easy[on[grow]] = 0
            live[on] = (t[on] < 1) & (h[on] > 1e-7)
        return u, t >= 1


def tracker(start: StartSystem, paths: int, repeats: int) -> dict[str, float]:
    """The same paths of one instance of `focal` by the compiled tracker and by `Plain`, one at a time and together."""
    target = normalised(instances(focal, 1, 4), PRINCIPAL)[0].astype(np.complex128)
    plain = Plain(start.problem, start.base, target[0])
    some = start.solutions[:paths]

    def alone() -> None:
        for path in some:
            plain.track(path[None])

    works: dict[str, Callable[[], object]] = {
        "ours": lambda: track(start.problem, start.base, some, target, threads=1),
        "alone": alone,
        "together": lambda: plain.track(some),
    }
    seconds = turns(works, repeats)
    ours, (ends, arrived) = track(start.problem, start.base, some, target, threads=1), plain.track(some)
    both = arrived & (ours.status[0] == FOUND)
    same = np.abs(ends[both] - ours.ends[0][both]).max(1) <= 1e-6 * np.maximum(1.0, np.abs(ends[both]).max(1))
    return {
        "paths": len(some),
        **{f"{name}_ms_per_path": 1e3 * value / len(some) for name, value in seconds.items()},
        "ratio": seconds["alone"] / seconds["ours"],
        "ratio_together": seconds["together"] / seconds["ours"],
        "same_ends": float(same.mean()),
        "arrived": float(arrived.mean()),
    }


def best_focals(start: StartSystem, x: Float, samples: int, rng: np.random.Generator) -> float:
    """Focal length (px) of the candidate, among those of `samples` instances, with the least median Sampson error in all pairs; NaN if none."""
    chosen = np.stack([x[:, rng.choice(x.shape[1], 4, replace=False)] for _ in range(samples)])
    found = focal.solve(chosen, start, principal=PRINCIPAL, size=SIZE, threads=1)
    least, value = np.inf, np.nan
    for sample, k, depths in zip(found.sample, found.k, found.depths, strict=True):
        R, t, _ = geometry.poses_from_depths(k, chosen[sample], depths)
        errors = []
        for i, j in ((0, 1), (0, 2), (1, 2)):
            R_ij, t_ij = geometry.relative(R, t, i, j)
            errors.append(geometry.sampson(geometry.fundamental(k, R_ij, t_ij), x[i], x[j]))
        score = float(np.minimum(np.concatenate(errors), 16.0).mean())
        if score < least:
            least, value = score, float(k[0])
    return value


def six_points(x: Float, seed: int) -> float:
    """PoseLib's shared-focal RANSAC, median over the three pairs (px)."""
    import poselib

    found = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        options = {"max_epipolar_error": 2.0, "seed": seed, "min_iterations": 200, "max_iterations": 1000}
        pair, _ = poselib.estimate_shared_focal_relative_pose(x[i] - PRINCIPAL, x[j] - PRINCIPAL, np.zeros(2), options, {})
        found.append(float(pair.camera1.params[0]))
    return float(np.median(found))


def fundamental(x: Float) -> float:
    """PoseLib's fundamental matrix by RANSAC and Bougnoux's formula, median over the pairs (px). NaN if none gives a focal length."""
    import poselib

    found: list[float] = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        matrix, _ = poselib.estimate_fundamental(x[i], x[j], {"max_epipolar_error": 2.0}, {})
        found += [float(each) for each in bougnoux.focals(np.asarray(matrix), PRINCIPAL)]
    return float(np.nanmedian(found)) if np.isfinite(found).any() else np.nan


def pairs(start: StartSystem, scenes: int, samples: int = 8) -> dict[str, dict[str, float]]:
    """Median relative error and CPU seconds a scene of both, before any refinement of ours."""
    made: dict[str, dict[str, float]] = {}
    for motion in ("general", "orbit"):
        rng = np.random.default_rng([5, motion == "orbit"])
        ours, rival, formula, ours_s, rival_s, formula_s = [], [], [], 0.0, 0.0, 0.0
        for number in range(scenes):
            x = scene(rng, 3, 100, 0.5, motion == "orbit")
            began = time.process_time()
            ours.append(best_focals(start, x, samples, rng))
            middle = time.process_time()
            rival.append(six_points(x, number))
            end = time.process_time()
            formula.append(fundamental(x))
            ours_s, rival_s, formula_s = ours_s + middle - began, rival_s + end - middle, formula_s + time.process_time() - end
        error = {
            name: np.nan_to_num(np.abs(np.array(values) / FOCAL - 1), nan=1.0)
            for name, values in (("ours", ours), ("rival", rival), ("formula", formula))
        }
        made[motion] = {
            "ours_median": float(np.median(error["ours"])),
            "six_points_median": float(np.median(error["rival"])),
            "fundamental_median": float(np.median(error["formula"])),
            "ours_s": ours_s / scenes,
            "fundamental_s": formula_s / scenes,
            "six_points_s": rival_s / scenes,
            "cost_ratio": ours_s / rival_s,
        }
    return made


def main() -> int:
    """Print the numbers; 0 if all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--thorough", type=int, default=40)
    parser.add_argument("--slow", action="store_true")
    args = parser.parse_args()
    names = [name for name in SOLVERS if name != "zero_skew" or args.slow]
    solved: dict[str, dict[str, float]] = {}
    starts: dict[str, StartSystem] = {}
    for name in names:
        starts[name], offline = start_of(name)
        began = time.process_time()
        solver(name, starts[name], 1)
        warm = time.process_time() - began
        solved[name] = {"offline_s": offline, "first_s": warm, **solver(name, starts[name], args.instances)}
    tracked = tracker(starts["focal"], 16, args.repeats)
    found = {
        "compile_s": compile_seconds(),
        "solvers": solved,
        "thorough": thorough(starts["focal"], args.thorough),
        "batch": batch(starts["focal"]),
        "tracker": tracked,
        "pairs": pairs(starts["focal"], args.scenes),
    }
    met = {
        "focal at most 0.12 s": solved["focal"]["instance_s"] <= 0.12,
        "no true root missed": all(each["missed"] == 0 for name, each in solved.items() if name != "zero_skew"),
        "focal loses at most 3 %": solved["focal"]["lost"] <= 0.03,
        "tracker at least 20x": tracked["ratio"] >= 20,
        "same ends": tracked["same_ends"] >= 0.9,
    }
    print(json.dumps({**found, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

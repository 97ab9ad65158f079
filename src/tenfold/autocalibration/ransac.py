"""One triplet (or pair) of views: minimal samples, candidates scored on all tracks, the best few refined, a verdict (section 2.6).

The answer depends on the seed, never on the order of the tracks, the number of threads or the size of a batch.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core.errors import UsageError

if TYPE_CHECKING:
    from tenfold.autocalibration.ba import Refined
    from tenfold.autocalibration.degeneracy import Radial
    from tenfold.autocalibration.roots import Candidates

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Solver = Callable[..., "Candidates"]

LEAST = 12  # tracks in all views without which no K is given
BATCH = 8  # samples solved at once; after each batch the clock is looked at
DRAWS = 12  # subsets of which the most spread one becomes a sample
# A homography's distance has two directions and the noise of both images in it, an epipolar one neither: sqrt(2 * 5.99 / 3.84).
PLANAR = 1.77
SCORED = 400  # tracks on which candidates are scored
POLISHED = 120  # tracks of the first refinement of a candidate
FINALISTS = 6  # candidates that are refined
CHUNK = 256  # candidates scored at once
SAME = 0.03  # relative difference of focals under which two candidates are one
RIVAL = 0.15  # another optimum so far off in focal, and ...
AS_GOOD = 1.03  # ... with a score up to this factor of the best one, makes the answer ambiguous
NEAR = 3.0  # times the threshold: a track that misses it by less is no wrong match, but noise
NOISY = 0.3  # share of such tracks beyond which the threshold cuts the noise in two
SOUND = (0.2, 6.0)  # focal of a result over the image's longer side


@dataclass(frozen=True)
class Settings:
    """Samples a triplet, inlier threshold (px), and the time a scene may take (s; None: no limit)."""

    samples: int
    threshold_px: float
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.threshold_px > 0 or (self.max_seconds is not None and not self.max_seconds > 0):
            raise UsageError(f"{self}: samples, threshold_px and max_seconds must be above 0")


@dataclass(frozen=True)
class Estimate:
    """A camera: k and sd (5,) in px (sd NaN before refinement), k1, poses R (V, 3, 3), t (V, 3), inlier tracks, score in px^2 a track."""

    k: Floats
    sd: Floats
    k1: float
    R: Floats
    t: Floats
    inliers: int
    cost: float


@dataclass(frozen=True)
class TripletResult:
    """Answer for one set of views.

    `minimal` is the best candidate before, `refined` after refinement; None with a `status` that says why. `mask` (n,): inlier tracks in
    the order of the input. `rivals` (m, 5): other refined cameras, the best first. `radial`: the fit with a radial term, where there was
    a result; `near`: share of tracks just beyond the threshold, see `beyond`. Times are CPU seconds of all threads.
    """

    minimal: Estimate | None
    refined: Estimate | None
    status: str
    reason: str
    tracks: int
    mask: Bools
    rivals: Floats
    hypotheses: int = 0
    roots: int = 0
    real: int = 0
    physical: int = 0
    lost: int = 0
    cpu_minimal_s: float = 0.0
    cpu_s: float = 0.0
    radial: "Radial | None" = None
    near: float = 0.0


def calibrate_triplet(
    x: Floats,
    solver: Solver,
    start: StartSystem,
    *,
    principal: Floats,
    size: tuple[int, int],
    settings: Settings,
    seed: int,
    fundamentals: Sequence[Floats | None] | None = None,
    kind: str = "",
) -> TripletResult:
    """Calibrate from tracks x (V, n, 2) px that all V views see; V and the number of points are those of `start`.

    Args:
        solver: `solve` of the solver's module.
        principal: (2,) px, known or a first guess.
        size: width, height in px.
        fundamentals: F (3, 3) of the pairs (0, 1), (0, 2), ..., if they are known from more tracks than these.
        kind: what is unknown of K, where the solver knows more of it than `start` (square pixels); default: that of `start`.

    Tracks with a coordinate that is no number, or that share a point with another track, are left out. UsageError for another number of
    views.
    """
    from tenfold.autocalibration import degeneracy

    began = time.process_time()
    x = np.asarray(x, dtype=np.float64)
    problem = start.problem
    if x.ndim != 3 or x.shape[0] != problem.views or x.shape[2] != 2:
        raise UsageError(f"tracks of shape {x.shape}: the solver needs (views, tracks, 2) with {problem.views} views")
    kept = usable(x)
    order = kept[np.lexsort(x[:, kept].transpose(0, 2, 1).reshape(2 * len(x), len(kept)))]
    points = x[:, order]
    threshold = settings.threshold_px
    pairs = epipolar(points, threshold, seed, fundamentals)
    least = max(LEAST, 2 * problem.points)
    fits = np.logical_and.reduce([inliers for _, inliers in pairs])
    pool = np.flatnonzero(fits)
    nothing = TripletResult(None, None, "too_few", "", len(order), np.zeros(x.shape[1], dtype=bool), np.zeros((0, 5)))
    if len(order) < least or len(pool) < least:
        seen = f"Only {len(order)} points are seen in all {len(x)} views"
        reason = f"{seen}, {len(pool)} of them fit the epipolar geometry of all pairs; at least {least} are needed."
        return replace(nothing, reason=reason, cpu_s=time.process_time() - began)
    # F of a rotation or a plane has freedom left to take wrong matches in; few of them fit all pairs
    first = degeneracy.of_matches(
        points, threshold_px=PLANAR * threshold, size=size, minimum=least, seed=seed, fundamentals=[(F, fits) for F, _ in pairs]
    )
    if first.status != "ok":
        return replace(nothing, status=first.status, reason=first.reason, cpu_s=time.process_time() - began)
    samples = draw(points[:, pool], problem.points, settings.samples, np.random.default_rng([seed, problem.points]))
    if not len(samples):
        reason = "The points lie on a line, or on a few places: no sample of them determines a camera."
        return replace(nothing, status="no_solution", reason=reason, cpu_s=time.process_time() - began)
    run = _Run(points, pool, solver, start, np.asarray(principal, dtype=np.float64), size, settings, kind or problem.kind)
    counts = run.search(samples)
    searched = replace(
        nothing, hypotheses=counts["hypotheses"], roots=counts["roots"], real=counts["real"], physical=counts["physical"],
        lost=counts["lost"], cpu_minimal_s=time.process_time() - began,
    )  # fmt: skip
    result = run.conclude(searched, order)
    return replace(result, cpu_s=time.process_time() - began)


def usable(x: Floats) -> Ints:
    """Columns of x (V, n, 2) that are numbers and share no image point with another column; of equal columns one is kept."""
    finite = np.flatnonzero(np.isfinite(x).all(axis=(0, 2)))
    columns = x[:, finite].transpose(1, 0, 2).reshape(len(finite), x.shape[0] * 2)
    single = np.sort(np.unique(columns, axis=0, return_index=True)[1]) if len(finite) else finite
    good = np.ones(len(single), dtype=bool)
    for view in x[:, finite[single]]:
        _, back, counts = np.unique(view, axis=0, return_inverse=True, return_counts=True)
        good &= counts[back.ravel()] == 1
    return finite[single[good]]


def epipolar(points: Floats, threshold_px: float, seed: int, known: Sequence[Floats | None] | None) -> list[tuple[Floats | None, Bools]]:
    """F and inliers (n,) of each pair of views; an F that is known from more tracks is kept."""
    from tenfold.autocalibration import two_view

    found = []
    for at, (i, j) in enumerate(combinations(range(len(points)), 2)):
        F = known[at] if known else None
        if F is None:
            found.append(two_view.fundamental_ransac(points[i], points[j], threshold_px, seed))
        else:
            found.append((F, geometry.sampson(F, points[i], points[j]) <= threshold_px**2))
    return found


def draw(points: Floats, count: int, samples: int, rng: np.random.Generator) -> Ints:
    """Columns (samples, count) of points (V, n, 2): of some random subsets the one whose least triangle, in any view, is largest.

    Samples whose points all but lie on a line are left out, so there may be fewer, or none.
    """
    tracks = points.shape[1]
    order = np.argsort(rng.random((samples * DRAWS, tracks)), axis=1)[:, :count] if tracks < 64 else _subsets(tracks, count, samples, rng)
    order = order.reshape(samples, DRAWS, count)
    triples = np.array(list(combinations(range(count), 3)))
    spread = np.ptp(points, axis=1).max(axis=1)
    least = np.full((samples, DRAWS), np.inf)
    for view, extent in zip(points, spread, strict=True):
        corner = view[order[..., triples]]  # (samples, draws, triples, 3, 2)
        one, two = corner[..., 1, :] - corner[..., 0, :], corner[..., 2, :] - corner[..., 0, :]
        area = np.abs(one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]) / max(extent, 1e-12) ** 2
        least = np.minimum(least, area.min(axis=-1))
    best = least.argmax(axis=1)
    chosen = order[np.arange(samples), best]
    return np.sort(chosen[least[np.arange(samples), best] > 1e-4], axis=1)


def _subsets(tracks: int, count: int, samples: int, rng: np.random.Generator) -> Ints:
    """Random subsets (samples * DRAWS, count) without repetition, for many tracks."""
    found = rng.integers(0, tracks, (samples * DRAWS, count))
    while len(again := np.flatnonzero((np.diff(np.sort(found, axis=1), axis=1) == 0).any(axis=1))):
        found[again] = rng.integers(0, tracks, (len(again), count))
    return found


def score(k: Floats, R: Floats, t: Floats, points: Floats, threshold_px: float) -> Floats:
    """Mean truncated Sampson error (M,) in px^2 of cameras k (M, 5), R (M, V, 3, 3), t (M, V, 3) over tracks and pairs of views."""
    total = np.zeros(len(k))
    pairs = list(combinations(range(len(points)), 2))
    for begin in range(0, len(k), CHUNK):
        part = slice(begin, begin + CHUNK)
        for i, j in pairs:
            F = geometry.fundamental(k[part], *geometry.relative(R[part], t[part], i, j))
            squared = geometry.sampson(F, points[i], points[j])
            total[part] += np.minimum(np.where(np.isfinite(squared), squared, np.inf), threshold_px**2).mean(axis=1)
    return total / len(pairs)


def beyond(errors: Floats, threshold_px: float) -> float:
    """Of the tracks whose largest error (V, n) is under NEAR times the threshold, the share over it."""
    largest = errors.max(axis=0)
    near = largest <= NEAR * threshold_px
    return float((largest[near] > threshold_px).mean()) if near.any() else 0.0


def truncated(errors: Floats, threshold_px: float) -> float:
    """Mean over tracks of the mean truncated squared distance of reprojection: px^2, NaN not counted, behind a camera counts fully."""
    squared = np.minimum(np.nan_to_num(errors, nan=0.0, posinf=np.inf) ** 2, threshold_px**2)
    return float(squared.sum() / max(1, np.isfinite(errors).sum() + np.isinf(errors).sum()))


@dataclass
class _Candidate:
    """A camera with its score."""

    k: Floats
    R: Floats
    t: Floats
    score: float


class _Run:
    """State of one call: `points` (V, n, 2) in canonical order, `pool`: those that fit the epipolar geometry."""

    def __init__(
        self, points: Floats, pool: Ints, solver: Solver, start: StartSystem, principal: Floats, size: tuple[int, int], settings: Settings,
        kind: str,
    ) -> None:  # fmt: skip
        self.points, self.pool, self.solver, self.start = points, pool, solver, start
        self.principal, self.size, self.settings, self.kind = principal, size, settings, kind
        self.scored = points[:, _thinned(np.arange(points.shape[1]), SCORED)]
        self.best: list[_Candidate] = []

    def search(self, samples: Ints) -> dict[str, int]:
        """Solve the samples, score their candidates, keep the best that differ; the counts of what was done."""
        counts = dict.fromkeys(("hypotheses", "roots", "real", "physical", "lost"), 0)
        began = time.monotonic()
        limit = self.settings.max_seconds
        for begin in range(0, len(samples), BATCH):
            if begin and limit is not None and time.monotonic() - began > limit:
                break
            part = samples[begin : begin + BATCH]
            x = self.points[:, self.pool[part]].swapaxes(0, 1)  # (S, V, N, 2)
            found = self.solver(x, self.start, principal=self.principal, size=self.size)
            counts["hypotheses"] += len(part)
            for name in ("roots", "real", "physical", "lost"):
                counts[name] += int(getattr(found, name).sum())
            if len(found.k):
                R, t, _ = geometry.poses_from_depths(found.k, x[found.sample], found.depths)
                self._keep(found.k, R, t)
        return counts

    def _keep(self, k: Floats, R: Floats, t: Floats) -> None:
        scores = score(k, R, t, self.scored, self.settings.threshold_px)
        several = [
            *self.best,
            *(_Candidate(k[at], R[at], t[at], float(scores[at])) for at in np.argsort(scores, kind="stable")[: 4 * FINALISTS]),
        ]
        several.sort(key=lambda each: each.score)
        self.best = []
        for each in several:
            if len(self.best) < FINALISTS and not any(_alike(each, other) for other in self.best):
                self.best.append(each)

    def conclude(self, result: TripletResult, order: Ints) -> TripletResult:
        """Refine the best candidates, judge the winner."""
        from tenfold.autocalibration import degeneracy

        threshold = self.settings.threshold_px
        if not self.best:
            reason = "No real camera explains any sample; check the assumed kind of camera and the principal point."
            return replace(result, status="no_solution", reason=reason)
        top = self.best[0]
        nan = np.full(5, np.nan)
        close = geometry_inliers(top.k, top.R, top.t, self.points, threshold)
        minimal = Estimate(top.k, nan, 0.0, top.R, top.t, int(close.sum()), top.score)
        polished = sorted((each for each in map(self._polish, self.best) if each is not None), key=lambda each: each.score)
        final = self._finish(polished[0]) if polished else None
        if final is None:
            reason = "Refinement leads no candidate to a camera that explains the points."
            return replace(result, minimal=minimal, status="no_solution", reason=reason)
        refined, x = final
        radial = degeneracy.fit_radial(x, refined, kind=self.kind, loss_px=threshold / 2)
        candidates = int(np.isfinite(x).all(axis=(0, 2)).sum())
        refined, x = self._settle(refined, x)
        verdict = degeneracy.of_result(
            x, refined, kind=self.kind, loss_px=threshold / 2, minimum=LEAST, distortion=False, radial=radial, tracks=candidates
        )
        errors = self._errors(refined.k, refined.R, refined.t)
        inlier = (errors <= threshold).all(axis=0)
        estimate = Estimate(refined.k, refined.sd, refined.k1, refined.R, refined.t, int(inlier.sum()), truncated(errors, threshold))
        rivals = [each for each in polished[1:] if abs(np.log(each.k[0] / refined.k[0])) > SAME]
        status, reason = verdict.status, verdict.reason
        as_good = [each for each in rivals if abs(np.log(each.k[0] / refined.k[0])) > RIVAL and each.score <= AS_GOOD * polished[0].score]
        if status == "ok" and as_good:
            status, reason = "low_confidence", f"A focal of {as_good[0].k[0]:.0f} px explains the points as well as {refined.k[0]:.0f} px."
        if status.startswith("degenerate") or status == "too_few":
            estimate_or_none, minimal_or_none = None, None  # whatever was fitted says nothing about K
        else:
            estimate_or_none, minimal_or_none = estimate, minimal
        near = beyond(errors, threshold)
        if status == "ok" and "distortion_suspected" not in verdict.warnings and near > NOISY:
            status = "low_confidence"
            reason = (
                f"Many points miss the inlier threshold of {threshold:g} px by little: the noise is too large for it, "
                "so the result and its uncertainty cannot be trusted; take sharper photos, or raise the threshold."
            )
        said = "; ".join([*([reason] if reason else []), *(f"{name}: {text}" for name, text in sorted(verdict.warnings.items()))])
        mask = result.mask.copy()
        mask[order] = inlier
        others = np.stack([each.k for each in rivals]) if rivals else np.zeros((0, 5))
        return replace(
            result,
            minimal=minimal_or_none,
            refined=estimate_or_none,
            status=status,
            reason=said,
            mask=mask,
            rivals=others,
            radial=radial,
            near=near,
        )

    def _polish(self, given: _Candidate) -> _Candidate | None:
        """Local optimisation on the pool's tracks, wide loss first; score on all tracks."""
        threshold = self.settings.threshold_px
        x = self.points[:, _thinned(self.pool, POLISHED)]
        k, R, t = given.k, given.R, given.t
        for loss, steps in ((2 * threshold, 8), (threshold / 2, 12)):
            moved = self._refine(k, R, t, x, loss, steps)
            if moved is None:
                return None
            k, R, t = moved.k, moved.R, moved.t
        if not self._sound(k):
            return None
        return _Candidate(k, R, t, truncated(self._errors(k, R, t, self.scored), threshold))

    def _finish(self, given: _Candidate) -> "tuple[Refined, Floats] | None":
        """Refinement to convergence on the tracks that fit, chosen again twice; the result and its tracks (V, n, 2), NaN: not used."""
        threshold = self.settings.threshold_px
        k, R, t = given.k, given.R, given.t
        x: Floats = np.zeros((len(self.points), 0, 2))
        found: Refined | None = None
        in_pool = np.zeros(self.points.shape[1], dtype=bool)
        in_pool[self.pool] = True
        for _ in range(3):
            errors = self._errors(k, R, t).max(axis=0)
            # what fits the epipolar geometry but not the model may be distortion: it stays, up to a bound, so that this is seen
            chosen = (errors <= threshold) | (in_pool & (errors <= 4 * threshold))
            if chosen.sum() < self.start.problem.points:
                return None
            used = np.concatenate([self.points[:, chosen], self._halves(k, R, t, self.points[:, ~chosen])], axis=1)
            if found is not None and np.array_equal(used, x, equal_nan=True):
                break
            x = used
            found = self._refine(k, R, t, x, threshold / 2, 50)
            if found is None or not self._sound(found.k):
                return None
            k, R, t = found.k, found.R, found.t
        assert found is not None
        return found, x

    def _settle(self, found: "Refined", x: Floats) -> "tuple[Refined, Floats]":
        """The result and its tracks, fitted again to those that are inliers in every view, with a loss that is wide beside their noise.

        A loss as narrow as the noise lets a point follow two views and give up the third: that costs accuracy, and the standard deviation
        comes out too small. So it is widened with the noise.
        """
        threshold = self.settings.threshold_px
        for _ in range(3):
            chosen = (self._errors(found.k, found.R, found.t) <= threshold).all(axis=0)
            loss = last_loss(found.noise_px, threshold)
            used = self.points[:, chosen]
            again = self._refine(found.k, found.R, found.t, used, loss, 50, threshold) if chosen.sum() >= LEAST else None
            if again is None or not self._sound(again.k):
                break
            found, x = again, used
        return found, x

    def _halves(self, k: Floats, R: Floats, t: Floats, points: Floats) -> Floats:
        """Of tracks with a wrong point in one of three views: the two points (V, m, 2) that fit, NaN in the third."""
        if len(points) < 3 or not points.shape[1]:
            return points[:, :0]
        best, kept = np.full(points.shape[1], self.settings.threshold_px), np.full(points.shape, np.nan)
        for i, j in combinations(range(len(points)), 2):
            part = np.full(points.shape, np.nan)
            part[[i, j]] = points[[i, j]]
            errors = self._errors(k, R, t, part)[[i, j]].max(axis=0)
            better = errors < best
            best[better], kept[:, better] = errors[better], part[:, better]
        return kept[:, np.isfinite(kept).any(axis=(0, 2))]

    def _refine(
        self, k: Floats, R: Floats, t: Floats, x: Floats, loss_px: float, iterations: int, inlier_px: float | None = None
    ) -> "Refined | None":
        from tenfold.autocalibration import ba

        if not (np.isfinite(k).all() and np.isfinite(R).all() and np.isfinite(t).all() and np.linalg.norm(t[1]) > 0):
            return None
        X = geometry.triangulate(k, R, t, x)
        ahead: Bools = np.asarray(np.isfinite(X).all(axis=1))
        ahead[ahead] = (geometry.to_camera(R, t, X[ahead])[..., 2] > 0).all(axis=0)
        if ahead.sum() < self.start.problem.points:
            return None
        X[~ahead] = np.nan
        return ba.refine(k, R, t, X, x, kind=self.kind, loss_px=loss_px, iterations=iterations, inlier_px=inlier_px)

    def _errors(self, k: Floats, R: Floats, t: Floats, points: Floats | None = None) -> Floats:
        """Distances of reprojection (V, n) after triangulation; inf behind a camera."""
        points = self.points if points is None else points
        X = geometry.triangulate(k, R, t, points)
        with np.errstate(invalid="ignore"):
            errors = np.linalg.norm(geometry.project(k, R, t, X) - points, axis=-1)
            ahead = geometry.to_camera(R, t, X)[..., 2] > 0
        return np.where(ahead & np.isfinite(errors), errors, np.inf)

    def _sound(self, k: Floats) -> bool:
        """Whether refinement ended at a camera that may exist."""
        longer = max(self.size)
        inside = (np.abs(k[2:4] / np.array(self.size) - 0.5) <= 1.0).all()
        return bool(np.isfinite(k).all() and inside and (k[:2] >= SOUND[0] * longer).all() and (k[:2] <= SOUND[1] * longer).all())


def last_loss(noise_px: float, threshold_px: float) -> float:
    """Scale (px) of the last fit's loss: three times the noise (NaN: not known), never narrower than in the search."""
    return min(max(3 * noise_px, threshold_px / 2), 2 * threshold_px) if np.isfinite(noise_px) else threshold_px


def geometry_inliers(k: Floats, R: Floats, t: Floats, points: Floats, threshold_px: float) -> Bools:
    """Tracks (n,) whose Sampson error is under the threshold in every pair of views."""
    good = np.ones(points.shape[1], dtype=bool)
    for i, j in combinations(range(len(points)), 2):
        F = geometry.fundamental(k, *geometry.relative(R, t, i, j))
        good &= geometry.sampson(F, points[i], points[j]) <= threshold_px**2
    return good


def _alike(one: _Candidate, other: _Candidate) -> bool:
    """Same focal and same poses, so that refining both would end at one place."""
    return abs(np.log(one.k[0] / other.k[0])) < SAME and bool((geometry.rotation_error(one.R, other.R) < 1.0).all())


def _thinned(columns: Ints, most: int) -> Ints:
    """At most `most` of the columns, evenly chosen."""
    if len(columns) <= most:
        return columns
    return columns[np.linspace(0, len(columns) - 1, most).round().astype(np.int64)]

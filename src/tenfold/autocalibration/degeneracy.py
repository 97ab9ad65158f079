"""Motions and scenes that do not determine the intrinsics: each a status, and one plain sentence that says why.

Before a solver runs, the matches alone tell a rotation, a plane and a translation (`of_matches`: no K is needed, only a rough one
where it says so). After bundle adjustment, poses, covariance and distortion are judged (`of_result`).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry
from tenfold.autocalibration.ba import Refined, refine
from tenfold.autocalibration.two_view import fundamental_ransac, homography_ransac

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STATUSES = (
    "ok", "degenerate_rotation", "degenerate_planar", "degenerate_translation", "too_few", "low_confidence", "no_solution",
)  # fmt: skip
WARNINGS = ("degenerate_orbit", "distortion_suspected")


# A homography's error is a vector with the noise of both images: three deviations of F's error are this much longer there.
_PLANE = 1.5


@dataclass(frozen=True)
class Limits:
    """Where a scene counts as degenerate; every number a fraction if it names no unit."""

    homography: float = 0.95  # inliers of a pair that one homography explains
    rotation: float = 0.02  # of moving points in H: eigenvalues off the unit circle, below which H is a rotation
    turn_deg: float = 1.0  # the largest rotation between views under which there is none
    orbit: float = 0.08  # gap of the optical axes, and difference of their lengths, over the distance
    sd: float = 0.05  # standard deviation of the focal over the focal
    condition: float = 1e12  # of the reduced normal matrix with unit diagonal
    inliers: float = 0.3  # tracks that are inliers in every view
    distortion: float = 0.2  # of the cost, that a radial term takes away, or ...
    radial: float = 4.0  # ... its distance from 0 in standard deviations (Wald's test: one in 16,000 without distortion)


@dataclass(frozen=True)
class Verdict:
    """`status` is one of STATUSES; `reason` is "" if it is ok, else one sentence. `warnings`: those of WARNINGS, each with a sentence."""

    status: str
    reason: str = ""
    warnings: dict[str, str] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Radial:
    """A result fitted again with a radial term: what that gains (share of the cost), `k1` and `focal` (px) with standard deviations."""

    gain: float
    k1: float
    sd: float
    focal: float
    sd_focal: float

    def suspected(self, limits: Limits) -> bool:
        """Whether the term is there: it takes away much of the error, or is far from 0 by its own uncertainty."""
        return self.gain > limits.distortion or (np.isfinite(self.sd) and abs(self.k1) > limits.radial * self.sd)


def of_matches(
    x: Floats,
    *,
    threshold_px: float,
    size: tuple[int, int],
    minimum: int = 12,
    seed: int = 0,
    fundamentals: list[tuple[Floats | None, Bools]] | None = None,
    limits: Limits | None = None,
) -> Verdict:
    """Whether tracks x (V, n, 2), NaN = not seen, of images of `size` (width, height) can determine K at all: 2 or more views.

    `minimum`: tracks in all views (and inliers of each pair) that are needed. `fundamentals`: F and inliers (n,) of the pairs (0, 1),
    (0, 2), ..., (1, 2), ... if they are known already. A status is given where *every* pair is degenerate: one good pair is enough.
    """
    limits = limits or Limits()
    views = len(x)
    tracks = int(np.isfinite(x).all(axis=(0, 2)).sum())
    if tracks < minimum:
        return Verdict(
            "too_few", f"Only {tracks} points are seen in all {views} views; at least {minimum} are needed.", {}, {"tracks": tracks}
        )
    pairs = [(i, j) for i in range(views) for j in range(i + 1, views)]
    found = fundamentals or [fundamental_ransac(x[i], x[j], threshold_px, seed) for i, j in pairs]
    for (i, j), (F, inliers) in zip(pairs, found, strict=True):
        if F is None or np.sum(inliers) < minimum:
            reason = f"Views {i + 1} and {j + 1} share {int(np.sum(inliers))} matches of one motion; at least {minimum} are needed."
            return Verdict("too_few", reason, {}, {"tracks": tracks, "inliers": float(np.sum(inliers))})
    # where F has freedom left, it takes outliers in: few of them agree with every pair
    used = np.isfinite(x).all(axis=(0, 2)) & np.all([inliers for _, inliers in found], axis=0)
    if used.sum() < minimum:
        reason = f"Only {int(used.sum())} points move alike in all {views} views; at least {minimum} are needed."
        return Verdict("too_few", reason, {}, {"tracks": tracks, "inliers": float(used.sum())})
    ratios, turning, still = [], [], []
    for i, j in pairs:
        one, two = x[i][used], x[j][used]
        H, explained = homography_ransac(one, two, _PLANE * threshold_px, seed)
        ratios.append(float(explained.mean()))
        turning.append(H is not None and is_rotation(H, size, limits.rotation))
        still.append(translation_ratio(one, two, size, threshold_px, seed))
    facts = {"tracks": float(tracks), "homography": min(ratios), "translation": min(still)}
    if min(ratios) >= limits.homography:
        share = f"{min(ratios):.0%} of the matches of every pair"
        if all(turning):
            reason = (
                f"One rotation explains {share}: the camera did not move from its place, so K has no solution; move it between the photos."
            )
            return Verdict("degenerate_rotation", reason, {}, facts)
        reason = f"One plane explains {share}: a flat scene does not determine K; include something off the plane."
        return Verdict("degenerate_planar", reason, {}, facts)
    if min(still) >= limits.homography:
        reason = f"A motion without rotation explains {min(still):.0%} of the matches of every pair: any K would; turn the camera between the photos."
        return Verdict("degenerate_translation", reason, {}, facts)
    return Verdict("ok", "", {}, facts)


def of_result(
    x: Floats,
    refined: Refined | None,
    *,
    kind: str,
    loss_px: float,
    minimum: int = 12,
    distortion: bool = True,
    radial: Radial | None = None,
    tracks: int | None = None,
    limits: Limits | None = None,
) -> Verdict:
    """Whether the result of a bundle adjustment of x (V, n, 2) may be given to a user.

    `distortion`: also fit a radial term (one more run), unless `radial` is given. `tracks`: of how many x is a choice, if of more.
    """
    limits = limits or Limits()
    if refined is None:
        return Verdict(
            "no_solution", "No calibration explains the points; take more or sharper photos, or check the assumed kind of camera."
        )
    together = refined.inliers.all(axis=0)
    tracks = max(tracks or 0, int(np.isfinite(x).all(axis=(0, 2)).sum()))
    focal = float(refined.sd[0] / refined.k[0])
    turn = max_turn(refined.R)
    facts = {"inliers": float(together.sum()), "sd": focal, "condition": refined.condition, "turn_deg": turn}
    warnings: dict[str, str] = {}
    if is_orbit(refined.R, refined.t, limits.orbit):
        warnings["degenerate_orbit"] = (
            "The camera circles one point: formulas from two views fail here, only three views determine the focal."
        )
    if distortion and radial is None:
        radial = fit_radial(x, refined, kind=kind, loss_px=loss_px)
    if radial is not None:
        facts["distortion"] = radial.gain
        if radial.suspected(limits):
            warnings["distortion_suspected"] = (
                f"A radial term k1 = {radial.k1:.3f} ± {radial.sd:.3f} takes {radial.gain:.0%} of the error away and leads to a focal of "
                f"{radial.focal:.0f} px instead of {refined.k[0]:.0f}: the lens bends lines and K is biased; undistort first."
            )
    if together.sum() < minimum:
        return Verdict(
            "too_few", f"The result explains {int(together.sum())} of {tracks} points; at least {minimum} are needed.", warnings, facts
        )
    if turn < limits.turn_deg:
        reason = (
            f"No view is turned by more than {turn:.1f} degrees against another: any K explains that; turn the camera between the photos."
        )
        return Verdict("degenerate_translation", reason, warnings, facts)
    if together.sum() < limits.inliers * tracks:
        reason = f"The result explains only {int(together.sum())} of {tracks} points: too few to be trusted."
        return Verdict("low_confidence", reason, warnings, facts)
    if not focal <= limits.sd:
        reason = f"The focal is uncertain by {focal:.0%} (one standard deviation; limit {limits.sd:.0%}): the views determine it badly."
        return Verdict("low_confidence", reason, warnings, facts)
    if not refined.condition <= limits.condition:
        reason = f"The equations are almost singular (condition {refined.condition:.0e}): some motion of camera and K cannot be seen."
        return Verdict("low_confidence", reason, warnings, facts)
    return Verdict("ok", "", warnings, facts)


def judge(
    x: Floats, refined: Refined | None, *, kind: str, threshold_px: float, size: tuple[int, int], minimum: int = 12, seed: int = 0,
    fundamentals: list[tuple[Floats | None, Bools]] | None = None, distortion: bool = True, limits: Limits | None = None,
) -> Verdict:  # fmt: skip
    """`of_matches`, then `of_result` if that finds nothing; facts of both."""
    first = of_matches(x, threshold_px=threshold_px, size=size, minimum=minimum, seed=seed, fundamentals=fundamentals, limits=limits)
    if first.status != "ok":
        return first
    then = of_result(x, refined, kind=kind, loss_px=threshold_px / 2, minimum=minimum, distortion=distortion, limits=limits)
    return Verdict(then.status, then.reason, then.warnings, {**first.facts, **then.facts})


def is_rotation(H: Floats, size: tuple[int, int], tolerance: float) -> bool:
    """Whether a homography is K R K^-1 for some K: similar to a rotation, so its eigenvalues lie on a circle.

    Where the angle is small, that also holds of some planes: there H is compared with the rotation itself, with a rough K.
    """
    width, height = size
    rough = geometry.matrix(np.array([max(size), max(size), width / 2, height / 2, 0.0]))
    turned = np.linalg.inv(rough) @ H @ rough
    volume = np.linalg.det(turned)
    if volume == 0:
        return False
    turned = turned / np.cbrt(volume)
    values = np.linalg.eigvals(turned)
    if np.abs(np.log(np.abs(values))).max() > tolerance:
        return False
    stretch = np.linalg.svd(turned, compute_uv=False)
    angle = np.abs(np.angle(values)).max()
    # a focal wrong by half stretches a rotation by about its sine
    return bool(angle > np.radians(5) or stretch[0] / stretch[2] < 1 + 2 * tolerance + 1.5 * np.sin(angle))


def translation_ratio(x1: Floats, x2: Floats, size: tuple[int, int], threshold_px: float, seed: int, samples: int = 200) -> float:
    """Share of matches that a translation without rotation explains, whatever K: x2^T [e]_x x1 = 0, so lines x1 x2 meet in e.

    RANSAC over pairs of matches; Sampson distance under the threshold, as for F.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    normal = np.array([max(size), max(size), width / 2, height / 2, 0.0])
    one, two = geometry.rays(normal, x1), geometry.rays(normal, x2)
    lines = np.cross(one, two)
    first, second = rng.integers(0, len(x1), (2, samples))
    points = np.cross(lines[first], lines[second])
    lengths = np.linalg.norm(points, axis=1)
    points = points[lengths > 1e-12] / lengths[lengths > 1e-12, None]
    if not len(points):
        return 1.0
    bound = (threshold_px / max(size)) ** 2
    best = np.zeros(len(x1), dtype=bool)
    for turn in range(3):
        found = _near(points, lines, one, two, bound)
        top = found[np.argmax(found.sum(axis=1))]
        best = top if top.sum() > best.sum() else best
        if turn == 2 or best.sum() < 3:
            break
        # the point nearest to all lines of the inliers, long ones more
        points = np.linalg.svd(lines[best], full_matrices=False)[2][-1:]
    return float(best.mean())


def _near(points: Floats, lines: Floats, one: Floats, two: Floats, bound: float) -> Bools:
    """Which matches (candidates, n) agree with each epipole, by squared Sampson distance on the plane z = 1."""
    error = points @ lines.T
    F = geometry.cross(points)
    left, right = two @ F, one @ np.swapaxes(F, -1, -2)
    slope = np.sum(left[..., :2] ** 2, axis=-1) + np.sum(right[..., :2] ** 2, axis=-1)
    return error * error <= bound * slope


def max_turn(R: Floats) -> float:
    """Largest angle in degrees between any two of the rotations (V, 3, 3)."""
    return max(float(geometry.rotation_error(R[i], R[j])) for i in range(len(R)) for j in range(i))


def is_orbit(R: Floats, t: Floats, tolerance: float) -> bool:
    """Whether the optical axes of every pair of views (R (V, 3, 3), t (V, 3)) meet at the same distance: critical for two views."""
    centres, axes = -np.einsum("vba,vb->va", R, t), R[:, 2]
    for i in range(len(R)):
        for j in range(i):
            # nearest points of two lines: centres + depth * axes
            cosine = float(axes[i] @ axes[j])
            between = centres[j] - centres[i]
            if 1 - cosine < 1e-6:
                return False
            one = (between @ axes[i] - cosine * (between @ axes[j])) / (1 - cosine**2)
            two = (cosine * (between @ axes[i]) - between @ axes[j]) / (1 - cosine**2)
            gap = float(np.linalg.norm(between + two * axes[j] - one * axes[i]))
            mean = (one + two) / 2
            if min(one, two) <= 0 or gap > tolerance * mean or abs(one - two) > tolerance * mean:
                return False
    return True


def fit_radial(x: Floats, refined: Refined, *, kind: str, loss_px: float, iterations: int = 30) -> Radial:
    """The result of x (V, n, 2) with k1 free as well. The gain counts observations that are inliers of either fit: 0 to 1."""
    # the loss is that of the noise: with a wide one, a few bad observations hide what bends all others a little
    scale = min(loss_px, 2 * refined.noise_px) if refined.noise_px > 1e-9 else loss_px
    plain = refine(
        refined.k, refined.R, refined.t, refined.X, x, kind=kind, k1=refined.k1, loss_px=scale, inlier_px=2 * loss_px, iterations=iterations
    )
    bent = refine(
        plain.k, plain.R, plain.t, plain.X, x, kind=kind, k1=refined.k1, fit_k1=True, loss_px=scale, inlier_px=2 * loss_px, iterations=iterations
    )  # fmt: skip
    used = bent.inliers | plain.inliers
    costs = [float(np.sum(np.log1p((each.errors[used] / scale) ** 2))) for each in (plain, bent)]
    gain = max(0.0, 1 - costs[1] / costs[0]) if np.isfinite(costs).all() and costs[0] > 0 else 0.0
    # a loss as narrow as the noise lets a point follow two views and give up the third: too small a deviation. A wide one is honest.
    wide = min(max(3 * bent.noise_px, loss_px), 4 * loss_px) if np.isfinite(bent.noise_px) else 2 * loss_px
    last = refine(
        bent.k, bent.R, bent.t, bent.X, x, kind=kind, k1=bent.k1, fit_k1=True, loss_px=wide, inlier_px=2 * loss_px, iterations=iterations
    )  # fmt: skip
    return Radial(gain, last.k1, last.sd_k1, float(last.k[0]), float(last.sd[0]))

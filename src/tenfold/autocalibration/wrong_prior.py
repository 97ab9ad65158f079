"""Claim C7: COLMAP left at a wrong prior focal length, against COLMAP started from ours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import geometry
from tenfold.autocalibration.features import Scene as Given
from tenfold.autocalibration.metrics import Scene, capped, focal_error
from tenfold.core.metrics import Row, Subject

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One scene: focal length (px; None: no model) and registered images of COLMAP from its default, from each wrong prior, from ours."""

    scene: str
    views: int
    default: tuple[float | None, int]
    left: list[tuple[float | None, int]]
    ours: tuple[float | None, int]


def run(
    given: Given, size: tuple[int, int], principal: tuple[float, float], focal: float | None, priors: Sequence[float], threshold_px: float
) -> Run:
    """Map a scene from COLMAP's default focal length, from each prior (factors of the default), and from `focal` px (None: no answer)."""
    from tenfold.autocalibration import selfcal

    x, pairs = observations(given, threshold_px)

    def mapped(first: float | None, trusted: bool) -> tuple[float | None, int]:
        found = selfcal.calibrate(x, pairs, size, focal=first, trusted=trusted, principal=principal)
        return (found.focal if math.isfinite(found.focal) else None), found.registered

    default = mapped(None, False)
    left = [mapped(factor * selfcal.DEFAULT_FOCAL * max(size), True) for factor in priors]
    return Run(given.name, len(x), default, left, mapped(focal, True) if focal is not None else (None, 0))


def observations(given: Given, threshold_px: float) -> tuple[Float, dict[tuple[int, int], npt.NDArray[np.int64]]]:
    """Tracks as (V, n, 2) px, NaN where not seen, and by pair the indices of the tracks that fit its fundamental matrix."""
    views = given.tracks.views
    place = {view: i for i, view in enumerate(views)}
    ids = np.unique(np.concatenate([given.tracks.ids[view] for view in views])) if views else np.zeros(0, np.int64)
    x = np.full((len(views), len(ids), 2), np.nan)
    for view in views:
        x[place[view], np.searchsorted(ids, given.tracks.ids[view])] = given.tracks.points[view]
    pairs = {}
    for (i, j), pair in sorted(given.pairs.items()):
        if pair.inliers and np.isfinite(pair.F).all():
            found, (a, b) = given.tracks.common((i, j))
            fits = geometry.sampson(pair.F, a, b) < threshold_px**2
            pairs[place[i], place[j]] = np.searchsorted(ids, found[fits])
    return x, pairs


def rows(runs: Sequence[Run], scenes: Mapping[str, Scene], identity: dict[str, str], priors: Sequence[float]) -> list[Row]:
    """Mean focal error and share of registered images over the scenes, by variant `prior=0.3`; the default's as `prior=default`."""
    if not runs:
        return []

    def made(method: str, variant: str, results: Sequence[tuple[float | None, int]]) -> list[Row]:
        errors = [capped(focal_error(f, f, scenes[r.scene])) if f is not None else 1.0 for r, (f, _) in zip(runs, results, strict=True)]
        shares = [images / r.views for r, (_, images) in zip(runs, results, strict=True)]
        subject = Subject(identity, method, variant)
        return [
            subject.row("colmap_focal_error", float(np.mean(errors)), len(runs), "down"),
            subject.row("registered", float(np.mean(shares)), len(runs), "up"),
        ]

    found = made("colmap", "prior=default", [r.default for r in runs])
    for i, factor in enumerate(priors):
        found += made("colmap", f"prior={factor:g}", [r.left[i] for r in runs])
        found += made("ours", f"prior={factor:g}", [r.ours for r in runs])
    return found

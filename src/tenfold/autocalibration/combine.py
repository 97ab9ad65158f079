"""Several triplets' cameras into one for the scene (section 2.6): the median weighted by inliers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

INTRINSICS = ("fx", "fy", "cx", "cy", "s")
COUNTS = ("inliers", "tracks", "hypotheses", "roots", "real", "physical", "lost")
WARNED = "distortion_suspected"
# Said of the scene where half of its triplets say it.
WARNINGS = {
    WARNED: "the lens bends lines, so that K is biased: undistort first",
    "degenerate_orbit": "the camera circles one point, where two views do not determine the focal",
}
# Worst first: what a scene is called if no triplet gave an answer.
REASONS = ("low_confidence", "degenerate_rotation", "degenerate_planar", "degenerate_translation", "no_solution", "too_few")


def weighted_median(values: Floats, weights: Floats) -> float:
    """Least value at which half of the weight is reached; the middle of two where it is reached exactly. NaN for no weight."""
    values, weights = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    good = np.isfinite(values) & (weights > 0)
    if not good.any():
        return float("nan")
    order = np.argsort(values[good], kind="stable")
    values, weights = values[good][order], np.cumsum(weights[good][order])
    half = weights[-1] / 2
    at = int(np.searchsorted(weights, half * (1 - 1e-12)))
    if abs(weights[at] - half) <= 1e-9 * half and at + 1 < len(values):
        return float((values[at] + values[at + 1]) / 2)
    return float(values[at])


def spread(values: Floats, weights: Floats) -> float:
    """Standard deviation by the weighted median of distances from the weighted median."""
    middle = weighted_median(values, weights)
    return 1.4826 * weighted_median(np.abs(np.asarray(values) - middle), weights)


def uncertainty(values: Floats, sd: Floats, weights: Floats) -> float:
    """Standard deviation of a weighted median: the larger of the values' spread and their own (median) uncertainty; NaN if neither is known.

    Triplets share views, so it does not shrink with their number.
    """
    known = [weighted_median(sd, weights), spread(values, weights) if len(values) > 1 else float("nan")]
    return max((each for each in known if np.isfinite(each)), default=float("nan"))


def merge(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The scene's row from rows of one method, seed and stage, which must not be empty; `triplet` is "".

    Only triplets with status ok count. Without one, K is null and the status is that of most tracks.
    """
    first = dict(rows[0])
    good = [row for row in rows if row["status"] == "ok" and row["fx"] is not None]
    out = {**first, "triplet": "", **dict.fromkeys((*INTRINSICS, "sd_f", "k1", "cost"))}
    for name in COUNTS:
        out[name] = int(sum(row[name] or 0 for row in rows))
    out["cpu_s"] = float(sum(row["cpu_s"] or 0.0 for row in rows))
    if not good:
        weight = {
            status: sum((row["tracks"] or 0) + 1 for row in rows if row["status"] == status) for status in {row["status"] for row in rows}
        }
        status = max(weight, key=lambda each: (weight[each], -REASONS.index(each) if each in REASONS else -len(REASONS)))
        reason = next(row["reason"] for row in rows if row["status"] == status)
        return {**out, "status": status, "reason": reason}
    weights = np.array([max(row["inliers"] or 0, 1) for row in good], dtype=np.float64)
    for name in (*INTRINSICS, "k1", "cost"):
        out[name] = _plain(weighted_median(np.array([_number(row[name]) for row in good]), weights))
    own = np.array([_number(row["sd_f"]) for row in good])
    out["sd_f"] = _plain(uncertainty(np.array([row["fx"] for row in good]), own, weights))
    out["inliers"] = int(sum(row["inliers"] or 0 for row in good))
    said = [f"{len(good)} of {len(rows)} view sets answer"] if len(rows) > 1 else []
    for name, text in WARNINGS.items():
        count = sum(name in row["reason"] for row in good)
        if 2 * count >= len(good):
            said.append(f"{name} in {count}: {text}")
    return {**out, "status": "ok", "reason": "; ".join(said)}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

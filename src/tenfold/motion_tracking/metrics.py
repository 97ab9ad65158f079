"""Rows of `metrics.parquet`: means over test clips with intervals over resampled clips, and the pairs on which the claims rest (section 7).

A clip counts once, as in the official evaluation; `mpjpe_frames` lets every frame count once. The slice `all` is the mean over the three
sensor sets on all test clips. All resamples of a slice are the same for every method, so that differences are paired.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tenfold.core.metrics import Better, Row, Subject
from tenfold.motion_tracking import columns
from tenfold.motion_tracking.claims import RIVALS
from tenfold.motion_tracking.clips import Clip

HEADLINE: tuple[str, Literal["up", "down"]] = ("mpjpe", "down")
"""Mean distance of the joints (cm), mean over the three sensor sets and all test clips."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """What a number is: words for a table, its unit, its good direction."""

    words: str
    scale: str
    better: Better = "down"


METRICS: dict[str, Measure] = {
    "mpjpe": Measure("MPJPE", "cm"),
    "mpjre": Measure("MPJRE, angle", "deg"),
    "mpjre_official": Measure("MPJRE, official", "deg"),
    "mpjve": Measure("MPJVE", "cm/s"),
    "jitter": Measure("jitter", "m/s^3", "none"),
    "h_pe": Measure("hands", "cm"),
    "u_pe": Measure("upper body", "cm"),
    "l_pe": Measure("lower body", "cm"),
    "r_pe": Measure("pelvis", "cm"),
    "bone_error": Measure("bone lengths", "cm"),
    "foot_slide": Measure("foot slide", "cm/s"),
    "floor": Measure("below the floor", "cm"),
    "flips": Measure("flips", "1/min"),
    "mpjpe_p95": Measure("MPJPE, 95th percentile of frames", "cm"),
    "mpjpe_frames": Measure("MPJPE, mean of frames", "cm"),
    "mpjre_frames": Measure("MPJRE, mean of frames", "deg"),
    "settle": Measure("frames until the shape settles", "frames"),
}
TRUTH = ("jitter", "foot_slide")
"""What the true motion has as well."""
CLEAN = "clean"
REFERENCE = "reference"
"""The variant that is the full network, trained as long as the other variants."""


@dataclass(frozen=True)
class Result:
    """One answer to all test clips: who gave it (ours or a baseline), with which sensors, at which noise; every measure a clip (clips,)."""

    method: str
    variant: str
    seed: int
    sensors: str
    noise: str
    clips: Mapping[str, Float] = field(hash=False)


def slice_of(**keys: str) -> str:
    """`noise=consumer,sensors=hmd,source=real`, in the order of the alphabet and without what is empty or clean; `all` for nothing."""
    named = {name: value for name, value in sorted(keys.items()) if value and (name, value) != ("noise", CLEAN)}
    return ",".join(f"{name}={value}" for name, value in named.items()) or "all"


class Resamples:
    """How often each clip of a subset is drawn: (draws, clips), the same numbers for the same subset."""

    def __init__(self, draws: int, seed: int) -> None:
        self._draws, self._seed = draws, seed
        self._made: dict[tuple[int, ...], Float] = {}

    def counts(self, members: Sequence[int]) -> Float:
        """(draws, members)."""
        key = tuple(members)
        if key not in self._made:
            digest = hashlib.sha256(repr((self._seed, key)).encode()).digest()
            n = len(key)
            drawn = np.random.default_rng(int.from_bytes(digest[:8], "big")).multinomial(n, np.full(n, 1 / n), self._draws)
            self._made[key] = drawn.astype(np.float64)
        return self._made[key]


def means(values: Float, counts: Float) -> Float:
    """Weighted means (draws, ...) of `values` (clips, ...), leaving out NaN; NaN where nothing is left."""
    known = np.isfinite(values)
    total = counts @ np.where(known, values, 0.0).reshape(len(values), -1)
    weight = counts @ known.astype(np.float64).reshape(len(values), -1)
    with np.errstate(invalid="ignore"):
        return (total / np.where(weight > 0, weight, np.nan)).reshape(len(counts), *values.shape[1:])


def spread(draws: Float) -> tuple[float | None, float | None]:
    """95 % interval of resampled values; None where there is none."""
    finite = draws[np.isfinite(draws)]
    if not finite.size:
        return None, None
    lo, hi = np.quantile(finite, [0.025, 0.975])
    return float(lo), float(hi)


@dataclass(frozen=True)
class Groups:
    """Test clips by what they are sliced by."""

    clips: Sequence[Clip]

    def members(self, source: str = "", kind: str = "") -> list[int]:
        """Indices of the clips of a source and kind ('': any)."""
        return [i for i, c in enumerate(self.clips) if source in ("", c.source) and kind in ("", c.label)]

    def sources(self) -> list[str]:
        """'' for all, then each source where there are several."""
        found = sorted({c.source for c in self.clips})
        return ["", *found]

    def kinds(self) -> list[str]:
        """Kinds of motion."""
        return sorted({c.label for c in self.clips if c.label})

    def lengths(self) -> Float:
        """Frames of each clip."""
        return np.array([c.length for c in self.clips], np.float64)


Key = tuple[str, str, int, str]
"""Method, variant, seed, noise."""


def by_key(results: Sequence[Result]) -> dict[Key, dict[str, Result]]:
    """Results of each method, variant, seed and noise by sensor set; '' is their mean where all three are there."""
    found: dict[Key, dict[str, Result]] = {}
    for result in results:
        found.setdefault((result.method, result.variant, result.seed, result.noise), {})[result.sensors] = result
    for (method, variant, seed, noise), sets in found.items():
        if set(sets) == set(columns.MASKS):
            names = next(iter(sets.values())).clips
            mean = {name: np.mean([sets[each].clips[name] for each in columns.MASKS], axis=0) for name in names}
            sets[""] = Result(method, variant, seed, "", noise, mean)
    return found


def measure(results: Sequence[Result], clips: Sequence[Clip], identity: Mapping[str, str], draws: int, seed: int) -> list[Row]:
    """All rows that the results give; `clips` are the test clips in the order of every result's arrays."""
    groups, resamples, grouped = Groups(clips), Resamples(draws, seed), by_key(results)
    rows: list[Row] = []
    for (method, variant, number, noise), sets in grouped.items():
        subject = Subject(dict(identity), method, variant, number)
        for each in ("", *columns.MASKS):
            if each in sets:
                for source in groups.sources():
                    where = slice_of(noise=noise, sensors=each, source=source)
                    rows += _means(subject, where, sets[each], groups, groups.members(source), resamples)
                if (method, variant, noise) == ("ours", "", CLEAN):
                    for kind in groups.kinds():
                        where = slice_of(kind=kind, sensors=each)
                        rows += _means(subject, where, sets[each], groups, groups.members(kind=kind), resamples)
    return rows + _pairs(grouped, groups, identity, resamples)


def _means(subject: Subject, where: str, result: Result, groups: Groups, members: Sequence[int], resamples: Resamples) -> list[Row]:
    if not members:
        return []
    names = list(result.clips)
    values = np.stack([result.clips[name][list(members)] for name in names], axis=1)
    point = means(values, np.ones((1, len(members))))[0]
    drawn = means(values, resamples.counts(members)) if len(members) > 1 else np.empty((0, len(names)))
    rows = []
    for i, name in enumerate(names):
        about = METRICS[name]
        lo, hi = spread(drawn[:, i])
        better: Better = "none" if subject.method == "truth" else about.better
        n = int(np.isfinite(values[:, i]).sum())
        reason = "no clip of this slice has a value (no foot touches the ground)"
        rows.append(subject.row(name, point[i], n, better, slice=where, lo=lo, hi=hi, reason=reason, scale=about.scale))
    weights = groups.lengths()[list(members)]
    for name in ("mpjpe", "mpjre"):
        if name in names:
            value = float(np.average(values[:, names.index(name)], weights=weights))
            about = METRICS[f"{name}_frames"]
            rows.append(subject.row(f"{name}_frames", value, int(weights.sum()), about.better, slice=where, scale=about.scale))
    return rows


def ratio(ours: Float, other: Float, members: Sequence[int], resamples: Resamples) -> tuple[float, float | None, float | None]:
    """Ratio of two means over the same clips, with the interval of the pair; NaN where the second mean is 0."""
    both = np.stack([ours, other], axis=1)[list(members)]
    both = np.where(np.isfinite(both).all(axis=1, keepdims=True), both, np.nan)

    def value(m: Float) -> Float:
        return m[:, 0] / np.where(m[:, 1] != 0, m[:, 1], np.nan)

    point = float(value(means(both, np.ones((1, len(members)))))[0])
    lo, hi = spread(value(means(both, resamples.counts(members)))) if len(members) > 1 else (None, None)
    return point, lo, hi


def _pairs(grouped: Mapping[Key, Mapping[str, Result]], groups: Groups, identity: Mapping[str, str], resamples: Resamples) -> list[Row]:
    """Paired ratios of ours: between sensor sets (C1), with variants (C2, C4, C5), with rivals (C3, C5) and with noise (C8)."""
    rows: list[Row] = []

    def add(subject: Subject, name: str, metric: str, ours: Result, other: Result, keys: Mapping[str, str]) -> None:
        for source in groups.sources():
            members = groups.members(source)
            if members:
                value, lo, hi = ratio(ours.clips[metric], other.clips[metric], members, resamples)
                where = slice_of(**{**keys, "source": source})
                reason = "no clip has both numbers, or the other one is 0"
                rows.append(subject.row(name, value, len(members), "none", slice=where, lo=lo, hi=hi, reason=reason))

    for (method, variant, seed, noise), sets in grouped.items():
        if method != "ours":
            continue
        mine = Subject(dict(identity), "ours", variant, seed)
        if not variant and noise == CLEAN and set(columns.MASKS) <= set(sets):
            bare, two, three = (sets[each] for each in columns.MASKS)
            add(mine, "l_pe_hmd_over_2imus", "l_pe", bare, two, {})
            add(mine, "mpjpe_2imus_over_3imus", "mpjpe", two, three, {})
            add(mine, "r_pe_2imus_over_3imus", "r_pe", two, three, {})
            for rival in RIVALS:
                theirs = Subject(dict(identity), rival, "", seed)
                for each, other in _first(grouped, rival).items():
                    if each in sets:
                        for metric in ("mpjpe", "mpjve", "jitter"):
                            add(theirs, f"{metric}_ours_over", metric, sets[each], other, {"sensors": each})
            for each, other in _first(grouped, "mean_pose").items():
                theirs = Subject(dict(identity), "mean_pose", "", seed)
                add(theirs, "bone_error_ours_over", "bone_error", sets[each], other, {"sensors": each})
        if variant not in ("", REFERENCE) and noise == CLEAN:
            # a variant has fewer steps than the full network: what it is compared with has as many
            full = grouped.get(("ours", REFERENCE, seed, CLEAN)) or _first(grouped, "ours", seed)
            for each, other in sets.items():
                if each in full:
                    add(mine, "mpjpe_full_over_this", "mpjpe", full[each], other, {"sensors": each})
        if not variant and noise != CLEAN:
            clean = grouped.get(("ours", "", seed, CLEAN), {})
            for each, other in sets.items():
                if each in clean:
                    add(mine, "mpjpe_over_clean", "mpjpe", other, clean[each], {"sensors": each, "noise": noise})
    return rows


def _first(grouped: Mapping[Key, Mapping[str, Result]], method: str, seed: int | None = None) -> Mapping[str, Result]:
    """Clean results of a method without variant, of that seed where there is one, else of the first."""
    found = {key[2]: sets for key, sets in grouped.items() if key[0] == method and not key[1] and key[3] == CLEAN}
    if not found:
        return {}
    return found[seed] if seed is not None and seed in found else found[min(found)]


def headline(results: Sequence[Result], clips: Sequence[Clip], draws: int, seed: int) -> dict[str, object]:
    """Ours, mean over seeds and sensor sets, with its interval over resampled clips (the same for all seeds)."""
    sets = [s[""] for key, s in by_key(results).items() if key[0] == "ours" and not key[1] and key[3] == CLEAN and "" in s]
    made: dict[str, object] = {"metric": HEADLINE[0], "better": HEADLINE[1], "seeds": len(sets), "clips": len(clips)}
    if not sets or not clips:
        return {**made, "value": None, "lo": None, "hi": None, "reason": "no test clip, or not all three sensor sets were measured"}
    values = np.mean([s.clips[HEADLINE[0]] for s in sets], axis=0)
    lo, hi = spread(means(values, Resamples(draws, seed).counts(range(len(clips))))) if len(clips) > 1 else (None, None)
    value = float(values.mean())
    return {**made, "value": value if math.isfinite(value) else None, "lo": lo, "hi": hi, "reason": ""}

"""Per-region overlap (PRO) and pixel ranking, exact for every threshold at once.

Notation: K regions (8-connected components of the ground truth over all parts), N defect-free pixels. A defect pixel p of region R
weighs w = 1/(|R| K) and is covered from the false-positive rate a = #{ok > s_p}/N on, at the latest from b = #{ok >= s_p}/N on.
The area under PRO(FPR) up to a limit L is therefore a sum over defect pixels; no threshold is ever enumerated:

    AUPRO@L = 1/L * sum_p w_p A(a_p, b_p),   A = L - (a+b)/2 if b <= L,   (L-a)^2 / (2(b-a)) if a < L < b,   0 otherwise.

`ties="flat"` sets a := b: a pixel earns nothing before all defect-free pixels tied with it have passed. `ties="ramp"` is the convention
of the ROC curve. They differ only for tied scores, but a masked background is one large tie at exactly 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tenfold.core.errors import BadData

LIMITS: tuple[float, ...] = (0.30, 0.10, 0.05, 0.01)
LEGACY_POINTS = 99
CURVE_POINTS = 128
DIGITS = ((16, 1 << 16), (8, 1 << 8), (0, 1 << 8))
"""A float's bits from the top, as `_at_ranks` reads them: shift, and how many values there are."""
CHUNK_PIXELS = 1 << 21
"""Least number of pixels sorted at a time (8 MiB of float32)."""

Ties = Literal["flat", "ramp"]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]
Maps = Sequence[Float32] | Float32


def regions(mask: npt.ArrayLike) -> tuple[npt.NDArray[np.int32], int]:
    """8-connected components of one ground-truth mask.

    Args:
        mask: (S, S), non-zero = defect.

    Returns:
        labels (S, S), 0 = defect-free and 1..k = the components, and k.
    """
    labels = np.empty(np.shape(mask), np.int32)
    k = ndimage.label(np.asarray(mask) != 0, structure=np.ones((3, 3), np.uint8), output=labels)
    return labels, int(k)


class Truth:
    """What the masks of all test parts say; built once, shared by every method.

    Masks are kept as packed bits (6 kB a part at 224 px), defect pixels as flat indices.
    """

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.used: list[bool] = []
        self._ok: list[npt.NDArray[np.uint8]] = []
        self._ok_fg: list[npt.NDArray[np.uint8]] = []
        self.pixels: list[Int] = []
        self.n_ok: list[int] = []
        self.n_ok_fg: list[int] = []
        self.region_sizes: list[Int] = []
        self._region: list[Int] = []
        self.shape: tuple[int, int] = (0, 0)

    def add(self, mask: npt.ArrayLike, kind: str, valid: npt.ArrayLike | None = None) -> None:
        """Append one part.

        Args:
            mask: (S, S) ground truth, non-zero = defect.
            kind: `good` or the defect kind. A part of another kind with an empty mask has no known defect pixels, so none
                of its pixels can be called defect-free: it is left out of all pixel metrics.
            valid: (S, S) foreground, for the variant that counts false positives on the foreground only.
        """
        defect: Bool = np.asarray(mask) != 0
        if self.kinds and defect.shape != self.shape:
            n = len(self.kinds)
            raise BadData(f"part {n}: mask is {defect.shape}, the parts before are {self.shape}; prepare all parts with one size.")
        self.shape = (int(defect.shape[0]), int(defect.shape[1]))
        labels, k = regions(defect)
        flat = np.flatnonzero(defect).astype(np.int64)
        region = labels.ravel()[flat].astype(np.int64) - 1
        used = kind == "good" or k > 0
        ok = ~defect if used else np.zeros_like(defect)
        ok_fg = ok if valid is None else ok & (np.asarray(valid) != 0)
        self.kinds.append(kind)
        self.used.append(used)
        self.pixels.append(flat)
        self._region.append(region)
        self.region_sizes.append(np.bincount(region, minlength=k).astype(np.int64))
        self._ok.append(np.packbits(ok))
        self._ok_fg.append(np.packbits(ok_fg))
        self.n_ok.append(int(ok.sum()))
        self.n_ok_fg.append(int(ok_fg.sum()))

    def __len__(self) -> int:
        return len(self.kinds)

    def ok(self, i: int) -> Bool:
        """Defect-free pixels of part i, flat (S*S,)."""
        return self._unpack(self._ok[i])

    def ok_fg(self, i: int) -> Bool:
        """Defect-free foreground pixels of part i, flat (S*S,)."""
        return self._unpack(self._ok_fg[i])

    def pixel_weights(self, i: int) -> Float:
        """1/|R| for every defect pixel of part i."""
        sizes = self.region_sizes[i]
        return 1.0 / sizes[self._region[i]] if sizes.size else np.zeros(0)

    def defect_kinds(self) -> list[str]:
        """Kinds other than `good`, in the order of their first part."""
        return list(dict.fromkeys(k for k in self.kinds if k != "good"))

    def members(self, kind: str) -> list[int]:
        """Parts of the slice: all parts for `all`, else the good parts and those of one kind."""
        return [i for i, k in enumerate(self.kinds) if kind == "all" or k in ("good", kind)]

    def _unpack(self, bits: npt.NDArray[np.uint8]) -> Bool:
        return np.unpackbits(bits, count=self.shape[0] * self.shape[1]).view(np.bool_)


@dataclass(frozen=True)
class Counts:
    """False positives at the score of every defect pixel (D of them), sorted by score ascending.

    `*_gt`, `*_ge`: defect-free pixels above, and at or above, that score; `all` among all parts, `own` among the good parts and those
    of the pixel's own kind, `fg` on the foreground only. Defect-free scores at chosen ranks, descending: `curve` at ranks dense at the
    top, `legacy` at those of the published tables' points, as far as the highest ones were asked for.
    """

    scores: Float32
    weights: Float
    kind: npt.NDArray[np.int16]
    all_gt: Int
    all_ge: Int
    own_gt: Int
    own_ge: Int
    all_fg_gt: Int
    all_fg_ge: Int
    own_fg_gt: Int
    own_fg_ge: Int
    curve: Float32
    legacy: Float32


def count(truth: Truth, maps: Maps, keep: float = 0.45, points: int = CURVE_POINTS) -> Counts:
    """Rank every defect pixel among the defect-free pixels, in few passes and bounded memory.

    Counts add up over disjoint sets of pixels, so the defect-free pixels are sorted in chunks and dropped again, in chunks of as many as
    there are defect pixels at least, so that the time is linear. What stays is O(defect pixels), some hundred bytes for each.

    Args:
        maps: n maps of (S, S), an array, a memory map, or anything that gives a map for an index.
        keep: share of the defect-free pixels, the highest ones, among which ranks are looked up; more than the largest limit that is
            asked of them. 0: none is.
        points: most points of `curve`, equally spaced in the square root of the rank.

    Raises:
        BadData: the number or the shape of the maps is wrong, or a score is not finite.
    """
    if len(maps) != len(truth):
        raise BadData(f"{len(maps)} maps for {len(truth)} masks; score every part once.")
    kinds = truth.defect_kinds()
    scores = [_flat(maps, i, truth)[truth.pixels[i]] for i in range(len(truth))]
    part_kind = [kinds.index(k) if k != "good" else -1 for k in truth.kinds]
    q = np.concatenate([*scores, np.zeros(0, np.float32)])
    order = np.argsort(q)
    q = q[order]
    weights = np.concatenate([truth.pixel_weights(i) for i in range(len(truth))] + [np.zeros(0)])[order]
    kind = np.repeat(np.asarray(part_kind, np.int16), [s.size for s in scores])[order]
    table = np.zeros((2, 2, 2, q.size), np.int64)  # (all | own, whole | foreground, gt | ge, pixel)
    for group, fg, values in _chunks(truth, maps, max(CHUNK_PIXELS, q.size)):
        gt, ge = _exceed(q, values)
        own = slice(None) if group == "good" else np.flatnonzero(kind == kinds.index(group))
        for space in (0, 1) if fg else (0,):
            table[0, space] += (gt, ge)
            table[1, space, 0, own] += gt[own]
            table[1, space, 1, own] += ge[own]
    total = sum(truth.n_ok)
    kept = min(int(np.ceil(min(1.0, keep) * total)) + 2, total) if keep else 0
    dense = np.unique(np.round((kept - 1) * np.linspace(0.0, 1.0, points) ** 2).astype(np.int64)) if kept else np.zeros(0, np.int64)
    few = _legacy_ranks(total)
    few = few[few < kept]
    wanted = np.union1d(dense, few)
    found = _at_ranks(truth, maps, wanted)
    return Counts(
        scores=q,
        weights=weights,
        kind=kind,
        all_gt=table[0, 0, 0],
        all_ge=table[0, 0, 1],
        own_gt=table[1, 0, 0],
        own_ge=table[1, 0, 1],
        all_fg_gt=table[0, 1, 0],
        all_fg_ge=table[0, 1, 1],
        own_fg_gt=table[1, 1, 0],
        own_fg_ge=table[1, 1, 1],
        curve=found[np.searchsorted(wanted, dense)],
        legacy=found[np.searchsorted(wanted, few)],
    )


def area(a: Float, b: Float, weights: Float, limit: float, ties: Ties) -> float:
    """1/L sum_p w_p A(a_p, b_p), see the module's text; a and b are false-positive rates."""
    if ties == "flat":
        return float(np.dot(weights, np.maximum(limit - b, 0.0)) / limit)
    width = np.maximum(b - a, np.finfo(np.float64).tiny)
    part = np.where(b <= limit, limit - (a + b) / 2.0, np.maximum(limit - a, 0.0) ** 2 / (2.0 * width))
    return float(np.dot(weights, part) / limit)


@dataclass(frozen=True)
class PixelMetrics:
    """One slice. A value is None where `reason` says why; then all of them are."""

    regions: int
    parts: int
    aupro: dict[float, float | None]
    aupro_fg: dict[float, float | None]
    p_auroc: float | None
    reason: str


def pixel_metrics(truth: Truth, counts: Counts, kind: str, limits: Sequence[float] = LIMITS, ties: Ties = "flat") -> PixelMetrics:
    """AUPRO at all limits, its foreground variant and P-AUROC of one slice (`all` or a defect kind against the good parts)."""
    members = [i for i in truth.members(kind) if truth.used[i]]
    k = sum(truth.region_sizes[i].size for i in members)
    n, n_fg = sum(truth.n_ok[i] for i in members), sum(truth.n_ok_fg[i] for i in members)
    empty: dict[float, float | None] = dict.fromkeys(limits)
    if k == 0 or n == 0:
        reason = "no ground-truth region in this slice" if k == 0 else "no defect-free pixel in this slice"
        return PixelMetrics(k, len(members), empty, empty, None, reason)
    if kind == "all":
        pick: slice | Bool = slice(None)
        gt, ge, fg_gt, fg_ge = counts.all_gt, counts.all_ge, counts.all_fg_gt, counts.all_fg_ge
    else:
        pick = counts.kind == truth.defect_kinds().index(kind)
        gt, ge, fg_gt, fg_ge = (x[pick] for x in (counts.own_gt, counts.own_ge, counts.own_fg_gt, counts.own_fg_ge))
    w = counts.weights[pick] / k
    a, b = gt / n, ge / n
    fg: dict[float, float | None] = {x: area(fg_gt / n_fg, fg_ge / n_fg, w, x, ties) for x in limits} if n_fg else empty
    return PixelMetrics(
        regions=k,
        parts=len(members),
        aupro={x: area(a, b, w, x, ties) for x in limits},
        aupro_fg=fg,
        p_auroc=float(1.0 - np.mean(a + b) / 2.0),
        reason="",
    )


def aupro(
    maps: Maps,
    masks: Sequence[npt.ArrayLike] | npt.NDArray[np.generic],
    limits: Sequence[float] = LIMITS,
    ties: Ties = "flat",
    valid: Sequence[npt.ArrayLike] | None = None,
) -> dict[float, float | None]:
    """AUPRO of one method at every limit; None where there is no region or no defect-free pixel.

    Args:
        maps: n anomaly maps (S, S), higher = more anomalous.
        masks: n ground-truth masks (S, S), non-zero = defect.
        limits: false-positive rates up to which the area is taken, in (0, 1].
        valid: n foreground masks; given, false positives are counted on the foreground only.
    """
    truth = Truth()
    for i, mask in enumerate(masks):
        truth.add(mask, "defect" if np.any(mask) else "good", None if valid is None else valid[i])
    found = pixel_metrics(truth, count(truth, maps, keep=0.0), "all", limits, ties)
    return found.aupro if valid is None else found.aupro_fg


def legacy_curve(truth: Truth, counts: Counts) -> tuple[Float, Float]:
    """PRO at 99 thresholds equally spaced in *rank* among the defect-free scores, as published tables have it (FPR steps of 1.02 %).

    Returns:
        FPR and PRO of the points in `counts.legacy`, FPR ascending. Ties are ignored on the FPR side, as there.
    """
    n, k = sum(truth.n_ok), sum(s.size for s in truth.region_sizes)
    if n == 0 or k == 0:
        return np.zeros(0), np.zeros(0)
    rank = _legacy_ranks(n)[: counts.legacy.size]
    covered = np.concatenate([np.cumsum(counts.weights[::-1])[::-1], [0.0]])  # weight at or above the i-th lowest score
    pro = covered[np.searchsorted(counts.scores, counts.legacy, side="right")] / k
    return rank / n, pro


def curve_area(fpr: Float, pro: Float, limit: float) -> float:
    """Trapezoid under a curve up to `limit`, divided by it; the last segment is cut by linear interpolation."""
    inside = fpr < limit
    x, y = np.append(fpr[inside], limit), np.append(pro[inside], np.interp(limit, fpr, pro))
    return float(np.trapezoid(y, x) / limit)


def _flat(maps: Maps, i: int, truth: Truth) -> Float32:
    one = np.asarray(maps[i], np.float32)
    if one.shape != truth.shape:
        raise BadData(f"map {i} is {one.shape}, its mask {truth.shape}; bring the map to the mask's size first.")
    one = one.reshape(-1)
    if not np.isfinite(one).all():
        raise BadData(f"map {i} holds NaN or infinity; its scores cannot be ranked. Look at the features of that part.")
    return one


def _chunks(truth: Truth, maps: Maps, pixels: int) -> Iterator[tuple[str, bool, Float32]]:
    """(kind, foreground?, defect-free scores), at most about `pixels` at a time."""
    for kind in dict.fromkeys(truth.kinds):
        members = [i for i, k in enumerate(truth.kinds) if k == kind and truth.used[i]]
        step = max(1, pixels // (truth.shape[0] * truth.shape[1]))
        for start in range(0, len(members), step):
            inside, outside = [], []
            for i in members[start : start + step]:
                one, ok, fg = _flat(maps, i, truth), truth.ok(i), truth.ok_fg(i)
                inside.append(one[fg])
                outside.append(one[ok & ~fg])
            yield kind, True, np.concatenate(inside)
            yield kind, False, np.concatenate(outside)


def _exceed(q: Float32, values: Float32) -> tuple[Int, Int]:
    """For sorted q: number of values above, and at or above, each.

    The minimum, most often the background's 0, is counted and not sorted.
    """
    if values.size == 0:
        zero = np.zeros(q.size, np.int64)
        return zero, zero
    low = values.min()
    above = values[values > low]
    above.sort()
    n_low = values.size - above.size
    gt = above.size - np.searchsorted(above, q, side="right") + n_low * (q < low)
    ge = above.size - np.searchsorted(above, q, side="left") + n_low * (q <= low)
    return gt, ge


def _legacy_ranks(total: int) -> Int:
    """Ranks from the top, ascending, of thresholds equally spaced among `total` scores."""
    if total == 0:
        return np.zeros(0, np.int64)
    return (total - 1) - np.floor(np.linspace(0.0, total - 1, LEGACY_POINTS)).astype(np.int64)[::-1]


def _at_ranks(truth: Truth, maps: Maps, ranks: Int) -> Float32:
    """Defect-free scores at ranks from the top (0 = highest): exact, without ever holding or sorting all of them.

    A float's bits, negative ones turned over, order as it does: three passes count their first 16 bits, then 8 and 8 more of those
    whose first bits a wanted rank has.
    """
    left = sum(truth.n_ok) - 1 - ranks  # how many scores below are still to be passed
    place = np.zeros(ranks.size, np.int64)  # which of the counted groups of prefixes a rank is in
    prefix = np.zeros(ranks.size, np.uint32)
    slots: list[Int] = []
    for level, (shift, width) in enumerate(DIGITS if ranks.size else ()):
        groups = int(place.max()) + 1
        counted = np.zeros(groups * width, np.int64)
        for i in range(len(truth)):
            key = _ordered_bits(_flat(maps, i, truth)[truth.ok(i)])
            at = np.zeros(key.size, np.int64)
            for slot, (passed, size) in zip(slots, DIGITS[:level], strict=True):
                at = slot[at * size + _digit(key, passed, size)]
                key, at = key[at >= 0], at[at >= 0]
            counted += np.bincount(at * width + _digit(key, shift, width), minlength=counted.size)
        below = np.cumsum(counted.reshape(groups, width), axis=1)
        digit = np.array([np.searchsorted(below[group], rest, side="right") for group, rest in zip(place, left, strict=True)], np.int64)
        left = left - np.where(digit > 0, below[place, digit - 1], 0)
        prefix |= digit.astype(np.uint32) << np.uint32(shift)
        chosen, place = np.unique(place * width + digit, return_inverse=True)
        slot = np.full(counted.size, -1, np.int64)
        slot[chosen] = np.arange(chosen.size)
        slots.append(slot)
    negative = prefix < np.uint32(1 << 31)
    return np.where(negative, ~prefix, prefix ^ np.uint32(1 << 31)).astype(np.uint32).view(np.float32)


def _ordered_bits(values: Float32) -> npt.NDArray[np.uint32]:
    bits = (values + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits >> 31, ~bits, bits ^ np.uint32(1 << 31))


def _digit(key: npt.NDArray[np.uint32], shift: int, width: int) -> Int:
    return ((key >> np.uint32(shift)) & np.uint32(width - 1)).astype(np.int64)

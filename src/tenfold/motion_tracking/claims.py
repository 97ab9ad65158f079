"""The paper's claims (section 8), judged on `metrics.parquet` alone.

A claim with several conditions is judged on its smallest margin. What a partition cannot show (released weights on made-up motion, say) is
not judged, and the reason says why.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.core import claims as core
from tenfold.core.claims import Claim, Condition, Op
from tenfold.motion_tracking import columns

if TYPE_CHECKING:
    import pyarrow as pa

IDS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9")
STATEMENTS = {
    "C1": "More sensors, less error, with one set of weights",
    "C2": "One model for all sensor sets costs nothing against one model each",
    "C3": "A learned temporal model beats regression frame by frame, in place, in motion and in smoothness",
    "C4": "Component tokens and attention across them earn their place against one plain LSTM",
    "C5": "Estimating the body's shape online helps",
    "C6": "Real time on one core, from raw sensors to a skeleton",
    "C7": "Frame by frame it gives what it gives for the whole clip",
    "C8": "Errors of consumer sensors cost little",
    "C9": "The released weights give the published accuracy",
}
SOURCES = {
    "C1": "HMD-Poser, CVPR 2024, main tables",
    "C2": "CVPR 2024, one unified model",
    "C3": "our test of the premise",
    "C4": "CVPR 2024, ablation of the temporal-spatial network",
    "C5": "CVPR 2024, abstract (shape estimation)",
    "C6": "CVPR 2024, abstract (real time on a headset)",
    "C7": "by construction, our test",
    "C8": "CVPR 2024, gap between simulated and real sensors",
    "C9": "official repository, README",
}
_PUBLISHED = {"C1": "mpjpe", "C6": "fps", "C9": "mpjpe"}

HMD, TWO, THREE = columns.MASKS
MORE = 1.05
"""C1: times that the lower body's error must be greater without shin IMUs."""
FREE = 1.05
"""C2: times a model of its own that the unified one may err."""
SMOOTHER = 0.5
"""C3: share of the ridge's jitter."""
EARNED = 0.98
"""C4, C5: share of the variant's error that the full network must stay below (2 % better)."""
BOUNDED = 1.15
"""C8: times the clean error with consumer noise."""
FRAME_MS = 1000 / 60
SAME = 1e-5
LEAST_SEEDS = 3
_BEATEN: tuple[tuple[str, Op, float], ...] = (("mpjpe", "<=", 1.0), ("mpjve", "<", 1.0), ("jitter", "<=", SMOOTHER))
PLAIN, SHAPELESS, ONLY = "one_lstm", "shape_zero", "only_"
RIVALS = ("ridge", "ridge_yaw")
REPRODUCED = 0.02
OFFICIAL = "official"
"""Variant under which the released weights are measured."""


class Numbers(core.Numbers):
    """Look-ups in a metrics table, and what the table covers."""

    def seeds(self, method: str = "ours", variant: str = "") -> list[int]:
        """Seeds that were measured."""
        return sorted({int(r["seed"]) for r in self.rows if (r["method"], r["variant"], r["metric"]) == (method, variant, "mpjpe")})

    def slices(self, method: str = "ours", variant: str = "") -> list[str]:
        """Slices of a method, in the table's order."""
        return list(dict.fromkeys(r["slice"] for r in self.rows if (r["method"], r["variant"]) == (method, variant)))

    def variants(self) -> list[str]:
        """Variants of ours, in the table's order."""
        return list(dict.fromkeys(r["variant"] for r in self.rows if r["method"] == "ours" and r["variant"] and r["metric"] == "mpjpe"))

    def sources(self) -> list[str]:
        """`generated`, `real`: what ours was measured on over all sensor sets."""
        return [s.removeprefix("source=") for s in self.slices() if s.startswith("source=")]


def judge(metrics: "pa.Table") -> list[Claim]:
    """C1 to C9 on one partition, in this order."""
    n = Numbers(metrics.to_pylist())
    return [f(n) for f in (_c1, _c2, _c3, _c4, _c5, _c6, _c7, _c8, _c9)]


@lru_cache
def published_rows() -> tuple[dict[str, str], ...]:
    """The rows of `published.csv`."""
    return tuple(core.published_rows(Path(__file__).parent))


def published(claim: str) -> str:
    """Figures published for a claim, each with its mark."""
    metric = _PUBLISHED.get(claim)
    found = [r for r in published_rows() if r["metric"] == metric and r["method"] == "ours"]
    return "; ".join(f"{r['metric']} {r['value']} at {r['slice']} ({r['mark']}, {r['source']})" for r in found)


def _c1(n: Numbers) -> Claim:
    conditions = []
    for source in n.sources():
        where, word = f"source={source}", f"{source} motion"
        conditions += [
            n.condition("ours", "l_pe_hmd_over_2imus", where, f"{word}: lower-body error without over with shin IMUs", ">", MORE),
            n.condition("ours", "mpjpe_2imus_over_3imus", where, f"{word}: MPJPE with two over with three IMUs", ">=", 1.0),
            n.condition("ours", "r_pe_2imus_over_3imus", where, f"{word}: pelvis error with two over with three IMUs", ">", 1.0),
        ]
    conditions = conditions or [Condition("lower-body error without over with shin IMUs", None, ">", MORE)]
    return _claim("C1", conditions, n.seeds(), "not all three sensor sets were measured")


def _c2(n: Numbers) -> Claim:
    conditions = [
        n.condition(
            "ours", "mpjpe_full_over_this", f"sensors={each}", f"{each}: MPJPE, unified over its own model", "<=", FREE, f"{ONLY}{each}"
        )
        for each in columns.MASKS
    ]
    reason = "needs a model of each sensor set alone (model.variants: only_hmd, only_hmd_2imus, only_hmd_3imus)"
    return _claim("C2", conditions, n.seeds(variant=f"{ONLY}{HMD}"), reason)


def _c3(n: Numbers) -> Claim:
    conditions = []
    for each in columns.MASKS:
        for metric, op, limit in _BEATEN:
            against = [
                n.condition(rival, f"{metric}_ours_over", f"sensors={each}", f"{each}: {metric} over {rival}'s", op, limit) for rival in RIVALS
            ]  # fmt: skip
            # of several rivals the hardest in this number
            conditions.append(max(against, key=lambda c: float("inf") if c.value is None else c.value))
    return _claim("C3", conditions, n.seeds(), "no ridge was measured")


def _c4(n: Numbers) -> Claim:
    seeds = n.seeds(variant=PLAIN)
    condition = n.condition("ours", "mpjpe_full_over_this", "all", "MPJPE over that of one LSTM of equal parameters", "<=", EARNED, PLAIN)
    if 0 < len(seeds) < LEAST_SEEDS:
        shown = condition.text()
        return _claim(
            "C4", [Condition(condition.what, None, "<=", EARNED)], seeds, f"{len(seeds)} of {LEAST_SEEDS} seeds: {shown}, not judged"
        )
    return _claim("C4", [condition], seeds, f"needs the variant {PLAIN} (model.variants)")


def _c5(n: Numbers) -> Claim:
    conditions = [
        n.condition("ours", "mpjpe_full_over_this", "all", "MPJPE over that of a network without shape", "<=", EARNED, SHAPELESS),
        *(
            n.condition("mean_pose", "bone_error_ours_over", f"sensors={each}", f"{each}: bone-length error over the mean body's", "<", 1.0)
            for each in columns.MASKS
        ),
    ]
    return _claim("C5", conditions, n.seeds(variant=SHAPELESS), f"needs the variant {SHAPELESS} (model.variants)")


def _c6(n: Numbers) -> Claim:
    condition = Condition("95th percentile of one frame on one thread, ms", n.get("ours", "frame_ms_p95"), "<", FRAME_MS)
    return _claim("C6", [condition], n.seeds()[:1], "no frame was timed")


def _c7(n: Numbers) -> Claim:
    found = [n.get("ours", name) for name in ("stream_difference", "onnx_difference")]
    worst = None if None in found else max(v for v in found if v is not None)
    what = "greatest difference of any output, torch in any chunks and the exported step"
    return _claim("C7", [Condition(what, worst, "<=", SAME)], n.seeds()[:1], "no stream was run")


def _c8(n: Numbers) -> Claim:
    condition = n.condition("ours", "mpjpe_over_clean", "noise=consumer", "MPJPE with consumer sensors over clean", "<=", BOUNDED)
    return _claim("C8", [condition], n.seeds()[:1], "needs the noise level consumer (features.test_noise, evaluation.noise)")


def _c9(n: Numbers) -> Claim:
    conditions = []
    for row in published_rows():
        if row["method"] == "ours" and row["dataset"] == "amass" and row["slice"].startswith("sensors="):
            value, wanted = n.get("ours", row["metric"], row["slice"], OFFICIAL), float(row["value"])
            off = None if value is None else abs(value - wanted) / wanted
            conditions.append(Condition(f"{row['slice']}: {row['metric']}, relative distance from {wanted:g}", off, "<=", REPRODUCED))
    reason = "needs the released weights and AMASS, protocol 1; these figures are published, not reproduced here"
    return _claim("C9", conditions, n.seeds(variant=OFFICIAL), reason)


def _claim(id: str, conditions: Sequence[Condition], seeds: Sequence[int], reason: str) -> Claim:
    return core.judge_conditions(
        conditions,
        id=id,
        statement=STATEMENTS[id],
        scope="partition",
        seeds=seeds,
        source=SOURCES[id],
        published=published(id),
        reason=reason,
    )

"""The paper's claims, judged on `metrics.parquet` alone.

A claim with several conditions is judged on its smallest margin (`core.claims.judge_conditions`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core import claims as core
from tenfold.core.claims import Claim, Condition, Scope, minus, over

if TYPE_CHECKING:
    import pyarrow as pa

IDS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8")
JOINT_BANKS = ("bank_joint", "bank_sum")
BANKS = ("bank_joint", "bank_sum", "bank_2d", "bank_3d")
MARGIN = "aupro_30_margin"
PRUNING = ((1.2, 0.01), (1.5, 0.02), (2.0, 0.03))
"""Least speed-up and largest loss of AUPRO@30 % for the first, second and third pruned depth (M, S, T)."""

STATEMENTS = {
    "C1": "Segments at least as well as memory banks on the same features, and sees what neither modality shows alone",
    "C2": "Detects at least as well as the best joint memory bank",
    "C3": "The product of both directions beats either one and the sum",
    "C4": "Faster at inference than a memory bank",
    "C5": "Smaller than a memory bank, whatever the number of training parts",
    "C6": "Few good parts are enough",
    "C7": "Pruning layers of the extractors costs little and saves time",
    "C8": "Both modalities are needed",
}
SOURCES = {
    "C1": "CFM, comparison on MVTec 3D-AD",
    "C2": "CFM, comparison on MVTec 3D-AD",
    "C3": "CFM, ablation of the aggregation",
    "C4": "CFM, figure 1",
    "C5": "CFM, figure 1",
    "C6": "CFM, few-shot comparison",
    "C7": "CFM, layer pruning",
    "C8": "CFM, premise of the method",
}
_PUBLISHED = {
    "C1": ("aupro_30", "AUPRO@30"),
    "C2": ("i_auroc", "I-AUROC"),
    "C4": ("fps", "parts a second"),
    "C5": ("memory_mb", "MB at inference"),
    "C6": ("aupro_30_shots", "AUPRO@30"),
}


class Numbers:
    """Look-ups in a metrics table; a number is the mean over its seeds and, for several units, over the units."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
        for row in rows:
            self._rows.setdefault((row["method"], row["variant"], row["slice"], row["metric"]), []).append(row)
        self.units = sorted({row["partition"] for row in rows})
        self.variants = sorted({row["variant"] for row in rows if row["method"] == "ours"})

    def get(self, method: str, metric: str, variant: str = "", slice_: str = "all", column: str = "value") -> float | None:
        """Mean over the seeds of each unit, then over the units; None where any of them is missing."""
        per_unit: dict[str, list[float | None]] = {}
        for row in self._rows.get((method, variant, slice_, metric), []):
            per_unit.setdefault(row["partition"], []).append(row[column])
        if set(per_unit) != set(self.units):
            return None
        means = [_mean(values) for values in per_unit.values()]
        return _mean(means)

    def kind(self, method: str, metric: str, kind: str) -> float | None:
        """The same on one defect kind, over the units that have it."""
        name = f"defect={kind},split=test"
        rows = self._rows.get((method, "", name, metric), [])
        units: dict[str, list[float | None]] = {}
        for row in rows:
            units.setdefault(row["partition"], []).append(row["value"])
        return _mean([_mean(v) for v in units.values()]) if units else None

    def best(self, methods: Sequence[str], metric: str, variant: str = "") -> float | None:
        """Largest over the methods that have the number."""
        values = [v for m in methods if (v := self.get(m, metric, variant)) is not None]
        return max(values, default=None)

    def best_kind(self, methods: Sequence[str], metric: str, kind: str) -> float | None:
        values = [v for m in methods if (v := self.kind(m, metric, kind)) is not None]
        return max(values, default=None)

    def seeds(self, variant: str = "") -> list[int]:
        """Seeds of our networks."""
        rows = [r for (method, v, _, _), group in self._rows.items() if method == "ours" and v == variant for r in group]
        return sorted({int(r["seed"]) for r in rows})

    def product(self) -> str:
        """The method that multiplies both directions: ours, unless a recipe combines otherwise."""
        return "product" if any(key[0] == "product" for key in self._rows) else "ours"


def judge(metrics: "pa.Table") -> list[Claim]:
    """C1 to C8 on one unit, in this order. C2 is a statement about all units and is judged on the scoreboard."""
    numbers = Numbers(metrics.to_pylist())
    return [_c1(numbers, "partition"), _c2_here(numbers), _c3(numbers, "partition"), *(f(numbers) for f in (_c4, _c5, _c6, _c7, _c8))]


def judge_dataset(metrics: "pa.Table") -> list[Claim]:
    """C1, C2 and C3 on the mean over the units of one dataset; the measure names each unit's own number."""
    rows = metrics.to_pylist()
    numbers = Numbers(rows)
    alone = [(unit, Numbers([row for row in rows if row["partition"] == unit])) for unit in numbers.units]
    out = []
    for made, one in ((_c1(numbers, "dataset"), _c1), (_c2(numbers), None), (_c3(numbers, "dataset"), _c3)):
        each = [(unit, _c2(n) if one is None else one(n, "dataset")) for unit, n in alone]
        listed = ", ".join(f"{unit} {c.measured:+.3f}" for unit, c in each if c.measured is not None)
        out.append(replace(made, measure=f"{made.measure}; each unit: {listed}" if listed else made.measure))
    return out


def published_rows() -> list[dict[str, str]]:
    """The rows of `published.csv`."""
    return core.published_rows(Path(__file__).parent)


def published(claim: str) -> str:
    """The paper's own mean figures for a claim, each with its mark."""
    if claim not in _PUBLISHED:
        return ""
    metric, word = _PUBLISHED[claim]
    found = [row for row in published_rows() if row["metric"] == metric and row["slice"] == "all"]
    return f"{word}: " + "; ".join(f"{r['method']} {r['value']} ({r['mark']}, {r['dataset']})" for r in found) if found else ""


def _c1(n: Numbers, scope: Scope) -> Claim:
    ours = n.get("ours", "aupro_30")
    rival = n.best(JOINT_BANKS, "aupro_30")
    lo, hi = n.get("ours", MARGIN, column="lo"), n.get("ours", MARGIN, column="hi")
    conditions = [Condition("AUPRO@30 over the better joint bank", minus(ours, rival), ">=", 0.02, lo, hi)]
    mismatch = n.kind("ours", "i_auroc", "mismatch")
    if mismatch is not None:
        conditions.append(Condition("I-AUROC on mismatch", mismatch, ">=", 0.95))
        conditions.append(Condition("the same over every bank", minus(mismatch, n.best_kind(BANKS, "i_auroc", "mismatch")), ">", 0.0))
    return _claim("C1", scope, conditions, n.seeds())


def _c2(n: Numbers) -> Claim:
    value = minus(n.get("ours", "i_auroc"), n.best(JOINT_BANKS, "i_auroc"))
    return _claim("C2", "dataset", [Condition("I-AUROC over the better joint bank", value, ">=", -0.01)], n.seeds())


def _c2_here(n: Numbers) -> Claim:
    value = minus(n.get("ours", "i_auroc"), n.best(JOINT_BANKS, "i_auroc"))
    here = f"; this unit alone: {value:+.3f}" if value is not None else ""
    reason = f"a statement about the mean over all units, judged on the scoreboard{here}"
    return _claim("C2", "dataset", [Condition("I-AUROC over the better joint bank", None, ">=", -0.01)], n.seeds(), reason)


def _c3(n: Numbers, scope: Scope) -> Claim:
    method = n.product()
    conditions = []
    for metric, word in (("aupro_30", "AUPRO@30"), ("i_auroc", "I-AUROC")):
        value = n.get(method, metric)
        conditions.append(Condition(f"{word} over the better direction", minus(value, n.best(("d2_only", "d3_only"), metric)), ">=", 0.0))
        conditions.append(Condition(f"{word} over the sum", minus(value, n.get("sum", metric)), ">=", -0.005))
    return _claim("C3", scope, conditions, n.seeds())


def _c4(n: Numbers) -> Claim:
    ours, bank = _total(n, "ours", "", ("ms_map", "ms_score")), n.get("bank_joint", "ms_map")
    what = "time to map and score a part over the search of bank_joint, same threads"
    return _claim("C4", "partition", [Condition(what, over(ours, bank), "<=", 0.5)], n.seeds())


def _c5(n: Numbers) -> Claim:
    parts = n.get("bank_joint", "n_train")
    model, bank = n.get("ours", "model_bytes"), n.get("bank_joint", "bank_bytes")
    few = [v for v in n.variants if v.startswith("shots=") and "," not in v]
    sizes = [n.get("ours", "model_bytes", v) for v in few]
    changes = [minus(size, model) for size in sizes if size is not None]
    reason = ""
    if parts is not None and parts < 40:
        reason = f"needs at least 40 training parts; there are {parts:.0f}"
        model = None
    conditions = [Condition("bytes of both mappers over those of bank_joint", over(model, bank), "<=", 0.5)]
    largest = max((abs(c) for c in changes if c is not None), default=0.0)
    if largest and not reason:
        conditions.append(Condition("bytes by which the mappers change with the training parts", largest, "<=", 0.0))
    claim = _claim("C5", "partition", conditions, n.seeds(), reason)
    same = changes and not largest and claim.measured is not None
    return replace(claim, measure=f"{claim.measure}; the mappers' bytes are the same with {' and '.join(few)}") if same else claim


def _c6(n: Numbers) -> Claim:
    if "shots=10" not in n.variants:
        wanted = [Condition("AUPRO@30 lost with 10 parts", None, "<=", 0.08)]
        return _claim("C6", "partition", wanted, [], "no network was trained on 10 parts of this unit (model.variants, model.variants_on)")
    full, ten, five = (n.get("ours", "aupro_30", v) for v in ("", "shots=10", "shots=5"))
    bank = n.best(JOINT_BANKS, "aupro_30", "shots=10")
    conditions = [
        Condition("AUPRO@30 lost with 10 parts", minus(full, ten), "<=", 0.08),
        Condition("AUPRO@30 with 10 parts over the better joint bank with the same parts", minus(ten, bank), ">=", 0.0),
    ]
    claim = _claim("C6", "partition", conditions, n.seeds("shots=10"))
    return replace(claim, measure=f"{claim.measure}; with 5 parts AUPRO@30 is {five:.3f}") if five is not None else claim


def _c7(n: Numbers) -> Claim:
    depths = sorted((int(v.removeprefix("depth=")) for v in n.variants if v.startswith("depth=") and "," not in v), reverse=True)
    if not depths:
        wanted = [Condition("speed-up with pruned extractors", None, ">=", PRUNING[0][0])]
        return _claim(
            "C7", "partition", wanted, [], "no network was trained on pruned extractors for this unit (model.variants, features.pruned)"
        )
    stages = ("ms_extract", "ms_map", "ms_score")
    full, whole = n.get("ours", "aupro_30"), _total(n, "ours", "", stages)
    conditions = []
    for depth, (faster, loss) in zip(depths, PRUNING, strict=False):
        variant = f"depth={depth}"
        speed = over(whole, _total(n, "ours", variant, stages))
        conditions.append(Condition(f"depth {depth}: speed-up", speed, ">=", faster))
        conditions.append(Condition(f"depth {depth}: AUPRO@30 lost", minus(full, n.get("ours", "aupro_30", variant)), "<=", loss))
    return _claim("C7", "partition", conditions, n.seeds(f"depth={depths[0]}"))


def _c8(n: Numbers) -> Claim:
    method, conditions = n.product(), []
    for kinds, bank in ((("dent", "bump"), "bank_2d"), (("stain",), "bank_3d")):
        for kind in kinds:
            value = minus(n.kind(method, "aupro_30", kind), n.kind(bank, "aupro_30", kind))
            conditions.append(Condition(f"AUPRO@30 on {kind} over {bank}", value, ">=", 0.05))
    return _claim("C8", "partition", conditions, n.seeds(), "needs the defect kinds dent, bump and stain, which tell the modalities apart")


def _claim(id: str, scope: Scope, conditions: Sequence[Condition], seeds: Sequence[int], reason: str = "") -> Claim:
    return core.judge_conditions(
        conditions,
        id=id,
        statement=STATEMENTS[id],
        scope=scope,
        source=SOURCES[id],
        seeds=seeds,
        published=published(id),
        reason=reason,
        form=".3f",
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _total(n: Numbers, method: str, variant: str, metrics: Sequence[str]) -> float | None:
    values = [n.get(method, m, variant) for m in metrics]
    return None if any(v is None for v in values) else sum(v for v in values if v is not None)

"""Claims: a paper's statements, each judged on a number that was measured here."""

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tenfold.core import atomic
from tenfold.core.errors import Corrupt
from tenfold.core.stage import Check, Note

Op = Literal[">=", "<=", ">", "<"]
Scope = Literal["partition", "dataset"]
Verdict = Literal["holds", "fails", "not_judged"]

_TEST = {">=": float.__ge__, "<=": float.__le__, ">": float.__gt__, "<": float.__lt__}


@dataclass(frozen=True)
class Claim:
    """One statement and what became of it.

    Attributes:
        id: `C1`, `C2`, ...
        source: where the paper says it.
        measure: what `measured` is, in words.
        measured: mean over `seeds`, None if it could not be measured (then `reason` says why).
        lo, hi: 95 % interval, shown beside the verdict and not part of it.
        op, threshold: the claim holds if `measured op threshold`.
        published: the paper's own figure, as text with its mark.
    """

    id: str
    statement: str
    source: str
    scope: Scope
    measure: str
    measured: float | None
    lo: float | None
    hi: float | None
    op: Op
    threshold: float
    seeds: list[int]
    verdict: Verdict
    reason: str
    published: str


def judge(
    *,
    id: str,
    statement: str,
    scope: Scope,
    measure: str,
    measured: float | Sequence[float] | None,
    op: Op,
    threshold: float,
    seeds: Sequence[int],
    lo: float | None = None,
    hi: float | None = None,
    source: str = "",
    published: str = "",
    reason: str = "",
) -> Claim:
    """Judge one claim on `measured`: a number, or one a seed, whose mean decides.

    None, an empty sequence or NaN gives `not_judged`, with `reason` (or a plain one, if none is given).
    """
    value = _mean(measured)
    verdict: Verdict = "not_judged"
    if value is not None:
        verdict = "holds" if _TEST[op](value, float(threshold)) else "fails"
        reason = ""
    return Claim(
        id=id,
        statement=statement,
        source=source,
        scope=scope,
        measure=measure,
        measured=value,
        lo=_finite(lo),
        hi=_finite(hi),
        op=op,
        threshold=float(threshold),
        seeds=[int(seed) for seed in seeds],
        verdict=verdict,
        reason=reason or ("" if value is not None else "the measure has no value on this data"),
        published=published,
    )


@dataclass(frozen=True)
class Condition:
    """One thing that must hold: `value op limit`, with the value's interval where there is one."""

    what: str
    value: float | None
    op: Op
    limit: float
    lo: float | None = None
    hi: float | None = None

    @property
    def margin(self) -> float:
        """Distance to the limit, positive on the side that holds."""
        assert self.value is not None
        return self.value - self.limit if self.op in (">=", ">") else self.limit - self.value

    @property
    def fails(self) -> bool:
        """Measured, and on the wrong side."""
        return self.value is not None and (self.margin < 0 or (self.margin == 0 and self.op in (">", "<")))

    def text(self, form: str = ".4g") -> str:
        """What was measured against what was wanted; `form` is how the value is written."""
        return f"{self.what} {self.value:{form}} ({self.op} {self.limit:g})" if self.value is not None else f"{self.what}: none"


def judge_conditions(
    conditions: Sequence[Condition],
    *,
    id: str,
    statement: str,
    scope: Scope,
    seeds: Sequence[int],
    source: str = "",
    published: str = "",
    reason: str = "",
    form: str = ".4g",
) -> Claim:
    """One condition is judged as it is, several on their smallest margin; a missing number judges nothing.

    The margin is how far the tightest condition is from its limit, in the limit's own unit, 0 being the limit.
    """
    shared: dict[str, Any] = {
        "id": id, "statement": statement, "scope": scope, "seeds": seeds, "source": source, "published": published,
    }  # fmt: skip
    first = conditions[0]
    missing = [c.what for c in conditions if c.value is None]
    if missing:
        why = reason or f"not measured: {'; '.join(missing)}"
        return judge(measure=first.what, measured=None, op=first.op, threshold=first.limit, reason=why, **shared)
    if len(conditions) == 1:
        return judge(measure=first.what, measured=first.value, lo=first.lo, hi=first.hi, op=first.op, threshold=first.limit, **shared)
    # of equal margins the one that fails: "> 0" fails at 0 where "<= 0" holds
    tightest = min(conditions, key=lambda c: (c.margin, not c.fails))
    ends = [None if end is None else replace(tightest, value=end).margin for end in (tightest.lo, tightest.hi)]
    lo, hi = sorted(e for e in ends if e is not None) if None not in ends else (None, None)
    strict: Op = ">" if tightest.op in (">", "<") else ">="
    measure = "smallest margin of: " + "; ".join(c.text(form) for c in conditions)
    return judge(measure=measure, measured=tightest.margin, lo=lo, hi=hi, op=strict, threshold=0.0, **shared)


class Numbers:
    """Look-ups in the rows of a metrics table of one partition; a number is the mean over its seeds."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.rows = list(rows)
        self._found: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
        for row in self.rows:
            self._found.setdefault((row["method"], row["variant"], row["slice"], row["metric"]), []).append(row)

    def get(self, method: str, metric: str, slice: str = "all", variant: str = "", column: str = "value") -> float | None:
        """Mean over the seeds; None where a seed has none."""
        values = [row[column] for row in self._found.get((method, variant, slice, metric), [])]
        return None if not values or None in values else float(sum(values) / len(values))

    def triple(self, method: str, metric: str, slice: str = "all", variant: str = "") -> tuple[float | None, float | None, float | None]:
        """Value and ends of its interval."""
        value, lo, hi = (self.get(method, metric, slice, variant, column) for column in ("value", "lo", "hi"))
        return value, lo, hi

    def n(self, method: str, metric: str, slice: str = "all", variant: str = "") -> int:
        """What the number rests on (of the first seed)."""
        found = self._found.get((method, variant, slice, metric))
        return int(found[0]["n"]) if found else 0

    def condition(self, method: str, metric: str, slice: str, what: str, op: Op, limit: float, variant: str = "") -> Condition:
        """A condition on a stored number with its interval."""
        value, lo, hi = self.triple(method, metric, slice, variant)
        return Condition(what, value, op, limit, lo, hi)


def minus(a: float | None, b: float | None) -> float | None:
    """`a - b`, None if either is missing."""
    return None if a is None or b is None else a - b


def over(a: float | None, b: float | None) -> float | None:
    """`a / b`, None if either is missing or `b` is 0."""
    return None if a is None or not b else a / b


def tally(claims: Sequence[Claim]) -> str:
    """How many hold, as the verdict of a report says it."""
    judged = [claim for claim in claims if claim.verdict != "not_judged"]
    return f"{sum(claim.verdict == 'holds' for claim in judged)} of {len(judged)} judged claims hold"


def published_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of `published.csv` in a paper's folder: what the paper itself says, each figure with its mark."""
    with (folder / "published.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write(claims: Sequence[Claim], path: Path) -> None:
    """Write `claims.json`, atomically."""
    atomic.write_json(path, [asdict(claim) for claim in claims])


def read(path: Path) -> list[Claim]:
    """Read what `write` wrote.

    Raises:
        Corrupt: the file is not a list of claims.
    """
    try:
        return [Claim(**claim) for claim in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise Corrupt(f"{path} is not a list of claims ({error}). Make the evaluation again.") from error


def to_check(claim: Claim) -> Check:
    """The claim as a check that never blocks: passed only if it holds."""
    notes = [Note("verdict", "text", claim.verdict.replace("_", " ")), Note("measure", "text", claim.measure)]
    notes += [
        Note(label, "float", round(value, 4))
        for label, value in (("measured", claim.measured), ("lo", claim.lo), ("hi", claim.hi))
        if value is not None
    ]
    notes += [Note("wanted", "text", f"{claim.op} {claim.threshold:g}"), Note("seeds", "text", ", ".join(map(str, claim.seeds)))]
    notes += [
        Note(label, "text", text)
        for label, text in (("reason", claim.reason), ("published", claim.published), ("source", claim.source))
        if text
    ]
    return Check(
        name=claim.id,
        passed=claim.verdict == "holds",
        severity="warn",
        description=f"{claim.verdict.replace('_', ' ')}: {claim.statement}",
        notes=notes,
    )


def _mean(measured: float | Sequence[float] | None) -> float | None:
    if measured is None:
        return None
    values = [float(value) for value in measured] if isinstance(measured, Sequence) else [float(measured)]
    return _finite(math.fsum(values) / len(values)) if values else None


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None

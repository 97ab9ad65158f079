"""Claims: a paper's statements, each judged on a number that was measured here."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

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

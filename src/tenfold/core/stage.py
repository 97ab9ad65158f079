"""What a stage of a paper hands back: plain data between the science, the store and the orchestrator."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

Kind = Literal["text", "int", "float", "bool", "md", "table", "url", "path", "json"]
Severity = Literal["error", "warn"]


def plain(value: Any) -> Any:
    """`value` as standard JSON data: tuples become lists, numpy scalars numbers, paths text, NaN and infinities None.

    Raises TypeError for anything JSON has no form for.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if not isinstance(value, str | int | float | bool | None) and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str | int | bool | None):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


@dataclass(frozen=True)
class Note:
    """One labelled fact shown to the user. A table's value is `{"columns": [...], "rows": [[...], ...]}`."""

    label: str
    kind: Kind
    value: Any

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"note {self.label!r}: kind {self.kind!r} is none of {', '.join(get_args(Kind))}")
        if self.kind == "table":
            width = len(self.value["columns"])
            if any(len(row) != width for row in self.value["rows"]):
                raise ValueError(f"note {self.label!r}: every row needs {width} cells, one a column")

    def to_json(self) -> dict[str, Any]:
        # JSON has no NaN; as text a float note keeps it.
        value = plain(self.value)
        if self.kind == "float" and value is None:
            value = str(float(self.value))
        return {"label": self.label, "kind": self.kind, "value": value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        value = float(data["value"]) if data["kind"] == "float" else data["value"]
        return cls(data["label"], data["kind"], value)


@dataclass(frozen=True)
class Check:
    """The result of one contract (severity `error`) or claim (severity `warn`)."""

    name: str
    passed: bool
    severity: Severity
    description: str
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.severity not in get_args(Severity):
            raise ValueError(f"check {self.name!r}: severity {self.severity!r} is none of {', '.join(get_args(Severity))}")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": bool(self.passed),
            "severity": self.severity,
            "description": self.description,
            "notes": [note.to_json() for note in self.notes],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        notes = [Note.from_json(note) for note in data["notes"]]
        return cls(data["name"], data["passed"], data["severity"], data["description"], notes)


@dataclass(frozen=True)
class Rescored:
    """The present champion on new samples: its headline (NaN if there is none), and whether the data have drifted."""

    value: float
    drift: Check


@dataclass(frozen=True)
class Made:
    """What a stage reports beside its files: notes and checks for people, `facts` (small JSON) for later stages."""

    notes: list[Note] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "notes": [note.to_json() for note in self.notes],
            "checks": [check.to_json() for check in self.checks],
            "facts": plain(self.facts),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        notes = [Note.from_json(note) for note in data["notes"]]
        checks = [Check.from_json(check) for check in data["checks"]]
        return cls(notes, checks, dict(data["facts"]))

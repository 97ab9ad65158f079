"""The official folder layout of MVTec 3D-AD, paired by stem. Names only: nothing is decoded here.

    <root>/<unit>/{train,validation,test}/<defect>/{rgb,xyz,gt}/<stem>.<suffix>

Pairing by position in two sorted listings, as the released code does, shifts all pairs when one file is missing.
"""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenfold.crossmodal_anomaly.images import GT_SUFFIXES, RGB_SUFFIXES, XYZ_SUFFIXES

SPLITS = ("train", "validation", "test")

# (train, validation, test good, test defect) as recalled, not measured; their sums agree with the published totals
# 2656/294/249/948. A difference is shown as a warning only.
KNOWN_COUNTS = {
    "bagel": (244, 22, 22, 88),
    "cable_gland": (223, 23, 21, 87),
    "carrot": (286, 29, 27, 132),
    "cookie": (210, 22, 28, 103),
    "dowel": (288, 34, 26, 104),
    "foam": (236, 27, 20, 80),
    "peach": (361, 42, 26, 106),
    "potato": (300, 33, 22, 92),
    "rope": (298, 33, 32, 69),
    "tire": (210, 29, 25, 87),
}


@dataclass(frozen=True)
class Candidate:
    """One part as its files are named. `paths` start from the root; `problem` is (reason, detail) if they do not fit."""

    unit: str
    split: str
    defect: str
    stem: str
    paths: Mapping[str, Path]
    problem: tuple[str, str] | None = None

    @property
    def id(self) -> str:
        return "/".join(each for each in (self.unit, self.split, self.defect, self.stem) if each)

    @property
    def label(self) -> int:
        return int(self.defect != "good")


@dataclass
class Found:
    """What a folder holds: candidates in order of their ids, errors that stop the import, notes that do not."""

    candidates: list[Candidate] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(root: Path, unit: str, cloud: str = "xyz", cloud_suffixes: Sequence[str] = XYZ_SUFFIXES) -> Found:
    """Every part of one unit. `cloud` names the folder of the 3D modality; gt is looked for under test only."""
    found = Found()
    base = root / unit
    if not base.is_dir():
        there = ", ".join(folders(root)) or "nothing"
        found.errors.append(f"{base}: no such folder (in {root}: {there}). Correct `units` in params.yaml or the folder's name.")
        return found
    for split in SPLITS:
        defects = folders(base / split)
        if split != "test":
            strange = [each for each in defects if each != "good" and _holds_files(base / split / each)]
            found.errors += [
                f"{base / split / each}: only good parts may stand in {split}. Move them to test/{each}, or away." for each in strange
            ]
            defects = [each for each in defects if each == "good"]
        for defect in defects:
            _pair(found, root, (unit, split, defect), cloud, cloud_suffixes)
    splits = {each.split for each in found.candidates}
    if "train" not in splits:
        found.errors.append(f"{base / 'train' / 'good'}: no parts. Good scans belong there, in rgb/ and {cloud}/.")
    for split in set(SPLITS[1:]) - splits:
        found.notes.append(f"{base / split}: no parts; {'nothing to calibrate on' if split == 'validation' else 'nothing to measure on'}")
    found.candidates.sort(key=lambda each: each.id)
    return found


def folders(path: Path) -> list[str]:
    """Names of the folders in `path`, sorted, hidden ones left out; none if it is no folder."""
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:
        return sorted(each.name for each in entries if not each.name.startswith(".") and each.is_dir())


def count_notes(unit: str, counts: tuple[int, int, int, int]) -> list[str]:
    """A warning where an official category does not have its known number of parts."""
    known = KNOWN_COUNTS.get(unit)
    if known is None or known == counts:
        return []
    return [f"{unit}: {'/'.join(map(str, counts))} parts (train/validation/test good/test defect), known are {'/'.join(map(str, known))}"]


def _pair(found: Found, root: Path, place: tuple[str, str, str], cloud: str, cloud_suffixes: Sequence[str]) -> None:
    unit, split, defect = place
    relative = Path(unit, split, defect)
    wanted = {"rgb": RGB_SUFFIXES, cloud: tuple(cloud_suffixes)} | ({"gt": GT_SUFFIXES} if split == "test" else {})
    listed: dict[str, dict[str, list[str]]] = {}
    for name, suffixes in wanted.items():
        listed[name], ignored = _stems(root / relative / name, suffixes)
        if ignored:
            found.notes.append(f"{root / relative / name}: {ignored} files ignored, not {'/'.join(suffixes)}")
    for stem in sorted(set(listed["rgb"]) | set(listed[cloud])):
        files = {name: stems[stem] for name, stems in listed.items() if stem in stems}
        paths = {name: relative / name / names[0] for name, names in files.items()}
        missing = [name for name in ("rgb", cloud) if name not in files]
        problem = None
        if _unprintable(stem):
            problem, paths, stem = ("unreadable_name", "the file's name is not UTF-8; rename it"), {}, _escaped(stem)
        elif missing:
            problem = (f"missing_{missing[0]}", f"{stem} has no file in {relative / missing[0]}")
        elif defect != "good" and "gt" not in files:
            problem = ("missing_gt", f"{stem} has no mask in {relative / 'gt'}")
        elif several := [name for name, names in files.items() if len(names) > 1]:
            problem = ("ambiguous", f"{stem} stands for {', '.join(files[several[0]])} in {relative / several[0]}; keep one")
        found.candidates.append(Candidate(unit, split, defect, stem, paths, problem))
    for stem in sorted(set(listed.get("gt", {})) - set(listed["rgb"]) - set(listed[cloud])):
        found.notes.append(f"{relative / 'gt'}: mask {_escaped(stem)} belongs to no part")


def _stems(folder: Path, suffixes: Sequence[str]) -> tuple[dict[str, list[str]], int]:
    """Stem -> file names, and how many other files there are. Stems in NFC: macOS writes the same name in another form."""
    stems: dict[str, list[str]] = {}
    ignored = 0
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in suffixes:
                stems.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path.name)
            else:
                ignored += 1
    return stems, ignored


def _holds_files(folder: Path) -> bool:
    return any(files for _, _, files in os.walk(folder))


def _unprintable(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in text)


def _escaped(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

"""Which clip trains, validates or tests: by the protocols' lists, by subset, or by subject (specification sections 2.6, 3.1)."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tenfold.core.errors import BadData, UsageError
from tenfold.core.files import Unreadable
from tenfold.motion_tracking import amass
from tenfold.motion_tracking.amass import Place
from tenfold.motion_tracking.config import Dataset

LISTS = ("train", "validation", "test")
PROTOCOL_2 = {
    "train": (
        "ACCAD", "BioMotionLab_NTroje", "BMLmovi", "CMU", "EKUT", "Eyes_Japan_Dataset", "KIT", "MPI_HDM05", "MPI_Limits", "MPI_mosh", "SFU",
        "TotalCapture",
    ),
    "test": ("HumanEva", "Transitions_mocap"),
}  # fmt: skip


@dataclass
class Split:
    """Clips and their split, in the order in which they are read; what was left out (`skipped`) and how many lines a list had."""

    places: list[tuple[Place, str]] = field(default_factory=list)
    lines: int = 0
    missing: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find(source: Path, block: Dataset) -> Split:
    """Every clip of the dataset with its split. Raises BadData if a folder is not there."""
    inside = Path(block.amass_dir)
    if inside.is_absolute() or ".." in inside.parts:
        raise UsageError(f"amass_dir is {block.amass_dir!r}: it must lie below the source. Make its parent the source.")
    root = source / inside
    if not root.is_dir():
        raise BadData(f"{root} is no folder. Put the subsets there, or correct `amass_dir` (`.`: they lie in the source itself).")
    try:
        folders = amass.subsets(root)
    except Unreadable as problem:
        raise BadData(problem.detail) from None
    made = Split()
    made.warnings += [f"folder {path.name} is {name}" for name, path in folders.items() if path.name != name]
    if block.split == "lists":
        _by_lists(made, source, inside, folders, source / block.splits_dir)
    elif block.split == "by_subset":
        _by_subset(made, source, folders)
    else:
        everything = [each for folder in folders.values() for each in amass.clips(source, folder)]
        assigned = by_share(_subjects(everything), {"test": block.test, "validation": block.validation}, block.seed)
        made.places = [(each, assigned[_subject(each)]) for each in everything]
    if not any(split == "validation" for _, split in made.places):
        _cut_validation(made, block)
    made.errors += [f"split {split} is empty" for split in LISTS if not any(each == split for _, each in made.places)]
    return made


def by_share(subjects: Collection[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Subject -> split: `shares` of them in that order, at least one each where there are enough, the rest train.

    A subject's place rests on its name and the seed alone, so that new subjects do not move old ones between splits (but for the first few).
    """
    order = sorted((_draw(seed, name), name) for name in subjects)
    assigned = {name: "train" for _, name in order}
    rank, bound = 0, 0.0
    named = [(split, share) for split, share in shares.items() if share > 0]
    for number, (split, share) in enumerate(named, 1):
        begin, bound = rank, bound + share
        # One each first; what exceeds that must leave one to every split behind it, and to train.
        last = len(order) - 1 - (len(named) - number)
        while rank < len(order) - 1 and (rank == begin or (order[rank][0] < bound and rank < last)):
            assigned[order[rank][1]] = split
            rank += 1
    return assigned


def _draw(seed: int, name: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") / 2**64


def _subject(place: Place) -> str:
    return f"{place.subset}/{place.subject}"


def _subjects(places: Iterable[Place]) -> list[str]:
    return sorted({_subject(each) for each in places})


def _cut_validation(made: Split, block: Dataset) -> None:
    """Validation from the train clips, by subject; the test split is never looked at."""
    train = [each for each, split in made.places if split == "train"]
    assigned = by_share(_subjects(train), {"validation": block.validation}, block.seed)
    made.places = [(each, assigned[_subject(each)] if split == "train" else split) for each, split in made.places]


def _by_subset(made: Split, source: Path, folders: Mapping[str, Path]) -> None:
    splits = {name: split for split, names in PROTOCOL_2.items() for name in names}
    for name, folder in folders.items():
        if name not in splits:
            made.warnings.append(f"folder {folder.name} belongs to no split of Protocol 2: left out")
            continue
        made.places += [(each, splits[name]) for each in amass.clips(source, folder)]
    absent = [name for name in splits if name not in folders]
    if absent:
        made.warnings.append(f"subsets of Protocol 2 that are not there: {', '.join(absent)}")


def _by_lists(made: Split, source: Path, inside: Path, folders: Mapping[str, Path], lists: Path) -> None:
    if not lists.is_dir():
        raise BadData(
            f"{lists} is no folder. Put <Subset>/{{train,test}}_split.txt there, correct `splits_dir`, or take `split: by_subject`."
        )
    found = sorted(path for name in LISTS for path in lists.glob(f"*/{name}_split.txt"))
    if not found:
        raise BadData(f"{lists} holds no <Subset>/train_split.txt. Copy the protocol's lists there, or correct `splits_dir`.")
    seen: dict[str, tuple[str, Path]] = {}
    for path in found:
        split = path.name.removesuffix("_split.txt")
        for line in _lines(path):
            parts = PurePosixPath(line.replace("\\", "/")).parts
            if parts[-1] == amass.SHAPE_FILE:
                made.skipped.append(line)
                continue
            made.lines += 1
            if len(parts) < 3 or ".." in parts:
                made.errors.append(f"{path}: line {line!r} names no <Subset>/<subject>/<file>")
                continue
            subset, subject, file = parts[-3:]
            folder = folders.get(amass.official(subset))
            place = amass.place(inside / (folder.name if folder else subset) / subject / file)
            if folder is None or not (source / place.path).is_file():
                made.missing.append(f"{path}: {place.path.as_posix()}")
                continue
            before = seen.get(place.id)
            if before is not None:
                told = f"{place.id} stands in {before[1]} and in {path}" if before[1] != path else f"{path} names {place.id} twice"
                (made.errors if before[0] != split else made.warnings).append(told)
                continue
            seen[place.id] = (split, path)
            made.places.append((place, split))
    made.places.sort(key=lambda each: each[0].id)


def _lines(path: Path) -> Sequence[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path} cannot be read as text ({error}).") from error

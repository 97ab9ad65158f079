"""Every clip of a dataset, read and judged: file by file first, then as a whole. One layout, `amass`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tenfold.core import ingest
from tenfold.core.progress import Progress
from tenfold.motion_tracking import bodies, splits
from tenfold.motion_tracking.amass import Place
from tenfold.motion_tracking.config import Dataset
from tenfold.motion_tracking.samples import Examined, examine

LAYOUTS = ("amass",)
_WORKERS = 2


@dataclass
class Survey(ingest.Survey):
    """All that was found. `looks`: for each subset what its clips look like, a count a finding; `clips`: how many were read of it."""

    looks: dict[str, Counter[str]] = field(default_factory=dict)
    clips: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Clips of each `<split>/<subset>`, subjects, frames at 60 Hz, unknown genders, skipped shape files, and the quarantine."""
        counts = Counter(f"{row['split']}/{row['subset']}" for row in self.samples)
        more = {
            "subjects": len({row["subject"] for row in self.samples}),
            "frames": sum(row["frames"] for row in self.samples),
            "gender unknown": sum("gender unknown" in row["warnings"] for row in self.samples),
            "skipped: shape file": len(self.skipped),
            "quarantine": len(self.quarantine),
        }
        return dict(sorted(counts.items())) | more


def survey(source: Path, block: Dataset, progress: Progress) -> Survey:
    """Read and judge every clip below `source`; nothing is written. Raises BadData if a folder or a body model is missing."""
    on = bodies.load(source / block.body_dir, block.body)
    split = splits.find(source, block)
    whole = Survey(errors=list(split.errors), warnings=list(split.warnings), skipped=split.skipped)
    _judge_lists(whole, split, block)
    progress.stage("read", total=len(split.places))
    with ThreadPoolExecutor(_WORKERS) as pool:
        for done in _in_order(pool, source, split.places, block, on):
            _sort_in(whole, done)
            progress.advance()
    _judge_whole(whole, source / block.amass_dir, block)
    return whole


def _in_order(
    pool: ThreadPoolExecutor, source: Path, places: Iterable[tuple[Place, str]], block: Dataset, on: bodies.Bodies
) -> Iterator[Examined]:
    """Two clips at a time, whatever their number."""
    waiting = iter(places)
    running = [pool.submit(examine, source, place, split, block, on) for place, split in islice(waiting, _WORKERS + 1)]
    while running:
        done = running.pop(0).result()
        running += [pool.submit(examine, source, place, split, block, on) for place, split in islice(waiting, 1)]
        yield done


def _sort_in(whole: Survey, done: Examined) -> None:
    subset = done.row["subset"]
    whole.clips[subset] += 1
    if done.looks:
        whole.looks.setdefault(subset, Counter())[done.looks] += 1
    if done.reason:
        whole.quarantine.append({**done.row, "reason": done.reason, "detail": done.detail})
    else:
        whole.samples.append(done.row)


def _judge_lists(whole: Survey, split: splits.Split, block: Dataset) -> None:
    if split.skipped:
        whole.warnings.append(f"skipped: shape file, {len(split.skipped)} lines of the lists such as {split.skipped[0]}")
    if split.missing:
        told = f"{len(split.missing)} of {split.lines} lines of the lists have no file, such as {split.missing[0]}"
        if len(split.missing) > block.max_missing * split.lines:
            whole.errors.append(f"{told}; max_missing is {block.max_missing:.0%}. Download the subset, or correct the lists.")
        else:
            whole.warnings.append(told)


def _judge_whole(whole: Survey, root: Path, block: Dataset) -> None:
    """What shows only when all clips are known: units and axes, the wrong download, too much quarantine, leaks, empty splits."""
    for subset, looks in whole.looks.items():
        look, count = looks.most_common(1)[0]
        if 2 * count > whole.clips[subset]:
            whole.errors.append(f"{subset} looks like {look} ({count} of {whole.clips[subset]} clips). Convert it to z-up metres.")
    wrong = [row for row in whole.quarantine if row["reason"] == "smplx_download"]
    if wrong:
        whole.errors.append(f"{len(wrong)} files such as {wrong[0]['detail']}")
    total = len(whole.samples) + len(whole.quarantine)
    if whole.quarantine and len(whole.quarantine) > block.max_quarantine * total:
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(row["reason"] for row in whole.quarantine).most_common())
        first = whole.quarantine[0]
        whole.errors.append(
            f"{root}: {len(whole.quarantine)} of {total} clips cannot be used ({reasons}), max_quarantine is {block.max_quarantine:.0%}. "
            f"First: {first['id']}: {first['detail']}"
        )
    for split in splits.LISTS:
        stood = any(row["split"] == split for row in whole.quarantine)
        if stood and not any(row["split"] == split for row in whole.samples):
            whole.errors.append(f"split {split} is empty after quarantine")
    _judge_leaks(whole)
    people = _parted(whole.samples, "subject")
    if people:
        told = f"{len(people)} subjects of the test split also train, such as {people[0][0]}"
        if block.split == "by_subject":
            whole.errors.append(told)
        else:
            whole.warnings.append(f"{told}; `split: by_subject` keeps them apart")


def _judge_leaks(whole: Survey) -> None:
    """The same motion, or two of one group, in train and test would make every number of the evaluation worthless."""
    for content, test, train in _parted(whole.samples, "poses_sha256"):
        whole.errors.append(f"leak: {train} (train) and {test} (test) have the same poses ({content[:12]}). Remove one.")
    for group, test, train in _parted(whole.samples, "group"):
        whole.errors.append(f"leak: {train} (train) and {test} (test) are of group {group!r}. Put them into one split.")
    twins: dict[tuple[str, str], list[str]] = {}
    for row in whole.samples:
        twins.setdefault((row["split"], row["poses_sha256"]), []).append(row["id"])
    repeated = [ids for ids in twins.values() if len(ids) > 1]
    if repeated:
        whole.warnings.append(f"{len(repeated)} motions stand more than once in their split, such as {repeated[0][0]} and {repeated[0][1]}")


def _parted(rows: Sequence[Mapping[str, Any]], column: str) -> list[tuple[str, str, str]]:
    """Values that stand in test and also in train or validation, with a clip of each side."""
    known = {row[column]: row["id"] for row in rows if row["split"] != "test" and row[column]}
    found: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        if row["split"] == "test" and row[column] in known:
            found.setdefault(row[column], (row[column], row["id"], known[row[column]]))
    return list(found.values())

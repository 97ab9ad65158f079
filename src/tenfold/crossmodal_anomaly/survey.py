"""Everything that a dataset's folder holds, read and judged: part by part first, then as a whole.

Layouts: `mvtec_3d_ad`, `eyecandies`, `rgb_depth`, `rgb_cloud`.
"""

import math
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tenfold.core import ingest
from tenfold.core.files import Unreadable
from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly import config, convert, eyecandies, mvtec
from tenfold.crossmodal_anomaly.mvtec import Candidate, Found
from tenfold.crossmodal_anomaly.samples import Examined, examine, failed, xyz_scale

# Median distances (m) between which a part can lie; beyond, the unit of length is wrong.
_NEAR_M, _FAR_M = 0.005, 5.0

Finder = Callable[[Path, str, config.Dataset], Found]
Converter = Callable[[Path, Candidate, Path, config.Dataset], Candidate]


@dataclass(frozen=True)
class Layout:
    """How one folder layout is listed and, unless it is the official one, converted part by part."""

    find: Finder
    convert: Converter | None


LAYOUTS = {
    "mvtec_3d_ad": Layout(lambda root, unit, block: mvtec.find(root, unit), None),
    "eyecandies": Layout(eyecandies.find, eyecandies.convert),
    "rgb_depth": Layout(convert.find_depth, convert.convert_depth),
    "rgb_cloud": Layout(convert.find_cloud, convert.convert_cloud),
}


@dataclass
class Survey(ingest.Survey):
    """All that was found in a dataset; `median_z`: unit -> distance of each part, in the files' own unit."""

    median_z: dict[str, list[float]] = field(default_factory=dict)

    def counts(self) -> dict[str, dict[str, int]]:
        """Unit -> parts of `<split>/<defect>` and `quarantine`."""
        counts: dict[str, Counter[str]] = {}
        for row in self.samples:
            counts.setdefault(row["unit"], Counter())[f"{row['split']}/{row['defect']}"] += 1
        for row in self.quarantine:
            counts.setdefault(row["unit"], Counter())["quarantine"] += 1
        return {unit: dict(sorted(each.items())) for unit, each in sorted(counts.items())}


def recognise(unit: Path) -> str:
    """The layout that a unit's folder looks like; the official one if nothing speaks for another."""
    looks = {"eyecandies": "train/data", "rgb_depth": "train/good/depth", "rgb_cloud": "train/good/cloud"}
    return next((layout for layout, folder in looks.items() if (unit / folder).is_dir()), "mvtec_3d_ad")


def survey(source: Path, layout: str, units: Sequence[str], block: config.Dataset, files: Path | None, progress: Progress) -> Survey:
    """Read and judge every part. Parts of a layout that needs it are converted below `files`, or (None) only for the look."""
    ingest.layout_named(layout, [*LAYOUTS])
    how = LAYOUTS[layout]
    whole = Survey()
    candidates: list[Candidate] = []
    for unit in units or [""]:
        found = how.find(source, unit, block)
        candidates += found.candidates
        whole.errors += found.errors
        whole.warnings += found.notes
    progress.stage("read", total=len(candidates))
    workers = os.cpu_count() or 1
    # Decoding and hashing leave the interpreter's lock; a window of a few parts bounds the memory.
    with ThreadPoolExecutor(workers) as pool:
        for done in _in_order(pool, 2 * workers, lambda each: _judge(source, each, how.convert, block, files), candidates):
            _sort_in(whole, done)
            progress.advance()
    _judge_whole(whole, source, units or [""], block, converted=how.convert is not None)
    return whole


def _in_order(
    pool: ThreadPoolExecutor, window: int, work: Callable[[Candidate], Examined], candidates: Iterable[Candidate]
) -> Iterator[Examined]:
    waiting = iter(candidates)
    running = [pool.submit(work, each) for each in islice(waiting, window)]
    while running:
        done = running.pop(0).result()
        running += [pool.submit(work, each) for each in islice(waiting, 1)]
        yield done


def _judge(source: Path, candidate: Candidate, converter: Converter | None, block: config.Dataset, files: Path | None) -> Examined:
    if converter is None:
        return examine(source, candidate, block, xyz_scale(block))
    if candidate.problem:
        return failed(candidate, *candidate.problem)
    with tempfile.TemporaryDirectory(dir=files.parent if files else None) as throwaway:
        target = Path(throwaway)
        try:
            made = converter(source, candidate, target, block)
        except Unreadable as problem:
            return failed(candidate, problem.reason, problem.detail)
        done = examine(target, made, block, 1.0)
        if done.reason:
            return failed(candidate, done.reason, done.detail or "")
        if files:
            for path in [each for each in target.rglob("*") if each.is_file()]:
                final = files / path.relative_to(target)
                final.parent.mkdir(parents=True, exist_ok=True)
                path.replace(final)
    return done


def _sort_in(survey: Survey, done: Examined) -> None:
    if done.error:
        survey.errors.append(done.error)
    if done.reason:
        survey.quarantine.append({**done.row, "reason": done.reason, "detail": done.detail})
        return
    survey.samples.append(done.row)
    survey.median_z.setdefault(done.row["unit"], []).append(done.median_z)


def _judge_whole(survey: Survey, source: Path, units: Sequence[str], block: config.Dataset, converted: bool) -> None:
    """What shows only when all parts are known: units of length, too much quarantine, leaks between splits, counts."""
    for unit in units:
        rows = [row for row in survey.samples if row["unit"] == unit]
        bad = [row for row in survey.quarantine if row["unit"] == unit]
        folder = source / unit
        survey.errors += ingest.too_many(folder, len(rows), bad, block.max_quarantine, "parts")
        counts = Counter((row["split"], row["label"]) for row in rows)
        train = counts["train", 0]
        if bad and train == 0:
            survey.errors.append(f"{folder / 'train' / 'good'}: no part is left after quarantine.")
        if train == 1:
            survey.warnings.append(f"{folder / 'train' / 'good'}: one part only; expect poor results")
        survey.errors += _leaks(rows)
        survey.warnings += _repeats(rows)
        four = (train, counts["validation", 0], counts["test", 0], counts["test", 1])
        survey.warnings += mvtec.count_notes(unit, four)
        survey.errors += _wrong_length(folder, [z for z in survey.median_z.get(unit, []) if math.isfinite(z)], block, converted)


def _wrong_length(folder: Path, medians: list[float], block: config.Dataset, converted: bool) -> list[str]:
    if not medians:
        return []
    middle = statistics.median(medians)
    if converted:
        return [f"{folder}: median depth {middle:.4g} m after conversion. Correct depth_scale or xyz_unit."] if middle > _FAR_M else []
    if block.xyz_unit == "m" and middle > _FAR_M:
        return [f"{folder}: coordinates look like millimetres (median z {middle:.4g}); set xyz_unit: mm"]
    if block.xyz_unit == "mm" and 0 < middle * xyz_scale(block) < _NEAR_M:
        return [f"{folder}: coordinates look like metres (median z {middle:.4g}); set xyz_unit: m"]
    return []


def _leaks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same content in train and test would make every number of the evaluation worthless."""
    errors = []
    for modality in ("rgb", "xyz"):
        train = {row[f"{modality}_sha256"]: row[f"{modality}_path"] for row in rows if row["split"] == "train"}
        for row in rows:
            twin = train.get(row[f"{modality}_sha256"])
            if row["split"] == "test" and twin is not None:
                errors.append(f"leakage: {twin} (train) and {row[f'{modality}_path']} (test) are the same file. Remove one.")
    return errors


def _repeats(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Content that stands twice elsewhere is only odd: count it."""
    notes = []
    for unit in sorted({row["unit"] for row in rows}):
        twins = ingest.twins((row for row in rows if row["unit"] == unit), "rgb_sha256")
        if twins:
            notes.append(f"{len(twins)} pictures stand more than once, such as {twins[0][0]} and {twins[0][1]}")
    return notes

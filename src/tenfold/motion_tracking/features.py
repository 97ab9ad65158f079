"""Sensor rows and true poses of every clip at 60 Hz, in memory-mapped arrays (specification sections 2.2 and 5).

One clip at a time is in memory and its rows go straight to the files, so the cost is linear in the frames and the memory flat. A killed
run goes on behind the clips that are safely on the disk.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenfold.core import atomic, tables
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.files import Unreadable
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note
from tenfold.motion_tracking import amass, bodies, body, clips, columns, config, drift, imu, kinematics, resample, sensors, skeleton
from tenfold.motion_tracking.body import Body
from tenfold.motion_tracking.rotations import six_from_matrix

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.float32]
Row = Mapping[str, Any]

ABOUT = "about.json"
CONDITIONS = ("causal", "raw")
"""Perfect sensors whose acceleration is made in another way than in the clean rows."""
CHECKS = pa.schema(
    {
        "clip_id": pa.string(), "finite": pa.bool_(),
        **dict.fromkeys(("six_most", "unit_error", "orthogonal_error", "acceleration_most", "velocity_most", "head_error"), pa.float64()),
    }
)  # fmt: skip
_IMU_JOINTS = list(columns.SENSOR_JOINTS[3:])
_SAFE_EVERY = 512  # clips between two points that a killed run can go on from: seconds of work


@dataclass(frozen=True)
class Truth:
    """A clip on its body at 60 Hz: local and world rotations (T, 22, 3, 3), positions (T, 22, 3), IMU points (T, 3, 3)."""

    local: Floats
    world: Floats
    positions: Floats
    mounts: Floats


def truth(motion: amass.Motion, on: Body, how: resample.How) -> Truth:
    """The motion at 60 Hz on a body."""
    local, trans = resample.resample(motion, how)
    world, positions = kinematics.forward(local, body.joints(on, motion.betas), trans)
    return Truth(local, world, positions, body.mount_positions(on, local, world, trans, motion.betas, positions))


def noisy(made: Truth, level: str, block: config.Features, clip_id: str) -> Array:
    """Rows (T-1, 135) of a clip as imperfect sensors give them; the errors depend on the seed, the level and the clip alone."""
    if level in CONDITIONS:
        return sensors.features(made.world, made.positions, imu.acceleration(made.mounts, level))  # type: ignore[arg-type]
    word = hashlib.sha256(f"{level}/{clip_id}".encode()).digest()
    rng = np.random.default_rng([block.seed, int.from_bytes(word[:8], "big")])
    read = imu.simulate(rng, level, made.world[:, _IMU_JOINTS], made.mounts, block.noisy_acceleration)
    perfect = sensors.readings(made.world, made.positions, read.acceleration)
    rotation = np.concatenate([perfect.rotation[:, :3], read.rotation], axis=1)
    present = np.concatenate([np.ones((len(rotation), 3), np.bool_), read.present], axis=1)
    return sensors.rows(sensors.Readings(rotation, perfect.position, read.acceleration), None if present.all() else present)


def run(dataset: Path, files: Path, block: config.Features, out: Path, progress: Progress) -> Made:
    """Rows of every clip of the folder `dataset` (samples.parquet, about.json), whose paths start at `files`.

    Writes what `clips` describes, `body.npz` (the neutral body's joints), `stats.parquet` (a row a column, over the train clips),
    `checks.parquet` (a row a clip) and `drift.parquet` (of the test clips from the train clips). Raises Corrupt for a clip that is not
    what the dataset was made of, UsageError for an unknown noise level.
    """
    for level in (*block.train_noise, *block.test_noise):
        if level not in (*CONDITIONS, *imu.LEVELS) or level == "clean":
            known = [each for each in (*CONDITIONS, *imu.LEVELS) if each != "clean"]
            raise UsageError(f"features: noise level {level!r} is unknown; there are {', '.join(known)}.")
    read = config.Dataset(**json.loads((dataset / ABOUT).read_bytes())["read"])
    samples = tables.read(dataset / "samples.parquet").to_pylist()
    on = bodies.load(files / read.body_dir, read.body)
    store = _Store(out, samples, block)
    progress.stage("features", total=len(samples), done=store.done)
    with store:
        for number in range(store.done, len(samples)):
            row = samples[number]
            motion = _read(files, row)
            made = truth(motion, on.of(row["gender"]), read.resample)
            rows: dict[str, Array] = {"x": sensors.features(made.world, made.positions, imu.acceleration(made.mounts, block.acceleration))}
            rows |= {"pose6d": _six(made.local), "global6d": _six(made.world), "pos": made.positions[1:].astype(np.float32)}
            noise = {level: noisy(made, level, block, row["id"]) for level in store.levels(number)}
            store.add(number, rows, noise, motion.betas)
            progress.advance()
    tables.write(store.index(), out / "index.parquet")
    if store.noise:
        tables.write(store.noise_index(), out / "noise" / "index.parquet")
    body.save_small(out / "body.npz", on.neutral)
    store.close()
    return _measure(out, on.neutral, progress)


def _read(files: Path, row: Row) -> amass.Motion:
    try:
        motion = amass.read(files, Path(row["clip_path"]))
    except Unreadable as problem:
        raise Corrupt(f"{problem.detail}. It could be read when the dataset was made: make the dataset again.") from problem
    if motion.sha256 != row["clip_sha256"]:
        raise Corrupt(f"{files / row['clip_path']} is not what the dataset was made of. Make the dataset again.")
    return motion


def _six(rotation: Floats) -> Array:
    """6D of frames 1.. (T-1, 132): the first frame of a clip has no row."""
    return six_from_matrix(rotation[1:]).reshape(len(rotation) - 1, -1).astype(np.float32)


class _Store:
    """The arrays on disk: made in full size at once, filled clip by clip through plain files, so that no page stays mapped."""

    def __init__(self, out: Path, samples: Sequence[Row], block: config.Features) -> None:
        self._out, self._samples = out, samples
        self.lengths = [row["frames"] - 1 for row in samples]
        self.starts = _starts(self.lengths)
        levels = {"train": block.train_noise, "validation": block.train_noise, "test": block.test_noise}
        self._levels = [list(levels[row["split"]]) for row in samples]
        self.noise = sorted({level for each in self._levels for level in each})
        self._noise_starts = {level: _starts(self._noise_lengths(level)) for level in self.noise}
        self._partial = out / "partial"
        self._safe = self._partial / "safe.json"
        # What the arrays hold: anything else is begun anew.
        told = json.dumps([[row["id"], row["clip_sha256"], row["frames"]] for row in samples] + [self._levels])
        self._plan = hashlib.sha256(told.encode()).hexdigest()
        self.done = self._found()
        if not self.done:
            self._begin()

    def levels(self, number: int) -> list[str]:
        """Noise levels of a clip."""
        return self._levels[number]

    def add(self, number: int, rows: Mapping[str, Array], noise: Mapping[str, Array], betas: Floats) -> None:
        """Write a clip's rows to their places. Raises Corrupt if they are not as many as the dataset says."""
        if len(rows["x"]) != self.lengths[number]:
            told = f"{self._samples[number]['id']} has {len(rows['x'])} rows, the dataset says {self.lengths[number]}"
            raise Corrupt(f"{told}. Make the dataset again.")
        for name, values in rows.items():
            self._put(name, self.starts[number], values)
        for level, values in noise.items():
            self._put(f"noise/{level}", self._noise_starts[level][number], values)
        self._put("partial/betas", number, betas[None])
        self.done = number + 1
        if self.done % _SAFE_EVERY == 0:
            self._save()

    def index(self) -> pa.Table:
        """INDEX of all clips."""
        betas = np.load(self._partial / "betas.npy", allow_pickle=False)
        rows = []
        for row, start, length, shape in zip(self._samples, self.starts, self.lengths, betas, strict=True):
            told = {name: row[name] for name in ("split", "source", "subset", "subject", "group", "label", "gender")}
            shapes = dict(zip(clips.BETAS, shape.tolist(), strict=True))
            rows.append({"clip_id": row["id"], **told, "start": start, "length": length, **shapes})
        return pa.Table.from_pylist(rows, clips.INDEX)

    def noise_index(self) -> pa.Table:
        """NOISE_INDEX of all noisy rows."""
        rows = []
        for level in self.noise:
            for number, start in enumerate(self._noise_starts[level]):
                if level in self._levels[number]:
                    rows.append({"level": level, "clip_id": self._samples[number]["id"], "start": start, "length": self.lengths[number]})
        return pa.Table.from_pylist(rows, clips.NOISE_INDEX)

    def close(self) -> None:
        """All is written: forget where it was begun."""
        shutil.rmtree(self._partial)

    def __enter__(self) -> "_Store":
        self._stack = ExitStack()
        self._files: dict[str, tuple[BinaryIO, int]] = {}
        for name in self._shapes():
            path = self._out / f"{name}.npy"
            offset = np.load(path, mmap_mode="r", allow_pickle=False).offset
            self._files[name] = (self._stack.enter_context(path.open("r+b", buffering=0)), offset)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _put(self, name: str, start: int, values: npt.NDArray[Any]) -> None:
        file, offset = self._files[name]
        file.seek(offset + start * values[0].nbytes if len(values) else offset)
        # An unbuffered file may take less than it is given.
        left = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        while len(left):
            left = left[file.write(left) :]

    def _noise_lengths(self, level: str) -> list[int]:
        return [length if level in each else 0 for length, each in zip(self.lengths, self._levels, strict=True)]

    def _shapes(self) -> dict[str, tuple[tuple[int, ...], type]]:
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            name: ((sum(self.lengths), *width), np.float32) for name, width in clips.WIDTHS.items()
        }
        shapes |= {f"noise/{level}": ((sum(self._noise_lengths(level)), columns.WIDTH), np.float32) for level in self.noise}
        return shapes | {"partial/betas": ((len(self._samples), skeleton.BETAS), np.float64)}

    def _found(self) -> int:
        """Clips that an earlier run has safely written, 0 if it was about something else."""
        try:
            safe = json.loads(self._safe.read_bytes())
            whole = all((self._out / f"{name}.npy").is_file() for name in self._shapes())
            return int(safe["clips"]) if whole and safe["plan"] == self._plan else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _begin(self) -> None:
        self._safe.unlink(missing_ok=True)
        for name, (shape, kind) in self._shapes().items():
            path = self._out / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            np.lib.format.open_memmap(path, "w+", np.dtype(kind), shape)

    def _save(self) -> None:
        for name in self._files:
            atomic.sync(self._out / f"{name}.npy")
        atomic.write_json(self._safe, {"clips": self.done, "plan": self._plan})


def _starts(lengths: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(lengths[:-1], dtype=np.int64).tolist()] if lengths else []


def _measure(out: Path, neutral: Body, progress: Progress) -> Made:
    """Statistics and checks in one pass over the rows, clip by clip."""
    made = clips.Clips.open(out)
    moments = {"train": drift.Moments.none(), "test": drift.Moments.none()}
    checks = []
    progress.stage("statistics", total=len(made.index))
    for clip, x, head in _rows(made):
        checks.append({"clip_id": clip.id, **_check(x, head)})
        if clip.split in moments:
            moments[clip.split].add(x)
        progress.advance()
    stats = moments["train"].table()
    tables.write(stats, out / drift.STATS_FILE)
    tables.write(pa.Table.from_pylist(checks, CHECKS), out / "checks.parquet")
    moved = drift.compare(stats, moments["test"].table(), "test split")
    tables.write(moved, out / "drift.parquet")
    noise = ", ".join(made.levels) or "none"
    notes = [
        Note("Clips", "int", len(made.index)),
        Note("Rows", "int", len(made)),
        Note("Minutes", "float", round(len(made) / skeleton.RATE_HZ / 60, 1)),
        Note("Noisy rows", "text", noise),
        drift.note("Drift", moved),
    ]
    facts = {
        "clips": len(made.index),
        "rows": len(made),
        "body_sha256": neutral.sha256,
        "licensed": neutral.licensed,
        "levels": made.levels,
    }
    return Made(notes=notes, facts=facts)


def _rows(made: clips.Clips) -> Iterator[tuple[clips.Clip, Array, Array]]:
    """Each clip with its rows and its head's positions, read as plain files: mapped pages would count as memory."""
    with (made.folder / "x.npy").open("rb") as x, (made.folder / "pos.npy").open("rb") as pos:
        for clip in made.index:
            yield clip, _part(x, made.x, clip), _part(pos, made.pos, clip)[:, skeleton.HEAD]


def _part(file: BinaryIO, array: Array, clip: clips.Clip) -> Array:
    width = int(np.prod(array.shape[1:]))
    file.seek(array.offset + clip.start * width * 4)  # type: ignore[attr-defined]
    values = np.frombuffer(file.read(clip.length * width * 4), np.float32)
    if len(values) != clip.length * width:
        raise BadData(f"{file.name} ends before {clip.id}. Remove its folder and make it again.")
    return values.reshape(clip.length, *array.shape[1:])


def _check(x: Array, head: Array) -> dict[str, Any]:
    """What the contract asks of one clip's rows; NaN counts as 0 in all but `finite`."""
    finite = bool(np.isfinite(x).all())
    x = np.nan_to_num(x, posinf=0.0, neginf=0.0)
    six = np.concatenate([x[:, :72], x[:, 90:114]], axis=1).reshape(-1, 2, 3)
    speed = np.concatenate([x[:, slice(*columns.VELOCITY)], x[:, slice(*columns.HAND_VELOCITY)]], axis=1).reshape(-1, 3)
    return {
        "finite": finite,
        "six_most": _most(six),
        "unit_error": _most(np.linalg.norm(six, axis=-1) - 1.0),
        "orthogonal_error": _most((six[:, 0] * six[:, 1]).sum(-1)),
        "acceleration_most": _most(x[:, slice(*columns.ACCELERATION)]),
        "velocity_most": _most(np.linalg.norm(speed, axis=-1)),
        "head_error": _most(x[:, 72:75] - head),
    }


def _most(values: npt.NDArray[Any]) -> float:
    return float(np.abs(values).max(initial=0.0))

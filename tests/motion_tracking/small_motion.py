"""Made-up features folders for tests: a smooth random body on smooth random paths, as the features stage lays them out."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from tenfold.core import tables
from tenfold.motion_tracking import body, clips, imu, kinematics, rotations, sensors, skeleton
from tenfold.motion_tracking.formulas import Motion


def small_body(seed: int = 7) -> body.Body:
    """A stick body of 1.7 m with random small modes."""
    rng = np.random.default_rng(seed)
    rest = np.array([
        [0, 0, 0], [0.1, -0.08, 0], [-0.1, -0.08, 0], [0, 0.12, 0], [0.1, -0.48, 0], [-0.1, -0.48, 0], [0, 0.26, 0], [0.1, -0.9, -0.02],
        [-0.1, -0.9, -0.02], [0, 0.32, 0], [0.1, -0.95, 0.1], [-0.1, -0.95, 0.1], [0, 0.53, 0], [0.08, 0.44, 0], [-0.08, 0.44, 0], [0, 0.62, 0.03],
        [0.18, 0.46, 0], [-0.18, 0.46, 0], [0.44, 0.45, 0], [-0.44, 0.45, 0], [0.69, 0.45, 0], [-0.69, 0.45, 0],
    ])  # fmt: skip
    mounts = body.MountPoints(rest[[4, 5, 0]], np.zeros((3, 3, 16)), np.zeros((3, 3, 189)), np.eye(22)[[4, 5, 0]])
    return body.Body(rest, rng.normal(0, 0.008, (22, 3, 16)), mounts, "0" * 64, False)


def clip(seed: int, frames: int, form: body.Body, betas: np.ndarray) -> tuple[Motion, np.ndarray, np.ndarray]:
    """Motion, world rotations and rows (frames - 1, 135) of one clip; the motion without its first frame."""
    rng = np.random.default_rng(seed)
    turns = gaussian_filter1d(rng.normal(0, 6.0, (frames, 22, 3)), 25, axis=0, mode="wrap")
    local = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(frames, 22, 3, 3)
    local[:, 0] = rotations.about("z", np.linspace(0, rng.normal(0, 1.5), frames)) @ rotations.STANDING @ local[:, 0]
    root = np.cumsum(gaussian_filter1d(rng.normal(0, 0.2, (frames, 3)), 20, axis=0), axis=0) * [1, 1, 0.1] + [0, 0, 0.95]
    world, positions = kinematics.forward(local, body.joints(form, betas), root)
    x = sensors.features(world, positions, imu.acceleration(positions[:, [4, 5, 0]]))
    return Motion(local[1:], positions[1:]), world[1:], x


def folder(path: Path, train: int = 8, test: int = 4, frames: int = 61, levels: tuple[str, ...] = ()) -> Path:
    """A features folder of `train` and `test` clips (half of the test clips count as real)."""
    form = small_body()
    rows, x, pose, world6, pos = [], [], [], [], []
    start = 0
    for number in range(train + 1 + test):
        split = "train" if number < train else "validation" if number == train else "test"
        betas = np.random.default_rng(100 + number).normal(0, 1, 16)
        length = frames + 3 * (number % 3)
        motion, world, given = clip(number, length, form, betas)
        real = split == "test" and number % 2 == 1
        row = {
            "clip_id": f"{'RealClips' if real else 'GenWalk'}/s{number}/c{number}", "split": split, "source": "real" if real else "generated",
            "subset": "RealClips" if real else "GenWalk", "subject": f"s{number}", "group": f"g{number}", "label": "walk" if number % 2 else "kick",
            "gender": "neutral", "start": start, "length": length - 1, **{f"b{i}": float(b) for i, b in enumerate(betas)},
        }  # fmt: skip
        rows.append(row)
        start += length - 1
        x.append(given)
        pose.append(rotations.six_from_matrix(motion.local).reshape(length - 1, 132))
        world6.append(rotations.six_from_matrix(world).reshape(length - 1, 132))
        pos.append(motion.positions)
    path.mkdir(parents=True, exist_ok=True)
    for name, parts in (("x", x), ("pose6d", pose), ("global6d", world6), ("pos", pos)):
        np.save(path / f"{name}.npy", np.concatenate(parts).astype(np.float32))
    tables.write(pa.Table.from_pylist(rows, schema=clips.INDEX), path / "index.parquet")
    body.save_small(path / "body.npz", form)
    if levels:
        noisy_rows(path, rows, levels)
    return path


def noisy_rows(path: Path, rows: list[dict[str, object]], levels: tuple[str, ...]) -> None:
    """Rows of the test split with errors on the sensors' columns."""
    (path / "noise").mkdir()
    every = np.load(path / "x.npy")
    index = []
    for number, level in enumerate(levels):
        parts, at = [], 0
        for row in rows:
            if row["split"] == "test":
                part = every[row["start"] : row["start"] + row["length"]]  # type: ignore[operator]
                shaken = part + np.random.default_rng(number).normal(0, 0.02 * (number + 1), part.shape).astype(np.float32)
                shaken[:, :18], shaken[:, 72:75] = part[:, :18], part[:, 72:75]
                parts.append(shaken)
                index.append({"level": level, "clip_id": row["clip_id"], "start": at, "length": row["length"]})
                at += len(part)
        np.save(path / "noise" / f"{level}.npy", np.concatenate(parts).astype(np.float32))
    tables.write(pa.Table.from_pylist(index, schema=clips.NOISE_INDEX), path / "noise" / "index.parquet")


def tables_of(features: Path, dataset: Path) -> None:
    """The dataset's two tables for a features folder, as far as the report reads them."""
    index = tables.read(features / "index.parquet").to_pylist()
    rows = [{"id": r["clip_id"], "seconds": r["length"] / 60} | {n: r[n] for n in ("split", "label", "subset", "source")} for r in index]
    tables.write(pa.Table.from_pylist(rows), dataset / "samples.parquet")
    tables.write(pa.Table.from_pylist([{"id": "a/b/c", "reason": "not_finite", "detail": "frame 3"}]), dataset / "quarantine.parquet")


def a_clip(number: int, label: str = "walk", source: str = "generated") -> clips.Clip:
    """An entry of an index."""
    return clips.Clip(f"c{number}", "test", source, "s", "p", "", label, "neutral", 0, 60, (0.0,) * skeleton.BETAS)

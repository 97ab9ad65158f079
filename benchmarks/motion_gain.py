"""Where motion_tracking's accuracy comes from, and what live use does to it: the tables of docs/papers/motion_tracking.md.

    python benchmarks/motion_gain.py [--folder FOLDER] [--parts gain acceleration switching generator real]
        [--longer 2] [--clips 6] [--acted 320]

Makes the demo's clips, features, baselines and full network as `params.yaml` has them, with the library alone (--folder keeps them for
another time), and prints one JSON object; four minutes of CPU. One thread, so the same numbers on every run. A clip counts once.

    gain          MPJPE (cm), MPJVE (cm/s) and jitter (m/s^3) of all test clips and of the real ones, a number a sensor set: both ridges, the
                  fitted linear map (no training step), the network, and it again with --longer times the epochs.
    acceleration  MPJPE of the sensor sets with IMUs, trained on central differences: fed these, the acceleration of the moment (raw), and
                  the same window ended at the frame (causal).
    switching     --clips generated and as many real test clips of 3 s and more through `live.Live`; sensors fall silent in the middle third.
                  How far the farthest joint moves from one frame to the next, seen from the head (cm), in the 30 frames after the network
                  has lost them and after it has them back, without and with the limit; MPJPE (cm) of the middle third, the same, and
                  undisturbed; frames from the return until the mean joint stays within 1 cm of the undisturbed stream, median and most.
    generator     --acted clips of 5 s, on as many bodies: speed of feet in contact (cm/s), least bend of knees and elbows (rad), fastest joint
                  (m/s), jerk of a clip (m/s^3), and of standing without tremor.
    real          least and most foot slide (cm/s) and jerk (m/s^3) of the package's real clips, by kind.
"""

import argparse
import functools
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from tenfold.core import atomic, params, tables
from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.motion_tracking import (
    actor,
    baselines,
    body,
    columns,
    config,
    demo,
    evaluate,
    features,
    formulas,
    kinematics,
    live,
    predictor_folder,
    procedural_body,
    real_clips,
    rotations,
    skeleton,
    stream,
    tools,
    train,
)  # fmt: skip
from tenfold.motion_tracking.actor_plan import KINDS
from tenfold.motion_tracking.clips import Clip
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.samples import SAMPLES_SCHEMA
from tenfold.motion_tracking.survey import survey
from tenfold.motion_tracking.trials import Answer, Group, Trials
from tenfold.motion_tracking.windows import Source

Floats = npt.NDArray[np.float64]
PAPER = "motion_tracking"
WITH_IMUS = ("hmd_2imus", "hmd_3imus")
LOST = {
    "three IMUs": (3, 4, 5), "pelvis": (5,), "left shin": (3,), "left hand": (1,), "both hands": (1, 2),
}  # fmt: skip
NEAR_CM = 1.0
LONG = 180


def block(name: str, cls: type) -> Any:
    """A block of the demo's recipe."""
    root = Path(__file__).resolve().parent.parent
    tree = params.load(root)
    where = f"{PAPER}.recipes.demo.{name}"
    return params.resolve(cls, params.block(tree, PAPER, "demo", name), {}, where)


def made(folder: Path) -> Path:
    """Clips, dataset, features, baselines and model of the demo below `folder`; what is there already is kept."""
    read: config.Dataset = block("dataset", config.Dataset)
    source, dataset = folder / "source", folder / "dataset"
    if not (folder / "ready").exists():
        root = Path(__file__).resolve().parent.parent
        demo.make(config.Make(**params.load(root)[PAPER]["datasets"]["demo"]["make"]), source, Progress())
        tables.write(pa.Table.from_pylist(survey(source, read, Progress()).samples, SAMPLES_SCHEMA), dataset / "samples.parquet")
        atomic.write_json(dataset / features.ABOUT, {"read": asdict(read)})
        features.run(dataset, source, block("features", config.Features), folder / "features", Progress())
        (folder / "baselines").mkdir(exist_ok=True)
        baselines.run(folder / "features", block("baselines", config.Baselines), folder / "baselines", Progress())
        trained(folder, 1)
        (folder / "ready").touch()
    return folder


def trained(folder: Path, times: int) -> Path:
    """The full network alone, with so many times the recipe's epochs."""
    out = folder / f"model{times}"
    model: config.Model = block("model", config.Model)
    model = replace(model, seeds=model.seeds[:1], variants=[], epochs=times * model.epochs)
    serving = predictor_folder.Serving(block("features", config.Features).acceleration)
    if not (out / "model.json").exists():
        train.run(folder / "features", model, out, folder / f"scratch{times}", Progress(), NullJournal(), serving)
    return out


Method = Callable[[Group, str], Answer]


def gain(folder: Path, longer: int) -> dict[str, Any]:
    """Numbers of each method by source and measure, a number a sensor set."""
    tests, rivals = Trials.open(folder / "features", 0, 8000), baselines.load(folder / "baselines")
    model: config.Model = block("model", config.Model)

    def rival(method: str) -> Method:
        return lambda group, each: evaluate.rival(rivals, tests, group, method, each)

    def of(network: Network) -> Method:
        return lambda group, each: evaluate.predicted(network, tests, group, each)

    found = {method: _scored(tests, rival(method)) for method in ("ridge", "ridge_yaw")}
    found["map"] = _scored(tests, of(train.begin(Source(folder / "features"), model, model.seeds[0]).eval()))
    for times in (1, longer):
        steps = json.loads((trained(folder, times) / "model.json").read_text())["networks"][0]["steps"]
        found[f"{steps} steps"] = _scored(tests, of(train.load_network(trained(folder, times), "", model.seeds[0])))
    return found


def _scored(tests: Trials, answer: Method) -> dict[str, dict[str, list[float]]]:
    sets = [tests.score(functools.partial(_called, answer, each), short=True).clips for each in columns.MASKS]
    real = np.array([clip.source == "real" for clip in tests.clips])
    return {
        source: {measure: [float(one[measure][which].mean()) for one in sets] for measure in ("mpjpe", "mpjve", "jitter")}
        for source, which in (("all", real | True), ("real", real))
    }


def _called(answer: Method, sensor_set: str, group: Group) -> Answer:
    return answer(group, sensor_set)


def acceleration(folder: Path) -> dict[str, dict[str, float]]:
    """MPJPE by kind of acceleration and source, mean of the sensor sets that have one."""
    clean = Trials.open(folder / "features", 0, 8000)
    network = train.load_network(trained(folder, 1), "", block("model", config.Model).seeds[0])
    real = np.array([clip.source == "real" for clip in clean.clips])

    def error(level: str) -> Floats:
        tests = clean if level == "clean" else clean.noisy(level)
        assert len(tests.clips) == len(clean.clips)

        def answer(group: Group, each: str) -> Answer:
            return evaluate.predicted(network, tests, group, each, level)

        return np.mean([tests.score(functools.partial(_called, answer, each), short=True).clips["mpjpe"] for each in WITH_IMUS], axis=0)

    errors = {"central": error("clean"), "raw": error("raw"), "causal": error("causal")}
    return {name: {"generated": float(of[~real].mean()), "real": float(of[real].mean())} for name, of in errors.items()}


def switching(folder: Path, clips: int) -> dict[str, dict[str, float]]:
    """What losing sensors does to a live stream."""
    tests = Trials.open(folder / "features", 0, 8000)
    parts = predictor_folder.read(trained(folder, 1) / "predictor")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in LOST}
    for clip in _long(tests, clips):
        world = rotations.matrix_from_six(tests.data.global6d[clip.rows].reshape(clip.length, skeleton.COUNT, 6))
        true = tests.data.pos[clip.rows].astype(np.float64)
        felt = tests.data.x[clip.rows, slice(*columns.ACCELERATION)].reshape(-1, 3, 3).astype(np.float64)
        readings = tools.readings(world, true, felt)
        first, second = clip.length // 3, 2 * clip.length // 3
        calm, _ = _run(parts.step, tests.form, readings, True)
        for name, sensors in LOST.items():
            torn = [_silent(each, sensors) if first <= number < second else each for number, each in enumerate(readings)]
            alone, _ = _run(parts.step, tests.form, torn, False)
            eased, changed = _run(parts.step, tests.form, torn, True)
            away = np.flatnonzero(100 * np.linalg.norm(eased[second:] - calm[second:], axis=-1).mean(axis=1) >= NEAR_CM)
            rows[name].append(
                {
                    "alone": _farthest(alone, changed), "eased": _farthest(eased, changed), "mpjpe": _error(eased, true, first, second),
                    "mpjpe_alone": _error(alone, true, first, second),
                    "undisturbed": _error(calm, true, first, second), "frames": float(away[-1] + 1) if len(away) else 0.0,
                }
            )  # fmt: skip
    return {
        name: {
            "network alone, cm": max(each["alone"] for each in found),
            "eased, cm": max(each["eased"] for each in found),
            "MPJPE meanwhile, network alone, cm": float(np.mean([each["mpjpe_alone"] for each in found])),
            "MPJPE meanwhile, eased, cm": float(np.mean([each["mpjpe"] for each in found])),
            "MPJPE undisturbed, cm": float(np.mean([each["undisturbed"] for each in found])),
            "frames back, median": float(np.median([each["frames"] for each in found])),
            "frames back, most": max(each["frames"] for each in found),
        }
        for name, found in rows.items()
    }


def _long(tests: Trials, each: int) -> list[Clip]:
    """So many clips of each source, spread over those that leave time to come back."""
    found: list[Clip] = []
    for source in ("generated", "real"):
        some = [clip for clip in tests.clips if clip.source == source and clip.length >= LONG]
        found += [some[at] for at in sorted({int(at) for at in np.linspace(0, len(some) - 1, each)})]
    return found


def _silent(reading: stream.Reading, sensors: Sequence[int]) -> stream.Reading:
    values = reading.values.copy()
    values[list(sensors)] = np.nan
    return stream.Reading(reading.t, values)


def _run(step: Any, form: body.Body, readings: Sequence[stream.Reading], limited: bool) -> tuple[Floats, list[int]]:
    """Joints (N, 22, 3) of a stream, a frame a reading, and the frames in which the sensors that the network sees have changed."""
    # without a body a stream knows no joints, and so limits none
    one = live.Live(step, form if limited else None)
    poses = [pose for each in readings for pose in one.push(each)]
    assert len(poses) == len(readings)
    rest = body.joints(form, np.stack([pose.betas for pose in poses]))
    _, joints = kinematics.forward(np.stack([pose.local for pose in poses]), rest, np.zeros(3))
    seen = np.stack([pose.present for pose in poses])
    changed = 1 + np.flatnonzero((seen[1:] != seen[:-1]).any(axis=1))
    return kinematics.align_head(joints, np.stack([pose.head for pose in poses])), changed.tolist()


def _farthest(joints: Floats, changed: Sequence[int]) -> float:
    """Most (cm) that a joint moves between two frames, seen from the head, in the frames after a change."""
    moved = 100 * np.linalg.norm(np.diff(joints - joints[:, skeleton.HEAD, None], axis=0), axis=-1).max(axis=1)
    return max((float(moved[at - 1 : at - 1 + live.EASE].max()) for at in changed), default=0.0)


def _error(joints: Floats, true: Floats, first: int, second: int) -> float:
    return float(100 * np.linalg.norm(joints[first:second] - true[first:second], axis=-1).mean())


def real() -> dict[str, list[float]]:
    """Foot slide (cm/s) and jerk (m/s^3) of the real clips by their kind, at 60 Hz on the mean body."""
    rest, found = _human().rest, defaultdict[str, list[dict[str, float]]](list)
    for clip in real_clips.read():
        times = np.arange(len(clip.local)) / clip.fps
        even = np.arange(0.0, times[-1], 1 / skeleton.RATE_HZ)
        root = np.column_stack([np.interp(even, times, axis) for axis in real_clips.on_body(clip, rest).T])
        local = rotations.slerp(clip.local, times, even)
        motion = formulas.Motion(local, kinematics.forward(local, rest, root)[1])
        found[clip.kind].append(formulas.score(motion, motion))
    return {
        f"{kind}, {measure}": [min(each[measure] for each in some), max(each[measure] for each in some)]
        for kind, some in sorted(found.items())
        for measure in ("foot_slide", "jitter")
    }


def _human() -> body.Body:
    with tempfile.TemporaryDirectory() as name:
        procedural_body.write(Path(name) / "model.npz")
        return body.load(Path(name) / "model.npz")


def generator(clips: int) -> dict[str, Any]:
    """Limits that the generated clips keep."""
    human = _human()
    slides, knees, elbows, fastest, jerks, calm = [], [], [], [], [], []
    for number in range(clips):
        rng = np.random.default_rng(number)
        rest = body.joints(human, rng.normal(size=skeleton.BETAS).clip(-2.5, 2.5))
        kind = KINDS[number % len(KINDS)]
        motion = actor.act(rng, kind, 300, rest)
        joints = kinematics.forward(motion.local, rest, motion.root)[1]
        speed = skeleton.RATE_HZ * np.linalg.norm(np.diff(joints, axis=0), axis=-1)
        slides.append(100 * speed[:, [10, 11]][motion.contact[1:] & motion.contact[:-1]])
        knees.append(min(_bend(joints, hip, hip + 3, hip + 6) for hip in (1, 2)))
        elbows.append(min(_bend(joints, shoulder, shoulder + 2, shoulder + 4) for shoulder in (16, 17)))
        fastest.append(float(speed.max()))
        jerks.append(_jerk(joints))
        if kind == "idle":
            still = actor.act(np.random.default_rng(number), kind, 300, rest, tremor=0.0)
            calm.append(_jerk(kinematics.forward(still.local, rest, still.root)[1]))
    slide = np.concatenate(slides)
    return {
        "contact slide, cm/s": {"mean": float(slide.mean()), "most": float(slide.max())},
        "least bend, rad": {"knee": min(knees), "elbow": min(elbows)}, "fastest joint, m/s": max(fastest),
        "jerk of a clip, m/s^3": [min(jerks), max(jerks)], "jerk of standing without tremor": [min(calm), max(calm)] if calm else [],
    }  # fmt: skip


def _bend(joints: Floats, first: int, middle: int, end: int) -> float:
    upper, lower = joints[:, middle] - joints[:, first], joints[:, end] - joints[:, middle]
    along = (upper * lower).sum(axis=-1) / np.linalg.norm(upper, axis=-1) / np.linalg.norm(lower, axis=-1)
    return float(np.arccos(np.clip(along, -1, 1)).min())


def _jerk(joints: Floats) -> float:
    return float(np.linalg.norm(np.diff(joints, 3, axis=0), axis=-1).mean() * skeleton.RATE_HZ**3)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("gain", "acceleration", "switching", "generator", "real")
    parser.add_argument("--folder", type=Path, help="keep what is made here")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--longer", type=int, default=2)
    parser.add_argument("--clips", type=int, default=6, help="of each source")
    parser.add_argument("--acted", type=int, default=320)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = made(args.folder or Path(name)) if set(args.parts) - {"generator", "real"} else Path(name)
        works = {
            "gain": lambda: gain(folder, args.longer), "acceleration": lambda: acceleration(folder),
            "switching": lambda: switching(folder, args.clips), "generator": lambda: generator(args.acted), "real": real,
        }  # fmt: skip
        for part in args.parts:
            found[part] = works[part]()
    print(json.dumps(_short(found), indent=1))


def _short(value: Any) -> Any:
    """Numbers to three decimals, those of a list in one line."""
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    return " / ".join(f"{each:.4g}" for each in value) if isinstance(value, list) else round(value, 3)


if __name__ == "__main__":
    main()

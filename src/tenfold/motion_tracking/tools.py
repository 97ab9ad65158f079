"""`tenfold tool motion_tracking NAME ...`: foreign recordings to our layouts, scores, the step as ONNX, calibration, latency."""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import (
    amass,
    amass_file,
    bvh,
    calibration,
    columns,
    kinematics,
    real_clips,
    recording,
    rotations,
    skeleton,
    stream,
)
from tenfold.motion_tracking import body as bodies

_T = TypeVar("_T")
Floats = npt.NDArray[np.float64]

WARM_UP = 60


def convert_bvh(arguments: Sequence[str]) -> int:
    """BVH files to AMASS's layout, through a map of joint names: FILE... --out FOLDER [--map JSON] [--body MODEL_NPZ]"""
    parser = _parser("convert-bvh", convert_bvh)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets SUBSET/SUBJECT/<name>_poses.npz")
    parser.add_argument(
        "--map", type=Path, metavar="JSON", help='{"pelvis": "Hips", ...}: our joints to the file\'s (default: the CMU conversions\')'
    )
    parser.add_argument("--body", type=Path, metavar="MODEL_NPZ", help="body that is to move (default: the project's own)")
    parser.add_argument("--up", default="y", choices=["y", "z"], help="upward axis of the file (default y)")
    parser.add_argument(
        "--forward", default="z", choices=["z", "-z", "x", "-x", "y", "-y"], help="where the file's skeleton looks at rest (default z)"
    )
    parser.add_argument("--skip-first", action="store_true", help="the first frame is the rest pose, as in the CMU conversions")
    parser.add_argument("--keep-height", action="store_true", help="do not move the motion so that the feet stand on the floor")
    parser.add_argument("--subset", default="Own", help="folder below --out (default Own)")
    parser.add_argument("--subject", default="s1", help="folder below the subset; people are told apart by it (default s1)")
    args = parser.parse_args(list(arguments))
    names = bvh.CMU if args.map is None else _joint_map(args.map)
    form = _body(args.body)

    def read(path: Path) -> bvh.Carried:
        # the length of the legs brings the file's unit to ours
        carried = bvh.carry_over(bvh.read(path), form.rest, names, metres_per_unit=1.0, up=args.up, forward=args.forward)
        if args.skip_first and len(carried.local) == 1:
            raise BadData("no frame is left after the first; leave out --skip-first")
        return carried

    for path, carried in _readable(args.files, read, "BVH files"):
        first = 1 if args.skip_first else 0
        local, root = carried.local[first:], carried.root[first:]
        count = len(local)
        if not 0.99 <= carried.fps / skeleton.RATE_HZ <= 1.01:
            local, root = _at_rate(local, root, carried.fps)
        if not args.keep_height:
            root = real_clips.on_floor(local, root, form.rest)
        target = args.out / args.subset / args.subject / f"{path.stem}_poses.npz"
        recording.write_amass(target, local, root, np.zeros(skeleton.BETAS), form)
        print(f"{target}: {len(local)} frames at {skeleton.RATE_HZ:g} Hz from {count} at {carried.fps:g} Hz")
    return 0


def convert_freedancing(arguments: Sequence[str]) -> int:
    """Clips of PICO-FreeDancing to streams for `tenfold predict`, with their truth in AMASS's layout: CLIP... --out FOLDER [--fps HZ]"""
    parser = _parser("convert-freedancing", convert_freedancing)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="a folder with hmd_sensor_data.pt and gt_body_parms.pt")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="gets SUBJECT_CLIP.csv and amass/FreeDancing/SUBJECT/CLIP_poses.npz"
    )
    parser.add_argument(
        "--fps", type=float, default=skeleton.RATE_HZ, metavar="HZ", help="frames a second; the files do not say (default 60)"
    )
    args = parser.parse_args(list(arguments))
    if not 0 < args.fps <= amass.MAX_RATE_HZ:
        raise UsageError(f"--fps is {args.fps:g}; a rate over 0 and up to {amass.MAX_RATE_HZ:g} Hz is wanted")
    from tenfold.motion_tracking import freedancing

    for folder, clip in _readable(args.clips, freedancing.read, "clips"):
        subject, name = folder.resolve().parent.name or "unknown", folder.resolve().name
        target = args.out / f"{subject}_{name}.csv"
        truth = args.out / "amass" / "FreeDancing" / subject / f"{name}{amass.ENDING}"
        stream.write(target, clip.readings(args.fps))
        amass_file.write(truth, clip.local, clip.trans, clip.betas, args.fps, gender=clip.gender)
        apart = ", ".join(f"{sensor} {angle:.1f}" for sensor, angle in clip.apart().items())
        felt = ", ".join(f"{length:.2f}" for length in np.linalg.norm(clip.acceleration[:, stream.POSED :].mean(axis=0), axis=-1))
        print(f"{target}: {len(clip.local)} frames at {args.fps:g} Hz; truth {truth}")
        print(f"  turned against the true bones (median, degrees): {apart}")
        print(f"  mean acceleration of the shins (m/s^2, near 0 where gravity is removed): {felt}")
    return 0


def score(arguments: Sequence[str]) -> int:
    """Predicted poses against true ones, both in AMASS's layout: POSES TRUTH [--body MODEL_NPZ] [--truth-body MODEL_NPZ]"""
    parser = _parser("score", score)
    parser.add_argument("poses", type=Path, metavar="POSES", help="what `tenfold predict` wrote")
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="the same recording, from its first frame on")
    parser.add_argument("--body", type=Path, metavar="MODEL_NPZ", help="body of the poses (default: the project's own)")
    parser.add_argument("--truth-body", type=Path, metavar="MODEL_NPZ", help="body of the truth (default: the same)")
    args = parser.parse_args(list(arguments))
    from tenfold.motion_tracking import metrics, pair

    form = _body(args.body)
    true = pair.read(args.truth, form if args.truth_body is None else _body(args.truth_body))
    found = pair.score(pair.read(args.poses, form), true)
    for name, about in metrics.METRICS.items():
        if name in found:
            value = f"{found[name]:.3f} {about.scale}" if np.isfinite(found[name]) else "no frame has a value"
            print(f"{about.words}: {value}")
    print(f"jitter of the truth: {pair.score(true, true)['jitter']:.3f} m/s^3; {len(true)} true frames at 60 Hz")
    return 0


def export_onnx(arguments: Sequence[str]) -> int:
    """The step of a trained network as an ONNX graph, compared with PyTorch: PREDICTOR --out FILE [--precision int8]"""
    parser = _parser("export-onnx", export_onnx)
    parser.add_argument("predictor", type=Path, metavar="PREDICTOR", help="folder `predictor` of a model, or a network's own folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    _precision(parser)
    args = parser.parse_args(list(arguments))
    from tenfold.motion_tracking import onnx_export, onnx_int8, predictor_folder, train

    described = args.predictor / "predictor.json"
    sha256 = json.loads(described.read_text())["body_sha256"] if described.is_file() else ""
    network = train.read_network(args.predictor)
    if args.precision == predictor_folder.INT8:
        with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
            onnx_export.export(network, Path(scratch) / "step.onnx", sha256)
            worst = onnx_int8.export(network, Path(scratch) / "step.onnx", args.out)
    else:
        worst = onnx_export.export(network, args.out, sha256)
    size = args.out.stat().st_size
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    print(f"{args.out}: {size / 1e6:.1f} MB, largest difference from PyTorch {worst:.1e}, sha256 {digest}")
    return 0


def calibrate(arguments: Sequence[str]) -> int:
    """How sensors sit on their bones, from a second of standing still: RECORDING --pose t|n --out FILE"""
    parser = _parser("calibrate", calibrate)
    parser.add_argument("recording", metavar="RECORDING", help=".jsonl, .csv or .parquet, or - for standard input")
    parser.add_argument("--pose", required=True, choices=calibration.POSES, help="t: arms level; n: arms hanging")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--at", type=float, default=0.0, metavar="S", help="seconds from the first frame at which the pose is held (default 0)"
    )
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="for how long (default 1)")
    parser.add_argument("--floor", type=float, default=0.0, metavar="M", help="height of the floor in the sensors' coordinates (default 0)")
    parser.add_argument(
        "--imu-heading",
        type=float,
        default=0.0,
        metavar="DEG",
        help="turn about the vertical from the IMUs' world to the headset's (default 0)",
    )
    args = parser.parse_args(list(arguments))
    with stream.opened(args.recording, sys.stdin) as lines:
        found = list(lines)
    made = calibration.solve(
        found, args.pose, start=args.at, seconds=args.seconds, floor=args.floor, imu_heading=float(np.radians(args.imu_heading))
    )
    calibration.write(args.out, made)
    turned = np.degrees(rotations.angle_between(np.eye(3), made.rotation))
    angles = ", ".join(f"{name} {turned[number]:.1f}" for number, name in enumerate(columns.SENSORS) if name in made.solved)
    print(f"{args.out}: facing {np.degrees(made.heading):.1f} degrees; sensors turned against their bones (degrees): {angles}")
    return 0


def bench(arguments: Sequence[str]) -> int:
    """Time of a frame on this machine, the step alone and all from reading to pose: PREDICTOR [--frames N] [--threads N] [--precision int8]"""
    parser = _parser("bench", bench)
    parser.add_argument("predictor", type=Path, metavar="PREDICTOR", help="folder `predictor` of a model")
    parser.add_argument("--frames", type=int, default=600, metavar="N", help="timed frames (default 600)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of ONNX Runtime (default 1)")
    _precision(parser)
    args = parser.parse_args(list(arguments))
    if args.frames < 1 or args.threads < 1:
        raise UsageError("--frames and --threads are 1 or more")
    import psutil

    from tenfold.motion_tracking import predictor_folder
    from tenfold.motion_tracking.live import Live

    parts = predictor_folder.read(args.predictor, args.precision)
    step = predictor_folder.step(args.predictor, parts.description, args.precision, args.threads)
    live, state = Live(step, parts.body), step.start()
    readings = swaying(args.frames + WARM_UP, parts.body or _body(None))
    alone, whole = np.empty(len(readings)), np.empty(len(readings))
    row = np.random.default_rng(0).standard_normal((1, columns.WIDTH)).astype(np.float32)
    for number, reading in enumerate(readings):
        began = time.perf_counter()
        _, state = step(row, state)
        between = time.perf_counter()
        live.push(reading)
        alone[number], whole[number] = between - began, time.perf_counter() - between
    for name, seconds in (("step alone", alone[WARM_UP:]), ("reading to pose", whole[WARM_UP:])):
        p50, p95, p99 = 1e3 * np.percentile(seconds, [50, 95, 99])
        print(f"{name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms; {1e3 / p50:.0f} frames/s")
    print(f"{args.threads} thread(s), {args.frames} frames; memory of the process {psutil.Process().memory_info().rss / 1e6:.0f} MB")
    return 0


def swaying(frames: int, body: bodies.Body) -> list[stream.Reading]:
    """Readings of all six sensors on somebody who sways on the spot."""
    time_s = np.arange(frames) / skeleton.RATE_HZ
    rng = np.random.default_rng(0)
    waves = np.sin(2 * np.pi * rng.uniform(0.2, 0.8, (skeleton.COUNT, 3)) * time_s[:, None, None] + rng.uniform(0, 6, (skeleton.COUNT, 3)))
    local = rotations.matrix_from_axis_angle(0.15 * waves)
    local[:, 0] = rotations.about("z", 0.5 * time_s) @ rotations.STANDING @ local[:, 0]
    world, positions = kinematics.forward(local, body.rest, [0.0, 0.0, 1.0 - body.rest[0, 1]])
    return readings(world, positions, np.zeros((frames, 3, 3)))


def readings(world: Floats, positions: Floats, acceleration: Floats) -> list[stream.Reading]:
    """What perfect sensors on a body say at 60 Hz: world rotations (T, 22, 3, 3), positions (T, 22, 3), accelerations (T, 3, 3)."""
    joints = list(columns.SENSOR_JOINTS)
    turned = rotations.quaternion_from_matrix(world[:, joints])
    values = np.empty((len(world), stream.COUNT, 7))
    values[:, : stream.POSED, :3], values[:, : stream.POSED, 3:] = positions[:, joints[: stream.POSED]], turned[:, : stream.POSED]
    values[:, stream.POSED :, :4], values[:, stream.POSED :, 4:] = turned[:, stream.POSED :], acceleration
    return [stream.Reading(number / skeleton.RATE_HZ, each) for number, each in enumerate(values)]


def _at_rate(local: Floats, root: Floats, fps: float) -> tuple[Floats, Floats]:
    times = np.arange(len(local)) / fps
    new = np.arange(int(times[-1] * skeleton.RATE_HZ + 1e-6) + 1) / skeleton.RATE_HZ
    moved = np.stack([np.interp(new, times, root[:, axis]) for axis in range(3)], axis=1)
    return rotations.slerp(local, times, np.minimum(new, times[-1])), moved


def _joint_map(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(f'{path} cannot be read as a joint map ({error}); it is JSON such as {{"pelvis": "Hips"}}') from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadData(f"{path} is no joint map: one object of our joints' names to the file's; ours are {', '.join(skeleton.JOINTS)}")
    return found


def _body(path: Path | None) -> bodies.Body:
    if path is not None:
        return bodies.load(path)
    from tenfold.motion_tracking import procedural_body

    with tempfile.TemporaryDirectory(prefix="tenfold-") as folder:
        own = Path(folder) / "model.npz"
        procedural_body.write(own)
        return bodies.load(own)


def _readable(paths: Sequence[Path], read: Callable[[Path], _T], words: str) -> Iterator[tuple[Path, _T]]:
    """What can be read, one at a time; what cannot is told and left out. BadData at the end if there was such a one."""
    failed = 0
    for path in paths:
        try:
            found = read(path)
        except BadData as error:
            told = str(error)
            print(told if str(path) in told else f"{path}: {told}", file=sys.stderr)
            failed += 1
            continue
        yield path, found
    if failed:
        raise BadData(f"{failed} of {len(paths)} {words} could not be converted; the reasons are above")


def _precision(parser: argparse.ArgumentParser) -> None:
    from tenfold.motion_tracking import predictor_folder

    parser.add_argument(
        "--precision", default=predictor_folder.FP32, choices=list(predictor_folder.STEPS), help="weights of the step (default fp32)"
    )


def _parser(name: str, tool: Callable[[Sequence[str]], int]) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(f"tenfold tool motion_tracking {name}", description=(tool.__doc__ or "").partition(":")[0])


TOOLS: dict[str, Callable[[Sequence[str]], int]] = {
    "convert-bvh": convert_bvh,
    "convert-freedancing": convert_freedancing,
    "score": score,
    "export-onnx": export_onnx,
    "calibrate": calibrate,
    "bench": bench,
}

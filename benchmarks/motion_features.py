"""Sensor features of a motion clip: ours against a loop over frames, and against the way of the official code.

    python benchmarks/motion_features.py [--frames 600] [--repeats 5] [--clips 40]

Prints one JSON object. All make the same from one clip of SMPL-H's size (156 values a frame): the 135 input values, local and global 6D,
positions, and their results are compared before they are timed. CPU seconds of one thread, in turn.
    loop      frame by frame in NumPy: rotation vectors, chain of 22 joints, three skinned IMU points, one row. At least 20 times slower.
    mesh      as the official code: PyTorch, every vertex of the mesh (6890) skinned for the sake of 22 joints and 3 points, then the rows.
    linear    seconds a frame at `--frames` and at eight times as many: at most 1.25 times more.
    stage     the features stage on `--clips` clips and on four times as many, each in a process of its own: rows a second, and by how
              much the peak of the resident memory grows: at most 15 %.
Exit code 1 if one of them fails.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _turns import turns

Floats = npt.NDArray[np.float64]
VERTICES, JOINTS, BETAS = 6890, 52, 16
SENSORS, MOUNTS = [15, 20, 21, 4, 5, 0], [1176, 4662, 3021]
HANDS = [22 + finger for finger in range(30)]


def model(path: Path) -> dict[str, Floats]:
    """A random mesh with SMPL-H's keys, sizes and joints, written to `path`."""
    from tenfold.motion_tracking import skeleton

    rng = np.random.default_rng(0)
    parents = [*skeleton.PARENTS]
    for number in range(30):
        wrist = 20 if number < 15 else 21
        parents.append(wrist if number % 3 == 0 else 21 + number)
    weights = np.zeros((VERTICES, JOINTS))
    near = rng.integers(0, 22, (VERTICES, 4))
    np.put_along_axis(weights, near, rng.uniform(0.1, 1.0, near.shape), axis=1)
    regressor = np.zeros((JOINTS, VERTICES))
    for row in regressor:
        row[rng.integers(0, VERTICES, 6)] = 1.0 / 6
    arrays = {
        "v_template": rng.uniform(-0.9, 0.9, (VERTICES, 3)),
        "shapedirs": 0.01 * rng.normal(size=(VERTICES, 3, BETAS)),
        "posedirs": 0.001 * rng.normal(size=(VERTICES, 3, (JOINTS - 1) * 9)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
    }
    parents[0] = 2**32 - 1
    np.savez(path, **arrays, kintree_table=np.array([parents, range(JOINTS)]), f=np.zeros((1, 3), np.int64))
    return arrays | {"parents": np.array([-1, *parents[1:]])}


def clip(frames: int) -> dict[str, Floats]:
    """Smooth motion; the hands hold still, as they do in what the network is trained on."""
    rng = np.random.default_rng(1)
    time = np.arange(frames)[:, None] / 60
    poses = 0.4 * np.sin(2 * np.pi * rng.uniform(0.2, 1.0, (1, 156)) * time + rng.uniform(0, 6, (1, 156)))
    poses[:, 66:] = 0.0
    return {"poses": poses, "trans": np.concatenate([time, 0 * time, 1 + 0 * time], axis=1), "betas": rng.normal(size=BETAS)}


def ours(body: object, motion: dict[str, Floats]) -> dict[str, npt.NDArray[np.float32]]:
    """What the stage does with a clip."""
    from tenfold.motion_tracking import amass, features, imu, sensors

    read = amass.Motion(motion["poses"][:, :66].reshape(-1, 22, 3), motion["trans"], motion["betas"], "neutral", 60.0, "", 0, "")
    made = features.truth(read, body, "slerp")  # type: ignore[arg-type]
    x = sensors.features(made.world, made.positions, imu.acceleration(made.mounts))
    return {"x": x, "local": features._six(made.local), "global": features._six(made.world), "pos": made.positions[1:].astype(np.float32)}


def loop(mesh: dict[str, Floats], motion: dict[str, Floats]) -> dict[str, npt.NDArray[np.float32]]:
    """One frame after another, the IMUs' three vertices only."""
    from scipy.spatial.transform import Rotation

    parents = mesh["parents"][:22].astype(int)
    shaped = mesh["v_template"][MOUNTS] + mesh["shapedirs"][MOUNTS] @ motion["betas"]
    rest = (mesh["J_regressor"] @ (mesh["v_template"] + mesh["shapedirs"] @ motion["betas"]))[:22]
    blend, weights = mesh["posedirs"][MOUNTS][:, :, : 21 * 9], mesh["weights"][MOUNTS][:, :22]

    def six(matrix: Floats) -> Floats:
        return matrix[:, :2].T.reshape(6)

    rows, local6, global6, places, points = [], [], [], [], []
    before = None
    for frame, trans in zip(motion["poses"], motion["trans"], strict=True):
        local = Rotation.from_rotvec(frame[:66].reshape(22, 3)).as_matrix()
        world, position = np.empty((22, 3, 3)), np.empty((22, 3))
        for joint, parent in enumerate(parents):
            if parent < 0:
                world[joint], position[joint] = local[joint], rest[joint] + trans
            else:
                world[joint] = world[parent] @ local[joint]
                position[joint] = position[parent] + world[parent] @ (rest[joint] - rest[parent])
        moved = shaped + blend @ (local[1:] - np.eye(3)).reshape(-1)
        skinned = np.zeros((3, 3))
        for point in range(3):
            for joint in np.flatnonzero(weights[point]):
                skinned[point] += weights[point, joint] * (world[joint] @ (moved[point] - rest[joint]) + position[joint])
        head = world[15]
        hands = [head.T @ world[joint] for joint in (20, 21)]
        reach = [head.T @ (position[joint] - position[15]) for joint in (20, 21)]
        if before is not None:
            was, stood, held, reached = before
            rows.append(
                np.concatenate(
                    [
                        *(six(world[joint]) for joint in SENSORS),
                        *(six(was[joint].T @ world[joint]) for joint in SENSORS),
                        *(position[joint] for joint in SENSORS[:3]),
                        *(position[joint] - stood[joint] for joint in SENSORS[:3]),
                        *(six(hand) for hand in hands),
                        *(six(old.T @ new) for old, new in zip(held, hands, strict=True)),
                        *reach,
                        *(new - old for old, new in zip(reached, reach, strict=True)),
                    ]
                )
            )
            local6.append(np.concatenate([six(each) for each in local]))
            global6.append(np.concatenate([six(each) for each in world]))
            places.append(position)
        points.append(skinned)
        before = world, position, hands, reach
    acceleration = []
    for t in range(1, len(points)):
        if t == len(points) - 1:
            acceleration.append(np.zeros(9))
        elif 4 <= t < len(points) - 4:
            acceleration.append(((points[t - 4] + points[t + 4] - 2 * points[t]) * 3600 / 16).reshape(9))
        else:
            acceleration.append(((points[t - 1] + points[t + 1] - 2 * points[t]) * 3600).reshape(9))
    x = np.concatenate([np.array(rows), np.array(acceleration)], axis=1)
    made = {"x": x, "local": local6, "global": global6, "pos": places}
    return {name: np.asarray(values, np.float32) for name, values in made.items()}


def whole_mesh(mesh: dict[str, Floats], motion: dict[str, Floats]) -> dict[str, npt.NDArray[np.float32]]:
    """Linear blend skinning of the whole mesh, batched over the frames, then the rows from its joints and three of its vertices."""
    import torch

    from tenfold.motion_tracking import imu, sensors

    tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in mesh.items()}
    frames = len(motion["poses"])
    vectors = torch.tensor(motion["poses"], dtype=torch.float32).reshape(frames, JOINTS, 3)
    angle = vectors.norm(dim=-1, keepdim=True).clamp_min(1e-8)
    axis = vectors / angle
    cross = torch.zeros(frames, JOINTS, 3, 3)
    for (row, column), (number, sign) in {
        (0, 1): (2, -1), (0, 2): (1, 1), (1, 0): (2, 1), (1, 2): (0, -1), (2, 0): (1, -1), (2, 1): (0, 1),
    }.items():  # fmt: skip
        cross[..., row, column] = sign * axis[..., number]
    local = torch.eye(3) + angle.sin()[..., None] * cross + (1 - angle.cos())[..., None] * cross @ cross
    betas = torch.tensor(motion["betas"], dtype=torch.float32).expand(frames, -1)
    shaped = tensors["v_template"] + torch.einsum("vcb,tb->tvc", tensors["shapedirs"], betas)
    rest = torch.einsum("jv,tvc->tjc", tensors["J_regressor"], shaped)
    turns_of = (local[:, 1:] - torch.eye(3)).reshape(frames, -1)
    posed = shaped + (turns_of @ tensors["posedirs"].reshape(-1, turns_of.shape[1]).T).reshape(frames, VERTICES, 3)
    world, parents = [local[:, 0]], mesh["parents"].astype(int)
    position = [rest[:, 0]]
    for joint in range(1, JOINTS):
        parent = parents[joint]
        world.append(world[parent] @ local[:, joint])
        position.append(position[parent] + (world[parent] @ (rest[:, joint] - rest[:, parent])[..., None])[..., 0])
    turned, placed = torch.stack(world, 1), torch.stack(position, 1)
    moved = torch.cat([turned, (placed - (turned @ rest[..., None])[..., 0])[..., None]], -1)
    blended = torch.einsum("vj,tjab->tvab", tensors["weights"], moved)
    trans = torch.tensor(motion["trans"], dtype=torch.float32)
    skin = (blended[..., :3] @ posed[..., None])[..., 0] + blended[..., 3] + trans[:, None]
    pos = (placed[:, :22] + trans[:, None]).double().numpy()
    points, rotation = skin[:, MOUNTS].double().numpy(), turned[:, :22].double().numpy()
    x = sensors.features(rotation, pos, imu.acceleration(points))
    six = [each[1:, :22, :, :2].transpose(-1, -2).reshape(frames - 1, -1).numpy() for each in (local, turned)]
    return {"x": x, "local": six[0], "global": six[1], "pos": pos[1:].astype(np.float32)}


def agree(
    one: dict[str, npt.NDArray[np.float32]], other: dict[str, npt.NDArray[np.float32]], rotations: float, acceleration: float
) -> None:
    """AssertionError if two ways make different things."""
    for name in one:
        np.testing.assert_allclose(
            one[name][:, :126] if name == "x" else one[name], other[name][:, :126] if name == "x" else other[name], atol=rotations
        )
    np.testing.assert_allclose(one["x"][:, 126:], other["x"][:, 126:], atol=acceleration)


def stage(folder: Path, clips: int) -> dict[str, float]:
    """The features stage on so many clips of 10 s, in a process of its own."""
    told = subprocess.run(
        [sys.executable, __file__, "--in", str(folder / str(clips)), "--clips", str(clips)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(told.stdout)
    return found


def run_stage(folder: Path, clips: int) -> dict[str, float]:
    """Make the clips and run the stage on them; what the child process prints."""
    import time

    import pyarrow as pa

    from tenfold.core import atomic, tables
    from tenfold.core.progress import Progress
    from tenfold.motion_tracking import config, features, procedural_body
    from tenfold.motion_tracking.samples import SAMPLES_SCHEMA
    from tenfold.motion_tracking.survey import survey

    read = {
        "amass_dir": "amass", "splits_dir": "splits", "body_dir": "smplh", "split": "by_subject", "test": 0.2, "validation": 0.1,
        "resample": "slerp", "body": "neutral", "min_frames": 10, "max_speed": 1000.0, "max_quarantine": 0.0, "max_missing": 0.0, "seed": 0,
    }  # fmt: skip
    (folder / "smplh/neutral").mkdir(parents=True)
    procedural_body.write(folder / "smplh/neutral/model.npz")
    motion = clip(600)
    for number in range(clips):
        path = folder / f"amass/Bench/s{number:04d}/clip_poses.npz"
        path.parent.mkdir(parents=True)
        motion["poses"][0, 3] = number * 1e-6
        np.savez(path, **motion, gender=np.array("neutral"), mocap_framerate=np.array(60.0))
    found = survey(folder, config.Dataset(**read), Progress())  # type: ignore[arg-type]
    tables.write(pa.Table.from_pylist(found.samples, SAMPLES_SCHEMA), folder / "dataset/samples.parquet")
    atomic.write_json(folder / "dataset" / features.ABOUT, {"read": read})
    block = config.Features("central", "raw", ["light"], ["causal", "raw", "consumer", "harsh"], 0)
    began = time.process_time()
    made = features.run(folder / "dataset", folder, block, folder / "out", Progress())
    seconds = time.process_time() - began
    # Not ru_maxrss: a child inherits its parent's.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    size = sum(path.stat().st_size for path in (folder / "out").rglob("*.npy")) / 1e6
    return {"rows": made.facts["rows"], "rows_a_second": made.facts["rows"] / seconds, "peak_mb": peak, "written_mb": size}


def main() -> int:
    """Print the numbers; 0 if all targets are met."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder is not None:
        print(json.dumps(run_stage(args.folder, args.clips)))
        return 0
    import torch

    from tenfold.motion_tracking import body

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mesh = model(folder / "model.npz")
        on = body.load(folder / "model.npz")
        motion, long = clip(args.frames), clip(8 * args.frames)
        few = {key: values[:150] if key != "betas" else values for key, values in motion.items()}
        agree(ours(on, motion), loop(mesh, motion), 1e-5, 1e-3)
        # Single precision, differenced twice at 60 Hz.
        agree(ours(on, few), whole_mesh(mesh, few), 1e-4, 0.05)
        works = {"ours": lambda: ours(on, motion), "loop": lambda: loop(mesh, motion), "long": lambda: ours(on, long)}
        seconds = turns(works, args.repeats)
        meshes = turns({"ours": lambda: ours(on, few), "mesh": lambda: whole_mesh(mesh, few)}, args.repeats)
        stages = [stage(folder, clips) for clips in (args.clips, 4 * args.clips)]
    found = {
        "loop": {
            "ours_us_a_frame": 1e6 * seconds["ours"] / args.frames,
            "loop_us_a_frame": 1e6 * seconds["loop"] / args.frames,
            "ratio": seconds["loop"] / seconds["ours"],
        },
        "mesh": {"mesh_us_a_frame": 1e6 * meshes["mesh"] / 150, "ratio": meshes["mesh"] / meshes["ours"]},
        "linear": {"ratio": seconds["long"] / seconds["ours"] / 8},
        "stage": {"few": stages[0], "many": stages[1], "growth": stages[1]["peak_mb"] / stages[0]["peak_mb"] - 1},
    }
    met = {
        "loop at least 20x": found["loop"]["ratio"] >= 20,
        "linear": found["linear"]["ratio"] <= 1.25,
        "memory flat": found["stage"]["growth"] <= 0.15,
    }
    print(json.dumps({**found, "met": met}, indent=2))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

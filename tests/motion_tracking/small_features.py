"""A features folder of a few smooth random clips, and the blocks of a small network, for the tests of networks and prediction."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tenfold.core import tables
from tenfold.motion_tracking import body, clips, columns, config, kinematics, procedural_body, rotations, sensors, skeleton

NETWORK = config.Network(
    hidden=24, blocks=2, layers=1, heads=2, ff=32, dropout=0.0, head_dropout=0.0, head_hidden=32, temporal="lstm", temporal_window=12,
    spatial="transformer", tokens="components", hand_in_head=True, shape="estimate", rot6d="gram_schmidt", weight_norm=False, canonical="yaw_xy", yaw_alpha=0.3, standardise=True,
    skip="linear", skip_alphas=[0.5, 0.1], poles=1, pole_alpha=0.4, shape_alpha=0.1,
)  # fmt: skip
PLAIN = replace(NETWORK, canonical="none", yaw_alpha=1.0, standardise=False, skip="none", skip_alphas=[], poles=0, shape_alpha=1.0)
PAPER = replace(PLAIN, hidden=256, layers=3, heads=8, ff=2048, dropout=0.1, head_dropout=0.0, head_hidden=256, weight_norm=True)
MODEL = config.Model(
    **{name: getattr(NETWORK, name) for name in NETWORK.__dataclass_fields__},
    seeds=[0], variants=[], variant_seeds=[0], variant_steps=3, sensor_sets=list(columns.MASKS), masks="one", switch=0.2, noise=[], window=16,
    windows_per_clip=2, batch=4, epochs=3, schedule="cosine", lr=2.0e-3, skip_lr=0.0, warmup_epochs=0.5, drop_epoch=300, clip_gradient=1.0,
    precision="fp32", loss_weights={"root": 1.0, "local": 5.0, "global": 1.0, "position": 1.0, "acceleration": 0.5, "shape": 0.1},
    ridge=50.0, shape_ridge=30000.0, fit_frames=10000, validate_every=1, checkpoint_every=2,
)  # fmt: skip


def motion(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 22, 3, 3) and the root's path (T, 3) of somebody who stands, sways and turns."""
    time = np.arange(frames) / skeleton.RATE_HZ
    waves = np.sin(2 * np.pi * rng.uniform(0.2, 1.5, (skeleton.COUNT, 3)) * time[:, None, None] + rng.uniform(0, 6, (skeleton.COUNT, 3)))
    local = rotations.matrix_from_axis_angle(0.25 * waves)
    turn = rotations.about("z", rng.uniform(0, 6) + rng.uniform(-1, 1) * time) @ rotations.about("x", np.full(frames, np.pi / 2))
    local[:, 0] = turn @ local[:, 0]
    return local, np.column_stack([0.3 * time, 0.1 * np.sin(time), 1.0 + 0.02 * np.sin(3 * time)])


def folder(out: Path, train: int = 4, validation: int = 1, test: int = 1, frames: int = 40) -> Path:
    """Write what the features stage writes, as far as networks read it."""
    out.mkdir(parents=True)
    model = out.parent / "model.npz"
    procedural_body.write(model)
    on = body.load(model)
    body.save_small(out / "body.npz", on)
    rng = np.random.default_rng(0)
    arrays: dict[str, list[np.ndarray]] = {"x": [], "pose6d": [], "global6d": [], "pos": []}
    index, start = [], 0
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        for number in range(count):
            betas = rng.normal(size=skeleton.BETAS).clip(-2.5, 2.5)
            local, root = motion(rng, frames + 1)
            world, positions = kinematics.forward(local, body.joints(on, betas), root)
            arrays["x"].append(sensors.features(world, positions, rng.normal(size=(frames + 1, 3, 3))))
            for name, values in (("pose6d", local), ("global6d", world)):
                arrays[name].append(rotations.six_from_matrix(values[1:]).reshape(frames, -1))
            arrays["pos"].append(positions[1:])
            about = {
                "subset": "Gen",
                "subject": f"{split}{number}",
                "group": "",
                "label": "sway",
                "gender": "neutral",
                "source": "generated",
            }
            shape = {f"b{k}": float(value) for k, value in enumerate(betas)}
            index.append({"clip_id": f"{split}/{number}", "split": split, "start": start, "length": frames, **about, **shape})
            start += frames
    for name, parts in arrays.items():
        np.save(out / f"{name}.npy", np.concatenate(parts).astype(np.float32))
    tables.write(pa.Table.from_pylist(index, clips.INDEX), out / "index.parquet")
    return out

"""One frame of full-body motion, and training: against the network built of PyTorch's own modules that sees a window again for every frame.

    python benchmarks/motion_tracking.py [--repeats 5] [--frames 2000] [--steps 6]

Prints one JSON object. One thread throughout; both sides of a ratio take turns and carry the same weights. Times are CPU seconds, so that
a busy machine counts little.
    step        the paper's size. Plain: 8 nn.LSTM a block and nn.TransformerEncoder on the last 40 frames. At least 10 times as fast with
                the ONNX step, at least 3 times with the stateful PyTorch step. Frames a second, also at the demo's size. Beside it the ONNX
                step with weights of 8 bits and both files' sizes: `int8_ratio` above 1 says that 8 bits are faster, `int8_difference`
                how far they are from PyTorch with random weights on random rows.
    sizes       the same two graphs against the width of a token, all else as published (feed-forward 8 times the width): parameters,
                MB, ms. 24 is the least that eight heads and the IMU tokens' 16 acceleration columns allow.
    streaming   frame by frame with the ONNX step against the whole sequence: at most 1e-5 apart, at both sizes.
    memory      peak of a process with nothing but the ONNX step beside what it has with ONNX Runtime loaded: demo at most 100 MB, and no
                growth with the length of the stream. At the paper's size (70 MB of weights) it is reported.
    training    frames a second with `core.training.fit`, memory-mapped windows and our layers against a plain loop with plain layers, joint
                by joint kinematics and rows in memory, at the demo's size. At least 1.0.
Exit code 1 if one of them fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from _turns import turns
from torch import Tensor, nn

from tenfold.core import seeding, tables, training
from tenfold.motion_tracking import (
    body,
    clips,
    columns,
    config,
    losses,
    official,
    onnx_export,
    onnx_int8,
    onnx_step,
    procedural_body,
    skeleton,
)
from tenfold.motion_tracking import torch_kinematics as kinematics
from tenfold.motion_tracking import torch_rotations as rotations
from tenfold.motion_tracking.network import Network, parameters
from tenfold.motion_tracking.step import Step
from tenfold.motion_tracking.windows import Source, Windows

WINDOW = 40
HIDDEN = (24, 32, 64, 128, 256)
PAPER = replace(official.PAPER, rot6d="gram_schmidt", weight_norm=False)
DEMO = replace(PAPER, hidden=32, layers=1, heads=4, ff=64, head_hidden=96, dropout=0.0)
EXTRAS = dict(canonical="yaw_xy", standardise=True, skip="linear", skip_alphas=[0.5, 0.15, 0.05], poles=1, pole_alpha=0.4, shape_alpha=0.1)
SERVED = replace(DEMO, **EXTRAS)  # type: ignore[arg-type]

MEMORY = """
import sys
import numpy as np
import onnxruntime
from pathlib import Path
from tenfold.motion_tracking.onnx_step import OnnxStep
peak = lambda: next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
step = OnnxStep(Path(sys.argv[1]))
state, x, seen = step.start(), np.ones((1, 135), np.float32), []
for frame in range(int(sys.argv[2])):
    _, state = step(x, state)
    if frame in (200, int(sys.argv[2]) - 1):
        seen.append(peak())
assert "torch" not in sys.modules
print(before, *seen)
"""


class Backbone(nn.Module):
    """Tokens and blocks, one token after the other."""

    def __init__(self, options: config.Network) -> None:
        super().__init__()
        hidden = options.hidden
        self.names = [official.NAMES.get(name, name) for name in columns.TOKENS]
        for name, ranges in zip(self.names, columns.TOKENS.values(), strict=True):
            widths = [hidden // 4] * 4 if len(ranges) == 4 else [(hidden - 16) // 2] * 2 + [16]
            layers = [nn.Sequential(nn.Linear(b - a, width), nn.LeakyReLU()) for (a, b), width in zip(ranges, widths, strict=True)]
            self.add_module(f"{name}_linear_embeddings", nn.ModuleList(layers))
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        blocks = range(options.blocks)
        self.time_encoder = nn.ModuleList(
            nn.ModuleDict({name: nn.LSTM(hidden, hidden, batch_first=True) for name in self.names}) for _ in blocks
        )
        layer = nn.TransformerEncoderLayer(hidden, options.heads, options.ff, options.dropout, batch_first=True)
        self.spatial_encoder = nn.ModuleList(nn.TransformerEncoder(layer, options.layers, enable_nested_tensor=False) for _ in blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 135) to (B, T, 8 H)."""
        tokens = []
        for name, ranges in zip(self.names, columns.TOKENS.values(), strict=True):
            layers = self.get_submodule(f"{name}_linear_embeddings")
            tokens.append(self.norm(torch.cat([layer(x[..., a:b]) for layer, (a, b) in zip(layers, ranges, strict=True)], -1)))
        for lstms, encoder in zip(self.time_encoder, self.spatial_encoder, strict=True):
            stacked = torch.stack([lstms[name](token)[0] for name, token in zip(self.names, tokens, strict=True)], 2)
            tokens = list(encoder(stacked.flatten(0, 1)).unflatten(0, x.shape[:2]).unbind(2))
        return torch.cat(tokens, -1)


class Plain(nn.Module):
    """The network as one writes it with PyTorch's modules; its state dict is the official layout."""

    def __init__(self, options: config.Network) -> None:
        super().__init__()
        self.backbone = Backbone(options)
        wide = 8 * options.hidden
        self.pose_est = nn.Sequential(nn.Linear(wide, options.head_hidden), nn.LeakyReLU(), nn.Linear(options.head_hidden, 132))
        self.shape_est = nn.Sequential(nn.Linear(wide, options.head_hidden), nn.LeakyReLU(), nn.Linear(options.head_hidden, 16))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 135) to pose (B, T, 132) and betas (B, T, 16)."""
        joined = self.backbone(x)
        return self.pose_est(joined), self.shape_est(joined)


def step(options: config.Network, repeats: int, folder: Path) -> dict[str, float]:
    """CPU milliseconds of a frame in four ways."""
    network = Network(options).eval().requires_grad_(False)
    plain = Plain(options).eval().requires_grad_(False)
    plain.load_state_dict(official.to_state(network), strict=True)
    window = torch.randn(1, WINDOW, columns.WIDTH)
    assert torch.allclose(plain(window)[0], network(window)[0], atol=1e-5)
    onnx_export.export(network, folder / "step.onnx", "")
    difference = onnx_int8.export(network, folder / "step.onnx", folder / "int8.onnx")
    stateful, graph, small = Step(network), onnx_step.OnnxStep(folder / "step.onnx"), onnx_step.OnnxStep(folder / "int8.onnx")
    state, carried, x, row = stateful.start(), graph.start(), window[:, 0], window[:, 0].numpy()
    found = turns(
        {
            "window": lambda: plain(window),
            "torch": lambda: [stateful(x, *state) for _ in range(4)],
            "onnx": lambda: [graph(row, carried) for _ in range(4)],
            "int8": lambda: [small(row, carried) for _ in range(4)],
        },
        repeats,
    )
    milli = {"window_ms": 1e3 * found["window"], **{f"{name}_ms": 250 * found[name] for name in ("torch", "onnx", "int8")}}
    ratios = {f"{name}_ratio": milli["window_ms"] / milli[f"{name}_ms"] for name in ("torch", "onnx")}
    bytes_of = {"onnx_mb": "step.onnx", "int8_mb": "int8.onnx"}
    return {
        **milli, **ratios, "int8_difference": difference, "int8_ratio": milli["onnx_ms"] / milli["int8_ms"], "onnx_frames_per_s": 1e3 / milli["onnx_ms"],
        **{name: (folder / file).stat().st_size / 1e6 for name, file in bytes_of.items()},
    }  # fmt: skip


def sizes(repeats: int, folder: Path) -> list[dict[str, float]]:
    """What a frame costs at each width: parameters, both files' MB, CPU milliseconds of both graphs."""
    works, rows = {}, []
    row = np.random.default_rng(0).standard_normal((1, columns.WIDTH)).astype(np.float32)
    for hidden in HIDDEN:
        options = replace(PAPER, hidden=hidden, ff=8 * hidden)
        network = Network(options).eval().requires_grad_(False)
        paths = {"fp32": folder / f"{hidden}.onnx", "int8": folder / f"{hidden}_int8.onnx"}
        onnx_export.export(network, paths["fp32"], "")
        onnx_int8.export(network, paths["fp32"], paths["int8"])
        for name, path in paths.items():
            graph = onnx_step.OnnxStep(path)
            state, frames = graph.start(), _frames(hidden)
            works[f"{hidden} {name}"] = lambda graph=graph, state=state, frames=frames: [graph(row, state) for _ in range(frames)]
        rows.append({"hidden": hidden, "parameters": parameters(options), **{f"{n}_mb": p.stat().st_size / 1e6 for n, p in paths.items()}})
    found = turns(works, repeats)
    return [
        {**each, **{f"{name}_ms": 1e3 * found[f"{each['hidden']} {name}"] / _frames(int(each["hidden"])) for name in ("fp32", "int8")}}
        for each in rows
    ]


def _frames(hidden: int) -> int:
    """Frames of one turn: as many more as the network is narrower."""
    return 8 * HIDDEN[-1] // hidden


def streaming(options: config.Network, frames: int, folder: Path) -> dict[str, float]:
    """Largest difference between frame by frame and the whole; frames a second of the stream, and its p95 on the clock."""
    network = Network(options).eval().requires_grad_(False)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    onnx_export.export(network, folder / "stream.onnx", "")
    x = torch.randn(1, frames, columns.WIDTH)
    whole, graph, times, worst = network(x)[0][0].numpy(), onnx_step.OnnxStep(folder / "stream.onnx"), [], 0.0
    state = graph.start()
    for number, row in enumerate(x[0].numpy()):
        began = time.perf_counter()
        frame, state = graph(row[None], state)
        times.append(time.perf_counter() - began)
        worst = max(worst, float(np.abs(frame.pose[0] - whole[number]).max()))
    return {"frames": frames, "difference": worst, "p95_ms": 1e3 * float(np.quantile(times, 0.95)), "frames_per_s": frames / sum(times)}


def memory(frames: int, path: Path) -> dict[str, float]:
    """Peak resident megabytes of a process that does nothing but step."""
    told = subprocess.run([sys.executable, "-c", MEMORY, str(path), str(frames)], check=True, capture_output=True, text=True).stdout.split()
    before, early, late = map(float, told)
    return {"runtime_mb": before, "peak_mb": late, "step_mb": late - before, "growth_mb": late - early}


def features(folder: Path, clip_count: int = 40, frames: int = 300) -> Path:
    """Random rows of the right form."""
    rng, rows = np.random.default_rng(0), clip_count * frames
    procedural_body.write(folder / "model.npz")
    body.save_small(folder / "body.npz", body.load(folder / "model.npz"))
    for name, shape in clips.WIDTHS.items():
        np.save(folder / f"{name}.npy", rng.standard_normal((rows, *shape), np.float32))
    about = dict.fromkeys(("source", "subset", "subject", "group", "label", "gender"), "") | dict.fromkeys(clips.BETAS, 0.0)
    index = [{"clip_id": str(k), "split": "train", "start": k * frames, "length": frames, **about} for k in range(clip_count)]
    tables.write(pa.Table.from_pylist(index, clips.INDEX), folder / "index.parquet")
    return folder


def train_both(steps: int, folder: Path, repeats: int) -> dict[str, float]:
    """CPU seconds of `steps` steps on 32 windows of 40 frames."""
    source = Source(features(folder))
    network, plain = Network(DEMO), Plain(DEMO)
    weights = losses.PAPER
    windows = Windows(source, WINDOW, 10, list(columns.MASKS), "one", 0.0, [])
    held = {name: torch.from_numpy(np.array(getattr(source.clips, name))) for name in clips.WIDTHS}
    masks = torch.ones(3, columns.WIDTH)
    for number, ranges in enumerate(columns.MASKS.values()):
        for start, end in ranges:
            masks[number, start:end] = 0
    objective = losses_of(source)

    def ours() -> None:
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-6, fused=True)

        def loss(index: training.Indices) -> dict[str, Tensor]:
            batch = windows.batch(index)
            pose, betas, _ = network(batch.x)
            made = losses.posed(pose, betas, batch.x[..., 72:75], source.rest, source.modes, "gram_schmidt")
            return losses.losses(pose, betas, made, batch.truth, weights)

        with tempfile.TemporaryDirectory() as scratch:
            training.fit(
                module=network, optimizer=optimizer, loss=loss, items=windows.items, batch=32, epochs=1, steps_limit=steps, seed=0,
                folder=Path(scratch), validate_every=1, checkpoint_every=10**6,
            )  # fmt: skip

    def theirs() -> None:
        optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3, eps=1e-6)
        for _ in range(steps):
            clip, offset = torch.randint(40, (32,)), torch.randint(300 - WINDOW + 1, (32,))
            rows = (300 * clip + offset)[:, None] + torch.arange(WINDOW)
            x = held["x"][rows] * masks[torch.randint(3, (32,))][:, None]
            pose, betas = plain(x)
            loss = objective(x, pose, betas, held["pose6d"][rows], held["global6d"][rows], held["pos"][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    found = turns({"plain": theirs, "ours": ours}, repeats)
    rates = {f"{name}_frames_per_s": 32 * WINDOW * steps / seconds for name, seconds in found.items()}
    return {**rates, "ratio": found["plain"] / found["ours"]}


def losses_of(source: Source):  # type: ignore[no-untyped-def]
    """The paper's loss, joint by joint."""

    def loss(x: Tensor, pose: Tensor, betas: Tensor, true: Tensor, world: Tensor, positions: Tensor) -> Tensor:
        local = rotations.matrix_from_six(pose.unflatten(-1, (-1, 6)))
        joints = kinematics.rest_joints(betas, source.rest, source.modes)
        turned, placed = [local[..., 0, :, :]], [torch.zeros_like(joints[..., 0, :])]
        for joint, parent in list(enumerate(skeleton.PARENTS))[1:]:
            turned.append(turned[parent] @ local[..., joint, :, :])
            placed.append(placed[parent] + (turned[parent] @ (joints[..., joint, :] - joints[..., parent, :]).unsqueeze(-1)).squeeze(-1))
        found = kinematics.align_head(torch.stack(placed, -2), x[..., 72:75])
        six = rotations.six_from_matrix(torch.stack(turned, -3)).flatten(-2)
        second = (found[:, 2:] - 2 * found[:, 1:-1] + found[:, :-2]) - (positions[:, 2:] - 2 * positions[:, 1:-1] + positions[:, :-2])
        return (
            (pose - true)[..., :6].abs().mean() + 5 * (pose - true)[..., 6:].abs().mean() + (six - world).abs().mean()
            + (found - positions).abs().mean() + 0.5 * second.abs().mean() + 0.1 * (betas - betas.mean(1, keepdim=True)).abs().mean()
        )  # fmt: skip

    return loss


def main() -> int:
    """Print the ratios; 0 if all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeding.seed_all(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with torch.no_grad():
            found = {
                "step_paper": step(PAPER, args.repeats, folder),
                "step_demo": step(DEMO, args.repeats, folder),
                "sizes": sizes(args.repeats, folder),
                "streaming_paper": streaming(PAPER, min(args.frames, 300), folder),
                "memory_paper": memory(args.frames, folder / "stream.onnx"),
                "memory_paper_int8": memory(args.frames, folder / f"{HIDDEN[-1]}_int8.onnx"),
                "streaming_demo": streaming(SERVED, args.frames, folder),
                "memory_demo": memory(10 * args.frames, folder / "stream.onnx"),
            }
        found["training"] = train_both(args.steps, folder, args.repeats)
    print(json.dumps(found, indent=1))
    met = {
        "onnx step": found["step_paper"]["onnx_ratio"] >= 10,
        "torch step": found["step_paper"]["torch_ratio"] >= 3,
        "streaming": max(found[f"streaming_{size}"]["difference"] for size in ("paper", "demo")) <= 1e-5,
        "memory": found["memory_demo"]["step_mb"] <= 100,
        "no growth": max(found[f"memory_{size}"]["growth_mb"] for size in ("paper", "demo")) <= 2,
        "training": found["training"]["ratio"] >= 1.0,
    }
    for target, good in met.items():
        if not good:
            print(f"missed: {target}", file=sys.stderr)
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

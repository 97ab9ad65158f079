"""The network: its size, causality, state, masks, the step and the ONNX graph, the official layout, an independent build of it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_tracking.small_features import NETWORK, PAPER, PLAIN
from torch import nn

from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.motion_tracking import canonical, columns, config, filters, official, onnx_export, onnx_step, sensors, tracking
from tenfold.motion_tracking import torch_rotations as rotations
from tenfold.motion_tracking.network import Network, State, parameters
from tenfold.motion_tracking.step import Step
from tenfold.motion_tracking.torch_lstm import BatchedLSTM

OPTIONS = {
    "demo": NETWORK,
    "plain": PLAIN,
    "weight_norm": replace(PLAIN, weight_norm=True),
    "gru": replace(NETWORK, temporal="gru", poles=2),
    "one_token": replace(NETWORK, tokens="one", spatial="none"),
    "frame_wise": replace(PLAIN, temporal="none", shape="zero"),
    "no_hand_in_head": replace(NETWORK, hand_in_head=False, shape="zero"),
    "window": replace(NETWORK, temporal="transformer_window"),
    "one_window": replace(PLAIN, temporal="transformer_window", temporal_window=40, tokens="one", spatial="none"),
}
BOTH = pytest.mark.parametrize("name", ["demo", "window"])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def made(options: config.Network, seed: int = 0) -> Network:
    """A network all of whose parts speak."""
    torch.manual_seed(seed)
    network = Network(options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
        network.get_buffer("mean").normal_()
        network.get_buffer("std").uniform_(0.5, 2)
    return network.requires_grad_(False)


def rows(frames: int, batch: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, frames, columns.WIDTH, generator=torch.Generator().manual_seed(seed))


def test_paper_size() -> None:
    assert parameters(PAPER) == 17_444_484


@pytest.mark.parametrize("name", OPTIONS)
def test_chunks_of_any_size_give_what_the_whole_gives(name: str) -> None:
    network, x = made(OPTIONS[name]), rows(90)
    pose, betas, last = network(x)
    for size in (1, 7, 40, 64):
        state, found = None, []
        for part in x.split(size, 1):
            *out, state = network(part, state)
            found.append(out)
        assert torch.allclose(torch.cat([each[0] for each in found], 1), pose, atol=2e-5)
        assert torch.allclose(torch.cat([each[1] for each in found], 1), betas, atol=2e-5)
        assert all(torch.allclose(a, b, atol=2e-5) for a, b in zip(state, last, strict=True))


@pytest.mark.parametrize("name", OPTIONS)
def test_step_and_graph_equal_the_network(name: str, tmp_path: Path) -> None:
    network, x = made(OPTIONS[name]), rows(30, 3)
    x[0, 10:20, 18:30] = 0  # shin sensors that go and come
    assert onnx_export.export(network, tmp_path / "step.onnx", "sha") <= 1e-5
    pose, betas, _ = network(x)
    step, graph = Step(network), onnx_step.OnnxStep(tmp_path / "step.onnx")
    state, carried = step.start(3), graph.start(3)
    for frame in range(30):
        one, shape, *new = step(x[:, frame], *state)
        state = State(*new)
        found, carried = graph(x[:, frame].numpy(), carried)
        assert torch.allclose(one, pose[:, frame], atol=2e-5) and torch.allclose(shape, betas[:, frame], atol=2e-5)
        assert np.allclose(found.pose, pose[:, frame], atol=2e-5) and np.allclose(found.betas, betas[:, frame], atol=2e-5)


@pytest.mark.slow
@BOTH
def test_streaming_two_thousand_frames_at_demo_size(name: str, tmp_path: Path) -> None:
    network, x = made(OPTIONS[name]), rows(2000, 1)
    onnx_export.export(network, tmp_path / "step.onnx", "sha")
    graph, carried, found = onnx_step.OnnxStep(tmp_path / "step.onnx"), {}, []
    carried = graph.start()
    for row in x[0].numpy():
        frame, carried = graph(row[None], carried)
        found.append(frame.pose[0])
    assert np.abs(np.array(found) - network(x)[0][0].numpy()).max() <= 1e-5


def test_graph_runs_without_pytorch_and_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "step.onnx"
    onnx_export.export(made(NETWORK), path, "sha of a body")
    code = (
        "import sys, numpy as np; from pathlib import Path; from tenfold.motion_tracking.onnx_step import OnnxStep;"
        f"step = OnnxStep(Path({str(path)!r})); frame, state = step(np.ones((5, 135), np.float32), step.start(5));"
        "assert frame.pose.shape == (5, 132) and state['h'].shape == (2, 8, 5, 24); assert step.facts['body_sha256'] == 'sha of a body';"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    meta = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert {"fps", "columns", "masks", "joints", "rot6d", "body_sha256", "network"} <= set(meta)


def test_no_graph_no_step(tmp_path: Path) -> None:
    (tmp_path / "step.onnx").write_bytes(b"no graph")
    with pytest.raises(Corrupt, match="step.onnx"):
        onnx_step.OnnxStep(tmp_path / "step.onnx")


@BOTH
def test_streams_do_not_mix(name: str) -> None:
    step, x = Step(made(OPTIONS[name])), rows(12, 2)
    alone = []
    for number in range(2):
        state = step.start()
        for frame in range(12):
            pose, _, *new = step(x[number : number + 1, frame], *state)
            state = State(*new)
        alone.append(pose)
    states = [step.start(), step.start()]
    for frame in range(12):
        for number in range(2):
            pose, _, *new = step(x[number : number + 1, frame], *states[number])
            states[number] = State(*new)
            if frame == 11:
                assert torch.equal(pose, alone[number])


@pytest.mark.parametrize("name", ["demo", "plain", "window", "one_window"])
def test_later_frames_change_nothing_before(name: str) -> None:
    network, x = made(OPTIONS[name]), rows(30)
    other = x.clone()
    other[:, 20:] = torch.randn_like(other[:, 20:])
    assert torch.equal(network(x)[0][:, :20], network(other)[0][:, :20])
    assert not torch.equal(network(x)[0][:, 20:], network(other)[0][:, 20:])


@BOTH
@pytest.mark.parametrize("sensor_set", columns.MASKS)
def test_a_masked_sensor_is_not_seen(sensor_set: str, name: str) -> None:
    network, x = made(OPTIONS[name]), rows(9, 1)[0].numpy()
    noise = np.where(sensors.mask(sensor_set), x, 100 * x[::-1])
    for one, other in zip(tracking.predict_clip(network, x, sensor_set), tracking.predict_clip(network, noise, sensor_set), strict=True):
        assert np.array_equal(one, other)


@BOTH
def test_company_and_order_of_clips_do_not_matter(name: str) -> None:
    network = made(OPTIONS[name])
    clips = [rows(frames, 1, frames)[0].numpy() for frames in (5, 30, 17)]
    together = list(tracking.predict_clips(network, clips, "hmd", 3))
    for clip, (local, betas) in zip(clips, together, strict=True):
        alone = tracking.predict_clip(network, clip, "hmd")
        assert local.shape == (len(clip), 22, 3, 3)
        assert np.allclose(local, alone[0], atol=5e-4) and np.allclose(betas, alone[1], atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.floats(-3.1, 3.1), st.floats(-50, 50), st.floats(-50, 50))
def test_canonical_frame_turns_with_the_scene(angle: float, east: float, north: float) -> None:
    network = made(NETWORK)
    x = rows(6, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    moved = x.clone()
    for at in canonical.VECTORS:
        moved[..., at] = cos * x[..., at] - sin * x[..., at + 1]
        moved[..., at + 1] = sin * x[..., at] + cos * x[..., at + 1]
    for at in canonical.POINTS:
        moved[..., at] += east
        moved[..., at + 1] += north
    pose, betas, _ = network(x)
    pose_moved, betas_moved, _ = network(moved)
    direction = torch.tensor([cos, sin], dtype=torch.float32)
    assert torch.allclose(canonical.back(pose[..., :6], direction), pose_moved[..., :6], atol=1e-3)
    assert torch.allclose(pose[..., 6:], pose_moved[..., 6:], atol=1e-3) and torch.allclose(betas, betas_moved, atol=1e-3)


def test_a_still_wearer_stands_still() -> None:
    network, x = made(NETWORK), rows(1, 1).repeat(1, 400, 1)
    pose = network(x)[0][0, 200:]
    jerk = torch.diff(rotations.matrix_from_six(pose.unflatten(-1, (22, 6))).double(), n=3, dim=0) * 60**3
    assert float(jerk.abs().mean()) < 1


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 150), st.floats(0.01, 1.0), st.integers(0, 999))
def test_low_pass_equals_the_recursion(frames: int, alpha: float, seed: int) -> None:
    u = torch.randn(2, frames, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    before = torch.ones(2, 3, dtype=torch.float64)
    alphas = torch.tensor([alpha, 1.0, 0.3], dtype=torch.float64)
    expected, y = [], before
    for t in range(frames):
        y = y + alphas * (u[:, t] - y)
        expected.append(y)
    found, last = filters.smooth(u, alphas, before)
    assert torch.allclose(found, torch.stack(expected, 1)) and torch.allclose(last, y)
    scaled, ends = filters.smooth_scales(u, alphas, before[:, None].repeat(1, 3, 1))
    for scale in range(3):
        assert torch.allclose(scaled[..., 3 * scale : 3 * scale + 3], filters.smooth(u, alphas[scale : scale + 1], before)[0])
        assert torch.allclose(ends[:, scale], scaled[:, -1, 3 * scale : 3 * scale + 3])


@pytest.mark.parametrize("weight_norm", [False, True])
def test_lstm_and_its_gradient_equal_pytorch(weight_norm: bool) -> None:
    torch.manual_seed(0)
    ours = BatchedLSTM(3, 8, weight_norm)
    x, h, c = (torch.randn(shape, requires_grad=True) for shape in ((3, 10, 4, 8), (3, 4, 8), (3, 4, 8)))
    out, last_h, last_c = ours(x, h, c)
    weigh = torch.randn_like(out)
    wanted = [x, h, c, *ours.parameters()]
    mine = torch.autograd.grad((out * weigh).sum() + (last_h**3).sum() + (last_c**2).sum(), wanted)
    total = torch.zeros(())
    for k in range(3):
        given = {"weight_ih_l0": ours.weight("ih")[k], "weight_hh_l0": ours.weight("hh")[k]}
        given |= {"bias_ih_l0": ours.get_parameter("bias_ih")[k], "bias_hh_l0": ours.get_parameter("bias_hh")[k]}
        theirs, (one, other) = torch.func.functional_call(nn.LSTM(8, 8), given, (x[k], (h[k : k + 1], c[k : k + 1])))
        assert torch.allclose(theirs, out[k], atol=1e-6)
        total = total + (theirs * weigh[k]).sum() + (one**3).sum() + (other**2).sum()
    for one, other in zip(mine, torch.autograd.grad(total, wanted), strict=True):
        assert torch.allclose(one, other, atol=2e-5)


class Reference(nn.Module):
    """The paper's network out of PyTorch's own modules, written down from section 2.3, one token after the other."""

    def __init__(self, state: dict[str, torch.Tensor], options: config.Network) -> None:
        super().__init__()
        self.state, self.options = state, options

    def layer(self, name: str) -> nn.Linear:
        weight = self.state[f"{name}.weight"]
        made = nn.Linear(weight.shape[1], weight.shape[0])
        made.load_state_dict({"weight": weight, "bias": self.state[f"{name}.bias"]})
        return made

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        options, state = self.options, self.state
        names = [official.NAMES.get(name, name) for name in columns.TOKENS]
        tokens = []
        for name, ranges in zip(names, columns.TOKENS.values(), strict=True):
            parts = [self.layer(f"backbone.{name}_linear_embeddings.{i}.0")(x[..., a:b]) for i, (a, b) in enumerate(ranges)]
            joined = nn.functional.leaky_relu(torch.cat(parts, -1), 0.01)
            tokens.append(
                nn.functional.layer_norm(joined, [options.hidden], state["backbone.norm.weight"], state["backbone.norm.bias"], 1e-6)
            )
        for block in range(options.blocks):
            passed = []
            for name, token in zip(names, tokens, strict=True):
                lstm, prefix = nn.LSTM(options.hidden, options.hidden, batch_first=True), f"backbone.time_encoder.{block}.{name}"
                weights = {}
                for kind in ("ih", "hh"):
                    v = state[f"{prefix}.weight_{kind}_l0_v"]
                    weights[f"weight_{kind}_l0"] = state[f"{prefix}.weight_{kind}_l0_g"] * v / v.norm(dim=1, keepdim=True)
                    weights[f"bias_{kind}_l0"] = state[f"{prefix}.bias_{kind}_l0"]
                lstm.load_state_dict(weights)
                passed.append(lstm(token)[0])
            stacked = torch.stack(passed, 2).flatten(0, 1)
            layer = nn.TransformerEncoderLayer(options.hidden, options.heads, options.ff, options.dropout, batch_first=True)
            encoder = nn.TransformerEncoder(layer, options.layers, enable_nested_tensor=False).eval()
            prefix = f"backbone.spatial_encoder.{block}."
            encoder.load_state_dict({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
            tokens = list(encoder(stacked).unflatten(0, x.shape[:2]).unbind(2))
        joined = torch.cat(tokens, -1)
        heads = [
            self.layer(f"{head}.2")(nn.functional.leaky_relu(self.layer(f"{head}.0")(joined), 0.01)) for head in ("pose_est", "shape_est")
        ]
        return heads[0], heads[1]


def test_official_layout_equals_an_independent_build() -> None:
    options = replace(PLAIN, weight_norm=True, layers=2)
    state = official.to_state(made(options, 3))
    network = official.from_state({f"module.{name}": value for name, value in state.items()}, options)
    x = rows(20)
    with torch.no_grad():
        pose, betas = Reference(state, options)(x)
        assert torch.allclose(network(x)[0], pose, atol=1e-5) and torch.allclose(network(x)[1], betas, atol=1e-5)
        assert torch.allclose(official.fold(network)(x)[0], pose, atol=1e-5)


def test_official_checkpoint_file(tmp_path: Path) -> None:
    options = replace(PLAIN, weight_norm=True)
    state, path = official.to_state(made(options)), tmp_path / "protocol1.pt"
    torch.save({"state_dict": state, "epoch": 400}, path)
    assert torch.equal(official.load(path, options)(rows(5))[0], made(options)(rows(5))[0])
    del state["pose_est.2.bias"]
    torch.save({"state_dict": state, "epoch": 400}, path)
    with pytest.raises(BadData, match="pose_est.2.bias"):
        official.load(path, options)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(BadData, match="protocol1"):
        official.load(path, options)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state | {"pose_est.4.weight": torch.zeros(3)}, "pose_est.4"),
        (lambda state: state | {"pose_est.2.bias": torch.zeros(3)}, "pose_est.2.bias"),
    ],
)
def test_official_state_that_does_not_fit(change: object, says: str) -> None:
    options = replace(PLAIN, weight_norm=True)
    with pytest.raises(BadData, match=says):
        official.from_state(change(official.to_state(made(options))), options)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (replace(PLAIN, hidden=30), "hidden"),
        (replace(PLAIN, heads=5), "heads"),
        (replace(OPTIONS["one_window"], heads=5), "heads"),
        (replace(OPTIONS["window"], temporal_window=1), "temporal_window is 1"),
    ],
)
def test_sizes_that_do_not_fit(options: config.Network, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Network(options)

"""The step as an ONNX graph with its state as plain inputs and outputs: any runtime can carry it, and nothing is hidden in a session.

Inputs x (B, 135), masked, h, c (blocks, tokens, B, ...), memory (B, M); outputs pose (B, 132), betas (B, 16), h_next, c_next, memory_next.
B is free. A network without filters has no `memory`. Zeros are a fresh start. Written node by node from the trained arrays, so that it
needs no exporter: weight norm folded, both products of an LSTM in one, attention's scale in its weights.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from tenfold.core import atomic
from tenfold.core.errors import BadData
from tenfold.motion_tracking import canonical, columns, memory, onnx_step, skeleton
from tenfold.motion_tracking.network import LEAK, OUT, OWNER, PELVIS, SHINS, Layer, Network, carried
from tenfold.motion_tracking.onnx_graph import Graph
from tenfold.motion_tracking.step import Step
from tenfold.motion_tracking.torch_lstm import BatchedGRU, BatchedLSTM
from tenfold.motion_tracking.torch_window import BatchedWindow

TOLERANCE = 1e-5
PROBE = 8  # frames that both runtimes see after an export
EMBEDDING, LINEAR_MAP = "embedding", "linear_map"
"""Names of the nodes that multiply the network's inputs."""

Array = npt.NDArray[np.float32]


def export(network: Network, path: Path, body_sha256: str) -> float:
    """Write the graph and compare it with PyTorch on a few random frames; the largest difference. BadData if that is over TOLERANCE."""
    model = build(network)
    facts = {
        "fps": skeleton.RATE_HZ, "columns": columns.TOKENS, "masks": columns.MASKS, "joints": skeleton.JOINTS,
        "rot6d": network.options.rot6d, "body_sha256": body_sha256, "network": asdict(network.options),
    }  # fmt: skip
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in facts.items()})
    onnx.checker.check_model(model, full_check=True)
    atomic.write_bytes(path, model.SerializeToString(deterministic=True))
    worst = difference(Step(network), onnx_step.OnnxStep(path))
    if not worst <= TOLERANCE:
        raise BadData(f"{path}: the exported graph differs from PyTorch by {worst:.1e}, more than {TOLERANCE:g}; report this")
    return worst


def difference(step: Step, other: onnx_step.OnnxStep, batch: int = 3) -> float:
    """Largest difference of poses and shapes over PROBE random frames, as a share of the largest value where that is over 1."""
    rng = np.random.default_rng(0)
    state, carried, worst = step.start(batch), other.start(batch), 0.0
    for _ in range(PROBE):
        x = rng.standard_normal((batch, columns.WIDTH)).astype(np.float32)
        x[0, PELVIS] = 0
        pose, betas, *new = step(torch.from_numpy(x), *state)
        state = type(state)(*new)
        found, carried = other(x, carried)
        for true, mine in ((pose, found.pose), (betas, found.betas)):
            # NumPy's maximum keeps what is no number
            worst = float(np.maximum(worst, float((torch.from_numpy(mine) - true).abs().max() / true.abs().max().clamp(min=1))))
    return worst


def build(network: Network) -> onnx.ModelProto:
    """The graph of one frame."""
    options, graph = network.options, Graph()
    blocks, tokens, wide = options.blocks, network.tokens, memory.width(network.places)
    with torch.no_grad():
        kept = _Kept(graph, network.places)
        x, towards = _inputs(graph, network, kept)
        pose, betas = _body(graph, network, x)
        if network.skip is not None:
            linear = _linear(graph, network, x, kept)
            pose = graph.add(pose, graph.slice(linear, 0, columns.POSE_WIDTH))
            betas = graph.add(betas, graph.slice(linear, columns.POSE_WIDTH, OUT))
        if towards:
            root = _back(graph, graph.slice(pose, 0, 6), towards)
            pose = graph.node("Concat", root, graph.slice(pose, 6, columns.POSE_WIDTH), axis=1)
        if network.poles is not None:
            for pole, alpha in enumerate(torch.sigmoid(network.poles)):
                pose = kept.low_pass(f"pole{pole}", pose, _array(alpha))
        if options.shape == "zero":
            betas = graph.mul(betas, graph.constant(0.0))
        if options.shape_alpha < 1:
            betas = kept.low_pass("shape", betas, options.shape_alpha)
        graph.node("Identity", pose, output="pose")
        graph.node("Identity", betas, output="betas")
        kept.write()
    state: dict[str, list[int | str]] = {
        name: [blocks, tokens, "B", *sides] for name, sides in zip(("h", "c"), carried(options), strict=True)
    }
    if network.places:
        state["memory"] = ["B", wide]
    made: dict[str, list[int | str]] = {"pose": ["B", columns.POSE_WIDTH], "betas": ["B", skeleton.BETAS]}
    return graph.model(
        {"x": ["B", columns.WIDTH], **state},
        {**made, **{f"{name}_next": shape for name, shape in state.items()}},
        "one frame of full-body motion from sensors; zeros in h, c and memory are a fresh start",
    )


class _Kept:
    """The filters' memory inside the graph, as `memory.Memory`."""

    def __init__(self, graph: Graph, places: memory.Layout) -> None:
        self._graph, self._places = graph, places
        self._new: dict[str, str] = {}
        if places:
            self._started = graph.node("Greater", graph.slice("memory", 0, 1), graph.constant(0.0))

    def low_pass(self, name: str, u: str, alpha: npt.ArrayLike) -> str:
        """The filter's new value."""
        before = self._graph.node("Where", self._started, self._graph.slice("memory", *self._places[name]), u)
        self._new[name] = self._graph.low_pass(u, before, alpha)
        return self._new[name]

    def write(self) -> None:
        if self._places:
            first = self._graph.slice("memory", 0, 1)
            one = self._graph.add(self._graph.mul(first, self._graph.constant(0.0)), self._graph.constant(1.0))
            self._graph.node("Concat", one, *(self._new[name] for name in self._places), axis=1, output="memory_next")


def _inputs(graph: Graph, network: Network, kept: _Kept) -> tuple[str, str]:
    sixes = graph.reshape(graph.slice("x", *columns.ROTATION), 0, len(columns.SENSORS), 6)
    largest = graph.node("ReduceMax", graph.node("Abs", sixes), graph.constant([2]), keepdims=0)
    worn = graph.node("Gather", graph.node("Greater", largest, graph.constant(0.0)), graph.constant(list(OWNER)), axis=1)
    x, towards = "x", ""
    if network.options.canonical == "yaw_xy":
        slow = kept.low_pass("yaw", graph.slice(x, *canonical.HEAD_LEFT), network.options.yaw_alpha)
        towards = _unit(graph, slow)
        cos, sin = graph.slice(towards, 0, 1), graph.slice(towards, 1, 2)
        shift = graph.add(
            graph.mul(graph.slice(x, 72, 73), graph.constant(canonical.EAST)),
            graph.mul(graph.slice(x, 73, 74), graph.constant(canonical.NORTH)),
        )
        x = graph.sub(x, shift)
        one = graph.constant(1.0)
        along = graph.add(graph.mul(graph.sub(cos, one), graph.constant(canonical.FLAT)), one)
        other = graph.node("Gather", x, graph.constant(canonical.PARTNER), axis=1)
        x = graph.add(graph.mul(x, along), graph.mul(other, graph.mul(sin, graph.constant(canonical.SIGN))))
    if network.options.standardise:
        mean, std = (graph.constant(_array(network.get_buffer(name))) for name in ("mean", "std"))
        x = graph.node("Div", graph.sub(x, mean), std)
    return graph.node("Where", worn, x, graph.constant(0.0)), towards


def _linear(graph: Graph, network: Network, x: str, kept: _Kept) -> str:
    assert network.skip is not None
    alphas = network.options.skip_alphas
    wide = graph.node("Concat", *[x] * len(alphas), axis=1)
    slow = kept.low_pass("skip", wide, np.repeat(np.array(alphas, np.float32), columns.WIDTH))
    parts = graph.split(graph.linear(slow, _array(network.skip.weight), _array(network.skip.bias), LINEAR_MAP), 3, 1)
    found = parts[0]
    for part, place in ((parts[1], SHINS), (parts[2], PELVIS)):
        largest = graph.node("ReduceMax", graph.node("Abs", graph.slice(x, place.start, place.stop)), graph.constant([1]), keepdims=1)
        there = graph.node("Greater", largest, graph.constant(0.0))
        found = graph.add(found, graph.node("Where", there, part, graph.constant(0.0)))
    return found


def _body(graph: Graph, network: Network, x: str) -> tuple[str, str]:
    tokens, hidden = network.tokens, network.options.hidden
    embedding = network.embedding
    y = graph.node("LeakyRelu", graph.linear(x, _array(embedding.matrix()), _array(embedding.bias), EMBEDDING), alpha=LEAK)
    y = _norm(graph, graph.reshape(y, 0, tokens, hidden), embedding.norm)
    hs, cs = [], []
    for number, (temporal, spatial) in enumerate(zip(network.temporal, network.spatial, strict=True)):
        if not isinstance(temporal, nn.Identity):
            h, c = (graph.node("Gather", name, graph.constant(number), axis=0) for name in ("h", "c"))
            y, h, c = _temporal(graph, temporal, graph.node("Transpose", y, perm=[1, 0, 2]), h, c)
            hs.append(graph.node("Unsqueeze", h, graph.constant([0])))
            cs.append(graph.node("Unsqueeze", c, graph.constant([0])))
            y = graph.node("Transpose", y, perm=[1, 0, 2])
        for layer in spatial if isinstance(spatial, nn.Sequential) else []:
            assert isinstance(layer, Layer)
            y = _layer(graph, layer, y, tokens)
    for name, parts in (("h", hs), ("c", cs)):
        graph.node("Concat", *(parts or [name]), axis=0, output=f"{name}_next")
    y = graph.reshape(y, 0, tokens * hidden)
    pose = _head(graph, network.pose_head, y)
    if network.shape_head is None:
        return pose, graph.mul(graph.slice(pose, 0, skeleton.BETAS), graph.constant(0.0))
    return pose, _head(graph, network.shape_head, y)


def _temporal(graph: Graph, temporal: nn.Module, x: str, h: str, c: str) -> tuple[str, str, str]:
    """x (tokens, B, H) and what a block carries to the same."""
    if isinstance(temporal, BatchedLSTM):
        h, c = _lstm(graph, temporal, x, h, c)
        return h, h, c
    if isinstance(temporal, BatchedGRU):
        h = _gru(graph, temporal, x, h)
        return h, h, c
    assert isinstance(temporal, BatchedWindow)
    return _window(graph, temporal, x, h, c)


def _lstm(graph: Graph, lstm: BatchedLSTM, x: str, h: str, c: str) -> tuple[str, str]:
    both = torch.cat([lstm.weight("ih"), lstm.weight("hh")], -1).transpose(1, 2)
    gates = graph.node("MatMul", graph.node("Concat", x, h, axis=2), graph.constant(_array(both)))
    parts = graph.split(graph.add(gates, graph.constant(_array(lstm.bias()[:, None]))), 4, 2)
    i, f, o = (graph.node("Sigmoid", parts[at]) for at in (0, 1, 3))
    c = graph.add(graph.mul(f, c), graph.mul(i, graph.node("Tanh", parts[2])))
    return graph.mul(o, graph.node("Tanh", c)), c


def _gru(graph: Graph, gru: BatchedGRU, x: str, h: str) -> str:
    given, carried = (
        graph.split(
            graph.add(
                graph.node("MatMul", source, graph.constant(_array(gru.get_parameter(name).transpose(1, 2)))),
                graph.constant(_array(gru.get_parameter(f"bias_{name}")[:, None])),
            ),
            3,
            2,
        )
        for source, name in ((x, "ih"), (h, "hh"))
    )
    reset, update = (graph.node("Sigmoid", graph.add(given[at], carried[at])) for at in (0, 1))
    new = graph.node("Tanh", graph.add(given[2], graph.mul(reset, carried[2])))
    return graph.add(new, graph.mul(update, graph.sub(h, new)))


def _window(graph: Graph, window: BatchedWindow, x: str, h: str, c: str) -> tuple[str, str, str]:
    heads, before, hidden = window.heads, window.before, window.norm1.normalized_shape[0]

    def linear(y: str, name: str, first: int = 0, last: int | None = None, scale: float = 1.0) -> str:
        weight, bias = (window.get_parameter(each)[:, first:last] * scale for each in (name, f"bias_{name}"))
        return graph.add(graph.node("MatMul", y, graph.constant(_array(weight.transpose(1, 2)))), graph.constant(_array(bias[:, None])))

    q = graph.reshape(linear(x, "qkv", 0, hidden, (hidden // heads) ** -0.5), 0, 0, heads, 1, hidden // heads)
    new = linear(x, "qkv", hidden)
    one = graph.add(graph.mul(graph.slice(x, 0, 1, axis=2), graph.constant(0.0)), graph.constant(1.0))
    h = graph.node("Concat", h, graph.node("Unsqueeze", new, graph.constant([2])), axis=2)
    c = graph.node("Concat", c, one, axis=2)
    k, v = (graph.reshape(graph.slice(h, at, at + hidden, axis=3), 0, 0, before + 1, heads, hidden // heads) for at in (0, hidden))
    scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 4, 2]))
    scores = graph.add(scores, graph.constant(_array(window.lag.flip(-1)[:, None, :, None])))
    seen = graph.node("Greater", graph.node("Unsqueeze", c, graph.constant([2, 3])), graph.constant(0.0))
    weights = graph.node("Softmax", graph.node("Where", seen, scores, graph.constant(-np.inf)), axis=-1)
    mixed = graph.reshape(graph.node("MatMul", weights, graph.node("Transpose", v, perm=[0, 1, 3, 2, 4])), 0, 0, hidden)
    x = _norm(graph, graph.add(x, linear(mixed, "mix")), window.norm1)
    inner = graph.node("Relu", linear(x, "up"))
    x = _norm(graph, graph.add(x, linear(inner, "down")), window.norm2)
    return x, graph.slice(h, 1, before + 1, axis=2), graph.slice(c, 1, before + 1, axis=2)


def _layer(graph: Graph, layer: Layer, x: str, tokens: int) -> str:
    attention = layer.self_attn
    heads, hidden = attention.heads, attention.out_proj.in_features
    weight, bias = attention.in_proj_weight.clone(), attention.in_proj_bias.clone()
    weight[:hidden] *= (hidden // heads) ** -0.5
    bias[:hidden] *= (hidden // heads) ** -0.5
    packed = graph.reshape(graph.linear(x, _array(weight), _array(bias)), 0, tokens, 3, heads, hidden // heads)
    q, k, v = (graph.node("Squeeze", part, graph.constant([2])) for part in graph.split(packed, 3, 2))
    q, v = (graph.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))
    weights = graph.node("Softmax", graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 2, 3, 1])), axis=-1)
    mixed = graph.node("Transpose", graph.node("MatMul", weights, v), perm=[0, 2, 1, 3])
    mixed = graph.reshape(mixed, 0, tokens, hidden)
    x = _norm(graph, graph.add(x, _dense(graph, attention.out_proj, mixed)), layer.norm1)
    inner = graph.node("Relu", _dense(graph, layer.linear1, x))
    return _norm(graph, graph.add(x, _dense(graph, layer.linear2, inner)), layer.norm2)


def _head(graph: Graph, head: nn.Sequential, x: str) -> str:
    first, last = head[0], head[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    return _dense(graph, last, graph.node("LeakyRelu", _dense(graph, first, x), alpha=LEAK))


def _dense(graph: Graph, layer: nn.Linear, x: str) -> str:
    return graph.linear(x, _array(layer.weight), _array(layer.bias))


def _norm(graph: Graph, x: str, norm: nn.LayerNorm) -> str:
    return graph.node(
        "LayerNormalization", x, graph.constant(_array(norm.weight)), graph.constant(_array(norm.bias)), axis=-1, epsilon=norm.eps
    )


def _unit(graph: Graph, v: str) -> str:
    square = graph.node("ReduceSum", graph.mul(v, v), graph.constant([1]), keepdims=1)
    return graph.node("Div", v, graph.node("Sqrt", graph.add(square, graph.constant(1e-12))))


def _back(graph: Graph, six: str, towards: str) -> str:
    cos, sin = graph.slice(towards, 0, 1), graph.slice(towards, 1, 2)
    along = graph.add(graph.mul(graph.sub(cos, graph.constant(1.0)), graph.constant([1, 1, 0, 1, 1, 0.0])), graph.constant(1.0))
    other = graph.node("Gather", six, graph.constant([1, 0, 2, 4, 3, 5]), axis=1)
    return graph.add(graph.mul(six, along), graph.mul(other, graph.mul(sin, graph.constant([-1, 1, 0, -1, 1, 0.0]))))


def _array(values: Tensor) -> Array:
    return values.detach().cpu().numpy()

"""ONNX graphs of what runs at inference: the two mappers and the two 2D extractors, built node by node from plain arrays.

Written for opset 17 and IR version 8, which ONNX Runtime reads since 1.13.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tenfold.core import atomic
from tenfold.crossmodal_anomaly import dino
from tenfold.crossmodal_anomaly.efficientnet_lite import CENTRE, SCALE, TAPS, Block, EfficientNetLite0Tokens, same_padding

OPSET, IR_VERSION = 17, 8

Layers = Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]]
Norm = tuple[NDArray[np.floating], NDArray[np.floating]]


class _Graph:
    """Nodes and constants under construction; `node` returns the name of its one output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.generic] | float | list[int] | list[float]) -> str:
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def write(self, path: Path, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], says: str) -> None:
        graph = helper.make_graph(self.nodes, path.stem, inputs, outputs, self.constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="tenfold", doc_string=says
        )
        onnx.checker.check_model(model, full_check=True)
        atomic.write_bytes(path, model.SerializeToString(deterministic=True))


def _mapper(graph: _Graph, layers: Layers, norm: Norm | None, source: str, target: str) -> tuple[int, int]:
    """Add linear layers with exact GELU between them; returns the widths in and out."""
    arrays = [(np.asarray(weight, np.float64), np.asarray(bias, np.float64)) for weight, bias in layers]
    if norm is not None:
        mean, std = (np.asarray(part, np.float64) for part in norm)
        weight, bias = arrays[0]
        arrays[0] = (weight / std, bias - (weight / std) @ mean)
    x = source
    for i, (weight, bias) in enumerate(arrays):
        last = i == len(arrays) - 1
        x = graph.node("Gemm", x, graph.constant(weight), graph.constant(bias), transB=1, output=target if last else "")
        if not last:
            x = _gelu(graph, x)
    return arrays[0][0].shape[1], arrays[-1][0].shape[0]


def _gelu(graph: _Graph, x: str) -> str:
    erf = graph.node("Erf", graph.node("Mul", x, graph.constant(1 / math.sqrt(2))))
    return graph.node("Mul", graph.node("Mul", x, graph.constant(0.5)), graph.node("Add", erf, graph.constant(1.0)))


def export_mapper(layers: Layers, path: Path, norm: Norm | None = None, source: str = "features", target: str = "mapped") -> None:
    """Write one mapper, (N, inputs) float32 to (N, outputs) float32 with any N.

    layers: (weight (out, in), bias (out,)) of each linear layer, in order; GELU (exact, by erf) between them.
    norm: (mean, std) per input channel, folded into the first layer: the graph then takes raw features.
    """
    graph = _Graph()
    inputs, outputs = _mapper(graph, layers, norm, source, target)
    graph.write(
        path,
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, ["N", inputs])],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, ["N", outputs])],
        f"{source} to {target}",
    )


def export_mappers(m23: Layers, m32: Layers, path: Path, norm2d: Norm | None = None, norm3d: Norm | None = None) -> None:
    """Write both mappers as one graph: `f2` (N, C2) and `f3` (N, C3), raw features, to `f3_from_f2` and `f2_from_f3`.

    What comes out is in the mappers' own space, that is normalised where `norm2d`, `norm3d` (mean, std per channel) are given.
    """
    graph = _Graph()
    c2, c3 = _mapper(graph, m23, norm2d, "f2", "f3_from_f2")
    _mapper(graph, m32, norm3d, "f3", "f2_from_f3")
    graph.write(
        path,
        [
            helper.make_tensor_value_info("f2", TensorProto.FLOAT, ["N", c2]),
            helper.make_tensor_value_info("f3", TensorProto.FLOAT, ["N", c3]),
        ],
        [
            helper.make_tensor_value_info("f3_from_f2", TensorProto.FLOAT, ["N", c3]),
            helper.make_tensor_value_info("f2_from_f3", TensorProto.FLOAT, ["N", c2]),
        ],
        "crossmodal feature mapping: colour features to 3D features and back",
    )


def export_efficientnet_lite0(tokens: EfficientNetLite0Tokens, path: Path, side: int = 224) -> None:
    """Write the extractor: `rgb` (B, side, side, 3) uint8 to `tokens_<depth>` (B, side/8, side/8, channels) float32 a depth.

    The side is fixed, since TensorFlow's SAME padding depends on it; the batch is free. Raises ValueError unless 16 divides the side.
    """
    if side % 16:
        raise ValueError(f"the side of the exported graph must be a multiple of 16 px, got {side}")
    graph = _Graph()
    network = tokens.network
    pixels = graph.node("Sub", graph.node("Cast", "rgb", to=TensorProto.FLOAT), graph.constant(CENTRE))
    x = graph.node("Transpose", graph.node("Div", pixels, graph.constant(SCALE)), perm=[0, 3, 1, 2])
    x, size = _convolution(graph, x, network._conv_stem, side, relu6=True)
    strides = {block: stride for stride, (block, _) in TAPS.items()}
    maps: dict[int, str] = {}
    for i, block in enumerate(network._blocks):
        x, size = _block(graph, x, block, size)
        if i in strides:
            maps[strides[i]] = _on_grid(graph, x, strides[i], side // 8)
    for depth in tokens.depths:
        joined = graph.node("Concat", *(name for stride, name in maps.items() if stride <= depth), axis=1)
        graph.node("Transpose", joined, perm=[0, 2, 3, 1], output=f"tokens_{depth}")
    _write_extractor(graph, path, tokens, side, side // 8)


def export_dino(tokens: dino.DinoTokens, path: Path) -> None:
    """Write the extractor: `rgb` (B, side, side, 3) uint8 to `tokens_<depth>` (B, side/patch, side/patch, width) float32 a depth."""
    graph, size = _Graph(), tokens.size
    parts = {"embeddings": tokens.embeddings, "layers": tokens.blocks, "layernorm": tokens.norm}
    state = dino.common_layout({f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()})
    arrays = {name: value.cpu().numpy() for name, value in state.items()}
    grid = size.side // size.patch

    scale, shift = 255 * np.asarray(dino.STD), np.asarray(dino.MEAN) / np.asarray(dino.STD)
    pixels = graph.node("Div", graph.node("Cast", "rgb", to=TensorProto.FLOAT), graph.constant(scale))
    image = graph.node("Transpose", graph.node("Sub", pixels, graph.constant(shift)), perm=[0, 3, 1, 2])
    kernel, bias = (graph.constant(arrays[f"patch_embed.proj.{kind}"]) for kind in ("weight", "bias"))
    patches = graph.node("Conv", image, kernel, bias, kernel_shape=[size.patch] * 2, strides=[size.patch] * 2)
    patches = graph.node("Transpose", graph.node("Reshape", patches, graph.constant([0, 0, -1])), perm=[0, 2, 1])
    batch = graph.node("Slice", graph.node("Shape", patches), graph.constant([0]), graph.constant([1]))
    shape = graph.node("Concat", batch, graph.constant([1, size.width]), axis=0)
    x = graph.node("Concat", graph.node("Expand", graph.constant(arrays["cls_token"]), shape), patches, axis=1)
    x = graph.node("Add", x, graph.constant(arrays["pos_embed"]))
    for depth in range(1, len(tokens.blocks) + 1):
        x = _vit_block(graph, x, arrays, f"blocks.{depth - 1}", size.heads)
        if depth in tokens.depths:
            normed = _layer_norm(graph, x, arrays, "norm")
            patches = graph.node("Slice", normed, graph.constant([1]), graph.constant([grid**2 + 1]), graph.constant([1]))
            graph.node("Reshape", patches, graph.constant([0, grid, grid, size.width]), output=f"tokens_{depth}")
    _write_extractor(graph, path, tokens, size.side, grid)


def _write_extractor(graph: _Graph, path: Path, tokens: EfficientNetLite0Tokens | dino.DinoTokens, side: int, grid: int) -> None:
    graph.write(
        path,
        [helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["B", side, side, 3])],
        [helper.make_tensor_value_info(f"tokens_{d}", TensorProto.FLOAT, ["B", grid, grid, c]) for d, c in tokens.channels.items()],
        f"{tokens.name} tokens; weights sha256 {tokens.sha256}",
    )


def _linear(graph: _Graph, x: str, arrays: dict[str, NDArray[np.float32]], name: str) -> str:
    product = graph.node("MatMul", x, graph.constant(arrays[f"{name}.weight"].T))
    return graph.node("Add", product, graph.constant(arrays[f"{name}.bias"]))


def _layer_norm(graph: _Graph, x: str, arrays: dict[str, NDArray[np.float32]], name: str) -> str:
    weight, bias = (graph.constant(arrays[f"{name}.{kind}"]) for kind in ("weight", "bias"))
    return graph.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=dino.LAYER_NORM_EPS)


def _vit_block(graph: _Graph, x: str, arrays: dict[str, NDArray[np.float32]], name: str, heads: int) -> str:
    normed = _layer_norm(graph, x, arrays, f"{name}.norm1")
    split = graph.constant([0, 0, heads, -1])
    # queries and values as (B, heads, tokens, width), keys transposed
    turns = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
    query, key, value = (
        graph.node("Transpose", graph.node("Reshape", _linear(graph, normed, arrays, f"{name}.attn.{part}"), split), perm=perm)
        for part, perm in turns.items()
    )
    width = arrays[f"{name}.norm1.weight"].size // heads
    weights = graph.node("Softmax", graph.node("Mul", graph.node("MatMul", query, key), graph.constant(width**-0.5)), axis=-1)
    mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
    mixed = graph.node("Reshape", mixed, graph.constant([0, 0, -1]))
    x = graph.node("Add", x, _linear(graph, mixed, arrays, f"{name}.attn.proj"))
    hidden = _gelu(graph, _linear(graph, _layer_norm(graph, x, arrays, f"{name}.norm2"), arrays, f"{name}.mlp.fc1"))
    return graph.node("Add", x, _linear(graph, hidden, arrays, f"{name}.mlp.fc2"))


def _convolution(graph: _Graph, x: str, conv: nn.Conv2d, size: int, relu6: bool) -> tuple[str, int]:
    """A convolution with its batch norm folded in; returns its output and that map's side."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    before, after = same_padding(size, kernel, stride)
    weight, bias = (graph.constant(p.detach().cpu().numpy()) for p in (conv.weight, conv.bias))
    x = graph.node(
        "Conv", x, weight, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[before, before, after, after], group=conv.groups
    )
    if relu6:
        x = graph.node("Clip", x, graph.constant(0.0), graph.constant(6.0))
    return x, -(-size // stride)


def _block(graph: _Graph, x: str, block: Block, size: int) -> tuple[str, int]:
    y, out = x, size
    if block.expands:
        y, out = _convolution(graph, y, block._expand_conv, out, relu6=True)
    y, out = _convolution(graph, y, block._depthwise_conv, out, relu6=True)
    y, out = _convolution(graph, y, block._project_conv, out, relu6=False)
    return (graph.node("Add", x, y) if block.residual else y), out


def _on_grid(graph: _Graph, x: str, stride: int, grid: int) -> str:
    if stride == 8:
        return x
    if stride < 8:
        return graph.node("AveragePool", x, kernel_shape=[8 // stride] * 2, strides=[8 // stride] * 2)
    scales = graph.constant([1.0, 1.0, stride / 8, stride / 8])
    return graph.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

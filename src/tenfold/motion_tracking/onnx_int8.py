"""The exported step with weights of 8 bits: a fraction of the file, with the same inputs, outputs and state (specification sections 5, 9).

ONNX Runtime's dynamic quantisation: a product with a stored matrix (LSTMs, attention, heads) is one of whole numbers of 8 bits, a scale a
matrix; what the matrix is given is rounded frame by frame, by its own range. The state, sums, norms and the products named in `EXACT` stay
float32. Only operators of ONNX itself come of it.
"""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from tenfold.core import atomic
from tenfold.core.errors import BadData
from tenfold.motion_tracking import onnx_export, onnx_step
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.step import Step

EXACT = (onnx_export.EMBEDDING, onnx_export.LINEAR_MAP)
"""What reads the sensors: columns of metres, of rotations and of m/s^2 would share one range."""


def export(network: Network, step: Path, path: Path) -> float:
    """Write to `path` the graph `step` of this network with weights of 8 bits; its largest difference from PyTorch on a few random frames.

    The same graph gives the same bytes. BadData if what comes of it is no number.
    """
    atomic.write_bytes(path, quantised(step.read_bytes()).SerializeToString(deterministic=True))
    worst = onnx_export.difference(Step(network), onnx_step.OnnxStep(path), batch=1)
    if not np.isfinite(worst):
        raise BadData(f"{path}: the graph of 8 bits gives what is no number; serve the one of 32, and report this")
    return worst


def quantised(graph: bytes) -> onnx.ModelProto:
    """The graph with its stored matrices in 8 bits, and `precision` among its properties."""
    model = onnx.ModelProto.FromString(graph)
    properties = {each.key: each.value for each in model.metadata_props}
    # or the quantiser warns that it wants to simplify first; the graph is written simple
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch, _logging_as_it_is():
        from onnxruntime import quantization

        made = Path(scratch) / "int8.onnx"
        # unsigned: signed weights may saturate on processors that have AVX2 and no VNNI (ONNX Runtime's documentation)
        quantization.quantize_dynamic(
            model, made, op_types_to_quantize=["MatMul"], weight_type=quantization.QuantType.QUInt8, nodes_to_exclude=list(EXACT)
        )
        found = onnx.ModelProto.FromString(made.read_bytes())
    # in the place of the quantiser's own properties, which are no JSON
    del found.metadata_props[:]
    onnx.helper.set_model_props(found, properties | {"precision": json.dumps("int8")})
    found.producer_name, found.producer_version = model.producer_name, model.producer_version
    onnx.checker.check_model(found, full_check=True)
    return found


@contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """The quantiser configures the root logger when it is imported, and every library's INFO lines would be printed from then on."""
    root, held = logging.getLogger(), logging.NullHandler()
    root.addHandler(held)
    try:
        yield
    finally:
        root.removeHandler(held)

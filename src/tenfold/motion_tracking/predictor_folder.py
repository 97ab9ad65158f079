"""The folder that prediction needs and nothing else.

predictor.json         format, what the sensors' accelerations were in training, sha256 of the steps and of the body
weights.safetensors    the network
network.json           its options
step.onnx              one frame of it, with explicit state
step_int8.onnx         the same with weights of 8 bits
body.npz               rest joints and shape modes; absent if the body is licensed
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core import atomic
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.params import did_you_mean
from tenfold.motion_tracking import body as bodies
from tenfold.motion_tracking import onnx_step

if TYPE_CHECKING:
    from tenfold.motion_tracking.network import Network

FORMAT = 1
FP32, INT8 = "fp32", "int8"
STEPS = {FP32: ("step.onnx", "step_sha256"), INT8: ("step_int8.onnx", "step_int8_sha256")}
"""File of each precision, and the name of its sha256 in predictor.json."""


@dataclass(frozen=True)
class Serving:
    """What is told beside the network: `acceleration`, how training made the IMUs' accelerations (central, causal, raw)."""

    acceleration: str


@dataclass(frozen=True)
class Parts:
    """A predictor, opened with the step of one precision. `body` is None if it is licensed and was not copied."""

    description: dict[str, Any]
    step: onnx_step.OnnxStep
    body: bodies.Body | None
    folder: Path
    precision: str


def write(folder: Path, network: "Network", body: bodies.Body, serving: Serving) -> None:
    """Write a predictor; an earlier one is replaced."""
    from dataclasses import asdict

    import safetensors.torch

    from tenfold.motion_tracking import onnx_export, onnx_int8

    with atomic.new_folder(folder) as made:
        (made / "weights.safetensors").write_bytes(safetensors.torch.save(network.state_dict()))
        atomic.write_json(made / "network.json", asdict(network.options))
        paths = {precision: made / name for precision, (name, _) in STEPS.items()}
        parity = {
            "onnx_parity": onnx_export.export(network, paths[FP32], body.sha256),
            "onnx_int8_difference": onnx_int8.export(network, paths[FP32], paths[INT8]),
        }
        if not body.licensed:
            bodies.save_small(made / "body.npz", body)
        about = {
            "format": FORMAT, "acceleration": serving.acceleration, "body_sha256": body.sha256, **parity,
            **{STEPS[precision][1]: hashlib.sha256(path.read_bytes()).hexdigest() for precision, path in paths.items()},
        }  # fmt: skip
        atomic.write_json(made / "predictor.json", about)


def read(folder: Path, precision: str = FP32) -> Parts:
    """A predictor, without PyTorch. BadData if the folder is none or has no step of this precision, Corrupt if it is damaged."""
    path = folder / "predictor.json"
    if not path.is_file():
        raise BadData(f"{folder} is no predictor of motion_tracking: it has no predictor.json; take the folder `predictor` of a model")
    try:
        description = json.loads(path.read_text())
        if description["format"] != FORMAT:
            raise BadData(f"{path} has format {description['format']}, this version reads {FORMAT}; train the model again")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Corrupt(f"{folder} is damaged ({type(error).__name__}: {error}); take it from the model again") from error
    small = folder / "body.npz"
    opened = step(folder, description, precision)
    return Parts(description, opened, bodies.load_small(small) if small.is_file() else None, folder, precision)


def step(folder: Path, description: Mapping[str, Any], precision: str, threads: int = 1) -> onnx_step.OnnxStep:
    """The step of a precision, if it is the one that was exported. UsageError for another precision, BadData, Corrupt."""
    if precision not in STEPS:
        raise UsageError(f"precision is {precision!r}{did_you_mean(precision, STEPS)}")
    name, entry = STEPS[precision]
    if entry not in description:
        if precision == FP32:
            raise Corrupt(f"{folder} is damaged (predictor.json has no {entry}); take it from the model again")
        raise BadData(f"{folder} has no step of 8 bits, an older version made it; use fp32, or train the model again")
    return onnx_step.OnnxStep(folder / name, threads, str(description[entry]))

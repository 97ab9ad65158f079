"""The folder that prediction needs and nothing else.

predictor.json         format, what the sensors' accelerations were in training, sha256 of the step and of the body
weights.safetensors    the network
network.json           its options
step.onnx              one frame of it, with explicit state
body.npz               rest joints and shape modes; absent if the body is licensed
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core import atomic
from tenfold.core.errors import BadData, Corrupt
from tenfold.motion_tracking import body as bodies
from tenfold.motion_tracking import onnx_step

if TYPE_CHECKING:
    from tenfold.motion_tracking.network import Network

FORMAT = 1


@dataclass(frozen=True)
class Serving:
    """What is told beside the network: `acceleration`, how training made the IMUs' accelerations (central, causal, raw)."""

    acceleration: str


@dataclass(frozen=True)
class Parts:
    """A predictor, opened. `body` is None if it is licensed and was not copied."""

    description: dict[str, Any]
    step: onnx_step.OnnxStep
    body: bodies.Body | None


def write(folder: Path, network: "Network", body: bodies.Body, serving: Serving) -> None:
    """Write a predictor; an earlier one is replaced."""
    from dataclasses import asdict

    import safetensors.torch

    from tenfold.motion_tracking import onnx_export

    with atomic.new_folder(folder) as made:
        (made / "weights.safetensors").write_bytes(safetensors.torch.save(network.state_dict()))
        atomic.write_json(made / "network.json", asdict(network.options))
        parity = onnx_export.export(network, made / "step.onnx", body.sha256)
        if not body.licensed:
            bodies.save_small(made / "body.npz", body)
        about = {
            "format": FORMAT, "acceleration": serving.acceleration, "body_sha256": body.sha256, "onnx_parity": parity,
            "step_sha256": hashlib.sha256((made / "step.onnx").read_bytes()).hexdigest(),
        }  # fmt: skip
        atomic.write_json(made / "predictor.json", about)


def read(folder: Path) -> Parts:
    """A predictor, without PyTorch. BadData if the folder is none, Corrupt if it is damaged."""
    path = folder / "predictor.json"
    if not path.is_file():
        raise BadData(f"{folder} is no predictor of motion_tracking: it has no predictor.json; take the folder `predictor` of a model")
    try:
        description = json.loads(path.read_text())
        if description["format"] != FORMAT:
            raise BadData(f"{path} has format {description['format']}, this version reads {FORMAT}; train the model again")
        sha256 = str(description["step_sha256"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Corrupt(f"{folder} is damaged ({type(error).__name__}: {error}); take it from the model again") from error
    small = folder / "body.npz"
    return Parts(
        description, onnx_step.OnnxStep(folder / "step.onnx", sha256=sha256), bodies.load_small(small) if small.is_file() else None
    )

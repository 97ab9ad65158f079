"""The exported step with ONNX Runtime and NumPy alone: no PyTorch is imported.

step = OnnxStep(Path("predictor/step.onnx"))
state = step.start()
for row in rows:                       # (135,) float32, masked
    frame, state = step(row[None], state)
    frame.pose, frame.betas            # (1, 132) 6D, (1, 16)
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenfold.core.errors import Corrupt
from tenfold.motion_tracking import onnx_whole

Array = npt.NDArray[np.float32]
State = dict[str, Array]

STATE = ("h", "c", "memory")


@dataclass(frozen=True)
class Frame:
    """Local rotations in 6D (B, 132) and shape (B, 16)."""

    pose: Array
    betas: Array


class OnnxStep:
    """A loaded graph. It keeps nothing between calls, so any number of streams and threads may share it."""

    def __init__(self, path: Path, threads: int = 1, sha256: str = "") -> None:
        """`sha256` (hex): what the file must be, if it is known. The file's bytes are all that is read: a graph that points at others is
        refused. Raises Corrupt for it, for another file than the one meant, and for one that is no graph of a step.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        # one frame at a time: an arena grown once is as fast and does not grow on
        options.enable_cpu_mem_arena = False
        data, self.sha256 = _trusted(path, sha256)
        # by its path: from bytes the weights would be there three times while the session opens
        del data
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
            if not same:  # somebody wrote there meanwhile: only bytes that were looked at are kept
                data, self.sha256 = _trusted(path, sha256)
                self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            properties = self._session.get_modelmeta().custom_metadata_map
            self.facts: dict[str, Any] = {name: json.loads(properties[name]) for name in ("fps", "rot6d", "body_sha256", "network")}
        except Corrupt:
            raise
        except Exception as error:  # ONNX Runtime's own errors have no common class
            raise Corrupt(f"{path} cannot be read as an exported step ({error}); take it from the model again") from error
        self._shapes = {each.name: each.shape for each in self._session.get_inputs() if each.name in STATE}
        self._outputs = ["pose", "betas", *(f"{name}_next" for name in self._shapes)]

    def start(self, batch: int = 1) -> State:
        """The state before the first frame."""
        return {
            name: np.zeros([side if isinstance(side, int) else batch for side in shape], np.float32) for name, shape in self._shapes.items()
        }

    def __call__(self, x: Array, state: State) -> tuple[Frame, State]:
        """x (B, 135) float32, masked, and the state to the poses and the new state."""
        pose, betas, *new = self._session.run(self._outputs, {"x": x, **state})
        return Frame(pose, betas), dict(zip(self._shapes, new, strict=True))


def _trusted(path: Path, sha256: str) -> tuple[bytes, str]:
    """The bytes of a graph that names no other file, and their sha256."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Corrupt(f"{path} cannot be read ({error.strerror or error}); take it from the model again") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise Corrupt(f"{path} is not the step that was exported (its sha256 differs); take it from the model again")
    reason = onnx_whole.reason_against(data)
    if reason:
        raise Corrupt(f"{path} is not opened: {reason}; take it from the model again")
    return data, found

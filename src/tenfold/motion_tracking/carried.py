"""All that a live stream carries from frame to frame, as plain arrays: it can stay in a session or travel as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors import numpy as tensors

from tenfold.core.errors import BadData
from tenfold.motion_tracking import skeleton
from tenfold.motion_tracking.onnx_step import State
from tenfold.motion_tracking.stream import COUNT

Floats = npt.NDArray[np.float64]

RATES = 15
"""Intervals between readings from which a stream's rate is told."""
MOST_BYTES = 1 << 26
_TURNS = (COUNT, 3, 3)


def _nan(*shape: int) -> Floats:
    return np.full(shape, np.nan)


@dataclass
class Carried:
    """Times in s. Scalars are arrays without axes.

    `time`: of the last reading; `tick`: of the last 60 Hz frame; `behind`, `behind_count`: last of the readings with times before `time`, and
    how many. `before_*`: the last reading; `last_*`, `good`: what each sensor last said that was usable, and when; `present`: which of them
    the network saw in the last frame. `local`, `positions`, `betas`: last pose; `age`: frames
    since sensors went or came. `shape_*`: mean shape, frames in it, mean at the last look, 1 once it is settled.
    """

    time: Floats
    tick: Floats
    behind: Floats
    behind_count: Floats
    frames: Floats
    intervals: Floats
    before_rotation: Floats
    before_position: Floats
    before_acceleration: Floats
    before_usable: Floats
    last_rotation: Floats
    last_position: Floats
    last_acceleration: Floats
    good: Floats
    present: Floats
    local: Floats
    positions: Floats
    betas: Floats
    age: Floats
    shape_mean: Floats
    shape_count: Floats
    shape_mark: Floats
    shape_settled: Floats
    network: State

    @classmethod
    def fresh(cls, network: State) -> Self:
        """Before the first frame."""
        zero, joints = np.zeros(()), skeleton.COUNT
        turns = np.broadcast_to(np.eye(3), _TURNS).copy()
        return cls(
            time=_nan(), tick=_nan(), behind=_nan(), behind_count=zero, frames=zero, intervals=_nan(RATES), before_rotation=turns,
            before_position=np.zeros((3, 3)), before_acceleration=np.zeros((3, 3)), before_usable=np.zeros(COUNT), last_rotation=turns,
            last_position=np.zeros((3, 3)), last_acceleration=np.zeros((3, 3)), good=_nan(COUNT), present=np.zeros(COUNT),
            local=_nan(joints, 3, 3), positions=_nan(joints, 3), betas=np.zeros(skeleton.BETAS),
            age=_nan(), shape_mean=np.zeros(skeleton.BETAS), shape_count=zero,
            shape_mark=np.zeros(skeleton.BETAS), shape_settled=zero, network=network,
        )  # fmt: skip

    def to_bytes(self, step: str) -> bytes:
        """For the caller to keep; `step` is the sha256 (hex) of the graph whose state this is."""
        data: bytes = tensors.save({**_arrays(self), "step": np.frombuffer(bytes.fromhex(step), np.uint8)})
        return data

    @classmethod
    def from_bytes(cls, data: bytes, step: str, network: State) -> Self:
        """`to_bytes` undone; `network` is a state of the right shape. Raises BadData for what is not a state of this graph."""
        remedy = "send what the last answer gave as `state`, or `new`"
        if len(data) > MOST_BYTES:
            raise BadData(f"the state has {len(data)} bytes, at most {MOST_BYTES} are read; {remedy}")
        try:
            found: Mapping[str, npt.NDArray[np.generic]] = tensors.load(data)
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            raise BadData(f"the state cannot be read ({error}); {remedy}") from error
        wanted = _arrays(cls.fresh(network))
        if set(found) != {*wanted, "step"} or found["step"].tobytes() != bytes.fromhex(step):
            raise BadData(f"the state is not one of this model; {remedy}")
        for name, array in wanted.items():
            if found[name].shape != array.shape or found[name].dtype != array.dtype:
                raise BadData(f"the state's {name} is {found[name].dtype} {found[name].shape}, not {array.dtype} {array.shape}; {remedy}")
            if np.isinf(found[name]).any() or (not np.isnan(array).any() and np.isnan(found[name]).any()):
                raise BadData(f"the state's {name} holds what is no number; {remedy}")
        plain = {field.name: found[field.name].copy() for field in fields(cls) if field.name != "network"}
        return cls(**plain, network={name: found[f"network.{name}"].astype(np.float32) for name in network})  # type: ignore[arg-type]


def _arrays(carried: Carried) -> dict[str, npt.NDArray[np.generic]]:
    plain = {field.name: np.ascontiguousarray(getattr(carried, field.name)) for field in fields(carried) if field.name != "network"}
    # ascontiguousarray makes a scalar an array of one
    plain = {name: array.reshape(np.shape(getattr(carried, name))) for name, array in plain.items()}
    return {**plain, **{f"network.{name}": np.ascontiguousarray(array) for name, array in carried.network.items()}}

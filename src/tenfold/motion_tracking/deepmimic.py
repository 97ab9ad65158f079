"""DeepMimic's motion files, 44 numbers a frame, as the package pybullet carries them (specification section 4).

A frame: duration, root xyz, then quaternions wxyz and hinge angles of root, chest, neck, right hip, knee, ankle, shoulder, elbow and the
same on the left. y is up, the body faces +x, its right is +z, arms hang at rest, hinges turn about z. It comes out facing -y, as a body of
AMASS without a turn does.
"""

import json
from pathlib import Path

import numpy as np

from tenfold.core.errors import BadData
from tenfold.motion_tracking import kinematics, skeleton
from tenfold.motion_tracking.bvh import Carried
from tenfold.motion_tracking.rotations import Floats, about, axis_angle_from_matrix, matrix_from_axis_angle, matrix_from_quaternion, slerp

WIDTH = 44
LEG_M = 0.84
"""Leg length of DeepMimic's character, the height of its hips while it stands, less the sole."""

_AXES = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Its axes to ours."""


def read(path: Path, rest: Floats) -> Carried:
    """A motion on a body with joints at `rest` (22, 3); uneven frames are read at the median rate. Raises BadData naming file and cause."""
    try:
        rows = np.array(json.loads(path.read_text("utf-8"))["Frames"], np.float64)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as cause:
        raise BadData(f"{path}: not a DeepMimic motion ({type(cause).__name__}: {cause}).") from cause
    if rows.ndim != 2 or rows.shape[1] != WIDTH or len(rows) < 2 or not np.isfinite(rows).all():
        raise BadData(f"{path}: {rows.shape} numbers, wanted are 2 or more frames of {WIDTH} finite ones.")
    steps = rows[:-1, 0]
    if not (steps > 1e-3).all() or steps.max() > 1.0:
        raise BadData(f"{path}: frames last {steps.min():g} to {steps.max():g} s. Correct the durations.")
    local, root = _body(rows, rest)
    step = float(np.median(steps))
    times = np.append(0.0, np.cumsum(steps))
    if np.abs(steps - step).max() > 0.02 * step:
        even = np.minimum(np.arange(int(times[-1] / step + 1e-6) + 1) * step, times[-1])
        local = slerp(local, times, even)
        root = np.column_stack([np.interp(even, times, column) for column in root.T])
    return Carried(local, root, 1.0 / step, LEG_M)


def _body(rows: Floats, rest: Floats) -> tuple[Floats, Floats]:
    local = np.broadcast_to(np.eye(3), (len(rows), skeleton.COUNT, 3, 3)).copy()

    def ball(first: int) -> Floats:
        return _AXES @ matrix_from_quaternion(rows[:, first : first + 4]) @ _AXES.T

    def hinge(column: int) -> Floats:
        return _AXES @ about("z", rows[:, column]) @ _AXES.T

    upright = about("x", np.pi / 2)
    local[:, 0] = upright @ ball(4)
    local[:, [3, 6, 9]] = matrix_from_axis_angle(axis_angle_from_matrix(ball(8)) / 3)[:, None]
    local[:, [12, 15]] = matrix_from_axis_angle(axis_angle_from_matrix(ball(12)) / 2)[:, None]
    for hip, shoulder, first, hang in ((2, 17, 16, np.pi / 2), (1, 16, 30, -np.pi / 2)):
        local[:, hip], local[:, hip + 3], local[:, hip + 6] = ball(first), hinge(first + 4), ball(first + 5)
        arm = about("z", hang)
        local[:, shoulder], local[:, shoulder + 2] = ball(first + 9) @ arm, arm.T @ hinge(first + 13) @ arm
    ours = float(np.linalg.norm(rest[4] - rest[1]) + np.linalg.norm(rest[7] - rest[4]))
    place = rows[:, 1:4] @ (upright @ _AXES).T * (ours / LEG_M)
    return local, place - kinematics.forward(local[0], rest, np.zeros(3))[1][0]

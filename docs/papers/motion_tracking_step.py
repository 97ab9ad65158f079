import json
import sys

import numpy as np
import onnxruntime

step = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = {name: json.loads(text) for name, text in step.get_modelmeta().custom_metadata_map.items()}
state = {i.name: np.zeros([n if isinstance(n, int) else 1 for n in i.shape], np.float32) for i in step.get_inputs() if i.name != "x"}


def six(R):  # (..., 3, 3) to (..., 6): the first column, then the second
    return np.concatenate([R[..., 0], R[..., 1]], -1)


def row(R, p, a, R0, p0):  # R (6, 3, 3), p (3, 3) and a (3, 3) of this frame, R0 and p0 of the one before
    (H, h), (H0, h0) = ((r[0].T @ r[1:3], (q[1:] - q[0]) @ r[0]) for r, q in ((R, p), (R0, p0)))
    parts = six(R), six(R0.swapaxes(-1, -2) @ R), p, p - p0, six(H), six(H0.swapaxes(-1, -2) @ H), h, h - h0, a
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)


def frame(x, sensor_set="hmd_3imus"):  # 6D of the 22 local rotations, and 16 betas
    for start, end in facts["masks"][sensor_set]:
        x[start:end] = 0
    pose, betas, *new = step.run(["pose", "betas", *(f"{name}_next" for name in state)], {"x": x[None], **state})
    state.update(zip(state, new, strict=True))
    return pose.reshape(22, 6), betas[0]

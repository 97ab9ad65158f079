"""The mean training pose, standing where the head is and facing where it faces (section 6, B1): what a tracker without learning shows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import columns, heading

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MeanPose:
    """Mean of the 6D pose (132,), the root seen from the head's heading."""

    pose6d: Float

    def predict(self, x: npt.NDArray[np.floating]) -> Float:
        """Poses (N, 132) of rows (N, 135)."""
        yaw, _ = heading.of(x)
        return heading.turn_root(np.broadcast_to(self.pose6d, (len(x), columns.POSE_WIDTH)), yaw)

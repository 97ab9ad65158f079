"""The true first pose of a clip, held and turned with the head (section 6, B2): an oracle that knows the start and then nothing.

What it misses is how much a clip moves.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tenfold.motion_tracking import heading

Float = npt.NDArray[np.float64]


def predict(x: npt.NDArray[np.floating], pose6d: npt.NDArray[np.floating], lengths: Sequence[int]) -> Float:
    """Poses (N, 132) from the true ones `pose6d` (N, 132), of which only each clip's first is read."""
    first = heading.lagged(lengths, len(x))
    yaw, _ = heading.of(x)
    return heading.turn_root(pose6d[first], yaw - yaw[first])

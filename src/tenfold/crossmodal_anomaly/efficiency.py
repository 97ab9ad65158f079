"""Time and memory of every method, side by side: warm, one part at a time, the same threads, methods taking turns.

Stages of a part: `ms_extract` (frozen extractors, the same for all), `ms_map` (features to per-pixel distances: our two networks with
the interpolation they need, or a bank's search alone, its dense features given), `ms_score` (distances to smoothed map and score).
"""

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tenfold.core.metrics import Row
from tenfold.core.progress import Progress
from tenfold.crossmodal_anomaly import maps, scoring
from tenfold.crossmodal_anomaly import baselines as rivals
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.metrics import Subject

if TYPE_CHECKING:
    from tenfold.crossmodal_anomaly.evaluate import Network, Rival

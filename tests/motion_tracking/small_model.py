"""A model folder trained in seconds on a made-up features folder, for tests of what comes after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from motion_tracking import small_features

from tenfold.core.journal import NullJournal
from tenfold.core.progress import Progress
from tenfold.motion_tracking import config, predictor_folder, train


def block(**changes: Any) -> config.Model:
    """The small network of `small_features`, two seeds and a training of a few steps."""
    short: dict[str, Any] = {"seeds": [0, 1], "variants": [], "variant_seeds": [0], "variant_steps": 4, "epochs": 2, "noise": []}
    return replace(small_features.MODEL, **{**short, **changes})


def make(features: Path, out: Path, scratch: Path, **changes: Any) -> Path:
    """Train into `out`."""
    train.run(features, block(**changes), out, scratch, Progress(), NullJournal(), predictor_folder.Serving("central"))
    return out

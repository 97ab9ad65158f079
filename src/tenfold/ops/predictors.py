"""Finds a paper's `Predictor` by the paper's name."""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from tenfold.core.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_PAPER = re.compile(r"[a-z_]+")


class Predictor(Protocol):
    """What every paper's `predict.py` offers under this name."""

    def predict(self, frame: "pd.DataFrame", params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """One row of plain columns for each row of inputs."""


def module(paper: str) -> str:
    """Name of the paper's prediction module; raises UsageError for a name that cannot be a paper's."""
    if not _PAPER.fullmatch(paper):
        raise UsageError(f"'{paper}' is not a paper's name: lower-case letters and underscores only.")
    return f"tenfold.{paper}.predict"


def load(paper: str, folder: Path) -> Predictor:
    """The paper's predictor with the weights in `folder`."""
    return cast(Predictor, importlib.import_module(module(paper)).Predictor.load(Path(folder)))

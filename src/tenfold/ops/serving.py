"""The served model of every paper, as code: MLflow runs this file, the weights are safetensors, nothing is pickled.

A request carries bytes: base64 text in JSON. Text is never taken for the path of a file on the server.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from tenfold.ops import predictors


class PaperModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """`model_config`: the paper's name and which columns hold bytes. Artifact `predictor`: what training wrote."""

    def load_context(self, context: Any) -> None:
        """Load the paper's predictor."""
        self._bytes = frozenset(context.model_config["bytes"])
        self._predictor = predictors.load(context.model_config["paper"], Path(context.artifacts["predictor"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """One row of plain columns for each row of the request."""
        frame = model_input.copy(deep=False)
        for name in self._bytes & set(frame.columns):
            frame[name] = [as_bytes(value, name, row) for row, value in enumerate(frame[name])]
        return self._predictor.predict(frame, dict(params or {}))


def as_bytes(value: object, column: str, row: int) -> bytes | None:
    """A cell of a column of bytes; raises ValueError for text that is not base64, such as a path."""
    if value is None or isinstance(value, float):  # pandas' missing value
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    refused = f"row {row}, column '{column}': send the file's bytes (base64 in JSON), not a path or other {type(value).__name__}."
    if not isinstance(value, str):
        raise ValueError(refused)
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError(refused) from None


mlflow.models.set_model(PaperModel())

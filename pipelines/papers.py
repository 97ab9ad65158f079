"""The one list of papers."""

from importlib import import_module
from types import ModuleType

PAPERS = ["crossmodal_anomaly", "autocalibration", "motion_tracking"]


def modules() -> dict[str, ModuleType]:
    """The assets module of each paper."""
    return {name: import_module(f"assets.{name}") for name in PAPERS}

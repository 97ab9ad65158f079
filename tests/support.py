"""What tests of several rooms share: roots of their own, so that nothing is ever written into the checkout."""

import os
import shutil
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def lay_out(root: Path) -> Path:
    """A root with the tiny params, the real dvc.yaml and a link to the sources."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "tests" / "tiny.yaml", root / "params.yaml")
    for name in ("dvc.yaml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(CHECKOUT / name, root / name)
    (root / ".dvc").mkdir(exist_ok=True)
    shutil.copy(CHECKOUT / ".dvc" / "config", root / ".dvc" / "config")
    (root / "src").symlink_to(CHECKOUT / "src")
    return root


def environment(root: Path, **more: str) -> dict[str, str]:
    """Environment of a command that works on `root`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TENFOLD_", "MLFLOW_TRACKING", "DAGSTER_"))}
    return {**kept, "TENFOLD_ROOT": str(root), "TENFOLD_HOME": str(root / ".tenfold"), **more}

"""What made a result: commit, libraries, device. Read without importing any of them."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

UNKNOWN = "unknown"

LIBRARIES = (
    "tenfold",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "transformers",
    "safetensors",
    "onnx",
    "onnxruntime",
    "dagster",
    "mlflow",
    "dvc",
    "great_expectations",
)
_CODE = (".py", ".yaml", ".toml", ".csv")


@dataclass(frozen=True)
class Provenance:
    """Recorded with every result, hashed into none. `git_dirty` is None where git cannot tell."""

    git_commit: str
    git_dirty: bool | None
    versions: dict[str, str]
    device: str

    def tags(self) -> dict[str, str]:
        """The tags an MLflow run carries."""
        dirty = UNKNOWN if self.git_dirty is None else str(self.git_dirty).lower()
        return {"git.commit": self.git_commit, "git.dirty": dirty}


def of(root: Path) -> Provenance:
    """Provenance of a result made now from the checkout `root`."""
    commit, dirty = git(root)
    return Provenance(git_commit=commit, git_dirty=dirty, versions=versions(), device=device())


def git(root: Path) -> tuple[str, bool | None]:
    """Commit of `root` and whether its files differ from it; ("unknown", None) in a tarball or without git.

    `dvc.lock` follows the data and does not count; of files not added to git only code and parameters count.
    """
    # a tarball unpacked somewhere inside another repository must not take that repository's commit
    if _git(root, "ls-files", "--error-unmatch", "params.yaml") is None:
        return UNKNOWN, None
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    status = _git(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".")
    if commit is None or status is None:
        return UNKNOWN, None
    changes = [(entry[:2], entry[3:]) for entry in status.split("\0") if entry]
    dirty = any((state != "??" or path.endswith(_CODE)) and Path(path).name != "dvc.lock" for state, path in changes)
    return commit.strip(), dirty


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries a result may depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device() -> str:
    """What computes: the GPU if torch is loaded and sees one, else the CPU's name and its number of cores."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{_cpu()}, {os.cpu_count()} cores"


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine() or UNKNOWN


def _git(root: Path, *arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

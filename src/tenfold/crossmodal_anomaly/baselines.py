"""The rivals, on the same cached features: memory banks (BTF- and M3DM-like), one Gaussian (PaDiM-like), linear crossmodal maps.

`run` makes them; `load` gives back a `Bank`, which scores the pixels of a part.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from tenfold.core import atomic, seeding
from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note
from tenfold.crossmodal_anomaly import banks, config, coreset, fewshot, gaussian, ridge
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.operators import Operators, PartFeatures, dense, operators

Method = Literal["bank_joint", "bank_sum", "bank_2d", "bank_3d", "padim", "ridge"]
METHODS: tuple[Method, ...] = get_args(Method)
TENSORS: dict[Method, tuple[str, ...]] = {
    "bank_joint": ("joint",),
    "bank_sum": ("patches2d", "patches3d", "scale2d", "scale3d"),
    "bank_2d": ("patches2d",),
    "bank_3d": ("patches3d",),
    "padim": ("centre", "white"),
    "ridge": ("weights23", "bias23", "weights32", "bias32"),
}


@dataclass(frozen=True)
class Bank:
    """All baselines of one variant and seed: float32 tensors by name, the grid (px) their patches lie on, PatchCore's neighbours."""

    grid: int
    reweight: int
    tensors: dict[str, Tensor]

    def bytes(self, method: Method) -> int:
        """Size of what this method needs, in bytes."""
        return sum(self.tensors[name].numel() * 4 for name in TENSORS[method])

    def features(self, part: PartFeatures, made: Operators) -> tuple[Tensor, Tensor]:
        """Normalised dense features `(pixels, channels)` of both modalities on the bank's grid."""
        return _normalised(part, made, self.tensors)

    def score(self, method: Method, f2: Tensor, f3: Tensor) -> tuple[Tensor, float]:
        """Distance `(pixels,)`, and the factor on the image score (1 without re-weighting)."""
        t = self.tensors
        with torch.inference_mode():
            match method:
                case "bank_joint":
                    return self._search(torch.cat([f2, f3], dim=1), t["joint"])
                case "bank_2d":
                    return self._search(f2, t["patches2d"])
                case "bank_3d":
                    return self._search(f3, t["patches3d"])
                case "bank_sum":
                    # Standardised without the means: they shift all pixels alike, and the background must stay the least.
                    near2, near3 = banks.nearest(f2, t["patches2d"])[0], banks.nearest(f3, t["patches3d"])[0]
                    return near2 / t["scale2d"] + near3 / t["scale3d"], 1.0
                case "padim":
                    return gaussian.mahalanobis(torch.cat([f2, f3], dim=1), t["centre"], t["white"]), 1.0
                case "ridge":
                    return ridge.distance(f2, f3, (t["weights23"], t["bias23"]), (t["weights32"], t["bias32"]), t["offset"]), 1.0

    def _search(self, patches: Tensor, bank: Tensor) -> tuple[Tensor, float]:
        distance, winner = banks.nearest(patches, bank)
        return distance, banks.reweight(patches, bank, distance, winner, self.reweight)


def run(features: Path, block: config.Baselines, out: Path, progress: Progress) -> Made:
    """Make every baseline for all training parts and for each number of shots.

    Writes `out/banks/<variant or full>/seed<k>.safetensors` and `out/baselines.json` (grid, and for each variant and seed the patches
    seen, kept, and the bytes of each method). Finished banks of an earlier attempt are kept. UsageError if there is no training part.
    """
    seeding.deterministic()
    folder = FeatureFolder(features)
    jobs = [(fewshot.Variant(""), block.seed)]
    if folder.unit in block.variants_on or not block.variants_on:
        jobs += [(fewshot.Variant(f"shots={shots}", shots), seed) for shots in block.shots for seed in block.variant_seeds]
    records = []
    progress.stage("baselines", len(jobs))
    for variant, seed in jobs:
        path = bank_path(out, variant.name, seed)
        if not path.with_suffix(".json").exists():
            _make(folder, fewshot.choose(folder.train, variant.shots, seed), block, seed, path)
        records.append({"variant": variant.name, "seed": seed, **json.loads(path.with_suffix(".json").read_text())})
        progress.advance()
    atomic.write_json(out / "baselines.json", {"grid": block.grid, "reweight": block.reweight, "banks": records})
    counts = ["seed", "parts", "patches", "kept"]
    rows = [[r["variant"] or "full", *(r[name] for name in counts), *(round(r["bytes"][m] / 1e6, 3) for m in METHODS)] for r in records]
    columns = ["variant", *counts, *(f"{method} MB" for method in METHODS)]
    return Made(notes=[Note("Memory banks", "table", {"columns": columns, "rows": rows})], facts={"banks": records})


def bank_path(folder: Path, variant: str, seed: int) -> Path:
    """Where the baselines of one variant and seed are stored."""
    return folder / "banks" / (variant or "full") / f"seed{seed}.safetensors"


def load(folder: Path, variant: str = "", seed: int = 0) -> Bank:
    """The baselines of one variant and seed from a folder that `run` made; UsageError if it made none such."""
    path = bank_path(folder, variant, seed)
    if not path.is_file():
        raise UsageError(f"{folder} has no baselines of variant `{variant or 'full'}`, seed {seed}; its baselines.json names those it has")
    head = json.loads((folder / "baselines.json").read_text())
    return Bank(head["grid"], head["reweight"], safetensors.torch.load_file(path))


def _make(folder: FeatureFolder, ids: Sequence[str], block: config.Baselines, seed: int, path: Path) -> None:
    """Two passes over the parts, so that no more than the projected patches and the kept rows stand in memory."""
    norm = folder.norm()
    width2, width3 = folder.channels()
    tensors = dict(zip(("mean2d", "std2d", "mean3d", "std3d"), norm, strict=True))
    tensors["offset"] = torch.tensor(folder.offset)

    def patches(part: str) -> tuple[Tensor, Tensor]:
        features = folder.part(part)
        return _normalised(features, operators(features, block.grid), tensors)

    sums = gaussian.Accumulator(width2 + width3)
    views: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "patches2d": lambda f2, f3: f2,
        "patches3d": lambda f2, f3: f3,
        "joint": lambda f2, f3: torch.cat([f2, f3], dim=1),
    }
    widths = {"patches2d": width2, "patches3d": width3, "joint": width2 + width3}
    narrow = {name: _projection(width, block.projection, seed, name) for name, width in widths.items()}
    projected: dict[str, list[Tensor]] = {name: [] for name in views}
    starts = [0]
    for part in ids:
        f2, f3 = patches(part)
        sums.add(torch.cat([f2, f3], dim=1))
        for name, view in views.items():
            matrix = narrow[name]
            projected[name].append(view(f2, f3) if matrix is None else view(f2, f3) @ matrix)
        starts.append(starts[-1] + len(f2))
    if starts[-1] == 0:
        raise UsageError(f"{folder.path}: no training part has a pixel; a memory bank needs good parts in the split `train`")

    kept = max(1, round(block.coreset * starts[-1]))
    picks = {name: np.sort(coreset.k_centre(torch.cat(rows).numpy(), kept)) for name, rows in projected.items()}
    projected.clear()
    rows_of: dict[str, list[Tensor]] = {name: [] for name in views}
    for number, part in enumerate(ids):
        f2, f3 = patches(part)
        for name, view in views.items():
            low, high = np.searchsorted(picks[name], [starts[number], starts[number + 1]])
            rows_of[name].append(view(f2, f3)[picks[name][low:high] - starts[number]])
    tensors |= {name: torch.cat(rows) for name, rows in rows_of.items()}
    tensors |= _scales(patches, folder.validation or list(ids), tensors)
    moments = sums.moments()
    colour, shape = slice(0, width2), slice(width2, width2 + width3)
    tensors |= {"centre": moments.mean.float(), "white": gaussian.whitener(moments)}
    tensors["weights23"], tensors["bias23"] = ridge.fit(moments, colour, shape, block.ridge)
    tensors["weights32"], tensors["bias32"] = ridge.fit(moments, shape, colour, block.ridge)

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}))
    bank = Bank(block.grid, block.reweight, tensors)
    record = {"parts": len(ids), "patches": starts[-1], "kept": kept, "shrinkage": gaussian.shrinkage(moments)}
    atomic.write_json(path.with_suffix(".json"), {**record, "bytes": {method: bank.bytes(method) for method in METHODS}})


def _normalised(part: PartFeatures, made: Operators, norm: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    f2, f3 = (torch.from_numpy(f) for f in dense(part, 0, made))
    return (f2 - norm["mean2d"]) / norm["std2d"], (f3 - norm["mean3d"]) / norm["std3d"]


def _projection(width: int, narrow: int, seed: int, name: str) -> Tensor | None:
    """Gaussian random projection `(width, narrow)`, which keeps distances in the mean; None if it would not make vectors shorter."""
    if not 0 < narrow < width:
        return None
    drawn = seeding.rng(seed, "projection", name).standard_normal((width, narrow)) / np.sqrt(narrow)
    return torch.from_numpy(drawn.astype(np.float32))


def _scales(patches: Callable[[str], tuple[Tensor, Tensor]], ids: Sequence[str], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Standard deviation of held-out good pixels' distances, one number a modality, by which `bank_sum` makes them comparable."""
    far2, far3 = [], []
    for part in ids:
        f2, f3 = patches(part)
        far2.append(banks.nearest(f2, tensors["patches2d"])[0])
        far3.append(banks.nearest(f3, tensors["patches3d"])[0])
    return {"scale2d": torch.cat(far2).std(correction=0).clamp_min(1e-12), "scale3d": torch.cat(far3).std(correction=0).clamp_min(1e-12)}

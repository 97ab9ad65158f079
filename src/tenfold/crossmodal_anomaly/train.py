"""Train the mappers of one partition: every seed, every variant, each calibrated on held-out good parts.

Layout of the made folder (`load_network`, `load_calibration` read it):
    networks/<variant or full>/seed<k>/mappers.safetensors   weights and channel norms
                                       curves.parquet        losses and cosines, a row an epoch
                                       calibration.json      thresholds, and the good parts' scores they come from
                                       shots.json            the training parts used
    model.json    the list of networks and what they share
    predictor/    the first seed's network without variant, with all that prediction needs (see `predict`)
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch

from tenfold.core import atomic, distributed, seeding, tables, training
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.core.journal import Journal, NetworkJournal
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note
from tenfold.crossmodal_anomaly import config, fewshot, maps, predictor_folder, scoring
from tenfold.crossmodal_anomaly.cache import FeatureFolder
from tenfold.crossmodal_anomaly.fewshot import Variant
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.model import CrossModal, losses
from tenfold.crossmodal_anomaly.pixels import CACHE_BYTES, PixelCache


def run(
    features: Path, block: config.Model, out: Path, scratch: Path, progress: Progress, journal: Journal, serving: predictor_folder.Serving
) -> Made:
    """Train, calibrate and store all networks, and the predictor, which needs `serving` to start from a raw scan.

    Finished networks of an earlier attempt in `out` are kept, a half-trained one in `scratch` goes on. Raises BadData if there is no
    training part or a loss is not finite (naming the parts), UsageError for a variant the features do not have, Stopped on SIGTERM.
    Of several joined processes (`core.distributed`) all train, the first one does the rest and reports.
    """
    seeding.deterministic()
    folder = FeatureFolder(features)
    if not folder.train:
        raise BadData(f"{features}: no part is in the split `train`; put good parts into train/good and run again")
    wanted = jobs(block, folder)
    progress.stage("networks", len(wanted))
    first_process = distributed.world().first
    records = []
    for variant, seed in wanted:
        made = network_folder(out, variant.name, seed)
        if not distributed.agree((made / "calibration.json").exists()):
            _network(folder, block, variant, seed, made, scratch, progress, journal)
        if first_process:
            records.append(_record(made, variant, seed))
        progress.advance()
    if not first_process:
        return Made()
    shared = {"kind": block.mapper, "maps": asdict(map_options(block)), "unit": folder.unit, "networks": records}
    atomic.write_json(out / "model.json", shared)
    first = block.seeds[0]
    predictor_folder.write(
        out / "predictor", folder.unit, load_network(out, "", first), load_calibration(out, "", first), map_options(block), serving
    )
    return _made(out, records, block)


def jobs(block: config.Model, folder: FeatureFolder) -> list[tuple[Variant, int]]:
    """The networks to train: the full one for every seed, then the variants if this unit has them."""
    full = [(Variant("", shots=block.shots), seed) for seed in block.seeds]
    if block.variants_on and folder.unit not in block.variants_on:
        return full
    variants = [fewshot.parse(name) for name in block.variants]
    for variant in variants:
        if variant.depth and variant.depth not in folder.depths:
            raise UsageError(f"model.variants: `{variant.name}` asks for a depth that the features lack; they have {folder.depths}")
    return full + [(variant, seed) for variant in variants for seed in block.variant_seeds]


def map_options(block: config.Model | config.Evaluation) -> MapOptions:
    """How this block turns distances into maps."""
    return MapOptions(block.combine, block.smoothing, block.score_norm, block.missing)


def network_folder(model: Path, variant: str, seed: int) -> Path:
    """Where one network is stored below the model's folder."""
    return model / "networks" / (variant or "full") / f"seed{seed}"


def load_network(model: Path, variant: str = "", seed: int = 0) -> CrossModal:
    """A trained network in eval mode, on the CPU; UsageError if the folder has none of this variant and seed."""
    path = network_folder(model, variant, seed) / "mappers.safetensors"
    if not path.is_file():
        raise UsageError(f"{model} has no network for variant `{variant or 'full'}` and seed {seed}; see its model.json for those it has")
    return read_network(path)


def read_network(path: Path) -> CrossModal:
    """The network stored in one `mappers.safetensors`; widths and kind follow from the tensors."""
    try:
        state = safetensors.torch.load_file(path)
        layers = sum(name.startswith("m23.") and name.endswith(".weight") for name in state)
        network = CrossModal(state["mean2d"].numel(), state["mean3d"].numel(), "standard" if layers == 3 else "deep")
        network.load_state_dict(state)
    except (safetensors.SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise Corrupt(f"{path} cannot be read as the network's safetensors ({error}); make the model again") from error
    network.eval().requires_grad_(False)
    return network


def load_calibration(model: Path, variant: str = "", seed: int = 0) -> scoring.Calibration:
    """Thresholds of one network, for the maps that `model.json` names."""
    return scoring.Calibration(**json.loads((network_folder(model, variant, seed) / "calibration.json").read_text()))


def _network(
    folder: FeatureFolder, block: config.Model, variant: Variant, seed: int, made: Path, scratch: Path, progress: Progress, journal: Journal
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ids = fewshot.choose(folder.train, variant.shots, seed)
    seeding.seed_all(seed)
    network = CrossModal(*folder.channels(variant.depth), block.mapper)
    network.set_norm(*folder.norm(variant.depth), folder.offset)
    network.to(device)
    train = PixelCache(folder, ids, variant.depth, network, budget=3 * CACHE_BYTES // 4)
    held_out = PixelCache(folder, folder.validation, variant.depth, network, budget=CACHE_BYTES // 4)
    plan = schedule(len(folder.train), len(ids), block, bool(variant.shots))
    name = f"{variant.folder} seed {seed}"
    diary = journal.network(variant.name, seed, {"shots": len(ids), "depth": variant.depth, "seed": seed, **plan})
    watch = _Throughput(progress, name, plan["epochs"], diary)

    def loss(index: training.Indices) -> dict[str, torch.Tensor]:
        z2, z3 = train.batch(index.tolist(), block.pixels_per_part)
        if not len(z2):
            raise BadData(f"no pixel of these training parts carries a point: {', '.join(ids[i] for i in index)}")
        watch.pixels += len(z2)
        return {**losses(*network.cosines(z2, z3)), "weight": torch.tensor(len(z2))}

    result = training.fit(
        module=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=block.lr, fused=True),
        loss=loss,
        items=len(ids),
        batch=block.batch,
        epochs=plan["epochs"],
        steps_limit=plan["steps_limit"],
        seed=seed,
        folder=scratch / variant.folder / f"seed{seed}",
        validate=(lambda: validation(network, held_out)) if folder.validation else None,
        validate_every=plan["validate_every"],
        checkpoint_every=block.checkpoint_every,
        on_epoch=watch.epoch,
        keep_best="validation/loss" if folder.validation else None,
        describe=lambda index: [ids[i] for i in index],
    )
    if not distributed.world().first:
        return
    if train.held < len(ids):
        progress.say(
            f"{name}: {train.held} of {len(ids)} parts fitted into {3 * CACHE_BYTES // 4 >> 20} MiB, the others were streamed from disk"
        )
    network.cpu().eval()
    made.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(made / "mappers.safetensors", safetensors.torch.save(network.state_dict()))
    tables.write(curves(result.history), made / "curves.parquet")
    best = result.best_epoch or result.epochs
    atomic.write_json(made / "shots.json", {"parts": ids, "epochs": result.epochs, "steps": result.steps, "best_epoch": best})
    calibration = _calibrate(folder, network, variant, block)
    # written last: its presence says that this network is complete
    atomic.write_json(made / "calibration.json", asdict(calibration))
    thresholds = {"image_threshold": calibration.image_threshold, "pixel_threshold": calibration.pixel_threshold}
    # under names of their own: under the curves' they would be one more point of each
    final = {f"best/{name}": value for name, value in result.history[best - 1].items() if name != "epoch"}
    diary.done({**final, "best_epoch": best, **thresholds})


def schedule(parts: int, shots: int, block: config.Model, few: bool) -> dict[str, int]:
    """Epochs, the limit on gradient steps (0: none) and epochs between validations, for `shots` of `parts` training parts.

    A few-shot network gets `few_shot_steps` gradient steps (0: as many epochs as the full one), validated as often per step.
    """
    steps = math.ceil(shots / block.batch)
    if not few or not block.few_shot_steps:
        return {"epochs": block.epochs, "steps_limit": 0, "validate_every": block.validate_every}
    every = max(1, round(block.validate_every * math.ceil(parts / block.batch) / steps))
    return {"epochs": math.ceil(block.few_shot_steps / steps), "steps_limit": block.few_shot_steps, "validate_every": every}


class _Throughput:
    """Tells progress and diary each epoch's numbers, with the pixels that this process trained on a second."""

    def __init__(self, progress: Progress, name: str, epochs: int, diary: NetworkJournal) -> None:
        self.pixels = 0
        self._progress, self._name, self._epochs, self._diary = progress, name, epochs, diary
        self._since = time.perf_counter()

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        rate = self.pixels / max(time.perf_counter() - self._since, 1e-9)
        self._diary.epoch(epoch, {**metrics, "pixels_per_s": rate})
        self._progress.say(f"{self._name}: epoch {epoch}/{self._epochs}, loss {metrics['train/loss']:.4f}, {rate:,.0f} pixels/s")
        self.pixels, self._since = 0, time.perf_counter()


def validation(network: CrossModal, held_out: PixelCache) -> dict[str, float]:
    """Loss and cosines over all validation pixels, part by part."""
    total = torch.zeros(2, dtype=torch.float64)
    count = 0
    for number in range(len(held_out.ids)):
        z2, z3 = held_out.pixels(number)
        total += torch.stack([cosines.double().sum().cpu() for cosines in network.cosines(z2, z3)])
        count += len(z2)
    forth, back = (total / max(count, 1)).tolist()
    return {"validation/loss": 2 - forth - back, "validation/cosine_2to3": forth, "validation/cosine_3to2": back}


def _calibrate(folder: FeatureFolder, network: CrossModal, variant: Variant, block: config.Model) -> scoring.Calibration:
    """Thresholds from validation parts; from the training parts, saying so, if there are none."""
    options = map_options(block)
    scores: dict[str, float] = {}
    pixels = []
    for part in folder.validation or folder.train:
        features = folder.part(part)
        scored = scoring.score_network(network, features, options, variant.depth)
        scores[part] = scored.scores[options.combine]
        image = maps.normalise(scored.maps[options.combine], options.score_norm, "regions")
        pixels.append(image[features.valid.astype(bool)])
    made = scoring.calibrate(scores, np.concatenate(pixels), block.image_quantile, block.pixel_quantile)
    if folder.validation:
        return made
    note = f"no held-out good parts: thresholds come from the {len(scores)} training parts and are too low; add parts to validation/good"
    return scoring.Calibration(made.image_threshold, made.pixel_threshold, note, made.scores)


def curves(history: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The history as a table: a row an epoch, null where nothing was validated."""
    names = sorted({name for row in history for name in row} - {"epoch"})
    columns = {"epoch": pa.array([row["epoch"] for row in history], pa.int64())}
    return pa.table(columns | {name: pa.array([row.get(name) for row in history], pa.float64()) for name in names})


def _record(made: Path, variant: Variant, seed: int) -> dict[str, Any]:
    trained = json.loads((made / "shots.json").read_text())
    calibration = json.loads((made / "calibration.json").read_text())
    history = tables.read(made / "curves.parquet").to_pylist()
    best = history[trained["best_epoch"] - 1]
    return {
        "variant": variant.name,
        "seed": seed,
        "depth": variant.depth,
        "parts": len(trained["parts"]),
        **{name: trained[name] for name in ("epochs", "steps", "best_epoch")},
        **{name: best.get(name) for name in ("train/loss", "validation/loss", "validation/cosine_2to3", "validation/cosine_3to2")},
        "image_threshold": calibration["image_threshold"],
        "pixel_threshold": calibration["pixel_threshold"],
        "parameters": sum(p.numel() for p in read_network(made / "mappers.safetensors").parameters()),
    }


def _made(out: Path, records: list[dict[str, Any]], block: config.Model) -> Made:
    columns = ["variant", "seed", "parts", "epochs", "best_epoch", "train/loss", "validation/loss", "image_threshold", "pixel_threshold"]
    rows = [[record[name] for name in columns] for record in records]
    served = load_calibration(out, "", block.seeds[0])
    return Made(
        notes=[
            Note("Networks", "table", {"columns": columns, "rows": rows}),
            Note("Parameters", "int", records[0]["parameters"]),
            Note("Image threshold", "float", served.image_threshold),
            Note("Calibration", "text", served.note),
        ],
        facts={"networks": records},
    )

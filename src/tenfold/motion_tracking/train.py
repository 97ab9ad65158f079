"""Train the networks of one partition: every seed, then every variant.

Layout of the made folder (`load_network` reads it):
    networks/<variant or full>/seed<k>/weights.safetensors    weights, with the standardisation and the linear map
                                       network.json           the network's options
                                       curves.parquet         losses and validation error, a row an epoch
                                       trained.json           steps, best epoch, seconds, parameters
    model.json    the list of networks
    predictor/    the first seed's full network with all that prediction needs (see `predictor_folder`)
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch
from torch import Tensor

from tenfold.core import atomic, distributed, params, seeding, tables, training, workers
from tenfold.core.errors import Corrupt, UsageError
from tenfold.core.journal import Journal, NetworkJournal
from tenfold.core.progress import Progress
from tenfold.core.stage import Made, Note
from tenfold.motion_tracking import config, linear_fit, losses, predictor_folder, tracking, variants
from tenfold.motion_tracking import torch_kinematics as kinematics
from tenfold.motion_tracking.network import Network
from tenfold.motion_tracking.variants import Variant
from tenfold.motion_tracking.windows import Batch, Source, Windows

ERROR = "validation/mpjpe_cm"
VALIDATION_BATCH = 32  # clips that are predicted together


def run(
    features: Path, block: config.Model, out: Path, scratch: Path, progress: Progress, journal: Journal, serving: predictor_folder.Serving
) -> Made:
    """Train and store all networks, and the predictor.

    Finished networks of an earlier attempt in `out` are kept, a half-trained one in `scratch` goes on. Raises BadData if there is no
    training clip or a loss is not finite (naming the clips), UsageError for a variant that does not exist, Stopped on SIGTERM.
    Of several joined processes (`core.distributed`) all train, the first one does the rest and reports.
    """
    seeding.deterministic()
    source = Source(features)
    wanted = jobs(block)
    progress.stage("networks", len(wanted))
    first_process = distributed.world().first
    records = []
    fits: linear_fit.Fits = {}
    for variant, seed in wanted:
        made = network_folder(out, variant.name, seed)
        if not distributed.agree((made / "trained.json").exists()):
            # small steps: a second thread gains a quarter on an idle machine and, where a core is taken, costs a factor of seven
            with workers.single_threaded():
                _network(source, variant, seed, fits, made, scratch, progress, journal)
        if first_process:
            records.append(_record(made, variant.name, seed))
        progress.advance()
    if not first_process:
        return Made()
    atomic.write_json(out / "model.json", {"networks": records, "body_sha256": source.body.sha256})
    predictor_folder.write(out / "predictor", load_network(out, "", block.seeds[0]), source.body, serving)
    return _made(records)


def jobs(block: config.Model) -> list[tuple[Variant, int]]:
    """The networks to train: the full one for every seed, then every variant for its seeds."""
    full = [(variants.parse("", block), seed) for seed in block.seeds]
    return full + [(variants.parse(name, block), seed) for name in block.variants for seed in block.variant_seeds]


def network_folder(model: Path, variant: str, seed: int) -> Path:
    """Where one network is stored below the model's folder."""
    return model / "networks" / (variant or "full") / f"seed{seed}"


def load_network(model: Path, variant: str = "", seed: int = 0) -> Network:
    """A trained network in eval mode, on the CPU; UsageError if the folder has none of this variant and seed."""
    folder = network_folder(model, variant, seed)
    if not (folder / "weights.safetensors").is_file():
        raise UsageError(f"{model} has no network for variant `{variant or 'full'}` and seed {seed}; see its model.json for those it has")
    return read_network(folder)


def read_network(folder: Path) -> Network:
    """The network of a folder with weights.safetensors and network.json. Raises Corrupt."""
    try:
        # of one that was stored before there was such a field: it does not read it
        given = {"temporal_window": 0, **json.loads((folder / "network.json").read_text())}
        options = params.typed(config.Network, given, str(folder / "network.json"))
        network = Network(options)
        network.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, RuntimeError, UsageError) as error:
        raise Corrupt(f"{folder} cannot be read as a network ({error}); make the model again") from error
    return network.eval().requires_grad_(False)


def options_of(block: config.Network) -> config.Network:
    """The part of a model's block that shapes the network."""
    return config.Network(**{field.name: getattr(block, field.name) for field in fields(config.Network)})


def begin(source: Source, block: config.Model, seed: int, fits: linear_fit.Fits | None = None) -> Network:
    """A network as training starts with it: drawn weights, fitted standardisation and linear map."""
    seeding.seed_all(seed)
    network = Network(options_of(block))
    linear_fit.prepare(network, source, block, fits)
    return network


def objective(network: Network, source: Source, block: config.Model) -> Callable[[Batch], dict[str, Tensor]]:
    """The loss of a batch, on the device the network is on."""
    device = network.get_buffer("mean").device
    rest, modes = source.rest.to(device), source.modes.to(device)

    def loss(batch: Batch) -> dict[str, Tensor]:
        x = batch.x.to(device, non_blocking=True)
        truth = losses.Truth(*(getattr(batch.truth, field.name).to(device, non_blocking=True) for field in fields(losses.Truth)))
        with torch.autocast(device.type, torch.bfloat16, enabled=block.precision == "bf16"):
            pose, betas, _ = network(x)
        pose, betas = pose.float(), betas.float()
        body = losses.posed(pose, betas, x[..., 72:75], rest, modes, block.rot6d)
        return losses.losses(pose, betas, body, truth, block.loss_weights)

    return loss


def optimizer_of(network: Network, block: config.Model) -> torch.optim.Adam:
    """Adam with the paper's numbers; the linear map learns `skip_lr` times as fast, not at all for 0; gradients are cut to a length if asked for."""
    linear = list(network.skip.parameters()) if network.skip is not None else []
    for parameter in linear:
        parameter.requires_grad_(block.skip_lr > 0)
    known = {id(parameter) for parameter in linear}
    groups: list[dict[str, Any]] = [{"params": [parameter for parameter in network.parameters() if id(parameter) not in known]}]
    if linear and block.skip_lr > 0:
        groups.append({"params": linear, "lr": block.lr * block.skip_lr})
    optimizer = torch.optim.Adam(groups, lr=block.lr, eps=1e-6, fused=True)
    if block.clip_gradient:
        optimizer.register_step_pre_hook(lambda *_: _clip(network, block.clip_gradient))
    return optimizer


def schedule(block: config.Model, steps: int, per_epoch: int) -> Callable[[int], float]:
    """Factor of the learning rate by gradient step.

    Both begin with a geometric warm-up from 1e-3. "cosine" then falls to 0 at the end, "steps" by ten within three epochs from `drop_epoch` on.
    """
    warm = max(1, round(block.warmup_epochs * per_epoch))

    def factor(step: int) -> float:
        if step < warm:
            return float(10 ** (-3 * (1 - step / warm)))
        if block.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))
        return float(10 ** -min(1.0, max(0.0, (step / per_epoch - block.drop_epoch) / 3)))

    return factor


def _network(
    source: Source, variant: Variant, seed: int, fits: linear_fit.Fits, made: Path, scratch: Path, progress: Progress, journal: Journal
) -> None:
    block, name = variant.block, f"{variant.name or 'full'} seed {seed}"
    windows = Windows(source, block.window, block.windows_per_clip, block.sensor_sets, block.masks, block.switch, block.noise)
    per_epoch = math.ceil(windows.items / block.batch)
    epochs = math.ceil(variant.steps / per_epoch) if variant.steps else block.epochs
    steps = variant.steps or epochs * per_epoch
    network = begin(source, block, seed, fits).to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = optimizer_of(network, block)
    diary = journal.network(variant.name, seed, {"seed": seed, "steps": steps, "clips": len(windows.clips), "parameters": _count(network)})
    watch = _Throughput(progress, name, epochs, diary)
    objective_of = objective(network, source, block)

    def loss(index: training.Indices) -> dict[str, Tensor]:
        batch = windows.batch(index)
        watch.frames += batch.x.shape[0] * batch.x.shape[1]
        return objective_of(batch)

    held_out = source.clips.rows("validation")
    result = training.fit(
        module=network,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(block, steps, per_epoch)),
        loss=loss,
        items=windows.items,
        batch=block.batch,
        epochs=epochs,
        steps_limit=variant.steps,
        seed=seed,
        folder=scratch / (variant.name or "full") / f"seed{seed}",
        validate=(lambda: validation(network, source, block.sensor_sets)) if held_out else None,
        validate_every=block.validate_every,
        checkpoint_every=block.checkpoint_every,
        on_epoch=watch.epoch,
        keep_best=ERROR if held_out else None,
        describe=lambda index: [windows.name(int(i)) for i in index],
    )
    if not distributed.world().first:
        return
    network.cpu().eval()
    made.mkdir(parents=True, exist_ok=True)
    write_network(made, network)
    tables.write(curves(result.history), made / "curves.parquet")
    best = result.best_epoch or result.epochs
    trained = {"steps": result.steps, "epochs": result.epochs, "best_epoch": best, "seconds": result.seconds, "parameters": _count(network)}
    # written last: its presence says that this network is complete
    atomic.write_json(made / "trained.json", trained)
    # under names of their own: under the curves' they would be one more point of each
    diary.done({**{f"best/{key}": value for key, value in result.history[best - 1].items() if key != "epoch"}, "best_epoch": best})


def write_network(folder: Path, network: Network) -> None:
    """Write what `read_network` reads."""
    atomic.write_bytes(folder / "weights.safetensors", safetensors.torch.save(network.state_dict()))
    atomic.write_json(folder / "network.json", asdict(network.options))


def validation(network: Network, source: Source, sensor_sets: Sequence[str]) -> dict[str, float]:
    """Mean distance (cm) of the joints over all validation frames, the mean of these sensor sets."""
    device = network.get_buffer("mean").device
    clips = source.clips.rows("validation")
    network.cpu()
    totals = []
    for name in sensor_sets:
        total = 0.0
        predicted = tracking.predict_clips(network, [source.clips.features(clip) for clip in clips], name, VALIDATION_BATCH)
        for clip, (local, betas) in zip(clips, predicted, strict=True):
            joints = kinematics.rest_joints(torch.from_numpy(betas), source.rest, source.modes)
            true = source.clip("pos", clip)
            _, positions = kinematics.forward(torch.from_numpy(local), joints)
            total += float((kinematics.align_head(positions, true[:, 15]) - true).norm(dim=-1).mean(-1).sum())
        totals.append(100 * total / sum(clip.length for clip in clips))
    network.to(device)
    return {ERROR: float(np.mean(totals))}


def curves(history: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The history as a table: a row an epoch, null where nothing was validated."""
    names = sorted({name for row in history for name in row} - {"epoch"})
    columns = {"epoch": pa.array([row["epoch"] for row in history], pa.int64())}
    return pa.table(columns | {name: pa.array([row.get(name) for row in history], pa.float64()) for name in names})


class _Throughput:
    """Tells progress and diary each epoch's numbers, with the frames that this process trained on a second."""

    def __init__(self, progress: Progress, name: str, epochs: int, diary: NetworkJournal) -> None:
        self.frames = 0
        self._progress, self._name, self._epochs, self._diary = progress, name, epochs, diary
        self._since = time.perf_counter()

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        rate = self.frames / max(time.perf_counter() - self._since, 1e-9)
        self._diary.epoch(epoch, {**metrics, "frames_per_s": rate})
        error = f", {metrics[ERROR]:.2f} cm" if ERROR in metrics else ""
        self._progress.say(f"{self._name}: epoch {epoch}/{self._epochs}, loss {metrics['train/loss']:.4f}{error}, {rate:,.0f} frames/s")
        self.frames, self._since = 0, time.perf_counter()


def _clip(network: Network, most: float) -> None:
    torch.nn.utils.clip_grad_norm_(network.parameters(), most)


def _count(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _record(made: Path, variant: str, seed: int) -> dict[str, Any]:
    trained = json.loads((made / "trained.json").read_text())
    best = tables.read(made / "curves.parquet").to_pylist()[trained["best_epoch"] - 1]
    return {"variant": variant, "seed": seed, **trained, "train/loss": best["train/loss"], ERROR: best.get(ERROR)}


def _made(records: list[dict[str, Any]]) -> Made:
    names = ["variant", "seed", "steps", "best_epoch", "seconds", "parameters", "train/loss", ERROR]
    rows = [[record[name] for name in names] for record in records]
    notes = [Note("Networks", "table", {"columns": names, "rows": rows}), Note("Parameters", "int", records[0]["parameters"])]
    return Made(notes=notes, facts={"networks": records})

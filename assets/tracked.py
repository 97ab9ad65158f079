"""How assets meet DVC, MLflow and the registry; the same for all papers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets.shared import Home, Overrides, Stage, Step, as_failure, progress_of
from tenfold.core.errors import BadData, TenfoldError, UsageError
from tenfold.core.params import split_partition
from tenfold.core.store import MANIFEST, Manifest
from tenfold.ops import dvc, logged, provenance


def begin_dataset(step: Step, context: Any, home: Home, config: Overrides) -> Stage:
    """Bring the DVC stage up to date first: its md5 is part of the key, so what changed for DVC is what is stale here."""
    settings = home.settings()
    dataset = split_partition(context.partition_key)[0]
    try:
        if config.overrides:
            raise UsageError("the numbers of `dataset` are read by DVC: change them in params.yaml, not in the launchpad.")
        progress = progress_of(context, context.partition_key, step.name)
        version = dvc.reproduce(f"{step.paper}@{dataset}", settings.root, say=progress.say)
    except TenfoldError as error:
        raise as_failure(error) from error
    stage = step.begin(context, home, config, extra={"dvc": version.md5, "partition": context.partition_key})
    stage.facts["dvc_md5"] = version.md5
    return stage


def data_root(stage: Stage, written: str) -> Path:
    """Where the relative paths of the table of samples start; named relative to the root if it lies inside."""
    folder = Path(written)
    folder = folder if folder.is_absolute() else stage.settings.root / folder
    if not folder.is_dir():
        raise BadData(f"{folder}: the files of {stage.paper}.{stage.partition} are gone. Put the folder back, or run `tenfold run {stage.paper}.{stage.partition}`.")
    return folder


def identity(stage: Stage) -> dict[str, str]:
    """What every row of metrics carries."""
    return {
        "paper": stage.paper,
        "dataset": stage.dataset,
        "partition": stage.partition,
        "model_key": stage.upstream["model"]["key"],
        "data_version": stage.manifest("features").upstream["prepared"]["digest"],
    }


def lineage(stage: Stage) -> dict[str, Manifest]:
    """Manifests of everything upstream, by asset."""
    found: dict[str, Manifest] = {}
    waiting = [(name, pointer["key"]) for name, pointer in stage.upstream.items()]
    while waiting:
        name, key = waiting.pop()
        if name not in found:
            found[name] = Manifest.read(stage.store.folder(stage.paper, name, key) / MANIFEST)
            waiting += [(other, pointer["key"]) for other, pointer in found[name].upstream.items()]
    return found


def provenance_of(stage: Stage) -> dict[str, Any]:
    """What the report prints: commits, versions, keys, runs."""
    manifests = lineage(stage)
    made = provenance.of(stage.settings.root)
    reference = logged.read(stage.settings, stage.paper, "model", manifests["model"].key) or {}
    return {
        "paper": stage.paper,
        "partition": stage.partition,
        "recipe": stage.recipe,
        "git commit": made.git_commit,
        "uncommitted changes": made.git_dirty,
        "device": made.device,
        "versions": dict(made.versions),
        "dvc md5": manifests["dataset"].facts.get("dvc_md5", ""),
        "dagster run": stage.context.run_id,
        "mlflow run": reference.get("run_id", ""),
        "manifests": {name: manifest.to_json() for name, manifest in manifests.items()},
    }


def tags(stage: Stage, manifests: Mapping[str, Manifest]) -> dict[str, object]:
    """Tags of an MLflow run, besides those that `ops.tracking` sets itself."""
    return {
        "tenfold.recipe": stage.recipe,
        "tenfold.data_version": manifests["dataset"].digest,
        "dvc.md5": manifests["dataset"].facts.get("dvc_md5", ""),
        "dagster.run_id": stage.context.run_id,
        **provenance.of(stage.settings.root).tags(),
    }


def numbers(stage: Stage, manifests: Mapping[str, Manifest], model: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Parameters of an MLflow run: every number that the network depends on, `<asset>.<name>`."""
    shown: dict[str, Mapping[str, object]] = {name: manifests[name].block for name in ("dataset", "prepared", "features") if name in manifests}
    return {**shown, "model": model}


def back_to_dagster(stage: Stage) -> str:
    """Markdown at the top of the MLflow run's page."""
    base, path = stage.settings.dagster_url, "/".join((stage.paper, "model"))
    return "\n".join(
        [
            f"`{stage.paper}.{stage.partition}`, recipe `{stage.recipe}`.",
            "",
            f"[Dagster run]({base}/runs/{stage.context.run_id}) · [asset]({base}/assets/{path}?partition={stage.partition}) · report: artifact `report.html`",
            "",
            f"Again from scratch: `tenfold reproduce {stage.paper}.{stage.partition}`",
        ]
    )


@contextmanager
def training(stage: Stage) -> Iterator[Any]:
    """The MLflow run of the networks in training, found by the model's key; its journal goes to the science."""
    from tenfold.core import tables
    from tenfold.ops import home, tracking

    home.ensure_mlflow(stage.settings)
    manifests = lineage(stage)
    door = tracking.Tracking(stage.settings, say=stage.progress.say)
    with door.run(stage.paper, stage.partition, stage.key, tags=tags(stage, manifests), params=numbers(stage, manifests, stage.values)) as run:
        data = manifests["dataset"]
        table = tables.read(stage.store.folder(stage.paper, "dataset", data.key) / "samples.parquet")
        run.dataset(f"{stage.paper}.{stage.partition}", str(data.facts.get("dvc_md5", ""))[:32], str(data.facts.get("root", "")), table)
        run.describe(back_to_dagster(stage))
        yield run
    logged.note(stage.settings, stage.paper, "model", stage.key, run.run_id, run.url)


def log_files(stage: Stage, manifest: Manifest, files: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    """Add published files ({path in the output: folder in the run}) and metrics to the network's run."""
    from tenfold.ops import home, tracking

    home.ensure_mlflow(stage.settings)
    manifests = lineage(stage)
    key = stage.upstream["model"]["key"]
    folder = stage.store.folder(stage.paper, stage.asset, manifest.key)
    block = manifests["model"].block
    run = tracking.Tracking(stage.settings, say=stage.progress.say).attach(
        stage.paper, stage.partition, key, tags=tags(stage, manifests), params=numbers(stage, manifests, block)
    )
    with run:
        if metrics:
            run.metrics(metrics)
        for name, place in files.items():
            if (folder / name).exists():
                run.artifact(folder / name, place)
    logged.note(stage.settings, stage.paper, stage.asset, manifest.key, run.run_id, run.url)


def log_evaluation(stage: Stage, manifest: Manifest) -> None:
    """Means over seeds as metrics (`aupro_30`, `aupro_30/bank_sum`), the tables and the manifest as artifacts."""
    from tenfold.core import tables

    folder = stage.store.folder(stage.paper, stage.asset, manifest.key)
    sums: dict[str, list[float]] = {}
    for row in tables.read(folder / "metrics.parquet").to_pylist():
        if row["variant"] == "" and row["slice"] == "all" and row["value"] is not None:
            name = row["metric"] if row["method"] == "ours" else f"{row['metric']}/{row['method']}"
            sums.setdefault(name, []).append(row["value"])
    means = {name: sum(values) / len(values) for name, values in sums.items()}
    log_files(stage, manifest, {"metrics.parquet": "", "claims.json": "", "manifest.json": ""}, means)


def log_report(stage: Stage, manifest: Manifest) -> None:
    """The page and its figures as artifacts."""
    log_files(stage, manifest, {"report.html": "", "figures": ""}, {})

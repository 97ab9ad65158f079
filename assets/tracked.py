"""How assets meet DVC, MLflow and the registry; the same for all papers."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg

from assets.shared import Home, Overrides, Stage, Step, as_failure, progress_of
from tenfold.core import atomic, params
from tenfold.core.errors import BadData, Corrupt, TenfoldError, UsageError
from tenfold.core.params import split_partition
from tenfold.core.stage import Check, Made, Note
from tenfold.core.store import Manifest, Store
from tenfold.ops import dvc, gate, home, logged, provenance, registry


def begin_dataset(step: Step, context: Any, place: Home, config: Overrides) -> Stage:
    """Bring the DVC stage up to date first: its md5 is part of the key, so what changed for DVC is what is stale here."""
    settings = place.settings()
    dataset = split_partition(context.partition_key)[0]
    try:
        if config.overrides:
            raise UsageError("the numbers of `dataset` are read by DVC: change them in params.yaml, not in the launchpad.")
        progress = progress_of(context, context.partition_key, step.name)
        version = dvc.reproduce(f"{step.paper}@{dataset}", settings.root, say=progress.say)
    except TenfoldError as error:
        raise as_failure(error) from error
    stage = step.begin(context, place, config, extra={"dvc": version.md5, "partition": context.partition_key})
    stage.facts["dvc_md5"] = version.md5
    return stage


def ready(step: Step, context: Any, place: Home, check: Callable[[Any, Path], None]) -> None:
    """Ask, before anything is made, whether what `step` needs later in this run is there; `check` gets its block and the paper's weights.

    Nothing is asked if the run leaves the step out, or if it was made before.
    """
    settings = place.settings()
    planned = context.run.asset_selection  # empty: everything
    if planned and dg.AssetKey([step.paper, step.name]) not in planned:
        return
    try:
        if Store(settings.home).current(step.paper, context.partition_key, step.name) is not None:
            return
        tree = params.load(settings.root)
        recipe = params.datasets(tree, step.paper)[split_partition(context.partition_key)[0]].recipe
        given = context.run.run_config.get("ops", {}).get(f"{step.paper}__{step.name}", {}).get("config", {}).get("overrides", {})
        where = f"{step.paper}.recipes.{recipe}.{step.name}"
        check(
            params.resolve(step.block, params.block(tree, step.paper, recipe, step.name), given, where),
            settings.root / "data" / "weights" / step.paper,
        )
    except TenfoldError as error:
        raise as_failure(error) from error


def data_root(stage: Stage, written: str) -> Path:
    """Where the relative paths of the table of samples start; named relative to the root if it lies inside."""
    folder = Path(written)
    folder = folder if folder.is_absolute() else stage.settings.root / folder
    if not folder.is_dir():
        raise BadData(
            f"{folder}: the files of {stage.paper}.{stage.partition} are gone. Put the folder back, or run `tenfold run {stage.paper}.{stage.partition}`."
        )
    return folder


def identity(stage: Stage) -> dict[str, str]:
    """What every row of metrics carries."""
    return {
        "paper": stage.paper,
        "dataset": stage.dataset,
        "partition": stage.partition,
        "model_key": stage.upstream["model"]["key"],
        "data_version": lineage(stage)["dataset"].digest,
    }


def lineage(stage: Stage) -> dict[str, Manifest]:
    """Manifests of everything upstream, by asset."""
    found: dict[str, Manifest] = {}
    outputs = ((name, pointer["key"]) for name, pointer in stage.upstream.items())
    for (asset, key), manifest in stage.store.lineage(stage.paper, *outputs).items():
        if manifest is None:
            folder = stage.store.folder(stage.paper, asset, key)
            raise Corrupt(f"{folder} is gone or damaged. To make it again: `tenfold run {stage.paper}.{stage.partition} --to {asset}`")
        found[asset] = manifest
    return found


def run_of(stage: Stage) -> dict[str, str]:
    """MLflow's ids of the run that holds this partition's numbers; empty if it has none yet.

    A model that rests on no data is one for all partitions: trained in the first one's run, measured in a run for each.
    """
    asked = [(name, stage.upstream[name]["key"]) for name in ("evaluation", "model") if name in stage.upstream]
    found = (logged.read(stage.settings, stage.paper, name, key) or {} for name, key in asked)
    return next((ids for ids in found if ids.get("run_id")), {})


def provenance_of(stage: Stage) -> dict[str, Any]:
    """What the report prints: commits, versions, keys, runs."""
    manifests = lineage(stage)
    made = provenance.of(stage.settings.root)
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
        "mlflow run": run_of(stage).get("run_id", ""),
        "manifests": {name: manifest.to_json() for name, manifest in manifests.items()},
    }


def tags(stage: Stage, manifests: Mapping[str, Manifest]) -> dict[str, object]:
    """Tags of an MLflow run, besides those that `ops.tracking` sets itself."""
    data = manifests.get("dataset")
    seen = {"tenfold.data_version": data.digest, "dvc.md5": data.facts.get("dvc_md5", "")} if data else {}
    return {
        "tenfold.recipe": stage.recipe,
        **seen,
        "dagster.run_id": stage.context.run_id,
        **provenance.of(stage.settings.root).tags(),
    }


def numbers(stage: Stage, manifests: Mapping[str, Manifest], model: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Parameters of an MLflow run, `<asset>.<name>`: every number of the model and of what stands before or beside it."""
    shown = {name: manifest.block for name, manifest in manifests.items() if name not in ("model", "baselines", "evaluation")}
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
    from tenfold.ops import tracking

    home.ensure_mlflow(stage.settings)
    manifests = lineage(stage)
    door = tracking.Tracking(stage.settings, say=stage.progress.say)
    with door.run(
        stage.paper, stage.partition, stage.key, tags=tags(stage, manifests), params=numbers(stage, manifests, stage.values)
    ) as run:
        introduce(run, stage, manifests.get("dataset"))
        yield run
        run.note("model", stage.key)


def introduce(run: Any, stage: Stage, data: Manifest | None) -> None:
    """What the network is trained on, if on any data, and the way back."""
    from tenfold.core import tables

    if data is not None:
        table = tables.read(stage.store.folder(stage.paper, "dataset", data.key) / "samples.parquet")
        run.dataset(f"{stage.paper}.{stage.partition}", str(data.facts.get("dvc_md5", ""))[:32], str(data.facts.get("root", "")), table)
    run.describe(back_to_dagster(stage))


def log_training(stage: Stage, manifest: Manifest, retell: Callable[[Path, Any], None]) -> None:
    """Tell a trained model's training again: to an MLflow that does not know it, or where a crash cut the telling off.

    `retell(folder, journal)` is the paper's; what MLflow has already is not sent again.
    """
    from tenfold.ops import tracking

    home.ensure_mlflow(stage.settings)
    manifests = lineage(stage)
    door = tracking.Tracking(stage.settings, say=stage.progress.say)
    params = numbers(stage, manifests, manifest.block)
    with door.attach(stage.paper, stage.partition, manifest.key, tags=tags(stage, manifests), params=params) as run:
        introduce(run, stage, manifests.get("dataset"))
        retell(stage.store.folder(stage.paper, stage.asset, manifest.key), run.journal("model"))
        run.note("model", manifest.key)


def log_files(stage: Stage, manifest: Manifest, files: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    """Add published files ({path in the output: folder in the run}) and metrics to the network's run."""
    from tenfold.ops import tracking

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
            if "dataset" not in (asset for asset, _ in stage.store.lineage(stage.paper, ("model", key))):
                introduce(run, stage, manifests["dataset"])
            run.metrics(metrics)
        for name, place in files.items():
            if (folder / name).exists():
                run.artifact(folder / name, place)
        run.note(stage.asset, manifest.key)


def log_evaluation(stage: Stage, manifest: Manifest) -> None:
    """Means over seeds as metrics (`aupro_30`, `aupro_30/bank_sum`), the tables and the manifest as artifacts."""
    from tenfold.core import tables

    folder = stage.store.folder(stage.paper, stage.asset, manifest.key)
    sums: dict[str, list[float]] = {}
    for row in tables.read(folder / "metrics.parquet").to_pylist():
        if row["variant"] == "" and row["slice"] == "all" and row["value"] is not None and shown(row):
            name = row["metric"] if row["method"] == "ours" else f"{row['metric']}/{row['method']}"
            sums.setdefault(name, []).append(row["value"])
    means = {name: sum(values) / len(values) for name, values in sums.items()}
    log_files(stage, manifest, {"metrics.parquet": "", "claims.json": "", "manifest.json": ""}, means)


def shown(row: Mapping[str, Any]) -> bool:
    """Every number of ours; of the rivals those that have an interval, so that a run's page stays readable."""
    return row["method"] == "ours" or row["lo"] is not None


def log_report(stage: Stage, manifest: Manifest) -> None:
    """The page and its figures as artifacts."""
    log_files(stage, manifest, {"report.html": "", "figures": "figures"}, {})


def begin_champion(step: Step, context: Any, place: Home, config: Overrides) -> Stage:
    """The key depends on who is champion now, so that an alias moved by hand in MLflow is seen; once it is us, nothing is new."""
    try:
        present = registry.peek(place.settings(), f"{step.paper}.{context.partition_key}")
    except TenfoldError as error:
        raise as_failure(error) from error
    stage = step.begin(context, place, config)
    if present is None:
        return undone(step, context, place, config, {})
    mine = stage.upstream["model"]["key"]
    if present[1] != mine:
        return undone(step, context, place, config, {"champion": present[1]})
    # we are champion: the decision that made us so still stands, if everything upstream is as it was
    pointer = stage.store.current(stage.paper, stage.partition, stage.asset)
    decided = decision_of(stage, pointer.key) if pointer else None
    unchanged = decided is not None and (decided.upstream, decided.code, decided.block) == (stage.upstream, stage.code, stage.values)
    if decided is not None and unchanged and decided.facts["promoted"]:
        return step.begin(context, place, config, extra=decided.facts["key_extra"])
    return step.begin(context, place, config, extra={"champion": mine})


def undone(step: Step, context: Any, place: Home, config: Overrides, extra: Mapping[str, Any]) -> Stage:
    """The stage of this decision; a new one if the stored one does not count.

    If it promoted us and we are not champion, somebody undid it. If another run became champion between our look and our decision, it was
    taken against that one.
    """
    stage, times = step.begin(context, place, config, extra=extra), Counter[str]()
    expected = extra.get("champion", "")
    while (decided := decision_of(stage, stage.key)) is not None:
        if not decided.facts["promoted"] and decided.facts.get("against", expected) == expected:
            break
        times["undone" if decided.facts["promoted"] else "overtaken"] += 1
        stage = step.begin(context, place, config, extra={**extra, **times})
    return stage


def decision_of(stage: Stage, key: str) -> Manifest | None:
    """The stored decision with this key."""
    return stage.store.manifest(stage.paper, stage.asset, key)


def promote(stage: Stage, out: Path, headline: tuple[str, str], science: ModuleType, *about: Any) -> Made:
    """Gate, register, alias; a crash in between converges when it runs again.

    `science` has `rescore(predictor, inputs, files, *about, headline, identity, out, progress)`, which measures the present champion
    on this evaluation's samples, `example(dataset, files)`, a request of one row, and `PARAMS`, the options that a request may carry.
    `about` is what else the paper must know of the data. `SEEDS_OF`, if it has that, names the asset whose first seed counts (else the
    model: its first network is the one that is registered).
    """
    from tenfold.core import tables

    name = f"{stage.paper}.{stage.partition}"
    mine = stage.upstream["model"]["key"]
    inputs = {asset: stage.input(asset) for asset in stage.step.after}
    facts = stage.manifest("dataset").facts
    files = data_root(stage, facts["root"])
    contracts = [check for asset in stage.step.after for check in stage.manifest(asset).checks if check.severity == "error"]
    rows = tables.read(inputs["evaluation"] / "metrics.parquet").to_pylist()
    first = stage.manifest(getattr(science, "SEEDS_OF", "model")).block["seeds"][0]
    wanted = {"metric": headline[0], "method": "ours", "variant": "", "slice": "all", "seed": first}
    new = next((row["value"] for row in rows if all(row[column] == value for column, value in wanted.items())), None)
    with registry.locked(stage.settings, name):
        present = registry.peek(stage.settings, name) or restored(stage, name, inputs, files, science)
        same = present is not None and present[1] == mine
        old: float | None = None
        drift = Check("drift", True, "warn", "The champion is this network, or there was none: nothing can have drifted.")
        if present is not None and not same:
            champion = registry.champion(stage.settings, name)
            assert champion is not None
            measured = {**identity(stage), "model_key": champion.key}
            try:
                rescored = science.rescore(champion.folder, inputs, files, *about, headline[0], measured, out, stage.progress)
                old, drift = rescored.value, rescored.drift
            except TenfoldError as error:
                # made by another version of the code, say: it keeps its place, and whoever decides is told how
                old, drift = math.nan, unmeasured(name, present[0], error)
        decision = gate.decide(all(check.passed for check in contracts), new, old, headline[1], stage.block.least_gain, same)
        if decision.promote and present is not None and "undone" in stage.facts["key_extra"]:
            by_hand = f"But the alias was moved back to version {present[0]} by hand: it stays there."
            decision = gate.Decision(False, f"{decision.reason} {by_hand}")
        if present is not None and same:
            version = present[0]
        else:
            version = register(stage, name, mine, inputs["model"] / "predictor", inputs, files, science, decision)
    facts_now: dict[str, Any] = {"version": version, "promoted": decision.promote, "reason": decision.reason, "new": new, "champion": old}
    facts_now["against"] = present[1] if present is not None else ""
    atomic.write_json(out / "champion.json", {"model": name, "model_key": mine, **facts_now})
    notes = [
        Note("decision", "text", decision.reason),
        Note("promoted", "bool", decision.promote),
        Note("version", "text", f"{name} version {version}"),
        *([Note(f"{headline[0]}, this network", "float", new)] if new is not None else []),
        *([Note(f"{headline[0]}, present champion on the same samples", "float", old)] if old is not None else []),
    ]
    return Made(notes=notes, checks=[drift], facts=facts_now)


def unmeasured(name: str, version: str, error: TenfoldError) -> Check:
    """The present champion cannot be run by this code."""
    remedy = (
        f"To let a new network take its place, delete the alias `champion` of {name} in MLflow and run `champion` again; "
        "its version stays in the registry."
    )
    return Check("drift", False, "warn", f"Version {version}, the present champion, could not be measured: {error} {remedy}")


def restored(stage: Stage, name: str, inputs: Mapping[str, Path], files: Path, science: ModuleType) -> tuple[str, str] | None:
    """(version, key) of the champion that an earlier registry had, registered again from the store.

    None if this registry knows the model (its alias was taken away on purpose), if we were champion, or if the weights are gone.
    """
    pointer = stage.store.current(stage.paper, stage.partition, stage.asset)
    last = decision_of(stage, pointer.key) if pointer else None
    if last is None:
        return None
    key = last.upstream["model"]["key"] if last.facts["promoted"] else last.facts.get("against") or last.facts["key_extra"].get("champion")
    folder = registry.stored(stage.settings, name, key) if key else None
    if key == stage.upstream["model"]["key"] or registry.known(stage.settings, name):
        return None
    if folder is None:
        if key:
            stage.progress.say(f"{name}: the weights of the champion {key} are no longer in the store, so it cannot be registered again.")
        return None
    version = register(stage, name, key, folder, inputs, files, science, gate.Decision(True, "the champion of an earlier registry"))
    return version, key


def register(
    stage: Stage,
    name: str,
    key: str,
    folder: Path,
    inputs: Mapping[str, Path],
    files: Path,
    science: ModuleType,
    decision: gate.Decision,
) -> str:
    """Log and register the network `key`, whose predictor is in `folder`, once; then set the aliases. Returns the version."""
    home.ensure_mlflow(stage.settings)
    mine = key == stage.upstream["model"]["key"]
    run = run_of(stage) if mine else logged.read(stage.settings, stage.paper, "model", key) or {}
    made_from = {asset: manifest for (asset, _), manifest in stage.store.lineage(stage.paper, ("model", key)).items() if manifest}
    dataset, model = made_from.get("dataset"), made_from.get("model")
    metadata = {
        "tenfold.data_version": dataset.digest if dataset else "",
        "dvc.md5": str(dataset.facts.get("dvc_md5", "")) if dataset else "",
        "git.commit": str(model.made_by.get("git_commit", "")) if model else "",
        "tenfold.paper": stage.paper,
    }
    example = science.example(inputs["dataset"], files)
    registered = registry.register(stage.settings, name, folder, example, run.get("run_id") or None, key, metadata, science.PARAMS)
    registry.promote(stage.settings, registered, decision)
    return registered.version

"""Full-body motion from sparse sensors (HMD-Poser, CVPR 2024), asset by asset: from motion clips to a registered tracker."""

import dagster as dg

from assets import shared, tracked
from assets.shared import Home, Overrides, Stage, Step
from tenfold.core.errors import TenfoldError
from tenfold.core.stage import Made, Note
from tenfold.core.store import Manifest, Working
from tenfold.motion_tracking import config as blocks
from tenfold.motion_tracking.claims import STATEMENTS

PAPER = "motion_tracking"
PARTS = shared.partitions(PAPER)

DATASET = Step(PAPER, "dataset", "tenfold.motion_tracking.data", blocks.Dataset)
FEATURES = Step(PAPER, "features", "tenfold.motion_tracking.features", blocks.Features, ("dataset",))
MODEL = Step(PAPER, "model", "tenfold.motion_tracking.train", blocks.Model, ("features",))
BASELINES = Step(PAPER, "baselines", "tenfold.motion_tracking.baselines", blocks.Baselines, ("features",))
EVALUATION = Step(PAPER, "evaluation", "tenfold.motion_tracking.evaluate", blocks.Evaluation, ("features", "model", "baselines"))
REPORT = Step(PAPER, "report", "tenfold.motion_tracking.report", blocks.Report, ("dataset", "features", "model", "baselines", "evaluation"))
CHAMPION = Step(PAPER, "champion", "tenfold.motion_tracking.rescore", blocks.Champion, ("dataset", "features", "model", "evaluation"))
STEPS = [DATASET, FEATURES, MODEL, BASELINES, EVALUATION, REPORT, CHAMPION]


@dg.asset(
    **DATASET.options(PARTS, kinds={"dvc", "parquet", "greatexpectations"}, pool="dvc"),
    check_specs=DATASET.checks(PARTS, contracts={"contract_samples": "The table of clips keeps its contract."}),
)
def dataset(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Verified table of motion clips, versioned by DVC; clips that cannot be trusted stand in the quarantine with their reason."""
    stage = tracked.begin_dataset(DATASET, context, home, config)

    def make(work: Working) -> Made:
        from tenfold.motion_tracking import contract, data
        from tenfold.ops import contracts

        made = data.take(stage.settings.root / "data" / PAPER / stage.dataset, stage.unit, work.out)
        table = contract.samples(work.out, tracked.data_root(stage, made.facts["root"]))
        made.checks.append(contracts.validate(table, contract.SAMPLES, "contract_samples"))
        return made

    return shared.finish(stage, make)


@dg.asset(
    **FEATURES.options(PARTS, kinds={"numpy", "parquet", "greatexpectations"}),
    check_specs=FEATURES.checks(
        PARTS, contracts={"contract_features": "Rotations are rotations, speeds and accelerations are a person's."}
    ),
)
def features(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """The 135 sensor values and the true pose of every frame, memory-mapped, with noisy copies of the test split (section 2.2)."""
    stage = FEATURES.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.motion_tracking import contract
        from tenfold.motion_tracking import features as science
        from tenfold.ops import contracts

        files = tracked.data_root(stage, stage.manifest("dataset").facts["root"])
        made = science.run(stage.input("dataset"), files, stage.block, work.out, stage.progress)
        made.checks.append(contracts.validate(contract.features(work.out, stage.input("dataset")), contract.FEATURES, "contract_features"))
        return made

    return shared.finish(stage, make, observe=drift_since)


def drift_since(stage: Stage, manifest: Manifest) -> list[Note]:
    """How far the training rows have moved from those of the features that counted until now; what cannot be compared says why."""
    label = "Drift since the version before"
    try:
        before = stage.store.current(stage.paper, stage.partition, stage.asset)
        if before is None or before.digest == manifest.digest:
            return [Note(label, "text", "there is none before" if before is None else "none: the same rows")]
        from tenfold.motion_tracking import drift

        moved = drift.since(*(stage.store.folder(stage.paper, stage.asset, key) for key in (before.key, manifest.key)))
    except TenfoldError as problem:
        return [Note(label, "text", f"not known: {problem}")]
    if tokens := [row["token"] for row in moved.to_pylist() if row["drifted"]]:
        stage.progress.say(f"the training rows have drifted since the version before ({before.key}): {', '.join(tokens)}")
    return [drift.note(label, moved), Note("version before", "text", before.key)]


@dg.asset(**MODEL.options(PARTS, kinds={"torch", "onnx", "mlflow"}, pool="gpu"))
def model(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """One causal network for all sensor sets, its ablations, and the ONNX step with an explicit state (sections 2.3 to 2.7)."""
    stage = MODEL.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.motion_tracking import train
        from tenfold.motion_tracking.predictor_folder import Serving
        from tenfold.ops import launch

        serving = Serving(tracked.lineage(stage)["features"].block["acceleration"])
        stage.made_with = launch.made_with(stage.settings)
        with tracked.training(stage) as run:
            return launch.run(
                stage.settings, train.run, features=stage.input("features"), block=stage.block, out=work.out, scratch=work.scratch,
                progress=stage.progress, journal=run.journal("model", stage.block.seeds[0]), serving=serving,
            )  # fmt: skip

    def log(stage: Stage, manifest: Manifest) -> None:
        from tenfold.motion_tracking.retell import retell

        tracked.log_training(stage, manifest, retell)

    return shared.finish(stage, make, log=log)


@dg.asset(**BASELINES.options(PARTS, kinds={"numpy"}))
def baselines(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Mean pose, held pose, ridge regression, inverse kinematics and a frame-wise network on the same features (section 6)."""
    stage = BASELINES.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.motion_tracking import baselines as science

        return science.run(stage.input("features"), stage.block, work.out, stage.progress)

    return shared.finish(stage, make)


@dg.asset(
    **EVALUATION.options(PARTS, kinds={"torch", "onnx", "mlflow", "greatexpectations"}),
    check_specs=EVALUATION.checks(
        PARTS,
        contracts={
            "contract_sequences": "Finite errors, one row a clip, method, sensor set and noise.",
            "contract_metrics": "The table of metrics keeps its contract.",
        },
        claims=STATEMENTS,
    ),
)
def evaluation(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Every method on unseen subjects and unseen real clips, for each sensor set and noise, live and offline (sections 7 and 8)."""
    stage = EVALUATION.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.motion_tracking import contract, evaluate
        from tenfold.ops import contracts

        inputs = {name: stage.input(name) for name in EVALUATION.after}
        made = evaluate.run(**inputs, block=stage.block, out=work.out, progress=stage.progress, identity=tracked.identity(stage))
        made.checks.append(contracts.validate(work.out / "per_sequence.parquet", contract.SEQUENCES, "contract_sequences"))
        made.checks.append(contracts.validate(work.out / "metrics.parquet", contract.METRICS, "contract_metrics"))
        return made

    return shared.finish(stage, make, log=tracked.log_evaluation)


@dg.asset(**REPORT.options(PARTS, kinds={"html", "mlflow"}))
def report(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """One self-contained page with moving skeletons: verdict, claims, numbers, pictures, how it works, data, cost, provenance (section 11)."""
    stage = REPORT.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.motion_tracking import report as science

        inputs = {name: stage.input(name) for name in REPORT.after}
        return science.run(inputs, stage.block, work.out, tracked.provenance_of(stage), stage.progress)

    return shared.finish(stage, make, log=tracked.log_report)


@dg.asset(
    **CHAMPION.options(PARTS, kinds={"mlflow"}),
    check_specs=CHAMPION.checks(PARTS, claims={"drift": "The champion meets sensor values like those it was trained on."}),
)
def champion(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Registers the tracker and moves the alias only if the contracts held and the headline gains enough on the same clips."""
    stage = tracked.begin_champion(CHAMPION, context, home, config)

    def make(work: Working) -> Made:
        from tenfold.motion_tracking import metrics, rescore

        return tracked.promote(stage, work.out, metrics.HEADLINE, rescore)

    return shared.finish(stage, make)


ASSETS = [dataset, features, model, baselines, evaluation, report, champion]

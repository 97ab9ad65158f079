"""Minimal perspective autocalibration (CVPR 2024), asset by asset: from correspondences of unknown cameras to K, and a registered solver.

`taxonomy` and `model` rest on no data: all partitions of a recipe share them.
"""

import dagster as dg

from assets import shared, tracked
from assets.shared import Home, Overrides, Stage, Step
from tenfold.autocalibration import config as blocks
from tenfold.autocalibration.claims import STATEMENTS
from tenfold.core.stage import Made
from tenfold.core.store import Manifest, Working

PAPER = "autocalibration"
PARTS = shared.partitions(PAPER)

DATASET = Step(PAPER, "dataset", "tenfold.autocalibration.data", blocks.Dataset)
FEATURES = Step(PAPER, "features", "tenfold.autocalibration.features", blocks.Features, ("dataset",))
TAXONOMY = Step(PAPER, "taxonomy", "tenfold.autocalibration.taxonomy_stage", blocks.Taxonomy)
MODEL = Step(PAPER, "model", "tenfold.autocalibration.train", blocks.Model, ("taxonomy",))
BASELINES = Step(PAPER, "baselines", "tenfold.autocalibration.baselines", blocks.Baselines, ("dataset", "features"))
EVALUATION = Step(
    PAPER,
    "evaluation",
    "tenfold.autocalibration.evaluate",
    blocks.Evaluation,
    ("dataset", "features", "taxonomy", "model", "baselines"),
)
REPORT = Step(
    PAPER,
    "report",
    "tenfold.autocalibration.report",
    blocks.Report,
    ("dataset", "features", "taxonomy", "model", "baselines", "evaluation"),
)
CHAMPION = Step(PAPER, "champion", "tenfold.autocalibration.rescore", blocks.Champion, ("dataset", "features", "model", "evaluation"))
STEPS = [DATASET, FEATURES, TAXONOMY, MODEL, BASELINES, EVALUATION, REPORT, CHAMPION]


@dg.asset(
    **DATASET.options(PARTS, kinds={"dvc", "parquet", "greatexpectations"}, pool="dvc"),
    check_specs=DATASET.checks(PARTS, contracts={"contract_samples": "The table of views keeps its contract."}),
)
def dataset(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Verified table of the views of all scenes, versioned by DVC; views that cannot be trusted stand in the quarantine with their reason."""
    stage = tracked.begin_dataset(DATASET, context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import contract, data
        from tenfold.ops import contracts

        made = data.take(stage.settings.root / "data" / PAPER / stage.dataset, stage.unit, work.out)
        table = contract.samples(work.out, tracked.data_root(stage, made.facts["root"]))
        made.checks.append(contracts.validate(table, contract.SAMPLES, "contract_samples"))
        return made

    return shared.finish(stage, make)


@dg.asset(
    **FEATURES.options(PARTS, kinds={"numpy", "parquet", "greatexpectations"}),
    check_specs=FEATURES.checks(PARTS, contracts={"contract_tracks": "Tracks are finite, in their frames, and one a view."}),
)
def features(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Tracks over the views of each scene, and the epipolar geometry of each pair of views; photos are matched by SIFT (section 5)."""
    stage = FEATURES.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import contract
        from tenfold.autocalibration import features as science
        from tenfold.ops import contracts

        files = tracked.data_root(stage, stage.manifest("dataset").facts["root"])
        made = science.run(stage.input("dataset"), files, stage.block, work.out, stage.progress)
        made.checks.append(contracts.validate(contract.tracks(work.out, stage.input("dataset")), contract.TRACKS, "contract_tracks"))
        return made

    return shared.finish(stage, make)


@dg.asset(
    **TAXONOMY.options(PARTS, kinds={"numpy", "greatexpectations"}),
    check_specs=TAXONOMY.checks(
        PARTS, contracts={"contract_relaxations": "Orbit sizes, equations kept and rank tests of all relaxations keep their contract."}
    ),
)
def taxonomy(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Every minimal relaxation of each problem up to relabelling of points and views, with its rank test (section 2.3)."""
    stage = TAXONOMY.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import contract
        from tenfold.autocalibration import taxonomy_stage as science
        from tenfold.ops import contracts

        made = science.run(stage.block, work.out, stage.progress)
        made.checks.append(contracts.validate(contract.relaxations(work.out), contract.RELAXATIONS, "contract_relaxations"))
        return made

    return shared.finish(stage, make)


@dg.asset(
    **MODEL.options(PARTS, kinds={"numba", "mlflow", "greatexpectations"}),
    check_specs=MODEL.checks(PARTS, contracts={"contract_degrees": "Solution counts are whole, certified and agree over seeds."}),
)
def model(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Start systems by monodromy: a base point of each problem with all its complex solutions, certified over seeds (section 2.5)."""
    stage = MODEL.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import contract, train
        from tenfold.ops import contracts

        with tracked.training(stage) as run:
            made = train.run(
                taxonomy_folder=stage.input("taxonomy"), block=stage.block, out=work.out, scratch=work.scratch, progress=stage.progress,
                journal=run.journal("model", stage.block.seeds[0]),
            )  # fmt: skip
        made.checks.append(contracts.validate(contract.degrees(work.out), contract.DEGREES, "contract_degrees"))
        return made

    def log(stage: Stage, manifest: Manifest) -> None:
        from tenfold.autocalibration.retell import retell

        tracked.log_training(stage, manifest, retell)

    return shared.finish(stage, make, log=log)


@dg.asset(
    **BASELINES.options(PARTS, kinds={"numpy", "greatexpectations"}),
    check_specs=BASELINES.checks(PARTS, contracts={"contract_calib": "One row a scene, triplet, method and stage, with a known status."}),
)
def baselines(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Closed forms, six points, a focal sweep, plain refinement and COLMAP itself on the same tracks and threshold (section 6)."""
    stage = BASELINES.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import baselines as science
        from tenfold.autocalibration import contract
        from tenfold.ops import contracts

        made = science.run(stage.input("dataset"), stage.input("features"), stage.block, work.out, stage.progress)
        made.checks.append(contracts.validate(work.out / "calib.parquet", contract.CALIB, "contract_calib"))
        return made

    return shared.finish(stage, make)


@dg.asset(
    **EVALUATION.options(PARTS, kinds={"numba", "mlflow", "greatexpectations"}),
    check_specs=EVALUATION.checks(
        PARTS,
        contracts={
            "contract_calib": "One row a scene, triplet, method and stage, with a known status.",
            "contract_metrics": "The table of metrics keeps its contract.",
        },
        claims=STATEMENTS,
    ),
)
def evaluation(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Our solvers in RANSAC with refinement beside every rival on the same tracks, and the claims judged on that (sections 7, 8)."""
    stage = EVALUATION.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import contract, evaluate
        from tenfold.ops import contracts

        inputs = {name: stage.input(name) for name in EVALUATION.after}
        made = evaluate.run(**inputs, block=stage.block, out=work.out, progress=stage.progress, identity=tracked.identity(stage))
        made.checks.append(contracts.validate(work.out / "calib.parquet", contract.CALIB, "contract_calib"))
        made.checks.append(contracts.validate(work.out / "metrics.parquet", contract.METRICS, "contract_metrics"))
        return made

    return shared.finish(stage, make, log=tracked.log_evaluation)


@dg.asset(**REPORT.options(PARTS, kinds={"html", "mlflow"}))
def report(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """One self-contained page: verdict, claims, numbers, pictures, how it works, data, cost, provenance (section 11)."""
    stage = REPORT.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import report as science

        inputs = {name: stage.input(name) for name in REPORT.after}
        files = tracked.data_root(stage, stage.manifest("dataset").facts["root"])
        return science.run(inputs, stage.block, work.out, tracked.provenance_of(stage), stage.progress, files)

    return shared.finish(stage, make, log=tracked.log_report)


@dg.asset(
    **CHAMPION.options(PARTS, kinds={"mlflow"}),
    check_specs=CHAMPION.checks(PARTS, claims={"drift": "The champion calibrates the scenes of today as well as those it was judged on."}),
)
def champion(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Registers the start systems and moves the alias only if the contracts held and the headline gains enough on the same scenes."""
    stage = tracked.begin_champion(CHAMPION, context, home, config)

    def make(work: Working) -> Made:
        from tenfold.autocalibration import metrics, rescore

        return tracked.promote(stage, work.out, metrics.HEADLINE, rescore)

    return shared.finish(stage, make)


ASSETS = [dataset, features, taxonomy, model, baselines, evaluation, report, champion]

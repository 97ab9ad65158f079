"""Crossmodal feature mapping (CFM, CVPR 2024), asset by asset: from raw RGB + 3D scans to a registered champion."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets import shared, tracked
from assets.shared import Home, Overrides, Stage, Step
from tenfold.core.stage import Made
from tenfold.core.store import Manifest, Working
from tenfold.crossmodal_anomaly import config as blocks
from tenfold.crossmodal_anomaly.claims import STATEMENTS

PAPER = "crossmodal_anomaly"
PARTS = shared.partitions(PAPER)

DATASET = Step(PAPER, "dataset", "tenfold.crossmodal_anomaly.data", blocks.Dataset)
PREPARED = Step(PAPER, "prepared", "tenfold.crossmodal_anomaly.prepare", blocks.Prepared, ("dataset",))
FEATURES = Step(PAPER, "features", "tenfold.crossmodal_anomaly.features", blocks.Features, ("prepared",))
MODEL = Step(PAPER, "model", "tenfold.crossmodal_anomaly.train", blocks.Model, ("features",))
BASELINES = Step(PAPER, "baselines", "tenfold.crossmodal_anomaly.baselines", blocks.Baselines, ("features",))
EVALUATION = Step(
    PAPER, "evaluation", "tenfold.crossmodal_anomaly.evaluate", blocks.Evaluation, ("prepared", "features", "model", "baselines")
)
REPORT = Step(
    PAPER,
    "report",
    "tenfold.crossmodal_anomaly.report",
    blocks.Report,
    ("dataset", "prepared", "features", "model", "baselines", "evaluation"),
)
CHAMPION = Step(
    PAPER, "champion", "tenfold.crossmodal_anomaly.rescore", blocks.Champion, ("dataset", "prepared", "features", "model", "evaluation")
)
STEPS = [DATASET, PREPARED, FEATURES, MODEL, BASELINES, EVALUATION, REPORT, CHAMPION]


def how_it_is_served(stage: Stage) -> dict[str, Any]:
    """What a predictor holds besides its network: other numbers upstream make another model, even where the features agree."""
    found = tracked.lineage(stage)
    return {
        "blocks": {name: found[name].block for name in ("prepared", "features")},
        "xyz_scale": found["dataset"].facts.get("xyz_scale", 1.0),
    }


def weights_there(block: blocks.Features, folder: Path) -> None:
    """The weights that the user brings, before hours of preparation; extractors of the demo bring their own."""
    brought = [(name, entry) for name, entry in ((block.extractor_2d, block.weights_2d), (block.extractor_3d, block.weights_3d)) if entry]
    if brought:
        from tenfold.crossmodal_anomaly import weights

        for name, entry in brought:
            weights.user(folder, entry, name)


@dg.asset(
    **DATASET.options(PARTS, kinds={"dvc", "parquet", "greatexpectations"}, pool="dvc"),
    check_specs=DATASET.checks(PARTS, contracts={"contract_samples": "The table of samples keeps its contract."}),
)
def dataset(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Verified table of this unit's parts, versioned by DVC; untrusted parts stand in the quarantine with their reason."""
    tracked.ready(FEATURES, context, home, weights_there)
    stage = tracked.begin_dataset(DATASET, context, home, config)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import contract, data
        from tenfold.ops import contracts

        made = data.take(stage.settings.root / "data" / PAPER / stage.dataset, stage.unit, work.out)
        made.checks.append(
            contracts.validate(
                contract.samples(work.out, tracked.data_root(stage, made.facts["root"])), contract.SAMPLES, "contract_samples"
            )
        )
        return made

    return shared.finish(stage, make)


@dg.asset(
    **PREPARED.options(PARTS, kinds={"numpy", "greatexpectations"}),
    check_specs=PREPARED.checks(PARTS, contracts={"contract_prepared": "The prepared scans keep their contract."}),
)
def prepared(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Background plane removed, largest cluster kept, all three images squared and brought to one grid (section 2.1)."""
    stage = PREPARED.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import contract, prepare
        from tenfold.ops import contracts

        facts = stage.manifest("dataset").facts
        files = tracked.data_root(stage, facts["root"])
        made = prepare.run(stage.input("dataset"), files, stage.block, work.out, stage.progress, xyz_scale=facts["xyz_scale"])
        made.checks.append(contracts.validate(work.out / "prep.parquet", contract.PREPARED, "contract_prepared"))
        return made

    return shared.finish(stage, make)


@dg.asset(**FEATURES.options(PARTS, kinds={"torch", "safetensors"}, pool="gpu"))
def features(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Compact tokens of the two frozen extractors and the sparse operators that spread them on the grid (section 2.2)."""
    stage = FEATURES.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import features as science
        from tenfold.ops import launch

        stage.made_with = launch.made_with(stage.settings)
        return science.run(
            stage.input("prepared"), stage.block, stage.settings.root / "data" / "weights" / PAPER, work.out, stage.progress,
            each=launch.each(stage.settings),
        )  # fmt: skip

    return shared.finish(stage, make)


@dg.asset(**MODEL.options(PARTS, kinds={"torch", "mlflow"}, pool="gpu"))
def model(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Two mappers a seed and a variant, trained on good parts only, and their thresholds from held-out good parts (2.3)."""
    stage = MODEL.begin(context, home, config, extra=how_it_is_served)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import train
        from tenfold.crossmodal_anomaly.predictor_folder import Serving
        from tenfold.ops import launch

        made_from = tracked.lineage(stage)
        serving = Serving(
            blocks.Prepared(**made_from["prepared"].block),
            blocks.Features(**made_from["features"].block),
            made_from["dataset"].facts["xyz_scale"],
            stage.settings.root / "data" / "weights" / PAPER,
        )
        stage.made_with = launch.made_with(stage.settings)
        with tracked.training(stage) as run:
            return launch.run(
                stage.settings, train.run, features=stage.input("features"), block=stage.block, out=work.out, scratch=work.scratch,
                progress=stage.progress, journal=run.journal("model", stage.block.seeds[0]), serving=serving,
            )  # fmt: skip

    def log(stage: Stage, manifest: Manifest) -> None:
        from tenfold.crossmodal_anomaly.retell import retell

        tracked.log_training(stage, manifest, retell)

    return shared.finish(stage, make, log=log)


@dg.asset(**BASELINES.options(PARTS, kinds={"numpy"}))
def baselines(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Memory banks, a Gaussian per pixel and linear maps, fitted on the same cached features (section 6)."""
    stage = BASELINES.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import baselines as science

        return science.run(stage.input("features"), stage.block, work.out, stage.progress)

    return shared.finish(stage, make)


@dg.asset(
    **EVALUATION.options(PARTS, kinds={"torch", "mlflow"}),
    check_specs=EVALUATION.checks(
        PARTS,
        contracts={
            "contract_scores": "Finite scores, one row a part and method.",
            "contract_metrics": "The table of metrics keeps its contract.",
        },
        claims=STATEMENTS,
    ),
)
def evaluation(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Every method on the same parts, exact AUPRO, and the paper's claims judged on these numbers (sections 7 and 8)."""
    stage = EVALUATION.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import contract, evaluate
        from tenfold.ops import contracts

        made = evaluate.run(
            prepared=stage.input("prepared"), features=stage.input("features"), model=stage.input("model"),
            baselines=stage.input("baselines"), block=stage.block, out=work.out, progress=stage.progress, identity=tracked.identity(stage),
        )  # fmt: skip
        made.checks.append(contracts.validate(work.out / "scores.parquet", contract.SCORES, "contract_scores"))
        made.checks.append(contracts.validate(work.out / "metrics.parquet", contract.METRICS, "contract_metrics"))
        return made

    return shared.finish(stage, make, log=tracked.log_evaluation)


@dg.asset(**REPORT.options(PARTS, kinds={"html", "mlflow"}))
def report(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """One self-contained page: verdict, claims, numbers, pictures, how it works, data, cost, provenance (section 11)."""
    stage = REPORT.begin(context, home, config)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import report as science

        inputs = {name: stage.input(name) for name in REPORT.after}
        return science.run(inputs, stage.block, work.out, tracked.provenance_of(stage), stage.progress)

    return shared.finish(stage, make, log=tracked.log_report)


@dg.asset(
    **CHAMPION.options(PARTS, kinds={"mlflow"}),
    check_specs=CHAMPION.checks(PARTS, claims={"drift": "The champion scores new good parts as it scored those it was calibrated on."}),
)
def champion(context: dg.AssetExecutionContext, config: Overrides, home: Home) -> dg.MaterializeResult:
    """Registers the model and moves the alias only if the contracts held and the headline gains enough on the same samples."""
    stage = tracked.begin_champion(CHAMPION, context, home, config)

    def make(work: Working) -> Made:
        from tenfold.crossmodal_anomaly import metrics, rescore

        return tracked.promote(stage, work.out, metrics.HEADLINE, rescore, stage.manifest("dataset").facts["xyz_scale"])

    return shared.finish(stage, make)


ASSETS = [dataset, prepared, features, model, baselines, evaluation, report, champion]

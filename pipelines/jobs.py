"""One job a paper, whose launchpad shows every number of the partition's recipe."""

from types import ModuleType
from typing import Any

import dagster as dg

from assets import shared
from tenfold.core import params

SCOREBOARD = "update_scoreboard"


def op_name(paper: str, asset: str) -> str:
    """Dagster's name of the op behind an asset."""
    return f"{paper}__{asset}"


def recipe_config(paper: str, partition: str, assets: set[str]) -> dict[str, Any]:
    """Run config that spells out the partition's recipe, so that the launchpad has something to change."""
    tree = params.load(shared.root())
    recipe = params.datasets(tree, paper)[params.split_partition(partition)[0]].recipe
    blocks = tree[paper]["recipes"][recipe]
    named = {name: dict(values) for name, values in blocks.items() if name in assets and name != "dataset"}
    return {"ops": {op_name(paper, name): {"config": {"overrides": values}} for name, values in named.items()}}


def paper_job(paper: str, module: ModuleType) -> Any:
    """The whole spine of one paper over its partitions."""
    names = {asset.key.path[-1] for asset in module.ASSETS}
    config = dg.PartitionedConfig(partitions_def=module.PARTS, run_config_for_partition_key_fn=lambda key: recipe_config(paper, key, names))
    return dg.define_asset_job(
        paper, selection=dg.AssetSelection.groups(paper), partitions_def=module.PARTS, config=config,
        description=f"Everything of {paper}: dataset, features, model, evaluation, report, champion. Change numbers under `overrides`.",
    )  # fmt: skip


def scoreboard_job() -> Any:
    """The gather over all papers and partitions; a job may not have the name of an asset's op."""
    return dg.define_asset_job(
        SCOREBOARD, selection=dg.AssetSelection.assets(["scoreboard"]), description="Compare all papers and partitions."
    )

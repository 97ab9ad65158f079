"""The one gather over all papers and partitions."""

from types import ModuleType
from typing import Any

import dagster as dg

from assets import shared
from assets.shared import Home
from tenfold.core import code
from tenfold.core.errors import TenfoldError


def automation() -> Any:
    """After any new evaluation, once nothing upstream is running; `eager()` would wait for every partition."""
    condition = dg.AutomationCondition
    fresh = condition.any_deps_updated().since(condition.newly_requested() | condition.newly_updated())
    return fresh & ~condition.any_deps_in_progress() & ~condition.in_progress()


def scoreboard_of(papers: dict[str, ModuleType]) -> dg.AssetsDefinition:
    """The scoreboard asset over the evaluations of these papers."""

    @dg.asset(
        key=["scoreboard"], group_name="scoreboard", kinds={"parquet", "html"}, owners=["team:tenfold"], automation_condition=automation(),
        tags={"tenfold/stage": "scoreboard"}, code_version=code.version("tenfold.ops.scoreboard")[:16],
        deps=[dg.AssetDep(dg.AssetKey([name, "evaluation"]), partition_mapping=dg.AllPartitionMapping()) for name in papers],
    )  # fmt: skip
    def scoreboard(context: dg.AssetExecutionContext, home: Home) -> dg.MaterializeResult:
        """All papers and partitions side by side: measured against the paper's figure, claims, cost; a page a dataset."""
        from tenfold.ops import scoreboard as gather

        partitions = {name: list(module.PARTS.get_partition_keys()) for name, module in papers.items()}
        try:
            board = gather.update(home.settings(), partitions, context.run_id)
        except TenfoldError as error:
            raise shared.as_failure(error) from error
        metadata = {note.label: shared.value_of(note) for note in board.notes}
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(board.digest))

    return scoreboard

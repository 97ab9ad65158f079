"""`tenfold run`: one process, one Dagster run a partition, live progress, a table at the end."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.targets import Target, nearest, targets
from tenfold.core.errors import UsageError
from tenfold.ops import home
from tenfold.ops.settings import Settings, load


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `run`."""
    parser.add_argument("target", nargs="?", metavar="PAPER[.PARTITION]", help="bare: the demo of every paper, then the scoreboard")
    parser.add_argument("--to", metavar="ASSET", help="stop after this asset (what it needs is made as well)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="ASSET.NAME=VALUE", help="replace one number in this run: model.lr=3.0e-4"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be recomputed and why; change nothing")


@dataclass
class Outcome:
    """What one Dagster run came to."""

    target: Target
    seconds: float
    made: list[str]
    unchanged: list[str]
    error: str = ""
    stopped: bool = False


def main(args: argparse.Namespace) -> int:
    """Run the targets, print the table."""
    settings = load()
    wanted = targets(args.target, settings.root)
    overrides = parse_overrides(args.set)
    if args.dry_run:
        from pipelines.dry_run import explain

        for target in wanted:
            print(explain(settings, target, overrides, args.to))
        return 0
    started = time.perf_counter()
    home.ensure(settings)
    outcomes = execute(settings, wanted, overrides, args.to)
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed and not args.to:
        scoreboard(settings)
    from pipelines.summary import summary

    print(summary(settings, outcomes, time.perf_counter() - started))
    for outcome in failed:
        print(f"\n{outcome.target}: {outcome.error}", file=sys.stderr)
    if any(outcome.stopped for outcome in failed):
        return 75
    return 1 if failed else 0


def parse_overrides(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`model.lr=3.0e-4` as {"model": {"lr": 0.0003}}; `1e-3` counts as a number here."""
    found: dict[str, dict[str, Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        asset, dot, number = name.partition(".")
        if not (equals and dot and asset and number):
            raise UsageError(f"--set {word}: write ASSET.NAME=VALUE, for example --set model.lr=3.0e-4.")
        value = yaml.safe_load(text)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = text
        found.setdefault(asset, {})[number] = value
    return found


def execute(settings: Settings, wanted: Sequence[Target], overrides: dict[str, dict[str, Any]], to: str | None) -> list[Outcome]:
    """Each partition as one Dagster run in this process; the first failure or stop does not hide what came before."""
    import dagster as dg

    from assets import shared
    from pipelines.definitions import defs
    from tenfold.core.progress import TerminalSink

    os.environ["DAGSTER_HOME"] = str(settings.home / "dagster")
    os.environ["TENFOLD_ROOT"], os.environ["TENFOLD_HOME"] = str(settings.root), str(settings.home)
    definitions = defs()
    shared.progress_sinks[:] = [TerminalSink(sys.stderr)]
    outcomes: list[Outcome] = []
    with dg.DagsterInstance.get() as instance:
        for target in wanted:
            outcome = run_one(definitions, instance, target, overrides, to)
            outcomes.append(outcome)
            if outcome.stopped:
                break
    return outcomes


def run_one(definitions: Any, instance: Any, target: Target, overrides: dict[str, dict[str, Any]], to: str | None) -> Outcome:
    """One partition."""
    import dagster as dg

    from pipelines.jobs import op_name

    job = definitions.resolve_job_def(target.paper)
    graph = definitions.resolve_asset_graph()
    names = {key.path[-1]: key for key in graph.get_all_asset_keys() if key.path[0] == target.paper}
    for asset in [*overrides, *([to] if to else [])]:
        if asset not in names:
            raise UsageError(f"{target.paper} has no asset `{asset}`{nearest(asset, sorted(names))}. Assets: {', '.join(sorted(names))}.")
    selection = None
    if to:
        selection = list(dg.AssetSelection.assets(names[to]).upstream().resolve(graph))
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if overrides:
        config["ops"] = {op_name(target.paper, asset): {"config": {"overrides": values}} for asset, values in overrides.items()}
    started = time.perf_counter()
    result = job.execute_in_process(
        instance=instance,
        partition_key=target.partition,
        run_config=config,
        asset_selection=selection,
        raise_on_error=False,
        tags={"tenfold/trigger": "cli"},
    )
    made: list[str] = []
    unchanged: list[str] = []
    for event in result.all_events:
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            hit = str(materialization.metadata["cache"].value).startswith("hit") if "cache" in materialization.metadata else False
            (unchanged if hit else made).append(materialization.asset_key.path[-1])
    error, stopped = ("", False) if result.success else explain_failure(result)
    return Outcome(target, time.perf_counter() - started, made, unchanged, error, stopped)


def explain_failure(result: Any) -> tuple[str, bool]:
    """The failed step in the user's words; a traceback only for what we did not foresee."""
    contracts = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
        and event.event_specific_data.blocking
        and not event.event_specific_data.passed
    ]
    if contracts:
        lines = [f"{check.asset_key.path[-1]}: {check.check_name}: {check.description}" for check in contracts]
        return "\n".join(
            [*lines, "The table of the check is in the Dagster UI. What was made is kept, but nothing goes on from it."]
        ), False
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            user = data.user_failure_data
            if user is not None and user.metadata and "tenfold" in user.metadata:
                return f"{event.step_key.split('__')[-1]}: {user.description}", user.metadata["tenfold"].value == "stopped"
            return f"{event.step_key}: {data.error.to_string() if data.error else 'failed'}", False
    return "the run failed; see its log in the Dagster UI.", False


def scoreboard(settings: Settings) -> None:
    """Gather all papers and partitions."""
    import dagster as dg

    from pipelines.definitions import defs

    with dg.DagsterInstance.get() as instance:
        defs().resolve_job_def("scoreboard").execute_in_process(
            instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}, raise_on_error=True
        )


def report_path(settings: Settings, target: Target) -> Path | None:
    """The report of what is current, if there is one."""
    from tenfold.core.store import Store

    store = Store(settings.home)
    pointer = store.current(target.paper, target.partition, "report")
    return store.folder(target.paper, "report", pointer.key) / "report.html" if pointer else None

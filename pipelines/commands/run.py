"""`tenfold run`: one process, one Dagster run a partition, live progress, a table at the end."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from pipelines.papers import modules
from pipelines.targets import Target, check_words, targets
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
    for target in wanted:
        check_words(target, settings.root, modules()[target.paper].STEPS, overrides, args.to)
    if args.dry_run:
        from pipelines.dry_run import explain

        print("\n\n".join(explain(settings, target, overrides, args.to) for target in wanted))
        return 0
    started = time.perf_counter()
    stop_on_sigterm()
    home.ensure(settings)
    outcomes, board = execute(settings, wanted, overrides, args.to)
    failed = [outcome for outcome in outcomes if outcome.error]
    from pipelines.summary import summary

    print(summary(settings, outcomes, time.perf_counter() - started), flush=True)
    for line in [*(f"{outcome.target}: {outcome.error}" for outcome in failed), *([board] if board else [])]:
        print(f"\n{line}", file=sys.stderr)
    if any(outcome.stopped for outcome in failed):
        return 75
    return 1 if failed or board else 0


def stop_on_sigterm() -> None:
    """SIGTERM ends like Ctrl-C wherever Dagster has not put its own handler."""

    def interrupted(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)


def parse_overrides(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`model.lr=3.0e-4` as {"model": {"lr": 0.0003}}; `1e-3` counts as a number here."""
    found: dict[str, dict[str, Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        asset, dot, number = name.partition(".")
        if not (equals and dot and asset and number):
            raise UsageError(f"--set {word}: write ASSET.NAME=VALUE, for example --set model.lr=3.0e-4.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--set {word}: `{text}` cannot be read; lists are written [1, 2], text as it is.") from None
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = text
        found.setdefault(asset, {})[number] = value
    return found


def execute(
    settings: Settings, wanted: Sequence[Target], overrides: dict[str, dict[str, Any]], to: str | None
) -> tuple[list[Outcome], str]:
    """Each partition as one Dagster run in this process; the first failure or stop does not hide what came before.

    Then, if all went well and to their end, the scoreboard. Returns the outcomes, and why the scoreboard failed, empty if it did not.
    """
    import dagster as dg

    from assets import shared
    from pipelines.definitions import defs
    from pipelines.recovery import end_dead
    from tenfold.core.progress import TerminalSink

    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ["TENFOLD_ROOT"], os.environ["TENFOLD_HOME"] = str(settings.root), str(settings.home)
    definitions = defs()
    shared.progress_sinks[:] = [TerminalSink(sys.stderr)]
    outcomes: list[Outcome] = []
    with dg.DagsterInstance.get() as instance:
        # a run that was killed holds its pools: ours would wait for ever
        for line in end_dead(instance):
            print(line, file=sys.stderr)
        for target in wanted:
            outcome = run_one(definitions, instance, target, overrides, to)
            stop_on_sigterm()  # Dagster leaves its own handler behind
            outcomes.append(outcome)
            if outcome.stopped:
                break
        failed = any(outcome.error for outcome in outcomes)
        return outcomes, "" if failed or to else scoreboard(definitions, instance)


def run_one(definitions: Any, instance: Any, target: Target, overrides: dict[str, dict[str, Any]], to: str | None) -> Outcome:
    """One partition."""
    import dagster as dg

    from pipelines.jobs import op_name
    from pipelines.recovery import owner_tags

    job = definitions.resolve_job_def(target.paper)
    selection = None
    if to:
        selection = list(dg.AssetSelection.assets([target.paper, to]).upstream().resolve(definitions.resolve_asset_graph()))
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
        tags={"tenfold/trigger": "cli", **owner_tags()},
    )
    made: list[str] = []
    unchanged: list[str] = []
    for event in result.all_events:
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            hit = str(materialization.metadata["cache"].value).startswith("hit")
            (unchanged if hit else made).append(materialization.asset_key.path[-1])
    error, stopped = ("", False) if result.success else explain_failure(result, target)
    return Outcome(target, time.perf_counter() - started, made, unchanged, error, stopped)


def explain_failure(result: Any, target: Target) -> tuple[str, bool]:
    """The failed step in the user's words, and whether it was only stopped; a traceback only for what we did not foresee."""
    from dagster import AssetCheckSeverity
    from dagster._core.events import RunFailureReason

    contracts = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
        and event.event_specific_data.blocking
        and event.event_specific_data.severity == AssetCheckSeverity.ERROR  # a warning stops nothing
        and not event.event_specific_data.passed
    ]
    if contracts:
        return "\n".join([*(line for check in contracts for line in broken_contract(check)), cure(target)]), False
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            asset = event.step_key.split("__")[-1]
            user = data.user_failure_data
            if user is not None and user.metadata and "tenfold" in user.metadata:
                return f"{asset}: {user.description}", user.metadata["tenfold"].value == "stopped"
            if data.error is not None and data.error.cls_name == "DagsterExecutionInterruptedError":
                return f"{asset}: stopped. Finished work is kept; the same command goes on from here.", True
            return f"{asset}: {data.error.to_string() if data.error else 'failed'}", False
    for event in result.all_events:
        if event.is_run_failure and event.job_failure_data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION:
            return "stopped between two assets. Finished work is kept; the same command goes on from here.", True
    return "the run failed; see its log in the Dagster UI.", False


def broken_contract(check: Any) -> list[str]:
    """The contract's name, then a line a broken rule with the ids that break it."""
    rules = check.metadata.get("rules")
    broken = [record.data for record in rules.records if not record.data["passed"]] if rules is not None else []
    lines = [f"{rule['says']} ({rule['column']}): {rule['unexpected']} {rule['examples']}".rstrip(" :") for rule in broken]
    return [f"{check.asset_key.path[-1]}: the contract `{check.check_name}` failed. {check.description}", *(f"  {line}" for line in lines)]


def cure(target: Target) -> str:
    """What to do about a contract that failed."""
    dataset = target.partition.partition(".")[0]
    return (
        "What was made is kept for a look but is not current: nothing goes on from it, the last good output stays.\n"
        f"Correct the data (`tenfold datasets check {target.paper} {dataset}` looks at its source) or the numbers in params.yaml, "
        f"then `tenfold run {target}`."
    )


def scoreboard(definitions: Any, instance: Any) -> str:
    """Gather all papers and partitions; why it failed, empty if it did not."""
    from pipelines.jobs import SCOREBOARD
    from pipelines.recovery import owner_tags

    result = definitions.resolve_job_def(SCOREBOARD).execute_in_process(
        instance=instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
        tags={"tenfold/trigger": "cli", **owner_tags()},
    )
    return "" if result.success else explain_failure(result, Target("scoreboard", "all"))[0]


def report_path(settings: Settings, target: Target) -> Path | None:
    """The report of what is current, if there is one."""
    from tenfold.core.store import Store

    store = Store(settings.home)
    pointer = store.current(target.paper, target.partition, "report")
    return store.folder(target.paper, "report", pointer.key) / "report.html" if pointer else None

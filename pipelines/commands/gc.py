"""`tenfold gc`: what takes the disk, and what of it nobody needs."""

import argparse
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pipelines.papers import PAPERS
from pipelines.summary import columns
from tenfold.core.store import Store
from tenfold.ops import registry
from tenfold.ops.settings import Settings, load

Output = tuple[str, str, str]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `gc`."""
    parser.add_argument("--delete", action="store_true", help="free what is not in use (without it: only show)")
    parser.add_argument(
        "--runs-older-than", type=int, metavar="DAYS", help="with --delete: also delete Dagster's finished runs older than this"
    )


def main(args: argparse.Namespace) -> int:
    """Show; with --delete, free."""
    settings = load()
    store = Store(settings.home)
    used = in_use(settings, store)
    rows: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    unused = []
    for entry in store.entries():
        row = rows[entry.paper, entry.asset]
        keep = (entry.paper, entry.asset, entry.key) in used
        row[0 if keep else 2] += 1
        row[1 if keep else 3] += entry.bytes
        if not keep:
            unused.append(entry)
    table = [["paper", "asset", "in use", "MiB", "not in use", "MiB"]]
    table += [
        [paper, asset, str(a), f"{b / 2**20:.1f}", str(c), f"{d / 2**20:.1f}"] for (paper, asset), (a, b, c, d) in sorted(rows.items())
    ]
    left = list(store.unfinished())
    corrupt = settings.home / "work" / "corrupt"
    damaged = sum(path.stat().st_size for path in corrupt.rglob("*") if path.is_file())
    table.append(["-", "unfinished work", "", "", str(len(left)), f"{sum(entry.bytes for entry in left) / 2**20:.1f}"])
    if damaged:
        table.append(["-", "damaged, set aside", "", "", "", f"{damaged / 2**20:.1f}"])
    print("\n".join(columns(table)))
    print("In use: what is current, what it was made from, and what a champion was made from. DVC's cache is DVC's: `dvc gc -w`.")
    if not args.delete:
        return 0
    freed = damaged
    for entry in unused:
        store.remove(entry.paper, entry.asset, entry.key)
        store.discard(entry.paper, entry.asset, entry.key)
        freed += entry.bytes
    for entry in left:
        if store.discard(entry.paper, entry.asset, entry.key):
            freed += entry.bytes
        else:
            print(f"kept {entry.paper}/{entry.asset} {entry.key}: a run is working on it")
    shutil.rmtree(corrupt, ignore_errors=True)
    print(f"freed {freed / 2**20:.1f} MiB")
    if args.runs_older_than is not None:
        print(f"deleted {delete_runs(settings, args.runs_older_than)} finished Dagster run(s)")
    return 0


def in_use(settings: Settings, store: Store) -> set[Output]:
    """Keys that are current or a champion's, and everything upstream of them."""
    roots: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for paper, _, asset, pointer in store.pointers():
        roots[paper].append((asset, pointer.key))
    for paper in PAPERS:
        for name in registry.champions(settings, paper):
            if champion := registry.peek(settings, name):
                roots[paper].append(("model", champion[1]))
    # where a manifest is damaged, what it was made from is unknown: the next run makes both again
    return {(paper, asset, key) for paper, outputs in roots.items() for asset, key in store.lineage(paper, *outputs)}


def delete_runs(settings: Settings, days: int) -> int:
    """Finished runs and their events; assets keep their latest state."""
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    import dagster as dg

    before = datetime.now(UTC) - timedelta(days=days)
    done = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(filters=dg.RunsFilter(statuses=done, created_before=before))
        for run in runs:
            instance.delete_run(run.run_id)
    return len(runs)

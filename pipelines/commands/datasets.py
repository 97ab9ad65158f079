"""`tenfold datasets`: what there is; `tenfold datasets check PAPER DATASET`: verify a folder before any training."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pipelines.papers import PAPERS
from pipelines.summary import columns
from pipelines.targets import paper_named
from tenfold.core import params
from tenfold.core.errors import UsageError
from tenfold.ops import dvc
from tenfold.ops.settings import Settings, load


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `datasets`."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[PAPER] | check PAPER DATASET",
        help="DATASET: a name in params.yaml, or a folder that is not there yet",
    )


def main(args: argparse.Namespace) -> int:
    """List, or check."""
    settings = load()
    if args.words[:1] == ["check"]:
        if len(args.words) != 3:
            raise UsageError("write `tenfold datasets check PAPER DATASET`; DATASET is a name in params.yaml or a folder.")
        return check(settings, paper_named(args.words[1]), args.words[2])
    if len(args.words) > 1:
        raise UsageError("write `tenfold datasets [PAPER]` or `tenfold datasets check PAPER DATASET`.")
    papers = [paper_named(args.words[0])] if args.words else PAPERS
    print(listing(settings, papers))
    return 0


def listing(settings: Settings, papers: Sequence[str]) -> str:
    """A row a dataset: where it comes from, whether it is there, its version."""
    tree = params.load(settings.root)
    rows = [["paper", "dataset", "recipe", "units", "source", "there", "version"]]
    for paper in papers:
        for name, dataset in params.datasets(tree, paper).items():
            there = (settings.root / dataset.source).exists()
            version = dvc.locked(f"{paper}@{name}", settings.root)
            rows.append(
                [paper, name, dataset.recipe, str(len(dataset.units)), dataset.source, "yes" if there else "no", (version or "-")[:12]]
            )
    hint = "Your own data: add a block to params.yaml (print one with `tenfold datasets check PAPER FOLDER`).\nA running Dagster UI needs Deployment > tenfold > Reload definitions after an edit."
    return "\n".join([*columns(rows), "", hint])


def check(settings: Settings, paper: str, word: str) -> int:
    """A report of what the folder holds; 1 when it cannot be used."""
    data = import_module(f"tenfold.{paper}.data")
    known = params.datasets(params.load(settings.root), paper)
    if word in known:
        report = data.check(settings.root, word)
    elif Path(word).is_dir():
        report = data.check_folder(Path(word).absolute(), root=settings.root)
    else:
        raise UsageError(f"`{word}` is neither a dataset of {paper} ({', '.join(known)}) nor a folder.")
    print(report.text)
    if report.block:
        print(f"\nBlock for params.yaml, under {paper}: datasets:\n\n{report.block}")
        print("A running Dagster UI then needs Deployment > tenfold > Reload definitions.")
    return 0 if report.ok else 1

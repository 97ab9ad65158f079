"""`tenfold report PAPER.PARTITION`: where the page is."""

import argparse
from collections.abc import Sequence

from pipelines.commands.run import report_path
from pipelines.targets import targets
from tenfold.core.errors import TenfoldError
from tenfold.ops.settings import load


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `report`."""
    parser.add_argument("target", metavar="PAPER.PARTITION")


def main(args: argparse.Namespace) -> int:
    """Print the path, a line a partition."""
    settings = load()
    for target in targets(args.target, settings.root):
        path = report_path(settings, target)
        if path is None:
            raise TenfoldError(f"{target} has no report yet. Make it with `tenfold run {target}`.")
        print(path)
    return 0

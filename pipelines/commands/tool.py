"""`tenfold tool PAPER NAME ...`: what a paper offers beyond the common commands."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from pipelines.papers import PAPERS
from pipelines.targets import paper_named
from tenfold.core.errors import UsageError
from tenfold.core.params import did_you_mean


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `tool`."""
    parser.add_argument("paper", metavar="PAPER", help=", ".join(PAPERS))
    parser.add_argument("name", nargs="?", metavar="NAME", help="bare: list the paper's tools")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...")


def main(args: argparse.Namespace) -> int:
    """Call `tenfold.<paper>.tools.TOOLS[name](arguments)`."""
    paper = paper_named(args.paper)
    found = find_spec(f"tenfold.{paper}.tools")
    tools = import_module(f"tenfold.{paper}.tools").TOOLS if found else {}
    if not args.name:
        print(
            "\n".join(f"{name}  {(tool.__doc__ or '').splitlines()[0]}" for name, tool in tools.items())
            or f"{paper} has no tools of its own."
        )
        return 0
    if args.name not in tools:
        raise UsageError(f"{paper} has no tool `{args.name}`{did_you_mean(args.name, tools)}")
    return int(tools[args.name](args.rest))

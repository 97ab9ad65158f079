"""`tenfold predict`: a champion on the user's own files."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pipelines.targets import one, paper_named
from tenfold.core.errors import UsageError
from tenfold.ops import registry
from tenfold.ops.settings import Settings, load


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `predict`; the paper's own come from its `predict.py`."""
    parser.add_argument("target", metavar="PAPER[.PARTITION]", help="the partition may be left out if there is one champion only")
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), metavar="DIR", help="folder for what is written (default ./predictions)"
    )
    named = [word for word in words if not word.startswith("-")][1:2]
    if named:
        paper = paper_named(named[0].partition(".")[0])
        import_module(f"tenfold.{paper}.predict").add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Find the champion, read, predict, write, print a line an input."""
    settings = load()
    paper = paper_named(args.target.partition(".")[0])
    science = import_module(f"tenfold.{paper}.predict")
    name, folder = champion(settings, paper, args.target)
    frame, names = science.read_inputs(args)
    result = science.Predictor.load(folder).predict(frame)
    print(f"{name}")
    print(science.write(result, names, args.out))
    return 0


def champion(settings: Settings, paper: str, word: str) -> tuple[str, Path]:
    """The registered name and the folder of the champion that the word means."""
    if "." in word:
        name = str(one(word, settings.root))
        found = registry.champion(settings, name)
        if found is None:
            raise UsageError(f"{name} has no champion yet. Make one with `tenfold run {name}`.")
        return f"{name} version {found.version}", found.folder
    names = registry.champions(settings, paper)
    if len(names) != 1:
        listed = ", ".join(names) if names else "none yet; make one with `tenfold run " + paper + "`"
        raise UsageError(f"name the partition: champions of {paper} are {listed}.")
    return champion(settings, paper, names[0])

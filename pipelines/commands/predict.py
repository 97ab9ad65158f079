"""`tenfold predict`: a champion on the user's own files."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pipelines.targets import one, paper_named
from tenfold.core.errors import UsageError
from tenfold.core.progress import Progress, TerminalSink
from tenfold.ops import registry
from tenfold.ops.settings import Settings, load

OUT = "predictions"


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `predict`; the paper's own come from its `predict.py`."""
    parser.add_argument("target", metavar="PAPER[.PARTITION]", help="the partition may be left out if there is one champion only")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder for what is written (default ./{OUT}); a file where a paper streams"
    )
    named = [word for word in words if not word.startswith("-")][1:2]
    if named:
        paper = paper_named(named[0].partition(".")[0])
        import_module(f"tenfold.{paper}.predict").add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Find the champion, read, predict, write, print a line an input.

    A paper whose `predict.py` has `streaming(args)` may answer while it still reads: what that returns takes the predictor's folder and runs
    to the stream's end. Standard output is the stream's then.
    """
    settings = load()
    paper = paper_named(args.target.partition(".")[0])
    science = import_module(f"tenfold.{paper}.predict")
    stream = getattr(science, "streaming", lambda _: None)(args)
    name, folder = champion(settings, paper, args.target)
    if stream is not None:
        print(name, file=sys.stderr)
        return int(stream(folder))
    # of what takes long before there is an answer, such as matching photographs
    args.progress = Progress(TerminalSink(sys.stderr))
    frame, names = science.read_inputs(args)
    result = science.Predictor.load(folder).predict(frame)
    print(f"{name}")
    print(science.write(result, names, args.out or Path(OUT)))
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

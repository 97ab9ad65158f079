"""`tenfold env`: `eval "$(tenfold env)"` makes plain dagster, mlflow and dvc see the same home."""

import argparse
import shlex
from collections.abc import Sequence

from tenfold.ops import home
from tenfold.ops.settings import load


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """No arguments."""


def main(args: argparse.Namespace) -> int:
    """Print export lines for a POSIX shell."""
    settings = load()
    home.ensure(settings)
    for name, value in settings.exports().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0

"""The command `tenfold`. Exit codes: 0 done, 1 failed, 2 wrong use, 75 stopped and resumable."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = {
    "run": "materialize a paper's assets (bare: the demo of every paper, then the scoreboard)",
    "ui": "start the Dagster and MLflow servers on 127.0.0.1",
    "predict": "score your own files with a champion",
    "report": "print where the report of a partition is",
    "datasets": "list datasets, or check a folder before any training",
    "reproduce": "run a registered model again in a fresh home and compare",
    "doctor": "check the installation; end runs that died with their machine",
    "gc": "show and free disk",
    "env": "print the exports with which plain dagster, mlflow and dvc see the same home",
    "tool": "a paper's own tools",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, then import the one command that was asked for."""
    from tenfold.core.disk import unwritable
    from tenfold.core.errors import TenfoldError

    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="tenfold", description="Ten CVPR 2024 papers as living pipelines.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    name = next((word for word in words if not word.startswith("-")), "")
    for command, text in COMMANDS.items():
        sub = commands.add_parser(command, help=text, description=text[0].upper() + text[1:] + ".")
        if command == name:
            importlib.import_module(f"pipelines.commands.{command}").add(sub, words)
    args = parser.parse_args(words)
    try:
        return int(importlib.import_module(f"pipelines.commands.{args.command}").main(args))
    except TenfoldError as error:
        print(f"tenfold {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        problem = unwritable(error, Path(os.environ.get("TENFOLD_HOME") or Path.cwd()))
        if problem is None:
            raise
        print(f"tenfold {args.command}: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print(f"tenfold {args.command}: stopped; the same command goes on from here.", file=sys.stderr)
        return 75


if __name__ == "__main__":
    sys.exit(main())

"""Licences of all installed packages against licences.toml: `python requirements/licences.py [REPORT.csv]`, in the environment to look at.

Prints a line for every package whose licence is not accepted; exit code 1 if there is one.
"""

import csv
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

POLICY = Path(__file__).with_name("licences.toml")
UNKNOWN = "UNKNOWN"
OWN = "tenfold"


def stated(metadata: Any) -> str:
    """What a package's metadata says: its SPDX expression, else its classifiers, else one short line of free text."""
    expression = metadata.get("License-Expression")
    classifiers = [name.split(" :: ")[-1] for name in metadata.get_all("Classifier", []) if name.startswith("License ::")]
    named = [name for name in classifiers if name != "OSI Approved"]
    text = (metadata.get("License") or "").strip()
    short = text if text and "\n" not in text and len(text) < 100 else ""
    return str(expression or "; ".join(named) or short or UNKNOWN)


def installed() -> dict[str, tuple[str, str]]:
    """Version and stated licence of every package of this environment but our own."""
    found = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name != OWN:
            found[name] = (distribution.version, stated(distribution.metadata))
    return dict(sorted(found.items()))


def accepted(name: str, licence: str, policy: Mapping[str, Any]) -> str:
    """Why a package's licence is accepted; empty if it is not.

    Of an expression every part must be allowed, also where it offers a choice: a choice is made by name in the policy.
    """
    for pattern, entry in policy["packages"].items():
        if fnmatch(name, pattern) and licence == entry.get("states", licence):
            return f"{entry['taken']}: {entry['reason']}"
    parts = [{part, part.strip("()")} for part in re.split(r" AND | OR |; ", licence)]
    kinds = [next((kind for kind, names in policy["allowed"].items() if part & set(names)), "") for part in parts]
    return ", ".join(dict.fromkeys(kinds)) if all(kinds) else ""


def surprises(packages: Mapping[str, tuple[str, str]], policy: Mapping[str, Any]) -> list[str]:
    """A line a package that is not accepted, and one an exception that fits none any more."""
    lines = [
        f"{name} {version}: '{licence}' is not accepted. Replace the package, or name it with a reason in {POLICY.name}."
        for name, (version, licence) in packages.items()
        if not accepted(name, licence, policy)
    ]
    gone = [name for name, entry in policy["packages"].items() if "states" in entry and name not in packages]
    return lines + [f"{name}: {POLICY.name} makes an exception for it, but it is not installed. Remove the exception." for name in gone]


def main(words: Iterable[str]) -> int:
    """Judge, and write the report if a path is given."""
    policy = tomllib.loads(POLICY.read_text())
    packages = installed()
    for word in words:
        with Path(word).open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["package", "version", "licence", "accepted as"])
            table.writerows([name, *about, accepted(name, about[1], policy)] for name, about in packages.items())
    lines = surprises(packages, policy)
    print("\n".join(lines) or f"licences: {len(packages)} packages, all accepted")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

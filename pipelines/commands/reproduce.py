"""`tenfold reproduce PAPER.PARTITION[@ALIAS]`: the same model again in a fresh home, compared with the registered one."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.papers import modules
from pipelines.targets import Target, one
from tenfold.core import code, params
from tenfold.core.errors import TenfoldError, UsageError
from tenfold.core.store import Manifest, Store
from tenfold.ops import dvc, provenance, registry
from tenfold.ops.settings import Settings, load


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `reproduce`."""
    parser.add_argument("model", metavar="MODEL[@ALIAS]", help="PAPER.PARTITION, with @champion (the default) or another alias")
    parser.add_argument("--keep", action="store_true", help="keep the fresh home for a look")


@dataclass(frozen=True)
class Lineage:
    """A registered model's manifest and those of all it was made from, the dataset's first."""

    target: Target
    version: str
    manifests: dict[str, Manifest]


def main(args: argparse.Namespace) -> int:
    """0: the same weights; 1: other weights, or code or data differ (then nothing is run)."""
    settings = load()
    name, _, alias = args.model.partition("@")
    lineage = lineage_of(settings, one(name, settings.root), alias or "champion")
    changes = differences(settings, lineage)
    if changes:
        print(f"{lineage.target} version {lineage.version} cannot be run again here as it is:")
        print("\n".join(f"  {line}" for line in changes))
        print("These commands go back to it:\n" + "\n".join(f"  {line}" for line in way_back(lineage)))
        return 1
    print(f"{lineage.target} version {lineage.version}: code and data are the same; running it again in a fresh home ...", flush=True)
    fresh = settings.home / "reproduce" / lineage.manifests["model"].key
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        again = run_again(settings, lineage, fresh)
        return report(lineage.manifests["model"], again)
    finally:
        if not args.keep:
            shutil.rmtree(fresh, ignore_errors=True)


def lineage_of(settings: Settings, target: Target, alias: str) -> Lineage:
    """From the alias to the stored manifests."""
    found = registry.peek(settings, str(target), alias)
    if found is None:
        raise UsageError(f"{target} has no model with the alias `{alias}`. Make one with `tenfold run {target}`.")
    version, key = found
    store = Store(settings.home)
    manifests: dict[str, Manifest] = {}
    for (asset, asset_key), manifest in store.lineage(target.paper, ("model", key)).items():
        if manifest is None:
            raise TenfoldError(
                f"{target} version {version} was made from {asset} {asset_key}, which is no longer in {settings.home / 'store'} (`tenfold gc`?)."
            )
        manifests[asset] = manifest
    return Lineage(target, str(version), manifests)


def differences(settings: Settings, lineage: Lineage) -> list[str]:
    """What of code and data is not as it was; library versions are told, not held against it."""
    steps = {step.name: step for step in modules()[lineage.target.paper].STEPS}
    lines = []
    for name, manifest in lineage.manifests.items():
        now = code.contents(steps[name].entry)
        before: Mapping[str, str] = manifest.facts.get("modules", {})
        changed = sorted(module for module in {*now, *before} if now.get(module) != before.get(module))
        if changed:
            lines.append(f"code of {name}: {', '.join(changed)}")
    lines += numbers(settings, lineage)
    if "dataset" in lineage.manifests:  # a model may rest on no data
        md5 = lineage.manifests["dataset"].facts["dvc_md5"]
        stage = f"{lineage.target.paper}@{lineage.target.partition.partition('.')[0]}"
        locked = dvc.locked(stage, settings.root)
        if locked != md5:
            lines.append(f"data: {stage} is {locked} in dvc.lock, was {md5}")
        elif changes := dvc.changes(stage, settings.root):
            lines.append(f"data: {changes}")
    before_versions = lineage.manifests["model"].versions
    other = [
        f"{name} {before_versions[name]} -> {version}"
        for name, version in provenance.versions().items()
        if before_versions.get(name, version) != version
    ]
    if other:
        print("note: library versions differ, the numbers may move in the last digits: " + ", ".join(other))
    return lines


def numbers(settings: Settings, lineage: Lineage) -> list[str]:
    """Numbers of params.yaml that are others now; those that were overridden are given again."""
    target = lineage.target
    tree = params.load(settings.root)
    recipe = params.datasets(tree, target.paper)[params.split_partition(target.partition)[0]].recipe
    lines = []
    for name, manifest in lineage.manifests.items():
        now = {**params.block(tree, target.paper, recipe, name), **manifest.overrides}
        for number in sorted({*now, *manifest.block}):
            if now.get(number) != manifest.block.get(number):
                lines.append(
                    f"params.yaml: {target.paper}.recipes.{recipe}.{name}.{number} is {now.get(number)}, was {manifest.block.get(number)}"
                )
    return lines


def way_back(lineage: Lineage) -> list[str]:
    """Commands that restore code, data and numbers."""
    model = lineage.manifests["model"]
    commit = model.made_by.get("git_commit", provenance.UNKNOWN)
    stage = f"{lineage.target.paper}@{lineage.target.partition.partition('.')[0]}"
    dirty = "   # the checkout had uncommitted changes then: this is the nearest commit" if model.made_by.get("git_dirty") else ""
    return [
        f"git checkout {commit}{dirty}" if commit != provenance.UNKNOWN else "# made outside git: put the files named above back by hand",
        "make install",
        f"dvc checkout {stage} || dvc pull {stage} || dvc repro {stage}",
        " ".join(["tenfold", *command(lineage)]),
    ]


def command(lineage: Lineage) -> list[str]:
    """`run ... --to model` with the overrides that were used."""
    words = ["run", str(lineage.target), "--to", "model"]
    for name, manifest in lineage.manifests.items():
        for number, value in manifest.overrides.items():
            words += ["--set", f"{name}.{number}={yaml.safe_dump(value, default_flow_style=True).strip().removesuffix('...').strip()}"]
    return words


def run_again(settings: Settings, lineage: Lineage, fresh: Path) -> Manifest:
    """A process of its own with a home of its own; MLflow of that home too."""
    environment: dict[str, Any] = {**os.environ, "TENFOLD_ROOT": str(settings.root), "TENFOLD_HOME": str(fresh)}
    for name in ("TENFOLD_MLFLOW_TRACKING_URI", "TENFOLD_MLFLOW_ARTIFACTS", "MLFLOW_TRACKING_URI", "DAGSTER_HOME"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", *command(lineage)], env=environment, cwd=settings.root, check=False)
    if done.returncode:
        raise TenfoldError(f"running it again failed (exit code {done.returncode}); the message is above.")
    return Store(fresh).open(lineage.target.paper, lineage.target.partition, "model")[1]


def report(before: Manifest, after: Manifest) -> int:
    """The same weights, or which files differ."""
    weights = [name for name in before.files if name.endswith(".safetensors") or (name.startswith("predictor/") and name.endswith(".npz"))]
    different = [name for name in weights if after.files.get(name) != before.files[name]]
    if not different:
        print(f"reproduced: all {len(weights)} weight files are the same, byte for byte")
        return 0
    print(f"NOT reproduced: {len(different)} of {len(weights)} weight files differ: {', '.join(different[:5])}")
    print(f"before: {before.made_by.get('device')}\nnow:    {after.made_by.get('device')}")
    return 1

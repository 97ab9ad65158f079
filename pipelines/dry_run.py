"""What a run would recompute, and why: data, code or a number changed."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.papers import modules
from pipelines.summary import columns
from pipelines.targets import Target
from tenfold.core import code, params
from tenfold.core.store import MANIFEST, Manifest, Store, content_key
from tenfold.ops import dvc
from tenfold.ops.settings import Settings


def explain(settings: Settings, target: Target, overrides: Mapping[str, Mapping[str, Any]], to: str | None) -> str:
    """A row an asset: hit, or recompute and why. Nothing is written and no science is imported."""
    store = Store(settings.home)
    module = modules()[target.paper]
    rows = [["asset", "", "why"]]
    redone: dict[str, str] = {}
    for step in module.STEPS:
        if to and step.name not in closure(module.STEPS, to):
            continue
        why = reason(settings, store, target, step, overrides.get(step.name, {}), redone)
        if why:
            redone[step.name] = why
        rows.append([step.name, "recompute" if why else "hit", why])
    return "\n".join([str(target), *columns(rows)])


def closure(steps: Any, asset: str) -> set[str]:
    """The asset and all that it needs."""
    after = {step.name: step.after for step in steps}
    found, waiting = set(), [asset]
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting += [other for other in after.get(name, ()) if other not in found]
    return found


def reason(settings: Settings, store: Store, target: Target, step: Any, overrides: Mapping[str, Any], redone: Mapping[str, str]) -> str:
    """Empty for a hit."""
    tree = params.load(settings.root)
    dataset, _ = params.split_partition(target.partition)
    recipe = params.datasets(tree, target.paper)[dataset].recipe
    block = params.block(tree, target.paper, recipe, step.name)
    values = asdict(params.resolve(step.block, block, overrides, f"{target.paper}.recipes.{recipe}.{step.name}"))
    pointer = store.current(target.paper, target.partition, step.name)
    path = store.folder(target.paper, step.name, pointer.key) / MANIFEST if pointer else None
    if path is None or not path.exists():
        return "never made" if path is None else "its files are gone"
    old = Manifest.read(path)
    why = [f"{name}: {shown(old.block.get(name))} -> {shown(value)}" for name, value in values.items() if old.block.get(name) != value]
    why += [f"upstream {name} changes" for name in step.after if name in redone]
    for name in step.after:
        now = store.current(target.paper, target.partition, name)
        if name not in redone and now and now.digest != old.upstream.get(name, {}).get("digest"):
            why.append(f"data: {name} is {now.digest[:8]}, was {old.upstream.get(name, {}).get('digest', '')[:8]}")
    content = code.content(step.entry)
    if content != old.code:
        changed = [m for m, sha in module_hashes(step.entry).items() if old.facts.get("modules", {}).get(m) != sha]
        why.append(f"code: {', '.join(changed) or step.entry}")
    if step.name == "dataset":
        stage = f"{target.paper}@{dataset}"
        if dvc.locked(stage, settings.root) != old.facts.get("dvc_md5"):
            why.append("data: dvc.lock has another version")
        elif changes := dvc.changes(stage, settings.root):
            why.append(f"data: {changes}")
    elif not why:
        digests = {name: p["digest"] for name, p in old.upstream.items()}
        key = content_key(target.paper, step.name, digests, values, content, old.facts.get("key_extra"))
        if key != old.key and step.name != "champion":
            why.append("the key differs")
    return "; ".join(why)


def module_hashes(entry: str) -> dict[str, str]:
    """Content hash of each module an entry rests on."""
    return code.contents(entry)


def shown(value: Any) -> str:
    """Short."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

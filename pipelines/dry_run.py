"""What a run would recompute, and why: data, code or a number changed. Writes nothing and imports no science."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.papers import modules
from pipelines.summary import columns
from pipelines.targets import Target, needed
from tenfold.core import code, params
from tenfold.core.errors import Corrupt
from tenfold.core.store import MANIFEST, Manifest, Store
from tenfold.ops import dvc, registry
from tenfold.ops.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """What a run would do with one asset: `manifest` is the stored output it would find, None if it would make one."""

    manifest: Manifest | None
    why: list[str]


def explain(settings: Settings, target: Target, overrides: Mapping[str, Mapping[str, Any]], to: str | None) -> str:
    """A row an asset: hit, or recompute and why."""
    look = _Look(settings, target, overrides)
    steps = modules()[target.paper].STEPS
    for step in steps:
        if not to or step.name in needed(steps, to):
            look.at(step)
    rows = [["asset", "", "why"]]
    rows += [[name, "hit" if verdict.manifest else "recompute", "; ".join(verdict.why)] for name, verdict in look.verdicts.items()]
    return "\n".join([str(target), *columns(rows)])


class _Look:
    """Goes through the assets in order; each rests on what was found for those before it."""

    def __init__(self, settings: Settings, target: Target, overrides: Mapping[str, Mapping[str, Any]]) -> None:
        self._settings = settings
        self._target = target
        self._overrides = overrides
        self._store = Store(settings.home)
        self._tree = params.load(settings.root)
        self._dataset = params.split_partition(target.partition)[0]
        self._recipe = params.datasets(self._tree, target.paper)[self._dataset].recipe
        self._values: dict[str, dict[str, Any]] = {}
        self.verdicts: dict[str, Verdict] = {}

    def at(self, step: Any) -> None:
        """Judge one asset."""
        raw = params.block(self._tree, self._target.paper, self._recipe, step.name)
        where = f"{self._target.paper}.recipes.{self._recipe}.{step.name}"
        self._values[step.name] = asdict(params.resolve(step.block, raw, self._overrides.get(step.name, {}), where))
        content = code.content(step.entry)
        old = self._current(step.name)
        redone = [name for name in step.after if self.verdicts[name].manifest is None]
        why = self._changes(step, old, content) + [f"upstream {name} changes" for name in redone]
        version: str | None = None
        if step.name == "dataset":
            version, news = self._data(old)
            why += news
        found = None
        if not redone and (step.name != "dataset" or version):
            found = next((m for m in self._stored(step.name) if self._fits(step, m, content, version)), None)
        if found is not None and old is not None and found.key != old.key:
            why = [f"made before ({', '.join(why) or 'its key'})"]
        elif found is None and not why:
            why = self._without_change(step, old)
        self.verdicts[step.name] = Verdict(found, why)

    def _current(self, asset: str) -> Manifest | None:
        pointer = self._store.current(self._target.paper, self._target.partition, asset)
        return next((m for m in self._stored(asset) if pointer is not None and m.key == pointer.key), None)

    def _stored(self, asset: str) -> Iterator[Manifest]:
        for path in sorted(self._settings.home.glob(f"store/{self._target.paper}/{asset}/*/{MANIFEST}")):
            try:
                yield Manifest.read(path)
            except Corrupt:
                continue  # a run sets it aside and makes it again

    def _changes(self, step: Any, old: Manifest | None, content: str) -> list[str]:
        """Numbers, upstream data and code against what is current."""
        if old is None:
            return []
        values = self._values[step.name]
        why = [f"{name}: {shown(old.block.get(name))} -> {shown(value)}" for name, value in values.items() if old.block.get(name) != value]
        for name in step.after:
            now, before = self.verdicts[name].manifest, old.upstream.get(name, {}).get("digest", "")
            if now is not None and now.digest != before:
                why.append(f"data: {name} is {now.digest[:8]}, was {before[:8] or 'not used'}")
        if content != old.code:
            now_modules, then = code.contents(step.entry), old.facts.get("modules", {})
            changed = sorted(name for name in {*now_modules, *then} if now_modules.get(name) != then.get(name))
            why.append(f"code: {', '.join(changed) or step.entry}")
        return why

    def _data(self, old: Manifest | None) -> tuple[str | None, list[str]]:
        """Version of the data that a run would use, None if DVC would make another; and what is new about it."""
        stage = f"{self._target.paper}@{self._dataset}"
        locked = dvc.locked(stage, self._settings.root)
        if locked is None:
            return None, ["data: never made"]
        if changes := dvc.changes(stage, self._settings.root):
            return None, [f"data: {changes}"]
        news = [f"data: dvc.lock has {locked[:8]}, in use is {old.facts['dvc_md5'][:8]}"] if old and old.facts["dvc_md5"] != locked else []
        return locked, news

    def _fits(self, step: Any, stored: Manifest, content: str, version: str | None) -> bool:
        """Whether a run would find this output under its content key."""
        digests = {name: verdict.manifest.digest for name, verdict in self.verdicts.items() if name in step.after and verdict.manifest}
        extra = stored.facts.get("key_extra", {})
        same = (
            stored.code == content
            and stored.block == self._values[step.name]
            and {name: pointer["digest"] for name, pointer in stored.upstream.items()} == digests
            and all(self._values.get(name) == block for name, block in extra.get("blocks", {}).items())
        )
        if step.name == "dataset":
            return same and extra == {"dvc": version, "partition": self._target.partition}
        if step.name == "champion":
            return same and stored.partition == self._target.partition and self._still_stands(stored)
        return same

    def _still_stands(self, decision: Manifest) -> bool:
        """Whether the alias is where this decision left it."""
        model = self.verdicts["model"].manifest
        present = registry.peek(self._settings, str(self._target))
        if model is None or present is None:
            return False
        mine = present[1] == model.key
        return mine if decision.facts["promoted"] else mine or decision.facts["key_extra"].get("champion") == present[1]

    def _without_change(self, step: Any, old: Manifest | None) -> list[str]:
        if old is not None:
            return ["the champion is another one now" if step.name == "champion" else "the numbers upstream changed"]
        pointer = self._store.current(self._target.paper, self._target.partition, step.name)
        return ["never made" if pointer is None else "its files are gone or damaged"]


def shown(value: Any) -> str:
    """Short."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."

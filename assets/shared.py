"""What the assets of all papers share: keys, cache hits, publishing, metadata, checks.

An asset calls `begin` (which names its content key), then `finish` with a function that makes the output. On a hit the function
is never called: the manifest's metadata and check results are yielded again, and nothing heavy is imported.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg

from tenfold.core import code, params
from tenfold.core.errors import Stopped, TenfoldError
from tenfold.core.progress import Progress
from tenfold.core.stage import Check, Made, Note
from tenfold.core.store import Manifest, Store, Working, content_key
from tenfold.ops import provenance
from tenfold.ops.settings import Settings, load

Block = TypeVar("Block")

# Where progress goes besides Dagster's log; the command line adds its terminal here.
progress_sinks: list[Callable[[Any], None]] = []


class Overrides(dg.Config):
    """Numbers that replace the recipe's in this run: `{lr: 3.0e-4}`. The launchpad of the paper's job shows them all."""

    overrides: dict[str, Any] = {}


class Home(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The two roots and everything that follows from them; empty fields read the environment."""

    root: str = ""
    home: str = ""

    def settings(self) -> Settings:
        """Resolved when an asset runs, so that one code location serves whatever home its process was given."""
        given = {name: Path(value) for name, value in (("root", self.root), ("home", self.home)) if value}
        return load(**given)


def root() -> Path:
    """The folder of `params.yaml`, as cheaply as the code location needs it."""
    return Path(os.environ.get("TENFOLD_ROOT") or Path(__file__).resolve().parent.parent)


def partitions(paper: str) -> dg.StaticPartitionsDefinition:
    """One partitions definition a paper, from `params.yaml`; datasets whose source is absent have none yet."""
    return dg.StaticPartitionsDefinition(params.partitions(params.load(root()), paper, root()))


def code_version(paper: str, asset: str, entry: str) -> str:
    """Bytes of the modules and of the asset's blocks in all recipes: cheap, and never misses a change."""
    recipes = params.load(root())[paper]["recipes"]
    blocks = {name: recipe.get(asset, {}) for name, recipe in recipes.items()}
    return code.version(entry, repr(sorted(blocks.items())).encode())[:16]


def check_specs(paper: str, asset: str, parts: dg.PartitionsDefinition, *, contracts: Mapping[str, str] | None = None,
                claims: Mapping[str, str] | None = None) -> list[dg.AssetCheckSpec]:  # fmt: skip
    """Contracts block (severity ERROR); claims and warnings do not."""
    key = dg.AssetKey([paper, asset])
    specs = [(name, text, True) for name, text in (contracts or {}).items()]
    specs += [(name, text, False) for name, text in (claims or {}).items()]
    return [dg.AssetCheckSpec(name, asset=key, description=text, blocking=blocking, partitions_def=parts) for name, text, blocking in specs]


def asset_options(paper: str, asset: str, entry: str, *, after: Sequence[str] = (), kinds: set[str], parts: dg.PartitionsDefinition,
                  pool: str | None = None) -> dict[str, Any]:  # fmt: skip
    """The fields every asset has, so that none is forgotten."""
    return dict(
        key=[paper, asset], deps=[dg.AssetKey([paper, name]) for name in after], group_name=paper, kinds=kinds, partitions_def=parts,
        owners=["team:tenfold"], tags={"tenfold/paper": paper, "tenfold/stage": asset}, code_version=code_version(paper, asset, entry), pool=pool,
    )  # fmt: skip


@dataclass
class Stage:
    """One asset of one partition, ready to be looked up or made."""

    context: Any
    settings: Settings
    store: Store
    paper: str
    asset: str
    partition: str
    dataset: str
    unit: str
    recipe: str
    block: Any
    overrides: dict[str, Any]
    upstream: dict[str, dict[str, str]]
    code: str
    key: str
    progress: Progress
    facts: dict[str, Any] = field(default_factory=dict)

    def input(self, asset: str) -> Path:
        """Folder of an upstream output, its files verified by sha256."""
        return self.store.open(self.paper, self.partition, asset)[0]

    def manifest(self, asset: str) -> Manifest:
        """Manifest of an upstream output."""
        return self.store.open(self.paper, self.partition, asset)[1]


def blocks(paper: str, partition: str, root_folder: Path) -> dict[str, dict[str, Any]]:
    """The recipe blocks of the partition's dataset, an asset each."""
    tree = params.load(root_folder)
    recipe = params.datasets(tree, paper)[params.split_partition(partition)[0]].recipe
    return {asset: dict(values) for asset, values in tree[paper]["recipes"][recipe].items()}


def upstream_pointers(store: Store, paper: str, partition: str, after: Sequence[str]) -> dict[str, dict[str, str]]:
    """Key and digest of what is current upstream; an absent one says what to run."""
    pointers: dict[str, dict[str, str]] = {}
    for name in after:
        pointer = store.current(paper, partition, name)
        if pointer is None:
            raise TenfoldError(
                f"{paper}.{partition}: there is no current `{name}`: it was never made, or its contract failed. Run `tenfold run {paper}.{partition} --to {name}`."
            )
        pointers[name] = {"key": pointer.key, "digest": pointer.digest}
    return pointers


def begin(context: Any, home: Home, paper: str, asset: str, entry: str, cls: type[Block], config: Overrides, after: Sequence[str] = (),
          extra: Mapping[str, Any] | None = None) -> Stage:  # fmt: skip
    """Resolve the block, read upstream's digests, name the content key."""
    settings = home.settings()
    partition = context.partition_key
    try:
        tree = params.load(settings.root)
        dataset, unit = params.split_partition(partition)
        recipe = params.datasets(tree, paper)[dataset].recipe
        raw = params.block(tree, paper, recipe, asset)
        block: Any = params.resolve(cls, raw, config.overrides, f"{paper}.recipes.{recipe}.{asset}") if cls is not dict else {**raw, **config.overrides}
        store = Store(settings.home)
        upstream = upstream_pointers(store, paper, partition, after)
    except TenfoldError as error:
        raise as_failure(error) from error
    content = code.content(entry)
    values = asdict(block) if not isinstance(block, dict) else block
    key = content_key(paper, asset, {name: p["digest"] for name, p in upstream.items()}, values, content, extra)
    changed = {name: value for name, value in config.overrides.items() if raw.get(name) != value}
    return Stage(context, settings, store, paper, asset, partition, dataset, unit, recipe, block, changed, upstream, content, key, progress_of(context, partition, asset))


def progress_of(context: Any, partition: str, asset: str) -> Progress:
    """Progress that reaches the terminal (when a command runs) and, at most every five seconds, Dagster's log."""
    last = [0.0]

    def to_log(event: Any) -> None:
        now = time.monotonic()
        if event.text or now - last[0] >= 5:
            last[0] = now
            context.log.info(event.text or f"{event.stage}: {event.done}/{event.total or '?'} after {event.elapsed_s:.0f} s")

    return Progress(to_log, *progress_sinks, prefix=f"{partition} {asset}")


def as_failure(error: TenfoldError) -> dg.Failure:
    """A failure that no retry can cure, in the user's words; a stop asks to be run again."""
    kind = "stopped" if isinstance(error, Stopped) else type(error).__name__
    return dg.Failure(description=str(error), allow_retries=False, metadata={"tenfold": kind})


def finish(stage: Stage, make: Callable[[Working], Made]) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The stored output if it is there and whole; else made, published and, unless a contract failed, made current."""
    try:
        manifest = stage.store.find(stage.paper, stage.asset, stage.key)
        hit = manifest is not None
        if manifest is None:
            with stage.store.working(stage.paper, stage.asset, stage.key) as working:
                manifest = stage.store.find(stage.paper, stage.asset, stage.key)
                hit = manifest is not None
                if manifest is None:
                    manifest = publish(stage, working, make)
        for warning in stage.store.warnings:
            stage.context.log.warning(warning)
        if all(check.passed for check in manifest.checks if check.severity == "error"):
            stage.store.set_current(stage.paper, stage.partition, stage.asset, manifest.key, manifest.digest)
    except TenfoldError as error:
        raise as_failure(error) from error
    progress = "unchanged" if hit else f"made in {manifest.seconds:.1f} s"
    stage.progress.say(progress)
    return result(stage, manifest, hit)


def publish(stage: Stage, working: Working, make: Callable[[Working], Made]) -> Manifest:
    """Run the science, then hash, write the manifest and rename into place."""
    started = time.perf_counter()
    stage.progress.stage(stage.asset)
    made = make(working)
    values = asdict(stage.block) if not isinstance(stage.block, dict) else stage.block
    return stage.store.publish(
        working, partition=stage.partition, upstream=stage.upstream, block=values, overrides=stage.overrides, code=stage.code,
        versions=provenance.versions(), made_by=provenance.made_by(stage.settings.root, run_id=stage.context.run_id),
        seconds=time.perf_counter() - started, notes=made.notes, checks=made.checks, facts={**made.facts, **stage.facts},
    )  # fmt: skip


def result(stage: Stage, manifest: Manifest, hit: bool) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The manifest as Dagster sees it; links follow the ports of the running servers."""
    metadata = {note.label: value_of(note) for note in manifest.notes}
    maker = manifest.made_by.get("run_id", "")
    metadata["stored in"] = dg.MetadataValue.path(str(stage.store.folder(stage.paper, stage.asset, manifest.key)))
    metadata["content key"] = dg.MetadataValue.text(manifest.key)
    metadata["seconds"] = dg.MetadataValue.float(round(manifest.seconds, 3))
    metadata["cache"] = dg.MetadataValue.text("hit: nothing was recomputed" if hit else "made in this run")
    if maker:
        metadata["made by run"] = dg.MetadataValue.url(stage.settings.dagster_link(f"/runs/{maker}"))
    if tracked := manifest.facts.get("mlflow"):
        metadata["MLflow run"] = dg.MetadataValue.url(
            stage.settings.mlflow_link(f"/#/experiments/{tracked['experiment_id']}/runs/{tracked['run_id']}/artifacts")
        )
    values = [[name, str(value)] for name, value in manifest.block.items()]
    if values:
        metadata["numbers"] = value_of(Note("numbers", "table", {"columns": ["name", "value"], "rows": values}))
    checks = [
        dg.AssetCheckResult(
            passed=check.passed, check_name=check.name, asset_key=dg.AssetKey([stage.paper, stage.asset]),
            severity=dg.AssetCheckSeverity.ERROR if check.severity == "error" else dg.AssetCheckSeverity.WARN,
            description=check.description, metadata={note.label: value_of(note) for note in check.notes},
        )  # fmt: skip
        for check in manifest.checks
    ]
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(manifest.digest), check_results=checks)


def value_of(note: Note) -> dg.MetadataValue:  # type: ignore[type-arg]
    """A note as Dagster metadata."""
    if note.kind == "table":
        columns = [str(name) for name in note.value["columns"]]
        records = [dg.TableRecord({c: cell(v) for c, v in zip(columns, row, strict=True)}) for row in note.value["rows"]]
        kinds = {c: "float" if records and all(isinstance(r.data[c], (int, float)) for r in records) else "string" for c in columns}
        return dg.MetadataValue.table(records, schema=dg.TableSchema(columns=[dg.TableColumn(c, kinds[c]) for c in columns]))
    if note.kind == "float" and note.value is None:
        return dg.MetadataValue.null()
    make = {
        "text": dg.MetadataValue.text, "int": dg.MetadataValue.int, "float": dg.MetadataValue.float, "bool": dg.MetadataValue.bool,
        "md": dg.MetadataValue.md, "url": dg.MetadataValue.url, "path": dg.MetadataValue.path, "json": dg.MetadataValue.json,
    }[note.kind]  # fmt: skip
    return make(note.value)


def cell(value: Any) -> Any:
    """Dagster's tables take text, numbers and truth values only."""
    return value if isinstance(value, (str, int, float, bool)) else ("" if value is None else str(value))



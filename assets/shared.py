"""What the assets of all papers share: keys, cache hits, publishing, metadata, checks.

An asset calls `begin` (which names its content key), then `finish` with a function that makes the output. On a hit the function
is never called: the manifest's metadata and check results are yielded again, and nothing heavy is imported.
"""

import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg

from tenfold.core import code, disk, memory, params
from tenfold.core.errors import Stopped, Superseded, TenfoldError
from tenfold.core.progress import Event, Progress
from tenfold.core.stage import Made, Note
from tenfold.core.store import Manifest, Pointer, Store, Working, content_key, superseded
from tenfold.ops import logged, provenance
from tenfold.ops.settings import Settings

# Checks per partition (what makes a verdict belong to its partition) and code references are marked as young by Dagster.
for kind in (dg.PreviewWarning, dg.BetaWarning):
    warnings.filterwarnings("ignore", category=kind)

# Where progress goes besides Dagster's log; the command line adds its terminal here.
progress_sinks: list[Callable[[Event], None]] = []

# Digest by (run, paper, partition, asset): what this process has let count, so that a run sees when another one takes its place.
made_current: dict[tuple[str, str, str, str], str] = {}


class Overrides(dg.Config):
    """Numbers that replace the recipe's in this run: `{lr: 3.0e-4}`. The launchpad of the paper's job shows them all."""

    overrides: dict[str, Any] = {}


class Home(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The two roots and everything that follows from them; empty fields read the environment."""

    root: str = ""
    home: str = ""

    def settings(self) -> Settings:
        """Resolved when an asset runs, so that one code location serves whatever home its process was given."""
        given: dict[str, Any] = {name: value for name, value in (("root", self.root), ("home", self.home)) if value}
        return Settings(**given)


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
    return code.version(entry, json.dumps(blocks, sort_keys=True, default=str).encode())[:16]


@dataclass(frozen=True)
class Step:
    """What is known of an asset before it runs: its science module, its block in the recipe, what it needs."""

    paper: str
    name: str
    entry: str
    block: type
    after: tuple[str, ...] = ()

    def options(self, parts: dg.PartitionsDefinition, kinds: set[str], pool: str | None = None) -> dict[str, Any]:
        """The fields that every asset has, for `@dg.asset(**...)`."""
        return {
            "key": [self.paper, self.name],
            "deps": [dg.AssetKey([self.paper, name]) for name in self.after],
            "group_name": self.paper,
            "kinds": kinds,
            "partitions_def": parts,
            "owners": ["team:tenfold"],
            "tags": {"tenfold/paper": self.paper, "tenfold/stage": self.name},
            "code_version": code_version(self.paper, self.name, self.entry),
            "pool": pool,
        }

    def checks(
        self, parts: dg.PartitionsDefinition, contracts: Mapping[str, str] | None = None, claims: Mapping[str, str] | None = None
    ) -> list[dg.AssetCheckSpec]:
        """Contracts block (severity ERROR); claims and warnings do not."""
        key = dg.AssetKey([self.paper, self.name])
        specs = [(name, text, True) for name, text in (contracts or {}).items()]
        specs += [(name, text, False) for name, text in (claims or {}).items()]
        return [
            dg.AssetCheckSpec(name, asset=key, description=text, blocking=blocking, partitions_def=parts) for name, text, blocking in specs
        ]

    def begin(
        self, context: Any, home: Home, config: Overrides, extra: Mapping[str, Any] | Callable[["Stage"], Mapping[str, Any]] | None = None
    ) -> "Stage":
        """Resolve the block, read upstream's digests, name the content key. `extra`: what else the output depends on."""
        settings = home.settings()
        partition = context.partition_key
        dataset, unit = params.split_partition(partition)
        try:
            tree = params.load(settings.root)
            recipe = params.datasets(tree, self.paper)[dataset].recipe
            raw = params.block(tree, self.paper, recipe, self.name)
            block: Any = params.resolve(self.block, raw, config.overrides, f"{self.paper}.recipes.{recipe}.{self.name}")
            store = Store(settings.home)
            upstream = upstream_pointers(store, self.paper, partition, self.after, context.run_id)
        except TenfoldError as error:
            raise as_failure(error) from error
        values: dict[str, Any] = asdict(block)
        content = code.content(self.entry)
        stage = Stage(
            step=self,
            context=context,
            settings=settings,
            store=store,
            partition=partition,
            dataset=dataset,
            unit=unit,
            recipe=recipe,
            block=block,
            values=values,
            overrides={name: value for name, value in values.items() if raw.get(name) != value},
            upstream=upstream,
            code=content,
            key="",
            progress=progress_of(context, partition, self.name),
            facts={"modules": code.contents(self.entry)},
        )
        more = dict(extra(stage) if callable(extra) else extra or {})
        stage.facts["key_extra"] = more
        digests = {name: pointer["digest"] for name, pointer in upstream.items()}
        stage.key = content_key(self.paper, self.name, digests, values, content, more)
        return stage


@dataclass
class Stage:
    """One asset of one partition, ready to be looked up or made."""

    step: Step
    context: Any
    settings: Settings
    store: Store
    partition: str
    dataset: str
    unit: str
    recipe: str
    block: Any
    values: dict[str, Any]
    overrides: dict[str, Any]
    upstream: dict[str, dict[str, str]]
    code: str
    key: str
    progress: Progress
    facts: dict[str, Any]
    made_with: dict[str, Any] = field(default_factory=dict)  # engine and number of workers, where they can be chosen

    @property
    def paper(self) -> str:
        """Name of the paper."""
        return self.step.paper

    @property
    def asset(self) -> str:
        """Name of the asset."""
        return self.step.name

    def input(self, asset: str) -> Path:
        """Folder of an upstream output, its files verified by sha256."""
        return self._opened(asset)[0]

    def manifest(self, asset: str) -> Manifest:
        """Manifest of an upstream output."""
        return self._opened(asset)[1]

    def _opened(self, asset: str) -> tuple[Path, Manifest]:
        # what counted when the key was named: another run may have moved the pointer since
        return self.store.opened(self.paper, self.partition, asset, Pointer(**self.upstream[asset]))


def upstream_pointers(store: Store, paper: str, partition: str, after: Sequence[str], run_id: str) -> dict[str, dict[str, str]]:
    """Key and digest of what is current upstream, all of it made from the same; an absent one says what to run."""
    pointers: dict[str, dict[str, str]] = {}
    for name in after:
        current = store.current(paper, partition, name)
        if current is None:
            raise TenfoldError(
                f"{paper}.{partition}: there is no current `{name}`: it was never made, or its contract failed. Run `tenfold run {paper}.{partition} --to {name}`."
            )
        if made_current.get((run_id, paper, partition, name), current.digest) != current.digest:
            raise Superseded(superseded(paper, partition, name))
        pointers[name] = asdict(current)
    for name, pointer in pointers.items():
        manifest = store.manifest(paper, name, pointer["key"])
        for other, used in manifest.upstream.items() if manifest else ():
            if other in pointers and used["digest"] != pointers[other]["digest"]:
                raise TenfoldError(
                    f"{paper}.{partition}: the current `{name}` was made from another `{other}` than the current one: they do not belong together. Run `tenfold run {paper}.{partition} --to {name}`."
                )
    return pointers


def progress_of(context: Any, partition: str, asset: str) -> Progress:
    """Progress that reaches the terminal (when a command runs) and, at most every five seconds, Dagster's log."""
    last = [0.0]

    def to_log(event: Event) -> None:
        now = time.monotonic()
        if event.text or now - last[0] >= 5:
            last[0] = now
            context.log.info(event.text or f"{event.stage}: {event.done}/{event.total or '?'} after {event.elapsed_s:.0f} s")

    def named(sink: Callable[[Event], None]) -> Callable[[Event], None]:
        return lambda event: sink(
            replace(event, stage=f"{partition} {event.stage}", text=event.text and f"{partition} {asset}: {event.text}")
        )

    return Progress(to_log, *map(named, progress_sinks))


def as_failure(error: TenfoldError) -> dg.Failure:
    """A failure that no retry can cure, in the user's words; a stop asks to be run again."""
    kind = "stopped" if isinstance(error, Stopped) else type(error).__name__
    return dg.Failure(description=str(error), allow_retries=False, metadata={"tenfold": kind})


def finish(
    stage: Stage,
    make: Callable[[Working], Made],
    log: Callable[[Stage, Manifest], None] | None = None,
    observe: Callable[[Stage, Manifest], list[Note]] | None = None,
) -> dg.MaterializeResult:
    """The stored output if it is there and whole; else made, published and, unless a contract failed, made current.

    `log` hands the published output to MLflow; it is caught up on a later hit if a crash came in between. `observe` compares the output
    with the one that is still current: history, which this run shows and the store, whose content rests on inputs alone, does not keep.
    """
    seen: list[Note] = []
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
        if observe is not None:
            seen = observe(stage, manifest)
        if all(check.passed for check in manifest.checks if check.severity == "error"):
            stage.store.set_current(stage.paper, stage.partition, stage.asset, manifest.key, manifest.digest, stage.upstream)
            made_current[stage.context.run_id, stage.paper, stage.partition, stage.asset] = manifest.digest
        if log is not None and not logged.known(stage.settings, stage.paper, stage.asset, manifest.key):
            log(stage, manifest)
    except TenfoldError as error:
        if isinstance(error, Stopped):
            # no failure of the asset: once the daemon is back it goes on, unless somebody cancelled the run
            stage.context.instance.add_run_tags(stage.context.run_id, {"dagster/retry_on_asset_or_op_failure": "true"})
        raise as_failure(out_of_memory(stage, error) or error) from error
    except Exception as error:
        problem = disk.unwritable(error, stage.settings.home) or out_of_memory(stage, error)
        if problem is None:
            raise
        raise as_failure(problem) from error
    stage.progress.say("unchanged" if hit else f"made in {manifest.seconds:.1f} s")
    return result(stage, manifest, hit, seen)


def out_of_memory(stage: Stage, error: Exception) -> TenfoldError | None:
    """The error to show if this one came of memory that ran out, here or in a worker."""
    return memory.exhausted(error, f"{stage.paper}.{stage.partition} {stage.asset}", stage.asset, stage.block)


def publish(stage: Stage, working: Working, make: Callable[[Working], Made]) -> Manifest:
    """Run the science, then hash, write the manifest and rename into place."""
    started = time.perf_counter()
    stage.progress.stage(stage.asset)
    made = make(working)
    return stage.store.publish(
        working, partition=stage.partition, upstream=stage.upstream, block=stage.values, overrides=stage.overrides, code=stage.code,
        versions=provenance.versions(), made_by=made_by(stage),
        seconds=time.perf_counter() - started, notes=made.notes, checks=made.checks, facts={**made.facts, **stage.facts},
        digest=made.facts.get("digest", ""),
    )  # fmt: skip


def made_by(stage: Stage) -> dict[str, Any]:
    """Run, commit, device: recorded, not hashed."""
    commit, dirty = provenance.git(stage.settings.root)
    return {"run_id": stage.context.run_id, "git_commit": commit, "git_dirty": dirty, "device": provenance.device(), **stage.made_with}


def result(stage: Stage, manifest: Manifest, hit: bool, seen: Sequence[Note] = ()) -> dg.MaterializeResult:
    """The manifest as Dagster sees it, and what this run has `seen`; links follow the ports of the running servers."""
    metadata = {note.label: value_of(note) for note in (*manifest.notes, *seen)}
    maker = manifest.made_by.get("run_id", "")
    metadata["stored in"] = dg.MetadataValue.path(str(stage.store.folder(stage.paper, stage.asset, manifest.key)))
    metadata["content key"] = dg.MetadataValue.text(manifest.key)
    metadata["seconds"] = dg.MetadataValue.float(round(manifest.seconds, 3))
    metadata["cache"] = dg.MetadataValue.text("hit: nothing was recomputed" if hit else "made in this run")
    if maker:
        metadata["made by run"] = dg.MetadataValue.url(f"{stage.settings.dagster_url}/runs/{maker}")
    if link := logged.link(stage.settings, stage.paper, stage.asset, manifest.key):
        metadata["MLflow run"] = dg.MetadataValue.url(link)
    if "report.html" in manifest.files:
        metadata["report"] = dg.MetadataValue.path(str(stage.store.folder(stage.paper, stage.asset, manifest.key) / "report.html"))
    values = [[name, str(value)] for name, value in manifest.block.items()]
    if values:
        metadata["numbers"] = value_of(Note("numbers", "table", {"columns": ["name", "value"], "rows": values}))
    checks = [
        dg.AssetCheckResult(
            passed=check.passed,
            check_name=check.name,
            asset_key=dg.AssetKey([stage.paper, stage.asset]),
            severity=dg.AssetCheckSeverity.ERROR if check.severity == "error" else dg.AssetCheckSeverity.WARN,
            description=check.description,
            metadata={note.label: value_of(note) for note in check.notes},
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
    make: dict[str, Callable[[Any], dg.MetadataValue]] = {  # type: ignore[type-arg]
        "text": dg.MetadataValue.text, "int": dg.MetadataValue.int, "float": dg.MetadataValue.float, "bool": dg.MetadataValue.bool,
        "md": dg.MetadataValue.md, "url": dg.MetadataValue.url, "path": dg.MetadataValue.path, "json": dg.MetadataValue.json,
    }  # fmt: skip
    return make[note.kind](note.value)


def cell(value: Any) -> Any:
    """Dagster's tables take text, numbers and truth values only."""
    return value if isinstance(value, (str, int, float, bool)) else ("" if value is None else str(value))

"""The store: what each asset made, addressed by what it was made from.

    <home>/store/<paper>/<asset>/<key>/              published, never changed; manifest.json names every file
    <home>/work/<paper>/<asset>/<key>/{out,scratch}/ in the making; kept after a kill, so the next run goes on from it
    <home>/work/<paper>/<asset>/<key>.lock           held by the one process that works on this key
    <home>/current/<paper>/<partition>/<asset>.json  which key counts now

A folder enters the store by one rename, after every file is on the disk and the manifest was written last.
"""

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Self, TypedDict

from filelock import FileLock, Timeout

from tenfold.core import atomic
from tenfold.core.errors import BadData, Corrupt, Superseded, UsageError
from tenfold.core.stage import Check, Note, plain

MANIFEST = "manifest.json"
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*")
_log = logging.getLogger(__name__)


class FileEntry(TypedDict):
    """One file of a manifest."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Pointer:
    """Which key of an asset counts now for a partition, and that output's digest."""

    key: str
    digest: str


@dataclass(frozen=True)
class Working:
    """Folders to work in while the key's lock is held: `out` will be published, `scratch` (checkpoints) is thrown away then."""

    paper: str
    asset: str
    key: str
    out: Path
    scratch: Path


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was made, from what, by what.

    `files`: relative path -> sha256 and size. `upstream`: asset -> {key, digest} of the output used. `code`: a sha256.
    """

    paper: str
    asset: str
    partition: str
    key: str
    digest: str
    files: dict[str, FileEntry]
    upstream: dict[str, dict[str, str]] = field(default_factory=dict)
    block: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[Note] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown["notes"] = [note.to_json() for note in self.notes]
        shown["checks"] = [check.to_json() for check in self.checks]
        return dict(plain(shown))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = dict(data)
        values["notes"] = [Note.from_json(note) for note in values["notes"]]
        values["checks"] = [Check.from_json(check) for check in values["checks"]]
        return cls(**values)

    def write(self, path: Path) -> None:
        """Write as JSON with a seal: the sha256 of everything else in it."""
        shown = self.to_json()
        atomic.write_json(path, {**shown, "seal": _seal(shown)})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises FileNotFoundError if absent, Corrupt if it is not what `write` wrote or names a file outside its folder."""
        data = path.read_bytes()
        try:
            shown = json.loads(data)
            if shown.pop("seal") != _seal(shown):
                raise Corrupt(f"{path} was changed after it was written: its seal does not match.")
            manifest = cls.from_json(shown)
            outside = [name for name in manifest.files if not _is_inside(name)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"{path} is not a manifest ({type(error).__name__}: {error}).") from error
        if outside:
            raise Corrupt(f"{path} names a file outside its folder: {outside[0]!r}.")
        return manifest


class Entry(NamedTuple):
    """One folder of the store or of unfinished work. `manifest` is None where there is none that can be read."""

    paper: str
    asset: str
    key: str
    manifest: Manifest | None
    bytes: int


def content_key(
    paper: str,
    asset: str,
    upstream_digests: Mapping[str, str],
    block: Mapping[str, Any],
    code: str,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """16 hex digits that change with anything the output depends on: inputs, resolved numbers, code, `extra` (weights, data)."""
    parts = {"asset": [paper, asset], "upstream": upstream_digests, "block": block, "code": code, "extra": extra or {}}
    return hashlib.sha256(_canonical(parts)).hexdigest()[:16]


def digest_files(files: Mapping[str, FileEntry]) -> str:
    """sha256 over the sorted (path, sha256) of `files`."""
    return hashlib.sha256(_canonical(sorted([name, entry["sha256"]] for name, entry in files.items()))).hexdigest()


def digest_folder(folder: Path) -> str:
    """`digest_files` of all files below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    entries = {path.relative_to(folder).as_posix(): _hash(path, flush=False) for path in paths}
    return digest_files({name: {"sha256": sha256, "bytes": size} for name, (sha256, size) in entries.items()})


class Store:
    """Finds, makes and publishes outputs below one home folder; safe to use from many processes at once."""

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self.warnings: list[str] = []
        self._verified: dict[Path, str] = {}

    def folder(self, paper: str, asset: str, key: str) -> Path:
        """Where an output stands once published."""
        return self.home.joinpath("store", *_components(paper, asset, key))

    def _work(self, paper: str, asset: str, key: str) -> Path:
        return self.home.joinpath("work", *_components(paper, asset, key))

    def find(self, paper: str, asset: str, key: str) -> Manifest | None:
        """The manifest of a published output after every file's sha256 was checked; None if there is none.

        A damaged folder is moved to `<home>/work/corrupt/` with a warning and counts as absent, so that it is made again.
        """
        folder = self.folder(paper, asset, key)
        try:
            return self._verify(folder, paper, asset, key)
        except Corrupt:
            # Again under the lock: meanwhile another process may have put a sound folder in its place.
            with self._lock(paper, asset, key):
                try:
                    return self._verify(folder, paper, asset, key)
                except Corrupt as problem:
                    self._set_aside(folder, problem)
                    return None

    def _verify(self, folder: Path, paper: str, asset: str, key: str) -> Manifest | None:
        try:
            manifest = Manifest.read(folder / MANIFEST)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if os.path.lexists(folder):
                raise Corrupt(f"{folder} has no {MANIFEST}.") from None
            return None
        if (manifest.paper, manifest.asset, manifest.key) != (paper, asset, key):
            raise Corrupt(f"{folder} holds the manifest of {manifest.paper}/{manifest.asset}/{manifest.key}.")
        real = folder.resolve()
        for name, entry in manifest.files.items():
            path = folder / name
            try:
                if path.resolve(strict=True) != real / name or not path.is_file():
                    raise Corrupt(f"{path} is not the file that was written.")
                sha256, size = _hash(path, flush=False)
            except (FileNotFoundError, NotADirectoryError):
                raise Corrupt(f"{path} is missing.") from None
            if (sha256, size) != (entry["sha256"], entry["bytes"]):
                raise Corrupt(f"{path} is not what was written: {size} bytes with sha256 {sha256}.")
        self._verified[folder] = manifest.digest
        return manifest

    def _set_aside(self, folder: Path, problem: Corrupt) -> None:
        paper, asset, key = folder.parts[-3:]
        aside = self.home / "work" / "corrupt" / paper / asset / f"{key}-{secrets.token_hex(4)}"
        atomic.make_folder(aside.parent)
        os.rename(folder, aside)
        atomic.sync(aside.parent)
        atomic.sync(folder.parent)
        warning = f"{problem} The folder was moved to {aside} and will be made again."
        self.warnings.append(warning)
        _log.warning(warning)

    @contextmanager
    def _lock(self, paper: str, asset: str, key: str, wait: bool = True) -> Iterator[None]:
        path = self._work(paper, asset, key).with_name(f"{key}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        # One object a path makes the lock reentrant within a thread.
        lock = FileLock(path, poll_interval=0.1, is_singleton=True)
        try:
            lock.acquire(timeout=1 if wait else 0)
        except Timeout:
            if not wait:
                raise
            _log.warning("%s/%s %s: waiting for another process that is making it", paper, asset, key)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def working(self, paper: str, asset: str, key: str) -> Iterator[Working]:
        """Hold the key's lock and yield its work folders, with whatever a killed or failed attempt left in them.

        A second process waits here: call `find` again inside, for the first one may have published meanwhile.
        """
        with self._lock(paper, asset, key):
            folder = self._work(paper, asset, key)
            working = Working(paper, asset, key, folder / "out", folder / "scratch")
            for each in (working.out, working.scratch):
                atomic.make_folder(each)
            _remove_leftovers(folder)
            yield working

    def publish(
        self,
        working: Working,
        *,
        partition: str,
        upstream: Mapping[str, Mapping[str, str]],
        block: Mapping[str, Any],
        overrides: Mapping[str, Any],
        code: str,
        versions: Mapping[str, str],
        made_by: Mapping[str, Any],
        seconds: float,
        notes: Sequence[Note] = (),
        checks: Sequence[Check] = (),
        facts: Mapping[str, Any] | None = None,
        digest: str = "",
    ) -> Manifest:
        """Move `working.out` into the store, inside its `working` block, and return its manifest.

        `digest` replaces the digest of the files where the content is known by another (rows of a dataset). If the key is
        already published this does nothing but return its manifest. Raises BadData if the output holds a link or anything
        that is no plain file or folder; the work folder stays as it is on any failure.
        """
        paper, asset, key = working.paper, working.asset, working.key
        with self._lock(paper, asset, key):
            target = self.folder(paper, asset, key)
            manifest = self.find(paper, asset, key)
            if manifest is None:
                files = _hash_tree(working.out)
                manifest = Manifest(
                    paper=paper,
                    asset=asset,
                    partition=partition,
                    key=key,
                    digest=digest or digest_files(files),
                    files=files,
                    upstream=plain(upstream),
                    block=plain(block),
                    overrides=plain(overrides),
                    code=code,
                    versions=plain(versions),
                    made_by=plain(made_by),
                    seconds=float(seconds),
                    notes=list(notes),
                    checks=list(checks),
                    facts=plain(facts or {}),
                )
                manifest.write(working.out / MANIFEST)
                target.parent.mkdir(parents=True, exist_ok=True)
                _move(working.out, target)
                self._verified[target] = manifest.digest
            # What cannot be deleted only takes room; the output is published already.
            shutil.rmtree(self._work(paper, asset, key), ignore_errors=True)
            return manifest

    def _pointer(self, paper: str, partition: str, asset: str) -> Path:
        paper, partition, asset = _components(paper, partition, asset)
        return self.home / "current" / paper / partition / f"{asset}.json"

    def current(self, paper: str, partition: str, asset: str) -> Pointer | None:
        """Which output counts now; None if none does yet. Raises Corrupt if the pointer cannot be read."""
        path = self._pointer(paper, partition, asset)
        try:
            data = json.loads(path.read_bytes())
            pointer = Pointer(str(data["key"]), str(data["digest"]))
            if not _COMPONENT.fullmatch(pointer.key):
                raise ValueError(f"{pointer.key!r} is no key")
            return pointer
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{path} cannot be read ({error}). Delete it, then: {_remedy(paper, partition, asset)}") from error

    def set_current(
        self, paper: str, partition: str, asset: str, key: str, digest: str, upstream: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Let an output count from now on; atomic.

        `upstream`: what it was made from (asset -> {key, digest}). Raises Superseded, and changes nothing, if something else counts
        there by now: what two runs of one partition made is never mixed.
        """
        path = self._pointer(paper, partition, asset)
        atomic.make_folder(path.parent)
        with FileLock(path.with_name(".lock")):
            _remove_leftovers(path.parent)
            for name, used in (upstream or {}).items():
                now = self.current(paper, partition, name)
                if now is None or now.digest != used["digest"]:
                    raise Superseded(superseded(paper, partition, name))
            try:
                unchanged = self.current(paper, partition, asset) == Pointer(key, digest)
            except Corrupt:
                unchanged = False
            if not unchanged:
                atomic.write_json(path, {"key": key, "digest": digest})

    def open(self, paper: str, partition: str, asset: str) -> tuple[Path, Manifest]:
        """Folder and manifest of the output that counts now; its files are checked once a process.

        Raises UsageError if there is none yet, Corrupt if it is gone or damaged.
        """
        pointer = self.current(paper, partition, asset)
        if pointer is None:
            raise UsageError(f"there is no {paper}/{asset} for {partition} yet. First: {_remedy(paper, partition, asset)}")
        return self.opened(paper, partition, asset, pointer)

    def opened(self, paper: str, partition: str, asset: str, pointer: Pointer) -> tuple[Path, Manifest]:
        """The same for the output that counted when `pointer` was read."""
        folder = self.folder(paper, asset, pointer.key)
        found = self._unchanged(folder) or self.find(paper, asset, pointer.key)
        if found is None:
            raise Corrupt(f"{folder} is gone or damaged. To make it again: {_remedy(paper, partition, asset)}")
        if found.digest != pointer.digest:
            path = self._pointer(paper, partition, asset)
            raise Corrupt(f"{path} names another digest than {folder}. To write it again: {_remedy(paper, partition, asset)}")
        return folder, found

    def _unchanged(self, folder: Path) -> Manifest | None:
        """The manifest of an output whose files this process has checked; None if it must check them."""
        if folder in self._verified:
            try:
                manifest = Manifest.read(folder / MANIFEST)
                if manifest.digest == self._verified[folder]:
                    return manifest
            except (FileNotFoundError, Corrupt):
                _log.info("%s changed since it was checked: checking again", folder)
        return None

    def lineage(self, paper: str, *outputs: tuple[str, str]) -> dict[tuple[str, str], Manifest | None]:
        """Manifests of these outputs and of all they were made from, by (asset, key); what was made first stands first.

        None for one that is gone or cannot be read: what that was made from is unknown. Their files are not checked.
        """
        found: dict[tuple[str, str], Manifest | None] = {}
        seen: set[tuple[str, str]] = set()

        def visit(output: tuple[str, str]) -> None:
            if output not in seen:
                seen.add(output)
                manifest = self.manifest(paper, *output)
                for name, pointer in manifest.upstream.items() if manifest else ():
                    visit((name, pointer["key"]))
                found[output] = manifest

        for output in outputs:
            visit(output)
        return found

    def manifest(self, paper: str, asset: str, key: str) -> Manifest | None:
        """The manifest of a published output, its files not checked; None where there is none that can be read."""
        try:
            return Manifest.read(self.folder(paper, asset, key) / MANIFEST)
        except (FileNotFoundError, NotADirectoryError, Corrupt):
            return None

    def entries(self) -> Iterator[Entry]:
        """Everything published, in order. Files are not checked: `find` does that."""
        for paper, asset, folder in self._folders("store"):
            try:
                manifest = Manifest.read(folder / MANIFEST)
            except (OSError, Corrupt):
                manifest = None
            yield Entry(paper, asset, folder.name, manifest, _size(folder))

    def unfinished(self) -> Iterator[Entry]:
        """Work folders that were not published: in the making, or left by a run that was stopped or killed."""
        for paper, asset, folder in self._folders("work"):
            if paper != "corrupt":
                yield Entry(paper, asset, folder.name, None, _size(folder))

    def _folders(self, room: str) -> Iterator[tuple[str, str, Path]]:
        for folder in sorted(self.home.glob(f"{room}/*/*/*/")):
            yield folder.parts[-3], folder.parts[-2], folder

    def pointers(self) -> Iterator[tuple[str, str, str, Pointer]]:
        """(paper, partition, asset, pointer) of all that counts now."""
        for path in sorted(self.home.glob("current/*/*/*.json")):
            paper, partition, asset = path.parts[-3], path.parts[-2], path.stem
            pointer = self.current(paper, partition, asset)
            if pointer is not None:
                yield paper, partition, asset, pointer

    def remove(self, paper: str, asset: str, key: str) -> None:
        """Delete a published output. Raises UsageError while a partition points to it."""
        for owner, partition, name, pointer in self.pointers():
            if (owner, name, pointer.key) == (paper, asset, key):
                raise UsageError(f"{paper}/{asset} {key} is in use by {partition}: it cannot be removed.")
        with self._lock(paper, asset, key):
            folder = self.folder(paper, asset, key)
            if folder.exists():
                # Out of the store in one step: nobody may see half of it.
                removed = self._work(paper, asset, key) / f"removed-{secrets.token_hex(4)}"
                atomic.make_folder(removed.parent)
                os.rename(folder, removed)
                atomic.sync(removed.parent)
                atomic.sync(folder.parent)
                shutil.rmtree(removed)
            self._verified.pop(folder, None)

    def discard(self, paper: str, asset: str, key: str) -> bool:
        """Delete the unfinished work of a key; False, and nothing done, while another process works on it."""
        try:
            with self._lock(paper, asset, key, wait=False):
                shutil.rmtree(self._work(paper, asset, key), ignore_errors=True)
        except Timeout:
            return False
        return True


def _components(*names: str) -> tuple[str, ...]:
    for name in names:
        if not _COMPONENT.fullmatch(name):
            raise UsageError(f"{name!r} cannot be the name of a paper, asset, partition or key: letters, digits and _ . = - only.")
    return names


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    normal = bool(path.parts) and str(path) == name and not path.is_absolute()
    return normal and ".." not in path.parts and not set("\\\0") & set(name)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _seal(shown: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(shown)).hexdigest()


def _hash(path: Path, flush: bool) -> tuple[str, int]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if flush:
            os.fsync(file.fileno())
        return sha256, file.tell()


def _hash_tree(folder: Path) -> dict[str, FileEntry]:
    """Hash and flush all files below `folder`; its own manifest, left by an attempt cut short, does not count."""
    files: dict[str, FileEntry] = {}
    for here, subfolders, names in os.walk(folder, topdown=False):
        for name in [*subfolders, *names]:
            path = Path(here, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
                raise BadData(f"{path} is {what}: an output holds plain files only. Copy the content there instead.")
            relative = path.relative_to(folder).as_posix()
            if not _is_inside(relative):
                raise BadData(f"{path}: the name cannot be stored. Use one without a backslash.")
            if stat.S_ISREG(mode) and relative != MANIFEST:
                sha256, size = _hash(path, flush=True)
                files[relative] = {"sha256": sha256, "bytes": size}
        atomic.sync(Path(here))
    return dict(sorted(files.items()))


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise UsageError(
                f"{source} and {target.parent} lie on different disks, so a finished output cannot be moved in one step. "
                "Put `work` and `store` on one disk."
            ) from error
        raise
    # Every folder on the way may be new: up to home, each name must be on the disk.
    for folder in target.parents[:4]:
        atomic.sync(folder)


def _remove_leftovers(folder: Path) -> None:
    """Temporary files of a killed process: nobody else writes here while the lock is held."""
    for here, subfolders, names in os.walk(folder):
        for name in filter(atomic.is_leftover, names):
            Path(here, name).unlink()
        for name in filter(atomic.is_leftover, subfolders):
            shutil.rmtree(Path(here, name))
        subfolders[:] = [name for name in subfolders if not atomic.is_leftover(name)]


def _size(folder: Path) -> int:
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(here, name).lstat().st_size
            except FileNotFoundError:
                continue  # a run in progress deleted it
    return total


def superseded(paper: str, partition: str, asset: str) -> str:
    """The message for a run that finds another one's output in the place of what it rests on."""
    return (
        f"{paper}.{partition}: another run has made another `{asset}` current meanwhile. This one stops here, so that nothing of the two is "
        "mixed; what it made is kept and found again. Once the other run has ended, run the same command again if you want this one's result."
    )


def _remedy(paper: str, partition: str, asset: str) -> str:
    return f"`tenfold run {paper}.{partition} --to {asset}`"

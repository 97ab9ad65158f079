"""`tenfold doctor`: does the installation work, and is anything left over from a crash?"""

import argparse
import os
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata

from pipelines.recovery import end_dead_runs
from tenfold.core.store import Store
from tenfold.ops import home, tracking
from tenfold.ops.settings import Settings, load

OK, NOTE, BAD = "ok", "note", "BAD"
Finding = tuple[str, str]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Arguments of `doctor`."""
    parser.add_argument("--verify", action="store_true", help="read every stored file and compare its sha256 (takes a while)")


def main(args: argparse.Namespace) -> int:
    """A line a finding; 1 if anything is bad."""
    settings = load()
    checks: list[tuple[str, Callable[[Settings], Iterator[Finding]]]] = [
        ("python", python), ("versions", versions), ("selection strings", selections), ("mlflow package", shadow), ("folders", folders), ("disk", disk),
        ("ports", ports), ("device", device), ("dead runs", dead_runs), ("spool", spool), ("unfinished work", unfinished),
    ]  # fmt: skip
    if args.verify:
        checks.append(("stored bytes", verify))
    bad = 0
    for name, check in checks:
        try:
            findings = list(check(settings))
        except Exception as error:  # whatever ails is a finding, and the other checks go on
            findings = [(BAD, f"{type(error).__name__}: {error}".partition("\n")[0])]
        for state, text in findings:
            bad += state == BAD
            print(f"{state:<5} {name:<18} {text}")
    print("all is well" if not bad else f"{bad} finding(s) to act on")
    return 1 if bad else 0


def python(settings: Settings) -> Iterator[Finding]:
    """Python 3.11 in a virtual environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    right = sys.version_info[:2] == (3, 11)
    yield (
        OK if right else BAD,
        f"{version} at {sys.prefix}" + ("" if right else "; tenfold is pinned for 3.11: make PYTHON=python3.11 install"),
    )


def versions(settings: Settings) -> Iterator[Finding]:
    """What is installed against the lock."""
    lock = settings.root / "requirements" / "cpu.txt"
    if not lock.exists():
        yield NOTE, "no lock file beside params.yaml; versions not compared"
        return
    pins = dict(re.findall(r"^([A-Za-z0-9_.\-]+)(?:\[[^\]]*\])?==(\S+)", lock.read_text(), flags=re.M))
    different = []
    for name, wanted in pins.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "missing"
        if found.partition("+")[0] != wanted.partition("+")[0]:
            different.append(f"{name} {found} (lock: {wanted})")
    yield (
        (BAD, f"{len(different)} differ from the lock: {', '.join(different[:6])}; run `make install`")
        if different
        else (OK, f"all {len(pins)} packages as locked")
    )


def selections(settings: Settings) -> Iterator[Finding]:
    """Dagster's selection grammar needs antlr 4.13; hydra 1.3 brings 4.9, with which every selection string fails."""
    import dagster as dg

    try:
        dg.AssetSelection.from_string('group:demo and key:"a/b"+')
    except TypeError as error:
        yield (
            BAD,
            f"antlr4-python3-runtime {metadata.version('antlr4-python3-runtime')} cannot read Dagster's grammar ({error}); run `make install`",
        )
        return
    yield OK, f"parsed with antlr4-python3-runtime {metadata.version('antlr4-python3-runtime')}"


def shadow(settings: Settings) -> Iterator[Finding]:
    """The folder mlflow/ must never become a package that hides the library."""
    if (settings.root / "mlflow" / "__init__.py").exists():
        yield BAD, f"{settings.root / 'mlflow' / '__init__.py'} hides the installed mlflow: delete it"
    else:
        yield OK, "not shadowed by the folder mlflow/"


def folders(settings: Settings) -> Iterator[Finding]:
    """Write access, by writing."""
    for folder in (settings.home, settings.root / "data"):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        probe.write_bytes(b"x")
        probe.unlink()
        yield OK, f"can write to {folder}"
    home.ensure(settings)


def disk(settings: Settings) -> Iterator[Finding]:
    """Room for a demo and its runs."""
    free = shutil.disk_usage(settings.home).free / 2**30
    yield (
        OK if free > 3 else BAD,
        f"{free:.1f} GiB free at {settings.home}" + ("" if free > 3 else "; the demo wants 3: free some, or `tenfold gc --delete`"),
    )


def ports(settings: Settings) -> Iterator[Finding]:
    """Ports in use matter only to the next `tenfold ui`."""
    for name, port, option in (("Dagster", settings.port, "--port"), ("MLflow", settings.mlflow_port, "--mlflow-port")):
        with socket.socket() as probe:
            probe.settimeout(1)
            used = probe.connect_ex(("127.0.0.1", port)) == 0
        yield (NOTE, f"{port} ({name}) is in use; `tenfold ui {option} N` takes another") if used else (OK, f"{port} ({name}) is free")


def device(settings: Settings) -> Iterator[Finding]:
    """What torch computes on."""
    import torch

    if torch.cuda.is_available():
        yield OK, f"torch {torch.__version__} on {torch.cuda.get_device_name()}, {torch.cuda.mem_get_info()[1] / 2**30:.0f} GiB"
    else:
        yield OK, f"torch {torch.__version__} on the CPU, {os.cpu_count()} cores (TENFOLD_TORCH=cuda make install takes the CUDA build)"


def dead_runs(settings: Settings) -> Iterator[Finding]:
    """Runs that a crash left open."""
    lines = end_dead_runs(settings)
    yield from ((NOTE, line) for line in lines)
    if not lines:
        yield OK, "no run is left over from a crash"


def spool(settings: Settings) -> Iterator[Finding]:
    """Points that MLflow has not got yet."""
    waiting = sorted(settings.spool.glob("*.jsonl"))
    if not waiting:
        yield OK, "everything has reached MLflow"
        return
    sent = tracking.replay(settings)
    left = sorted(settings.spool.glob("*.jsonl"))
    yield (
        NOTE if left else OK,
        f"{sent} waiting record(s) sent to MLflow" + (f"; {len(left)} journal(s) still wait in {settings.spool}" if left else ""),
    )


def unfinished(settings: Settings) -> Iterator[Finding]:
    """Work that the next run of the same numbers goes on with."""
    entries = list(Store(settings.home).unfinished())
    total = sum(entry.bytes for entry in entries) / 2**20
    yield (
        (NOTE, f"{len(entries)} unfinished output(s), {total:.0f} MiB: the same run goes on from there; `tenfold gc --delete` drops them")
        if entries
        else (OK, "none")
    )


def verify(settings: Settings) -> Iterator[Finding]:
    """Every stored file against its sha256; a damaged output is set aside and made again by the next run."""
    store = Store(settings.home)
    count = total = 0
    for entry in list(store.entries()):
        store.find(entry.paper, entry.asset, entry.key)
        count, total = count + 1, total + entry.bytes
    yield from ((BAD, warning) for warning in store.warnings)
    if not store.warnings:
        yield OK, f"{count} outputs, {total / 2**20:.0f} MiB: every byte is what was written"

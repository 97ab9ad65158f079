"""DVC in one small module: bring a dataset's stage up to date, read its version. Run as `python -m tenfold.ops.dvc`.

DVC runs in a process of its own: it changes signal handlers, and its stage writes to the terminal. So a
stage's last lines can be shown when it fails, and stopping us stops the stage.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tenfold.core import disk
from tenfold.core.errors import BadData, Corrupt, UsageError
from tenfold.ops import dvc_bytes
from tenfold.ops.dvc_whole import written_whole
from tenfold.ops.quiet import SWITCHES

_BUSY, _UNKNOWN_STAGE = 76, 77
_LAST_LINES = 40
_RESULT = "tenfold-dvc-result "
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class Version:
    """md5 of a stage's output (32 hex digits, without DVC's `.dir`) and whether the stage's command ran."""

    md5: str
    ran: bool


def reproduce(stage: str, root: Path, say: Callable[[str], None] | None = None, poll_s: float = 1.0) -> Version:
    """Bring `stage` (`<paper>@<dataset>`) up to date.

    Waits while another process works on the same stage. Raises UsageError when there is no such stage and
    BadData, holding the stage's own last lines, when it fails. `say` gets each line as it comes (default: stderr).
    """
    tell = say or _stderr
    waiting = False
    while True:
        code, lines, result = _child("reproduce", stage, root, tell)
        if result is not None:
            return Version(**result)
        if code == _UNKNOWN_STAGE:
            raise UsageError(f"{root / 'dvc.yaml'} has no stage '{stage}': {lines[-1] if lines else ''}")
        if code != _BUSY:
            raise BadData(_failure(stage, root, code, lines))
        if not waiting:
            tell(f"{stage} is being made by another process; waiting for it")
            waiting = True
        time.sleep(poll_s)


def locked(stage: str, root: Path) -> str | None:
    """md5 of a stage's output as `dvc.lock` has it; None if it was never made. Reads that file only."""
    path = root / "dvc.lock"
    for attempt in range(5):
        try:
            outs = ((yaml.safe_load(path.read_text()) or {}).get("stages") or {}).get(stage, {}).get("outs")
        except FileNotFoundError:
            return None
        except yaml.YAMLError as error:
            if attempt == 4:
                raise Corrupt(f"{path} is not valid YAML: {error}. Restore it (`git checkout dvc.lock`) or delete it.") from None
        else:
            md5 = str((outs or [{}])[0].get("md5", ""))
            if not outs:
                return None
            if _MD5.fullmatch(md5):
                return md5.removesuffix(".dir")
        # DVC writes the file in place: what was read may be half of it
        time.sleep(0.05)
    raise Corrupt(f"{path} has no md5 for the output of '{stage}'. Run `dvc repro {stage}`.")


def changes(stage: str, root: Path) -> str:
    """What makes DVC run `stage` again, e.g. "source.txt: modified"; empty if nothing does. Runs nothing."""
    code, lines, result = _child("status", stage, root, lambda line: None)
    if result is None:
        if code == _BUSY:
            return "it is being made by another process"
        raise UsageError(f"DVC cannot tell the state of {stage} in {root}: {lines[-1] if lines else f'exit code {code}'}")
    return str(result["changes"])


def _child(action: str, stage: str, root: Path, tell: Callable[[str], None]) -> tuple[int, list[str], dict[str, Any] | None]:
    """Run DVC once; return its exit code, the last lines it wrote and the result, if there is one."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    result: dict[str, Any] | None = None
    command = [sys.executable, "-m", "tenfold.ops.dvc", action, stage]
    # a session of its own, so that stopping reaches the shell and the stage below DVC as well
    process = subprocess.Popen(
        command,
        cwd=root,
        env=_environment(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for raw in process.stdout:
            line = raw.rstrip()
            if line.startswith(_RESULT):
                result = json.loads(line.removeprefix(_RESULT))
            elif line:
                last.append(line)
                tell(line)
        return process.wait(), list(last), result
    except BaseException:
        _stop(process)
        raise
    finally:
        process.stdout.close()


def _stop(process: subprocess.Popen[str]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _environment(root: Path) -> dict[str, str]:
    """Ours, with this interpreter as `python`, this package importable and DVC's file table in the checkout."""
    environment = {**SWITCHES, **os.environ}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    source = Path(__file__).resolve().parents[2]
    # relative entries would mean another folder below the stage's working directory
    entries = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(source), *entries]))
    environment["PYTHONUNBUFFERED"] = "1"
    environment["TENFOLD_ROOT"] = str(root)
    # DVC's default is a folder below /var/tmp that every user of the machine can write to
    environment.setdefault("DVC_SITE_CACHE_DIR", str(root / ".dvc" / "tmp" / "site"))
    return environment


def _failure(stage: str, root: Path, code: int, lines: list[str]) -> str:
    shown = "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"
    ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
    return f"The data of {stage} could not be made ({ended}). Its last lines:\n{shown}\nOnce that is cured: dvc repro {stage} (in {root})"


def _stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _main(action: str, stage: str) -> int:
    """The child: print the result as one line. Exit codes tell a busy stage and an unknown one."""
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo
    from dvc.stage.exceptions import StageFileDoesNotExistError, StageNotFound

    root = Path.cwd()
    inside_git = any((folder / ".git").exists() for folder in (root, *root.parents))
    core = {"analytics": False, "check_update": False, "no_scm": not inside_git}
    result: dict[str, Any]
    try:
        with Repo(str(root), config={"core": core}, _wait_for_lock=action == "reproduce") as repo, lock_repo(repo):
            written_whole(repo.fs)
            if action == "reproduce":
                ran = bool(repo.reproduce([stage]))
                if _mend(repo, stage, root, whole=ran):
                    ran = bool(repo.reproduce([stage], force=True))
                    if left := _mend(repo, stage, root, whole=True):
                        print(f"{left[0]} was made again and still is not what DVC recorded. Check the disk.", flush=True)
                        return 1
                result = {"md5": locked(stage, root), "ran": ran}
            else:
                result = {"changes": _described(repo.status([stage]).get(stage, []))}
    except DvcException as error:
        causes = _causes(error)
        if any(isinstance(cause, LockError) for cause in causes):
            return _BUSY
        print(*(cause for cause in causes if not isinstance(cause, ReproductionError)), sep="\n", flush=True)
        if any(isinstance(cause, UnicodeEncodeError) for cause in causes):
            with Repo(str(root), config={"core": core}) as repo:
                print(_not_text(repo, stage), flush=True)
        if any("'dvc.lock'" in str(cause) or "dvc.lock' validation" in str(cause) for cause in causes):
            print(f"{root / 'dvc.lock'} is damaged. Restore it (`git checkout dvc.lock`) or delete it.", flush=True)
        return _UNKNOWN_STAGE if any(isinstance(c, StageNotFound | StageFileDoesNotExistError) for c in causes) else 1
    except OSError as error:
        # DVC's own writing: its cache, its databases, dvc.lock
        problem = disk.unwritable(error, root / ".dvc")
        if problem is None:
            raise
        print(problem, flush=True)
        return 1
    print(_RESULT + json.dumps(result), flush=True)
    return 0


def _mend(repo: Any, stage: str, root: Path, whole: bool) -> list[Path]:
    """Name what is damaged in the stage's outputs and take it out of DVC's cache, so that nothing comes back from there."""
    found: list[Path] = []
    for out in repo.stage.collect(stage)[0].outs:
        if out.use_cache and out.hash_info:
            cache = Path(out.cache.path)
            bad = dvc_bytes.damaged(Path(out.fs_path), out.hash_info.value, cache, whole)
            for path in bad:
                print(f"{path} is not what {root / 'dvc.lock'} says (another md5): {stage} is made again.", flush=True)
                if path.is_relative_to(cache):
                    path.unlink(missing_ok=True)
            found += bad
    return found


def _not_text(repo: Any, stage: str) -> str:
    """Which file's name DVC cannot write down: its tables are UTF-8."""
    for dependency in repo.stage.collect(stage)[0].deps:
        for here, _, files in os.walk(dependency.fs_path):
            for path in (os.path.join(here, name) for name in files):
                shown = os.fsencode(path).decode("utf-8", "backslashreplace")
                if shown != path:
                    return f"{shown}: the name is not UTF-8, so DVC cannot record it. Rename it or take it out of the source's folder."
    return "A name in the source's folder is not UTF-8, so DVC cannot record it. Rename it."


def _described(found: list[Any]) -> str:
    """DVC's nested account of a stage's state, in one line."""
    lines = []
    for item in found:
        for about in item.values() if isinstance(item, dict) else [item]:
            for path, what in about.items() if isinstance(about, dict) else [("the command", about)]:
                details = ", ".join(f"{name} {state}" for name, state in what.items()) if isinstance(what, dict) else what
                lines.append(f"{path}: {details}")
    return "; ".join(lines)


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what caused it, the first cause first."""
    found: list[BaseException] = []
    while error is not None:
        found.insert(0, error)
        error = error.__cause__
    return found


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:3]))
